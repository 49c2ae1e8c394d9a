"""A whole cron expression, expanded to plain numbers."""

from __future__ import annotations

from typing import NamedTuple

from jobd.schedule.errors import ScheduleError, quoted
from jobd.schedule.fields import (
    DAY,
    HOUR,
    MINUTE,
    MONTH,
    SECOND,
    WEEKDAY,
    YEAR,
    Field,
    Values,
    expand_hash,
    parse_field,
)

ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}

_FIVE = (MINUTE, HOUR, DAY, MONTH, WEEKDAY)
_SEVEN = (SECOND, *_FIVE, YEAR)
_FIELDS = {5: _FIVE, 6: (*_FIVE, YEAR), 7: _SEVEN}


class Days(NamedTuple):
    """Days of a month: the union of four sets (see `jobd.schedule.bits`, and `Values` for their members)."""

    numbers: int
    """Days by number, and `LAST`."""
    workdays: int
    """The working days, Monday to Friday, nearest to these days of the same month; `LAST` is the last one."""
    weekdays: int
    """0 is Sunday."""
    nth: int
    """7 * week + weekday; the week is 1 to 5 or `LAST`."""


class Expression(NamedTuple):
    """What a schedule says, as sets of numbers: two texts that say the same have equal expressions."""

    seconds: int
    minutes: int
    hours: int
    days: Days | None
    """None is every day."""
    months: int
    years: int
    """Less 1970."""
    fixed: bool
    """A fixed-time schedule: neither the minute nor the hour field begins with `*` or `?` (crontab(5))."""


def expand_hashes(text: str, seed: str) -> str:
    """A cron expression with each H replaced by the numbers it means for `seed`; raises ScheduleError."""
    if "h" not in text.lower():
        return text
    fields, texts = _split(text)
    return " ".join(expand_hash(field, each, seed) for field, each in zip(fields, texts, strict=True))


def parse_expression(text: str) -> Expression:
    """A cron expression of five, six or seven fields, without H; raises ScheduleError."""
    texts = _seven(text)
    second, minute, hour, day, month, weekday, year = map(parse_field, _SEVEN, texts)
    return Expression(
        second.numbers,
        minute.numbers,
        hour.numbers,
        _days(day, weekday),
        month.numbers,
        year.numbers,
        fixed=texts[1][0] not in "*?" and texts[2][0] not in "*?",
    )


def impossible(text: str) -> ScheduleError:
    """The error that says that an expression has no day."""
    texts = _seven(text)
    said = ", ".join(
        f"{field.name} {quoted(each)}" for field, each in zip(_SEVEN[3:], texts[3:], strict=True)
    )
    return ScheduleError(
        f"{said}: there is no such day; allowed are days that come at least once in 1970-2099"
    )


def _days(day: Values, weekday: Values) -> Days | None:
    """The days of both fields; where one of them restricts nothing, only the other counts."""
    if day.star and weekday.star:
        return None
    if day.star:
        return Days(0, 0, weekday.numbers, weekday.special)
    if weekday.star:
        return Days(day.numbers, day.special, 0, 0)
    return Days(day.numbers, day.special, weekday.numbers, weekday.special)


def _seven(text: str) -> list[str]:
    """What stands, or is meant, in each of the seven fields."""
    _, texts = _split(text)
    return texts if len(texts) == 7 else ["0", *texts, "*"][:7]


def _split(text: str) -> tuple[tuple[Field, ...], list[str]]:
    """Which fields there are, and what stands in each."""
    texts = text.split()
    fields = _FIELDS.get(len(texts))
    if fields is None:
        fields_said = "1 field" if len(texts) == 1 else f"{len(texts)} fields"
        raise ScheduleError(
            f"the schedule {quoted(text)} has {fields_said}; allowed are 5 (minute, hour, day of month, "
            "month, weekday), 6 (and a year) or 7 (and a second, in front)"
        )
    return fields, texts
