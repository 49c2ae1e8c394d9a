"""What several subcommands take: names of jobs, options of jobs, JSON."""

from __future__ import annotations

from typing import Any

import click

from jobd.cli.completing import complete_job, complete_option
from jobd.cli.session import Session

job_argument = click.argument("name", shell_complete=complete_job)
jobs_argument = click.argument("names", nargs=-1, required=True, shell_complete=complete_job)

pass_session = click.make_pass_decorator(Session)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
follow_option = click.option("-f", "--follow", is_flag=True, help="Go on with what is added.")
first_lines_option = click.option(
    "-n", "--lines", type=click.IntRange(0), help="Begin with the last N lines."
)


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
    shell_complete=complete_option,
    callback=_option_lines,
    help="Set an option of the job; may be repeated (-o timeout=5m -o env=LANG=C).",
)
