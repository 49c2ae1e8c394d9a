"""Base classes for file systems: what most files refuse, and files and directories held in memory.

A node that subclasses `Node` says only what it does.  `examples/` has two whole file systems.
"""

from __future__ import annotations

import errno
import itertools
import os
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import Any

from zope.interface import implementer

from jobd.ninep.errors import NinepError
from jobd.ninep.interfaces import (
    DMDIR,
    OAPPEND,
    ORDWR,
    OTRUNC,
    OWRITE,
    Attach,
    Entry,
    IFilesystem,
    INode,
    IOpenDirectory,
    IOpenFile,
    Qid,
    SetStat,
    Statfs,
)
from jobd.ninep.linux import F_UNLCK
from jobd.ninep.stat import Stat

_paths = itertools.count(1)


@implementer(INode)
class Node:
    """A file that nobody can do anything with, until a subclass says otherwise."""

    name: str
    parent: Any
    qid: Qid

    def __init__(self, parent: Any, name: str) -> None:
        """NAME in the node PARENT; a root has no parent and becomes its own."""
        self.parent = self if parent is None else parent
        self.name = name

    def stat(self) -> Any:
        return Stat(self.qid, self.qid.type << 24, name=self.name)

    def walk(self, name: str) -> Any:
        raise NinepError(errno.ENOTDIR)

    def open(self, mode: int) -> Any:
        raise NinepError(errno.EACCES)

    def create(self, name: str, perm: int, mode: int, gid: int | None) -> Any:
        raise NinepError(errno.EPERM)

    def mkdir(self, name: str, perm: int, gid: int | None) -> Any:
        raise NinepError(errno.EPERM)

    def symlink(self, name: str, target: str, gid: int | None) -> Any:
        raise NinepError(errno.EOPNOTSUPP)

    def mknod(self, name: str, perm: int, major: int, minor: int, gid: int | None) -> Any:
        raise NinepError(errno.EOPNOTSUPP)

    def link(self, name: str, target: Any) -> Any:
        raise NinepError(errno.EOPNOTSUPP)

    def readlink(self) -> Any:
        raise NinepError(errno.EINVAL)

    def remove(self) -> Any:
        raise NinepError(errno.EPERM)

    def rename(self, directory: Any, name: str) -> Any:
        raise NinepError(errno.EPERM)

    def set_stat(self, changes: SetStat) -> Any:
        raise NinepError(errno.EPERM)

    def sync(self) -> Any:
        return None

    def get_xattr(self, name: str) -> Any:
        raise NinepError(errno.EOPNOTSUPP)

    def set_xattr(self, name: str, value: bytes, flags: int) -> Any:
        raise NinepError(errno.EOPNOTSUPP)

    def lock(self, type: int, flags: int, start: int, length: int, pid: int, client: str) -> Any:
        return 0

    def get_lock(self, type: int, start: int, length: int, pid: int, client: str) -> Any:
        return F_UNLCK, start, length, pid, client


@implementer(IOpenFile)
class OpenFile:
    """An open file that can neither be read nor written, until a subclass says otherwise."""

    iounit: int = 0

    def read(self, offset: int, count: int) -> Any:
        raise NinepError(errno.EINVAL)

    def write(self, offset: int, data: bytes) -> Any:
        raise NinepError(errno.EINVAL)

    def close(self, clunked: bool) -> Any:
        return None


class File(Node):
    """A file in memory that keeps its attributes; its owner is the server's own user."""

    def __init__(self, parent: Any, name: str, mode: int) -> None:
        super().__init__(parent, name)
        self.mode = mode
        self.qid = Qid(mode >> 24, 0, next(_paths))
        self.uid: str | int = os.getuid()
        self.gid: str | int = os.getgid()
        self.atime = self.mtime = self.ctime = time.time()

    def length(self) -> int:
        """Its bytes."""
        return 0

    def stat(self) -> Stat:
        return Stat(
            self.qid,
            self.mode,
            self.length(),
            self.name,
            *(str(self.uid), str(self.gid), str(self.uid)),
            *(self.atime, self.mtime, self.ctime),
            n_uid=self.uid if isinstance(self.uid, int) else 0,
            n_gid=self.gid if isinstance(self.gid, int) else 0,
        )

    def truncate(self, length: int) -> None:
        """Cut the contents to LENGTH, or fill them up with zeros; EINVAL of what has no such contents."""
        raise NinepError(errno.EINVAL)

    def changed(self) -> None:
        """Its contents are other ones: counts the qid's version on, and sets its times."""
        self.qid = self.qid._replace(version=(self.qid.version + 1) & 0xFFFFFFFF)
        self.mtime = self.ctime = time.time()


