"""jobd as a process of its own, for tests that meet it as its users do."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# Seconds.
START_TIMEOUT = 30
STOP_TIMEOUT = 30


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Daemon:
    """A jobd with a new directory, listening on `port` of 127.0.0.1, from now to the end of a test.

    `files` are put into the directory before it starts.
    """

    def __init__(self, test: unittest.TestCase, files: dict[str, str] | None = None) -> None:
        directory = tempfile.TemporaryDirectory(prefix="jobd-state-", ignore_cleanup_errors=True)
        test.addCleanup(directory.cleanup)
        for name, text in (files or {}).items():
            (Path(directory.name) / name).write_text(text)
        self.port = free_port()
        self.log = Path(directory.name) / "log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "jobd",
                    "--fsaddr",
                    f"127.0.0.1:{self.port}",
                    "--dbdir",
                    directory.name,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # A run belongs to a session of its own; so must the daemon, for what a terminal signals.
                start_new_session=True,
                env=os.environ | {"TZ": "UTC", "PYTHONPATH": str(ROOT)},
            )
        test.addCleanup(self.stop)
        self._wait_until_it_listens()

    def stop(self) -> None:
        """End it, as a service manager does. AssertionError where it has logged a failure."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(STOP_TIMEOUT)
        log = self.log.read_text()
        if "Traceback" in log:
            raise AssertionError(f"jobd logged a failure:\n{log}")

    def _wait_until_it_listens(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
            except ConnectionRefusedError:
                time.sleep(0.05)
            else:
                return
        raise AssertionError(f"jobd does not listen on port {self.port}:\n{self.log.read_text()}")
