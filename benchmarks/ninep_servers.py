"""The servers that benchmarks/ninep.py compares: python benchmarks/ninep_servers.py floor|ours|pyroute2 PORT.

`floor` is a Twisted protocol that cuts messages and gives canned replies, with no state at all: what is
slower than it is a server's own work.
"""

from __future__ import annotations

import os
import sys
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from twisted.internet import endpoints, reactor
from twisted.internet.protocol import Factory, Protocol

from jobd.ninep import messages as m
from jobd.ninep.files import Directory, File, Filesystem, OpenFile
from jobd.ninep.interfaces import Qid
from jobd.ninep.poller import poller_of
from jobd.ninep.protocol import NinepFactory
from jobd.ninep.stat import Stat

LARGE = bytes(range(256)) * (1 << 12)
QID = Qid(0, 0, 2)
STAT = Stat(QID, 0o666, 5, "small", "root", "root", "root", n_uid=0, n_gid=0)
CANNED = [
    m.Rattach(Qid(0x80, 0, 1)),
    m.Rwalk((QID,)),
    m.Ropen(QID, 0),
    m.Rread(b"start"),
    m.Rwrite(5),
    m.Rclunk(),
    m.Rstat(STAT),
]


REPLIES = {m.TYPES[type(reply)] - 1: m.encode(0, reply) for reply in CANNED}


class Floor(Protocol):
    """Answers each request by the reply that its type has."""

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)
        self.rest = b""

    def dataReceived(self, data: bytes) -> None:
        data = self.rest + data
        position, end = 0, len(data)
        replies = []
        while end - position >= 7:
            size, type_, tag = m.HEAD.unpack_from(data, position)
            if position + size > end:
                break
            if type_ == m.TYPES[m.Tversion]:
                replies.append(m.encode(tag, m.Rversion(8192, "9P2000")))
            else:
                reply = REPLIES[type_]
                replies.append(reply[:5] + data[position + 5 : position + 7] + reply[7:])
            position += size
        self.rest = data[position:]
        self.transport.write(b"".join(replies))


class Contents(OpenFile):
    """An open file that keeps nothing of what is written to it."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, offset: int, count: int) -> bytes:
        return self._data[offset : offset + count]

    def write(self, offset: int, data: bytes) -> int:
        return len(data)


class Fixed(File):
    """A file whose contents and attributes stay."""

    def __init__(self, parent: Any, name: str, data: bytes) -> None:
        super().__init__(parent, name, 0o666)
        self._data = data
        self._stat = super().stat()._replace(length=len(data))

    def stat(self) -> Stat:
        return self._stat

    def open(self, mode: int) -> Contents:
        return Contents(self._data)


def ours() -> NinepFactory:
    root = Directory(None, "/", 0o777)
    root.children.add(Fixed(root, "small", b"start"))
    root.children.add(Fixed(root, "large", LARGE))
    return NinepFactory(Filesystem(root), poller=poller_of(reactor))


def run_pyroute2(port: int) -> None:
    from pyroute2.plan9.server import Plan9ServerSocket

    server = Plan9ServerSocket(address=("127.0.0.1", port))
    for name, data in (("small", b"start"), ("large", LARGE)):
        inode = server.filesystem.create(name)
        inode.data.write(data)
    server.run()


if __name__ == "__main__":
    kind, port = sys.argv[1], int(sys.argv[2])
    if kind == "pyroute2":
        run_pyroute2(port)
    else:
        factory = ours() if kind == "ours" else Factory.forProtocol(Floor)
        endpoints.TCP4ServerEndpoint(reactor, port, interface="127.0.0.1").listen(factory)
        reactor.run()
