"""Files of crontab lines whose lines can be told apart: each command becomes a number."""

from __future__ import annotations

import re
from typing import NamedTuple

_ENTRY = re.compile(r"\s*(?P<schedule>@[a-z]+|[0-9*]\S*(?:\s+\S+){4})\s+(?P<user>\S+)\s+(?P<command>.+)")

OWN_PACKAGE = "-"
OWN_FILE = "/etc/cron.d/own"
OWN = (
    "30 2 * * *",
    "0,30 2 * * *",
    "0 2 28,31 * *",
    "*/15 2 * * *",
    "30 */2 * * *",
    "0,30 1-4 * * SUN",
    "10-30/20 1,2,3 * 3,10 7",
    "* 2 28-31 mar,oct *",
    "@hourly",
    "@daily",
    "0 0 1-7 * */7",
    "0 0 */99,1-7 * MON",
    "0 0 13 * 5",
    "0 0 */2 * *",
    "0 0 1-31 * 1",
    "0 0 31 4,12 *",
)
"""Lines that no package has: for the hours in which the clocks change, and for the two fields of days."""


class Line(NamedTuple):
    """A line of a crontab that runs something."""

    package: str
    version: str
    file: str
    schedule: str
    """As it stands there, single blanks between its fields."""
    user: str
    command: str


class File(NamedTuple):
    """A crontab with users."""

    path: str
    text: str
    lines: list[Line]


def own() -> File:
    """The lines of this module."""
    return read(OWN_PACKAGE, "", OWN_FILE, "".join(f"{schedule} root true\n" for schedule in OWN))


def read(package: str, version: str, path: str, text: str) -> File:
    """What is in the crontab at PATH of PACKAGE."""
    found = map(_ENTRY.fullmatch, text.splitlines())
    lines = [
        Line(package, version, path, " ".join(match["schedule"].split()), match["user"], match["command"])
        for match in found
        if match
    ]
    return File(path, text, lines)


def numbered(file: File, first: int) -> str:
    """The text of FILE with `: N` for every command, beginning with FIRST: else as it is, blanks included."""
    text = []
    for line in file.text.splitlines():
        if match := _ENTRY.fullmatch(line):
            line = line[: match.start("command")] + f": {first}"
            first += 1
        text.append(line + "\n")
    return "".join(text)
