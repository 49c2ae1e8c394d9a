"""The fields of a cron expression: text -> sets of numbers.

A field is a list, parted by commas, of items::

    *  ?            every value
    a               one value, as a number or a name
    a-b             from a to b; weekdays and months may wrap around
    a/n  */n  a-b/n every n-th, counted from the first; a/n goes on to the largest value
    H  H/n  H(a-b)  H(a-b)/n    hashed: see `expand_hash`
    L  LW  15W      day of month: the last, the last working day, the working day nearest to the 15th
    FRI#2  5L       weekday: the second Friday, the last Friday

That is the grammar of gorhill/cronexpr, which the original uses, and H (from Jenkins), leading zeros
and wrapping ranges.  Empty items of a list are ignored, as there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

from jobd.schedule.bits import bits
from jobd.schedule.errors import ScheduleError, quoted


@dataclass(frozen=True, eq=False)
class Field:
    """What may stand in one field."""

    name: str
    low: int
    high: int
    allowed: str
    """For error texts."""
    names: tuple[str, ...] = ()
    """Full names, in upper case, from `low` on; the first three letters will do."""
    wraps: bool = False
    hash_high: int | None = None
    """The largest value that a bare H chooses; None where H is refused."""

    def number_of(self, name: str) -> int | None:
        """The number of a name in upper case, None where it is none."""
        for number, full in enumerate(self.names, self.low):
            if name in (full, full[:3]):
                return number
        return None


_LISTS = "lists, ranges, steps and H"
_MONTHS = "JANUARY FEBRUARY MARCH APRIL MAY JUNE JULY AUGUST SEPTEMBER OCTOBER NOVEMBER DECEMBER"
_WEEKDAYS = "SUNDAY MONDAY TUESDAY WEDNESDAY THURSDAY FRIDAY SATURDAY"

SECOND = Field("second", 0, 59, f"0-59, *, {_LISTS}", hash_high=59)
MINUTE = Field("minute", 0, 59, f"0-59, *, {_LISTS}", hash_high=59)
HOUR = Field("hour", 0, 23, f"0-23, *, {_LISTS}", hash_high=23)
# A bare H stays below 29, so that it comes every month; Jenkins does the same.
DAY = Field("day of month", 1, 31, f"1-31, L, LW, 15W, *, {_LISTS}", hash_high=28)
MONTH = Field("month", 1, 12, f"1-12, JAN-DEC, *, {_LISTS}", tuple(_MONTHS.split()), wraps=True, hash_high=12)
WEEKDAY = Field(
    "weekday",
    0,
    6,
    f"0-7, SUN-SAT, 5L, FRI#2, *, {_LISTS}",
    tuple(_WEEKDAYS.split()),
    wraps=True,
    hash_high=6,
)
YEAR = Field("year", 1970, 2099, "1970-2099, *, lists, ranges and steps")

LAST = 0
"""In sets of days and of weeks of a month, whose members begin at 1: the last one."""


class Values(NamedTuple):
    """What a field says, as sets of `jobd.schedule.bits`."""

    numbers: int
    """Plain values; of days of the month also `LAST`; of years less 1970."""
    special: int
    """Of days of the month: those written nW, and `LAST` for LW.  Of weekdays: 7 * week + weekday for
    weekday#week, the week being `LAST` for 5L."""
    star: bool
    """A bare `*` or `?` stands in the list: the field restricts nothing."""


@lru_cache(maxsize=4096)
def parse_field(field: Field, text: str) -> Values:
    """What `text` says as `field`; raises ScheduleError."""
    numbers = special = 0
    star = False
    for item in text.split(","):
        if item in ("*", "?"):
            star = True
        elif item:
            found = _special(field, item)
            special |= found
            if not found:
                numbers |= bits(_numbers(field, item))
    if not (numbers or special or star):
        raise refusal(field, text, "no value stands there")
    if star:
        numbers = bits(range(field.low, field.high + 1))
    if field is YEAR:
        numbers >>= YEAR.low
    return Values(numbers, special, star)


def refusal(field: Field, text: str, why: str) -> ScheduleError:
    """The error that says what is wrong with `text` in `field`."""
    return ScheduleError(f"{field.name} {quoted(text)}: {why}; allowed are {field.allowed}")


_DAY_SPECIAL = re.compile(r"(?P<number>[0-9]+|L)W", re.IGNORECASE)
_WEEKDAY_SPECIAL = re.compile(r"(?P<day>[0-9A-Z]+?)(?:L|#(?P<week>.*))", re.IGNORECASE | re.ASCII)


