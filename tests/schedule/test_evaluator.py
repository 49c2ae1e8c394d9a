"""Expressions on a calendar without zones: compared with croniter, with a scan, and with a bound."""

from __future__ import annotations

from datetime import timedelta
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobd.schedule import evaluator
from jobd.schedule.evaluator import DAY, END, CalendarEvaluator
from jobd.schedule.expression import Expression, parse_expression
from jobd.schedule.reference import CroniterEvaluator
from tests.schedule.oracle import EPOCH, Made, expressions, seconds

WALLS = st.integers(-DAY, END + DAY) | st.integers(1_700_000_000, 1_900_000_000)

# Where croniter and others were found to go astray, and the corners of the calendar.
CORNERS = [
    *("0 0 L,2-31 * *", "0 0 31W * *", "0 0 29W 2 *", "0 0 LW 2 *", "0 0 1W 1 * 2022", "0 0 31W 12 * 2022"),
    *("0 0 * * 0L,1L,2L,3L,4L,5L,6L", "0 0 13 * 5L", "0 0 15W,LW * 1#1,5", "0 0 * 2 1#5", "0 0 1 1 MON 2014"),
    *("0 0 29 2 *", "0 0 31 12 * 2099", "59 59 23 31 12 ? 2099", "0 0 0 1 1 ? 1970", "0 0 * jan-mar mon-wed"),
    *("5-5 1-1 * * *", "59/15 23/6 31/9 12/2 6/2", "0-59/59 */23 */30 * *"),
]


class AgainstCroniter(SynchronousTestCase):
    def check(self, expression: Expression, wall: int, answers: int) -> None:
        own, reference = CalendarEvaluator(expression), CroniterEvaluator(expression)
        for _ in range(answers):
            found = own.first_from(wall)
            self.assertEqual(found, reference.first_from(wall), wall)
            if found is None:
                return
            wall = found + 1

    def test_random(self) -> None:
        """Random expressions have the times that croniter finds for the union of their parts."""

        @settings(deadline=None, max_examples=300)
        @given(expressions(), WALLS)
        def law(made: Made, wall: int) -> None:
            self.check(parse_expression(made.text), wall, 3)

        law()

    def test_corners(self) -> None:
        """So have the expressions that are known to be hard, for many answers in a row."""
        for text in CORNERS:
            for wall in (0, seconds(EPOCH.replace(year=2026))):
                self.check(parse_expression(text), wall, 40)


class AgainstScan(SynchronousTestCase):
    def scan(self, made: Made, wall: int, step: int, count: int) -> None:
        """Look at `count` times after `wall`, `step` seconds apart, one by one."""
        own = CalendarEvaluator(parse_expression(made.text))
        expected = [
            wall + n * step
            for n in range(count)
            if wall + n * step < END and made.matches(EPOCH + timedelta(seconds=wall + n * step))
        ]
        found = []
        time = own.first_from(wall)
        while time is not None and time < wall + count * step:
            found.append(time)
            time = own.first_from(time + 1)
        self.assertEqual(found, expected)

    def test_minutes(self) -> None:
        """A scan of two days, minute by minute, finds the same minutes."""

        @settings(deadline=None, max_examples=40)
        @given(expressions("0225656", zeros=1), WALLS)
        def law(made: Made, wall: int) -> None:
            self.scan(made, max(wall, 0) // DAY * DAY, 60, 2 * 1440)

        law()

    def test_seconds(self) -> None:
        """A scan of half an hour, second by second, finds the same seconds."""

        @settings(deadline=None, max_examples=40)
        @given(expressions("2356666"), WALLS)
        def law(made: Made, wall: int) -> None:
            self.scan(made, max(wall, 0), 1, 1800)

        law()

    def test_days(self) -> None:
        """A scan of four years, day by day, finds the same days."""

        @settings(deadline=None, max_examples=40)
        @given(expressions("0001325", zeros=3), WALLS)
        def law(made: Made, wall: int) -> None:
            self.scan(made, max(wall, 0) // DAY * DAY, DAY, 1461)

        law()


class Bounds(SynchronousTestCase):
    def test_steps(self) -> None:
        """No search looks at more months than the calendar has, and one more, wherever it begins."""
        months = 130 * 12

        @settings(deadline=None, max_examples=100)
        @given(expressions("0002302"), WALLS)
        def law(made: Made, wall: int) -> None:
            own = CalendarEvaluator(parse_expression(made.text))
            with patch.object(evaluator, "days_of_month", wraps=evaluator.days_of_month) as looked_at:
                own.first_from(wall)
            self.assertLessEqual(looked_at.call_count, months + 1)

        law()
