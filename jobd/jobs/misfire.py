"""What becomes of instants that nobody was there for.  Pure.

Only a clock set forward, a suspend or a daemon that was down make missed instants.  `catchup` and
`deadline` decide which of them still run; the rest is one record.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from jobd.jobs.options import Policy

EXACT = 10_000
"""Up to so many missed instants are counted one by one; beyond, the count is what was counted."""

_FIRST_WINDOW = 60


class Gap(NamedTuple):
    """Instants that are not made up for."""

    first: int
    last: int
    number: int
    """How many they are, up to `EXACT`."""


class Plan(NamedTuple):
    """What to do about the instants of one job that were missed."""

    run: list[int]
    """Those to run still, oldest first."""
    missed: Gap | None


NextInstant = Callable[[int], "int | None"]


def plan(next_instant: NextInstant, after: int, until: int, catchup: Policy, deadline: float) -> Plan:
    """What to do about the instants later than AFTER and not later than UNTIL, which is now.

    Times are in seconds since 1970; DEADLINE is how late, in seconds, a run may still start.
    """
    wanted = {"none": 0, "last": 1, "all": catchup.number}[catchup.name]
    oldest = max(after, until - int(deadline) - 1)
    late = _last_instants(next_instant, oldest, until, wanted)
    late = [instant for instant in late if until - instant <= deadline]
    end = late[0] - 1 if late else until
    return Plan(late, _count(next_instant, after, end))


def _count(next_instant: NextInstant, after: int, until: int) -> Gap | None:
    first = instant = next_instant(after)
    if first is None or instant is None or first > until:
        return None
    last, count = first, 0
    while instant is not None and instant <= until and count < EXACT:
        last, count = instant, count + 1
        instant = next_instant(instant)
    if instant is not None and instant <= until:
        last = _last_instants(next_instant, last, until, 1)[0]
    return Gap(first, last, count)


def _last_instants(next_instant: NextInstant, after: int, until: int, wanted: int) -> list[int]:
    """The last WANTED instants later than AFTER and not later than UNTIL, oldest first.

    A schedule only knows what comes next, so the search looks ahead from ever further back.
    """
    if wanted == 0 or after >= until:
        return []
    window = _FIRST_WINDOW
    while True:
        start = max(after, until - window)
        found: list[int] = []
        instant = next_instant(start)
        while instant is not None and instant <= until:
            found.append(instant)
            instant = next_instant(instant)
        if len(found) >= wanted or start == after:
            return found[-wanted:]
        window *= 4
