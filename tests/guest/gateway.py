"""The far end of the guest's Ethernet: TCP connections of the guest go on to ports of 127.0.0.1.

The wire is a pair of sockets that carries one frame a datagram, loses none and keeps their order. So this
needs little of what TCP can do: nothing is ever sent twice, and what arrives out of turn is a repetition.
Bytes from the guest are acknowledged when the server's socket has taken them, bytes to the guest are sent
as its window has room: a slow reader on either side holds back the other, and nothing piles up here.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from tests.guest.packets import (
    ACK,
    FIN,
    RST,
    SEGMENT_SIZE,
    SYN,
    Segment,
    arp_reply,
    decode,
    encode,
    sender,
)

WINDOW = 0xFFFF
FRAME_LIMIT = 0x10000

# A guest that takes no frame for so many seconds is dead.
SEND_TIMEOUT = 10


class Gateway:
    """Answers the guest's frames, from `start` to `stop`, on the running event loop."""

    def __init__(self) -> None:
        self._link, self.guest_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._link.settimeout(SEND_TIMEOUT)
        self._connections: dict[tuple[int, int], Connection] = {}

    def start(self) -> None:
        """Begin to answer."""
        asyncio.get_running_loop().add_reader(self._link, self._read_frame)

    def stop(self) -> None:
        """Break every connection, and the wire."""
        asyncio.get_running_loop().remove_reader(self._link)
        for connection in self._connections.values():
            connection.task.cancel()
        self._link.close()
        self.guest_end.close()

    def _read_frame(self) -> None:
        frame = self._link.recv(FRAME_LIMIT)
        if not frame:  # the guest is gone
            asyncio.get_running_loop().remove_reader(self._link)
        elif reply := arp_reply(frame):
            self._link.send(reply)
        elif segment := decode(frame):
            self._receive(segment, sender(frame))

    def _receive(self, segment: Segment, guest_mac: bytes) -> None:
        key = segment.guest_port, segment.port
        if key in self._connections:
            self._connections[key].receive(segment)
        elif segment.flags & SYN:
            self._connections[key] = Connection(segment, lambda s: self._link.send(encode(s, guest_mac)))


class Connection:
    """One TCP connection: its guest's side as sequence numbers, its host's side as a pair of streams."""

    def __init__(self, syn: Segment, send: Callable[[Segment], object]) -> None:
        self._ports = syn.guest_port, syn.port
        self._send = send
        self._received = syn.seq + 1  # the guest's next byte
        self._taken = syn.seq + 1  # its next byte that the server has not taken
        self._sent = 0  # our next byte
        self._limit = 0  # the byte that its window has no room for
        self._room = asyncio.Event()
        self._inbox: asyncio.Queue[bytes] = asyncio.Queue()
        self.task = asyncio.ensure_future(self._run())

    def receive(self, segment: Segment) -> None:
        """Take a segment from the guest."""
        if segment.flags & RST:
            self.task.cancel()
            return
        self._limit = segment.ack + segment.window
        self._room.set()
        if segment.seq == self._received & 0xFFFFFFFF:
            self._received += len(segment.data)
            if segment.data:
                self._inbox.put_nowait(segment.data)
            if segment.flags & FIN:
                self._received += 1
                self._inbox.put_nowait(b"")

    async def _run(self) -> None:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._ports[1])
        except OSError:
            self._emit(RST | ACK)
            return
        try:
            self._emit(SYN | ACK)
            await asyncio.gather(self._pass_on(writer), self._pass_back(reader))
        except OSError:
            self._emit(RST | ACK)
        finally:
            writer.close()

    async def _pass_on(self, writer: asyncio.StreamWriter) -> None:
        writer.transport.set_write_buffer_limits(high=0)
        while data := await self._inbox.get():
            writer.write(data)
            await writer.drain()
            self._taken += len(data)
            self._emit(ACK)
        self._taken += 1
        self._emit(ACK)
        writer.write_eof()

    async def _pass_back(self, reader: asyncio.StreamReader) -> None:
        while True:
            while self._sent >= self._limit:
                self._room.clear()
                await self._room.wait()
            data = await reader.read(min(self._limit - self._sent, SEGMENT_SIZE))
            if not data:
                self._emit(ACK | FIN)
                return
            self._emit(ACK, data)

    def _emit(self, flags: int, data: bytes = b"") -> None:
        self._send(
            Segment(*self._ports, self._sent & 0xFFFFFFFF, self._taken & 0xFFFFFFFF, flags, WINDOW, data)
        )
        self._sent += len(data) + bool(flags & (SYN | FIN))
