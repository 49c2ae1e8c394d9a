"""`runs/`: a directory for each run of a job."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from jobd.jobs.run import environment_text, history_line, status_text
from jobd.ninep.errors import NinepError
from jobd.ninep.files import OpenFile
from jobd.ninep.interfaces import Entry
from jobd.tree.growing import GrowingNode
from jobd.tree.jobnode import (
    RUN,
    RUN_ENVIRONMENT,
    RUN_OUTPUT,
    RUN_STATUS,
    RUN_WAIT,
    RUNS,
    JobNode,
    LivelyNode,
)
from jobd.tree.nodes import SEARCH, DirectoryNode, FixedDirectory
from jobd.tree.texts import TextNode
from jobd.tree.view import View

if TYPE_CHECKING:
    from jobd.jobs.store import RunRecord

LISTED = 64
"""Runs that are taken from the store at a time."""


class RunsDirectory(DirectoryNode, LivelyNode):
    """The runs that are kept, by number."""

    number = RUNS
    mode = 0o555
    private = True

    def walk(self, name: str) -> Any:
        self.check(SEARCH)
        number = int(name) if name.isascii() and name.isdigit() and len(name) < 10 and name[0] != "0" else 0
        if not number or self.view.tree.store.run(self.job.id, number) is None:
            raise NinepError(errno.ENOENT, f"there is no run {name} of {self.job.name}, or none any more")
        return RunDirectory(self, name, self.view, number)

    def entries(self, after: int) -> Iterable[Entry]:
        while records := self.view.tree.store.runs(self.job.id, after, LISTED):
            for record in records:
                after = record.number
                yield Entry(after, RunDirectory(self, str(after), self.view, after))


class RunNode(JobNode):
    """What the files of a run share."""

    private = True

    def __init__(self, parent: Any, name: str, view: View) -> None:
        super().__init__(parent, name, view)
        self.run_number: int = parent.run_number

    def record(self) -> RunRecord:
        """The run as it stands on disk; ENOENT where it is not kept any more."""
        record = self.view.tree.store.run(self.job.id, self.run_number)
        if record is None:
            raise NinepError(errno.ENOENT, f"run {self.run_number} of {self.job.name} is not kept any more")
        return record

    def check(self, wanted: int) -> None:
        self.record()
        super().check(wanted)

    def changed(self) -> int:
        record = self.record()
        return record.ended or record.started or self.job.changed

    def version(self) -> int:
        """Begins, starts, and ends."""
        record = self.record()
        return 2 if record.outcome is not None else 1 if record.started else 0

    def qid_path(self) -> int:
        return self.job.id << 36 | self.run_number << 8 | self.number


class Output(GrowingNode, RunNode):
    """`output`: what it printed, its head and its tail."""

    number = RUN_OUTPUT
    _log: Any = None

    def log(self) -> Any:
        if self._log is None:
            self._log = self.view.tree.journal.output_of(self.job, self.run_number)
        return self._log

    def changed(self) -> int:
        return max(super().changed(), self.log().mtime or 0)


class RunStatus(RunNode, TextNode):
    """`status`: how it stands, or ended."""

    number = RUN_STATUS

    def text(self) -> bytes:
        return status_text(self.record()).encode()


class Environment(RunNode, TextNode):
    """`env`: the argv, directory and environment it was started with."""

    number = RUN_ENVIRONMENT

    def text(self) -> bytes:
        return environment_text(self.record()).encode()


class Wait(RunNode):
    """`wait`: blocks while the run is in progress, then gives its history line."""

    number = RUN_WAIT

    def opened(self) -> Any:
        return OpenWait(self)


class OpenWait(OpenFile):
    """`wait`, open."""

    def __init__(self, node: Wait) -> None:
        self._node = node

    def read(self, offset: int, count: int) -> Any:
        def line(_: object) -> bytes:
            record = node.record()
            if record.outcome is None:
                raise NinepError(errno.EIO, "the run has ended, but the disk took no record of its outcome")
            return (history_line(record).encode() + b"\n")[offset : offset + count]

        node = self._node
        node.recheck()
        waiting = node.view.tree.runner.wait(node.job, node.run_number)
        return line(None) if waiting is None else waiting.addCallback(line)


class RunDirectory(FixedDirectory, RunNode):
    """The directory of a run."""

    number = RUN
    mode = 0o555
    table = {  # noqa: RUF012 - the table of a class, as declared
        "output": Output,
        "status": RunStatus,
        "env": Environment,
        "wait": Wait,
    }

    def __init__(self, parent: RunsDirectory, name: str, view: View, number: int) -> None:
        JobNode.__init__(self, parent, name, view)
        self.run_number = number
