"""The subcommand backup: the one that works on the daemon's directory, and needs no daemon."""

from __future__ import annotations

import click

from jobd.cli.statuses import Failed


@click.command()
@click.option(
    "--dbdir", type=click.Path(), help="That of the daemon; by default where jobd keeps it for this user."
)
@click.argument("target", type=click.Path())
def backup(dbdir: str | None, target: str) -> None:
    """Copy all there is to a new directory.

    Jobs, history and output go to TARGET, which must not be there yet: on the daemon's machine, as its user
    or root, whether it runs or not. A jobd can be started on the copy.
    """
    from jobd.jobs.backup import back_up
    from jobd.jobs.store_errors import StoreError
    from jobd.tap import default_directory

    try:
        back_up(dbdir or default_directory(), target)
    except StoreError as error:
        raise Failed(str(error)) from None


COMMANDS = (backup,)
