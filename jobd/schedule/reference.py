"""Expressions evaluated by croniter: an `Evaluator` made independently of `CalendarEvaluator`.

It takes 50 to 500 microseconds an answer where jobd's own takes 2 or 3 (`benchmarks/schedules.py`), so
nothing but tests and benchmarks uses it: `Schedule.parse(text, evaluator=CroniterEvaluator)`.

croniter never sees what a user wrote: it reads some of it in another way (`5-5` as every value, the sixth
field as seconds, `2-31,L` as every day), and intersects days written with W, L or # with the other day
field.  So each kind of day has a croniter expression of its own, in plain numbers, and the earliest answer
wins.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from croniter import CroniterBadDateError, croniter

from jobd.schedule.bits import members
from jobd.schedule.evaluator import END
from jobd.schedule.expression import Expression
from jobd.schedule.fields import LAST, YEAR

_EPOCH = datetime(1970, 1, 1)
_SECOND = timedelta(seconds=1)
_YEARS = YEAR.high - YEAR.low + 1

_FEBRUARY = 1 << 2
_SHORTER_THAN = {29: _FEBRUARY, 30: _FEBRUARY, 31: _FEBRUARY | 1 << 4 | 1 << 6 | 1 << 9 | 1 << 11}
_LEAP_YEARS = sum(1 << year - YEAR.low for year in range(YEAR.low, YEAR.high + 1) if year % 4 == 0)


class CroniterEvaluator:
    """See `jobd.schedule.evaluator.Evaluator`."""

    def __init__(self, expression: Expression) -> None:
        self._components = [
            croniter(text, second_at_beginning=True, max_years_between_matches=_YEARS)
            for text in _components(expression)
        ]

    def first_from(self, wall: int) -> int | None:
        """See `jobd.schedule.evaluator.Evaluator`."""
        before = _EPOCH + (min(max(wall, 0), END) - 1) * _SECOND
        found = []
        for component in self._components:
            try:
                time = component.get_next(datetime, start_time=before)
            except CroniterBadDateError:
                continue
            found.append((time - _EPOCH) // _SECOND)
        earliest = min(found, default=END)
        return earliest if earliest < END else None


def _components(expression: Expression) -> Iterator[str]:
    """Expressions for croniter, second first and year last, whose union is `expression`."""
    time = " ".join(
        _listed(mask, high)
        for mask, high in ((expression.seconds, 59), (expression.minutes, 59), (expression.hours, 23))
    )

    def component(
        day: str, weekday: str, months: int = expression.months, years: int = expression.years
    ) -> str:
        return f"{time} {day} {_listed(months, 12, 1)} {weekday} {_listed(years, _YEARS - 1, 0, YEAR.low)}"

    days = expression.days
    if days is None:
        yield component("*", "*")
        return
    if numbered := days.numbers & ~(1 << LAST):
        yield component(_listed(numbered, 31, 1), "*")
    if days.numbers >> LAST & 1:
        yield component("l", "*")
    for day in members(days.workdays):
        if day == LAST:
            yield component("31w", "*")  # croniter takes the last day where there is no 31st
            continue
        if months := expression.months & ~_SHORTER_THAN.get(day, 0):
            yield component(f"{day}w", "*", months)
        if day == 29 and expression.months & _FEBRUARY and (years := expression.years & _LEAP_YEARS):
            yield component("29w", "*", _FEBRUARY, years)
    if days.weekdays:
        yield component("*", _listed(days.weekdays, 6))
    if days.nth:
        nth = (divmod(each, 7) for each in members(days.nth))
        yield component("*", ",".join(f"l{day}" if week == LAST else f"{day}#{week}" for week, day in nth))


def _listed(mask: int, high: int, low: int = 0, base: int = 0) -> str:
    """A set as croniter reads it: numbers, or a star for all from `low` to `high`."""
    numbers = members(mask)
    return "*" if len(numbers) == high - low + 1 else ",".join(str(base + number) for number in numbers)
