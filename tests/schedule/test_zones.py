"""Time zones as spans of constant offset."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo, available_timezones

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobd.schedule.zones import Zone, zone_named
from tests.schedule.oracle import A_DAY, OneChange

NAMES = sorted(available_timezones())


def at(text: str) -> int:
    """Seconds since 1970 of a time in UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp())


def offset(name: str, instant: int) -> timedelta | None:
    return datetime.fromtimestamp(instant, ZoneInfo(name)).utcoffset()


class Spans(SynchronousTestCase):
    def test_offsets(self) -> None:
        """Any instant of any zone lies in a span with its offset, and the next span begins where it ends."""

        @settings(deadline=None, max_examples=300)
        @given(st.sampled_from(NAMES), st.integers(0, at("2100-01-02")))
        def law(name: str, instant: int) -> None:
            zone = Zone(ZoneInfo(name))
            span = zone.span(instant)
            self.assertTrue(span.start <= instant < span.end)
            for inside in (span.start, instant, span.end - 1):
                self.assertEqual(timedelta(seconds=span.offset), offset(name, inside))
            later = zone.span(span.end)
            self.assertEqual(later.start, span.end)
            shown = span.end + span.offset
            self.assertGreaterEqual(later.mark, shown)
            if later.offset == span.offset and span.mark <= shown:
                self.assertEqual(later.mark, shown)

        law()

    def test_marks(self) -> None:
        """The mark of a span tells how far the clock had come before: gap, and time that comes twice."""
        new_york = Zone(ZoneInfo("America/New_York"))
        forward, back = at("2026-03-08 07:00"), at("2026-11-01 06:00")
        span = new_york.span(forward)
        self.assertEqual((span.start, span.offset), (forward, -4 * 3600))
        self.assertEqual(span.mark, at("2026-03-08 02:00"))
        self.assertEqual(new_york.span(forward - 1).end, forward)
        span = new_york.span(back)
        self.assertEqual((span.start, span.offset), (back, -5 * 3600))
        self.assertEqual(span.mark, at("2026-11-01 02:00"))

    def test_day_left_out(self) -> None:
        """A whole day may be missing: Samoa crossed the date line in 2011."""
        span = Zone(ZoneInfo("Pacific/Apia")).span(at("2011-12-30 10:00"))
        self.assertEqual((span.start, span.offset), (at("2011-12-30 10:00"), 14 * 3600))
        self.assertEqual(span.mark, at("2011-12-30 00:00"))

    def test_any_order(self) -> None:
        """The spans are the same in whatever order they are asked for, also around the edges of blocks."""
        zone = Zone(ZoneInfo("America/New_York"))
        instants = range(0, at("2038-01-01"), 13 * A_DAY)
        forward = [zone.span(instant) for instant in instants]
        fresh = Zone(ZoneInfo("America/New_York"))
        backward = [fresh.span(instant) for instant in reversed(instants)]
        self.assertEqual(forward, backward[::-1])

    def test_change_at_edge(self) -> None:
        """A change near, or at, the edge of a block is seen from both sides of it, with the right marks."""
        edge, half = 12 * 64 * A_DAY, A_DAY // 2
        for shift in (-A_DAY, -3600, -1800, -1, 0, 1, 1800, 3600):
            change = edge + shift
            for before, after in ((0, 3600), (3600, 0), (-half, half), (half, -half)):
                for order in (1, -1):
                    zone = Zone(OneChange(change, before, after))
                    around = [change - 1, change, change + 900, change + 2700, edge - 1, edge]
                    for instant in around[::order]:
                        span = zone.span(instant)
                        self.assertTrue(span.start <= instant < span.end)
                        self.assertEqual(span.offset, before if instant < change else after)
                        if span.start < change:
                            self.assertLessEqual(span.end, change)
                            self.assertEqual(span.mark, span.start + before)
                        elif span.start == change:
                            self.assertEqual(span.mark, change + before)
                        else:
                            self.assertEqual(span.mark, max(change + before, span.start + after))

    def test_shared(self) -> None:
        """A zone is made once."""
        self.assertIs(zone_named("Asia/Tokyo"), zone_named("Asia/Tokyo"))
