"""The fields of a crontab."""

from __future__ import annotations

from datetime import datetime, timezone
from itertools import islice

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobd.cli.cronfields import CronError, translate, untranslate
from jobd.schedule import Schedule
from tests.cli import cron

# What stands in a crontab, and what becomes of it.
TRANSLATED = [
    ("* * * * *", "* * * * *"),
    ("30 4 1,15 * 5", "30 4 1,15 * 5"),
    ("5 4 * * sun", "5 4 * * sun"),
    ("00 07 * * 1-5", "00 07 * * 1-5"),
    ("0 22 * jan-mar mon-fri", "0 22 * jan-mar mon-fri"),
    ("*/15 * * * *", "*/15 * * * *"),
    ("1-59/2 * * * *", "1-59/2 * * * *"),
    # A step past the end of the field is the first value, and jobd refuses it.
    ("*/60 * * * *", "0 * * * *"),
    ("0 */24 * * *", "0 0 * * *"),
    # Sunday is 0 and 7: in cron */7 is both, in jobd the step is too large.
    ("0 0 * * */7", "0 0 * * 0"),
    ("0 0 * * 5-7", "0 0 * * 5-7"),
    # Debian's day rule: one begins with *, so both must match.
    ("0 0 */2 * *", "0 0 */2 * *"),
    ("0 0 * * */2", "0 0 * * */2"),
    ("0 0 */1 * 1", "0 0 * * 1"),
    ("0 0 13 * */1", "0 0 13 * *"),
    ("0 0 */99,1-7 * mon", "0 0 * * MON#1"),
    ("0 0 *,5 * 1,2", "0 0 * * 1,2"),
    ("0 0 1-7 * */7", "0 0 * * SUN#1"),
    ("0 0 8-21 * */4", "0 0 * * SUN#2,SUN#3,THU#2,THU#3"),
    # Neither begins with *: either matches, and one that is all days always does.
    ("0 0 1-31 * 1", "0 0 * * *"),
    ("0 0 1,* * 1", "0 0 * * *"),
    ("0 0 1 * 0-6", "0 0 * * *"),
    ("0 0 1-31/2 * 1", "0 0 1-31/2 * 1"),
]

# What is refused, and a word of the sentence.
REFUSED = [
    ("0 0 */2 * 1", "which jobd can't say"),
    ("0 0 13 * */2", "which jobd can't say"),
    ("0 0 */99,1-8 * 1", "which jobd can't say"),
    ("60 * * * *", "minute '60'"),
    ("0 24 * * *", "hour '24'"),
    ("0 0 0 * *", "day of month '0'"),
    ("0 0 * 13 *", "month '13'"),
    ("0 0 * * 8", "weekday '8'"),
    ("*/0 * * * *", "a step of 1 or more"),
    ("5/10 * * * *", "a step only after"),
    ("50-10 * * * *", "backwards"),
    ("0 0 * * fri-sun", "backwards"),
    ("0 0 * * friday", "weekday 'friday'"),
    ("0 0 L * *", "day of month 'L'"),
    ("0 0 * * 5#2", "weekday '5#2'"),
    ("H * * * *", "minute 'H'"),
    ("? * * * *", "minute '?'"),
    ("1~30 * * * *", "minute '1~30'"),
    ("1,,2 * * * *", "minute ''"),
    ("-1 * * * *", "minute '-1'"),
]

# A schedule of jobd, and what a crontab has for it.
WRITTEN = [
    ("* * * * *", "* * * * *"),
    ("@Daily", "@daily"),
    ("@reboot", "@reboot"),
    ("0 5 4 * * ? *", "5 4 * * *"),
    ("5 4 * * ? *", "5 4 * * *"),
    ("5/20 * * * *", "5,25,45 * * * *"),
    ("0 9 * JANUARY FRI-MON", "0 9 * 1 0,1,5,6"),
    # Restricted both: either matches, and neither may begin with *.
    ("0 0 */10 * 1", "0 0 1,11,21,31 * 1"),
    ("0 0 13 * */3", "0 0 13 * 0,3,6"),
]
UNWRITABLE = [
    "@every 90s",
    "@at 2026-12-24T1800",
    "30 0 5 * * * *",
    "0 5 * * * 2027",
    "0 0 L * *",
    "0 0 * * FRI#2",
    "H 5 * * *",
    "",
    "nonsense",
]

WHEN = st.datetimes(datetime(2024, 1, 1), datetime(2032, 1, 1)).map(
    lambda time: time.replace(second=0, microsecond=0, tzinfo=timezone.utc)
)
DAYS = 400
COUNT = 12


def first_times(schedule: str, after: datetime) -> list[datetime]:
    """The first times of a schedule."""
    parsed, found = Schedule.parse(schedule), []
    while len(found) < COUNT and (time := parsed.next(after)) is not None:
        found.append(time)
        after = time
    return found


class TranslationTests(SynchronousTestCase):
    """`translate` and `untranslate`."""

    def test_translated(self) -> None:
        """Each of these lines becomes the schedule beside it."""
        for line, schedule in TRANSLATED:
            with self.subTest(line):
                self.assertEqual(translate(line.split()).schedule, schedule)

    def test_refused(self) -> None:
        """Each of these is refused with a sentence that names the field, or why."""
        for line, words in REFUSED:
            with self.subTest(line):
                error = self.assertRaises(CronError, translate, line.split())
                self.assertIn(words, str(error))

    def test_clock_changes_are_noted(self) -> None:
        """A line that cron takes for a wildcard, and jobd for a fixed time, is translated with a note."""
        self.assertEqual(len(translate(["*/60", "3", "*", "*", "*"]).notes), 1)
        self.assertEqual(translate(["*/60", "*", "*", "*", "*"]).notes, ())

    @settings(deadline=None, max_examples=300)
    @given(cron.LINES, WHEN)
    def test_runs_when_cron_would(self, fields: list[str], after: datetime) -> None:
        """Whatever is translated runs at the minutes at which cron would run it."""
        try:
            schedule = translate(fields).schedule
        except CronError as error:
            # Only what needs both day fields may be refused.
            self.assertIn("which jobd can't say", str(error))
            return
        expected = list(islice(cron.times(fields, after, DAYS), COUNT))
        try:
            found = first_times(schedule, after)
        except ValueError as error:
            self.assertIn("there is no such day", str(error))
            found = []
        self.assertEqual(found[: len(expected)], expected)

    def test_written(self) -> None:
        """Each of these schedules is written as the fields beside it."""
        for schedule, line in WRITTEN:
            with self.subTest(schedule):
                self.assertEqual(untranslate(schedule), line)

    def test_unwritable(self) -> None:
        """What a crontab can't say is refused."""
        for schedule in UNWRITABLE:
            with self.subTest(schedule):
                self.assertRaises(CronError, untranslate, schedule)

    @settings(deadline=None, max_examples=300)
    @given(cron.LINES, WHEN)
    def test_cron_runs_what_is_written_when_jobd_would(self, fields: list[str], after: datetime) -> None:
        """A schedule of jobd that can be written runs, under cron, when it runs under jobd."""
        schedule = " ".join(fields)
        try:
            line = untranslate(schedule)
        except CronError:
            return
        expected = list(islice(cron.times(line.split(), after, DAYS), COUNT))
        self.assertEqual(first_times(schedule, after)[: len(expected)], expected)
