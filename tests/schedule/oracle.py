"""What schedules should do, told a second time and without the code under test.

`expressions` makes random cron expressions, each with a predicate on naive datetimes that is put together
item by item from what the grammar means.  `due` watches a zone's clock minute by minute.  `parsed` is the one
function here that calls the code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta, tzinfo
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from hypothesis import reject
from hypothesis import strategies as st

from jobd.schedule import Schedule, ScheduleError

Matches = Callable[[datetime], bool]

EPOCH = datetime(1970, 1, 1)
SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)
A_DAY = 86_400

MONTHS = ["jan", "FEB", "March", "apr", "may", "June", "jul", "AUG", "sep", "OCTOBER", "Nov", "dec"]
WEEKDAYS = ["SUN", "mon", "Tuesday", "wed", "THU", "fri", "SATURDAY"]


class Item(NamedTuple):
    """An item of a field's list, or a whole field."""

    text: str
    matches: Matches


class Made(NamedTuple):
    """A random expression of seven fields."""

    text: str
    fixed: bool
    matches: Matches


def seconds(time: datetime) -> int:
    """Seconds from 1970 to a naive datetime."""
    return (time - EPOCH) // SECOND


def weekday(time: datetime) -> int:
    """0 is Sunday."""
    return time.isoweekday() % 7


def workdays(time: datetime) -> list[int]:
    """The days of its month, by number, that are Monday to Friday."""
    days = (time.replace(day=1) + n * DAY for n in range(31))
    return [day.day for day in days if day.month == time.month and day.isoweekday() < 6]


def has_day(time: datetime, number: int) -> bool:
    return (time.replace(day=1) + (number - 1) * DAY).month == time.month


