"""The directory of a job, and its files."""

from __future__ import annotations

import errno
import signal
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from twisted.internet.defer import Deferred

from jobd.jobs import options as option_table
from jobd.jobs.errors import JobError
from jobd.jobs.run import LOST, history_line, signal_name
from jobd.jobs.texts import attributes, check_command, decode, instant, shorten, without_newline
from jobd.ninep.errors import NinepError
from jobd.ninep.files import OpenFile
from jobd.ninep.interfaces import DMAPPEND, SetStat
from jobd.tree.growing import GrowingNode, OpenLog
from jobd.tree.nodes import (
    NANO,
    Attributes,
    FixedDirectory,
    MessageNode,
    OpenMessages,
    OpenText,
    TextNode,
    TreeNode,
    View,
    private_mode,
)
from jobd.tree.runs import RunsDirectory

if TYPE_CHECKING:
    from jobd.jobs.job import Job
    from jobd.jobs.store import RunRecord

UPCOMING = 10
"""Times in the `next` file."""

# The numbers of files in a job's qid paths.
DIRECTORY, CTL, CMD, SCHEDULE, LOG, OPTIONS, STATUS, NEXT, HISTORY, RUNS = range(10)


def show_time(epoch: int, zone: str) -> str:
    """A time as `schedule` and `next` show it: in the job's zone, as the log does, without a fraction."""
    when = datetime.fromtimestamp(epoch, ZoneInfo(zone))
    return f"{when:%Y-%m-%d %H:%M:%S %z} {when.tzname()}"


class _OfJob(TreeNode):
    """What the files of a job share: the job, and attributes that follow from its own."""

    number = DIRECTORY
    mode = 0o444
    private = False
    """Whether it is the owner's unless the mode of the directory lets others read."""

    def __init__(self, parent: Any, name: str, view: View) -> None:
        super().__init__(parent, name, view)
        self.job: Job = parent.job

    def attributes(self) -> Attributes:
        job = self.job
        mode = private_mode(job, self.mode) if self.private else self.mode
        return Attributes(mode, job.owner, job.group, self.changed() / NANO)

    def changed(self) -> int:
        """When it last changed, in nanoseconds."""
        return self.job.changed

    def version(self) -> int:
        return self.job.version

    def qid_path(self) -> int:
        return self.job.qid_path(self.number)

    def walk(self, name: str) -> Any:
        raise NinepError(errno.ENOTDIR)


class Ctl(_OfJob, MessageNode):
    """`ctl`: the state, and what to do."""

    number = CTL
    mode = 0o644

    def text(self) -> bytes:
        return b"started\n" if self.job.started else b"stopped\n"

    def opened(self, mode: int) -> Any:
        return OpenCtl(self)

    def message(self, data: bytes) -> Any:
        """Do what DATA says; a Deferred of a number for `run`."""
        words = decode(data, "ctl").split()
        table, job, actor = self.view.tree.table, self.job, self.view.actor
        verb = words[0].lower() if words else ""
        if verb == "kill" and len(words) <= 2:
            return table.kill(job, signal_number(words[1]) if len(words) == 2 else None, actor=actor)
        if len(words) == 1 and verb in ("start", "stop", "run"):
            return {"start": table.start, "stop": table.stop, "run": table.run}[verb](job, actor=actor)
        said = shorten(data.decode("utf-8", "replace").strip())
        raise JobError(errno.EINVAL, f"ctl: {said} is not start, stop, run or kill [SIGNAL]")


def signal_number(text: str) -> int:
    """The signal that TEXT names: `TERM`, `SIGTERM` or `15`; JobError where there is none."""
    try:
        if text.isascii() and text.isdigit():
            return signal.Signals(int(text)).value
        return signal.Signals["SIG" + text.upper().removeprefix("SIG")].value
    except (KeyError, ValueError):
        raise JobError(errno.EINVAL, f"ctl: there is no signal {shorten(text)}") from None


