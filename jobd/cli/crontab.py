"""A crontab, read as crontab(5) says, and the jobs that do the same.

What jobd would do otherwise than cron is refused, or said in a note; nothing of it passes in silence.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from jobd.cli.cronfields import CronError, Translation, translate
from jobd.cli.cronnames import name_for, sanitised
from jobd.cli.definition import Definition
from jobd.schedule.expression import ALIASES

DEFAULT_PATH = "/usr/bin:/bin"
"""What cron gives a command; jobd's own default has /usr/local/bin in front."""
DEFAULT_SHELL = "/bin/sh"

_ASSIGNMENT = re.compile(r"""("[^"]*"|'[^']*'|[^\s"'=]+)[ \t]*=[ \t]*(.*)""", re.DOTALL)
_QUOTED = re.compile(r"""(["'])(.*)\1""", re.DOTALL)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ZONE = re.compile(r"[A-Za-z0-9_+/-]{1,64}")
_SHELLS = ("sh", "dash", "bash", "ash", "ksh", "ksh93", "mksh", "zsh")
"""Those that know `( command ) <<'WORD'`."""
_BLANKS = " \t"
_NOTED = {
    "MAILTO": "jobd sends no mail: what a job prints is in its log",
    "CRON_TZ": "it is the jobs' time zone, as in cronie; Debian's cron takes it for a mere variable",
    "RANDOM_DELAY": "it is a mere variable here; the option jitter spreads starts",
    "LOGNAME": "it is left out, as cron leaves it out: it is always the user's name",
}
"""Variables that mean something to some cron, and what becomes of them."""


class Crontab(NamedTuple):
    """What was found in a crontab."""

    jobs: list[Definition]
    """Stopped."""
    notes: list[str]
    """What is to be said about jobs that are made."""
    refused: list[str]
    """What could not be translated, and why."""


class _Source(NamedTuple):
    """The crontab that is being read."""

    label: str
    """What messages call it."""
    system: bool
    """Whether a user stands before each command."""
    owner: str
    """Whose jobs they are, where no user stands there."""


class _Entry(NamedTuple):
    translation: Translation
    user: str
    command: str


def read_crontab(
    text: str,
    label: str,
    *,
    system: bool = False,
    owner: str = "",
    base: str = "",
) -> Crontab:
    """The jobs that the crontab TEXT means.

    LABEL is what messages call it.  A SYSTEM one has a user in each line; else all are OWNER's.  Names
    begin with BASE, or are made of the commands; several jobs may get the same.
    """
    found = Crontab([], [], [])
    source = _Source(label, system, owner)
    environment: dict[str, str] = {}
    comments: list[str] = []
    lines = text.split("\n")
    if lines[-1]:
        found.notes.append(f"{label}: the last line does not end in a newline: cron would refuse the file")
    for number, raw in enumerate(lines, 1):
        line = raw.lstrip(_BLANKS)
        if line.startswith("#"):
            # An entry that is commented out ends what was said before it.
            comments = [] if _is_entry(line.lstrip("#" + _BLANKS), source) else [*comments, line.lstrip("#")]
            continue
        if line:
            _read_line(line, f"{label}:{number}", source, environment, comments, found)
        comments = []
    jobs = [job._replace(name=_name(job, base, len(found.jobs))) for job in found.jobs]
    return found._replace(jobs=jobs)


def _name(job: Definition, base: str, jobs: int) -> str:
    if not base:
        return name_for(job.command)
    return sanitised(base) if jobs == 1 else f"{sanitised(base)}-{name_for(job.command)}"


def _read_line(
    line: str, where: str, source: _Source, environment: dict[str, str], comments: list[str], found: Crontab
) -> None:
    """Take in a line that is an assignment or an entry."""
    try:
        if match := _ASSIGNMENT.fullmatch(line):
            name, value = _assignment(match[1], match[2])
            if name in _NOTED:
                found.notes.append(f"{where}: {name}: {_NOTED[name]}")
            if name != "LOGNAME":
                environment[name] = value
            return
        entry = _entry(line, source)
        job = _job(entry, environment, comments)
    except CronError as error:
        found.refused.append(f"{where}: {error}")
        return
    found.jobs.append(job)
    found.notes.extend(f"{where}: {note}" for note in entry.translation.notes)


