"""The database of the original jobd: a text file, `name:schedule:command` on each line.

The original (wkharold/jobd) appends a line a job, and at its start gives up at the first line that it
can't read.  A command with a newline in it, which it accepts, leaves such lines behind.
"""

from __future__ import annotations

from typing import NamedTuple


class LegacyJob(NamedTuple):
    """A job as the original kept it: nothing in it is checked yet."""

    name: str
    schedule: str
    command: str


def read_jobs_db(path: str) -> tuple[list[LegacyJob], list[str]]:
    """The jobs in the file at PATH, and a sentence about each line that gave none.

    Of two lines with one name the first counts, as for the original, which refuses a name that is taken.
    Text that is not UTF-8 comes with surrogates (PEP 383).  Raises OSError where the file can't be read.
    """
    with open(path, "rb") as file:
        lines = file.read().split(b"\n")
    jobs: dict[str, LegacyJob] = {}
    problems = []
    for number, line in enumerate(lines, 1):
        text = line.decode("utf-8", "surrogateescape")
        if not text.strip():
            continue
        fields = text.split(":", 2)
        if len(fields) < 3:
            problems.append(f"line {number}: no NAME:SCHEDULE:COMMAND: {shown(text)}")
            continue
        job = LegacyJob(fields[0].strip(), fields[1].strip(), fields[2])
        if job.name in jobs:
            problems.append(f"line {number}: a second job {shown(job.name)}; the first one counts")
        else:
            jobs[job.name] = job
    return list(jobs.values()), problems


def shown(text: str) -> str:
    """TEXT quoted, and cut where it is long."""
    return repr(text if len(text) <= 60 else text[:60] + "...")
