"""Schedules as their users see them: times in and out, kinds, sharing."""

from __future__ import annotations

import doctest
import gc
import weakref
from datetime import datetime, timedelta, timezone
from pathlib import Path
from unittest.mock import patch
from zoneinfo import ZoneInfo, available_timezones

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobd.schedule import Schedule, ScheduleError
from jobd.schedule.evaluator import END, CalendarEvaluator
from jobd.schedule.expression import Expression
from jobd.schedule.reference import CroniterEvaluator
from jobd.schedule.zones import Zone
from tests.schedule.oracle import Made, expressions, parsed

UTC = timezone.utc
ZONE_NAMES = sorted(available_timezones())
NEW_YORK = ZoneInfo("America/New_York")

AFTER = datetime(2026, 11, 21, 13, 37, 42, tzinfo=UTC)

# Each is parsed in New York; what comes after AFTER, by the clock there.
AT = [
    ("@at 2026-12-24T1800", "2026-12-24T18:00:00-05:00"),
    ("@AT 2026-12-24t180030", "2026-12-24T18:00:30-05:00"),
    ("@at 2026-12-24T18:00", "2026-12-24T18:00:00-05:00"),
    ("@at 2026-12-24T18:00:30", "2026-12-24T18:00:30-05:00"),
    ("@at  2026-12-24  18:00", "2026-12-24T18:00:00-05:00"),
    ("@at 2026-12-24T1800Z", "2026-12-24T13:00:00-05:00"),
    ("@at 2026-12-24T1800 z", "2026-12-24T13:00:00-05:00"),
    ("@at 2026-12-24T1800+0100", "2026-12-24T12:00:00-05:00"),
    ("@at 2026-12-24T18:00:00-08:00", "2026-12-24T21:00:00-05:00"),
    ("@at 2026-11-21T0838", "2026-11-21T08:38:00-05:00"),
    ("@at 2026-11-21T0837", None),
    ("@at 1999-12-31T2359", None),
]


class Times(SynchronousTestCase):
    def test_later(self) -> None:
        """The next time is later than what was asked, whatever the expression, the zones and the rule."""

        @settings(deadline=None, max_examples=200)
        @given(
            expressions("0223334"),
            st.sampled_from(ZONE_NAMES),
            st.sampled_from(["vixie", "skip", "utc"]),
            st.datetimes(timezones=st.timezones() | st.just(UTC)),
        )
        def law(made: Made, zone: str, rule: str, after: datetime) -> None:
            found = parsed(made, zone, dst=rule).next(after)
            self.assertTrue(found is None or found > after, found)

        law()

    def test_earliest(self) -> None:
        """Asked from any instant before its answer, and after its last, a schedule answers the same."""

        @settings(deadline=None, max_examples=200)
        @given(expressions("0223334"), st.sampled_from(ZONE_NAMES), st.integers(0, END), st.data())
        def law(made: Made, zone: str, after: int, data: st.DataObject) -> None:
            schedule = parsed(made, zone)
            found = schedule.next_epoch(after)
            if found is not None:
                between = data.draw(st.integers(after, found - 1))
                self.assertEqual(schedule._instants._next(between), found)

        law()

    def test_aware(self) -> None:
        """Times are aware, of whole seconds, and shown by the clock of the schedule's zone."""
        schedule = Schedule.parse("30 1 * * *", "America/New_York")
        found = schedule.next(datetime(2026, 11, 1, 4, 59, 59, 999_999, tzinfo=UTC))
        assert found is not None
        self.assertEqual(found.isoformat(), "2026-11-01T01:30:00-04:00")
        self.assertEqual(found.strftime("%Z"), "EDT")
        # An ambiguous time of a ZoneInfo is equal to no time of another zone.
        self.assertEqual(found, datetime(2026, 11, 1, 5, 30, tzinfo=UTC))
        error = self.assertRaises(ValueError, schedule.next, datetime(2026, 11, 1))
        self.assertIn("time zone", str(error))

    def test_between_seconds(self) -> None:
        """Between two seconds the next one is next."""
        schedule = Schedule.parse("* * * * * * *")
        self.assertEqual(schedule.next(AFTER), AFTER + timedelta(seconds=1))
        self.assertEqual(schedule.next(AFTER + timedelta(microseconds=1)), AFTER + timedelta(seconds=1))
        self.assertEqual(schedule.next(AFTER - timedelta(microseconds=1)), AFTER)

    def test_both_passes(self) -> None:
        """In the hour that comes twice, the times of a schedule still compare as later and later."""
        schedule = Schedule.parse("*/30 * * * *", "America/New_York")
        times = []
        time: datetime | None = datetime(2026, 11, 1, 0, 45, tzinfo=NEW_YORK)
        for _ in range(6):
            assert time is not None
            time = schedule.next(time)
            times.append(time)
        self.assertEqual(
            [time and time.strftime("%H:%M %Z") for time in times],
            ["01:00 EDT", "01:30 EDT", "01:00 EST", "01:30 EST", "02:00 EST", "02:30 EST"],
        )
        self.assertEqual(sorted(filter(None, times)), times)


