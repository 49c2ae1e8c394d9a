"""The conformance tests on a server of others, which proves the tests."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import socket
from pathlib import Path
from typing import Any, ClassVar
from unittest import skipUnless

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ConnectError, ProcessExitedAlready
from twisted.internet.protocol import Factory, ProcessProtocol, Protocol
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from jobd.ninep.conformance import ReadingTests
from jobd.ninep.conformance_changes import ChangingTests
from jobd.ninep.testing import Wire

DIOD = shutil.which("diod") or shutil.which("diod", path="/usr/sbin:/usr/local/sbin")


def free_port() -> int:
    """A port of the loopback interface on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class _Ended(ProcessProtocol):
    def __init__(self) -> None:
        self.ended: Deferred[None] = Deferred()
        self.output = b""

    def outReceived(self, data: bytes) -> None:
        self.output += data

    def errReceived(self, data: bytes) -> None:
        self.output += data

    def processEnded(self, reason: Any) -> None:
        self.ended.callback(None)


class _WireProtocol(Protocol):
    def __init__(self) -> None:
        self.wire = Wire(lambda data: self.transport.write(data))
        self.lost: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.wire.receive(data)

    def connectionLost(self, reason: Any = None) -> None:
        self.lost.callback(None)


@skipUnless(DIOD, "diod is not installed")
class _Diod:
    """A diod of its own for each test, on a temporary directory."""

    version = "9P2000.L"
    timeout = 5  # diod drops a connection rather than refuse what it does not know
    no_fid = errno.EIO
    n_uname = os.getuid()
    uname = ""
    skipped: ClassVar = {
        "test_attach_twice": "diod lets a fid in use be attached again",
        "test_before_version": "diod doesn't wait for a Tversion",
        "test_newfid": "diod lets a fid in use be a newfid",
        "test_qid_version": "diod's version is the time of the change, in seconds",
        "test_read_too_much": "diod dies of it",
        "test_readdir_of_file": "diod says EINVAL, not ENOTDIR",
        "test_rename": "diod dies of it",
        "test_renameat": "diod 1.0.24 has no Trenameat",
        "test_unknown_message": "diod drops the connection",
        "test_unlinkat": "diod 1.0.24 has no Tunlinkat",
        "test_version_drops_fids": "diod keeps them",
        "test_version_unknown": "diod answers by Rlerror",
        "test_walk_bad_names": "diod takes an empty name for the directory itself",
        "test_walk_partly": "diod makes the newfid nevertheless",
        "test_walk_too_many": "diod drops the connection",
        "test_walk_up": "diod goes up out of what it exports",
    }

    async def setUp(self) -> None:
        super().setUp()
        self.aname = os.path.realpath(self.mktemp())
        Path(self.aname).mkdir(mode=0o777)
        Path(self.aname, "deep").mkdir()
        Path(self.aname, "deep", "text").write_text("The quick brown fox.\n" * 100)
        self.port = free_port()
        command = ["-f", "-n", "-N", "-c", "/dev/null", "-L", "stderr", "-e", self.aname]
        self.process = _Ended()
        # diod ends by SIGPIPE when a client goes too early, unless it is ignored.
        transport = reactor.spawnProcess(
            self.process,
            "/bin/sh",
            ["sh", "-c", 'trap "" PIPE; exec "$@"', "sh", DIOD, *command, "-l", f"127.0.0.1:{self.port}"],
            env=None,
        )
        self.addCleanup(self.stop, transport)

    async def stop(self, transport: Any) -> None:
        with contextlib.suppress(ProcessExitedAlready):
            transport.signalProcess(signal.SIGKILL)
        await self.process.ended

    async def connect(self) -> Wire:
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.port)
        for _ in range(200):
            try:
                protocol = await endpoint.connect(Factory.forProtocol(_WireProtocol))
                break
            except ConnectError:
                await deferLater(reactor, 0.02)
        else:
            raise AssertionError(f"diod doesn't listen: {self.process.output!r}")
        self.addCleanup(self.disconnect, protocol)
        return protocol.wire

    async def disconnect(self, protocol: Any) -> None:
        protocol.transport.abortConnection()
        await protocol.lost


class DiodReadingTests(_Diod, ReadingTests, TestCase):
    file = ("deep", "text")


class DiodChangingTests(_Diod, ChangingTests, TestCase):
    pass
