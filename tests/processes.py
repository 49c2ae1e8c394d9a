"""Processes of jobd, and a blocking client, for tests that start, kill and start it again."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from jobd.ninep import messages as m
from tests.daemon import ROOT, free_port

PATIENCE = 30
"""Seconds after which a process that should have done something never will."""

JOBD = [sys.executable, "-m", "jobd"]


class Client:
    """Just enough of a blocking 9P client."""

    def __init__(self, address: str) -> None:
        if address.startswith("unix:"):
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.connect(address.removeprefix("unix:"))
        else:
            host, _, port = address.rpartition(":")
            self._socket = socket.create_connection((host.strip("[]"), int(port)))
        self._socket.settimeout(PATIENCE)
        self.ask(m.Tversion(8192, m.VERSION_9P2000))
        self.attached = self.ask(m.Tattach(0, m.NOFID, "", "", m.NOFID))

    def ask(self, message: object) -> object:
        """The reply to MESSAGE."""
        self._socket.sendall(m.encode(1, message))
        head = self._receive(4)
        return m.decode(head + self._receive(int.from_bytes(head, "little") - 4), m.PLAIN).message

    def _receive(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self._socket.recv(count - len(data))
            if not part:
                raise ConnectionError("the daemon closed the connection")
            data += part
        return data

    def exists(self, path: str) -> bool:
        """Whether there is a file at PATH."""
        names = tuple(path.strip("/").split("/"))
        walked = self.ask(m.Twalk(0, 1, names))
        if not isinstance(walked, m.Rwalk) or len(walked.qids) < len(names):
            return False
        self.ask(m.Tclunk(1))
        return True

    def read(self, path: str, offset: int = 0) -> str:
        """What is in the file at PATH from OFFSET on, as much as a message holds."""
        self._open(path, 0)
        reply = self.ask(m.Tread(1, offset, 8000))
        self.ask(m.Tclunk(1))
        return reply.data.decode()  # type: ignore[attr-defined]

    def read_all(self, path: str) -> str:
        """All there is in the file at PATH, which does not change meanwhile."""
        text = ""
        while part := self.read(path, len(text.encode())):
            text += part
        return text

    def write(self, path: str, text: str) -> None:
        """Write TEXT to the file at PATH."""
        self._open(path, 1)
        reply = self.ask(m.Twrite(1, 0, text.encode()))
        if not isinstance(reply, m.Rwrite):
            raise AssertionError(f"{path}: {reply}")
        self.ask(m.Tclunk(1))

    def _open(self, path: str, mode: int) -> None:
        names = tuple(path.strip("/").split("/"))
        walked = self.ask(m.Twalk(0, 1, names))
        opened = self.ask(m.Topen(1, mode))
        if not isinstance(opened, m.Ropen):
            raise AssertionError(f"{path}: {walked}, {opened}")

    def close(self) -> None:
        self._socket.close()


class ProcessTest(SynchronousTestCase):
    """Starts daemons, and ends them with the test."""

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory(prefix="jobd-test-")
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.state = self.directory / "state"
        self.log = self.directory / "log"

    def arguments(self, *addresses: str) -> list[str]:
        """Options of a daemon at ADDRESSES, a port that is free unless said."""
        self.address = addresses[0] if addresses else f"127.0.0.1:{free_port()}"
        fsaddr = [part for address in addresses or [self.address] for part in ("--fsaddr", address)]
        return [*fsaddr, "--dbdir", str(self.state)]

    def start(
        self,
        command: Sequence[str],
        *options: str,
        environment: Mapping[str, str] | None = None,
        files: Sequence[int] = (),
    ) -> subprocess.Popen[bytes]:
        """A process that runs COMMAND with OPTIONS, its output in `log`; ENVIRONMENT is added to ours.

        It inherits FILES, under their numbers.
        """
        with self.log.open("wb") as log:
            process = subprocess.Popen(
                [*command, *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                env={**os.environ, "PYTHONPATH": str(ROOT), "TZ": "UTC", **(environment or {})},
                start_new_session=True,
                pass_fds=files,
            )
        self.addCleanup(end, process)
        return process

    def connect(self, process: subprocess.Popen[bytes] | None = None, address: str = "") -> Client:
        """A client of the daemon, once it listens."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and (process is None or process.poll() is None):
            try:
                client = Client(address or self.address)
            except (ConnectionRefusedError, FileNotFoundError):
                time.sleep(0.02)
            else:
                self.addCleanup(client.close)
                return client
        raise AssertionError(f"the daemon does not listen:\n{self.log.read_text()}")

    def wait_until(self, happened: Callable[[], bool]) -> None:
        """Wait for what a process will do."""
        deadline = time.monotonic() + PATIENCE
        while not happened():
            self.assertLess(time.monotonic(), deadline, self.log.read_text() if self.log.exists() else "")
            time.sleep(0.02)

    def terminated(self, process: subprocess.Popen[bytes]) -> int:
        """The status with which PROCESS ends after a SIGTERM."""
        process.terminate()
        return process.wait(PATIENCE)


def end(process: subprocess.Popen[bytes]) -> None:
    """End PROCESS if it has not."""
    if process.poll() is None:
        process.kill()
        process.wait()


def wait_until_gone(pid: int) -> None:
    """Wait for the end of a process that is nobody's child here."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.02)
    raise AssertionError(f"process {pid} goes on")
