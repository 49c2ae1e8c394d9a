"""The requests that all dialects share: attach, walk, read, write, clunk, remove.

A `Handlers` lives from one Tversion to the next and owns the fids of that time.  Each handler is called
with a message's tag and its fields, and gives the bytes of the reply, or a Deferred of them where the
file system must wait; it refuses by raising `NinepError`.  There is no object and no Deferred for a
request that is answered at once: most are, and this is where the server spends its time.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.python.failure import Failure

from jobd.ninep import messages as m
from jobd.ninep.errors import NinepError
from jobd.ninep.interfaces import NONUNAME, OCEXEC, OEXEC, ORCLOSE, ORDWR, OREAD, OWRITE, QTDIR, Attach
from jobd.ninep.limits import Limits

Reply = Any
"""The bytes of a reply, or a Deferred of them."""

# Where most answers are of one type, that is looked at first: `isinstance` of a Deferred, which is an
# abstract base class, takes a tenth of a microsecond.

_read_head = struct.Struct("<IBHI")
_write_reply = struct.Struct("<IBHI")
_walk_head = struct.Struct("<IBHH")
_qid = struct.Struct("<BIQ")
_open_reply = struct.Struct("<IBHBIQI")
_RREAD, _RWRITE, _RWALK, _RCLUNK = m.TYPES[m.Rread], m.TYPES[m.Rwrite], m.TYPES[m.Rwalk], m.TYPES[m.Rclunk]

_NO_NAMES = frozenset(("", "."))


def then(result: Any, function: Callable[..., Any], *arguments: Any) -> Any:
    """FUNCTION of RESULT and ARGUMENTS: now, or when the Deferred RESULT has fired."""
    if isinstance(result, Deferred):
        return result.addCallback(function, *arguments)
    return function(result, *arguments)


class Fid:
    """What a client's number stands for: a node, and its open file once it is open."""

    __slots__ = ("busy", "entries", "file", "gone", "node", "read", "remove", "write")

    def __init__(self, node: Any) -> None:
        self.node = node
        self.file: Any = None
        self.read: Callable[[int, int], Any] | None = None
        """(offset, count) -> bytes or a Deferred, where the file is open for reading."""
        self.write: Callable[[int, bytes], Any] | None = None
        self.entries: Callable[[int], Any] | None = None
        """As of `IOpenDirectory`, where it is an open directory."""
        self.remove = False
        """Whether the file goes with the fid (ORCLOSE)."""
        self.busy = False
        """Whether an open, create or walk that will change the fid still waits."""
        self.gone = False


