"""The directory of a job, and those of its files that need little."""

from __future__ import annotations

import errno
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from jobd.jobs import options as option_table
from jobd.jobs.errors import JobError
from jobd.jobs.run import LOST, signal_name
from jobd.jobs.texts import attribute_lines, decode, instant
from jobd.ninep.interfaces import DMAPPEND, DMDIR, SetStat
from jobd.tree.command import Command
from jobd.tree.control import Ctl
from jobd.tree.growing import GrowingNode
from jobd.tree.history import History
from jobd.tree.jobnode import LOG, NEXT, OPTIONS, SCHEDULE, STATUS, JobNode, LivelyNode
from jobd.tree.nodes import NANO, FixedDirectory, Rights
from jobd.tree.runs import RunsDirectory
from jobd.tree.texts import MessageNode, TextNode
from jobd.tree.view import View

if TYPE_CHECKING:
    from jobd.jobs.job import Job
    from jobd.jobs.records import Ended

UPCOMING = 10
"""Times in the `next` file."""


def show_time(epoch: int, zone: str) -> str:
    """A time as `schedule` and `next` show it: in the job's zone, as the log does, without a fraction."""
    when = datetime.fromtimestamp(epoch, ZoneInfo(zone))
    return f"{when:%Y-%m-%d %H:%M:%S %z} {when.tzname()}"


class ScheduleFile(LivelyNode, MessageNode):
    """`schedule`: the expression, and while the job is started, when it runs next."""

    number = SCHEDULE
    mode = 0o644

    def text(self) -> bytes:
        job = self.job
        text = job.schedule_text + "\n" if job.schedule_text else ""
        if job.started and job.next is not None:
            text += f"next {show_time(job.next, self.view.tree.table.zone_of(job))}\n"
        return text.encode()

    def message(self, data: bytes) -> Any:
        lines = [line.strip() for line in decode(data, "schedule").splitlines()]
        lines = [line for line in lines if line and line.split()[0] != "next"]
        if len(lines) != 1:
            raise JobError(
                errno.EINVAL, f"schedule: one line with an expression is expected, not {len(lines)}"
            )
        return self.view.tree.table.set_schedule(self.job, lines[0], actor=self.view.actor)


class Options(JobNode, MessageNode):
    """`options`: a line for each."""

    number = OPTIONS
    mode = 0o644
    private = True

    def text(self) -> bytes:
        return option_table.show(self.job.options).encode()

    def message(self, data: bytes) -> Any:
        return self.view.tree.table.set_options(self.job, data, actor=self.view.actor)


class Log(GrowingNode, JobNode):
    """`log`: what was done, and what was printed."""

    number = LOG
    private = True
    type = DMAPPEND >> 24

    def log(self) -> Any:
        return self.view.tree.journal.log_of(self.job)

    def changed(self) -> int:
        return self.log().mtime or self.job.created


class Status(LivelyNode, TextNode):
    """`status`: how the job stands, in `attr=value` lines."""

    number = STATUS
    costly = True

    def text(self) -> bytes:
        job = self.job
        last = self.view.tree.history.last_ended(job)
        pairs: list[tuple[str, object]] = [
            ("state", "started" if job.started else "stopped"),
            ("schedule", job.schedule_text or None),
            ("next", instant(job.next) if job.started else None),
            ("running", len(job.active)),
            ("queued", len(job.queue)),
            ("runs", job.runs_total),
            ("failures", job.failures),
            *(_of_last(last) if last else []),
            ("last-success", None if job.last_success is None else instant(job.last_success / NANO)),
        ]
        return attribute_lines(pairs).encode()


def _of_last(last: Ended) -> list[tuple[str, object]]:
    how = "unknown" if last.outcome == LOST else last.exit
    duration = (last.ended - last.started) / NANO if last.started else None
    return [
        ("last-run", last.number),
        ("last-outcome", last.outcome),
        ("last-exit", how if last.signal is None else signal_name(last.signal)),
        ("last-start", None if last.started is None else instant(last.started / NANO)),
        ("last-duration", None if duration is None else f"{duration:.3f}s"),
    ]


class Next(LivelyNode, TextNode):
    """`next`: the times at which it runs, were it started."""

    number = NEXT
    costly = True

    def text(self) -> bytes:
        tree, job = self.view.tree, self.job
        after, zone, lines = tree.clock.now_ns() // NANO, tree.table.zone_of(job), []
        for _ in range(UPCOMING):
            time = tree.table.next_of(job, after)
            if time is None:
                break
            lines.append(show_time(time, zone) + "\n")
            after = time
        return "".join(lines).encode()


class JobDirectory(FixedDirectory, JobNode):
    """The directory of a job."""

    table = {  # noqa: RUF012 - the table of a class, as declared
        "ctl": Ctl,
        "cmd": Command,
        "schedule": ScheduleFile,
        "log": Log,
        "options": Options,
        "status": Status,
        "next": Next,
        "history": History,
        "runs": RunsDirectory,
    }

    def __init__(self, parent: Any, view: View, job: Job) -> None:
        self.parent = parent
        self.view = view
        self.job = job

    @property
    def name(self) -> str:  # type: ignore[override]
        """What the job is called now: a fid stays with its job over a rename."""
        return self.job.name

    def rights(self) -> Rights:
        _, owner, group = super().rights()
        return self.job.mode, owner, group

    def remove(self) -> Any:
        return self.view.change(
            self.path, lambda: self.view.tree.table.remove(self.job, actor=self.view.actor)
        )

    def rename(self, directory: Any, name: str) -> Any:
        if directory.qid_path() != self.parent.qid_path():
            self.refuse("a job stays in /jobs, whatever it is called")
        return self.view.change(
            self.path, lambda: self.view.tree.table.rename(self.job, name, actor=self.view.actor)
        )

    def set_stat(self, changes: SetStat) -> Any:
        return self.view.change(self.path, lambda: self._set_stat(changes))

    def _set_stat(self, changes: SetStat) -> Any:
        now, accounts = self.stat(), self.view.tree.accounts
        columns: dict[str, int | str] = {}
        if changes.length not in (None, 0):
            raise JobError(errno.EISDIR, "a directory has no length")
        if changes.mode is not None and changes.mode & ~DMDIR != now.mode & ~DMDIR:
            if changes.mode & ~(DMDIR | 0o777):
                raise JobError(errno.EINVAL, "a job's directory has no setuid, setgid or sticky bit")
            columns["mode"] = changes.mode & 0o777
        if changes.uid not in (None, now.uid, now.n_uid):
            columns["owner"] = accounts.user_name(changes.uid)
        if changes.gid not in (None, now.gid, now.n_gid):
            columns["group"] = accounts.group_name(changes.gid)
        self.view.tree.access.check_attributes(self.view.user, columns)
        if changes.name not in (None, self.name):
            if columns:
                raise JobError(errno.EINVAL, "a new name and other attributes can't be set at once")
            return self.view.tree.table.rename(self.job, changes.name, actor=self.view.actor)
        return self.view.tree.table.set_access(self.job, actor=self.view.actor, **columns)
