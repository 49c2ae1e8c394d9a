"""What a shell completes: names of jobs, paths of files, options of jobs, signals, time zones.

Where no daemon answers, nothing does.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable

import click

from jobd.cli.session import session_of
from jobd.cli.statuses import Failed


def _beginning(incomplete: str, words: Iterable[str]) -> list[str]:
    return sorted(word for word in words if word.startswith(incomplete))


def complete_job(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """The names of jobs."""
    session = context.obj or session_of(context.find_root().params)
    try:
        return _beginning(incomplete, session.call(lambda daemon: daemon.names()))
    except Failed:
        return []


def complete_path(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """The paths of files of jobd; those of directories end in a slash."""
    from jobd.ninep.interfaces import DMDIR

    session = context.obj or session_of(context.find_root().params)
    directory = incomplete[: incomplete.rfind("/") + 1]
    try:
        found = session.call(lambda daemon: daemon.listing(directory))
    except Failed:
        return []
    return _beginning(
        incomplete, (f"{directory}{stat.name}" + ("/" if stat.mode & DMDIR else "") for stat in found)
    )


def complete_option(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """What `-o` begins with."""
    from jobd.jobs.options import KEYS

    return _beginning(incomplete, (f"{key}=" for key in KEYS))


def complete_signal(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """The names of signals."""
    names = (each.name.removeprefix("SIG") for each in signal.Signals)
    return _beginning(incomplete.upper().removeprefix("SIG"), names)


def complete_zone(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """The names of time zones."""
    from zoneinfo import available_timezones

    return _beginning(incomplete, available_timezones())
