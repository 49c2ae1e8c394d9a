"""A client and a server of 9P back to back in memory: for the tests of file systems and of clients.

    client = self.successResultOf(connect(filesystem))
    self.assertEqual(self.successResultOf(client.read_file("/hello")), b"hello\\n")

Where the file system answers at once, so does the client.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import DeferredQueue
from twisted.internet.error import ConnectionDone

from jobd.ninep import messages as m
from jobd.ninep.client import NinepClient
from jobd.ninep.client_session import ClientSession
from jobd.ninep.limits import Limits
from jobd.ninep.remote import deferred
from jobd.ninep.session import Session


class Loopback:
    """Carries bytes between the `Session` of a FILESYSTEM and RECEIVE, which takes what it answers.

    REPORTED collects the exceptions of the file system that are no `NinepError`.
    """

    def __init__(
        self,
        filesystem: Any,
        receive: Callable[[bytes], object],
        peer: Any = None,
        limits: Limits | None = None,
        trace: Callable[[str], object] | None = None,
    ) -> None:
        self.reported: list[BaseException] = []
        self.session = Session(
            filesystem,
            peer,
            write=self._answer,
            limits=limits,
            trace=trace,
            report=self.reported.append,
        )
        self._receive = receive
        self._requests: deque[bytes] = deque()
        self._pumping = False

    def send(self, data: bytes) -> None:
        """Bytes for the server.

        What it answers at once has been received when this returns; or soon after, where this is
        called by what receives.
        """
        self._requests.append(data)
        if self._pumping:
            return
        self._pumping = True
        try:
            while self._requests or self.session.throttled:
                self._answer(self.session.receive(self._requests.popleft() if self._requests else b""))
        finally:
            self._pumping = False

    def _answer(self, data: bytes) -> None:
        if data:
            self._receive(data)

    def disconnect(self) -> None:
        """End the connection, as a client does that says nothing."""
        self.session.lost()


@deferred
async def connect(
    filesystem: Any,
    version: str = m.VERSION_9P2000_L,
    msize: int = 1 << 17,
    uname: str = "",
    aname: str = "",
    n_uname: int | None = None,
    *,
    peer: Any = None,
    limits: Limits | None = None,
    trace: Callable[[str], object] | None = None,
) -> NinepClient:
    """A client of FILESYSTEM, attached, as `jobd.ninep.client.connect` gives one."""

    def send(data: bytes) -> None:
        loopback.send(data)

    session = ClientSession(send)
    loopback = Loopback(filesystem, session.receive, peer, limits, trace)
    client = NinepClient(session)

    def disconnect() -> None:
        loopback.disconnect()
        session.lost(ConnectionDone())

    client.disconnect = disconnect
    await client.begin(version, msize)
    await client.attach(uname, aname, n_uname)
    return client


class Wire:
    """A client that sends exactly what it is told, and hands out replies as they come.

    SEND takes its bytes; what the server answers goes to `receive`.
    """

    def __init__(self, send: Callable[[bytes], object] | None = None) -> None:
        self.send = send or (lambda _: None)
        self.dialect = m.PLAIN
        self._frames: DeferredQueue[bytes] = DeferredQueue()
        self._rest = b""

    def receive(self, data: bytes) -> None:
        """Bytes from the server."""
        data = self._rest + data
        while len(data) >= m.HEAD.size and len(data) >= (size := m.HEAD.unpack_from(data)[0]):
            self._frames.put(data[:size])
            data = data[size:]
        self._rest = data

    @property
    def waiting(self) -> int:
        """How many replies came that nobody asked for yet."""
        return len(self._frames.pending)

    def ask(self, tag: int, message: Any) -> None:
        """Send MESSAGE with TAG."""
        self.send(m.encode(tag, message, self.dialect))

    @deferred
    async def answer(self) -> m.Frame:
        """The next reply, whatever it is."""
        return m.decode(await self._frames.get(), self.dialect)

    @deferred
    async def rpc(self, message: Any, tag: int = 1) -> Any:
        """Send MESSAGE; the reply, refusal or not, which must be the next one and have its tag."""
        self.ask(tag, message)
        frame = await self.answer()
        if frame.tag != tag:
            raise AssertionError(f"{message} with tag {tag} was answered by {frame}")
        return frame.message

    @deferred
    async def version(self, version: str, msize: int = 8192) -> m.Rversion:
        """Negotiate; the dialect of the answer is spoken from then on."""
        self.dialect = m.PLAIN
        reply: m.Rversion = await self.rpc(m.Tversion(msize, version), m.NOTAG)
        self.dialect = m.DIALECTS.get(reply.version, m.PLAIN)
        return reply


def wire(filesystem: Any, peer: Any = None, limits: Limits | None = None) -> tuple[Wire, Loopback]:
    """A `Wire` to the server of FILESYSTEM, and the loopback between them."""
    client = Wire()
    loopback = Loopback(filesystem, client.receive, peer, limits)
    client.send = loopback.send
    return client, loopback
