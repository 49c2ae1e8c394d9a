"""The conformance tests on file systems of our own, in each dialect."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import TestCase

from jobd.ninep.conformance import ReadingTests
from jobd.ninep.conformance_changes import ChangingTests
from jobd.ninep.files import Directory, Filesystem, TextFile
from jobd.ninep.testing import Wire, wire
from tests.ninep.trees import UnixDirectory


def connect(test: Any, root: Any) -> Wire:
    """A wire to the tree under ROOT, which must answer all of TEST without an exception of its own."""
    client, loopback = wire(Filesystem(root))
    test.addCleanup(lambda: test.assertEqual(loopback.reported, []))
    return client


class _StaticTree(ReadingTests):
    file = ("deep", "down", "text")

    def connect(self) -> Wire:
        root = Directory()
        deep = root.children.add(Directory(root, "deep"))
        down = deep.children.add(Directory(deep, "down"))
        for name in ("a", "text", "z"):
            down.children.add(TextFile(down, name, lambda: "The quick brown fox.\n" * 100))
        return connect(self, root)


class _UnixTree(ChangingTests):
    def connect(self) -> Wire:
        return connect(self, UnixDirectory(None, "/", 0o777))


class StaticPlainTests(_StaticTree, TestCase):
    version = "9P2000"


class StaticUnixTests(_StaticTree, TestCase):
    version = "9P2000.u"


class StaticLinuxTests(_StaticTree, TestCase):
    version = "9P2000.L"


class UnixPlainTests(_UnixTree, TestCase):
    version = "9P2000"


class UnixUnixTests(_UnixTree, TestCase):
    version = "9P2000.u"


class UnixLinuxTests(_UnixTree, TestCase):
    version = "9P2000.L"
