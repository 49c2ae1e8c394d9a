"""The instants of a schedule: whole seconds since 1970-01-01T00:00:00 UTC."""

from __future__ import annotations

from typing import Protocol

from jobd.schedule.evaluator import DAY, END, Evaluator
from jobd.schedule.zones import Zone


class Instants(Protocol):
    """When something is due."""

    def next(self, after: int) -> int | None:
        """The first instant later than `after`; None where there is none before 2100."""


class Timetable:
    """The instants at which a zone's clock shows the times of an expression.

    `follows_clock` is False for a schedule that follows elapsed time: it is due at every instant at which
    the clock shows one of its times, so twice where the clock shows it twice, and never where never.

    It is True for a fixed-time schedule: each of its times counts once, the first time that the clock
    shows it or jumps over it.  The times in a gap are together due once, at the first instant after the
    gap, if `fills_gaps`; else never.  That is the rule of Debian's and Vixie's cron (cron(8)), here for the
    schedule's own zone, to the second, and for a change of any size.
    """

    __slots__ = ("__weakref__", "_evaluator", "_fills_gaps", "_follows_clock", "_last", "_zone")

    def __init__(self, evaluator: Evaluator, zone: Zone, follows_clock: bool, fills_gaps: bool) -> None:
        self._evaluator = evaluator
        self._zone = zone
        self._follows_clock = follows_clock
        self._fills_gaps = fills_gaps
        # The last question and its answer: jobs that share a timetable ask the same. At first, an interval
        # that holds no question.
        self._last: tuple[int, int | None] = (1, 0)

    def next(self, after: int) -> int | None:
        """See `Instants`."""
        asked, answer = self._last
        if asked <= after and (answer is None or after < answer):
            return answer
        answer = self._next(after)
        self._last = after, answer
        return answer

    def _next(self, after: int) -> int | None:
        first_from, follows_clock = self._evaluator.first_from, self._follows_clock
        instant = max(after + 1, -DAY)
        while instant < END + DAY:
            span = self._zone.span(instant)
            wall = instant + span.offset
            if follows_clock:
                if self._fills_gaps and instant == span.start and span.mark < wall:
                    missed = first_from(span.mark)
                    if missed is not None and missed < wall:
                        return instant
                wall = max(wall, span.mark)
            found = first_from(wall)
            if found is not None and found < span.end + span.offset:
                return found - span.offset
            instant = span.end
            # Once the clock can't be set back before `wall`, it shows nothing that is due until `found`: all
            # but the last two days can be left out.
            if instant > after + 2 * DAY:
                if found is None:
                    return None
                instant = max(instant, found - 2 * DAY)
        return None


class Interval:
    """Every `period` seconds, counted from `anchor`, or without one from the instant asked about."""

    __slots__ = ("_anchor", "_period")

    def __init__(self, period: int, anchor: int | None = None) -> None:
        self._period = period
        self._anchor = anchor

    def anchored(self, anchor: int) -> Interval:
        """The same, counted from `anchor`."""
        return Interval(self._period, anchor)

    def next(self, after: int) -> int | None:
        """See `Instants`."""
        after = max(after, -1)
        passed = 0 if self._anchor is None else (after - self._anchor) % self._period
        found = after - passed + self._period
        return found if found < END else None


class Never:
    """No instant at all."""

    __slots__ = ()

    def next(self, after: int) -> int | None:
        """See `Instants`."""
        return None
