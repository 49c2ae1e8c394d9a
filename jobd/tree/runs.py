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
from jobd.tree.nodes import (
    NANO,
    Attributes,
    DirectoryNode,
    FixedDirectory,
    TextNode,
    TreeNode,
    View,
    private_mode,
)

if TYPE_CHECKING:
    from jobd.jobs.job import Job
    from jobd.jobs.store import RunRecord

# The numbers of files in a job's qid paths; those below belong to jobd.tree.job.
RUNS, RUN, OUTPUT, STATUS, ENVIRONMENT, WAIT = range(9, 15)


class RunsDirectory(DirectoryNode):
    """The runs that are kept, by number."""

    def __init__(self, parent: Any, name: str, view: View) -> None:
        super().__init__(parent, name, view)
        self.job: Job = parent.job

    def attributes(self) -> Attributes:
        job = self.job
        return Attributes(private_mode(job, 0o555), job.owner, job.group, job.changed / NANO)

    def version(self) -> int:
        return self.job.last_run

    def qid_path(self) -> int:
        return self.job.qid_path(RUNS)

    def walk(self, name: str) -> Any:
        self.check(1)
        number = int(name) if name.isascii() and name.isdigit() and len(name) < 10 and name[0] != "0" else 0
        record = self.view.tree.store.run(self.job.id, number) if number else None
        if record is None:
            raise NinepError(errno.ENOENT, f"there is no run {name} of {self.job.name}, or none any more")
        return RunDirectory(self, name, self.view, record)

    def entries(self, after: int) -> Iterable[Entry]:
        for record in self.view.tree.store.runs(self.job.id, after):
            yield Entry(record.number, RunDirectory(self, str(record.number), self.view, record))


class _OfRun(TreeNode):
    """What the files of a run share."""

    number = RUN
    mode = 0o444

    def __init__(self, parent: Any, name: str, view: View) -> None:
        super().__init__(parent, name, view)
        self.job: Job = parent.job
        self.run_number: int = parent.run_number

    def record(self) -> RunRecord:
        """The run as it stands on disk."""
        record = self.view.tree.store.run(self.job.id, self.run_number)
        if record is None:
            raise NinepError(errno.ENOENT, f"run {self.run_number} of {self.job.name} is not kept any more")
        return record

    def attributes(self) -> Attributes:
        job, record = self.job, self.record()
        changed = record.ended or record.started or job.changed
        return Attributes(private_mode(job, self.mode), job.owner, job.group, changed / NANO)

    def version(self) -> int:
        return 0 if self.record().outcome is None else 1

    def qid_path(self) -> int:
        return self.job.qid_path(self.number, self.run_number)


class Output(GrowingNode, _OfRun):
    """`output`: what it printed, its head and its tail."""

    number = OUTPUT

    def log(self) -> Any:
        return self.view.tree.journal.output_of(self.job, self.run_number)


class RunStatus(_OfRun, TextNode):
    """`status`: how it stands, or ended."""

    number = STATUS

    def text(self) -> bytes:
        return status_text(self.record()).encode()


class Environment(_OfRun, TextNode):
    """`env`: the argv, directory and environment it was started with."""

    number = ENVIRONMENT

    def text(self) -> bytes:
        return environment_text(self.record()).encode()


class Wait(_OfRun, TextNode):
    """`wait`: blocks while the run is in progress, then gives its history line."""

    number = WAIT

    def length(self) -> int:
        return 0

    def text(self) -> bytes:
        return history_line(self.record()).encode() + b"\n"

    def opened(self, mode: int) -> Any:
        return OpenWait(self)


class OpenWait(OpenFile):
    """`wait`, open."""

    def __init__(self, node: Wait) -> None:
        self._node = node

    def read(self, offset: int, count: int) -> Any:
        node = self._node
        waiting = node.view.tree.runner.wait(node.job, node.run_number)
        if waiting is None:
            return node.text()[offset : offset + count]
        return waiting.addCallback(lambda _: node.text()[offset : offset + count])


class RunDirectory(FixedDirectory, _OfRun):
    """The directory of a run."""

    mode = 0o555
    table = {  # noqa: RUF012 - the table of a class, as declared
        "output": Output,
        "status": RunStatus,
        "env": Environment,
        "wait": Wait,
    }

    def __init__(self, parent: RunsDirectory, name: str, view: View, record: RunRecord) -> None:
        TreeNode.__init__(self, parent, name, view)
        self.job = parent.job
        self.run_number = record.number
