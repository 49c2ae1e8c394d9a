"""`on-failure`: the command of a job that is run when its last attempt failed, was lost or missed.

It runs as the owner, where and how the job runs, and its environment tells what happened.  What it prints
comes into the job's log.  It is no run: it has no number, no place among `--max-runs` and no history, and
nothing follows from its own failure but a line in the log and in `/events`.
"""

from __future__ import annotations

import secrets
from collections import deque
from typing import TYPE_CHECKING, Any

from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from jobd.jobs.attempts import LAST_OUTPUT
from jobd.jobs.errors import JobError
from jobd.jobs.launch import spawn
from jobd.jobs.output import LineStamper, PipeReader, make_pipe
from jobd.jobs.run import FAILED, LOST, MISSED, TIMEOUT, FailedRun, signal_name

if TYPE_CHECKING:
    from jobd.jobs.clock import Alarms, IClock
    from jobd.jobs.groups import Identity
    from jobd.jobs.job import Job
    from jobd.jobs.journal import Journal
    from jobd.jobs.launch import Launcher, Spawner
    from jobd.jobs.proctable import ProcessTable

LONGEST = 60.0
"""Seconds after which it is ended, with all that it has started."""
AT_A_TIME = 16
"""How many of them run at a time; the others wait in order."""

CAUSES = frozenset((FAILED, TIMEOUT, LOST, MISSED))
"""The outcomes that it is for. What somebody ended, replaced or skipped has not failed."""


class OnFailure:
    """Runs the `on-failure` commands of all jobs."""

    log = Logger()

    def __init__(
        self,
        *,
        clock: IClock,
        alarms: Alarms,
        reactor: Any,
        journal: Journal,
        launcher: Launcher,
        spawner: Spawner,
        processes: ProcessTable,
    ) -> None:
        self._clock = clock
        self._alarms = alarms
        self._reactor = reactor
        self._journal = journal
        self._launcher = launcher
        self._spawner = spawner
        self._processes = processes
        self._waiting: deque[tuple[Job, str, FailedRun]] = deque()
        self._running: set[_Command] = set()
        self._stopped = False

    def tell(self, job: Job, failed: FailedRun) -> None:
        """FAILED, a run of JOB or a gap in its runs, has this outcome for good."""
        if job.options.on_failure and failed.outcome in CAUSES:
            self._waiting.append((job, job.owner, failed))
            self._start_next()

    def stop(self) -> None:
        """Start no more; those that run go on, and nobody minds them."""
        self._stopped = True
        self._waiting.clear()
        for command in self._running:
            command.let_go()

    def _start_next(self) -> None:
        while self._waiting and len(self._running) < AT_A_TIME and not self._stopped:
            job, owner, failed = self._waiting.popleft()
            # What one owner asked for never runs as the next.
            if job.removed or job.owner != owner or not job.options.on_failure:
                continue
            command = _Command(self, job, failed)
            self._running.add(command)
            try:
                self._spawn(command)
            except Exception as error:
                if not isinstance(error, (OSError, JobError)):
                    self.log.failure("on-failure of {job}", job=job.name)
                self._over(command, f"not started: {error}")

    def _spawn(self, running: _Command) -> None:
        command = self._launcher.on_failure(running.job, running.failed, running.run_id)
        reader, writer = make_pipe()
        running.reader = PipeReader(self._reactor, reader, lambda data: self._printed(running, data))
        process = spawn(self._spawner, command, running, writer)
        self._processes.began(running.run_id, process.pid)
        running.identity = self._processes.identify(process.pid)
        running.alarm = self._alarms.after(LONGEST, self._time_is_up, running)

    def _printed(self, command: _Command, data: bytes) -> None:
        lines = command.stamper.feed(data, self._clock.now_ns())
        if lines and not command.job.removed:
            self._journal.log_of(command.job).append(lines)

    def _time_is_up(self, command: _Command) -> None:
        command.alarm = None
        command.late = True
        if command.identity is not None:
            self._processes.end_all(command.identity, command.run_id)

    def exited(self, command: _Command, status: Any) -> None:
        """The process of COMMAND has ended: with STATUS, a `ProcessDone` or `ProcessTerminated`."""
        if command.late:
            how = f"it took longer than {LONGEST:g}s"
        elif status.signal is not None:
            how = f"killed by {signal_name(status.signal)}"
        else:
            how = f"exit status {status.exitCode}" if status.exitCode else ""
        if not command.late:
            self._processes.done(command.run_id)
        self._over(command, how)

    def _over(self, command: _Command, how: str) -> None:
        if command.reader is not None:
            command.reader.drain(LAST_OUTPUT)
            command.reader.close()
        job = command.job
        rest = command.stamper.end(self._clock.now_ns())
        command.let_go()
        self._running.discard(command)
        if not job.removed:
            if rest:
                self._journal.log_of(job).append(rest)
            if how:
                self._journal.on_failure_failed(job, command.failed.number, how)
        # Not at once: many that can't be started would call each other.
        if self._waiting:
            self._clock.call_later(0, self._start_next)


class _Command(ProcessProtocol):
    """One `on-failure` command, from its place in line to its end."""

    def __init__(self, owner: OnFailure, job: Job, failed: FailedRun) -> None:
        self._owner: OnFailure | None = owner
        self.job = job
        self.failed = failed
        self.run_id = secrets.token_hex(16)
        """The mark of what it starts, as a run has one."""
        self.identity: Identity | None = None
        self.reader: PipeReader | None = None
        self.stamper = LineStamper()
        self.alarm: Any = None
        self.late = False
        """Whether its time was up."""

    def let_go(self) -> None:
        """Hear of it no more."""
        self._owner = None
        if self.alarm is not None:
            self.alarm.cancel()
        if self.reader is not None:
            self.reader.close()

    def processExited(self, reason: Failure) -> None:
        if self._owner is not None:
            self._owner.exited(self, reason.value)
