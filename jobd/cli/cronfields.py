"""The five fields of a crontab, by the rules of cron, and the schedule of jobd that means the same.

The rules are those of crontab(5) and of Debian's cron, which is Vixie cron 3.0.  They differ from jobd's
in one thing that matters: a day of month or weekday that *begins* with `*` makes both fields necessary,
where two restricted fields are otherwise alternatives.  In jobd two restricted fields always are.
"""

from __future__ import annotations

from typing import NamedTuple

from jobd.schedule.bits import bits
from jobd.schedule.errors import ScheduleError
from jobd.schedule.expression import ALIASES, parse_expression
from jobd.schedule.fields import DAY, HOUR, MINUTE, MONTH, WEEKDAY, Field, parse_field

_FIELDS = (MINUTE, HOUR, DAY, MONTH, WEEKDAY)
_WEEKS = tuple(range(first, min(first + 7, 32)) for first in range(1, 32, 7))
"""The days of month on which a weekday comes for the first, second ... fifth time."""
_WEEKDAY_NAMES = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")


class CronError(ValueError):
    """A line that cron refuses, or that jobd can't say; a sentence."""


class Translation(NamedTuple):
    """A schedule of jobd, and what is to be said about it."""

    schedule: str
    notes: tuple[str, ...] = ()


class _Values(NamedTuple):
    text: str
    numbers: frozenset[int]

    @property
    def star(self) -> bool:
        """What cron keeps of a field beside its numbers: whether it begins with `*`."""
        return self.text.startswith("*")


def translate(fields: list[str]) -> Translation:
    """The schedule that five fields of a crontab mean; CronError where there is none."""
    minute, hour, day, month, weekday = (
        _parse(field, text) for field, text in zip(_FIELDS, fields, strict=True)
    )
    texts = [_same(MINUTE, minute), _same(HOUR, hour), *_days(day, weekday), _same(MONTH, month)]
    minute_text, hour_text, day_text, weekday_text, month_text = texts
    notes = []
    if (minute.star or hour.star) and not (minute_text[0] == "*" or hour_text[0] == "*"):
        notes.append("on days when the clocks change, cron follows elapsed time here and jobd the fixed time")
    return Translation(" ".join((minute_text, hour_text, day_text, month_text, weekday_text)), tuple(notes))


def _parse(field: Field, text: str) -> _Values:
    """A field as cron reads it; CronError where it doesn't."""
    numbers: set[int] = set()
    for item in text.split(","):
        numbers.update(_item(field, item))
    return _Values(
        text, frozenset(number % 7 for number in numbers) if field is WEEKDAY else frozenset(numbers)
    )


def _item(field: Field, item: str) -> range:
    high = 7 if field is WEEKDAY else field.high
    base, slash, step_text = item.partition("/")
    step = 1
    if slash:
        if not (step_text.isascii() and step_text.isdigit() and 0 < len(step_text) < 5 and int(step_text)):
            raise CronError(f"{field.name} {item!r}: cron takes a step of 1 or more after /")
        step = int(step_text)
    if base == "*":
        return range(field.low, high + 1, step)
    first_text, dash, last_text = base.partition("-")
    first = _number(field, first_text, item, high)
    if not dash:
        if slash:
            raise CronError(f"{field.name} {item!r}: cron takes a step only after * or a range")
        return range(first, first + 1)
    last = _number(field, last_text, item, high)
    if first > last:
        raise CronError(f"{field.name} {item!r}: cron takes no range that runs backwards")
    return range(first, last + 1, step)


def _number(field: Field, text: str, item: str, high: int) -> int:
    if text.isascii() and text.isdigit() and len(text) < 5 and field.low <= int(text) <= high:
        return int(text)
    if len(text) == 3 and text.isascii() and (named := field.number_of(text.upper())) is not None:
        return named
    allowed = f"{field.low}-{high}" + (" and names of three letters" if field.names else "")
    raise CronError(f"{field.name} {item!r}: cron takes {allowed}, *, lists, ranges and steps here")


