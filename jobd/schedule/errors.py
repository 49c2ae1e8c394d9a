"""The one error of this package."""

from __future__ import annotations

_SHOWN = 40


class ScheduleError(ValueError):
    """A schedule was refused; the text is one sentence: the field, what stands there, what is allowed."""


def quoted(text: str) -> str:
    """`text` as it can stand in a sentence: in quotes, on one line, cut where it is long."""
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")
