"""Schedules where a zone's clock is put forward or back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobd.schedule import Schedule
from jobd.schedule.evaluator import CalendarEvaluator
from jobd.schedule.expression import parse_expression
from jobd.schedule.reference import CroniterEvaluator
from jobd.schedule.timetable import Timetable
from jobd.schedule.zones import Zone
from tests.schedule.oracle import (
    A_DAY,
    SECOND,
    Made,
    OneChange,
    changes,
    due,
    expressions,
    local,
    on_day,
    parsed,
    seconds,
)


class Year(NamedTuple):
    """A zone's year: how often its clock changes, and what runs how often."""

    zone: str
    year: int
    changes: int
    fixed_at: str
    """HH:MM, where the zone has one in a time that is jumped over."""
    jumped: int
    """How often it is jumped over."""
    fixed_runs: int
    hourly_runs: int


YEARS = [
    Year("America/New_York", 2026, 2, "02:30", 1, 365, 8760),
    Year("Europe/Berlin", 2026, 2, "02:30", 1, 365, 8760),
    # Half an hour forward at 02:00, half an hour back at 02:00.
    Year("Australia/Lord_Howe", 2026, 2, "02:15", 1, 365, 8759),
    # tzdata calls the winter's time the saving one here, with an offset below zero.
    Year("Europe/Dublin", 2026, 2, "01:30", 1, 365, 8760),
    # Forward at midnight: 4 November began at 01:00.
    Year("America/Sao_Paulo", 2018, 2, "00:30", 1, 365, 8760),
    # 30 December was left out; its run comes when the 31st begins.
    Year("Pacific/Apia", 2011, 3, "12:00", 1, 365, 8736),
    # Back for Ramadan, and forward after it.
    Year("Africa/Casablanca", 2026, 2, "02:30", 1, 365, 8760),
    Year("Asia/Kathmandu", 2026, 0, "02:30", 0, 365, 8760),
    # From +05:30 to +05:45 as the year began.
    Year("Asia/Kathmandu", 1986, 1, "00:10", 1, 365, 8759),
    Year("America/St_Johns", 2026, 2, "02:30", 1, 365, 8760),
    # At one minute past midnight, as it did until 2011.
    Year("America/St_Johns", 2006, 2, "00:30", 1, 365, 8760),
]

# Zones whose clocks jumped in other ways too: across the date line, by half an hour and by two.
ZONES = sorted(
    {row.zone for row in YEARS}
    | {
        "Pacific/Kwajalein",
        "America/Caracas",
        "Asia/Pyongyang",
        "Antarctica/Troll",
        "Africa/Cairo",
        "Asia/Gaza",
    }
)


def instants(next_after: Callable[[int], int | None], start: int, end: int) -> list[int]:
    """All instants from `start` until `end`."""
    found = []
    instant = next_after(start - 1)
    while instant is not None and instant < end:
        found.append(instant)
        instant = next_after(instant)
    return found


class Years(SynchronousTestCase):
    """Each zone's year, from its first midnight to the next, by its own clock."""

    def years(self) -> Iterator[tuple[Year, ZoneInfo, int, int]]:
        for row in YEARS:
            start = seconds(datetime(row.year, 1, 1))
            end = seconds(datetime(row.year + 1, 1, 1))
            yield row, ZoneInfo(row.zone), start - A_DAY, end + A_DAY

    def test_fixed_time(self) -> None:
        """A fixed-time job runs every day at its time, and where that is jumped over, right after."""
        for row, zone, start, end in self.years():
            hour, minute = map(int, row.fixed_at.split(":"))
            schedule = Schedule.parse(f"{minute} {hour} * * *", row.zone)
            self.assertTrue(schedule.fixed)
            runs = [t for t in instants(schedule.next_epoch, start, end) if local(t, zone).year == row.year]
            self.assertEqual(len(runs), row.fixed_runs, row)
            self.assertEqual(sorted(set(runs)), runs, row)
            at_time = [t for t in runs if local(t, zone).strftime("%H:%M") == row.fixed_at]
            self.assertEqual(len({local(t, zone).date() for t in at_time}), len(at_time), row)
            jumps = [t for t in changes(zone, start, end) if local(t, zone).year == row.year]
            self.assertEqual(len(jumps), row.changes, row)
            after_jump = sorted(set(runs) - set(at_time))
            self.assertEqual(len(after_jump), row.jumped, row)
            for t in after_jump:
                self.assertIn(t, jumps)
                missed = local(t - 1, zone).replace(second=0)
                while missed.strftime("%H:%M") != row.fixed_at:
                    missed += timedelta(minutes=1)
                self.assertLess(missed, local(t, zone), row)

    def test_hourly(self) -> None:
        """An hourly job runs whenever the clock shows a full hour, and at no other instant."""
        for row, zone, start, end in self.years():
            runs = instants(Schedule.parse("@hourly", row.zone).next_epoch, start, end)
            self.assertEqual(runs, [t for t in range(start, end, 900) if local(t, zone).minute == 0], row)
            self.assertEqual(sum(local(t, zone).year == row.year for t in runs), row.hourly_runs, row)

    def test_every_second(self) -> None:
        """A job of every second runs at every second of the day before each change, and of the day after."""
        for row, zone, start, end in self.years():
            schedule = Schedule.parse("* * * * * * *", row.zone)
            for change in changes(zone, start, end):
                seconds_around = range(change - A_DAY, change + A_DAY)
                self.assertEqual(
                    instants(schedule.next_epoch, seconds_around.start, seconds_around.stop),
                    list(seconds_around),
                    row,
                )

    def test_fixed_times_of_all_seconds(self) -> None:
        """Fixed times seven seconds apart run once each, and once for all that were jumped over."""
        for row, zone, start, end in self.years():
            for rule in ("vixie", "skip"):
                schedule = Schedule.parse("*/7 0-59 0-23 * * * *", row.zone, dst=rule)
                self.assertTrue(schedule.fixed)
                for change in changes(zone, start, end):
                    hours = change - 7200, change + 7200
                    expected = due(lambda time: time.second % 7 == 0, zone, hours, rule, 1, lookback=7200)
                    self.assertEqual(instants(schedule.next_epoch, *hours), list(expected), row)


