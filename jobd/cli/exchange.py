"""The subcommands `import` and `export`."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from jobd.cli.completing import complete_job
from jobd.cli.definition import Definition, DefinitionError, read_definitions, write_definitions
from jobd.cli.params import job_options, pass_session
from jobd.cli.statuses import FAILED, NO_DAEMON, Failed

if TYPE_CHECKING:
    from jobd.cli.daemon import Daemon
    from jobd.cli.session import Session

# ---- export


@click.command("export")
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=complete_job)
@click.option("--crontab", is_flag=True, help="Write a crontab, and say what a crontab can't.")
@click.option("--system", is_flag=True, help="The same with users, as in /etc/crontab.")
@pass_session
def export(session: Session, names: tuple[str, ...], crontab: bool, system: bool) -> None:
    """Write jobs as a text that import reads.

    All of them, unless some are named.
    """

    async def work(daemon: Daemon) -> list[Definition]:
        return await daemon.definitions(names or await daemon.names())

    jobs = session.call(work)
    if not (crontab or system):
        click.echo(write_definitions(jobs).encode(), nl=False)
        return
    from jobd.cli.cronexport import write_crontab

    written = write_crontab(jobs, system=system)
    click.echo(written.text.encode(), nl=False)
    _say(written.notes)
    _end(written.refused)


# ---- import


class _Found(NamedTuple):
    """What is to be imported."""

    jobs: list[Definition]
    notes: list[str]
    refused: list[str]


@click.command("import")
@click.argument("files", metavar="[FILE]...", nargs=-1, type=click.Path())
@click.option(
    "--crontab",
    "crontabs",
    multiple=True,
    metavar="FILE|-",
    type=click.Path(),
    help="A crontab of a user.",
)
@click.option(
    "--system",
    "systems",
    multiple=True,
    metavar="PATH",
    type=click.Path(),
    help="/etc/crontab, /etc/cron.d or such a file.",
)
@click.option("--user", default="", help="Whose the --crontab is.  [default: yours]")
@click.option("--start", is_flag=True, help="Start the jobs of crontabs; else they are made stopped.")
@click.option("--replace", is_flag=True, help="Change jobs that are there already and differ.")
@click.option("--keep-going", is_flag=True, help="Make what can be made, where something is refused.")
@click.option("--dry-run", is_flag=True, help="Print what would be made, as export does, and make nothing.")
@job_options
@pass_session
def import_jobs(
    session: Session,
    files: tuple[str, ...],
    crontabs: tuple[str, ...],
    systems: tuple[str, ...],
    user: str,
    start: bool,
    replace: bool,
    keep_going: bool,
    dry_run: bool,
    options: tuple[str, ...],
) -> None:
    """Make jobs of an export, or of crontabs.

    A job that is there already, and the same, is left as it is. Where a line can't be translated, nothing
    is made unless with --keep-going. Jobs of crontabs are stopped unless with --start: else cron and jobd
    would both run them.
    """
    if not (files or crontabs or systems):
        raise click.UsageError("a FILE, --crontab or --system is expected; - is standard input")
    cron, native = _read_crontabs(crontabs, systems, user), _read_files(files)
    _say(cron.notes)
    if (refused := cron.refused + native.refused) and not keep_going:
        raise _nothing_made(refused)
    cron = cron._replace(jobs=[job._replace(started=start) for job in cron.jobs])
    wanted = [
        (job._replace(options=_normal((*job.options, *options))), kind is cron)
        for kind in (cron, native)
        for job in kind.jobs
    ]

    if dry_run:
        click.echo(write_definitions(_dry(session, wanted)).encode(), nl=False)
        _end(refused)
        return

    async def work(daemon: Daemon) -> list[str]:
        existing = await _existing(daemon, [job.name for job, _ in wanted])
        return await _make(daemon, _settled(wanted, existing), existing, replace, keep_going)

    _end(refused + session.call(work))


def _dry(session: Session, wanted: list[tuple[Definition, bool]]) -> list[Definition]:
    """The jobs with the names they would get; without a daemon, those they have among themselves."""

    async def work(daemon: Daemon) -> dict[str, Definition]:
        return await _existing(daemon, [job.name for job, _ in wanted])

    try:
        existing = session.call(work)
    except Failed as failed:
        if failed.exit_code != NO_DAEMON:
            raise
        _say([f"{failed.message}: what names are taken there isn't known"])
        existing = {}
    return _settled(wanted, existing)


def _read_files(files: Iterable[str]) -> _Found:
    found = _Found([], [], [])
    for file in files:
        try:
            found.jobs.extend(read_definitions(_text_of(file)))
        except DefinitionError as error:
            found.refused.append(f"{file}: {error}")
    return found


def _read_crontabs(crontabs: Iterable[str], systems: Iterable[str], user: str) -> _Found:
    from jobd.cli.crontab import read_crontab

    found = _Found([], [], [])
    sources = [(file, False) for file in crontabs]
    for path in systems:
        inside, ignored = _cron_files(path)
        sources += [(file, True) for file in inside]
        found.notes.extend(
            f"{file}: cron ignores a file of that name here, and so does jobctl" for file in ignored
        )
    for file, system in sources:
        base = os.path.basename(file) if system and os.path.basename(file) != "crontab" else ""
        read = read_crontab(_text_of(file), file, system=system, owner=user, base=base)
        found.jobs.extend(read.jobs)
        found.notes.extend(read.notes)
        found.refused.extend(read.refused)
    if found.jobs:
        found.notes.append(
            "cron lets runs of a job overlap and makes up for nothing; jobd skips a run while the last one "
            "is in progress, and makes up for the last missed one (-o 'overlap=allow 9' -o catchup=none)"
        )
    return found


_CRON_FILE = re.compile(r"[A-Za-z0-9_-]+")
"""Names of files that cron reads in /etc/cron.d, by Debian's cron(8)."""


