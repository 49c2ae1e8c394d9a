"""What becomes of instants that nobody was there for.  Pure.

Only a clock set forward, a suspend or a daemon that was down make missed instants.  `catchup` and
`deadline` decide which of them still run; the rest is one record.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from jobd.jobs.options import Policy

EXACT = 10_000
"""Up to so many missed instants are counted one by one; beyond, the count is what was counted."""


class Gap(NamedTuple):
    """Instants that are not made up for."""

    first: int
    last: int
    number: int
    """How many they are, up to `EXACT`."""


class Plan(NamedTuple):
    """What to do about the instants of one job that were missed."""

    run: tuple[int, ...]
    """Those to run still, oldest first."""
    missed: Gap | None


NextInstant = Callable[[int], "int | None"]
"""The first instant later than the one given."""


@lru_cache(maxsize=256)
def plan(next_instant: NextInstant, after: int, until: int, catchup: Policy, deadline: float) -> Plan:
    """What to do about the instants later than AFTER and not later than UNTIL, which is now.

    Times are in seconds since 1970; DEADLINE is how late, in seconds, a run may still start.  Jobs that
    share a schedule and wake together share the answer.
    """
    wanted = {"none": 0, "last": 1, "all": catchup.number}[catchup.name]
    run: list[int] = []
    end = until
    while len(run) < wanted:
        instant = _last_instant(next_instant, after, end)
        if instant is None or until - instant > deadline:
            break
        run.insert(0, instant)
        end = instant - 1
    return Plan(tuple(run), _count(next_instant, after, end))


def _count(next_instant: NextInstant, after: int, until: int) -> Gap | None:
    last = _last_instant(next_instant, after, until)
    first = instant = next_instant(after)
    if first is None or last is None:
        return None
    count = 0
    while instant is not None and instant <= until and count < EXACT:
        count += 1
        instant = next_instant(instant)
    return Gap(first, last, count)


def _last_instant(next_instant: NextInstant, after: int, until: int) -> int | None:
    """The last instant later than AFTER and not later than UNTIL.

    A schedule only knows what comes next.  So we look ahead from ever further back until something comes,
    and then halve what lies between: an instant costs a few dozen questions, however many there are.
    """

    def comes(start: int) -> bool:
        instant = next_instant(start)
        return instant is not None and instant <= until

    step, start = 1, until - 1
    while start > after and not comes(start):
        step *= 2
        start = until - step
    start = max(after, start)
    if start >= until or not comes(start):
        return None
    # Something comes after `start`; nothing comes after `end`.
    end = until
    while end - start > 1:
        middle = (start + end) // 2
        start, end = (middle, end) if comes(middle) else (start, middle)
    return end