class OpenCtl(OpenMessages):
    """`ctl`, open: a `run` written to it is answered by the next read."""

    _answers: list[bytes]

    def __init__(self, node: Ctl) -> None:
        super().__init__(node)
        self._answers = []

    def read(self, offset: int, count: int) -> Any:
        if self._answers:
            return self._answers.pop(0)[:count]
        return super().read(offset, count)

    def write(self, offset: int, data: bytes) -> Any:
        def change() -> Any:
            done = self.node.message(data)
            if isinstance(done, Deferred):
                done.addCallback(self._started)
            return done

        return self.node.view.change(self.node.path, change, len(data))

    def _started(self, number: int | None) -> None:
        if number is not None:
            self._answers = [f"{number}\n".encode(), b""]


class Command(_OfJob, TextNode):
    """`cmd`: the command."""

    number = CMD
    mode = 0o644
    private = True

    def text(self) -> bytes:
        return self.job.command.encode() + b"\n"

    def opened(self, mode: int) -> Any:
        return OpenCommand(self)


class OpenCommand(OpenText):
    """`cmd`, open: what is written takes effect at the clunk.

    The first Twrite is at 0 and replaces the command, or at its length and goes on from it; each further
    one follows the last.
    """

    node: Command

    def __init__(self, node: Command) -> None:
        super().__init__(node)
        self._draft: bytes | None = None

    def write(self, offset: int, data: bytes) -> Any:
        return self.node.view.change(self.node.path, lambda: self._write(offset, data), len(data))

    def _write(self, offset: int, data: bytes) -> Any:
        draft = self._draft
        if draft is None:
            draft = self.node.text() if offset else b""
        if offset != len(draft):
            raise JobError(
                errno.EINVAL,
                f"cmd: a write at {offset} does not follow what is there; {len(draft)} was expected",
            )
        draft += data
        # A character may be cut in two where one write ends and the next begins.
        whole = draft.decode("utf-8", "ignore").encode()
        text = decode(draft[: len(whole)] if len(draft) - len(whole) < 4 else draft, "cmd")
        stored = self.node.view.tree.table.put_draft(self.node.job, check_command(text))

        def keep(_: object) -> None:
            self._draft = draft

        return stored.addCallback(keep)

    def close(self, clunked: bool) -> Any:
        if self._draft is None:
            return None
        table, job = self.node.view.tree.table, self.node.job
        if not clunked:
            return table.drop_draft(job)

        def change() -> Any:
            command = without_newline(decode(self._draft or b"", "cmd"))
            return table.set_command(job, command, actor=self.node.view.actor)

        return self.node.view.change(self.node.path, change)


class ScheduleFile(_OfJob, MessageNode):
    """`schedule`: the expression, and while the job is started, when it runs next."""

    number = SCHEDULE
    mode = 0o644

    def text(self) -> bytes:
        job = self.job
        text = job.schedule_text + "\n"
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


class Options(_OfJob, MessageNode):
    """`options`: a line for each."""

    number = OPTIONS
    mode = 0o644
    private = True

    def text(self) -> bytes:
        return option_table.show(self.job.options).encode()

    def message(self, data: bytes) -> Any:
        return self.view.tree.table.set_options(self.job, data, actor=self.view.actor)


class Log(_OfJob, GrowingNode):
    """`log`: what was done, and what was printed."""

    number = LOG
    private = True
    type = DMAPPEND >> 24

    def log(self) -> Any:
        return self.view.tree.journal.log_of(self.job)

    def changed(self) -> int:
        return self.log().mtime or self.job.changed


class Status(_OfJob, TextNode):
    """`status`: how the job stands, in `attr=value` lines."""

    number = STATUS
    costly = True

    def text(self) -> bytes:
        job = self.job
        last = self.view.tree.last_ended(job)
        pairs: list[tuple[str, object]] = [
            ("state", "started" if job.started else "stopped"),
            ("next", instant(job.next) if job.started else None),
            ("running", len(job.active)),
            ("queued", len(job.queue)),
            ("runs", job.runs_total),
            ("failures", job.failures),
            *(_of_last(last) if last else []),
            ("last-success", None if job.last_success is None else instant(job.last_success / NANO)),
        ]
        return "".join(attributes([pair]) + "\n" for pair in pairs if pair[1] is not None).encode()


