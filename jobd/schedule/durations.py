"""Lengths of time as people write them: `90s`, `1h30m`, `2d`, `1.5h`, `250ms`; a plain number is seconds."""

from __future__ import annotations

import re

from jobd.schedule.errors import quoted

# Milliseconds. A week is seven days of 24 hours; no unit here knows of calendars or clock changes.
_UNITS = {"w": 604_800_000, "d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
_NUMBER = r"\d+(?:\.\d+)?"
_DURATION = re.compile(
    r"\s*".join(rf"(?:({_NUMBER})\s*{unit})?" for unit in _UNITS), re.ASCII | re.IGNORECASE
)
_PLAIN = re.compile(_NUMBER, re.ASCII)
_LONGEST_TEXT = 64
_LONGEST = 36_525 * 86_400_000
_ALLOWED = "allowed are 0 to 36525d, as 90s, 1h30m, 2d, 250ms or a plain number of seconds"


def parse_duration(text: str) -> float:
    """Seconds, to the millisecond.  Units are w d h m s ms, the longest first, each at most once.

    Raises ValueError, with a sentence, for anything else.
    """
    trimmed = text.strip() if len(text) <= _LONGEST_TEXT else ""
    if _PLAIN.fullmatch(trimmed):
        milliseconds = float(trimmed) * 1000
    else:
        match = _DURATION.fullmatch(trimmed)
        if not trimmed or match is None:
            raise ValueError(f"the duration {quoted(text)} can't be read; {_ALLOWED}")
        milliseconds = sum(
            float(amount) * unit
            for amount, unit in zip(match.groups(), _UNITS.values(), strict=True)
            if amount
        )
    if milliseconds > _LONGEST:
        raise ValueError(f"the duration {quoted(text)} is too long; {_ALLOWED}")
    return round(milliseconds) / 1000


def format_duration(seconds: float) -> str:
    """`seconds`, 0 or more, as `parse_duration` reads it: `1h30m`, `2d`, `0.25s`; to the millisecond."""
    rest = round(seconds * 1000)
    parts = []
    for unit in ("d", "h", "m"):
        amount, rest = divmod(rest, _UNITS[unit])
        if amount:
            parts.append(f"{amount}{unit}")
    if rest or not parts:
        parts.append(f"{rest / 1000:g}s")
    return "".join(parts)
