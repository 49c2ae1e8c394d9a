"""The same line under cron and under jobd: when each runs it, where they differ, and why."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from jobd.cli.crontab import read_crontab
from jobd.schedule import Schedule

RECORD = Path(__file__).with_name("year.json")
AT_BOOT = "@reboot"


class Row(NamedTuple):
    """A line of a crontab, and when cron itself ran it."""

    package: str
    version: str
    file: str
    schedule: str
    user: str
    runs: int
    digest: str
    """Of the minutes of those runs: see `digest`."""
    cron_only: list[int]
    """Minutes, in seconds since the epoch, for each run that cron has more than jobd."""
    jobd_only: list[int]
    """The same of jobd."""


class Record(NamedTuple):
    """What a year of cron came to."""

    cron: str
    """Its version."""
    zone: str
    year: int
    rows: list[Row]

    @property
    def span(self) -> range:
        """The year in epoch seconds."""
        return span(self.zone, self.year)


def span(zone: str, year: int) -> range:
    """YEAR as it is in ZONE, in epoch seconds."""
    first, last = (int(datetime(each, 1, 1, tzinfo=ZoneInfo(zone)).timestamp()) for each in (year, year + 1))
    return range(first, last)


def boot(within: range) -> int:
    """When the system starts that is up through that whole span: cron runs nothing in its first minute."""
    return within.start - 60


def minutes(times: Iterable[int]) -> list[int]:
    """The TIMES that cron runs something, which it begins a second or more after the minute."""
    return sorted(time - time % 60 for time in times)


def digest(times: Iterable[int]) -> str:
    """What only the same minutes have in common."""
    return hashlib.sha256(" ".join(map(str, times)).encode()).hexdigest()


def jobd_schedule(schedule: str) -> str:
    """What jobctl makes of the SCHEDULE of a line."""
    found = read_crontab(f"{schedule} root true\n", "line", system=True)
    (job,) = found.jobs
    return job.schedule


@cache
def jobd_times(schedule: str, zone: str, year: int) -> Sequence[int]:
    """When a job of jobd with that SCHEDULE, its own, runs."""
    within = span(zone, year)
    if schedule == AT_BOOT:
        return (boot(within),)
    parsed = Schedule.parse(schedule, zone)
    times = []
    time = parsed.next_epoch(within.start - 1)
    while time is not None and time in within:
        times.append(time)
        time = parsed.next_epoch(time)
    return times


def differences(cron: Iterable[int], jobd: Iterable[int]) -> tuple[list[int], list[int]]:
    """The runs that only cron has, and those that only jobd has."""
    one, other = Counter(cron), Counter(jobd)
    return sorted((one - other).elements()), sorted((other - one).elements())


# ---- the record


def load(path: Path = RECORD) -> Record:
    """The record that is kept."""
    facts: dict[str, Any] = json.loads(path.read_text())
    rows = [Row(**row) for row in facts.pop("rows")]
    return Record(rows=rows, **facts)


def save(record: Record, path: Path = RECORD) -> None:
    """Keep RECORD, a line a row."""
    rows = ",\n  ".join(json.dumps(row._asdict()) for row in record.rows)
    facts = {name: value for name, value in record._asdict().items() if name != "rows"}
    path.write_text(json.dumps(facts)[:-1] + f', "rows": [\n  {rows}\n]}}\n')


def table(record: Record) -> str:
    """RECORD as a table of Markdown."""
    lines = [
        "| package | line in the crontab | jobd | runs by cron | by jobd | difference |",
        "|---|---|---|---|---|---|",
    ]
    for row in record.rows:
        schedule = jobd_schedule(row.schedule)
        package = f"{row.package} {row.version}" if row.version else "our own"
        ours = row.runs - len(row.cron_only) + len(row.jobd_only)
        same = "the same" if schedule == row.schedule else f"`{schedule}`"
        lines.append(
            f"| {package} | `{row.schedule} {row.user}` | {same} | {row.runs:,} | {ours:,} "
            f"| {_said(row, record)} |"
        )
    return "\n".join(lines) + "\n"


def _said(row: Row, record: Record) -> str:
    parts = [
        f"{count} more by {who} at {_clock(time, record.zone)}"
        for who, times in (("cron", row.cron_only), ("jobd", row.jobd_only))
        for time, count in Counter(times).items()
    ]
    return ", ".join(parts) or "none"


def _clock(time: int, zone: str) -> str:
    return f"{datetime.fromtimestamp(time, ZoneInfo(zone)):%d %b %H:%M %Z}"
