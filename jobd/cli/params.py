"""What several subcommands take: names of jobs (which complete), options of jobs, JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
from click.shell_completion import CompletionItem

from jobd.cli.address import DEFAULT, TlsFiles
from jobd.cli.session import Session
from jobd.cli.statuses import Failed


def session_of(params: Mapping[str, Any]) -> Session:
    """Where the options before the subcommand say that jobd is."""
    files = TlsFiles(*(params.get(name) or "" for name in TLS_OPTIONS))
    address = params.get("addr")
    return Session(DEFAULT if address is None else address, files=files)


TLS_OPTIONS = ("tls_ca", "tls_cert", "tls_key")


def complete_job(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The names of jobs that begin with INCOMPLETE; none where no daemon answers."""
    session = context.obj or session_of(context.find_root().params)
    try:
        names = session.call(lambda daemon: daemon.names())
    except Failed:
        return []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


job_argument = click.argument("name", shell_complete=complete_job)
jobs_argument = click.argument("names", nargs=-1, required=True, shell_complete=complete_job)

pass_session = click.make_pass_decorator(Session)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def _option_lines(_: click.Context, __: click.Parameter, values: Any) -> tuple[str, ...]:
    lines = []
    for value in values:
        key, equals, rest = value.partition("=")
        if not equals or not key.strip() or "\n" in value:
            raise click.BadParameter(f"KEY=VALUE is expected, not {value!r}")
        lines.append(f"{key.strip()} {rest}".strip())
    return tuple(lines)


job_options = click.option(
    "-o",
    "--option",
    "options",
    multiple=True,
    metavar="KEY=VALUE",
    callback=_option_lines,
    help="Set an option of the job; may be repeated (-o timeout=5m -o env=LANG=C).",
)
