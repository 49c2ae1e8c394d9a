"""Names, messages, and the lines that are shown."""

from __future__ import annotations

import re
import shlex

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobd.jobs.errors import JobError
from jobd.jobs.texts import (
    MAX_COMMAND,
    Definition,
    attributes,
    check_command,
    check_name,
    instant,
    parse_definition,
    quote,
    shorten,
    stamp,
    without_newline,
)


class NameTest(SynchronousTestCase):
    """`check_name`."""

    def test_names(self) -> None:
        """Letters, digits and `_`, with `.` and `-` inside, 1 to 128 characters."""
        good = ("a", "_", "0", "job_1", "a.b", "a-b", "a..b", "x" * 128)
        bad = ("", ".", "..", ".a", "a.", "-a", "a-", "a/b", "a b", "é", "a\n", "a\0", "x" * 129)
        for name in good:
            self.assertEqual(check_name(name), name)
        for name in bad:
            self.assertIn("allowed are 1 to 128 letters", str(self.assertRaises(JobError, check_name, name)))


class DefinitionTest(SynchronousTestCase):
    """What is written to `clone`."""

    def test_definitions(self) -> None:
        """COMMAND is all that follows the second colon, less one final newline."""
        table = (
            (b"a:* * * * *:echo hi\n", ("a", "* * * * *", "echo hi")),
            (b" a :  @daily  : echo hi ", ("a", "@daily", " echo hi ")),
            (b"a:@daily:date +%H:%M\necho 2\n\n", ("a", "@daily", "date +%H:%M\necho 2\n")),
            (b"\na:@at 2026-12-24T1800:", ("a", "@at 2026-12-24T1800", "")),
            ("a::écho".encode(), ("a", "", "écho")),
        )
        for data, expected in table:
            self.assertEqual(parse_definition(data), Definition(*expected))

    def test_refused(self) -> None:
        """What can't be a definition is refused with one sentence."""
        table = (
            (b"", "has no two colons"),
            (b"a:@daily", "has no two colons"),
            (b"a b:@daily:x", "job name 'a b'"),
            (b"a:@daily:\xff", "clone: byte 10 is not UTF-8"),
            (b"a:@daily:x\0y", "command: a NUL byte"),
            (b"a:@daily:" + b"x" * (MAX_COMMAND + 1), "longer than 1048576 bytes"),
        )
        for data, expected in table:
            error = str(self.assertRaises(JobError, parse_definition, data))
            self.assertIn(expected, error)
            self.assertLess(len(error), 200)

    def test_command(self) -> None:
        """A command of a megabyte is taken, and only one newline is dropped."""
        self.assertEqual(len(check_command("x" * MAX_COMMAND)), MAX_COMMAND)
        self.assertEqual([without_newline(text) for text in ("", "\n", "a\n\n", "a")], ["", "", "a\n", "a"])


class LineTest(SynchronousTestCase):
    """`attr=value` lines and stamps."""

    @settings(deadline=None)
    @given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30))
    def test_quoting(self, value: str) -> None:
        """A value stands bare, or in quotes in which `''` is a quote; so it can be read back."""
        text = quote(value)
        if text.startswith("'"):
            self.assertEqual(text[1:-1].replace("''", "'"), value)
            self.assertEqual(text[1:-1].count("'") % 2, 0)
        else:
            self.assertEqual(text, value)
            self.assertNotRegex(text, r"[\s'=]")
            self.assertTrue(text)

    def test_attributes(self) -> None:
        """Pairs stand in their order; one without a value is left out."""
        line = attributes([("run", 1), ("exit", None), ("detail", "it's"), ("empty", "")])
        self.assertEqual(line, "run=1 detail='it''s' empty=''")

    def test_instants(self) -> None:
        """A time is RFC 3339 in UTC, to the second or the millisecond."""
        table = ((0, "1970-01-01T00:00:00Z"), (1767225600, "2026-01-01T00:00:00Z"), (None, None))
        for epoch, text in table:
            self.assertEqual(instant(epoch), text)
        self.assertEqual(instant(1767225600.25), "2026-01-01T00:00:00.250Z")

    def test_stamp(self) -> None:
        """A log line begins as Go prints a time, with nine digits of nanoseconds."""
        pattern = rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.004655691 [+-]\d{4} \S+:"
        self.assertTrue(re.fullmatch(pattern, stamp(1392133355_004655691)))

    def test_shorten(self) -> None:
        """What a message quotes stays short and on its line."""
        self.assertEqual(shorten("a\nb"), "'a\\nb'")
        self.assertLessEqual(len(shorten("x" * 1000)), 62)
        self.assertEqual(shlex.split(shorten("x y")), ["x y"])
