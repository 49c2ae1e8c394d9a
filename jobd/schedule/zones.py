"""Time zones as spans of constant offset.

A zone's rules come from zoneinfo: the system's tzdata, else the `tzdata` package.  zoneinfo doesn't tell
when a zone's clock changes, so this module finds out: it looks at the offset every other day, and halves
the interval where two looks differ.  The shortest span of any zone since 1970 is a week: Recife, in
October 2000.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from jobd.schedule.errors import ScheduleError, quoted

DAY = 86_400
_STEP = 2 * DAY
_BLOCK = 32 * _STEP


class Span(NamedTuple):
    """A time in which the zone's offset stays the same; instants are seconds since 1970 UTC."""

    start: int
    end: int
    """The first instant after it."""
    offset: int
    """Seconds; wall-clock time is instant + offset."""
    mark: int
    """All wall-clock time before this one was shown, or jumped over, before the span began.  It is
    start + offset where the clock ran on, less after a gap, more where the clock was set back."""


class Zone:
    """A time zone, and what it has shown of itself so far."""

    def __init__(self, info: tzinfo) -> None:
        self._info = info
        self._blocks: dict[int, list[Span]] = {}
        self._recent = Span(0, 0, 0, 0)

    def span(self, instant: int) -> Span:
        """The span that holds `instant`.  Two spans in a row may have the same offset."""
        recent = self._recent
        if recent.start <= instant < recent.end:
            return recent
        block = instant // _BLOCK
        spans = self._blocks.get(block)
        if spans is None:
            spans = self._blocks[block] = self._explore(block * _BLOCK)
        self._recent = found = spans[bisect_right(spans, instant, key=lambda span: span.start) - 1]
        return found

    def datetime(self, instant: int) -> datetime:
        """`instant` as this zone's clock shows it, with a fixed offset.

        Python compares two times of one ZoneInfo by the clock on the wall, and takes no ambiguous one for
        equal to a time elsewhere.  Times with a fixed offset compare by the instant.
        """
        shown = datetime.fromtimestamp(instant, self._info)
        return shown.replace(
            tzinfo=timezone(timedelta(seconds=self._offset(instant)), shown.tzname() or ""), fold=0
        )

    def _offset(self, instant: int) -> int:
        offset = datetime.fromtimestamp(instant, self._info).utcoffset()
        assert offset is not None
        return offset.days * DAY + offset.seconds

    def _explore(self, start: int) -> list[Span]:
        """The spans of the block that begins at `start`, cut off at its ends.

        It looks two days further back: offsets are less than a day, so wall-clock time that was shown, or
        jumped over, earlier than that can't come up after `start`.
        """
        spans = []
        begin = start - 2 * DAY
        offset = self._offset(begin)
        mark = begin + offset
        for change, later_offset in [*self._changes(begin, start + _BLOCK), (start + _BLOCK, 0)]:
            if change > start:
                if begin < start:
                    begin, mark = start, max(mark, start + offset)
                spans.append(Span(begin, change, offset, mark))
            mark = max(mark, change + offset)
            begin, offset = change, later_offset
        return spans

    def _changes(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """The instants later than `start`, up to `end`, at which the offset changes, and to what."""
        offset = self._offset(start)
        for look in range(start, end, _STEP):
            later_offset = self._offset(look + _STEP)
            if later_offset != offset:
                yield self._change(look, look + _STEP), later_offset
                offset = later_offset

    def _change(self, before: int, after: int) -> int:
        """The instant of the one change later than `before`, at `after` at the latest."""
        offset = self._offset(before)
        while after - before > 1:
            middle = (before + after) // 2
            if self._offset(middle) == offset:
                before = middle
            else:
                after = middle
        return after


@lru_cache(maxsize=1024)
def zone_named(name: str) -> Zone:
    """The zone of an IANA name; raises ScheduleError."""
    try:
        return Zone(ZoneInfo(name))
    except (KeyError, ValueError, OSError):
        raise ScheduleError(
            f"timezone {quoted(name)}: there is no such zone; allowed are IANA names, such as Europe/Berlin"
        ) from None
