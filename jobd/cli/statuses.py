"""Exit statuses, and the errors that end jobctl with one sentence on stderr.

0 is success, 2 wrong usage (click's own), 130 an interrupt; the others are named here.
"""

from __future__ import annotations

import errno
from typing import IO, Any

import click

FAILED = 1
"""It was refused, or only a part of it was done."""
NOT_FOUND = 3
"""There is no such job, run or file."""
NO_DAEMON = 4
"""No daemon could be reached, it let nobody in, or the connection was lost."""
TIMED_OUT = 124
"""Of `run --wait`: the run took longer than its timeout, as timeout(1) has it."""
NO_STATUS = 125
"""Of `run --wait`: the run has no status of its own, or jobctl itself failed."""
INTERRUPTED = 130
"""An interrupt, as shells say it."""


class Failed(click.ClickException):
    """Ends jobctl with a sentence and a status."""

    exit_code: int  # type: ignore[misc]  # click reads it of the instance

    def __init__(self, sentence: str, status: int = FAILED) -> None:
        super().__init__(sentence)
        self.exit_code = status

    def show(self, file: IO[Any] | None = None) -> None:
        """Say it on stderr."""
        click.echo(f"jobctl: {self.message}", file=file, err=file is None)


class Lost(Failed):
    """No daemon could be reached, or the connection was lost: later it may be there."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence, NO_DAEMON)


def status_of(number: int) -> int:
    """The exit status for a refusal with the error NUMBER."""
    return NOT_FOUND if number == errno.ENOENT else FAILED