@lru_cache(maxsize=1)
def all_changes() -> list[tuple[str, int]]:
    """Every change of ZONES from 1985 to 2029."""
    start, end = seconds(datetime(1985, 1, 1)), seconds(datetime(2030, 1, 1))
    return [(name, instant) for name in ZONES for instant in changes(ZoneInfo(name), start, end)]


class AnyChange(SynchronousTestCase):
    """Random schedules around random changes."""

    def test_watched(self) -> None:
        """Around any change, by either rule, a job runs when somebody who watches the clock says so."""

        @settings(deadline=None, max_examples=120)
        @given(
            expressions("0335656", zeros=1),
            st.sampled_from(all_changes()),
            st.sampled_from(["vixie", "skip"]),
        )
        def law(made: Made, change: tuple[str, int], rule: str) -> None:
            zone, instant = change
            schedule = parsed(made, zone, dst=rule)
            self.assertEqual(schedule.fixed, made.fixed)
            days = instant - A_DAY * 3 // 2, instant + A_DAY * 3 // 2
            expected = due(made.matches, ZoneInfo(zone), days, rule if made.fixed else None)
            self.assertEqual(instants(schedule.next_epoch, *days), list(expected))

        law()

    def test_any_size(self) -> None:
        """A change of any size up to a day, at any minute, follows the rules."""
        offsets = st.integers(-720, 720).map(lambda minutes: minutes * 60)
        minutes = st.integers(10**6, 6 * 10**7).map(lambda minute: minute * 60)

        @settings(deadline=None, max_examples=120)
        @given(
            st.tuples(expressions("0335656", zeros=1), st.none())
            | st.tuples(expressions("0226666", zeros=1), st.sampled_from([-1, 0])),
            offsets,
            offsets,
            minutes,
            st.sampled_from(["vixie", "skip"]),
        )
        def law(schedule: tuple[Made, int | None], before: int, after: int, change: int, rule: str) -> None:
            zone = OneChange(change, before, after)
            made, moment = schedule
            if moment is not None:  # only on the day that the clock leaves, or comes to
                made = on_day(made, local(change + moment, zone))
            evaluator = CalendarEvaluator(parse_expression(made.text))
            timetable = Timetable(evaluator, Zone(zone), made.fixed, fills_gaps=rule == "vixie")
            days = change - A_DAY, change + 2 * A_DAY
            expected = due(made.matches, zone, days, rule if made.fixed else None)
            self.assertEqual(instants(timetable.next, *days), list(expected))

        law()

    def test_far(self) -> None:
        """A schedule that comes seldom is found across many changes, as croniter finds it."""

        @settings(deadline=None, max_examples=40)
        @given(
            expressions("0331233"), st.sampled_from(all_changes()), st.sampled_from(["vixie", "skip", "utc"])
        )
        def law(made: Made, change: tuple[str, int], rule: str) -> None:
            zone, instant = change
            own = parsed(made, zone, dst=rule)
            reference = parsed(made, zone, dst=rule, evaluator=CroniterEvaluator)
            self.assertEqual(own.next_epoch(instant - A_DAY), reference.next_epoch(instant - A_DAY))

        law()


NEW_YORK, VIXIE, SKIP, UTC = "America/New_York", "vixie", "skip", "utc"

