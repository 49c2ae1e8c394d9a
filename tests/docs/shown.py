"""What a page shows of a command's output, as a pattern: some words vary, all else stands for itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

ANY_LINES = "..."
"""A line that stands for any number of lines."""

_TIME = r"\d{4}[.-]\d\d[.-]\d\d(?:[ T][\d:.]+(?:Z| ?[+-]\d{4}(?: [A-Z]{2,5})?| [A-Z]{2,5})?)?"
_COUNT = r"\d+ (?:second|minute|hour|day|week|month|year)s?"
_LS_TIME = r"\b[A-Z][a-z]{2} [ \d]\d \d\d:\d\d\b"
_WEEKDAY = r"\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)\b"

# What a word looks like on a page, and what may stand there instead. A pattern has no groups that count.
VARIES = (
    (_TIME, _TIME),
    (rf"in {_COUNT}|{_COUNT} ago|\b(?:just )?now\b", rf"(?:in {_COUNT}|{_COUNT} ago|(?:just )?now)"),
    (_WEEKDAY, _WEEKDAY),
    (_LS_TIME, _LS_TIME),
    # Durations, how many times were missed in one, and what a run has cost.
    (r"\b\d+\.\d+s\b", r"\d+\.\d+s"),
    (r"(?<=\bcount=)\d+", r"\d+"),
    (r"(?<=\bcpu=)[\d.]+|(?<=\bmaxrss=)\d+", r"[\d.]+"),
    # The user, and the user's home; numbers of users and processes, addresses, the marks of runs, versions.
    (r"/home/glenda\b", r"(?:/[\w.-]+)+"),
    (r"\bglenda\b", r"[\w.-]+"),
    (r"(?<=\buid )\d+|(?<=\bpid )\d+", r"\d+"),
    (r"127\.0\.0\.1:\d+", r"127\.0\.0\.1:\d+"),
    (r"\b[0-9a-f]{32}\b", "[0-9a-f]{32}"),
    (r"\b\d+\.\d+\.\d+(?:\.?\w+)*\b", r"\d+\.\d+\.\d+(?:\.?\w+)*"),
    # Columns are as wide as what is in them.
    (r" +", r"[ \t]+"),
)

_VARIES = re.compile("|".join(f"({shown})" for shown, _ in VARIES))


def pattern(shown: Sequence[str], replace: Callable[[str], str] = str) -> re.Pattern[str]:
    """What matches the output of a command of which a page shows the lines SHOWN.

    REPLACE is for words of a page that stand for others here.
    """
    lines = (r"(?:.*\n)*?" if line == ANY_LINES else _line(replace(line)) + r"[ \t]*\n" for line in shown)
    return re.compile("".join(lines))


def _line(shown: str) -> str:
    parts, end = [], 0
    for found in _VARIES.finditer(shown.rstrip()):
        assert found.lastindex is not None
        parts += [re.escape(shown[end : found.start()]), VARIES[found.lastindex - 1][1]]
        end = found.end()
    return "".join([*parts, re.escape(shown[end:].rstrip())])
