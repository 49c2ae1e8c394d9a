"""What of a shown output may vary, and what not."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.docs.shown import pattern

SAME = (
    ("10:01 ok", "10:01 ok"),
    ("2026-11-22 10:01:07.185227841 +0100 CET:started", "2027-01-02 00:00:00.000000001 +0000 UTC:started"),
    ("next 2026-11-22 10:05:00 +0100 CET", "next 2026-07-22 10:05:00 -0330 NST"),
    ("started=2026-11-22T09:01:09.417Z exit=0", "started=2030-11-22T09:01:09.000Z exit=0"),
    ("hello  started  in 17 hours  ok just now", "hello    started  in 1 second   ok 3 minutes ago"),
    ("cpu=0.002 maxrss=39956", "cpu=1.5 maxrss=1"),
    ("by 127.0.0.1:5640", "by 127.0.0.1:40312"),
    ("owner glenda /home/glenda", "owner root /root"),
    ("jobd 0.1.0", "jobd 1.0.0.dev3"),
)

DIFFERENT = (
    ("run=1", "run=2"),
    ("exit=0 outcome=ok", "exit=1 outcome=ok"),
    ("ok 3 minutes ago", "failed 3 minutes ago"),
    ("2026-11-22 10:01:07.185227841 +0100 CET:started", "2026-11-22 10:01:07.185227841 +0100 CET:stopped"),
    ("hello world", "hello world!"),
    ("hello world", "hello world\nand more"),
    ("a.c", "abc"),
)


class PatternTest(SynchronousTestCase):
    def test_same(self) -> None:
        """Times, durations, costs, users, ports and versions vary, and the width of columns."""
        for shown, printed in SAME:
            self.assertRegex(printed + "\n", rf"\A{pattern([shown]).pattern}\Z")

    def test_different(self) -> None:
        """Nothing else does."""
        for shown, printed in DIFFERENT:
            self.assertNotRegex(printed + "\n", rf"\A{pattern([shown]).pattern}\Z")

    def test_any_lines(self) -> None:
        """Three dots stand for any number of lines."""
        shown = pattern(["first", "...", "last"])
        for printed in ("first\nlast\n", "first\na\nb\nlast\n"):
            self.assertTrue(shown.fullmatch(printed), printed)
        for printed in ("first\n", "last\n", "a\nlast\n"):
            self.assertFalse(shown.fullmatch(printed), printed)