# Text, zone, rule, from when; then the next times.
RULES: list[tuple[str | None, ...]] = [
    # Forward, 02:00 to 03:00: a fixed time runs when the clock has jumped, together with all in the gap.
    ("30 2 * * *", NEW_YORK, VIXIE, "2026-03-08 01:59:59-0500", "03:00:00-0400", "02:30:00-0400"),
    ("0,30 2,3 * * *", NEW_YORK, VIXIE, "2026-03-08 01:00:00-0500", "03:00:00-0400", "03:30:00-0400"),
    ("30 2 * * *", NEW_YORK, SKIP, "2026-03-08 01:59:59-0500", "02:30:00-0400"),
    ("30 2 * * *", NEW_YORK, UTC, "2026-03-08 01:59:59-0500", "22:30:00-0400", "22:30:00-0400"),
    ("59 2 * * *", NEW_YORK, VIXIE, "2026-03-08 01:59:59-0500", "03:00:00-0400", "02:59:00-0400"),
    ("59 59 2 * * * *", NEW_YORK, VIXIE, "2026-03-08 01:59:59-0500", "03:00:00-0400", "02:59:59-0400"),
    # The others leave out what the clock doesn't show.
    ("30 */2 * * *", NEW_YORK, VIXIE, "2026-03-08 00:30:00-0500", "04:30:00-0400"),
    ("*/20 2 * * *", NEW_YORK, VIXIE, "2026-03-08 00:30:00-0500", "02:00:00-0400"),
    # Back, 02:00 to 01:00: a fixed time runs the first time.
    ("30 1 * * *", NEW_YORK, VIXIE, "2026-11-01 00:00:00-0400", "01:30:00-0400", "01:30:00-0500"),
    ("30 1 * * *", NEW_YORK, SKIP, "2026-11-01 00:00:00-0400", "01:30:00-0400", "01:30:00-0500"),
    ("0 1,2 * * *", NEW_YORK, VIXIE, "2026-11-01 00:00:00-0400", "01:00:00-0400", "02:00:00-0500"),
    # The others run in both passes.
    ("30 * * * *", NEW_YORK, SKIP, "2026-11-01 01:00:00-0400", "01:30:00-0400", "01:30:00-0500"),
    ("*/30 1 * * *", NEW_YORK, VIXIE, "2026-11-01 01:10:00-0400", "01:30:00-0400", "01:00:00-0500"),
    ("*/40 1 1 11 *", NEW_YORK, VIXIE, "2026-11-01 01:00:00-0400", "01:40:00-0400", "01:00:00-0500"),
    (
        "*/40 1 1 11 ? 2026",
        NEW_YORK,
        VIXIE,
        "2026-11-01 01:40:00-0400",
        "01:00:00-0500",
        "01:40:00-0500",
        None,
    ),
    # Seconds: a gap has one run, however many were in it.
    (
        "*/10 30 2 * * * *",
        "Europe/Berlin",
        VIXIE,
        "2026-03-29 01:00:00+0100",
        "03:00:00+0200",
        "02:30:00+0200",
    ),
    # Forward by 44 minutes and a half: Liberia in 1972.
    ("30 0 * * *", "Africa/Monrovia", VIXIE, "1972-01-06 12:00:00-0044", "00:44:30+0000", "00:30:00+0000"),
    # A single time follows the same rules; one with an offset is exact.
    ("@at 2026-03-08T0230", NEW_YORK, VIXIE, "2026-01-01 00:00:00-0500", "03:00:00-0400", None),
    ("@at 2026-03-08T0230", NEW_YORK, SKIP, "2026-01-01 00:00:00-0500", None),
    ("@at 2026-03-08T0230", NEW_YORK, UTC, "2026-01-01 00:00:00-0500", "21:30:00-0500", None),
    ("@at 2026-11-01T0130", NEW_YORK, VIXIE, "2026-01-01 00:00:00-0500", "01:30:00-0400", None),
    ("@at 2026-11-01T0130-0500", NEW_YORK, SKIP, "2026-01-01 00:00:00-0500", "01:30:00-0500", None),
]


class Rules(SynchronousTestCase):
    """The rules of `docs/reference/schedules.md`, by example."""

    def test_rules(self) -> None:
        """Each rule does what the page says."""
        for text, zone, rule, after, *expected in RULES:
            assert text and zone and rule and after
            schedule = Schedule.parse(text, zone, dst=rule)
            time: datetime | None = datetime.strptime(after, "%Y-%m-%d %H:%M:%S%z")
            for each in expected:
                assert time is not None
                time = schedule.next(time)
                self.assertEqual(time and time.strftime("%H:%M:%S%z"), each, (text, rule, time))

    def test_calendar_ends(self) -> None:
        """The first times are those of 1 January 1970, the last of 31 December 2099, by the zone's clock."""
        for zone in ("UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago"):
            schedule = Schedule.parse("@daily", zone)
            self.assertIsNone(schedule.next(datetime.max.replace(tzinfo=timezone.utc)))
            self.assertIsNone(schedule.next_epoch(10**18))
            first = schedule.next(datetime(1960, 1, 1, tzinfo=timezone.utc))
            assert first is not None
            self.assertEqual(first.replace(tzinfo=None), datetime(1970, 1, 1))
            last = datetime(2099, 12, 31, tzinfo=ZoneInfo(zone))
            self.assertEqual(schedule.next(last - SECOND), last)
            self.assertIsNone(schedule.next(last))
