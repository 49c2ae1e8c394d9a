"""Subcommands for any file: cat, write, stat."""

from __future__ import annotations

import stat as unix
import sys
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import click

from jobd.cli.completing import complete_path
from jobd.cli.params import json_option, pass_session
from jobd.cli.reply import clock, print_json

if TYPE_CHECKING:
    from jobd.cli.daemon import Daemon
    from jobd.cli.session import Session
    from jobd.ninep.stat import Stat


@click.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, shell_complete=complete_path)
@pass_session
def cat(session: Session, paths: tuple[str, ...]) -> None:
    """Print files as they are.

    For example: jobctl cat jobs/backup/options. Of a directory the names in it are printed.
    """
    stdout = sys.stdout.buffer

    async def work(daemon: Daemon) -> None:
        for path in paths:
            if _is_directory(await daemon.stat(path)):
                stdout.write("".join(f"{stat.name}\n" for stat in await daemon.listing(path)).encode())
            else:
                stdout.write(await daemon.read(path))
            stdout.flush()

    session.call(work)


@click.command()
@click.argument("path", shell_complete=complete_path)
@click.argument("text", required=False)
@pass_session
def write(session: Session, path: str, text: str | None) -> None:
    """Write TEXT, or standard input, to a file.

    It is one message, where it fits into one.
    """
    data = sys.stdin.buffer.read() if text is None else text.encode()
    session.call(lambda daemon: daemon.write(path, data))


@click.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, shell_complete=complete_path)
@json_option
@pass_session
def stat(session: Session, paths: tuple[str, ...], as_json: bool) -> None:
    """Print the attributes of files.

    They are mode, owner, group, length, time of the last change, and path.
    """

    async def work(daemon: Daemon) -> list[Stat]:
        return [await daemon.stat(path) for path in paths]

    found = session.call(work)
    if as_json:
        print_json([_facts(path, stat) for path, stat in zip(paths, found, strict=True)])
        return
    for path, each in zip(paths, found, strict=True):
        click.echo(f"{_mode(each)} {each.uid} {each.gid} {each.length} {clock(_changed(each))} {path}")


def _facts(path: str, stat: Stat) -> dict[str, Any]:
    return {
        "path": path,
        "mode": _mode(stat),
        "owner": stat.uid,
        "group": stat.gid,
        "length": stat.length,
        "mtime": _changed(stat).isoformat(),
        "qid": {"type": stat.qid.type, "version": stat.qid.version, "path": stat.qid.path},
    }


def _changed(stat: Stat) -> datetime:
    return datetime.fromtimestamp(stat.mtime, timezone.utc)


def _is_directory(stat: Stat) -> bool:
    from jobd.ninep.interfaces import DMDIR

    return bool(stat.mode & DMDIR)


def _mode(stat: Stat) -> str:
    """As ls(1) shows it."""
    return unix.filemode(stat.mode & 0o7777 | (unix.S_IFDIR if _is_directory(stat) else unix.S_IFREG))


COMMANDS: tuple[Any, ...] = (cat, write, stat)
