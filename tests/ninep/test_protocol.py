"""The Twisted protocol: transports, backpressure, limits of connections, the eager send."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any
from unittest import SkipTest

from twisted.internet import reactor, tcp
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import (
    SSL4ClientEndpoint,
    SSL4ServerEndpoint,
    TCP4ClientEndpoint,
    TCP4ServerEndpoint,
    UNIXClientEndpoint,
    UNIXServerEndpoint,
)
from twisted.internet.error import ConnectionClosed
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.trial.unittest import SynchronousTestCase, TestCase

from jobd.ninep import messages as m
from jobd.ninep.client import connect
from jobd.ninep.files import Filesystem, TextFile
from jobd.ninep.interfaces import Attach
from jobd.ninep.limits import Limits
from jobd.ninep.protocol import NinepFactory, NinepProtocol, send
from tests.ninep.trees import UnixDirectory, slow_tree

try:
    from OpenSSL import crypto
    from twisted.internet.ssl import CertificateOptions, KeyPair
except ImportError:
    CertificateOptions = None

TVERSION = m.encode(m.NOTAG, m.Tversion(1 << 20, "9P2000"))
ATTACH = m.encode(1, m.Tattach(0, m.NOFID, "", ""))


class Seen(Filesystem):
    """Remembers who attached."""

    def __init__(self) -> None:
        super().__init__(UnixDirectory(None, "/", 0o777))
        self.seen: list[Any] = []

    def attach(self, request: Attach) -> Any:
        self.seen.append(request.peer)
        return super().attach(request)


class ProtocolCase(SynchronousTestCase):
    def connected(self, factory: NinepFactory) -> tuple[NinepProtocol, StringTransportWithDisconnection]:
        protocol = factory.buildProtocol(None)
        transport = StringTransportWithDisconnection(peerAddress=IPv4Address("TCP", "127.0.0.1", 9))
        transport.protocol = protocol
        protocol.makeConnection(transport)
        self.addCleanup(lambda: transport.connected and transport.loseConnection())
        return protocol, transport


class ConnectionTests(ProtocolCase):
    def test_one_write(self) -> None:
        """All replies to what was received in one piece leave in one write."""
        protocol, transport = self.connected(NinepFactory(Seen()))
        writes = []
        transport.write = writes.append
        protocol.dataReceived(TVERSION + ATTACH + m.encode(2, m.Tstat(0)))
        self.assertEqual(len(writes), 1)

    def test_identify(self) -> None:
        """Who a peer is, is asked before a byte is read, and told at each attach."""
        filesystem = Seen()
        asked = []

        def identify(transport: Any) -> str:
            asked.append(transport)
            return "glenda"

        protocol, transport = self.connected(NinepFactory(filesystem, identify))
        self.assertEqual(asked, [transport])
        protocol.dataReceived(TVERSION + ATTACH)
        self.assertEqual(filesystem.seen, ["glenda"])

    def test_not_identified(self) -> None:
        """A peer that can't be identified is disconnected, and nothing it sends is looked at."""

        def identify(transport: Any) -> Any:
            raise LookupError("nobody owns this socket")

        factory = NinepFactory(Seen(), identify)
        protocol, transport = self.connected(factory)
        self.assertFalse(transport.connected)
        protocol.dataReceived(TVERSION)
        self.assertEqual(transport.value(), b"")
        self.assertEqual(factory.connections, set())

    def test_too_many(self) -> None:
        """Connections beyond the limit are refused, until one ends."""
        factory = NinepFactory(Seen(), limits=Limits(connections=2))
        (first, _), (second, _) = self.connected(factory), self.connected(factory)
        self.assertFalse(self.connected(factory)[1].connected)
        self.assertEqual(factory.connections, {first, second})
        first.transport.loseConnection()
        self.assertTrue(self.connected(factory)[1].connected)

    def test_traffic(self) -> None:
        """Requests are counted by type and refusals by errno, over all connections, ended ones too."""
        factory = NinepFactory(Seen(), limits=Limits(connections=1))
        protocol, transport = self.connected(factory)
        protocol.dataReceived(TVERSION + ATTACH)
        protocol.dataReceived(m.encode(2, m.Tclunk(9)) * 2 + m.HEAD.pack(m.HEAD.size, 254, 3))
        self.connected(factory)
        traffic = factory.traffic
        self.assertEqual((traffic.connections, traffic.refused), (1, 1))
        transport.loseConnection()
        self.connected(factory)[0].dataReceived(TVERSION)
        self.assertEqual((traffic.connections, traffic.refused), (2, 1))
        self.assertEqual(traffic.requests, {"Tversion": 2, "Tattach": 1, "Tclunk": 2, "unknown": 1})
        self.assertEqual(traffic.errors, {errno.EBADF: 2, errno.EOPNOTSUPP: 1})

    def test_malformed(self) -> None:
        """A peer that sends no 9P is disconnected after the replies to what was; others stay."""
        factory = NinepFactory(Seen())
        (protocol, transport), (_, other) = self.connected(factory), self.connected(factory)
        protocol.dataReceived(TVERSION + b"GET / HTTP/1.1\r\n")
        self.assertEqual(m.decode(transport.value()).message.version, "9P2000")
        self.assertFalse(transport.connected)
        self.assertTrue(other.connected)

    def test_closes_files(self) -> None:
        """When the connection ends, its files are closed and its reads cancelled."""
        filesystem, root = slow_tree()
        protocol, transport = self.connected(NinepFactory(filesystem))
        protocol.dataReceived(TVERSION + ATTACH)
        protocol.dataReceived(m.encode(1, m.Twalk(0, 1, ("slow",))) + m.encode(1, m.Topen(1, 0)))
        protocol.dataReceived(m.encode(1, m.Tread(1, 0, 10)))
        transport.loseConnection()
        self.assertEqual((root.slow.closed, root.slow.cancelled), ([False], ["read"]))

    def test_late_reply(self) -> None:
        """A reply that had to wait is written when it comes."""
        filesystem, root = slow_tree()
        protocol, transport = self.connected(NinepFactory(filesystem))
        protocol.dataReceived(TVERSION + ATTACH)
        protocol.dataReceived(m.encode(1, m.Twalk(0, 1, ("slow",))) + m.encode(1, m.Tstat(1)))
        transport.clear()
        root.slow.answer("stat", root.stat())
        self.assertEqual(m.decode(transport.value()).message.stat.name, "/")

    def test_failure_is_logged(self) -> None:
        """An exception of the file system is logged with its traceback."""
        filesystem = Filesystem(None)
        protocol, _ = self.connected(NinepFactory(filesystem))
        protocol.dataReceived(TVERSION + ATTACH)
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)

    def test_trace(self) -> None:
        """A trace names the peer and has a line for each message."""
        lines: list[str] = []
        protocol, _ = self.connected(NinepFactory(Seen(), trace=lines.append))
        protocol.dataReceived(TVERSION)
        self.assertEqual(
            lines,
            [
                "127.0.0.1:9 -> Tversion tag 65535 msize 1048576 version '9P2000'",
                "127.0.0.1:9 <- Rversion tag 65535 msize 1048576 version '9P2000'",
            ],
        )

    def test_idle(self) -> None:
        """A peer that says nothing for too long is disconnected, if there is such a limit."""
        clock = Clock()
        self.patch(NinepProtocol, "callLater", lambda _, *args: clock.callLater(*args))
        protocol, transport = self.connected(NinepFactory(Seen(), limits=Limits(idle=10)))
        protocol.dataReceived(TVERSION + ATTACH)
        clock.advance(9)
        protocol.dataReceived(m.encode(2, m.Tstat(0)))
        clock.advance(9)
        self.assertTrue(transport.connected)
        clock.advance(2)
        self.assertFalse(transport.connected)
        self.connected(NinepFactory(Seen()))[0].dataReceived(TVERSION + ATTACH)
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_late_attach(self) -> None:
        """An attach that had to wait is one."""
        clock = Clock()
        self.patch(NinepProtocol, "callLater", lambda _, *args: clock.callLater(*args))
        filesystem = Seen()
        root: Deferred[Any] = Deferred()
        self.patch(filesystem, "attach", lambda _: root)
        protocol, transport = self.connected(NinepFactory(filesystem))
        protocol.dataReceived(TVERSION + ATTACH)
        clock.advance(50)
        root.callback(filesystem.root)
        clock.advance(50)
        self.assertTrue(transport.connected)
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_nobody_attaches(self) -> None:
        """A peer that doesn't attach in time is disconnected, whatever else it says."""
        clock = Clock()
        self.patch(NinepProtocol, "callLater", lambda _, *args: clock.callLater(*args))
        protocol, transport = self.connected(NinepFactory(Seen(), limits=Limits(greeting=10)))
        clock.advance(9)
        protocol.dataReceived(TVERSION)
        clock.advance(0.5)
        self.assertTrue(transport.connected)
        clock.advance(0.5)
        self.assertFalse(transport.connected)