class Handlers:
    """The handlers of one dialect, from one Tversion to the next."""

    def __init__(
        self,
        filesystem: Any,
        peer: Any,
        dialect: m.Dialect,
        msize: int,
        limits: Limits,
        report: Callable[[BaseException], object],
    ) -> None:
        self.filesystem = filesystem
        self.peer = peer
        self.dialect = dialect
        self.msize = msize
        self.limits = limits
        self.report = report
        self.largest = msize - m.IOHDRSZ
        """Bytes of the largest read or write."""
        self.fids: dict[int, Fid] = {}
        self._reserved: set[int] = set()
        self._waiting_bytes = 0

    def table(self) -> dict[Any, Callable[..., Reply]]:
        """The handler of each message class."""
        return {
            m.Tauth: self.auth,
            m.Tattach: self.attach,
            m.Twalk: self.walk,
            m.Tread: self.read,
            m.Twrite: self.write,
            m.Tclunk: self.clunk,
            m.Tremove: self.remove,
        }

    # Fids

    def fid(self, number: int) -> Fid:
        """The fid of that NUMBER; EBADF where there is none."""
        fid = self.fids.get(number)
        if fid is None:
            raise NinepError(errno.EBADF, f"fid {number} is unknown")
        return fid

    def unopened(self, number: int) -> Fid:
        """A fid that is not open, nor about to be."""
        fid = self.fid(number)
        if fid.file is not None or fid.busy:
            raise NinepError(errno.EBADF, f"fid {number} is open already", "bad use of fid")
        return fid

    def directory(self, number: int) -> Any:
        """The node of a fid that is a directory."""
        node = self.fid(number).node
        if not node.qid.type & QTDIR:
            raise NinepError(errno.ENOTDIR)
        return node

    def check_free(self, number: int) -> None:
        """Refuse NUMBER as a new fid where it is one already, or m.NOFID, or one too many."""
        if number in self.fids or number in self._reserved:
            raise NinepError(errno.EBADF, f"fid {number} is in use", "fid already in use")
        if number == m.NOFID:
            raise NinepError(errno.EBADF, "NOFID is no fid")
        if len(self.fids) + len(self._reserved) >= self.limits.fids:
            raise NinepError(errno.EMFILE, f"a connection may have {self.limits.fids} fids")

    def reserve(self, number: int, result: Any) -> Any:
        """Keep NUMBER from being taken while the Deferred RESULT waits to make it a fid."""
        if isinstance(result, Deferred):
            self._reserved.add(number)
            result.addBoth(self._release, number)
        return result

    def _release(self, result: Any, number: int) -> Any:
        self._reserved.discard(number)
        return result

    def hold(self, fid: Fid, result: Any) -> Any:
        """Keep FID from being opened or walked while the Deferred RESULT waits to change it."""
        if isinstance(result, Deferred):
            fid.busy = True
            result.addBoth(self._let_go, fid)
        return result

    def _let_go(self, result: Any, fid: Fid) -> Any:
        fid.busy = False
        return result

    def drop(self) -> None:
        """All fids end without a clunk: the connection is lost, or a Tversion begins anew."""
        fids = list(self.fids.values())
        self.fids.clear()
        for fid in fids:
            fid.gone = True
            if fid.file is not None:
                maybeDeferred(self.close, fid, False).addErrback(self._report)

    def _report(self, failure: Failure) -> None:
        if failure.value is not None and not failure.check(NinepError, CancelledError):
            self.report(failure.value)

    # Replies

    def reply(self, tag: int, message: Any) -> bytes:
        """The bytes of MESSAGE; EMSGSIZE where they are more than msize."""
        return self.fitting(m.encode(tag, message, self.dialect))

    def fitting(self, reply: bytes) -> bytes:
        """REPLY; EMSGSIZE where it is longer than msize."""
        if len(reply) > self.msize:
            raise NinepError(errno.EMSGSIZE)
        return reply

    def done(self, _: Any, tag: int, cls: Any) -> bytes:
        """The reply of the empty message CLS."""
        return m.HEAD.pack(m.HEAD.size, m.TYPES[cls], tag)

    def check_name(self, name: str) -> None:
        """Refuse a NAME that no new file may have."""
        if name in _NO_NAMES or name == ".." or "/" in name or "\0" in name:
            raise NinepError(errno.EINVAL, "a file can't have that name")
        if len(name.encode("utf-8", "surrogateescape")) > self.limits.name:
            raise NinepError(errno.ENAMETOOLONG, f"a name has at most {self.limits.name} bytes")

    # The messages

    def auth(self, *_: Any) -> Reply:
        """Authentication isn't part of the session: who a peer is the transport knows."""
        # The number that diod's clients take for "none needed"; at any other they give up.
        raise NinepError(errno.ENOENT, "no authentication is needed", "authentication not required")

    def attach(self, tag: int, number: int, afid: int, uname: str, aname: str, n_uname: int) -> Reply:
        """A fid for the root of the tree."""
        if afid != m.NOFID:
            raise NinepError(errno.EINVAL, "afid must be NOFID: no authentication is needed")
        self.check_free(number)
        user = None if n_uname == NONUNAME else n_uname
        root = self.filesystem.attach(Attach(self.peer, uname, user, aname))
        return then(self.reserve(number, root), self._attached, tag, number)

    def _attached(self, root: Any, tag: int, number: int) -> bytes:
        self.fids[number] = Fid(root)
        return self.reply(tag, m.Rattach(root.qid))

    def walk(self, tag: int, number: int, newnumber: int, names: tuple[str, ...]) -> Reply:
        """A further fid, as far as all NAMES exist; qids for those that do.

        walk(5) forbids to walk from an open fid, yet 9pfuse does so; it does no harm as long as the
        fid itself stays.
        """
        fid = self.fid(number)
        if newnumber != number:
            self.check_free(newnumber)
        elif names:
            self.unopened(number)
        if len(names) > m.MAXWELEM:
            raise NinepError(errno.EINVAL, f"a walk has at most {m.MAXWELEM} names")
        if not names:
            if newnumber != number:
                self.fids[newnumber] = Fid(fid.node)
            return _walk_head.pack(9, _RWALK, tag, 0)
        reply = self._walk_on(fid.node, tag, newnumber, names, [])
        if type(reply) is not bytes:
            self.reserve(newnumber, self.hold(fid, reply) if newnumber == number else reply)
        return reply

    def _walk_on(self, node: Any, tag: int, number: int, names: tuple[str, ...], qids: list[bytes]) -> Reply:
        """Walk from NODE by those of NAMES that have no place in QIDS yet."""
        for name in names[len(qids) :] if qids else names:
            try:
                node = self._child(node, name)
            except NinepError:
                if not qids:
                    raise
                return self._walked(tag, qids)
            if isinstance(node, Deferred):
                arguments = (tag, number, names, qids)
                return node.addCallbacks(self._stepped, self._stumbled, arguments, {}, (tag, qids))
            qids.append(_qid.pack(*node.qid))
        self.fids[number] = Fid(node)
        return self._walked(tag, qids)

    def _stepped(self, node: Any, tag: int, number: int, names: tuple[str, ...], qids: list[bytes]) -> Reply:
        qids.append(_qid.pack(*node.qid))
        return self._walk_on(node, tag, number, names, qids)

    def _stumbled(self, failure: Failure, tag: int, qids: list[bytes]) -> Any:
        if not qids or not failure.check(NinepError):
            return failure
        return self._walked(tag, qids)

    def _walked(self, tag: int, qids: list[bytes]) -> bytes:
        count = len(qids)
        return _walk_head.pack(9 + 13 * count, _RWALK, tag, count) + b"".join(qids)

    def _child(self, node: Any, name: str) -> Any:
        if name == "..":
            if not node.qid.type & QTDIR:
                raise NinepError(errno.ENOTDIR)
            return node.parent
        if name in _NO_NAMES or "/" in name or "\0" in name:
            raise NinepError(errno.ENOENT)
        if len(name) > self.limits.name:
            raise NinepError(errno.ENAMETOOLONG)
        return node.walk(name)

    def open_file(self, fid: Fid, mode: int, tag: int, cls: Any) -> Reply:
        """Open FID, with MODE as in `INode.open`; the reply is a CLS."""
        if fid.node.qid.type & QTDIR and mode & ~OCEXEC != OREAD:
            raise NinepError(errno.EISDIR)
        file = fid.node.open(mode & ~ORCLOSE)
        if isinstance(file, Deferred):
            return self.hold(fid, file).addCallback(self.opened, fid, fid.node, mode, tag, cls)
        return self.opened(file, fid, fid.node, mode, tag, cls)

    def opened(self, file: Any, fid: Fid, node: Any, mode: int, tag: int, cls: Any) -> bytes:
        """FID is from now on NODE with the open FILE."""
        fid.node, fid.file = node, file
        qid = node.qid
        if fid.gone:
            maybeDeferred(self.close, fid, False).addErrback(self._report)
            raise NinepError(errno.EBADF, "the fid was clunked before its file was open")
        fid.remove = bool(mode & ORCLOSE)
        iounit = 0
        if qid.type & QTDIR:
            fid.read = self.directory_reader(file)
            fid.entries = file.entries
        else:
            iounit = min(file.iounit, self.largest)
            access = mode & 3
            if access in (OREAD, ORDWR, OEXEC):
                fid.read = file.read
            if access in (OWRITE, ORDWR):
                fid.write = file.write
        return _open_reply.pack(24, m.TYPES[cls], tag, *qid, iounit)

    def directory_reader(self, file: Any) -> Callable[[int, int], Any]:
        """What answers a Tread of the open directory FILE."""
        raise NotImplementedError

    def read(self, tag: int, number: int, offset: int, count: int) -> Reply:
        """Never more than asked, nor than msize has room for."""
        read = self.fid(number).read
        if read is None:
            raise NinepError(errno.EBADF, f"fid {number} is not open for reading", "bad use of fid")
        if count > self.largest:
            count = self.largest
        data = read(offset, count)
        if type(data) is not bytes and isinstance(data, Deferred):
            return self.wait_for_data(data, count).addCallback(self._have_read, tag, count)
        return self._have_read(data, tag, count)

    def wait_for_data(self, data: Deferred[Any], count: int) -> Deferred[Any]:
        """Count a read that waits; EAGAIN where all of them together could bring too much."""
        if self._waiting_bytes + count > self.limits.waiting_bytes:
            data.addErrback(self._report)
            data.cancel()
            raise NinepError(errno.EAGAIN, "too many reads wait on this connection")
        self._waiting_bytes += count
        return data.addBoth(self._waited_for, count)

    def _waited_for(self, result: Any, count: int) -> Any:
        self._waiting_bytes -= count
        return result

    def _have_read(self, data: bytes, tag: int, count: int) -> bytes:
        length = len(data)
        if length > count:
            data, length = data[:count], count
        return _read_head.pack(11 + length, _RREAD, tag, length) + data

    def write(self, tag: int, number: int, offset: int, data: bytes) -> Reply:
        """How many bytes were taken."""
        write = self.fid(number).write
        if write is None:
            raise NinepError(errno.EBADF, f"fid {number} is not open for writing", "bad use of fid")
        written = write(offset, data)
        if type(written) is int:
            return self._written(written, tag)
        return then(written, self._written, tag)

    def _written(self, count: int, tag: int) -> bytes:
        return _write_reply.pack(11, _RWRITE, tag, count)

    def clunk(self, tag: int, number: int) -> Reply:
        """The fid is gone, whatever closing its file brings."""
        fid = self.fid(number)
        del self.fids[number]
        closed = self.close(fid, True)
        if closed is not None and isinstance(closed, Deferred):
            return closed.addCallback(self.done, tag, m.Rclunk)
        return m.HEAD.pack(7, _RCLUNK, tag)

    def close(self, fid: Fid, clunked: bool) -> Any:
        """Let go of what FID holds: None, or a Deferred.  `IOpenFile.close` tells what CLUNKED means."""
        fid.gone = True
        file, fid.file = fid.file, None
        if file is None:
            return None
        if not fid.remove:
            return file.close(clunked)
        return maybeDeferred(file.close, clunked).addCallback(lambda _: self._remove_closed(fid.node))

    def _remove_closed(self, node: Any) -> Any:
        return maybeDeferred(node.remove).addErrback(self._report)

    def remove(self, tag: int, number: int) -> Reply:
        """The fid is gone, even where the file can't be removed."""
        fid = self.fid(number)
        del self.fids[number]
        fid.remove = False
        removed = maybeDeferred(fid.node.remove).addBoth(self._close_removed, fid)
        return removed.addCallback(self.done, tag, m.Rremove)

    def _close_removed(self, result: Any, fid: Fid) -> Any:
        closed = maybeDeferred(self.close, fid, True).addErrback(self._report)
        return closed.addCallback(lambda _: result)
