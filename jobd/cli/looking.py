"""Subcommands that look at jobs."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import click

from jobd.cli.completing import complete_job
from jobd.cli.params import first_lines_option, follow_option, job_argument, json_option, pass_session
from jobd.cli.reply import (
    attributes,
    clock,
    coloured,
    instant,
    now,
    print_json,
    relative,
    rfc3339,
    table,
    values,
)
from jobd.cli.statuses import NOT_FOUND, Failed, status_of

if TYPE_CHECKING:
    from datetime import datetime

    from jobd.cli.daemon import Daemon
    from jobd.cli.session import Session


@click.command()
@click.argument("patterns", metavar="[PATTERN]...", nargs=-1, shell_complete=complete_job)
@json_option
@pass_session
def ls(session: Session, patterns: tuple[str, ...], as_json: bool) -> None:
    """List the jobs.

    With a PATTERN such as 'backup-*' those whose names match.
    """

    async def work(daemon: Daemon) -> tuple[bool, list[dict[str, str]]]:
        paused = (await daemon.text("/ctl")).startswith("paused\n")
        names = await daemon.names()
        if patterns:
            names = [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]
        texts = await daemon.read_many([f"/jobs/{name}/status" for name in names], "reading jobs")
        return paused, [
            {"name": name} | attributes(text)
            for name, text in zip(names, texts, strict=True)
            # A job that was removed meanwhile has no files any more.
            if isinstance(text, str)
        ]

    paused, jobs = session.call(work)
    if patterns and not jobs:
        raise Failed(f"no job is called {' or '.join(patterns)}", NOT_FOUND)
    if as_json:
        print_json([values(job) for job in jobs])
        return
    moment = now()
    rows = [
        (job["name"], job.get("state", ""), _next(job, moment), _last(job, moment), job.get("schedule", ""))
        for job in jobs
    ]
    if rows:
        table(("NAME", "STATE", "NEXT", "LAST", "SCHEDULE"), rows)
    if paused:
        click.echo("jobctl: jobd is paused, and starts nothing before: jobctl write ctl resume", err=True)


def _next(status: dict[str, str], moment: datetime) -> str:
    when = instant(status.get("next"))
    return relative(when, moment) if when else "-"


def _last(status: dict[str, str], moment: datetime) -> str:
    if status.get("running", "0") != "0":
        return "running"
    outcome, when = status.get("last-outcome", "-"), instant(status.get("last-start"))
    return f"{outcome} {relative(when, moment)}" if when else outcome


@click.command()
@job_argument
@json_option
@pass_session
def show(session: Session, name: str, as_json: bool) -> None:
    """Show all there is to know of a job."""
    from jobd.cli.words import in_words
    from jobd.ninep.errors import NinepError

    async def work(daemon: Daemon) -> tuple[Any, ...]:
        attributes_of = await daemon.stat(f"/jobs/{name}")
        files = [f"/jobs/{name}/{file}" for file in ("status", "schedule", "next", "options", "cmd")]
        texts = await daemon.read_many(files)
        for path, text in zip(files[:3], texts, strict=False):
            if isinstance(text, NinepError):
                raise Failed(f"{path}: {text}", status_of(text.errno))
        return attributes_of, *(None if isinstance(text, NinepError) else text for text in texts)

    stat, status_text, schedule, upcoming, options, command = session.call(work)
    status, schedule = attributes(status_text), schedule.split("\n")[0]
    option_lines = None if options is None else [line for line in options.split("\n") if line]
    words = in_words(schedule, name) if schedule else None
    if as_json:
        facts: dict[str, Any] = {"name": name, "owner": stat.uid, "group": stat.gid, "schedule": schedule}
        facts |= {
            "words": words,
            "upcoming": [rfc3339(line) for line in upcoming.splitlines()],
            **values(status),
        }
        facts |= {"command": command and command.removesuffix("\n"), "options": option_lines}
        print_json(facts)
        return
    from jobd.cli.definition import Definition

    moment = now()
    job = Definition.of_files(name, stat.uid, schedule, "", options or "", command or "")
    when = instant(status.get("next"))
    rows = [
        ("name", name),
        ("owner", f"{stat.uid}, group {stat.gid}"),
        ("state", coloured(status.get("state", ""))),
        ("schedule", schedule + (f"  ({words})" if words else "")),
        ("next", f"{clock(when)}, {relative(when, moment)}" if when else "-"),
        ("last", coloured(_last(status, moment))),
        ("runs", f"{status.get('runs', '0')}, {status.get('failures', '0')} failed"),
        *[("option", line) for line in job.options],
        ("command", "(not yours to read)" if command is None else job.command),
    ]
    for title, text in rows:
        click.echo(click.style(f"{title:9}", bold=True) + text.replace("\n", "\n" + " " * 9))


@click.command()
@job_argument
@follow_option
@first_lines_option
@click.option("--run", "number", type=click.IntRange(1), help="What that run printed, and nothing else.")
@pass_session
def log(session: Session, name: str, follow: bool, lines: int | None, number: int | None) -> None:
    """Print the log of a job.

    With -f it goes on over a restart of the daemon.
    """
    path = f"/jobs/{name}/log" if number is None else f"/jobs/{name}/runs/{number}/output"
    _show_growing(session, path, follow, lines)


@click.command()
@follow_option
@first_lines_option
@pass_session
def events(session: Session, follow: bool, lines: int | None) -> None:
    """Print what happened to all jobs.

    With -f it goes on over a restart of the daemon.
    """
    _show_growing(session, "/events", follow, lines)


def _show_growing(session: Session, path: str, follow: bool, lines: int | None) -> None:
    from jobd.cli.following import Follower

    follower = Follower(path, lines)

    async def work(daemon: Daemon) -> None:
        await follower.follow(daemon, lambda: not follow)

    if follow:
        session.insist(work, lambda: follower.begun)
    else:
        session.call(work)


@click.command()
@job_argument
@click.option("-n", "--lines", type=click.IntRange(1), help="The last N runs.")
@json_option
@pass_session
def history(session: Session, name: str, lines: int | None, as_json: bool) -> None:
    """List the runs of a job, the newest last."""
    text = session.call(lambda daemon: daemon.text(f"/jobs/{name}/history"))
    runs = [attributes(line) for line in text.split("\n") if line][-(lines or 0) :]
    if as_json:
        print_json([values(run) for run in runs])
    elif runs:
        table(("RUN", "STARTED", "TOOK", "OUTCOME", "EXIT", "SCHEDULED"), [_history_row(run) for run in runs])


def _history_row(run: dict[str, str]) -> tuple[str, ...]:
    started, ended = instant(run.get("started")), instant(run.get("ended"))
    scheduled = instant(run.get("scheduled") or run.get("from"))
    outcome = run.get("outcome", "")
    return (
        run.get("run", ""),
        clock(started) if started else "-",
        f"{(ended - started).total_seconds():.1f}s" if started and ended else "-",
        f"{outcome} {run['count']}" if "count" in run else outcome,
        run.get("signal") or run.get("exit", "-"),
        clock(scheduled) if scheduled else "by hand",
    )


COMMANDS: tuple[Any, ...] = (ls, show, log, events, history)
