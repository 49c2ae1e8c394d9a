"""A job's `history`: a line for each run that is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobd.jobs.run import history_line
from jobd.tree.jobnode import HISTORY, LivelyNode
from jobd.tree.texts import Reader, TextNode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jobd.jobs.store import RunRecord


class History(LivelyNode, TextNode):
    """`history`: a line a run, in the order in which they ended."""

    number = HISTORY
    costly = True
    lasting = True

    def text(self) -> bytes:
        return _lines(run for run in self.view.tree.store.runs(self.job.id) if run.outcome is not None)

    def opened(self) -> Any:
        return OpenHistory(self)


class OpenHistory(Reader):
    """`history`, open: runs that end meanwhile show at the end."""

    node: History

    def fix(self) -> None:
        self._text = b""
        self._shown: set[int] = set()
        """Numbers of runs that stand in the text, those up to `_settled` left out."""
        runs = self._runs(after=0)
        self._settled = runs[0].number - 1 if runs else 0
        """All runs up to this number stand in the text, or are kept no more."""
        self._add(runs)

    def part(self, offset: int, count: int) -> bytes:
        if offset + count > len(self._text):
            self._add(self._runs(self._settled))
        return self._text[offset : offset + count]

    def length(self) -> int:
        self._add(self._runs(self._settled))
        return len(self._text)

    def _runs(self, after: int) -> list[RunRecord]:
        return self.node.view.tree.store.runs(self.node.job.id, after)

    def _add(self, runs: list[RunRecord]) -> None:
        """Add those of RUNS that have ended since."""
        ended = [run for run in runs if run.outcome is not None]
        self._text += _lines(run for run in ended if run.number not in self._shown)
        self._shown = {run.number for run in ended}
        # A number that is missing may still come: its run waits in line.
        while self._settled + 1 in self._shown:
            self._settled += 1


def _lines(runs: Iterable[RunRecord]) -> bytes:
    ordered = sorted(runs, key=lambda run: (run.ended or 0, run.number))
    return b"".join(history_line(run).encode() + b"\n" for run in ordered)
