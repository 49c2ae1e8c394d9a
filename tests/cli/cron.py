"""cron itself, by crontab(5) and minute by minute: what translations are held against."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from hypothesis import strategies as st

RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
NAMES = {name: number for number, name in enumerate(_WEEKDAYS)} | {
    name: number for number, name in enumerate(_MONTHS, 1)
}


def members(text: str, low: int, high: int) -> set[int]:
    """The numbers of a field that is known to be right."""
    found: set[int] = set()
    for item in text.lower().split(","):
        base, _, step = item.partition("/")
        first, dash, last = (str(low), "-", str(high)) if base == "*" else base.partition("-")
        begin = NAMES.get(first) if first in NAMES else int(first)
        end = begin if not dash else NAMES.get(last) if last in NAMES else int(last)
        assert begin is not None and end is not None
        found |= set(range(begin, end + 1, int(step or 1)))
    return found


def times(fields: list[str], after: datetime, days: int) -> Iterator[datetime]:
    """When cron runs a line, from the day of AFTER on, for DAYS days."""
    minutes, hours, month_days, months, weekdays = (
        members(text, *bounds) for text, bounds in zip(fields, RANGES, strict=True)
    )
    both = fields[2].startswith("*") or fields[4].startswith("*")
    for offset in range(days):
        day = after.replace(hour=0, minute=0, second=0) + timedelta(days=offset)
        weekday = day.isoweekday() % 7
        in_month = day.day in month_days
        in_week = weekday in weekdays or (weekday == 0 and 7 in weekdays)
        if day.month in months and ((in_month and in_week) if both else (in_month or in_week)):
            for hour in sorted(hours):
                for minute in sorted(minutes):
                    if (time := day.replace(hour=hour, minute=minute)) > after:
                        yield time


@st.composite
def _items(draw: st.DrawFn, low: int, high: int) -> str:
    first = draw(st.integers(low, high))
    last = draw(st.integers(first, high))
    step = draw(st.integers(1, high + 40))
    return draw(st.sampled_from(["*", f"*/{step}", f"{first}", f"{first}-{last}", f"{first}-{last}/{step}"]))


def _field(low: int, high: int) -> st.SearchStrategy[str]:
    lists = st.lists(_items(low, high), min_size=1, max_size=3).map(",".join)
    return st.one_of(st.just("*"), lists)


WEEKS = st.lists(st.sampled_from(["1-7", "8-14", "15-21", "22-28", "29-31"]), min_size=1, unique=True).map(
    lambda weeks: "*/99," + ",".join(["1-7", *weeks])
)
LINES = st.tuples(
    _field(0, 59), _field(0, 23), st.one_of(_field(1, 31), WEEKS), _field(1, 12), _field(0, 7)
).map(list)
"""Five fields that cron takes."""
