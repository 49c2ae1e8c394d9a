"""A schedule as its users see it: text in, instants out.

`docs/reference/schedules.md` has the grammar and the rules.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import Any
from weakref import WeakValueDictionary
from zoneinfo import ZoneInfo

from jobd.schedule.durations import parse_duration
from jobd.schedule.errors import ScheduleError, quoted
from jobd.schedule.evaluator import CalendarEvaluator, Evaluator
from jobd.schedule.expression import ALIASES, Days, Expression, expand_hashes, impossible, parse_expression
from jobd.schedule.fields import YEAR
from jobd.schedule.timetable import Instants, Interval, Never, Timetable
from jobd.schedule.zones import Zone, zone_named

MAX_BYTES = 256
"""The longest schedule, in UTF-8 and without the white space around it."""

DST_RULES = ("vixie", "skip", "utc")

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_SECOND = timedelta(seconds=1)
_WORDS = ", ".join([*ALIASES, "@every 1h30m", "@at 2026-12-24T1800", "@reboot"])

_AT = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:T|\s+)(\d\d):?(\d\d)(?::?(\d\d))?"
    r"\s*(?P<offset>Z|(?P<sign>[+-])(?P<hours>\d\d):?(?P<minutes>\d\d))?",
    re.ASCII | re.IGNORECASE,
)
_AT_ALLOWED = (
    "allowed is YYYY-MM-DDTHHMM with a year of 1970-2099, and after it SS, and an offset such as Z or +0200"
)

MakeEvaluator = Callable[[Expression], Evaluator]


class Schedule:
    """When a job is due.  Made by `parse`, never changed, and shared: equal schedules are one object."""

    __slots__ = ("__weakref__", "_instants", "_zone", "fixed", "kind", "text", "timezone")

    text: str
    """As written, without the white space around it."""
    timezone: str
    """The name of the zone as given."""
    kind: str
    """`cron` (an expression or an alias), `every`, `at` or `reboot`."""
    fixed: bool
    """A fixed-time schedule: a clock set back must not make it run again.  So is every `@at`; `@every`
    and `@reboot` are not."""

    def __init__(
        self, text: str, timezone: str, zone: Zone, kind: str, instants: Instants, *, fixed: bool
    ) -> None:
        self.text = text
        self.timezone = timezone
        self.kind = kind
        self.fixed = fixed
        self._zone = zone
        self._instants = instants

    @classmethod
    def parse(
        cls,
        text: str,
        timezone: str = "UTC",
        name: str = "",
        *,
        dst: str = "vixie",
        evaluator: MakeEvaluator = CalendarEvaluator,
    ) -> Schedule:
        """The schedule that `text` means on the clocks of `timezone`, an IANA name.

        `name` seeds H: a job gives the first name it had.  `dst` is the rule for clock changes:

        * `vixie`: a fixed-time schedule whose time is jumped over in spring is due once, at the first
          instant after the gap; one whose time comes twice in autumn, the first time.
        * `skip`: the same, but what is jumped over is left out.
        * `utc`: the text is read in UTC, whatever the zone.

        Any other schedule follows elapsed time under all of them.  `evaluator` is what finds the times of an
        expression: `jobd.schedule.reference` has another.

        Raises ScheduleError, whose text is a sentence for the user.  Whether the schedule has a time
        from now on isn't asked: `next(now)` is None where it has not (and for `@reboot`, always).
        """
        trimmed = _trimmed(text)
        if dst not in DST_RULES:
            raise ScheduleError(
                f"dst {quoted(dst)}: there is no such rule; allowed are {', '.join(DST_RULES)}"
            )
        expanded = trimmed if trimmed.startswith("@") else expand_hashes(trimmed, name)
        return _shared(trimmed, expanded, timezone, dst, evaluator)

    def next(self, after: datetime) -> datetime | None:
        """The first time later than `after`, which must be aware; None where none comes before 2100.

        The answer is whole seconds, on the clocks of `timezone`, with a fixed offset (see `Zone.datetime`).
        """
        if after.utcoffset() is None:
            raise ValueError(f"next() takes a datetime with a time zone, not {after!r}")
        instant = self._instants.next((after - _EPOCH) // _SECOND)
        return None if instant is None else self._zone.datetime(instant)

    def next_epoch(self, after: int) -> int | None:
        """`next` in seconds since 1970-01-01T00:00:00 UTC."""
        return self._instants.next(after)

    def anchored(self, epoch: int) -> Schedule:
        """An `@every` counted from `epoch`, the second of the job's first start; any other schedule as it is.

        All instants of an anchored `@every` are a whole number of periods away from `epoch`.  One without
        an anchor is due a period later than whatever instant is asked about.
        """
        if not isinstance(self._instants, Interval):
            return self
        instants = self._instants.anchored(epoch)
        return Schedule(self.text, self.timezone, self._zone, self.kind, instants, fixed=self.fixed)

    def __repr__(self) -> str:
        return f"<Schedule {self.text!r} {self.timezone}>"


_schedules: WeakValueDictionary[Any, Schedule] = WeakValueDictionary()
"""All there are."""
_timetables: WeakValueDictionary[Any, Timetable] = WeakValueDictionary()


def forget_zones() -> None:
    """Have schedules that are parsed from now on go by the rules of time zones as the system has them now.

    Those that are there already keep the rules they were made with.
    """
    ZoneInfo.clear_cache()
    _shared.cache_clear()
    zone_named.cache_clear()
    _schedules.clear()
    _timetables.clear()


@lru_cache(maxsize=1024)
def _shared(text: str, expanded: str, timezone: str, dst: str, evaluator: MakeEvaluator) -> Schedule:
    """The one schedule of that text. The last ones stay, though no job that is started may have them."""
    key = (text, expanded, timezone, dst, evaluator)
    schedule = _schedules.get(key)
    if schedule is None:
        schedule = _schedules[key] = _build(*key)
    return schedule


def _trimmed(text: str) -> str:
    """`text` without the white space around it; refused if it can't be a schedule for its looks alone."""
    # White space is no reason to scan a megabyte.
    trimmed = text.strip() if len(text) <= 2 * MAX_BYTES else text
    if len(trimmed) > MAX_BYTES or len(trimmed.encode(errors="surrogatepass")) > MAX_BYTES:
        raise ScheduleError(f"the schedule {quoted(trimmed)} is too long; allowed are {MAX_BYTES} bytes")
    if not trimmed:
        raise ScheduleError(f"the schedule is empty; allowed are 5 to 7 fields, {_WORDS}")
    if len(trimmed.splitlines()) > 1:
        raise ScheduleError(f"the schedule {quoted(trimmed)} has several lines; allowed is one")
    return trimmed


