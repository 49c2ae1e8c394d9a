"""What all files of the tree have in common: a user who looks, a refusal that is remembered, a text.

The text of an open file is fixed at its first read, at whatever offset, and taken anew by a read at
offset 0: so a reader sees one state of the file, and a reader that rewinds sees the newest.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import implementer

from jobd.jobs.errors import JobError
from jobd.jobs.texts import stamp
from jobd.ninep.errors import NinepError
from jobd.ninep.files import Node, OpenFile
from jobd.ninep.interfaces import (
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

if TYPE_CHECKING:
    from jobd.access import User
    from jobd.jobs.job import Job
    from jobd.tree.root import Tree

NANO = 1_000_000_000
FRESH = 1.0
"""Seconds for which the length of a text that is costly to make is taken as it was."""
REMEMBERED = 16
"""Failed changes that `/error` keeps for a user."""

_WANTED = {OREAD: 4, OWRITE: 2, ORDWR: 6, OEXEC: 1}


class View(NamedTuple):
    """The tree as one attached user sees it."""

    tree: Tree
    user: User
    actor: str
    """The user and the peer, in words: for `/events`."""
    failed: deque[bytes]
    """The user's failed changes, shared by all that user's connections."""

    def refuse(self, path: str, error: JobError) -> NinepError:
        """Remember that a change of PATH failed, and give what the client is told."""
        sentence = " ".join(str(error).split())
        self.failed.append(
            stamp(self.tree.clock.now_ns()) + f"{path}: {sentence}\n".encode("utf-8", "replace")
        )
        return NinepError(error.errno, sentence)

    def change(self, path: str, change: Callable[[], Any], answer: Any = None) -> Any:
        """Make a change of PATH, and answer ANSWER when it is made; what it returns if that is None."""
        try:
            self.tree.access.check_change(self.user)
            result = change()
        except JobError as error:
            raise self.refuse(path, error) from None
        if not isinstance(result, Deferred):
            return result if answer is None else answer

        def failed(failure: Failure) -> NoReturn:
            if isinstance(failure.value, JobError):
                raise self.refuse(path, failure.value)
            failure.raiseException()

        def done(value: object) -> object:
            return value if answer is None else answer

        return result.addCallbacks(done, failed)


class Attributes(NamedTuple):
    """What stat says of a file beside its name, text and qid."""

    mode: int
    owner: str
    group: str
    changed: float
    """Seconds since 1970."""


def private_mode(job: Job, mode: int) -> int:
    """MODE for a file that is the owner's, unless the mode of JOB's directory lets group or others read."""
    shown = 0o700 | (0o070 if job.mode & 0o040 else 0) | (0o007 if job.mode & 0o004 else 0)
    return mode & shown


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

    def attributes(self) -> Attributes:
        """Mode, owner, group and time of the last change."""
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

    # ---- INode

    @property
    def qid(self) -> Qid:  # type: ignore[override]
        return Qid(self.type, self.version() & 0xFFFFFFFF, self.qid_path())

    def stat(self) -> Stat:
        attributes, qid, length = self.attributes(), self.qid, self.length()
        key = (attributes, qid, length, self.name)
        if self._stat is not None and self._stat[0] == key:
            return self._stat[1]
        accounts = self.view.tree.accounts
        stat = Stat(
            qid,
            attributes.mode | self.type << 24,
            length,
            self.name,
            attributes.owner,
            attributes.group,
            attributes.owner,
            *(attributes.changed,) * 3,
            n_uid=accounts.uid_of(attributes.owner),
            n_gid=accounts.gid_of(attributes.group),
            n_muid=accounts.uid_of(attributes.owner),
            nlink=2 if self.type == DMDIR >> 24 else 1,
        )
        self._stat = key, stat
        return stat

    def open(self, mode: int) -> Any:
        self.check(_WANTED[mode & 3] | (2 if mode & OTRUNC else 0))
        return self.opened(mode)

    def opened(self, mode: int) -> Any:
        """The open file, once the user may open it so."""
        raise NotImplementedError

    def check(self, wanted: int) -> None:
        """Refuse where the mode does not give the user WANTED: 4 to read, 2 to write, 1 to search."""
        attributes = self.attributes()
        if not self.view.tree.access.permits(
            self.view.user, attributes.owner, attributes.group, attributes.mode, wanted
        ):
            sentence = f"{self.view.user.name} may not {'write' if wanted & 2 else 'read'} it: it is {attributes.owner}'s"
            if wanted & 2:
                raise self.view.refuse(self.path, JobError(errno.EACCES, sentence))
            raise NinepError(errno.EACCES, sentence)

    def create(self, name: str, perm: int, mode: int, gid: int | None) -> Any:
        self.refuse(f"{name} can't be made here: a job is made by mkdir in /jobs, or by a message to /clone")

    def mkdir(self, name: str, perm: int, gid: int | None) -> Any:
        self.refuse(f"{name} can't be made here: a job is a directory in /jobs")

    def symlink(self, name: str, target: str, gid: int | None) -> Any:
        self.refuse("there are no symbolic links here")

    def mknod(self, name: str, perm: int, major: int, minor: int, gid: int | None) -> Any:
        self.refuse("there are no devices here")

    def link(self, name: str, target: Any) -> Any:
        self.refuse("there are no further names here")

    def remove(self) -> Any:
        self.refuse("only a job can be removed, by rmdir of its directory")

    def rename(self, directory: Any, name: str) -> Any:
        self.refuse("only a job can be renamed, in /jobs")

    def set_stat(self, changes: SetStat) -> Any:
        """Accept what changes nothing, and what a shell's `>` or `touch` asks of a file."""
        now = self.stat()
        times_and_length = changes._replace(atime=None, mtime=None)
        if self.attributes().mode & 0o222 and not self.type & (DMDIR >> 24) and changes.length == 0:
            times_and_length = times_and_length._replace(length=None)
        for wanted, is_now in (
            (times_and_length.mode, (now.mode, now.mode & 0o7777)),
            (times_and_length.uid, (now.uid, now.n_uid)),
            (times_and_length.gid, (now.gid, now.n_gid)),
            (times_and_length.length, (now.length,)),
            (times_and_length.name, (self.name,)),
        ):
            if wanted is not None and wanted not in is_now:
                self.refuse("its mode, owner and name are its job's: change those of the directory")
        self.check(2)

    def refuse(self, sentence: str, number: int = errno.EPERM) -> NoReturn:
        """Refuse a change for good."""
        raise self.view.refuse(self.path, JobError(number, sentence))