class Page(SynchronousTestCase):
    def test_example(self) -> None:
        """The example of the page does what the page says."""
        page = Path(__file__).parents[2] / "docs" / "api" / "schedule.md"
        result = doctest.testfile(str(page), module_relative=False)
        self.assertEqual((result.failed, result.attempted > 0), (0, True))


class Kinds(SynchronousTestCase):
    def test_cron(self) -> None:
        """A schedule keeps its text as written, its zone, and its kind."""
        schedule = Schedule.parse("  @Daily\n", "Asia/Tokyo")
        self.assertEqual((schedule.text, schedule.timezone, schedule.kind), ("@Daily", "Asia/Tokyo", "cron"))

    def test_at(self) -> None:
        """@at is one time, with or without colons, seconds and an offset; once it has passed, none."""
        for text, expected in AT:
            schedule = Schedule.parse(text, "America/New_York")
            self.assertEqual(schedule.kind, "at")
            found = schedule.next(AFTER)
            self.assertEqual(found and found.isoformat(), expected, text)
            if found:
                self.assertIsNone(schedule.next(found))

    def test_every(self) -> None:
        """@every is due a period after whatever is asked about, until it has an anchor to count from."""
        schedule = Schedule.parse("@every 1h 30m")
        self.assertEqual(schedule.kind, "every")
        self.assertEqual(schedule.next_epoch(1_000_000), 1_005_400)
        anchored = schedule.anchored(1_000_000)
        self.assertEqual(anchored.next_epoch(1_000_000), 1_005_400)
        self.assertEqual(anchored.next_epoch(1_005_399), 1_005_400)
        self.assertEqual(anchored.next_epoch(1_005_400), 1_010_800)
        self.assertEqual((anchored.text, anchored.kind, anchored.fixed), ("@every 1h 30m", "every", False))

    def test_every_before_anchor(self) -> None:
        """A clock set back behind the anchor doesn't stop an @every."""
        self.assertEqual(Schedule.parse("@every 60").anchored(1_000_000).next_epoch(1_030), 1_060)

    def test_every_law(self) -> None:
        """An anchored @every has an instant in each period, a whole number of periods from its anchor."""

        @settings(deadline=None)
        @given(st.integers(1, 10**7), st.integers(0, 2 * 10**9), st.integers(0, 2 * 10**9))
        def law(period: int, anchor: int, after: int) -> None:
            found = Schedule.parse(f"@every {period}s").anchored(anchor).next_epoch(after)
            assert found is not None
            self.assertEqual((found - anchor) % period, 0)
            self.assertTrue(after < found <= after + period)

        law()

    def test_every_ends(self) -> None:
        """@every ends with the calendar, as the others do."""
        self.assertIsNone(Schedule.parse("@every 36525d").next(AFTER))
        self.assertIsNone(Schedule.parse("@every 1s").next_epoch(END - 1))

    def test_anchor_of_others(self) -> None:
        """No other kind needs an anchor."""
        for text in ("@daily", "@reboot", "@at 2030-01-01T0000"):
            schedule = Schedule.parse(text)
            self.assertIs(schedule.anchored(5), schedule)

    def test_reboot(self) -> None:
        """@reboot has no time of its own."""
        schedule = Schedule.parse("@reboot")
        self.assertEqual(
            (schedule.kind, schedule.next(AFTER), schedule.next_epoch(0)), ("reboot", None, None)
        )

    def test_passed(self) -> None:
        """What lies in the past can be parsed, and has no next time."""
        self.assertIsNone(Schedule.parse("* * * * * 2015-2017").next(AFTER))


