"""One connection's 9P, without the connection: bytes in, bytes out.

A `Session` cuts what it receives into messages, hands each to its handler, and gives back the replies
that are ready, all in one piece.  A reply that had to wait goes out through `write`.  It knows versions,
tags and flushes; fids are the affair of `jobd.ninep.handlers`.

Errors become replies here, in `_refusal`, and nowhere else.  A peer can't make a session raise: what is
no 9P at all ends it, which `closed` tells.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from jobd.ninep import messages as m
from jobd.ninep.errors import NinepError, ProtocolError
from jobd.ninep.handlers import Handlers, Reply
from jobd.ninep.handlers_linux import LinuxHandlers
from jobd.ninep.handlers_plan9 import Plan9Handlers
from jobd.ninep.limits import MIN_MSIZE, Limits
from jobd.ninep.trace import format_message
from jobd.ninep.traffic import Traffic

_HANDLERS: dict[str, type[Handlers]] = {
    m.VERSION_9P2000: Plan9Handlers,
    m.VERSION_9P2000_U: Plan9Handlers,
    m.VERSION_9P2000_L: LinuxHandlers,
}
_TVERSION, _RVERSION = m.TYPES[m.Tversion], m.TYPES[m.Rversion]
_TFLUSH, _RFLUSH = m.TYPES[m.Tflush], m.TYPES[m.Rflush]
_READS = frozenset((m.TYPES[m.Tread], m.TYPES[m.Treaddir]))
_HEAD_SIZE = m.HEAD.size


def negotiate(version: str) -> str:
    """The version with which a server answers VERSION: one it speaks, or "unknown".

    By version(5) what follows a period may be ignored, and an older version may be answered.
    """
    base, _, suffix = version.partition(".")
    number = base[2:]
    if not base.startswith("9P") or not (number.isascii() and number.isdecimal()) or int(number) < 2000:
        return m.VERSION_UNKNOWN
    known = f"9P2000.{suffix.partition('.')[0]}"
    return known if number == "2000" and known in m.DIALECTS else m.VERSION_9P2000


class _Waiting:
    """A request that is not answered yet."""

    __slots__ = ("deferred", "dropped", "flushed", "flushes", "is_read", "tag")

    def __init__(self, tag: int, deferred: Deferred[bytes] | None, is_read: bool) -> None:
        self.tag = tag
        self.deferred = deferred
        """None of a Tflush, which waits for another request."""
        self.is_read = is_read
        self.flushed = False
        self.dropped = False
        """Whether its reply is no longer wanted: the connection is lost, or a Tversion came."""
        self.flushes: list[_Waiting] = []
        """Each Tflush that waits for this request, in the order they came."""


class Session:
    """The server's end of a 9P connection.

    FILESYSTEM is an `IFilesystem`; PEER is handed to its `attach`.  WRITE sends replies that had to
    wait.  TRACE is called with a line for each message.  REPORT is called with each exception of the
    file system that is no `NinepError`.  TRAFFIC counts what it does.
    """

    def __init__(
        self,
        filesystem: Any,
        peer: Any = None,
        *,
        write: Callable[[bytes], object],
        limits: Limits | None = None,
        trace: Callable[[str], object] | None = None,
        report: Callable[[BaseException], object] | None = None,
        traffic: Traffic | None = None,
    ) -> None:
        self.closed: ProtocolError | None = None
        """Why the connection must end, once it must."""
        self.throttled = False
        """Whether input is left that waits for the peer to read: `receive(b"")` goes on with it."""
        self._filesystem = filesystem
        self._peer = peer
        self._write = write
        self._limits = limits or Limits()
        self._trace = trace
        self._report = report or _log
        self._traffic = traffic or Traffic()
        self._dialect = m.PLAIN
        self._msize = min(8192, self._limits.msize)
        self._handlers: Handlers | None = None
        self._table = self._make_table({})
        self._waiting: dict[int, _Waiting] = {}
        self._replies: list[bytes] | None = None
        self._rest = bytearray()
        self._needed = 0

    @property
    def attached(self) -> bool:
        """Whether there is a fid: somebody was let in."""
        return self._handlers is not None and bool(self._handlers.fids)

    # Bytes to messages

    def receive(self, data: bytes) -> bytes:
        """Take what the peer sent; the replies to send at once."""
        if self.closed is not None:
            return b""
        if self._rest:
            self._rest += data
            if len(self._rest) < self._needed:
                return b""
            data = bytes(self._rest)
        replies = self._replies = []
        try:
            position = self._handle_all(data, replies)
        except ProtocolError as error:
            self.closed = error
            position = len(data)
        finally:
            self._replies = None
        self._rest = bytearray(data[position:])
        return b"".join(replies)

    def _handle_all(self, data: bytes, replies: list[bytes]) -> int:
        """Handle the whole messages in DATA and add to REPLIES; where the first of the rest begins."""
        unpack_head, waiting, trace = m.HEAD.unpack_from, self._waiting, self._trace
        room, types = self._limits.reply_bytes, self._traffic.types
        position, end = 0, len(data)
        self.throttled = False
        while end - position >= _HEAD_SIZE:
            size, type_, tag = unpack_head(data, position)
            after = position + size
            if after > end or size < _HEAD_SIZE:
                self._check_size(size)
                self._needed = size
                return position
            if size > self._msize:
                self._check_size(size)
            if room <= 0:
                self.throttled = True
                self._needed = 0
                return position
            types[type_] += 1
            if trace is not None:
                trace("-> " + format_message(data[position:after], self._dialect))
            try:
                if waiting:
                    self._check_tag(tag, type_)
                unpack, handle = self._table[type_]
                reply = handle(tag, *unpack(data, position + _HEAD_SIZE, after))
            except ProtocolError:
                raise
            except Exception as error:
                reply = self._refusal(tag, error)
            position = after
            if type(reply) is bytes:
                if trace is not None:
                    trace("<- " + format_message(reply, self._dialect))
                room -= len(reply)
                replies.append(reply)
            elif reply is not None:
                self._wait(tag, reply, type_ in _READS)
        self._needed = _HEAD_SIZE
        return position

    def _check_size(self, size: int) -> None:
        if not _HEAD_SIZE <= size <= self._msize:
            raise ProtocolError(f"a message of {size} bytes, where {_HEAD_SIZE} to {self._msize} are allowed")

    def _make_table(self, handlers: dict[Any, Callable[..., Reply]]) -> list[Any]:
        """For each type of message: what takes its fields out of the bytes, and what handles them."""
        unknown = self._unversioned if self._handlers is None else self._unknown
        table: list[Any] = [(_no_fields, self._misplaced if type_ & 1 else unknown) for type_ in range(256)]
        handlers = handlers | {m.Tversion: self._version}
        if self._handlers is not None:
            handlers[m.Tflush] = self._flush
        for cls, handle in handlers.items():
            type_ = m.TYPES[cls]
            table[type_] = self._dialect.layouts[type_].unpack, handle
        return table

    def _unknown(self, _tag: int) -> Reply:
        raise NinepError(errno.EOPNOTSUPP, f"{self._dialect.version} has no such message")

    def _unversioned(self, _tag: int) -> Reply:
        raise NinepError(errno.EPROTO, "a connection begins with a Tversion")

    def _misplaced(self, _tag: int) -> Reply:
        raise ProtocolError("a reply, where requests are expected")

    # Replies and errors

    def _wait(self, tag: int, deferred: Deferred[bytes], is_read: bool) -> None:
        waiting = self._waiting[tag] = _Waiting(tag, deferred, is_read)
        deferred.addBoth(self._answered, waiting)

    def _answered(self, result: bytes | Failure, waiting: _Waiting) -> None:
        """A request that waited has its RESULT: it and each Tflush that waits for it are answered."""
        if isinstance(result, Failure):
            error = result.value
            cancelled = isinstance(error, CancelledError) and (waiting.flushed or waiting.dropped)
            reply = b"" if cancelled or error is None else self._refusal(waiting.tag, error)
        else:
            reply = result
        if not waiting.dropped:
            replies = [reply] if reply else []
            self._finish(waiting, replies)
            self._send(replies)

    def _finish(self, waiting: _Waiting, replies: list[bytes]) -> None:
        """Forget a request; add to REPLIES the Rflush of each Tflush that waited for it, first to last."""
        del self._waiting[waiting.tag]
        for flush in waiting.flushes:
            replies.append(m.HEAD.pack(_HEAD_SIZE, _RFLUSH, flush.tag))
            self._finish(flush, replies)

    def _send(self, replies: list[bytes]) -> None:
        if self._trace is not None:
            for reply in replies:
                self._trace("<- " + format_message(reply, self._dialect))
        if self._replies is not None:
            self._replies += replies
        elif replies:
            self._write(b"".join(replies))

    def _refusal(self, tag: int, error: BaseException) -> bytes:
        """The reply that says a request was refused."""
        if isinstance(error, CancelledError):
            error = NinepError(errno.EINTR)
        elif not isinstance(error, NinepError):
            self._report(error)
            error = NinepError(errno.EIO)
        self._traffic.errors[error.errno] += 1
        reply = m.encode(tag, self._dialect.refusal(error.ename, error.errno), self._dialect)
        if len(reply) > self._msize:
            reply = m.encode(tag, self._dialect.refusal("i/o error", error.errno), self._dialect)
        return reply

    # Tags

    def _check_tag(self, tag: int, type_: int) -> None:
        """Refuse a request whose tag is in use, or one too many."""
        if type_ == _TVERSION:
            return
        if tag in self._waiting:
            raise NinepError(errno.EPROTO, f"tag {tag} is in use", "duplicate tag")
        if len(self._waiting) >= self._limits.requests and type_ != _TFLUSH:
            raise NinepError(errno.EAGAIN, f"at most {self._limits.requests} requests may wait")

    def _flush(self, tag: int, oldtag: int) -> Reply:
        """Answered when the old request is, as flush(5) demands; a read is cancelled, the rest waited for."""
        old = self._waiting.get(oldtag)
        if old is None:
            return m.HEAD.pack(_HEAD_SIZE, _RFLUSH, tag)
        flush = self._waiting[tag] = _Waiting(tag, None, False)
        old.flushes.append(flush)
        if old.is_read and not old.flushed and old.deferred is not None:
            old.flushed = True
            old.deferred.cancel()
        return None

    # Versions

    def _version(self, tag: int, msize: int, version: str) -> Reply:
        """Begin anew: whatever was opened or asked before is gone."""
        self.lost()
        answer = negotiate(version)
        if answer != m.VERSION_UNKNOWN and msize < MIN_MSIZE:
            raise NinepError(errno.EMSGSIZE, f"msize must be {MIN_MSIZE} at least")
        msize = min(msize, self._limits.msize)
        reply = m.encode(tag, m.Rversion(msize, answer))
        if answer != m.VERSION_UNKNOWN:
            self._msize = msize
            self._dialect = m.DIALECTS[answer]
            self._handlers = _HANDLERS[answer](
                self._filesystem, self._peer, self._dialect, msize, self._limits, self._report
            )
            self._table = self._make_table(self._handlers.table())
        return reply

    def lost(self) -> None:
        """The connection is gone: cancel the reads that wait, close all that is open."""
        waiting, handlers = list(self._waiting.values()), self._handlers
        self._waiting.clear()
        self._handlers = None
        self._dialect = m.PLAIN
        self._table = self._make_table({})
        for request in waiting:
            request.dropped = True
        for request in waiting:
            if request.is_read and request.deferred is not None:
                request.deferred.cancel()
        if handlers is not None:
            handlers.drop()


def _no_fields(_buffer: bytes, _start: int, _end: int) -> tuple[Any, ...]:
    return ()


def _log(error: BaseException) -> None:
    logging.getLogger(__name__).error("a file system failed", exc_info=error)
