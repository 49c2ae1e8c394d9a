"""The client's end of a 9P connection, without the connection: requests in, bytes out, replies back.

A `ClientSession` numbers requests with tags and fids, writes them with `write`, and fires each request's
Deferred with its reply.  Cancelling that Deferred sends a Tflush.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from jobd.ninep import messages as m
from jobd.ninep.errors import NinepError, ProtocolError, from_string
from jobd.ninep.trace import format_message

_RVERSION = m.TYPES[m.Rversion]
_ERRORS = frozenset((m.TYPES[m.Rerror], m.TYPES[m.Rlerror]))


class _Pending:
    """A request that was sent and not answered."""

    __slots__ = ("deferred", "fid", "flushes", "type")

    def __init__(self, type_: int, deferred: Deferred[Any] | None) -> None:
        self.type = type_
        self.deferred = deferred
        """None once nobody waits for it: it was cancelled, or is a Tflush."""
        self.fid: int | None = None
        """The number that it makes a fid."""
        self.flushes: int | None = None
        """Of a Tflush: the tag of the request that was cancelled."""


class ClientSession:
    """Requests and replies of one connection; WRITE sends bytes, TRACE is called with a line a message."""

    def __init__(
        self, write: Callable[[bytes], object], trace: Callable[[str], object] | None = None
    ) -> None:
        self.dialect = m.PLAIN
        self.msize = 8192
        self.closed: BaseException | None = None
        """Why no further request can be sent, once that is so."""
        self._write = write
        self._trace = trace
        self._pending: dict[int, _Pending] = {}
        self._free_tags: list[int] = []
        self._next_tag = 0
        self._free_fids: list[int] = []
        self._next_fid = 0
        self._rest = bytearray()

    @property
    def largest(self) -> int:
        """Bytes of the largest read or write."""
        return self.msize - m.IOHDRSZ

    # Requests

    def version(self, version: str, msize: int) -> Deferred[m.Rversion]:
        """Begin a session: VERSION and MSIZE are what is asked for; the reply's are what holds then.

        Fails with ProtocolError where the server speaks no version that is asked for, or a later one.
        """
        self.msize = max(msize, self.msize)
        return self.request(m.Tversion(msize, version), tag=m.NOTAG).addCallback(
            self._negotiated, version, msize
        )

    def _negotiated(self, reply: m.Rversion, version: str, msize: int) -> m.Rversion:
        dialect = m.DIALECTS.get(reply.version)
        if dialect is None or reply.msize > msize or reply.msize <= m.IOHDRSZ:
            raise ProtocolError(f"{version} with msize {msize} was answered by {reply}")
        self.dialect, self.msize = dialect, reply.msize
        return reply

    def request(self, message: Any, *, tag: int | None = None, fid: int | None = None) -> Deferred[Any]:
        """Send MESSAGE; a Deferred of its reply, or of the `NinepError` that refuses it.

        Cancelling it sends a Tflush; it fails with CancelledError at once, and the tag is kept until
        the server has answered.  A TAG is chosen unless given.  FID is the number that the message
        makes a fid, which is free again when that fails.
        """
        if self.closed is not None:
            raise self.closed
        if tag is None:
            tag = self._take_tag()
        try:
            frame = m.encode(tag, message, self.dialect)
            if len(frame) > self.msize:
                raise NinepError(errno.EMSGSIZE)
        except Exception:
            self._free_tag(tag)
            raise
        deferred: Deferred[Any] = Deferred(lambda _: self._cancel(tag))
        pending = self._pending[tag] = _Pending(m.TYPES[type(message)], deferred)
        pending.fid = fid
        self._send(frame)
        return deferred

    def take_fid(self) -> int:
        """A number that is no fid yet."""
        if self._free_fids:
            return self._free_fids.pop()
        self._next_fid += 1
        return self._next_fid - 1

    def free_fid(self, fid: int) -> None:
        """FID is one no more."""
        self._free_fids.append(fid)

    def _take_tag(self) -> int:
        if self._free_tags:
            return self._free_tags.pop()
        if self._next_tag == m.NOTAG:
            raise NinepError(errno.EAGAIN, "all tags are in use")
        self._next_tag += 1
        return self._next_tag - 1

    def _free_tag(self, tag: int) -> None:
        if tag < self._next_tag:
            self._free_tags.append(tag)

    def _send(self, frame: bytes) -> None:
        if self._trace is not None:
            self._trace("-> " + format_message(frame, self.dialect))
        self._write(frame)

    def _cancel(self, tag: int) -> None:
        """The request TAG was cancelled: its tag, and the fid it may have made, wait for the Rflush."""
        pending = self._pending.get(tag)
        if pending is None:
            return
        pending.deferred = None
        flush_tag = self._take_tag()
        flush = self._pending[flush_tag] = _Pending(m.TYPES[m.Tflush], None)
        flush.flushes = tag
        self._send(m.encode(flush_tag, m.Tflush(tag)))

    # Replies

    def receive(self, data: bytes) -> None:
        """Take what the server sent; raises ProtocolError where that is no reply to what was asked."""
        self._rest += data
        position = 0
        buffer = bytes(self._rest)
        self._rest.clear()
        try:
            while len(buffer) - position >= m.HEAD.size:
                size = m.HEAD.unpack_from(buffer, position)[0]
                if not m.HEAD.size <= size <= self.msize:
                    raise ProtocolError(f"a reply of {size} bytes, where {self.msize} are allowed")
                if position + size > len(buffer):
                    break
                frame = buffer[position : position + size]
                position += size
                self._handle(frame)
        finally:
            self._rest[:0] = buffer[position:]

    def _handle(self, frame: bytes) -> None:
        if self._trace is not None:
            self._trace("<- " + format_message(frame, self.dialect))
        _, type_, tag = m.HEAD.unpack_from(frame)
        pending = self._pending.get(tag)
        if pending is None:
            raise ProtocolError(f"a reply with tag {tag}, which no request has")
        if type_ not in (pending.type + 1, *_ERRORS):
            raise ProtocolError(f"{m.NAMES.get(pending.type)} was answered by {m.NAMES.get(type_, type_)}")
        message = m.decode(frame, m.PLAIN if type_ == _RVERSION else self.dialect).message
        if pending.flushes is not None:
            self._flushed(tag, pending.flushes)
            return
        deferred = pending.deferred
        if deferred is None:
            return  # cancelled; the Rflush will come
        del self._pending[tag]
        self._free_tag(tag)
        if type_ not in _ERRORS:
            deferred.callback(message)
        else:
            if pending.fid is not None:
                self.free_fid(pending.fid)
            deferred.errback(_error_of(message))

    def _flushed(self, tag: int, oldtag: int) -> None:
        """The Tflush with TAG is answered: whatever came of the request with OLDTAG, both are over."""
        del self._pending[tag]
        old = self._pending.pop(oldtag)
        self._free_tag(tag)
        self._free_tag(oldtag)
        if old.fid is not None:
            # Whether it was made isn't known: clunk it, and don't mind if it wasn't.
            fid = old.fid
            clunked = self.request(m.Tclunk(fid)).addErrback(lambda _: None)
            clunked.addCallback(lambda _: self.free_fid(fid))

    def lost(self, reason: BaseException) -> None:
        """The connection is gone: each request that waits fails with REASON."""
        self.closed = reason
        pending, self._pending = self._pending, {}
        for request in pending.values():
            if request.deferred is not None:
                request.deferred.errback(reason)


def _error_of(message: Any) -> NinepError:
    if isinstance(message, m.Rlerror):
        return NinepError(message.ecode)
    error = from_string(message.ename)
    if message.errno:
        error = NinepError(message.errno, message.ename, message.ename)
    return error
