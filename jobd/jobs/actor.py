"""Who asks for a change."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobd.jobs.job import Job


class Actor(str):
    """Who asks for a change, in words, and what they may do.  A plain `str` may change every job.

    It is asked when the change has its turn: a job may have been given to somebody else while the change
    waited, and what is written to it would then run as that user.
    """

    __slots__ = ("check",)

    def __new__(cls, words: str, check: Callable[[Job], object]) -> Actor:
        """CHECK raises JobError where they may not change a job."""
        actor = super().__new__(cls, words)
        actor.check = check
        return actor

    check: Callable[[Job], object]
