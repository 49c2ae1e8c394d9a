"""What the files of a job share: the job, and attributes that follow from its own."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from jobd.ninep.errors import NinepError
from jobd.tree.nodes import READ, Rights, TreeNode
from jobd.tree.view import View

if TYPE_CHECKING:
    from jobd.jobs.job import Job

# The numbers of files in a job's qid paths. They are never given to another file.
DIRECTORY, CTL, CMD, SCHEDULE, LOG, OPTIONS, STATUS, NEXT, HISTORY, RUNS = range(10)
RUN, RUN_OUTPUT, RUN_STATUS, RUN_ENVIRONMENT, RUN_WAIT = range(10, 15)


class JobNode(TreeNode):
    """A file of a job."""

    number = DIRECTORY
    mode = 0o444
    private = False
    """Whether it is the owner's unless the mode of the directory lets group or others read."""
    _checked: tuple[int, str, str] | None = None
    """The rights that gave leave to read it."""

    def __init__(self, parent: Any, name: str, view: View) -> None:
        super().__init__(parent, name, view)
        self.job: Job = parent.job

    def rights(self) -> Rights:
        job = self.job
        if job.removed:
            raise NinepError(errno.ENOENT, f"there is no job {job.name} any more")
        mode = self.mode
        if self.private:
            mode &= 0o700 | (0o070 if job.mode & 0o040 else 0) | (0o007 if job.mode & 0o004 else 0)
        return mode, job.owner, job.group

    def recheck(self) -> None:
        job = self.job
        rights = job.mode, job.owner, job.group
        if rights != self._checked:
            self.check(READ)
            self._checked = rights

    def changed(self) -> int:
        return self.job.changed

    def version(self) -> int:
        return self.job.version

    def qid_path(self) -> int:
        # The number of a run comes between: see `RunNode`.
        return self.job.id << 36 | self.number


class LivelyNode(JobNode):
    """A file that changes with the job's runs, too."""

    def changed(self) -> int:
        return self.view.tree.stirred(self.job)

    def version(self) -> int:
        job = self.job
        return job.version + job.last_run + job.ended