class Sharing(SynchronousTestCase):
    def test_same(self) -> None:
        """The same text, zone and rule are one object; another zone, rule or text is another."""
        schedule = Schedule.parse("5 4 * * *", "Asia/Tokyo")
        self.assertIs(Schedule.parse(" 5 4 * * *\n", "Asia/Tokyo", "a-name"), schedule)
        self.assertIsNot(Schedule.parse("5 4 * * *", "Asia/Seoul"), schedule)
        self.assertIsNot(Schedule.parse("5 4 * * *", "Asia/Tokyo", dst="skip"), schedule)
        self.assertEqual(Schedule.parse("05 4 * * *", "Asia/Tokyo").text, "05 4 * * *")

    def test_hashed(self) -> None:
        """Jobs whose H means the same share a schedule."""
        schedules = [Schedule.parse("H * * * *", "UTC", f"job{n}") for n in range(500)]
        self.assertEqual(len(set(map(id, schedules))), 60)
        self.assertEqual({schedule.text for schedule in schedules}, {"H * * * *"})

    def test_forgotten(self) -> None:
        """A schedule that nobody uses any more is forgotten, when a thousand others came after it."""
        schedule = weakref.ref(Schedule.parse("17 3 17 3 *"))
        for number in range(1440):
            Schedule.parse(f"{number % 60} {number // 60} 17 4 *")
        gc.collect()
        self.assertIsNone(schedule())

    def test_one_computation(self) -> None:
        """An instant is computed once for all who share its schedule, and all texts that mean the same."""
        texts = ["@hourly", "0 * * * *", "00 */1 ? * *", "@HOURLY"]
        with patch.object(
            CalendarEvaluator, "first_from", autospec=True, return_value=1_800_000_000
        ) as asked:
            schedules = [Schedule.parse(text, "Etc/UTC") for text in texts * 1000]
            asked.reset_mock()
            for schedule in schedules:
                for after in (1_799_996_400, 1_799_998_000, 1_799_999_999):
                    self.assertEqual(schedule.next_epoch(after), 1_800_000_000)
            self.assertEqual(asked.call_count, 1)

    def test_evaluators_apart(self) -> None:
        """A schedule by another evaluator is another, and doesn't share its answers."""
        made: list[Expression] = []

        def evaluator(expression: Expression) -> CroniterEvaluator:
            made.append(expression)
            return CroniterEvaluator(expression)

        own = Schedule.parse("@monthly")
        other = Schedule.parse("@monthly", evaluator=evaluator)
        self.assertEqual(other.next_epoch(0), own.next_epoch(0))
        self.assertEqual(len(made), 1)


# None of these has a time: all of them lie in gaps, which come every year.
NEVER = [
    ("* 2 * 3 SUN#2 2007-2099", "America/New_York", "vixie"),
    ("30 2 * 3 SUN#2 2007-2099", "America/Detroit", "skip"),
    ("* 2 * 3 SUNL 1996-2099", "Europe/Berlin", "vixie"),
]


class Bounds(SynchronousTestCase):
    def test_few_spans(self) -> None:
        """A search looks at no more than four spans for each time that it finds and can't use."""
        for text, zone, rule in NEVER:
            schedule = Schedule.parse(text, zone, dst=rule)
            with patch.object(Zone, "span", autospec=True, side_effect=Zone.span) as looked_at:
                self.assertIsNone(schedule.next_epoch(1_167_609_600))
            self.assertLess(looked_at.call_count, 104 * 4)

    def test_far_away(self) -> None:
        """What lies between now and a time far away isn't looked at."""
        schedule = Schedule.parse("0 0 1 1 ? 2099", "Europe/Paris")
        with patch.object(Zone, "span", autospec=True, side_effect=Zone.span) as looked_at:
            self.assertIsNotNone(schedule.next_epoch(0))
        self.assertLess(looked_at.call_count, 6)

    def test_nothing_long_is_read(self) -> None:
        """A text of megabytes is refused by its length alone."""

        class Text(str):
            __slots__ = ()

            def strip(self, chars: str | None = None, /) -> str:
                raise AssertionError

            split = lower = encode = strip  # type: ignore[assignment]

        self.assertRaises(ScheduleError, Schedule.parse, Text("*" * 10**7))
