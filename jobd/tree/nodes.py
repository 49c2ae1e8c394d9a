"""What all files and directories of the tree have in common: attributes, rights, and what is refused."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from zope.interface import implementer

from jobd.jobs.errors import JobError
from jobd.ninep.errors import NinepError
from jobd.ninep.files import Node
from jobd.ninep.interfaces import (
    DMAPPEND,
    DMDIR,
    OEXEC,
    ORDWR,
    OREAD,
    OTRUNC,
    OWRITE,
    Entry,
    IOpenDirectory,
    Qid,
    SetStat,
)
from jobd.ninep.stat import Stat
from jobd.tree.view import View

NANO = 1_000_000_000
READ, WRITE, SEARCH = 4, 2, 1
"""What a mode may give, as in one of its octal digits."""

_WANTED = {OREAD: READ, OWRITE: WRITE, ORDWR: READ | WRITE, OEXEC: SEARCH}


Rights = tuple[int, str, str]
"""A mode, and the names of the owner and the group."""


class TreeNode(Node):
    """A file or directory of the tree."""

    type = 0
    """The `QT` bits of its qid."""
    _stat: tuple[Any, Stat] | None = None

    def __init__(self, parent: Any, name: str, view: View) -> None:
        super().__init__(parent, name)
        self.view = view

    @property
    def path(self) -> str:
        """Its path from the root."""
        names: list[str] = []
        node: Any = self
        while node.parent is not node:
            names.append(node.name)
            node = node.parent
        return "/" + "/".join(reversed(names))

    # ---- what a subclass says

    def rights(self) -> Rights:
        """Its mode, owner and group; ENOENT where the file is there no more."""
        raise NotImplementedError

    def changed(self) -> int:
        """When it last changed, in nanoseconds since 1970."""
        raise NotImplementedError

    def qid_path(self) -> int:
        """Its qid path."""
        raise NotImplementedError

    def version(self) -> int:
        """Counts changes of its contents."""
        return 0

    def length(self) -> int:
        """Its length in bytes, as stat gives it."""
        return 0

    def opened(self) -> Any:
        """It, open."""
        raise NotImplementedError

    # ---- INode

    @property
    def qid(self) -> Qid:  # type: ignore[override]
        return Qid(self.type, self.version() & 0xFFFFFFFF, self.qid_path())

    def stat(self) -> Stat:
        rights, changed, length = self.rights(), self.changed(), self.length()
        # The rest of a qid stays as it is.
        key = (rights, changed, length, self.version(), self.name)
        if self._stat is not None and self._stat[0] == key:
            return self._stat[1]
        mode, owner, group = rights
        stat = Stat(
            self.qid,
            mode | self.type << 24,
            length,
            self.name,
            *(owner, group, owner),
            *(changed / NANO,) * 3,
            n_uid=self.view.uid_of(owner),
            n_gid=self.view.tree.accounts.gid_of(group),
            n_muid=self.view.uid_of(owner),
        )
        self._stat = key, stat
        return stat

    def open(self, mode: int) -> Any:
        wanted = _WANTED[mode & 3] | (WRITE if mode & OTRUNC else 0)
        if wanted & WRITE and not self.rights()[0] & 0o222:
            self.refuse("it can only be read", errno.EACCES)
        self.check(wanted)
        return self.opened()

    def check(self, wanted: int) -> None:
        """Refuse where the mode does not give the user WANTED: `READ`, `WRITE`, `SEARCH`."""
        mode, owner, group = self.rights()
        user = self.view.user
        if self.view.tree.access.permits(user, owner, group, mode, wanted):
            return
        verb = "write" if wanted & WRITE else "read" if wanted & READ else "search"
        sentence = f"{user.name} may not {verb} it: it is {owner}'s"
        if wanted & WRITE:
            self.refuse(sentence, errno.EACCES)
        raise NinepError(errno.EACCES, sentence)

    def recheck(self) -> None:
        """Refuse where what was opened for reading may not be read any more."""

    def create(self, name: str, perm: int, mode: int, gid: int | None) -> Any:
        self.refuse("a job is made by mkdir in /jobs or a message to /clone, and has its files", name=name)

    def mkdir(self, name: str, perm: int, gid: int | None) -> Any:
        self.refuse("a directory can only be made in /jobs, where it is a job", name=name)

    def symlink(self, name: str, target: str, gid: int | None) -> Any:
        self.refuse("there are no symbolic links here", name=name)

    def mknod(self, name: str, perm: int, major: int, minor: int, gid: int | None) -> Any:
        self.refuse("there are no devices here", name=name)

    def link(self, name: str, target: Any) -> Any:
        self.refuse("there are no further names here", name=name)

    def remove(self) -> Any:
        self.refuse("only a job can be removed, by rmdir of its directory")

    def rename(self, directory: Any, name: str) -> Any:
        self.refuse("only a job can be renamed, in /jobs")

    def set_stat(self, changes: SetStat) -> Any:
        """Accept what changes nothing, and what a shell's `>` or a `touch` asks of a file."""
        now = self.stat()
        kinds = DMDIR | DMAPPEND
        if changes.mode is not None and (changes.mode ^ now.mode) & ~kinds:
            self.refuse("its mode follows from that of the job's directory: change that one")
        if changes.uid not in (None, now.uid, now.n_uid) or changes.gid not in (None, now.gid, now.n_gid):
            self.refuse("its owner and group are the job's: change those of the directory")
        if changes.name not in (None, self.name):
            self.refuse("only a job can be renamed, in /jobs")
        if changes.length not in (None, now.length) and (changes.length or not now.mode & 0o222):
            self.refuse("it can't be cut or lengthened: write what it shall hold", errno.EINVAL)
        if (changes.length, changes.atime, changes.mtime) != (None, None, None):
            self.check(WRITE)

    def refuse(self, sentence: str, number: int = errno.EPERM, *, name: str = "") -> NoReturn:
        """Refuse a change of this, or of NAME in it, for good."""
        path = f"{self.path.rstrip('/')}/{name}" if name else self.path
        raise self.view.refuse(path, JobError(number, sentence))


class DirectoryNode(TreeNode):
    """A directory."""

    type = DMDIR >> 24

    def entries(self, after: int) -> Iterable[Entry]:
        """Its entries above the cookie AFTER."""
        raise NotImplementedError

    def opened(self) -> Any:
        return OpenDirectory(self)


@implementer(IOpenDirectory)
class OpenDirectory:
    """A directory open for reading."""

    def __init__(self, node: DirectoryNode) -> None:
        self._node = node

    def entries(self, after: int) -> Iterable[Entry]:
        return self._node.entries(after)

    def close(self, clunked: bool) -> None:
        return None


class FixedDirectory(DirectoryNode):
    """A directory whose entries are known from the start, in a table."""

    table: dict[str, Callable[[Any, str, View], Any]]

    def walk(self, name: str) -> Any:
        self.check(SEARCH)
        make = self.table.get(name)
        if make is None:
            raise NinepError(errno.ENOENT, f"there is no {name} here")
        return make(self, name, self.view)

    def entries(self, after: int) -> Iterable[Entry]:
        self.rights()
        for cookie, (name, make) in enumerate(self.table.items(), 1):
            if cookie > after:
                yield Entry(cookie, make(self, name, self.view))