SPECIAL_DAYS = [
    Item("L", lambda time: not has_day(time, time.day + 1)),
    Item("lw", lambda time: time.day == workdays(time)[-1]),
    *(
        Item(
            f"{n}W",
            lambda time, n=n: (
                has_day(time, n) and time.day == min(workdays(time), key=lambda day: abs(day - n))
            ),
        )
        for n in range(1, 32)
    ),
]
SPECIAL_WEEKDAYS = [
    *(
        Item(f"{text}L", lambda time, n=n: weekday(time) == n % 7 and not has_day(time, time.day + 7))
        for n, text in [*enumerate(WEEKDAYS), *((n, str(n)) for n in range(8))]
    ),
    *(
        Item(f"{text}#{w}", lambda time, n=n, w=w: weekday(time) == n % 7 and (time.day + 6) // 7 == w)
        for n, text in [*enumerate(WEEKDAYS), *((n, str(n)) for n in range(8))]
        for w in range(1, 6)
    ),
]


class Field(NamedTuple):
    """A field's values; `top` is the largest that may be written (7 for a Sunday)."""

    value: Matches
    low: int
    high: int
    top: int
    names: Sequence[str] = ()
    special: Sequence[Item] = ()
    wraps: bool = False

    def span(self, first: int, last: int) -> list[int]:
        """From first to last, going around where the field does."""
        if self.top == 7 and (first, last) == (0, 7):
            return [0, 1, 2, 3, 4, 5, 6, 0]
        count = self.high - self.low + 1
        last = self.low + (last - self.low) % count
        numbers = [self.low + (first - self.low) % count]
        while numbers[-1] != last:
            numbers.append(self.low + (numbers[-1] + 1 - self.low) % count)
        return numbers


FIELDS = [
    Field(lambda time: time.second, 0, 59, 59),
    Field(lambda time: time.minute, 0, 59, 59),
    Field(lambda time: time.hour, 0, 23, 23),
    Field(lambda time: time.day, 1, 31, 31, special=SPECIAL_DAYS),
    Field(lambda time: time.month, 1, 12, 12, MONTHS, wraps=True),
    Field(weekday, 0, 6, 7, WEEKDAYS, SPECIAL_WEEKDAYS, wraps=True),
    Field(lambda time: time.year, 1970, 2099, 2099),
]


@st.composite
def values(draw: st.DrawFn, field: Field) -> tuple[str, int]:
    """One value: how it is written, and what it is."""
    number = draw(st.integers(field.low, field.top))
    texts = [str(number), f"0{number}"]
    if number <= field.high:
        texts += field.names[number - field.low : number - field.low + 1]
    return draw(st.sampled_from(texts)), number


@st.composite
def items(draw: st.DrawFn, field: Field) -> Item:
    kinds = ["value", "value", "span", "span/step", "value/step", "*/step"] + ["special"] * 3 * bool(
        field.special
    )
    kind = draw(st.sampled_from(kinds))
    if kind == "special":
        return draw(st.sampled_from(field.special))
    step = draw(st.integers(1, min(field.high, 30))) if kind.endswith("/step") else 1
    text, first = ("*", field.low) if kind == "*/step" else draw(values(field))
    if kind == "value":
        numbers = [field.span(first, first)[0]]
    elif kind.startswith("span"):
        last_text, last = draw(values(field))
        if first > last and not field.wraps:
            text, first, last_text, last = last_text, last, text, first
        text = f"{text}-{last_text}"
        numbers = field.span(first, last)
    else:
        numbers = list(range(field.span(first, first)[0], field.high + 1))
    chosen = set(numbers[::step])
    return Item(
        f"{text}/{step}" if kind.endswith("/step") else text, lambda time: field.value(time) in chosen
    )


@st.composite
def fields(draw: st.DrawFn, field: Field, star_weight: int) -> tuple[str, bool, Matches]:
    """A whole field: its text, whether it restricts nothing, its predicate."""
    if draw(st.integers(0, 5)) < star_weight:
        return draw(st.sampled_from(["*", "?", f"*,{field.top}"])), True, lambda time: True
    chosen = draw(st.lists(items(field), min_size=1, max_size=3))
    text = ",".join(item.text for item in chosen)
    return text, False, lambda time: any(item.matches(time) for item in chosen)


@st.composite
def expressions(draw: st.DrawFn, star_weights: str = "1223435", zeros: int = 0) -> Made:
    """Expressions; the weights, 0 to 6, are the likeliness of a star in each field.

    The first `zeros` fields are 0: of one, whole minutes, of three, midnights.
    """
    drawn = [draw(fields(field, int(star))) for field, star in zip(FIELDS, star_weights, strict=True)]
    for field in range(zeros):
        drawn[field] = ("0", False, lambda time, value=FIELDS[field].value: value(time) == 0)
    texts = [text for text, _, _ in drawn]
    (_, _, second), (_, _, minute), (_, _, hour), (_, day_star, day), (_, _, month), dow, (_, _, year) = drawn

    def day_matches(time: datetime) -> bool:
        if day_star or dow[1]:
            return day(time) and dow[2](time)
        return day(time) or dow[2](time)

    return Made(
        " ".join(texts),
        texts[1][0] not in "*?" and texts[2][0] not in "*?",
        lambda time: all(matches(time) for matches in (year, month, hour, minute, second, day_matches)),
    )


def local(instant: int, zone: tzinfo) -> datetime:
    """What the zone's clock shows, naive."""
    return datetime.fromtimestamp(instant, zone).replace(tzinfo=None)


def on_day(made: Made, day: datetime) -> Made:
    """The times, on one day only, of an expression that restricts no days."""
    date = f"{day.day} {day.month} ? {day.year}"
    return Made(
        " ".join([*made.text.split()[:3], date]),
        made.fixed,
        lambda time: time.date() == day.date() and made.matches(time),
    )


def parsed(made: Made, zone: str, **how: Any) -> Schedule:
    """The schedule of a random expression; for a law that isn't about those that have no day."""
    try:
        return Schedule.parse(made.text, zone, **how)
    except ScheduleError as error:
        if "there is no such day" not in str(error):
            raise
        reject()


class OneChange(tzinfo):
    """A zone whose clock changes once; offsets are seconds, the change is an instant."""

    def __init__(self, change: int, before: int, after: int) -> None:
        self.change = EPOCH + change * SECOND
        self.offsets = before * SECOND, after * SECOND

    def fromutc(self, time: datetime) -> datetime:
        changed = time.replace(tzinfo=None) >= self.change
        return (time + self.offsets[changed]).replace(fold=int(changed))

    def utcoffset(self, time: datetime | None) -> timedelta:
        return self.offsets[time.fold if time else 0]

    def dst(self, time: datetime | None) -> timedelta:
        return timedelta(0)

    def tzname(self, time: datetime | None) -> str:
        return "LMT"


def changes(zone: ZoneInfo, start: int, end: int) -> list[int]:
    """The instants, whole minutes, between two midnights UTC at which the zone's clock jumps.

    It is looked at every minute of those days at whose end it shows another time than at their beginning.
    """
    found = []
    for day in range(start, end, A_DAY):
        if local(day + A_DAY, zone) - local(day, zone) != DAY:
            for instant in range(day + 60, day + A_DAY + 60, 60):
                if local(instant, zone) - local(instant - 60, zone) != 60 * SECOND:
                    found.append(instant)
    return found


def due(
    matches: Matches,
    zone: tzinfo,
    hours: tuple[int, int],
    rule: str | None,
    step: int = 60,
    lookback: int = A_DAY + 7200,
) -> Iterator[int]:
    """The instants of `hours`, looked at every `step` seconds, at which a schedule is due.

    `rule` is `vixie` or `skip` for a fixed-time schedule, None for one that follows elapsed time.  The zone's
    clock must change only at instants, and by amounts, that are whole steps; what it showed since
    `lookback` seconds before, it may show once more.
    """
    tick = timedelta(seconds=step)
    shown = local(hours[0] - lookback, zone)
    for instant in range(hours[0] - lookback, hours[1], step):
        time = local(instant, zone)
        if rule is None:
            is_due = matches(time)
        elif time < shown:
            is_due = False
        else:
            is_due = matches(time)
            while rule == "vixie" and shown < time and not is_due:
                is_due = matches(shown)
                shown += tick
            shown = time + tick
        if is_due and instant >= hours[0]:
            yield instant