class BackpressureTests(ProtocolCase):
    def test_pauses(self) -> None:
        """While the peer doesn't read its replies none of its requests is read."""
        protocol, transport = self.connected(NinepFactory(Seen()))
        self.assertIs(transport.producer, protocol)
        transport.producer.pauseProducing()
        self.assertEqual(transport.producerState, "paused")
        transport.producer.resumeProducing()
        self.assertEqual(transport.producerState, "producing")

    def test_stops_in_the_middle(self) -> None:
        """Even of what has been read no more is answered than fits, and the rest when there is room."""
        root = UnixDirectory(None, "/", 0o777)
        root.children.add(TextFile(root, "text", lambda: "x" * 1000))
        protocol, transport = self.connected(NinepFactory(Filesystem(root), limits=Limits(reply_bytes=3000)))
        protocol.dataReceived(TVERSION + ATTACH)
        protocol.dataReceived(m.encode(1, m.Twalk(0, 1, ("text",))) + m.encode(1, m.Topen(1, 0)))
        transport.clear()
        write = transport.write

        def write_and_fill(data: bytes) -> None:
            write(data)
            protocol.pauseProducing()

        transport.write = write_and_fill
        protocol.dataReceived(b"".join(m.encode(tag, m.Tread(1, 0, 1000)) for tag in range(10)))
        self.assertEqual(len(transport.value()), 3 * 1011)
        for count in (6, 9, 10, 10):
            protocol.resumeProducing()
            self.assertEqual(len(transport.value()), count * 1011)


