"""A whole jobd in memory, met through a 9P client: what the tests of the tree share."""

from __future__ import annotations

import os
import re
import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from jobd.access import Peer, User
from jobd.ninep import messages as m
from jobd.ninep.client import NinepClient
from jobd.ninep.errors import NinepError
from jobd.ninep.interfaces import OREAD, SetStat
from jobd.ninep.remote import RemoteFid
from jobd.testing import MemoryJobd

DIALECTS = (m.VERSION_9P2000, m.VERSION_9P2000_U, m.VERSION_9P2000_L)

SELF = User.by_uid(os.geteuid())
"""Whom the daemon runs as."""
GLENDA = User(4002, 4002, "glenda", frozenset({4002, 4100}))
"""Somebody else."""

TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{9} [+-]\d{4} [A-Z]+"


class TreeTest(SynchronousTestCase):
    """A test of the tree, through `client`: the daemon's own user in the dialect `version`."""

    version = m.VERSION_9P2000_L

    def setUp(self) -> None:
        self.jobd = MemoryJobd()
        self.addCleanup(self.jobd.close)
        self.client = self.connect()

    def connect(self, user: User | None = SELF, **attach: Any) -> NinepClient:
        """A client of USER."""
        peer = Peer("test", user)
        return self.successResultOf(self.jobd.connect(self.version, peer, **attach))

    def read(self, path: str, client: NinepClient | None = None) -> str:
        """The text of the file at PATH."""
        return self.successResultOf((client or self.client).read_file(path)).decode()

    def write(
        self, path: str, text: str | bytes, client: NinepClient | None = None, append: bool = False
    ) -> None:
        """Write TEXT to the file at PATH, as a shell's `>` does."""
        self.successResultOf((client or self.client).write_file(path, _bytes(text), append))

    def open(self, path: str, mode: int = OREAD, client: NinepClient | None = None) -> RemoteFid:
        """An open fid for the file at PATH."""
        return self.successResultOf((client or self.client).open(path, mode))

    def part(self, fid: RemoteFid, offset: int = 0, count: int | None = None) -> str:
        """What one Tread gives."""
        return self.successResultOf(fid.read(offset, count)).decode()

    def refused(self, number: int, deferred: Deferred[Any]) -> None:
        """DEFERRED was refused with the error NUMBER."""
        error = self.failureResultOf(deferred, NinepError).value
        self.assertEqual(error.errno, number, str(error))

    def assert_refused(
        self, number: int, path: str, text: str | bytes, client: NinepClient | None = None
    ) -> None:
        """Writing TEXT to PATH is refused with the error NUMBER."""
        self.refused(number, (client or self.client).write_file(path, _bytes(text)))

    def length(self, path: str) -> int:
        """The length that stat gives for the file at PATH."""
        return self.successResultOf(self.client.stat(path)).length

    def rename(self, path: str, name: str) -> Deferred[None]:
        """Call the file at PATH NAME, in the way of the dialect."""
        if self.version == m.VERSION_9P2000_L:
            return self.client.rename(path, f"{path.rpartition('/')[0]}/{name}")
        return self.client.set_stat(path, SetStat(name=name))

    def names(self, path: str) -> list[str]:
        """The names in the directory at PATH."""
        return self.successResultOf(self.client.listdir(path))

    def errors(self, client: NinepClient | None = None) -> list[str]:
        """The lines of `/error` without their times."""
        lines = self.read("/error", client).splitlines()
        for line in lines:
            self.assertRegex(line, f"^{TIME}:")
        return [re.sub(f"^{TIME}:", "", line) for line in lines]

    def make(
        self, name: str = "hello", schedule: str = "* * * * *", command: str = "echo hello world"
    ) -> None:
        """Make a job through clone."""
        self.write("/clone", f"{name}:{schedule}:{command}")


def in_each_dialect(cls: type[TreeTest]) -> type[TreeTest]:
    """Have the tests of CLS, which is one for 9P2000.L, in a class for each of the others too."""
    for version in DIALECTS[:-1]:
        name = f"{cls.__name__}_{version.replace('.', '_')}"
        namespace = {
            "version": version,
            "__module__": cls.__module__,
            "__doc__": f"{cls.__doc__} In {version}.",
        }
        setattr(sys.modules[cls.__module__], name, type(name, (cls,), namespace))
    return cls


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text