class Children:
    """The nodes of a directory by name, each with a cookie for life, in the order they came."""

    def __init__(self) -> None:
        self._by_name: dict[str, tuple[int, Any]] = {}
        self._by_cookie: dict[int, Any] = {}
        self._cookies: list[int] = []
        self._next = itertools.count(1)
        self.removed = False
        """Whether the directory was: nothing comes in any more."""

    def __len__(self) -> int:
        return len(self._by_name)

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def __getitem__(self, name: str) -> Any:
        """The node called NAME; ENOENT where there is none."""
        try:
            return self._by_name[name][1]
        except KeyError:
            raise NinepError(errno.ENOENT)

    def add(self, node: Any) -> Any:
        """Add NODE under its name, which must be free, or EEXIST; gives it back."""
        if self.removed:
            raise NinepError(errno.ENOENT)
        if node.name in self._by_name:
            raise NinepError(errno.EEXIST)
        cookie = next(self._next)
        self._by_name[node.name] = cookie, node
        self._by_cookie[cookie] = node
        self._cookies.append(cookie)
        return node

    def remove(self, name: str) -> None:
        """Take out the node called NAME; ENOENT where there is none, ENOTEMPTY if it has children."""
        children = getattr(self[name], "children", None)
        if children:
            raise NinepError(errno.ENOTEMPTY)
        if children is not None:
            children.removed = True
        self.discard(name)

    def discard(self, name: str) -> None:
        """Take out the node called NAME, which is here."""
        cookie, _ = self._by_name.pop(name)
        del self._by_cookie[cookie]
        del self._cookies[bisect_right(self._cookies, cookie) - 1]

    def after(self, cookie: int) -> Iterator[Entry]:
        """The entries whose cookies are above COOKIE: what `IOpenDirectory.entries` wants."""
        for index in range(bisect_right(self._cookies, cookie), len(self._cookies)):
            cookie = self._cookies[index]
            node = self._by_cookie[cookie]
            yield Entry(cookie, node, getattr(node, "mode", 0))


@implementer(IOpenDirectory)
class OpenDirectory:
    """A directory open for reading, over CHILDREN."""

    def __init__(self, children: Children) -> None:
        self._children = children

    def entries(self, after: int) -> Iterator[Entry]:
        return self._children.after(after)

    def close(self, clunked: bool) -> None:
        return None


class Directory(File):
    """A directory in memory; what is in it is its owner's to add, in `children`."""

    def __init__(self, parent: Any = None, name: str = "/", mode: int = 0o555) -> None:
        super().__init__(parent, name, mode | DMDIR)
        self.children = Children()

    def walk(self, name: str) -> Any:
        return self.children[name]

    def open(self, mode: int) -> Any:
        return OpenDirectory(self.children)


class BytesFile(File):
    """A file whose contents are bytes in memory, to be read, written and truncated."""

    largest = 1 << 28
    """Bytes; beyond it is EFBIG, lest one write at a great offset take all memory."""

    def __init__(self, parent: Any, name: str, mode: int = 0o666, data: bytes = b"") -> None:
        super().__init__(parent, name, mode)
        self.data = bytearray(data)

    def length(self) -> int:
        return len(self.data)

    def open(self, mode: int) -> Any:
        if mode & OTRUNC:
            self.truncate(0)
        return _OpenBytes(self, append=bool(mode & OAPPEND))

    def truncate(self, length: int) -> None:
        if length > self.largest:
            raise NinepError(errno.EFBIG)
        del self.data[length:]
        self.data.extend(bytes(length - len(self.data)))
        self.changed()

    def write(self, offset: int, data: bytes) -> int:
        """Put DATA at OFFSET, zeros before it where there was nothing."""
        if offset + len(data) > self.largest:
            raise NinepError(errno.EFBIG)
        if offset > len(self.data):
            self.data.extend(bytes(offset - len(self.data)))
        self.data[offset : offset + len(data)] = data
        self.changed()
        return len(data)


