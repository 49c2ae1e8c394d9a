"""How answers look: tables, colours, JSON, times in words."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

import click

_PAIR = re.compile(r"([^\s=]+)=('(?:[^']|'')*'|\S*)")
_NUMBERS = frozenset(
    ("running", "queued", "runs", "failures", "last-run", "run", "attempts", "count", "maxrss")
)
_COLOURS = {
    "started": "green",
    "stopped": "bright_black",
    "ok": "green",
    "failed": "red",
    "timeout": "red",
    "lost": "red",
    "killed": "yellow",
    "replaced": "yellow",
    "skipped": "yellow",
    "missed": "yellow",
}


def attributes(text: str) -> dict[str, str]:
    """The pairs of one or more `attr=value` lines, unquoted as Plan 9 quotes."""
    return {
        name: value[1:-1].replace("''", "'") if value.startswith("'") else value
        for name, value in _PAIR.findall(text)
    }


def values(pairs: dict[str, str]) -> dict[str, str | int]:
    """Attributes for JSON: counts as numbers."""
    return {
        name: int(value) if name in _NUMBERS and value.isdigit() else value for name, value in pairs.items()
    }


def coloured(text: str) -> str:
    """A state or outcome (what follows its first word included) in its colour."""
    colour = _COLOURS.get(text.split(" ", maxsplit=1)[0])
    return click.style(text, fg=colour) if colour else text


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print ROWS in columns below TITLES, states and outcomes in their colours."""
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    widths[-1] = 0
    head = "  ".join(title.ljust(width) for title, width in zip(titles, widths, strict=True))
    lines = [click.style(head.rstrip(), bold=True)]
    for row in rows:
        cells = [coloured(text) + " " * (width - len(text)) for text, width in zip(row, widths, strict=True)]
        lines.append("  ".join(cells).rstrip())
    click.echo("\n".join(lines))


def print_json(value: Any) -> None:
    """Print VALUE as JSON."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def instant(text: str | None) -> datetime | None:
    """The time of an `attr=value` line; None where there is none."""
    if not text or text == "none":
        return None
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def rfc3339(line: str) -> str:
    """A time of the file `next`, as JSON has it; a line that is none as it is."""
    try:
        return datetime.strptime(" ".join(line.split()[:3]), "%Y-%m-%d %H:%M:%S %z").isoformat()
    except ValueError:
        return line


def relative(when: datetime, now: datetime) -> str:
    """A time as seen from NOW: `in 5 minutes`, `3 days ago`."""
    seconds = round((when - now).total_seconds())
    amount = abs(seconds)
    for name, size in (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)):
        if amount >= 2 * size:
            words = f"{amount // size} {name}s"
            return f"in {words}" if seconds > 0 else f"{words} ago"
    return "now" if when >= now else "just now"


def now() -> datetime:
    """The time, in UTC."""
    return datetime.now(timezone.utc)


def clock(when: datetime) -> str:
    """A time on the clocks of this machine, to the second."""
    return f"{when.astimezone():%Y-%m-%d %H:%M:%S %Z}"
