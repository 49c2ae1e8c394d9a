"""Schedules in words."""

from __future__ import annotations

import re
from datetime import datetime

from jobd.schedule import Schedule, ScheduleError
from jobd.schedule.durations import format_duration, parse_duration
from jobd.schedule.expression import ALIASES, expand_hashes

_NAME = re.compile(r"[A-Za-z]{3,}")
# What cron-descriptor says rightly only where it stands alone: L, W and #.
_SPECIAL = re.compile(r"L|[0-9]+W|LW|[0-9A-Z]+L|[0-9A-Z]+#[1-5]", re.IGNORECASE)


def in_words(text: str, name: str = "") -> str | None:
    """What a schedule means, in words; None where there are none for it.

    NAME seeds H.  The words leave out the clock changes, which `docs/reference/schedules.md` tells about.
    """
    try:
        kind = Schedule.parse(text, name=name).kind
    except ScheduleError:
        return None
    word, *rest = text.split(None, 1)
    if kind == "every":
        return f"Every {format_duration(parse_duration(rest[0]))}"
    if kind == "at":
        return f"Once, at {rest[0].strip()}"
    if kind == "reboot":
        return "Once after each start of the machine"
    fields = expand_hashes(ALIASES.get(word.lower(), text), name).split()
    seven = fields if len(fields) == 7 else ["0", *fields, "*"][:7]
    day, weekday = seven[3], seven[5]
    special = [field for field in (day, weekday) if _SPECIAL.search(_short(field))]
    if special and not (_SPECIAL.fullmatch(_short(special[0])) and {day, weekday} & {"*", "?"}):
        return None
    return _describe(" ".join(map(_short, seven)))


def _short(field: str) -> str:
    """FIELD with the names in it cut to three letters, as cron-descriptor knows them."""
    return _NAME.sub(lambda match: match[0][:3].upper(), field)


def _describe(seven: str) -> str | None:
    from cron_descriptor import (  # type: ignore[import-untyped]
        FormatException,
        MissingFieldException,
        Options,
        WrongArgumentException,
        get_description,
    )

    options = Options()
    options.use_24hour_time_format = True
    try:
        return str(get_description(seven, options))
    except (FormatException, MissingFieldException, WrongArgumentException, ValueError, LookupError):
        return None


def upcoming(text: str, zone: str, name: str, after: datetime, count: int) -> list[datetime]:
    """The first COUNT times later than AFTER of a schedule in ZONE; ScheduleError where it is none."""
    schedule = Schedule.parse(text, zone, name)
    if schedule.kind == "every":
        # Counted from here, as a job counts from its first start.
        schedule = schedule.anchored(int(after.timestamp()))
    times: list[datetime] = []
    while len(times) < count and (time := schedule.next(after)) is not None:
        times.append(time)
        after = time
    return times
