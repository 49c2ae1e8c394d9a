"""A job as a text: what `export` writes, `edit` shows, and `import` reads.

    job backup
    owner glenda
    schedule 0 3 * * *
    option timezone Europe/Berlin
    state started
    command tar cf /backup/home.tar /home

A command of several lines stands below the word `command`, each line behind a tab.  Lines that begin with
`#`, and empty ones, mean nothing outside a command.  The value of a line is all behind the first space.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple


class DefinitionError(ValueError):
    """A text that says no jobs; a sentence with the number of the line."""


class Definition(NamedTuple):
    """All that is needed to make a job again."""

    name: str
    schedule: str = ""
    command: str = ""
    options: tuple[str, ...] = ()
    """Lines for the `options` file, without defaults."""
    started: bool = False
    owner: str = ""
    """Empty for whoever makes it."""

    @classmethod
    def of_files(
        cls, name: str, owner: str, schedule: str, ctl: str, options: str, command: str
    ) -> Definition:
        """The job whose files hold those texts."""
        return cls(
            name,
            schedule.split("\n", maxsplit=1)[0],
            command.removesuffix("\n"),
            tuple(line for line in options.split("\n") if line and line not in _default_lines()),
            ctl.strip() == "started",
            owner,
        )

    def option(self, key: str) -> str | None:
        """The value of an option that is set; None where it has its default."""
        for line in self.options:
            found, _, value = line.partition(" ")
            if found == key:
                return value
        return None


@lru_cache(maxsize=1)
def _default_lines() -> frozenset[str]:
    from jobd.jobs.options import DEFAULTS, show

    return frozenset(show(DEFAULTS).split("\n"))


def write_definition(job: Definition) -> str:
    """JOB as lines; `read_definitions` gives it back."""
    lines = [f"job {job.name}"]
    if job.owner:
        lines.append(f"owner {job.owner}")
    if job.schedule:
        lines.append(f"schedule {job.schedule}")
    lines += [f"option {line}" for line in job.options]
    lines.append("state started" if job.started else "state stopped")
    if "\n" in job.command:
        lines.append("command")
        lines += ["\t" + line for line in job.command.split("\n")]
    elif job.command:
        lines.append(f"command {job.command}")
    return "".join(line + "\n" for line in lines)


def write_definitions(jobs: Iterable[Definition]) -> str:
    """JOBS as a text, with an empty line between two."""
    return "\n".join(map(write_definition, jobs))


def read_definitions(text: str) -> list[Definition]:
    """The jobs that TEXT says; DefinitionError where a line of it says nothing known."""
    jobs: list[Definition] = []
    seen: set[str] = set()
    block: list[str] | None = None
    for number, line in enumerate(text.split("\n"), 1):
        if line.startswith("\t"):
            if block is None:
                raise DefinitionError(f"line {number}: a line behind a tab belongs below the word command")
            block.append(line[1:])
            jobs[-1] = jobs[-1]._replace(command="\n".join(block))
            continue
        block = None
        if not line.strip() or line.startswith("#"):
            continue
        key, _, value = line.partition(" ")
        if key == "job":
            if not value or value in seen:
                raise DefinitionError(
                    f"line {number}: " + (f"a second job {value}" if value else "a job without a name")
                )
            seen.add(value)
            jobs.append(Definition(value))
            continue
        if not jobs:
            raise DefinitionError(f"line {number}: job NAME is expected before {key!r}")
        if key == "command" and not value:
            block = []
        else:
            jobs[-1] = _with_line(jobs[-1], key, value, number)
    return jobs


def _with_line(job: Definition, key: str, value: str, number: int) -> Definition:
    if key == "option":
        return job._replace(options=(*job.options, value))
    if key == "state":
        if value not in ("started", "stopped"):
            raise DefinitionError(f"line {number}: the state is started or stopped, not {value!r}")
        return job._replace(started=value == "started")
    if key in ("owner", "schedule", "command"):
        changes: dict[str, str] = {key: value}
        return job._replace(**changes)  # type: ignore[arg-type]
    raise DefinitionError(
        f"line {number}: {key!r} is unknown; allowed are job, owner, schedule, option, state and command"
    )
