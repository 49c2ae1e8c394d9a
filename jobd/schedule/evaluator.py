"""The next time of an expression on a calendar without a zone.

Wall-clock time is an int here: the seconds since 1970-01-01T00:00:00 as the clock on the wall shows
them, every day having 86,400.  The calendar is a table of the 1,560 months of 1970 to 2099.  What days of
a month match depends on nothing but its length and its first weekday, and is kept as an int of bits.
So a search takes one step for each month that it passes, at most 1,560.
"""

from __future__ import annotations

from bisect import bisect_right
from calendar import monthrange
from datetime import date
from functools import lru_cache
from typing import Protocol

from jobd.schedule.bits import first_from, members
from jobd.schedule.expression import Days, Expression
from jobd.schedule.fields import LAST, YEAR

DAY = 86_400
_EPOCH = date(1970, 1, 1).toordinal()
END = (date(YEAR.high + 1, 1, 1).toordinal() - _EPOCH) * DAY
"""Wall-clock time at which the calendar ends: 2100-01-01T00:00:00."""

_MONTHS = [(year, month) for year in range(YEAR.low, YEAR.high + 1) for month in range(1, 13)]
_STARTS = [date(year, month, 1).toordinal() - _EPOCH for year, month in _MONTHS]
# The first weekday, 0 being Sunday, and the length of each month.
_SHAPES = [((monthrange(year, month)[0] + 1) % 7, monthrange(year, month)[1]) for year, month in _MONTHS]


class Evaluator(Protocol):
    """Made of an Expression; finds its times."""

    def first_from(self, wall: int) -> int | None:
        """The earliest wall-clock time of the expression that is `wall` or later; None where none is left."""


class CalendarEvaluator:
    """The evaluator in use."""

    __slots__ = ("_days", "_first_time", "_hours", "_minutes", "_months", "_seconds", "_years")

    def __init__(self, expression: Expression) -> None:
        self._seconds, self._minutes, self._hours, self._days, self._months, self._years, _ = expression
        self._first_time = self._time_from(0)

    def first_from(self, wall: int) -> int | None:
        """See `Evaluator`."""
        today, time = divmod(max(wall, 0), DAY)
        day = self._day_from(today)
        if day == today:
            found = self._time_from(time)
            if found >= 0:
                return day * DAY + found
            day = self._day_from(today + 1)
        return None if day < 0 else day * DAY + self._first_time

    def _time_from(self, time: int) -> int:
        """The first second of the day that is `time` or later; -1 where none is left in the day."""
        minute_of_day, second = divmod(time, 60)
        hour, minute = divmod(minute_of_day, 60)
        found = first_from(self._hours, hour)
        if found == hour:
            found_minute = first_from(self._minutes, minute)
            if found_minute == minute:
                found_second = first_from(self._seconds, second)
                if found_second >= 0:
                    return (hour * 60 + minute) * 60 + found_second
                found_minute = first_from(self._minutes, minute + 1)
            if found_minute >= 0:
                return (hour * 60 + found_minute) * 60 + first_from(self._seconds, 0)
            found = first_from(self._hours, hour + 1)
        if found < 0:
            return -1
        return (found * 60 + first_from(self._minutes, 0)) * 60 + first_from(self._seconds, 0)

    def _day_from(self, day: int) -> int:
        """The first day, counted from 1970-01-01, that is `day` or later; -1 where none is left."""
        index = bisect_right(_STARTS, day) - 1
        day_of_month = day - _STARTS[index] + 1
        while True:
            found_index = self._month_from(index)
            if found_index < 0:
                return -1
            if found_index > index:
                day_of_month = 1
            found = first_from(days_of_month(self._days, *_SHAPES[found_index]), day_of_month)
            if found >= 0:
                return _STARTS[found_index] + found - 1
            index, day_of_month = found_index + 1, 1

    def _month_from(self, index: int) -> int:
        """The first month, counted from January 1970, that is `index` or later; -1 where none is left."""
        year, month = divmod(index, 12)
        found = first_from(self._years, year)
        if found == year:
            found_month = first_from(self._months, month + 1)
            if found_month >= 0:
                return year * 12 + found_month - 1
            found = first_from(self._years, year + 1)
        return found * 12 + first_from(self._months, 1) - 1 if found >= 0 else -1


@lru_cache(maxsize=4096)
def days_of_month(days: Days | None, first: int, length: int) -> int:
    """The set of days that match in a month of `length` days whose first is the weekday `first`."""
    every = (2 << length) - 2
    if days is None:
        return every
    found = days.numbers & every
    if days.numbers >> LAST & 1:
        found |= 1 << length
    for day in members(days.workdays):
        if day <= length:
            found |= 1 << _nearest_workday(length if day == LAST else day, first, length)
    for day in range(1, length + 1):
        if days.weekdays >> (first + day - 1) % 7 & 1:
            found |= 1 << day
    for week, weekday in (divmod(each, 7) for each in members(days.nth)):
        day = 1 + (weekday - first) % 7 + 7 * ((5 if week == LAST else week) - 1)
        if week == LAST and day > length:
            day -= 7
        if day <= length:
            found |= 1 << day
    return found


def _nearest_workday(day: int, first: int, length: int) -> int:
    """The working day of the same month that is nearest to `day`."""
    weekday = (first + day - 1) % 7
    if weekday == 6:
        return day - 1 if day > 1 else 3
    if weekday == 0:
        return day + 1 if day < length else day - 2
    return day
