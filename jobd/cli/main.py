"""The command `jobctl`."""

from __future__ import annotations

import os

import click

from jobd.cli import backup, changing, exchange, looking, raw, times
from jobd.cli.session import ADDRESS, Session

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


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}, epilog=EPILOG
)
@click.option(
    "--addr",
    envvar="JOBD_ADDR",
    default=ADDRESS,
    show_default=True,
    show_envvar=True,
    metavar="ADDRESS",
    help="Where jobd listens: host:port or unix:PATH.",
)
@click.version_option(package_name="jobd", prog_name="jobctl")
@click.pass_context
def jobctl(context: click.Context, addr: str) -> None:
    """See and change the jobs of a jobd."""
    if os.environ.get("NO_COLOR"):
        context.color = False
    # A test hands in a session of its own.
    context.obj = context.obj or Session(addr)


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
