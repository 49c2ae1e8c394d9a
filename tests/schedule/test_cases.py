"""The test tables of other schedulers; `cases/README.md` says whose."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from twisted.trial.unittest import SynchronousTestCase

from jobd.schedule import Schedule, ScheduleError

CASES = Path(__file__).with_name("cases")

# Schedulers that take six fields as a second and five, and not as five and a year.
SECOND_FIRST = {"cronsim", "robfig", "quartz", "cron_parser"}

REFUSED = "refused"
ACCEPTED = "accepted"

# Rows with which jobd doesn't agree, by file and expression (and where that isn't enough, the time to begin
# from): what jobd does, either of the two above or the first times that it gives.
DEPARTURES: dict[tuple[str, ...], Any] = {
    # Ranges of weekdays and months wrap around.
    ("cronexpr", "45 4 *  *  6-7"): ACCEPTED,
    # A name may stand before L, as in gorhill/cronexpr.
    ("cronsim", "* * * * MONL"): ACCEPTED,
    # A step past the field's largest value is refused.
    ("cronsim", "1 1 1-7 * */7"): REFUSED,
    # In a gap fixed times run once, at its end, whatever their seconds are.
    ("cronsim", "11,22 30 1,2,3,4 * * *"): [
        "2021-03-28T02:30:11+02:00",
        "2021-03-28T02:30:22+02:00",
        "2021-03-28T04:00:00+03:00",
        "2021-03-28T04:30:11+03:00",
    ],
    ("cronsim", "0 30 1-10 * * *"): [
        "2021-03-28T02:30:00+02:00",
        "2021-03-28T04:00:00+03:00",
        "2021-03-28T04:30:00+03:00",
    ],
    # robfig leaves out a fixed time in a gap, and runs one that comes twice twice.
    ("robfig", "0 0 2 * * ?", "2012-03-11T00:00:00-05:00"): ["2012-03-11T03:00:00-04:00"],
    ("robfig", "0 30 1 04 Nov ?"): ["2013-11-04T01:30:00-05:00"],
    # cron-parser moves a fixed time in a gap on by the gap's length: 01:30 to 03:30.
    ("cron_parser", "30 1 * * *"): [
        "2026-03-28T01:30:00+00:00",
        "2026-03-29T03:00:00+02:00",
        "2026-03-30T01:30:00+02:00",
    ],
    # Saying a value twice is no error.
    ("cron_parser", "0,0 0 0 1 1 0"): ACCEPTED,
    ("cron_parser", "0 0,0 * * *"): ACCEPTED,
    ("cron_parser", "0 0 * * 0,7"): ACCEPTED,
    ("cron_parser", "0,0,0 * * * *"): ACCEPTED,
    # Quartz wants `?` in one of the two day fields.
    ("quartz", "0 0 * * * *"): ACCEPTED,
    ("quartz", "0 0 * * * 4"): ACCEPTED,
    # Days counted from the end of the month are Quartz's alone.
    ("quartz", "0 15 10 L-2 * ? 2005"): REFUSED,
    ("quartz", "0 15 10 L-1 * ? 2005"): REFUSED,
    ("quartz", "0 15 10 L-3 2 ? 2005"): REFUSED,
    ("quartz", "0 15 10 L-3 2 ? 2000"): REFUSED,
    ("quartz", "0 15 10 L-2 * ? 2010"): REFUSED,
    ("quartz", "0 15 10 L-5W * ? 2010"): REFUSED,
    ("quartz", "0 15 10 L-1 * ? 2010"): REFUSED,
    ("quartz", "0 15 10 L-1W,L-1 * ? 2010"): REFUSED,
}

# systemd's OnCalendar is another language; these are its expressions in jobd's.
ON_CALENDAR = {
    "2016-03-27 03:17:00": "@at 2016-03-27T0317",
    "2016-03-27 03:17:00 UTC": "@at 2016-03-27T0317Z",
    "Sun 16:00:00": "0 16 * * SUN",
    "2016-02~01 UTC": "0 0 L 2 * 2016",
}


def rows(name: str) -> Iterator[dict[str, Any]]:
    for row in json.loads((CASES / f"{name}_cases.json").read_text()):
        if "expr" in row:  # cronie's other row is a rule in words
            yield row


class Cases(SynchronousTestCase):
    def check_file(self, name: str, count: int) -> None:
        """Check each row, or that jobd departs from it as is said above."""
        checked = 0
        for row in rows(name):
            departure = DEPARTURES.get(
                (name, row["expr"]), DEPARTURES.get((name, row["expr"], row.get("from")))
            )
            if departure is not None:
                row = {"expr": row["expr"], "tz": row["tz"], "from": row.get("from")}
                if departure is REFUSED:
                    row["error"] = True
                else:
                    row["expected"] = [] if departure is ACCEPTED else departure
            self.check(name, row)
            checked += 1
        self.assertEqual(checked, count)

    def check(self, name: str, row: dict[str, Any]) -> None:
        text = row["expr"]
        if name in SECOND_FIRST and len(text.split()) == 6:
            text += " *"
        zone = "UTC" if row["tz"] in (None, "local/UTC", "naive/UTC") else row["tz"]
        if row.get("error"):
            self.assertRaises(ScheduleError, Schedule.parse, text, zone)
            return
        try:
            schedule = Schedule.parse(text, zone)
        except ScheduleError:
            # Elsewhere it may be written and never come; here it can't be written.
            self.assertEqual((row.get("never"), row.get("expected")), (True, []), row)
            return
        if "at" in row:
            at = self.time(row["at"], zone)
            self.assertEqual(schedule.next(at - timedelta(seconds=1)) == at, row["matches"], row)
        elif row["from"]:
            time: datetime | None = self.time(row["from"], zone)
            for expected in row["expected"]:
                assert time is not None
                time = schedule.next(time)
                self.assertEqual(time, self.time(expected, zone), row)
            if row.get("never"):
                assert time is not None
                self.assertIsNone(schedule.next(time), row)

    def time(self, text: str, zone: str) -> datetime:
        time = datetime.fromisoformat(text.replace(".000", "").replace("Z", "+00:00"))
        return time if time.tzinfo else time.replace(tzinfo=ZoneInfo(zone))

    def test_cronexpr(self) -> None:
        """What gorhill/cronexpr and supercronic test, and what gorhill/cronexpr answers."""
        self.check_file("cronexpr", 165)

    def test_cronsim(self) -> None:
        """What cronsim tests: Debian's rule for clock changes among it."""
        self.check_file("cronsim", 29)

    def test_robfig(self) -> None:
        """What robfig/cron tests."""
        self.check_file("robfig", 44)

    def test_quartz(self) -> None:
        """What Quartz tests."""
        self.check_file("quartz", 53)

    def test_cron_parser(self) -> None:
        """What cron-parser tests."""
        self.check_file("cron_parser", 23)

    def test_cronie(self) -> None:
        """What cronie's cronnext got wrong."""
        self.check_file("cronie", 1)

    def test_systemd(self) -> None:
        """What systemd tests of the times that both can say."""
        for row in rows("systemd_calendar"):
            schedule = Schedule.parse(ON_CALENDAR[row["expr"]], row["tz"])
            self.assertEqual(
                schedule.next_epoch(row["from_usec"] // 1_000_000), row["expected_usec"] // 1_000_000
            )

    def test_departures(self) -> None:
        """Every departure is from a row that exists."""
        seen = {(name, row["expr"]) for name in SECOND_FIRST | {"cronexpr"} for row in rows(name)}
        self.assertEqual({key[:2] for key in DEPARTURES} - seen, set())