class SendTests(TestCase):
    """The eager send, on real sockets."""

    async def pair(self) -> tuple[tcp.Server, socket.socket]:
        """A server's transport, and the plain socket at its other end."""
        made: Deferred[Any] = Deferred()

        class Waiting(NinepFactory):
            def buildProtocol(self, addr: Any) -> Any:
                protocol = super().buildProtocol(addr)
                reactor.callLater(0, made.callback, protocol)
                return protocol

        port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(Waiting(Seen()))
        self.addCleanup(port.stopListening)
        other = socket.create_connection(("127.0.0.1", port.getHost().port))
        self.addCleanup(other.close)
        protocol = await made
        self.addCleanup(protocol.transport.abortConnection)
        return protocol.transport, other

    async def test_at_once(self) -> None:
        """Where nothing is queued, bytes are sent before the reactor turns."""
        transport, other = await self.pair()
        self.assertIs(type(transport), tcp.Server)
        send(transport, b"hello")
        self.assertEqual(other.recv(100), b"hello")

    async def test_in_order(self) -> None:
        """Bytes arrive in order though some are sent at once and some are queued."""
        transport, other = await self.pair()
        pieces = [bytes([n]) * 200_000 for n in range(40)]
        transport.write(b"first")
        for piece in pieces:
            send(transport, piece)
        other.setblocking(False)
        received = b""
        expected = b"first" + b"".join(pieces)
        while len(received) < len(expected):
            try:
                received += other.recv(1 << 20)
            except BlockingIOError:
                await deferLater(reactor, 0)
        self.assertEqual(received, expected)

    async def test_unknown_twisted(self) -> None:
        """Where Twisted doesn't show what it has queued, its own write is used."""
        transport, _ = await self.pair()
        written = []
        self.patch(transport, "write", written.append)
        del transport._tempDataBuffer
        send(transport, b"hello")
        self.assertEqual(written, [b"hello"])
        transport._tempDataBuffer = []

    def test_other_transports(self) -> None:
        """Any other transport's write is used."""
        transport = StringTransportWithDisconnection()
        send(transport, b"hello")
        self.assertEqual(transport.value(), b"hello")