class Changeable(File):
    """A file or directory that anyone may remove, rename and change: a class to mix in before another.

    Its parent has `children`.  Once removed it can't be opened; who has it open goes on, as in Unix.
    """

    def check_present(self) -> None:
        """Refuse with ENOENT where it was removed, even if another one has its name by now."""
        if self.parent is not self and self.parent.children[self.name] is not self:
            raise NinepError(errno.ENOENT)

    def open(self, mode: int) -> Any:
        self.check_present()
        return super().open(mode)

    def remove(self) -> None:
        if self.parent is self:
            raise NinepError(errno.EBUSY)
        self.check_present()
        self.parent.children.remove(self.name)

    def rename(self, directory: Any, name: str) -> None:
        """A file may replace a file, a directory an empty directory, as in Unix."""
        if self.parent is self:
            raise NinepError(errno.EBUSY)
        self.check_present()
        if directory.children.removed:
            raise NinepError(errno.ENOENT)
        above = directory
        while above.parent is not above and above is not self:
            above = above.parent
        if above is self:
            raise NinepError(errno.EINVAL, "a directory can't move into itself")
        if name in directory.children:
            replaced = directory.children[name]
            if replaced is self:
                return
            if (replaced.mode ^ self.mode) & DMDIR:
                raise NinepError(errno.ENOTDIR if self.mode & DMDIR else errno.EISDIR)
            directory.children.remove(name)
        self.parent.children.discard(self.name)
        self.parent, self.name = directory, name
        directory.children.add(self)

    def set_stat(self, changes: SetStat) -> None:
        if changes.length is not None:
            self.truncate(changes.length)
        if changes.name is not None:
            self.rename(self.parent, changes.name)
        if changes.mode is not None:
            self.mode = self.mode & DMDIR | changes.mode
        if changes.uid is not None:
            self.uid = changes.uid
        if changes.gid is not None:
            self.gid = changes.gid
        now = time.time()
        if changes.atime is not None:
            self.atime = now if changes.atime < 0 else changes.atime
        if changes.mtime is not None:
            self.mtime = now if changes.mtime < 0 else changes.mtime
        self.ctime = now


class _OpenBytes(OpenFile):
    def __init__(self, file: BytesFile, append: bool) -> None:
        self._file = file
        self._append = append

    def read(self, offset: int, count: int) -> bytes:
        return bytes(self._file.data[offset : offset + count])

    def write(self, offset: int, data: bytes) -> int:
        return self._file.write(self._file.length() if self._append else offset, data)


class TextFile(File):
    """A file whose text is made when it is opened, and whose writes are handed on.

    READ gives the text; WRITE takes the bytes of each Twrite, whatever its offset, and refuses by
    raising NinepError.  Without WRITE the file is read-only.
    """

    def __init__(
        self, parent: Any, name: str, read: Callable[[], str], write: Callable[[bytes], None] | None = None
    ) -> None:
        super().__init__(parent, name, 0o444 if write is None else 0o666)
        self._read = read
        self._write = write

    def length(self) -> int:
        return len(self._read().encode())

    def open(self, mode: int) -> Any:
        if self._write is None and (mode & 3 in (OWRITE, ORDWR) or mode & OTRUNC):
            raise NinepError(errno.EACCES)
        return _OpenText(self._read().encode(), self._write)

    def set_stat(self, changes: SetStat) -> None:
        """A shell's `>` truncates before it writes: accepted, and nothing by itself."""
        if self._write is None or changes._replace(length=None, atime=None, mtime=None) != SetStat():
            raise NinepError(errno.EPERM)


class _OpenText(OpenFile):
    def __init__(self, text: bytes, write: Callable[[bytes], None] | None) -> None:
        self._text = text
        self._write = write

    def read(self, offset: int, count: int) -> bytes:
        return self._text[offset : offset + count]

    def write(self, offset: int, data: bytes) -> int:
        if self._write is None:
            raise NinepError(errno.EACCES)
        self._write(data)
        return len(data)


@implementer(IFilesystem)
class Filesystem:
    """The tree under ROOT, the same for everyone who attaches."""

    def __init__(self, root: Any) -> None:
        self.root = root

    def attach(self, request: Attach) -> Any:
        return self.root

    def statfs(self) -> Statfs:
        return Statfs()
