"""The tables of a page."""

from __future__ import annotations

import re
from pathlib import Path

Table = list[list[str]]
"""Rows of cells, the head not among them."""


def section(path: Path, heading: str) -> str:
    """What stands below HEADING in the page at PATH, up to the next heading of its rank or above."""
    _, found, rest = path.read_text().partition(f"\n{heading}\n")
    if not found:
        raise AssertionError(f"{path} has no heading {heading!r}")
    rank = len(heading) - len(heading.lstrip("#"))
    return re.split(rf"^#{{1,{rank}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def tables(text: str) -> list[Table]:
    """The tables of TEXT, in order."""
    found: list[Table] = []
    rows: Table = []
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
        elif rows:
            found.append(rows[2:])  # without the head and the line below it
            rows = []
    return found


def code(text: str) -> list[str]:
    """What stands in backticks in TEXT."""
    return re.findall(r"`([^`]+)`", text)