def _of_last(last: RunRecord) -> list[tuple[str, object]]:
    how = "unknown" if last.outcome == LOST else last.exit
    duration = (last.ended - last.started) / NANO if last.ended and last.started else None
    return [
        ("last-run", last.number),
        ("last-outcome", last.outcome),
        ("last-exit", how if last.signal is None else signal_name(last.signal)),
        ("last-start", None if last.started is None else instant(last.started / NANO)),
        ("last-duration", None if duration is None else f"{duration:.3f}s"),
    ]


class Next(_OfJob, TextNode):
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


class History(_OfJob, TextNode):
    """`history`: a line a run, in the order in which they ended."""

    number = HISTORY
    costly = True

    def version(self) -> int:
        return self.job.ended

    def ended_runs(self) -> list[RunRecord]:
        """The runs with an outcome, in the order in which they got it."""
        runs = [run for run in self.view.tree.store.runs(self.job.id) if run.outcome is not None]
        return sorted(runs, key=lambda run: (run.ended or 0, run.number))

    def text(self) -> bytes:
        return b"".join(history_line(run).encode() + b"\n" for run in self.ended_runs())

    def opened(self, mode: int) -> Any:
        return OpenHistory(self)


class OpenHistory(OpenFile):
    """`history`, open: runs that end meanwhile show at the end."""

    def __init__(self, node: History) -> None:
        self._node = node
        self._text: bytes | None = None
        self._seen: set[int] = set()
        self._version = -1

    def read(self, offset: int, count: int) -> Any:
        if self._text is None or offset == 0:
            self._text, self._seen, self._version = b"", set(), -1
        if offset + count > len(self._text) and self._version != self._node.version():
            self._version = self._node.version()
            new = [run for run in self._node.ended_runs() if run.number not in self._seen]
            self._seen.update(run.number for run in new)
            self._text += b"".join(history_line(run).encode() + b"\n" for run in new)
        return self._text[offset : offset + count]


class JobDirectory(FixedDirectory, _OfJob):
    """The directory of a job."""

    number = DIRECTORY

    def __init__(self, parent: Any, view: View, job: Job) -> None:
        self.job = job
        TreeNode.__init__(self, parent, job.name, view)

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

    def attributes(self) -> Attributes:
        job = self.job
        return Attributes(job.mode, job.owner, job.group, job.changed / NANO)

    def walk(self, name: str) -> Any:
        if self.job.removed:
            raise NinepError(errno.ENOENT, f"there is no job {self.job.name} any more")
        return FixedDirectory.walk(self, name)

    def entries(self, after: int) -> Iterable[Any]:
        return () if self.job.removed else FixedDirectory.entries(self, after)

    def remove(self) -> Any:
        return self.view.change(
            self.path, lambda: self.view.tree.table.remove(self.job, actor=self.view.actor)
        )

    def rename(self, directory: Any, name: str) -> Any:
        if directory.qid != self.parent.qid:
            self.refuse("a job can only be renamed in /jobs", errno.EXDEV)
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
        if changes.mode is not None and changes.mode & 0o7777 != now.mode & 0o7777:
            if changes.mode & 0o7000:
                raise JobError(errno.EINVAL, "a job's directory has no setuid, setgid or sticky bit")
            columns["mode"] = changes.mode & 0o777
        if changes.uid is not None and changes.uid not in (now.uid, now.n_uid):
            columns["owner"] = accounts.user_name(changes.uid)
        if changes.gid is not None and changes.gid not in (now.gid, now.n_gid):
            columns["group"] = accounts.group_name(changes.gid)
        self.view.tree.access.check_attributes(self.view.user, self.job.owner, columns)
        if changes.name is not None and changes.name != self.name:
            if columns:
                raise JobError(errno.EINVAL, "a new name and other attributes can't be set at once")
            return self.view.tree.table.rename(self.job, changes.name, actor=self.view.actor)
        return self.view.tree.table.set_access(self.job, actor=self.view.actor, **columns)


__all__ = ["JobDirectory", "OpenLog"]