def _same(field: Field, values: _Values) -> str:
    """What means in jobd the numbers that VALUES are in cron: its own text where that is so, else a list."""
    try:
        parsed = parse_field(field, values.text)
    except ScheduleError:
        parsed = None
    if parsed is not None and not parsed.special and parsed.numbers == bits(values.numbers):
        return values.text
    return _listed(field, values.numbers)


def _listed(field: Field, numbers: frozenset[int]) -> str:
    every = range(field.low, field.high + 1)
    return "*" if numbers >= set(every) else ",".join(map(str, sorted(numbers)))


def _days(day: _Values, weekday: _Values) -> tuple[str, str]:
    """The day of month and weekday of jobd that mean the days of both fields of cron."""
    all_days, all_weekdays = len(day.numbers) == 31, len(weekday.numbers) == 7
    if day.star or weekday.star:
        if all_days:
            return "*", _same(WEEKDAY, weekday)
        if all_weekdays:
            return _same(DAY, day), "*"
        return "*", _both(day, weekday)
    if all_days or all_weekdays:  # either matches, and one of them always does
        return "*", "*"
    return _same(DAY, day), _same(WEEKDAY, weekday)


def _both(day: _Values, weekday: _Values) -> str:
    """The days that are in both fields: sayable where the days of month are whole weeks of it."""
    weeks = [number for number, week in enumerate(_WEEKS, 1) if day.numbers.issuperset(week)]
    covered = {number for week in weeks for number in _WEEKS[week - 1]}
    if not weeks or covered != day.numbers:
        raise CronError(
            f"day of month {day.text!r} and weekday {weekday.text!r}: as one of them begins with *, cron "
            "wants days that match both, which jobd can't say; it takes a weekday such as FRI#2"
        )
    return ",".join(f"{_WEEKDAY_NAMES[each]}#{week}" for each in sorted(weekday.numbers) for week in weeks)


def untranslate(schedule: str) -> str:
    """What a crontab has for a SCHEDULE of jobd: five fields or an `@` name; CronError where it has nothing.

    What is given is read back, and means the same to the last clock change.
    """
    word = schedule.split(None, 1)[0].lower() if schedule else ""
    if word in ALIASES or word == "@reboot":
        return word
    fields = schedule.split()
    if len(fields) == 7 and fields[0].isdigit() and int(fields[0]) == 0:
        del fields[0]
    if len(fields) == 6 and fields[5] in ("*", "?"):
        del fields[5]
    if len(fields) != 5 or word.startswith("@"):
        raise CronError(
            f"a crontab has nothing for the schedule {schedule!r}: it knows five fields and @ names"
        )
    try:
        wanted = parse_expression(" ".join(fields))
        texts = [_in_cron(field, text) for field, text in zip(_FIELDS, fields, strict=True)]
        if wanted.days is not None and "*" not in (texts[2], texts[4]):
            # Neither may begin with *, else cron wants both.
            texts[2], texts[4] = _as_list(DAY, fields[2]), _as_list(WEEKDAY, fields[4])
        found = " ".join(texts)
        if parse_expression(translate(texts).schedule) == wanted:
            return found
    except ValueError:
        pass
    raise CronError(f"a crontab has nothing that means the schedule {schedule!r}")


def _in_cron(field: Field, text: str) -> str:
    """What means in cron what TEXT means in jobd: TEXT itself where that is so, else a list."""
    if parse_field(field, text).star:
        return "*"
    try:
        return (
            text
            if bits(_parse(field, text).numbers) == parse_field(field, text).numbers
            else _as_list(field, text)
        )
    except CronError:
        return _as_list(field, text)


def _as_list(field: Field, text: str) -> str:
    parsed = parse_field(field, text)
    if parsed.special:
        raise CronError(f"{field.name} {text!r}: a crontab knows no L, W or #")
    return ",".join(
        str(number) for number in range(field.low, field.high + 1) if parsed.numbers >> number & 1
    )
