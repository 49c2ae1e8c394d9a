"""File systems for the tests: one with all that Unix has, one whose answers come when the test says so."""

from __future__ import annotations

import errno
from typing import Any

from twisted.internet.defer import Deferred

from jobd.ninep.errors import NinepError
from jobd.ninep.files import BytesFile, Changeable, Directory, File, Filesystem, Node, OpenFile
from jobd.ninep.interfaces import DMSYMLINK, Qid
from jobd.ninep.stat import Stat

XATTR_REPLACE = 2


class _Unix(Changeable):
    """Extended attributes for any file."""

    xattrs: dict[str, bytes]

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.xattrs = {}

    def get_xattr(self, name: str) -> bytes:
        if not name:
            return b"".join(name.encode() + b"\0" for name in self.xattrs)
        if name not in self.xattrs:
            raise NinepError(errno.ENODATA)
        return self.xattrs[name]

    def set_xattr(self, name: str, value: bytes, flags: int) -> None:
        if not value and flags & XATTR_REPLACE:
            del self.xattrs[name]
        else:
            self.xattrs[name] = value


class UnixFile(_Unix, BytesFile):
    pass


class SpecialFile(_Unix, File):
    """A symbolic link, device, pipe or socket."""

    def __init__(self, parent: Any, name: str, mode: int, extension: str) -> None:
        super().__init__(parent, name, mode)
        self.extension = extension

    def stat(self) -> Stat:
        return super().stat()._replace(extension=self.extension, length=len(self.extension))

    def readlink(self) -> str:
        if not self.mode & DMSYMLINK:
            raise NinepError(errno.EINVAL)
        return self.extension


class UnixDirectory(_Unix, Directory):
    def create(self, name: str, perm: int, mode: int, gid: int | None) -> Any:
        file = self.children.add(UnixFile(self, name, perm))
        return file, file.open(mode)

    def mkdir(self, name: str, perm: int, gid: int | None) -> Any:
        return self.children.add(UnixDirectory(self, name, perm))

    def symlink(self, name: str, target: str, gid: int | None) -> Any:
        return self.children.add(SpecialFile(self, name, DMSYMLINK | 0o777, target))

    def mknod(self, name: str, perm: int, major: int, minor: int, gid: int | None) -> Any:
        return self.children.add(SpecialFile(self, name, perm, f"c {major} {minor}"))

    def link(self, name: str, target: Any) -> None:
        if not isinstance(target, UnixFile):
            raise NinepError(errno.EPERM)
        file = UnixFile(self, name, target.mode)
        file.qid, file.data = target.qid, target.data
        self.children.add(file)


class Slow(OpenFile, Node):
    """A file, at once its open file, each of whose answers is a Deferred in `asked`, by what was asked."""

    def __init__(self, parent: Any = None, name: str = "slow") -> None:
        super().__init__(parent, name)
        self.qid = Qid(0, 0, 1 << 40)
        self.asked: dict[str, list[Deferred[Any]]] = {}
        self.cancelled: list[str] = []
        self.closed: list[bool] = []

    def _ask(self, what: str) -> Deferred[Any]:
        deferred: Deferred[Any] = Deferred(lambda _: self.cancelled.append(what))
        self.asked.setdefault(what, []).append(deferred)
        return deferred

    def answer(self, what: str, value: Any = None) -> None:
        """Answer the oldest request for WHAT."""
        self.asked[what].pop(0).callback(value)

    def open(self, mode: int) -> Any:
        return self._ask("open") if self.name == "slow-open" else self

    def stat(self) -> Any:
        return self._ask("stat")

    def sync(self) -> Any:
        return self._ask("sync")

    def remove(self) -> Any:
        return self._ask("remove")

    def read(self, offset: int, count: int) -> Any:
        return self._ask("read")

    def write(self, offset: int, data: bytes) -> Any:
        return self._ask("write")

    def close(self, clunked: bool) -> None:
        self.closed.append(clunked)


class SlowDirectory(Directory):
    """A directory with slow files, the walk to some of which is slow too."""

    def __init__(self) -> None:
        super().__init__(None, "/", 0o777)
        self.slow = self.children.add(Slow(self))
        self.slow_open = self.children.add(Slow(self, "slow-open"))
        self.fast = self.children.add(UnixFile(self, "fast", 0o666))
        self.walks: list[Deferred[Any]] = []

    def walk(self, name: str) -> Any:
        if not name.startswith("later-"):
            return super().walk(name)
        self.walks.append(Deferred())
        return self.walks[-1]


def slow_tree() -> tuple[Filesystem, SlowDirectory]:
    """A file system of slow files, and its root."""
    root = SlowDirectory()
    return Filesystem(root), root
