"""A text that grows, seen through several opens of it."""

from __future__ import annotations

import errno
import io
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from jobd.cli import following
from jobd.ninep.errors import NinepError

LINES = [b"%03d: a line\n" % number for number in range(1000)]
GAP = b"\n... 700 bytes were dropped here ...\n"


class Text:
    """A file, open; what `trimmed` says can't be read."""

    def __init__(self, text: bytes, trimmed: range = range(0)) -> None:
        self.text = text
        self.trimmed = trimmed

    def read_all(self) -> Deferred[bytes]:
        return succeed(self.text)

    async def read(self, offset: int) -> bytes:
        if offset in self.trimmed:
            raise NinepError(errno.ESTALE)
        return self.text[offset : offset + 100]

    def clunk(self) -> Deferred[None]:
        return succeed(None)


class FollowerTests(SynchronousTestCase):
    """What is put out in all."""

    def seen(self, *texts: Text, lines: int | None = None) -> bytes:
        """What comes out of a file that shows itself as TEXTS, one after another."""
        out = io.BytesIO()
        self.patch(following.sys, "stdout", SimpleNamespace(buffer=out))
        follower = following.Follower("/jobs/a/log", lines)
        left = list(texts)

        async def open_next(_: str) -> Text:
            return left.pop(0)

        daemon: Any = SimpleNamespace(open=open_next, reactor=Clock())
        while left:
            self.successResultOf(Deferred.fromCoroutine(follower.follow(daemon, lambda: True)))
        return out.getvalue()

    def test_again(self) -> None:
        """What was there is said once, where the text has grown, was trimmed, or lost its last lines."""
        first = b"".join(LINES[:50])
        for what, second, expected in (
            ("the same", LINES[:50], LINES[:50]),
            ("grown", LINES[:60], LINES[:60]),
            ("trimmed", LINES[30:60], LINES[:60]),
            ("trimmed past all", LINES[70:80], LINES[:50] + LINES[70:80]),
            ("cut", LINES[:45], LINES[:50]),
            ("cut and grown", LINES[:45] + LINES[90:99], LINES[:50] + LINES[90:99]),
        ):
            with self.subTest(what):
                self.assertEqual(self.seen(Text(first), Text(b"".join(second))), b"".join(expected))

    def test_last_lines(self) -> None:
        """Only the first look begins with the last lines."""
        texts = Text(b"".join(LINES[:50])), Text(b"".join(LINES[:55]))
        self.assertEqual(self.seen(*texts, lines=2), b"".join(LINES[48:55]))
        self.assertEqual(self.seen(*texts, lines=0), b"".join(LINES[50:55]))

    def test_too_fast(self) -> None:
        """Where what comes next was dropped, the gap is put out and what is behind it."""
        first = Text(b"".join(LINES[:50]), range(300, 1000))
        again = Text(b"".join(LINES[:10]) + GAP + b"".join(LINES[80:90]))
        self.assertEqual(self.seen(first, again), first.text[:300] + GAP + b"".join(LINES[80:90]))