def _special(field: Field, item: str) -> int:
    """The set of the days that `item` means where it is written with W, # or a last L; else no day."""
    if field is DAY and (match := _DAY_SPECIAL.fullmatch(item)):
        number = match["number"]
        return 1 << (LAST if number in "lL" else _number(field, number, item))
    if field is WEEKDAY and (match := _WEEKDAY_SPECIAL.fullmatch(item)):
        week = match["week"]
        if week is None:
            week = str(LAST)
        elif week not in ("1", "2", "3", "4", "5"):
            raise refusal(field, item, "the week after # is out of 1-5")
        return 1 << 7 * int(week) + _number(field, match["day"], item) % 7
    return 0


def _numbers(field: Field, item: str) -> Sequence[int]:
    """The numbers that an item of a list means."""
    if field is DAY and item in ("L", "l"):
        return [LAST]
    base, slash, step_text = item.partition("/")
    step = _step(field, step_text, item) if slash else 1
    if base in ("*", "?"):
        return range(field.low, field.high + 1, step)
    first_text, dash, last_text = base.partition("-")
    if dash:
        return _span(field, first_text, last_text, step, item)
    first = _number(field, first_text, item)
    if field is WEEKDAY:
        first %= 7
    return range(first, field.high + 1, step) if slash else [first]


def _number(field: Field, text: str, item: str) -> int:
    """One value: a number, of weekdays up to 7, or a name."""
    if text.isascii() and text.isdigit():
        number = int(text)
        if field.low <= number <= field.high or (field is WEEKDAY and number == 7):
            return number
        raise refusal(field, item, f"{quoted(text)} is out of range")
    named = field.number_of(text.upper()) if text.isascii() else None
    if named is None:
        raise refusal(field, item, f"{quoted(text)} is no value" if text else "a value is missing")
    return named


def _step(field: Field, text: str, item: str) -> int:
    if text.isascii() and text.isdigit() and 1 <= int(text) <= field.high:
        return int(text)
    raise refusal(field, item, f"the step {quoted(text)} is out of 1-{field.high}")


def _span(field: Field, first_text: str, last_text: str, step: int, item: str) -> Sequence[int]:
    """The numbers from first to last.  Sunday is 0 as the first weekday, 7 as the last one."""
    first = _number(field, first_text, item)
    last = _number(field, last_text, item)
    if first == 7 and field is WEEKDAY:
        first, last = 0, last % 7
    if first <= last and last <= field.high:
        return range(first, last + 1, step)
    count = field.high - field.low + 1
    if first > last:
        if not field.wraps:
            raise refusal(field, item, "the range is reversed")
        last += count
    return [field.low + (number - field.low) % count for number in range(first, last + 1, step)]


_HASH = re.compile(r"H(?:\((?P<span>[^)]*)\))?(?P<slash>/(?P<step>.*))?", re.IGNORECASE)


def expand_hash(field: Field, text: str, seed: str) -> str:
    """`text` with each H item replaced by the numbers it means for `seed`, the job's first name.

    H is one value of the field (of a day of the month: 1 to 28), H(a-b) one of that range.  H/n and
    H(a-b)/n are every n-th of them, from one of the first n on.  The choice is the first 8 bytes,
    big-endian, of BLAKE2b over `field:seed`, modulo the number of choices: the same on every
    machine and in every version.
    """
    items = (each for item in text.split(",") for each in _hashed(field, item, seed))
    return ",".join(dict.fromkeys(items))


def _hashed(field: Field, item: str, seed: str) -> Iterable[str]:
    match = _HASH.fullmatch(item)
    if match is None:
        return (item,)
    if field.hash_high is None:
        raise refusal(field, item, "H has no meaning here")
    if match["span"] is None:
        choices: Sequence[int] = range(field.low, field.hash_high + 1)
    else:
        first, dash, last = match["span"].partition("-")
        if not dash:
            raise refusal(field, item, "H(a-b) takes a range")
        choices = _span(field, first, last, 1, item)
    step = _step(field, match["step"], item) if match["slash"] else len(choices)
    digest = blake2b(f"{field.name}:{seed}".encode(errors="surrogatepass"), digest_size=8).digest()
    start = int.from_bytes(digest, "big") % min(step, len(choices))
    return map(str, choices[start::step])
