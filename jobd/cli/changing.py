"""Subcommands that change jobs, or run them."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from jobd.cli.completing import complete_signal
from jobd.cli.definition import Definition, DefinitionError, read_definitions, write_definition
from jobd.cli.params import job_argument, job_options, jobs_argument, json_option, pass_session
from jobd.cli.reply import attributes, coloured, print_json, values
from jobd.cli.statuses import FAILED, NO_STATUS, TIMED_OUT, Failed

if TYPE_CHECKING:
    from jobd.cli.daemon import Daemon
    from jobd.cli.session import Session


@click.command()
@click.argument("name")
@click.argument("schedule")
@click.argument("command")
@click.option("--start", is_flag=True, help="Start it at once.")
@job_options
@pass_session
def add(
    session: Session, name: str, schedule: str, command: str, start: bool, options: tuple[str, ...]
) -> None:
    """Make a job.

    For example: jobctl add backup '0 3 * * *' 'tar cf /backup/home.tar /home' --start
    """
    job = Definition(name, schedule.strip(), command, options, start)
    session.call(lambda daemon: daemon.create(job))


def _each(session: Session, names: Sequence[str], change: Callable[[Daemon, str], Awaitable[None]]) -> None:
    """Make a CHANGE to each of the jobs, those after one that is refused included."""
    refused: list[Failed] = []

    async def work(daemon: Daemon) -> None:
        for name in names:
            try:
                await change(daemon, name)
            except Failed as failed:
                refused.append(failed)

    session.call(work)
    if refused:
        *others, last = refused
        for failed in others:
            failed.show()
        # A status that says what holds for all of them.
        alike = len(refused) == len(names) and len({failed.exit_code for failed in refused}) == 1
        raise Failed(last.message, last.exit_code if alike else FAILED)


@click.command()
@jobs_argument
@pass_session
def start(session: Session, names: tuple[str, ...]) -> None:
    """Have jobs run at their times."""
    _each(session, names, lambda daemon, name: daemon.control(name, "start"))


@click.command()
@jobs_argument
@pass_session
def stop(session: Session, names: tuple[str, ...]) -> None:
    """Have jobs run no more.

    A run in progress goes on.
    """
    _each(session, names, lambda daemon, name: daemon.control(name, "stop"))


@click.command()
@jobs_argument
@pass_session
def rm(session: Session, names: tuple[str, ...]) -> None:
    """Delete jobs, with logs and histories."""
    _each(session, names, lambda daemon, name: daemon.remove(name))


@click.command()
@job_argument
@click.argument("new")
@pass_session
def mv(session: Session, name: str, new: str) -> None:
    """Give a job another name."""
    session.call(lambda daemon: daemon.rename(name, new))


@click.command()
@job_argument
@click.argument("signame", metavar="[SIGNAL]", required=False, shell_complete=complete_signal)
@pass_session
def kill(session: Session, name: str, signame: str | None) -> None:
    """End the runs of a job, or send them SIGNAL."""
    session.call(lambda daemon: daemon.control(name, f"kill {signame or ''}".strip()))


@click.command()
@job_argument
@click.option("--wait", is_flag=True, help="Wait for its end, print what it printed, and end as it did.")
@json_option
@pass_session
def run(session: Session, name: str, wait: bool, as_json: bool) -> None:
    """Run a job once, now.

    With --wait the exit status is that of the run; 128 and the number of the signal that ended it; 124
    after its timeout; 125 where the run has no status, or jobctl itself failed.
    """
    try:
        number = session.call(lambda daemon: daemon.run(name))
        record = _wait(session, f"/jobs/{name}/runs/{number}", as_json) if wait else {}
    except Failed as failed:
        if wait:
            failed.exit_code = NO_STATUS
        raise
    if as_json:
        print_json({"run": number} | values(record))
    elif not wait:
        click.echo(number)
    elif record.get("outcome") != "ok":
        detail = f": {record['detail']}" if "detail" in record else ""
        click.echo(f"run {number}: {coloured(record.get('outcome', 'unknown'))}{detail}", err=True)
    if wait:
        raise SystemExit(_status_of_run(record))


def _wait(session: Session, directory: str, quiet: bool) -> dict[str, str]:
    """The record of the run in DIRECTORY, once it has ended; unless QUIET, what it prints is put out."""
    from twisted.internet.defer import Deferred

    from jobd.cli.following import Follower

    follower = Follower(f"{directory}/output")

    async def work(daemon: Daemon) -> dict[str, str]:
        if not quiet:
            ended: list[Any] = []
            Deferred.fromCoroutine(daemon.text(f"{directory}/wait")).addBoth(ended.append)
            await follower.follow(daemon, lambda: bool(ended))
        return attributes(await daemon.text(f"{directory}/wait"))

    return session.insist(work)


def _status_of_run(record: dict[str, str]) -> int:
    if record.get("outcome") == "timeout":
        return TIMED_OUT
    if "signal" in record:
        number = record["signal"]
        return 128 + (int(number) if number.isdigit() else signal.Signals[number])
    status = record.get("exit", "")
    return int(status) if status.isdigit() else NO_STATUS


@click.command()
@job_argument
@pass_session
def edit(session: Session, name: str) -> None:
    """Change a job in $EDITOR.

    The text has its name, schedule, options, state and command. One that is refused is kept.
    """
    job = session.call(lambda daemon: daemon.definition(name))
    try:
        text = click.edit(write_definition(job), extension=".job")
    except click.ClickException as error:
        raise Failed(error.message) from None
    if text is None:
        click.echo("nothing was changed", err=True)
        return

    async def work(daemon: Daemon) -> None:
        await _apply(daemon, job, text)

    try:
        session.call(work)
    except Failed as failed:
        raise Failed(
            f"{failed.message}; your text is kept in {_kept(name, text)}", failed.exit_code
        ) from None


async def _apply(daemon: Daemon, job: Definition, text: str) -> None:
    try:
        edited = read_definitions(text)
    except DefinitionError as error:
        raise Failed(str(error)) from None
    if len(edited) != 1:
        raise Failed(f"one job is expected, not {len(edited)}")
    (new,) = edited
    if new.owner != job.owner:
        raise Failed(f"the owner stays {job.owner}: jobctl import makes a job of another")
    await daemon.replace(job, new)


def _kept(name: str, text: str) -> str:
    import tempfile

    with tempfile.NamedTemporaryFile("w", prefix=f"{name}-", suffix=".job", delete=False) as file:
        file.write(text)
    return file.name


COMMANDS: tuple[Any, ...] = (add, start, stop, run, kill, rm, mv, edit)
