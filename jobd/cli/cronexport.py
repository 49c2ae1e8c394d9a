"""Jobs as a crontab, where one can say them.

Every entry that is written has been read back: it means the same job, or it is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from jobd.cli.cronfields import CronError, untranslate
from jobd.cli.crontab import DEFAULT_PATH, DEFAULT_SHELL, read_crontab
from jobd.cli.definition import Definition

_JOBD_PATH = "/usr/local/bin:/usr/bin:/bin"
"""The PATH of a job of jobd whose `env` names none."""
_SAID = ("description", "timezone", "shell", "env", "dir")
"""Options that a crontab has words for."""
_CRON_WAYS = re.compile(r"catchup none|overlap allow [0-9]+")
"""Options that say what cron does anyway."""


class Written(NamedTuple):
    """A crontab, and what is missing from it."""

    text: str
    refused: list[str]
    """A sentence for each job that a crontab can't say."""
    notes: list[str]


class _Line(NamedTuple):
    name: str
    variables: dict[str, str]
    text: str


def write_crontab(jobs: Iterable[Definition], *, system: bool = False) -> Written:
    """JOBS as the text of a crontab; a SYSTEM one has each job's owner in its line.

    A stopped job is written as a comment.
    """
    chosen = list(jobs)
    written = Written("", [], [])
    if not system and len({job.owner for job in chosen}) > 1:
        owners = ", ".join(sorted({job.owner for job in chosen}))
        written.refused.append(f"a crontab without users is one user's, and these jobs belong to {owners}")
        return written
    lines, said = [], []
    for job in chosen:
        try:
            lines.append(_line(job, system))
        except CronError as error:
            written.refused.append(f"{job.name}: {error}")
        else:
            said.append(job)
    if stopped := ", ".join(job.name for job in said if not job.started):
        written.notes.append(f"stopped jobs are comments: {stopped}")
    if zoned := ", ".join(job.name for job in said if job.option("timezone")):
        written.notes.append(f"CRON_TZ is cronie's, Debian's cron knows no time zone: {zoned}")
    if lines:
        written.notes.append("cron lets runs of a job overlap, and makes up for none that was missed")
    return written._replace(text=_joined(lines, written.refused))


def _line(job: Definition, system: bool) -> _Line:
    """The entry of JOB, and the variables it wants; CronError where there is none."""
    options = [line for line in job.options if not _CRON_WAYS.fullmatch(line)]
    unsaid = sorted({line.split(" ")[0] for line in options} - set(_SAID))
    if unsaid:
        raise CronError(f"a crontab can't say the option {', '.join(unsaid)}")
    if "\n" in job.command or not job.command:
        raise CronError("a crontab can't say a command of several lines, or of none")
    variables = _variables(job)
    user = f"{job.owner} " if system else ""
    entry = f"{untranslate(job.schedule)} {user}{job.command.replace('%', chr(92) + '%')}"
    comment = f"# {description}\n" if (description := job.option("description")) else ""
    assignments = "".join(_assignment(name, value) for name, value in variables.items())
    back = read_crontab(f"{assignments}\n{comment}{entry}\n", "", system=system, owner=job.owner)
    if back.refused or len(back.jobs) != 1 or not _same(back.jobs[0], job):
        raise CronError("what it runs can't be said in a crontab: read back, it would be another command")
    return _Line(job.name, variables, comment + ("" if job.started else "#") + entry + "\n")


def _same(back: Definition, job: Definition) -> bool:
    def rest(options: tuple[str, ...]) -> set[str]:
        return {line for line in options if not (line.startswith("env PATH=") or _CRON_WAYS.fullmatch(line))}

    return back.command == job.command and rest(back.options) == rest(job.options)


def _variables(job: Definition) -> dict[str, str]:
    """What stands before the entry of JOB."""
    variables = {"PATH": _JOBD_PATH, "SHELL": job.option("shell") or DEFAULT_SHELL}
    for line in job.options:
        key, _, value = line.partition(" ")
        if key == "env":
            name, _, value = value.partition("=")
            variables[name] = value
    if job.option("dir") != variables.get("HOME"):
        raise CronError("a crontab can't say the option dir, but as HOME")
    if zone := job.option("timezone"):
        variables["CRON_TZ"] = zone
    return variables


def _assignment(name: str, value: str) -> str:
    bare = re.fullmatch(r"[^\s\"'](.*[^\s])?", value)
    return f"{name}={value}\n" if bare else f'{name}="{value}"\n'


def _joined(lines: list[_Line], refused: list[str]) -> str:
    """The lines, with assignments where variables change; what would need one taken back is refused.

    A variable stays set to the end of a crontab: so those who want the fewest come first.
    """
    text = ""
    current = {"PATH": DEFAULT_PATH, "SHELL": DEFAULT_SHELL}
    for line in sorted(lines, key=lambda line: len(line.variables)):
        if extra := sorted(current.keys() - line.variables.keys()):
            unwanted = ", ".join(extra)
            refused.append(f"{line.name}: below the others it would get {unwanted} too; export it by itself")
            continue
        changes = {name: value for name, value in line.variables.items() if current.get(name) != value}
        text += "".join(_assignment(name, value) for name, value in changes.items()) + line.text
        current |= changes
    return text
