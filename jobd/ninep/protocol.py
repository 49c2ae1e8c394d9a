"""The 9P server as a Twisted protocol: a session for each connection, and the care of its transport."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IAddress, IPushProducer, ITCPTransport, IUNIXTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.protocols.policies import TimeoutMixin
from twisted.python.failure import Failure
from zope.interface import implementer

from jobd.ninep.limits import Limits
from jobd.ninep.poller import PLAIN_TRANSPORTS, Poller
from jobd.ninep.session import Session
from jobd.ninep.traffic import Traffic


@implementer(IPushProducer)
class NinepProtocol(Protocol, TimeoutMixin):
    """Bytes between a transport and a `Session`.

    It is the producer of its own transport: while the peer doesn't read its replies, no request is read.
    """

    log = Logger()
    factory: NinepFactory
    transport: Any

    def __init__(self) -> None:
        self._session: Session | None = None
        self._paused = False
        self._greeted = False
        """Whether somebody has attached."""
        self._poller: Poller | None = None
        """What reads in place of the transport's reactor."""

    def connectionMade(self) -> None:
        factory, transport = self.factory, self.transport
        assert transport is not None
        if len(factory.connections) >= factory.limits.connections:
            self.log.warn(
                "{peer}: refused, {count} are connected",
                peer=_name(transport),
                count=len(factory.connections),
            )
            factory.traffic.refused += 1
            transport.abortConnection()
            return
        if factory.filesystem is None:
            self._refuse("there is no file system to serve")
            return
        try:
            peer = None if factory.identify is None else factory.identify(transport)
        except Exception as error:
            self._refuse(str(error))
            return
        # Before 24.11, Twisted's unix sockets have the method too, and it fails.
        if ITCPTransport.providedBy(transport) and not IUNIXTransport.providedBy(transport):
            transport.setTcpNoDelay(True)
        factory.connections.add(self)
        factory.traffic.connections += 1
        transport.registerProducer(self, True)
        self.setTimeout(factory.limits.greeting)
        self._session = Session(
            factory.filesystem,
            peer,
            write=partial(send, transport),
            limits=factory.limits,
            trace=factory.trace_of(transport),
            report=self._report,
            traffic=factory.traffic,
        )
        if factory.poller is not None and type(transport) in PLAIN_TRANSPORTS:
            self._poller = factory.poller
            self._poller.add(transport)

    def _refuse(self, reason: str) -> None:
        self.factory.traffic.refused += 1
        self.log.warn("{peer}: refused: {reason}", peer=_name(self.transport), reason=reason)
        self.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        session = self._session
        if session is None:
            return
        replies = session.receive(data)
        if self._greeted or self._greet(session):
            self.resetTimeout()
        if replies:
            send(self.transport, replies)
        while session.throttled and not self._paused:
            send(self.transport, session.receive(b""))
        if session.closed is not None:
            self._close(str(session.closed))

    def _close(self, reason: str) -> None:
        self.log.info("{peer}: closed: {reason}", peer=_name(self.transport), reason=reason)
        # A TLS transport waits for ever to hear from its producer.
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def _greet(self, session: Session) -> bool:
        """Whether somebody has attached by now: then the limit is that of idle peers."""
        self._greeted = session.attached
        if self._greeted:
            self.setTimeout(self.factory.limits.idle)
        return self._greeted

    def timeoutConnection(self) -> None:
        if not self._greeted and self._session is not None and self._greet(self._session):
            return  # the attach had to wait
        self._close("idle for too long" if self._greeted else "nobody attached for too long")
        # Nor is it waited for until it reads its replies.
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.setTimeout(None)
        self.factory.connections.discard(self)
        if self._poller is not None:
            self._poller.remove(self.transport)
        session, self._session = self._session, None
        if session is not None:
            session.lost()
        if not reason.check(ConnectionDone, ConnectionLost):
            self.log.info("{peer}: lost: {why}", peer=_name(self.transport), why=reason.getErrorMessage())

    def _report(self, error: BaseException) -> None:
        self.log.failure("The file system failed", Failure(error))

    # IPushProducer, called by the transport as its buffer fills and drains.

    def pauseProducing(self) -> None:
        self._paused = True
        if self._poller is not None:
            self._poller.remove(self.transport)
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        self._paused = False
        if self._poller is None:
            self.transport.resumeProducing()
        elif not self.transport.disconnecting:
            self._poller.add(self.transport)
        if self._session is not None and self._session.throttled:
            self.dataReceived(b"")

    def stopProducing(self) -> None:
        self._paused = True


class NinepFactory(Factory):
    """Serves FILESYSTEM, an `IFilesystem`, to each connection; while it is None, connections are refused.

    IDENTIFY is called with a connection's transport before a byte of it is read; what it gives is the
    `peer` of each attach.  An exception of it refuses the connection.
    TRACE is called with a line for each message.
    POLLER reads for all connections that are plain sockets, where it is given.
    """

    noisy = False

    def __init__(
        self,
        filesystem: Any,
        identify: Callable[[Any], Any] | None = None,
        limits: Limits | None = None,
        trace: Callable[[str], object] | None = None,
        poller: Poller | None = None,
    ) -> None:
        self.filesystem = filesystem
        self.identify = identify
        self.limits = limits or Limits()
        self.trace = trace
        self.poller = poller
        self.connections: set[NinepProtocol] = set()
        self.traffic = Traffic()

    def logPrefix(self) -> str:
        """What Twisted says is starting on an address."""
        return "9P server"

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        protocol = NinepProtocol()
        protocol.factory = self
        return protocol

    def trace_of(self, transport: Any) -> Callable[[str], object] | None:
        """What is to be called with each line of one connection."""
        trace = self.trace
        if trace is None:
            return None
        name = _name(transport)
        return lambda line: trace(f"{name} {line}")


def _name(transport: Any) -> str:
    """A connection's other end, for people."""
    address = transport.getPeer()
    if hasattr(address, "port"):
        return f"{address.host}:{address.port}"
    return str(getattr(address, "name", None) or "unix")


def send(transport: Any, data: bytes) -> None:
    """Write DATA, past the reactor where nothing is queued before it.

    The stock `write` waits for the next turn of the reactor: three system calls more, which are half
    of what a small request costs.  For plain TCP and Unix sockets; a TLS transport must see all bytes.
    """
    if type(transport) in PLAIN_TRANSPORTS and not _is_busy(transport):
        try:
            sent = transport.socket.send(data)
        except OSError:  # a full buffer, or an end that the write below will notice
            sent = 0
        if sent == len(data):
            return
        data = data[sent:]
    transport.write(data)


def _is_busy(transport: Any) -> bool:
    """Whether bytes are queued, TLS was started, or the end is near; True where Twisted doesn't tell."""
    queued = transport.dataBuffer or getattr(transport, "_tempDataBuffer", True)
    return bool(queued or transport.TLS or transport.disconnecting or not transport.connected)
