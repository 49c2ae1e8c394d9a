"""The command `jobctl`."""

from __future__ import annotations

import os
from typing import Any

import click
from click.core import ParameterSource

from jobd.cli import backup, changing, exchange, looking, raw, times
from jobd.cli.address import DEFAULT, is_tls
from jobd.cli.session import TLS_OPTIONS, session_of
from jobd.cli.statuses import INTERRUPTED

EPILOG = """
\b
Exit status:
  0    done
  1    refused, or only a part of it was done
  2    wrong usage
  3    there is no such job, run or file
  4    no daemon could be reached, or it lets you not in
  130  interrupted
"""


class _Jobctl(click.Group):
    """The group of all subcommands."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the one that is wanted: an interrupt is a status of its own."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise SystemExit(INTERRUPTED) from None


@click.group(
    cls=_Jobctl,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog=EPILOG,
)
@click.option(
    "--addr",
    envvar="JOBD_ADDR",
    default=DEFAULT,
    show_default=True,
    show_envvar=True,
    metavar="ADDRESS",
    help="Where jobd listens: host:port, unix:PATH or tls:host:port.",
)
@click.option(
    "--tls-ca",
    envvar="JOBD_TLS_CA",
    show_envvar=True,
    metavar="FILE",
    type=click.Path(),
    help="Who may sign the certificate of a tls: address.  [default: whom this machine trusts]",
)
@click.option(
    "--tls-cert",
    envvar="JOBD_TLS_CERT",
    show_envvar=True,
    metavar="FILE",
    type=click.Path(),
    help="Your certificate.",
)
@click.option(
    "--tls-key",
    envvar="JOBD_TLS_KEY",
    show_envvar=True,
    metavar="FILE",
    type=click.Path(),
    help="Its key, where that is in another file.",
)
@click.version_option(package_name="jobd", prog_name="jobctl")
@click.pass_context
def jobctl(context: click.Context, /, addr: str, **_: str) -> None:
    """See and change the jobs of a jobd."""
    given = [
        name for name in TLS_OPTIONS if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    ]
    if given and not is_tls(addr):
        raise click.UsageError(f"--{given[0].replace('_', '-')} is for a tls: address, and {addr} is none")
    if context.params["tls_key"] and not context.params["tls_cert"]:
        raise click.UsageError("--tls-key is of no use without --tls-cert")
    if os.environ.get("NO_COLOR"):
        context.color = False
    # A test hands in a session of its own.
    context.obj = context.obj or session_of(context.params)


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes a shell complete jobctl.

    Put this where the shell starts: eval "$(jobctl completion bash)"
    """
    from click.shell_completion import get_completion_class

    make = get_completion_class(shell)
    assert make is not None
    click.echo(make(jobctl, {}, "jobctl", "_JOBCTL_COMPLETE").source())


for module in (changing, looking, times, exchange, backup, raw):
    for command in module.COMMANDS:
        jobctl.add_command(command)
jobctl.add_command(completion)


def main() -> None:
    """Run jobctl, and end with its status."""
    jobctl(prog_name="jobctl")