def _cron_files(path: str) -> tuple[list[str], list[str]]:
    """The crontabs at PATH, a file or a directory of them, and the files there that cron ignores."""
    if not os.path.isdir(path):
        return [path], []
    names = sorted(name for name in os.listdir(path) if os.path.isfile(os.path.join(path, name)))
    # A .placeholder is in every package that owns the directory.
    return (
        [os.path.join(path, name) for name in names if _CRON_FILE.fullmatch(name)],
        [
            os.path.join(path, name)
            for name in names
            if not _CRON_FILE.fullmatch(name) and name != ".placeholder"
        ],
    )


def _text_of(file: str) -> str:
    try:
        if file == "-":
            return sys.stdin.buffer.read().decode()
        with open(file, "rb") as opened:
            return opened.read().decode()
    except UnicodeDecodeError as error:
        raise Failed(f"{file}: byte {error.start + 1} is not UTF-8") from None
    except OSError as error:
        raise Failed(f"{file}: {error.strerror}") from None


def _normal(lines: Sequence[str]) -> tuple[str, ...]:
    """Lines of options as the daemon will show them; as they are, where it will refuse them."""
    from jobd.jobs.errors import JobError
    from jobd.jobs.options import DEFAULTS, merge, show

    try:
        merged = merge(DEFAULTS, "".join(line + "\n" for line in lines).encode())
    except JobError:
        return tuple(lines)
    return tuple(line for line in show(merged, defaults=False).split("\n") if line)


def _same(one: Definition, other: Definition) -> bool:
    """Whether they do the same, at the same times, for the same user where both name one."""
    owners = {one.owner, other.owner} - {""}
    return (
        one.schedule == other.schedule
        and one.command == other.command
        and sorted(one.options) == sorted(other.options)
        and len(owners) < 2
    )