def _build(text: str, expanded: str, timezone: str, dst: str, evaluator: MakeEvaluator) -> Schedule:
    zone = zone_named(timezone)

    def schedule(kind: str, instants: Instants, fixed: bool) -> Schedule:
        return Schedule(text, timezone, zone, kind, instants, fixed=fixed)

    def timetable(expression: Expression, zone_name: str) -> Timetable:
        key = (expression, zone_name, dst, evaluator)
        found = _timetables.get(key)
        if found is None:
            found = _timetables[key] = Timetable(
                evaluator(expression),
                zone_named(zone_name),
                follows_clock=expression.fixed,
                fills_gaps=dst == "vixie",
            )
        return found

    read_in = "UTC" if dst == "utc" else timezone
    word, *rest = expanded.split(None, 1)
    word = word.lower()
    if word == "@every" and rest:
        return schedule("every", Interval(_period(*rest)), fixed=False)
    if word == "@at" and rest:
        expression, exact = _moment(*rest)
        return schedule("at", timetable(expression, "UTC" if exact else read_in), fixed=True)
    if word == "@reboot" and not rest:
        return schedule("reboot", Never(), fixed=False)
    if word in ALIASES and not rest:
        expanded = ALIASES[word]
    elif word.startswith("@"):
        raise ScheduleError(f"{quoted(expanded)} is no schedule; allowed after @ are {_WORDS}")
    expression = parse_expression(expanded)
    if CalendarEvaluator(expression).first_from(0) is None:
        raise impossible(expanded)
    return schedule("cron", timetable(expression, read_in), fixed=expression.fixed)


def _period(text: str) -> int:
    """The whole seconds of an @every."""
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise ScheduleError(f"@every: {error}") from None
    if seconds < 1 or seconds % 1:
        raise ScheduleError(
            f"@every {quoted(text)}: too short, or no whole seconds; allowed are 1s, 2s and so on"
        )
    return int(seconds)


def _moment(text: str) -> tuple[Expression, bool]:
    """The time of an @at as an expression, and whether it is in UTC because its text has an offset."""
    match = _AT.fullmatch(text)
    if match is None:
        raise ScheduleError(f"@at {quoted(text)}: can't be read; {_AT_ALLOWED}")
    try:
        year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
        time = datetime(year, month, day, hour, minute, second, tzinfo=_offset(match))
        time = time.astimezone(timezone.utc)
        if not YEAR.low <= time.year <= YEAR.high:
            raise ValueError
    except (ValueError, OverflowError):
        raise ScheduleError(f"@at {quoted(text)}: no such time exists; {_AT_ALLOWED}") from None
    return Expression(
        seconds=1 << time.second,
        minutes=1 << time.minute,
        hours=1 << time.hour,
        days=Days(1 << time.day, 0, 0, 0),
        months=1 << time.month,
        years=1 << time.year - YEAR.low,
        fixed=True,
    ), bool(match["offset"])


def _offset(match: re.Match[str]) -> timezone:
    """The offset that an @at names; UTC where it names none."""
    if not match["sign"]:
        return timezone.utc
    offset = timedelta(hours=int(match["hours"]), minutes=int(match["minutes"]))
    return timezone(-offset if match["sign"] == "-" else offset)
