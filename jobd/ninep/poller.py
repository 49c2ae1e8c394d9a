"""Many connections in one turn of the reactor.

A reactor takes each ready connection by itself, which costs a third of what a small request does.  A
`Poller` is one reader of the reactor that looks after all connections of a factory, and serves those
that are ready in one turn.  It pays where many connections have a request each; see docs/design/figures.md.
"""

from __future__ import annotations

import contextlib
import select
from typing import Any

from twisted.internet import tcp, unix
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

PLAIN_TRANSPORTS = frozenset((tcp.Server, unix.Server))
"""Transports whose bytes are those of their socket: no TLS, no wrapper."""

TURN = 64
"""Connections that are served before timers and others have their turn; the rest comes in the next one."""


@implementer(IReadDescriptor)
class Poller:
    """Reads for transports in place of their reactor, as long as nothing but data comes."""

    log = Logger()

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._epoll: Any = None
        """While there is anything to read."""
        self._transports: dict[int, Any] = {}
        self._numbers: dict[Any, int] = {}

    def add(self, transport: Any) -> None:
        """Read for TRANSPORT, one of `PLAIN_TRANSPORTS`, from now on."""
        transport.stopReading()
        if transport in self._numbers:
            return
        if self._epoll is None:
            self._epoll = select.epoll()
            self._reactor.addReader(self)
        number = self._numbers[transport] = transport.fileno()
        self._transports[number] = transport
        self._epoll.register(number, select.EPOLLIN)

    def remove(self, transport: Any) -> None:
        """Read for TRANSPORT no more; it may be closed already."""
        number = self._numbers.pop(transport, None)
        if number is None:
            return
        del self._transports[number]
        with contextlib.suppress(OSError):  # a closed socket is out by itself
            self._epoll.unregister(number)
        if not self._transports:
            self._reactor.removeReader(self)
            self._epoll.close()
            self._epoll = None

    # IReadDescriptor

    def fileno(self) -> int:
        return -1 if self._epoll is None else int(self._epoll.fileno())

    def logPrefix(self) -> str:
        return "9P"

    def doRead(self) -> None:
        for number, event in self._epoll.poll(0, TURN):
            transport = self._transports.get(number)
            if transport is not None:  # else what was done for another one has ended it
                self._read(transport, event)

    def _read(self, transport: Any, event: int) -> None:
        data = b""
        if event == select.EPOLLIN and not transport.disconnecting:
            try:
                data = transport.socket.recv(transport.bufferSize)
            except BlockingIOError:
                return
            except OSError:  # as an end
                pass
        if not data:
            # The reactor knows how to tell of an end, or an error.
            self.remove(transport)
            if not transport.disconnecting:
                transport.startReading()
            return
        try:
            transport.protocol.dataReceived(data)
        except Exception:
            failure = Failure()
            self.log.failure("A protocol failed", failure)
            transport.connectionLost(failure)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor ends, and with it all that it would have read."""
        for transport in list(self._numbers):
            transport.connectionLost(Failure(ConnectionDone()))


def poller_of(reactor: Any) -> Poller | None:
    """A poller for REACTOR; None where there can be none."""
    return Poller(reactor) if hasattr(select, "epoll") and IReactorFDSet.providedBy(reactor) else None