def tls_context() -> Any:
    """A server's TLS options, with a certificate made for this test."""
    if CertificateOptions is None:
        raise SkipTest("pyOpenSSL is not installed")
    key = KeyPair.generate(kind=crypto.TYPE_RSA, size=2048)
    return key.selfSignedCert(1, CN="localhost").options()


class TransportTests(TestCase):
    """Whole conversations over real transports."""

    def filesystem(self) -> Filesystem:
        return Filesystem(UnixDirectory(None, "/", 0o777))

    async def converse(self, server: Any, client: Any) -> None:
        """Write and read a large file from CLIENT's endpoint, on SERVER's."""
        factory = NinepFactory(self.filesystem())
        port = await server.listen(factory)
        self.addCleanup(port.stopListening)
        connected = await connect(client(port), msize=1 << 16)
        data = os.urandom(700_000)
        await connected.write_file("large", data, perm=0o644)
        self.assertEqual(await connected.read_file("large"), data)
        reads = [connected.read_file("large") for _ in range(5)]
        for read in reads:
            self.assertEqual(await read, data)
        connected.disconnect()
        while factory.connections:
            await deferLater(reactor, 0.001)
        with self.assertRaises(ConnectionClosed):
            await connected.read_file("large")

    async def test_tcp(self) -> None:
        """9P works over TCP."""
        await self.converse(
            TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1"),
            lambda port: TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port),
        )

    async def test_unix(self) -> None:
        """9P works over a Unix socket."""
        path = os.path.join("/tmp", f"ninep-{os.getpid()}.sock")
        await self.converse(UNIXServerEndpoint(reactor, path), lambda _: UNIXClientEndpoint(reactor, path))

    async def test_tls(self) -> None:
        """9P works over TLS, and a malformed message ends such a connection too."""
        context = tls_context()
        server = SSL4ServerEndpoint(reactor, 0, context, interface="127.0.0.1")
        options = CertificateOptions(verify=False)
        await self.converse(
            server, lambda port: SSL4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port, options)
        )
        factory = NinepFactory(self.filesystem())
        port = await server.listen(factory)
        self.addCleanup(port.stopListening)
        endpoint = SSL4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port, options)
        lost: Deferred[None] = Deferred()
        client = await endpoint.connect(Factory.forProtocol(Protocol))
        client.connectionLost = lambda reason=None: lost.callback(None)
        client.transport.write(TVERSION + bytes(7))
        await lost
        while factory.connections:
            await deferLater(reactor, 0.001)

    async def test_names(self) -> None:
        """A Unix socket's peer, which has no address, is called unix."""
        lines: list[str] = []
        protocol = NinepFactory(self.filesystem(), trace=lines.append).buildProtocol(None)
        protocol.makeConnection(StringTransportWithDisconnection(peerAddress=UNIXAddress(None)))
        self.addCleanup(protocol.connectionLost)
        protocol.dataReceived(TVERSION)
        self.assertTrue(lines[0].startswith("unix -> "))
