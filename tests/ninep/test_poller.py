"""One reader for many connections."""

from __future__ import annotations

import os
import socket
from typing import Any
from unittest import SkipTest

from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.task import Clock, deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from jobd.ninep import messages as m
from jobd.ninep.client import NinepClient, connect
from jobd.ninep.files import Filesystem
from jobd.ninep.poller import poller_of
from jobd.ninep.protocol import NinepFactory
from tests.ninep.trees import UnixDirectory

TVERSION = m.encode(m.NOTAG, m.Tversion(1 << 16, "9P2000"))


class PollerTests(TestCase):
    async def setUp(self) -> None:
        poller = poller_of(reactor)
        if poller is None:
            raise SkipTest("no epoll, or a reactor without file descriptors")
        self.poller = poller
        self.factory = NinepFactory(Filesystem(UnixDirectory(None, "/", 0o777)), poller=poller)
        self.port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(self.factory)
        self.addCleanup(self.port.stopListening)

    async def until(self, condition: Any) -> None:
        """Let the reactor turn until CONDITION() holds."""
        while not condition():
            await deferLater(reactor, 0.001)

    async def client(self) -> NinepClient:
        return await connect(TCP4ClientEndpoint(reactor, "127.0.0.1", self.port.getHost().port))

    async def plain(self) -> socket.socket:
        """A socket that is connected, and served by the poller."""
        before = len(self.factory.connections)
        other = socket.create_connection(("127.0.0.1", self.port.getHost().port))
        self.addCleanup(other.close)
        other.setblocking(False)
        await self.until(lambda: len(self.factory.connections) > before)
        return other

    async def answer(self, other: socket.socket) -> Any:
        """The next reply on a socket; None at its end."""
        while True:
            try:
                data = other.recv(1000)
            except BlockingIOError:
                await deferLater(reactor, 0.001)
                continue
            except ConnectionResetError:
                return None
            return m.decode(data).message if data else None

    async def test_reader(self) -> None:
        """It is in the reactor while there is a connection, in place of each of them, and not longer."""
        verifyObject(IReadDescriptor, self.poller)
        self.assertNotIn(self.poller, reactor.getReaders())
        clients = [await self.client() for _ in range(3)]
        served = {protocol.transport for protocol in self.factory.connections}
        readers = set(reactor.getReaders())
        self.assertEqual(len(served), 3)
        self.assertIn(self.poller, readers)
        self.assertEqual(readers & served, set())
        for client in clients:
            client.disconnect()
        await self.until(lambda: not self.factory.connections)
        self.assertNotIn(self.poller, reactor.getReaders())

    async def test_many(self) -> None:
        """More connections than have their place in one turn are all served, large replies too."""
        data = os.urandom(300_000)
        clients = [await self.client() for _ in range(80)]
        await clients[0].write_file("large", data, perm=0o644)
        read = await gatherResults([client.read_file("large") for client in clients])
        self.assertEqual(read, [data] * 80)
        for client in clients:
            client.disconnect()
        await self.until(lambda: not self.factory.connections)

    async def test_backpressure(self) -> None:
        """A peer that doesn't read is not read from, until it does."""
        other = await self.plain()
        root = UnixDirectory(None, "/", 0o777)
        root.create("large", 0o666, 1, None)[1].write(0, bytes(60_000))
        (protocol,) = self.factory.connections
        protocol._session._filesystem = Filesystem(root)
        requests = [m.Tattach(0, m.NOFID, "", ""), m.Twalk(0, 1, ("large",)), m.Topen(1, 0)]
        reads = [m.Tread(1, 0, 60_000)] * 400
        sent = TVERSION + b"".join(m.encode(1, message) for message in requests + reads)
        other.send(sent)
        await self.until(lambda: protocol._paused)
        self.assertNotIn(self.poller, reactor.getReaders())
        received = 0
        while received < 400 * 60_011:
            try:
                received += len(other.recv(1 << 20))
            except BlockingIOError:
                await deferLater(reactor, 0)
        await self.until(lambda: not protocol._paused)
        self.assertIn(self.poller, reactor.getReaders())
        other.close()
        await self.until(lambda: not self.factory.connections)

    async def test_ends(self) -> None:
        """A peer that breaks the protocol, one that resets and one that ends leave the others alone."""
        good, bad, reset, gone = [await self.plain() for _ in range(4)]
        bad.send(TVERSION + bytes(7))
        self.assertEqual((await self.answer(bad)).version, "9P2000")
        self.assertIsNone(await self.answer(bad))
        reset.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        reset.close()
        gone.close()
        await self.until(lambda: len(self.factory.connections) == 1)
        good.send(TVERSION)
        self.assertEqual((await self.answer(good)).version, "9P2000")
        good.close()
        await self.until(lambda: not self.factory.connections)

    async def test_last_words(self) -> None:
        """What came with the end is answered before it."""
        other = await self.plain()
        other.send(TVERSION)
        other.shutdown(socket.SHUT_WR)
        self.assertEqual((await self.answer(other)).version, "9P2000")
        self.assertIsNone(await self.answer(other))
        await self.until(lambda: not self.factory.connections)

    async def test_failure(self) -> None:
        """A protocol that raises loses its connection, which is logged, and no other one."""
        good, bad = await self.plain(), await self.plain()
        number = bad.getsockname()[1]
        (broken,) = [each for each in self.factory.connections if each.transport.getPeer().port == number]
        broken._session.receive = None
        bad.send(TVERSION)
        self.assertIsNone(await self.answer(bad))
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)
        good.send(TVERSION)
        self.assertEqual((await self.answer(good)).version, "9P2000")
        good.close()
        await self.until(lambda: not self.factory.connections)

    async def test_end_of_reactor(self) -> None:
        """When the reactor ends it is told as one reader, and all connections end."""
        await self.plain()
        await self.plain()
        reactor.removeReader(self.poller)
        self.poller.connectionLost(Failure(ConnectionError()))
        self.assertEqual(self.factory.connections, set())

    def test_other_reactors(self) -> None:
        """A reactor that knows no file descriptors goes without."""
        self.assertIsNone(poller_of(Clock()))
