"""Durations as people write them."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobd.schedule.durations import format_duration, parse_duration

READ = [
    ("90s", 90),
    ("1h30m", 5400),
    ("1h 30m", 5400),
    (" 2d ", 172_800),
    ("1w", 604_800),
    ("1w2d3h4m5s6ms", 788_645.006),
    ("1.5h", 5400),
    ("250ms", 0.25),
    ("90", 90),
    ("0.5", 0.5),
    ("0", 0),
    ("0s", 0),
    ("1H30M", 5400),
    ("90 s", 90),
    ("36525d", 3_155_760_000),
]

REFUSED = [
    *("", " ", "s", "1x", "-1s", "+1s", "1s1h", "1m1m", "1h-1m", "1,5h", ".5h", "5.h", "1e3", "0x10"),
    *("inf", "nan", "\u0661s", "1 0s", "36526d", "9" * 400, "1s\0", "\udc80"),
]

WRITTEN = [
    (0, "0s"),
    (0.25, "0.25s"),
    (1, "1s"),
    (90, "1m30s"),
    (3600, "1h"),
    (5400, "1h30m"),
    (86_400, "1d"),
    (90_061.5, "1d1h1m1.5s"),
    (1_209_600, "14d"),
]


class Durations(SynchronousTestCase):
    def test_read(self) -> None:
        """Every way to write a duration gives its seconds."""
        for text, seconds in READ:
            self.assertEqual(parse_duration(text), seconds, text)

    def test_refused(self) -> None:
        """What is no duration, or longer than a century, is refused with a sentence that quotes it."""
        for text in REFUSED:
            error = self.assertRaises(ValueError, parse_duration, text)
            self.assertRegex(str(error), r"^the duration .* (can't be read|is too long); allowed are ", text)

    def test_written(self) -> None:
        """A duration is written with the largest units, and none that is zero."""
        for seconds, text in WRITTEN:
            self.assertEqual(format_duration(seconds), text)

    def test_written_and_read(self) -> None:
        """Every duration of whole milliseconds is read as it was written."""

        @settings(deadline=None)
        @given(st.integers(0, 36_525 * 86_400_000))
        def law(milliseconds: int) -> None:
            self.assertEqual(parse_duration(format_duration(milliseconds / 1000)), milliseconds / 1000)

        law()

    def test_any_text(self) -> None:
        """Any text gives a number of seconds or a ValueError."""

        @settings(deadline=None)
        @given(st.text(alphabet=st.sampled_from("0159.wdhms -e\u0661"), max_size=80) | st.text())
        def law(text: str) -> None:
            try:
                self.assertGreaterEqual(parse_duration(text), 0)
            except ValueError as error:
                self.assertIn("allowed", str(error))

        law()