class DirectoryNode(TreeNode):
    """A directory."""

    type = DMDIR >> 24

    def entries(self, after: int) -> Iterable[Entry]:
        """Its entries above the cookie AFTER."""
        raise NotImplementedError

    def opened(self, mode: int) -> Any:
        if mode & 3 in (OWRITE, ORDWR) or mode & OTRUNC:
            raise NinepError(errno.EISDIR)
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
        make = self.table.get(name)
        if make is None:
            raise NinepError(errno.ENOENT, f"there is no {name} here")
        return make(self, name, self.view)

    def entries(self, after: int) -> Iterable[Entry]:
        for cookie, name in enumerate(self.table, 1):
            if cookie > after:
                yield Entry(cookie, self.walk(name))


class TextNode(TreeNode):
    """A file with a text."""

    costly = False
    """Whether its text takes so long to make that stat takes its length from the one last made."""

    def text(self) -> bytes:
        """Its text now."""
        return b""

    def length(self) -> int:
        if not self.costly:
            return len(self.text())
        return self.view.tree.lengths.of(self.qid_path(), self.text)

    def opened(self, mode: int) -> Any:
        return OpenText(self)


class OpenText(OpenFile):
    """An open file with a text."""

    def __init__(self, node: TextNode) -> None:
        self.node = node
        self._text: bytes | None = None

    def read(self, offset: int, count: int) -> Any:
        if self._text is None or offset == 0:
            self._text = self.node.text()
        return self._text[offset : offset + count]


class MessageNode(TextNode):
    """A file that takes messages: each Twrite is one, whole, wherever it is written to."""

    def message(self, data: bytes) -> Any:
        """Do what DATA says: what it returns, or a Deferred, is not looked at. Refuses with `JobError`."""
        raise NotImplementedError

    def opened(self, mode: int) -> Any:
        return OpenMessages(self)


class OpenMessages(OpenText):
    """An open file that takes messages."""

    node: MessageNode

    def write(self, offset: int, data: bytes) -> Any:
        return self.node.view.change(self.node.path, lambda: self.node.message(data), len(data))


class Lengths:
    """Lengths of costly texts, each made again after `FRESH` seconds at the soonest; bounded."""

    def __init__(self, monotonic: Callable[[], float], most: int = 4096) -> None:
        self._monotonic = monotonic
        self._most = most
        self._made: dict[int, tuple[float, int]] = {}

    def of(self, path: int, text: Callable[[], bytes]) -> int:
        """The length of the file with qid PATH, whose text is made by TEXT."""
        made = self._made.get(path)
        now = self._monotonic()
        if made is None or now - made[0] > FRESH:
            self._made.pop(path, None)
            while len(self._made) >= self._most:
                del self._made[next(iter(self._made))]
            made = self._made[path] = now, len(text())
        return made[1]
