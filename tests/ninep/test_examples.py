"""The example file systems."""

from __future__ import annotations

import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import examples
from examples.clock import root
from examples.ramfs import RamDirectory
from jobd.ninep.files import Filesystem
from jobd.ninep.testing import connect


class ExamplesTests(SynchronousTestCase):
    def test_clock(self) -> None:
        """The clock tells the time, and its seconds."""
        client = self.successResultOf(connect(Filesystem(root)))
        before = int(time.time())
        seconds = int(self.successResultOf(client.read_file("seconds")))
        self.assertTrue(before <= seconds <= int(time.time()) + 1)
        self.assertTrue(self.successResultOf(client.read_file("time")).endswith(b"\n"))

    def test_ramfs(self) -> None:
        """The ram file system keeps what is written."""
        client = self.successResultOf(connect(Filesystem(RamDirectory(None, "/", 0o777))))
        self.successResultOf(client.mkdir("d"))
        self.successResultOf(client.write_file("d/f", b"kept", perm=0o644))
        self.assertEqual(self.successResultOf(client.read_file("d/f")), b"kept")

    def test_short(self) -> None:
        """Each is under 40 lines."""
        for name in ("clock", "ramfs"):
            path = Path(next(iter(examples.__path__)), f"{name}.py")
            self.assertLess(len(path.read_text().splitlines()), 40, name)
