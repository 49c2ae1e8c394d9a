"""Schedules and times in words."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from twisted.trial.unittest import SynchronousTestCase

from jobd.cli.reply import attributes, relative
from jobd.cli.words import in_words, upcoming

WORDS = [
    ("* * * * *", "Every minute"),
    ("0 0/5 * * * ? *", "Every 5 minutes"),
    ("0/5 * * * * ? *", "Every 5 seconds"),
    ("30 2 * * MON-FRI", "At 02:30, Monday through Friday"),
    ("0 0 * JANUARY Friday", "At 00:00, only on Friday, only in January"),
    ("0 0 13 * 5", "At 00:00, on day 13 of the month, or on Friday"),
    ("0 12 1 * * 2027", "At 12:00, on day 1 of the month, only in 2027"),
    ("0 0 L * *", "At 00:00, on the last day of the month"),
    ("0 0 * * FRI#2", "At 00:00, on the second Friday of the month"),
    ("@daily", "At 00:00"),
    ("@every 90s", "Every 1m30s"),
    ("@every 0s", None),
    ("@reboot", "Once after each start of the machine"),
    ("@at 2026-12-24T1800", "Once, at 2026-12-24T1800"),
    # What cron-descriptor would say wrongly.
    ("0 0 1,L * *", None),
    ("0 0 * * 1,5L", None),
    ("0 0 15 * 1#2", None),
    ("nonsense", None),
]

BEGIN = datetime(2026, 1, 1, tzinfo=timezone.utc)
RELATIVE = [
    (0, "now"),
    (1, "now"),
    (-0.4, "just now"),
    (-1, "just now"),
    (2, "in 2 seconds"),
    (119, "in 119 seconds"),
    (120, "in 2 minutes"),
    (-7200, "2 hours ago"),
    (172800, "in 2 days"),
]


class WordsTests(SynchronousTestCase):
    """`in_words`, `upcoming`, `relative`, `attributes`."""

    def test_words(self) -> None:
        """A schedule is put in words where they are right, else not."""
        for text, words in WORDS:
            with self.subTest(text):
                self.assertEqual(in_words(text), words)

    def test_hashed(self) -> None:
        """H is told by what it means for the name."""
        self.assertNotEqual(in_words("H H * * *", "a"), in_words("H H * * *", "b"))

    def test_upcoming(self) -> None:
        """The next times are those of the schedule; of @every those of a job that is started now."""
        hours = [time - BEGIN for time in upcoming("@hourly", "UTC", "", BEGIN, 2)]
        self.assertEqual(hours, [timedelta(hours=1), timedelta(hours=2)])
        every = [time - BEGIN for time in upcoming("@every 90s", "UTC", "", BEGIN, 2)]
        self.assertEqual(every, [timedelta(seconds=90), timedelta(seconds=180)])
        self.assertEqual(upcoming("@at 2020-01-01T0000", "UTC", "", BEGIN, 2), [])

    def test_relative(self) -> None:
        """A time is told as people tell it."""
        for seconds, words in RELATIVE:
            with self.subTest(seconds):
                self.assertEqual(relative(BEGIN + timedelta(seconds=seconds), BEGIN), words)

    def test_attributes(self) -> None:
        """Lines of attributes are unquoted as Plan 9 quotes."""
        self.assertEqual(
            attributes("missed run=1 detail='it''s late' exit=3\nx='a\nb'\n"),
            {"run": "1", "detail": "it's late", "exit": "3", "x": "a\nb"},
        )