def _assignment(name: str, value: str) -> tuple[str, str]:
    """The variable and its value; CronError where jobd can't set it."""
    name, value = name.strip("\"'"), value.rstrip(_BLANKS)
    if value[:1] in ('"', "'"):
        quoted = _QUOTED.fullmatch(value)
        if quoted is None or quoted[1] in quoted[2]:
            raise CronError(f"{name}: the value {value} has a quote that doesn't end it")
        value = quoted[2]
    if not _VARIABLE.fullmatch(name):
        raise CronError(f"{name!r} can't be the name of a variable in jobd")
    if value != value.rstrip() or "\0" in value:
        raise CronError(f"{name}: jobd can't keep white space at the end of a value")
    if name in ("SHELL", "HOME") and not value.startswith("/"):
        raise CronError(f"{name}: {value!r} is no absolute path")
    if name == "CRON_TZ" and not _ZONE.fullmatch(value):
        raise CronError(f"CRON_TZ: {value!r} is no name of a time zone")
    return name, value


def _is_entry(line: str, source: _Source) -> bool:
    try:
        _entry(line, source)
    except CronError:
        return False
    return True


def _entry(line: str, source: _Source) -> _Entry:
    """A line with a schedule and a command; CronError where it is none."""
    times = 1 if line.startswith("@") else 5
    parts = re.split(f"[{_BLANKS}]+", line, maxsplit=times + source.system)
    if len(parts) <= times + source.system or not parts[-1]:
        expected = "a schedule, a user and a command" if source.system else "a schedule and a command"
        raise CronError(f"{expected} are expected, not {line!r}")
    translation = _named(parts[0]) if times == 1 else translate(parts[:5])
    return _Entry(translation, parts[times] if source.system else source.owner, parts[-1])


def _named(word: str) -> Translation:
    if word in ALIASES or word == "@reboot":
        return Translation(word)
    raise CronError(f"{word}: cron knows {', '.join(ALIASES)} and @reboot")


def _job(entry: _Entry, environment: dict[str, str], comments: list[str]) -> Definition:
    shell = environment.get("SHELL", DEFAULT_SHELL)
    options = []
    if description := " ".join(" ".join(comments).split()):
        options.append(f"description {description}")
    if zone := environment.get("CRON_TZ"):
        options.append(f"timezone {zone}")
    if home := environment.get("HOME"):
        options.append(f"dir {home}")
    if shell != DEFAULT_SHELL:
        options.append(f"shell {shell}")
    variables = {"PATH": DEFAULT_PATH} | environment
    options += [
        f"env {name}={value}" for name, value in sorted(variables.items()) if name not in ("SHELL", "CRON_TZ")
    ]
    command = _with_input(*split_input(entry.command), shell)
    return Definition("", entry.translation.schedule, command, tuple(options), owner=entry.user)


def split_input(text: str) -> tuple[str, str | None]:
    r"""A command as it stands in a crontab: what the shell gets, and what its standard input is.

    The first `%` ends the command, the others are newlines, and `\%` is a `%`; of no other character does
    a backslash change the meaning.  In the command a backslash may itself be escaped, in the input not.
    What cron gives as input always ends in a newline, unless it is empty.
    """
    command: list[str] = []
    escaped = False
    for position, character in enumerate(text):
        if escaped and character == "%":
            command.pop()
        elif character == "%":
            return "".join(command), _input(text[position + 1 :])
        command.append(character)
        escaped = character == "\\" and not escaped
    return "".join(command), None


def _input(text: str) -> str:
    unescaped = re.sub(r"\\%|%", lambda match: "%" if len(match[0]) == 2 else "\n", text)
    return unescaped if not unescaped or unescaped.endswith("\n") else unescaped + "\n"


def _with_input(command: str, text: str | None, shell: str) -> str:
    """A command for a shell that reads TEXT from its standard input."""
    if not text:
        return command
    if shell.rpartition("/")[2] not in _SHELLS:
        raise CronError(f"what follows % is the command's input, and jobd can't say that to {shell}")
    word = "INPUT"
    while word in text.split("\n"):
        word += "_"
    return f"(\n{command}\n) <<'{word}'\n{text}{word}"
