"""The subcommand `next`: when something runs."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import click

from jobd.cli.completing import complete_job, complete_zone
from jobd.cli.params import json_option, pass_session
from jobd.cli.reply import attributes, instant, now, print_json, relative, rfc3339, table
from jobd.cli.statuses import Failed

if TYPE_CHECKING:
    from jobd.cli.daemon import Daemon
    from jobd.cli.session import Session


@click.command("next")
@click.argument("expression", metavar="[SCHEDULE|NAME]", required=False, shell_complete=complete_job)
@click.option(
    "--tz",
    shell_complete=complete_zone,
    help="The time zone, an IANA name.  [default: that of this machine]",
)
@click.option("--after", help="Later than this, as 2026-12-24T18:00.  [default: now]")
@click.option("-n", "--count", type=click.IntRange(1, 1000), default=5, show_default=True)
@click.option("--name", default="", help="The name of the job, for H.")
@json_option
@pass_session
def next_times(
    session: Session,
    expression: str | None,
    tz: str | None,
    after: str | None,
    count: int,
    name: str,
    as_json: bool,
) -> None:
    """Explain a schedule, and list its next times.

    That takes no daemon. With the name of a job, list the next times of that; with neither, what runs
    next of all jobs.
    """
    if expression is None:
        _all_jobs(session, count, as_json)
    elif " " not in expression.strip() and not expression.startswith("@"):
        _of_job(session, expression, count, as_json)
    else:
        _of_expression(expression, tz, after, count, name, as_json)


def _of_expression(
    text: str, tz: str | None, after: str | None, count: int, name: str, as_json: bool
) -> None:
    from jobd.cli.words import in_words, upcoming
    from jobd.schedule import ScheduleError

    zone_name = tz or _local_zone()
    try:
        zone = ZoneInfo(zone_name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise click.BadParameter(f"there is no time zone {zone_name!r}") from None
    try:
        begin = datetime.fromisoformat(after.replace("Z", "+00:00")) if after else datetime.now(zone)
    except ValueError:
        raise click.BadParameter(f"--after {after!r}: a time such as 2026-12-24T18:00 is expected") from None
    begin = begin if begin.tzinfo else begin.replace(tzinfo=zone)
    try:
        times = upcoming(text, zone_name, name, begin, count)
        words = in_words(text, name)
    except ScheduleError as error:
        raise Failed(str(error)) from None
    if as_json:
        print_json(
            {
                "schedule": text,
                "timezone": zone_name,
                "words": words,
                "times": [time.isoformat() for time in times],
            }
        )
        return
    if words:
        click.echo(click.style(words, bold=True))
    for time in times:
        click.echo(
            f"{time:%a %Y-%m-%d %H:%M:%S %z} {time.tzname()}  {relative(time, begin if after else now())}"
        )
    if not times and not text.strip().lower().startswith("@reboot"):
        raise Failed(f"{text} has no time later than {begin:%Y-%m-%d %H:%M}")


def _local_zone() -> str:
    import tzlocal

    return str(tzlocal.get_localzone_name())


def _of_job(session: Session, name: str, count: int, as_json: bool) -> None:
    lines = session.call(lambda daemon: daemon.text(f"/jobs/{name}/next")).splitlines()[:count]
    if as_json:
        print_json([rfc3339(line) for line in lines])
    else:
        click.echo("".join(line + "\n" for line in lines), nl=False)


def _all_jobs(session: Session, count: int, as_json: bool) -> None:
    async def work(daemon: Daemon) -> list[tuple[datetime, str]]:
        names = await daemon.names()
        texts = await daemon.read_many([f"/jobs/{name}/status" for name in names], "reading jobs")
        found = []
        for name, text in zip(names, texts, strict=True):
            if isinstance(text, str) and (when := instant(attributes(text).get("next"))):
                found.append((when, name))
        return sorted(found)[:count]

    found = session.call(work)
    if as_json:
        print_json([{"name": name, "next": when.isoformat()} for when, name in found])
    elif found:
        moment = now()
        rows = [
            (name, f"{when.astimezone():%a %Y-%m-%d %H:%M:%S %Z}", relative(when, moment))
            for when, name in found
        ]
        table(("NAME", "NEXT", ""), rows)


COMMANDS: tuple[Any, ...] = (next_times,)