async def _existing(daemon: Daemon, names: Sequence[str]) -> dict[str, Definition]:
    """The jobs of the daemon with one of NAMES, or with a number behind it."""
    wanted = set(names)
    there = [name for name in await daemon.names() if {name, re.sub(r"-[0-9]+$", "", name)} & wanted]
    return {job.name: job for job in await daemon.definitions(there)}


def _settled(wanted: list[tuple[Definition, bool]], existing: dict[str, Definition]) -> list[Definition]:
    """The jobs with their final names: one of a crontab takes a number where another has its name."""
    settled: dict[str, Definition] = {}
    for job, may_rename in wanted:
        name, number = job.name, 1
        while may_rename and (name in settled or (name in existing and not _same(existing[name], job))):
            number += 1
            name = f"{job.name}-{number}"
        if name in settled:
            raise Failed(f"two jobs to be imported are called {name}")
        settled[name] = job._replace(name=name)
    return list(settled.values())


async def _make(
    daemon: Daemon,
    jobs: list[Definition],
    existing: dict[str, Definition],
    replace: bool,
    keep_going: bool,
) -> list[str]:
    """Make the JOBS, and say so; a sentence for each that was refused."""
    from jobd.cli.many import at_once

    users: dict[str, Daemon] = {"": daemon}
    refused: list[str] = []
    for owner in sorted({job.owner for job in jobs} - {""}):
        try:
            users[owner] = await daemon.as_user(owner)
        except Failed as failed:
            theirs = ", ".join(job.name for job in jobs if job.owner == owner)
            refused.append(f"{theirs}: {failed.message}")
    if refused and not keep_going:
        raise _nothing_made(refused)
    jobs = [job for job in jobs if job.owner in users]

    async def one(job: Definition) -> str:
        try:
            done = await _make_one(users[job.owner], job, existing.get(job.name), replace)
        except Failed as failed:
            refused.append(f"{job.name}: {failed.message}")
            return ""
        return done

    lines = await at_once(one, jobs, "making jobs")
    click.echo("".join(lines), nl=False)
    return refused


async def _make_one(daemon: Daemon, job: Definition, old: Definition | None, replace: bool) -> str:
    if old is None:
        await daemon.create(job._replace(started=False))
        await _check_owner(daemon, job)
        if job.started:
            await daemon.control(job.name, "start")
        return f"made {job.name}\n"
    if not _same(old, job) and not replace:
        raise Failed("there is another job of that name; --replace changes it")
    if job.owner not in ("", old.owner):
        raise Failed(f"it is {old.owner}'s, not {job.owner}'s, and its owner stays")
    if _same(old, job) and job.started == old.started:
        return f"kept {job.name}\n"
    if not (replace or job.started):
        raise Failed("it is started, and was to be stopped; --replace stops it")
    await daemon.replace(old, job)
    return f"changed {job.name}\n"


async def _check_owner(daemon: Daemon, job: Definition) -> None:
    """Have no job run as another than it says: what the daemon made of the user is seen at the owner."""
    if not job.owner:
        return
    owner = (await daemon.stat(f"/jobs/{job.name}")).uid
    if owner != job.owner:
        await daemon.remove(job.name)
        raise Failed(f"it would run as {owner}, not as {job.owner}: only root can make jobs for others")


# ---- what is said


def _say(notes: Iterable[str]) -> None:
    for note in notes:
        click.echo(f"{click.style('note:', fg='yellow')} {note}", err=True)


def _nothing_made(refused: Sequence[str]) -> Failed:
    """What ends an import for want of --keep-going, after a sentence for each of REFUSED."""
    for sentence in refused:
        Failed(sentence).show()
    return Failed("nothing was made; --keep-going makes the rest")


def _end(refused: Sequence[str]) -> None:
    """End with a sentence for each of REFUSED, where there are any."""
    for sentence in refused:
        Failed(sentence).show()
    if refused:
        raise SystemExit(FAILED)


COMMANDS: tuple[Any, ...] = (export, import_jobs)
