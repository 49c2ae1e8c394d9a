"""Runs: admitted or skipped, in line, in a slot, tried, tried again, over.

For a due instant, in this order: overlap, jitter, `--max-runs`, intent committed, process started.  (What
the deadline forbids is not handed to us.)  The intent is on disk before the process, so a crash in between
never runs an instant twice.  A run occupies its job from its admission to its last outcome, waits for
retries included.
"""

from __future__ import annotations

import hashlib
import secrets
import signal
from collections import deque
from collections.abc import Callable, Iterable
from errno import EBUSY
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from jobd.jobs import misfire
from jobd.jobs.errors import JobError
from jobd.jobs.groups import Identity
from jobd.jobs.run import (
    FAILED,
    KILLED,
    LOST,
    MISSED,
    NANO,
    OK,
    REPLACED,
    SKIPPED,
    TIMEOUT,
    FailedRun,
    Run,
    signal_name,
)

if TYPE_CHECKING:
    from jobd.jobs.attempts import Attempts
    from jobd.jobs.clock import Alarms, IClock
    from jobd.jobs.history import History
    from jobd.jobs.job import Job
    from jobd.jobs.journal import Journal
    from jobd.jobs.on_failure import OnFailure
    from jobd.jobs.proctable import ProcessTable
    from jobd.jobs.store import RunRecord

RETRY_LIMIT = 3600.0
"""Seconds beyond which the doubling of `retry-delay` stops."""


class Runner:
    """Every run of every job."""

    def __init__(
        self,
        *,
        clock: IClock,
        alarms: Alarms,
        history: History,
        journal: Journal,
        attempts: Attempts,
        on_failure: OnFailure,
        max_runs: int,
        idle: Callable[[Job], object] = lambda _job: None,
    ) -> None:
        """IDLE is told of each job whose last run in progress has ended."""
        self._clock = clock
        self._alarms = alarms
        self._history = history
        self._journal = journal
        self._attempts = attempts
        attempts.ended = self._attempt_ended
        self._on_failure = on_failure
        self._idle = idle
        self._free = max_runs
        self._waiting: deque[Run] = deque()
        self._stopping: Deferred[None] | None = None

    @property
    def running(self) -> dict[str, Run]:
        """Runs with a process or a callable that runs, by run id."""
        return self._attempts.running

    @property
    def waiting(self) -> int:
        """Runs that wait for one of `max_runs` slots."""
        return len(self._waiting)

    # ---- what the scheduler asks for

    def fire(self, job: Job, instant: int) -> None:
        """JOB is due: start a run of it, or record why not."""
        self._place(self._history.new_run(job, instant), self._overlap(job))

    def missed(self, job: Job, after: int, until: int) -> None:
        """Nobody was there between AFTER and UNTIL: make up for it as `catchup` says.

        What still runs does so one after another, oldest first, whatever `overlap` says.
        """
        options = job.options
        next_instant = self._history.unrecorded(job, after)
        plan = misfire.plan(next_instant, after, until, options.catchup, options.deadline)
        number = self._history.next_number(job) if plan.missed else 0
        job.queue += [self._history.new_run(job, instant) for instant in plan.run]
        if plan.missed:
            self._history.gap(job, number, plan.missed)
            self._on_failure.tell(job, FailedRun(number, plan.missed.first, MISSED))
        self._next_in_line(job)

    def holds(self, job: Job, instant: int) -> bool:
        """Whether JOB has a run for INSTANT already, in its history, in progress or in line."""
        waiting = any(run.scheduled == instant for run in (*job.queue, *job.active.values()))
        return waiting or self._history.has_instant(job, instant)

    def fire_at_boot(self, jobs: Iterable[Job]) -> None:
        """The machine was started: those of JOBS that are `@reboot` run."""
        now = self._clock.now_ns() // NANO
        for job in jobs:
            if job.schedule is not None and job.schedule.kind == "reboot":
                job.watermark = now
                self.fire(job, now)

    # ---- what people ask for

    def run_by_hand(self, job: Job, actor: str) -> Deferred[int]:
        """Start a run of JOB now, for ACTOR; its number, once its intent is on disk.

        JobError EBUSY where `overlap` would skip it.
        """
        if self._stopping is not None:
            raise JobError(EBUSY, f"job {job.name}: jobd is stopping, and starts nothing any more")
        verdict = self._overlap(job)
        if verdict == SKIPPED:
            raise JobError(EBUSY, f"job {job.name}: {_busy(job)}, and overlap {_shown(job)} starts no other")
        run = self._history.new_run(job, None)
        self._journal.changed("run", job, actor)
        self._place(run, verdict)
        intent = run.intent or self._intend(run)

        def number(_: None) -> int:
            if run.refusal is not None:
                raise run.refusal
            return run.number

        return intent.addCallback(number)

    def kill(self, job: Job, signum: int | None) -> None:
        """Send SIGNUM to the runs in progress; without one, TERM, and after `grace` KILL to all that is left.

        JobError EBUSY where there is none.
        """
        if not job.active:
            raise JobError(EBUSY, f"job {job.name}: no run is in progress")
        for run in list(job.active.values()):
            if signum is None or signum == signal.SIGKILL:
                self._end(run, KILLED, "by hand", at_once=signum is not None)
            else:
                self._attempts.signal(run, signum)

    def drop_waiting(self, job: Job, why: str) -> None:
        """JOB was stopped: its queued instants and pending retries go, with a history line each."""
        queued, job.queue = job.queue, [run for run in job.queue if run.by_hand]
        for run in queued:
            if not run.by_hand:
                self._give_up(run, SKIPPED, why)
        for run in list(job.active.values()):
            if run.attempt and self._withdraw(run):
                self._finish(run, FAILED, f"no further attempt: {why}")
            elif not run.by_hand and self._withdraw(run):
                self._give_up(run, SKIPPED, why)

    def wait(self, job: Job, number: int) -> Deferred[None] | None:
        """Fires when run NUMBER of JOB has its outcome; None where it has one."""
        run = job.active.get(number) or next((run for run in job.queue if run.number == number), None)
        if run is None:
            return None
        waiter: Deferred[None] = Deferred(run.waiters.remove)
        run.waiters.append(waiter)
        return waiter

    # ---- over restarts

    def adopt(self, jobs: dict[int, Job], records: Iterable[RunRecord], processes: ProcessTable) -> None:
        """Go on with the runs that an earlier daemon left.

        A process that lives is watched.  A run that waited for another attempt still does.  Of any other
        nobody knows what it did: it is lost.
        """
        leaders: dict[str, Identity] | None = None
        for record in records:
            job = jobs[record.job]
            run = Run(job, record.number, record.scheduled, record.run_id)
            run.intent = Deferred()
            run.intent.callback(None)
            run.committed = True
            run.attempt = record.attempts
            run.started = record.started
            job.active[run.number] = run
            identity = None
            if record.pid and record.pid_start and record.boot_id:
                identity = Identity(record.pid, record.pid_start, record.boot_id)
            elif not record.detail:
                # The daemon may have died before it could write down the process that it had started.
                leaders = processes.leaders() if leaders is None else leaders
                identity = leaders.get(record.run_id)
            if identity is not None and processes.alive(identity):
                self._free -= 1
                run.holds_slot = True
                self._attempts.adopt(run, identity)
            elif record.detail and not record.pid and (job.started or run.by_hand):
                self._retry_later(run)
            elif record.detail and not record.pid:
                self._finish(run, FAILED, record.detail)
            else:
                self._finish(run, LOST, _how_lost(record))

    def stop(self, wait: float) -> Deferred[None]:
        """Start nothing any more; fires when no process is left, or after WAIT seconds.

        Processes that are left go on, and `adopt` finds them.  Callables that are left are cancelled, and
        waited for as long as their grace.
        """
        stopped = self._stopping = Deferred()
        if wait and self.running:
            self._alarms.after(wait, self._stopped)
        else:
            self._stopped()
        return stopped

    def _stopped(self) -> None:
        if self._stopping is not None and not self._stopping.called:
            self._on_failure.stop()
            for run in self._attempts.let_go():
                self._not_started(run)
            if not self.running and not self._stopping.called:
                self._stopping.callback(None)

    def _not_started(self, run: Run) -> None:
        """RUN, whose intent is on disk, has no process yet, and now comes the stop."""
        self._finish(run, FAILED if run.attempt else SKIPPED, "jobd was stopped")

    # ---- admission

    def _overlap(self, job: Job) -> str:
        """What `overlap` says of one more run of JOB: start, queue, replace or skipped."""
        policy, busy = job.options.overlap, len(job.active)
        if not busy and not job.queue:
            return "start"
        if policy.name == "allow":
            return "start" if busy < policy.number else SKIPPED
        if policy.name == "queue":
            return "queue" if len(job.queue) < policy.number else SKIPPED
        return "replace" if policy.name == "replace" else SKIPPED

    def _place(self, run: Run, verdict: str) -> None:
        job = run.job
        if verdict == SKIPPED:
            self._history.never_began(run, SKIPPED, _busy(job))
        elif verdict == "queue":
            job.queue.append(run)
        elif verdict == "replace":
            replaced, job.queue = job.queue, [run]
            for queued in replaced:
                self._give_up(queued, REPLACED, f"by run {run.number}")
            for active in list(job.active.values()):
                self._end(active, REPLACED, f"by run {run.number}")
        else:
            self._occupy(run)

    def _next_in_line(self, job: Job) -> None:
        if not job.active:
            if job.queue:
                self._occupy(job.queue.pop(0))
            else:
                self._idle(job)

    def _occupy(self, run: Run) -> None:
        run.job.active[run.number] = run
        jitter = run.job.options.jitter
        if jitter and not run.by_hand:
            share = int.from_bytes(hashlib.sha256(run.job.seed.encode()).digest()[:4], "big") / (1 << 32)
            run.alarm = self._alarms.after(jitter * share, self._queue_for_slot, run)
        else:
            self._queue_for_slot(run)

    def _queue_for_slot(self, run: Run) -> None:
        run.alarm = None
        self._waiting.append(run)
        self._fill_slots()

    def _fill_slots(self) -> None:
        while self._free > 0 and self._waiting and self._stopping is None:
            run = self._waiting.popleft()
            self._free -= 1
            run.holds_slot = True
            if run.attempt:
                self._intend_retry(run)
            elif run.committed:
                self._attempts.start(run)
            elif run.intent is None:
                self._intend(run)

    def _release_slot(self, run: Run) -> None:
        if run.holds_slot:
            run.holds_slot = False
            self._free += 1
            if self._waiting:
                # Not at once: a thousand runs that can't start would call each other.
                self._clock.call_later(0, self._fill_slots)

    def _withdraw(self, run: Run) -> bool:
        """Take back a run that waits for its jitter, its retry or a slot; whether it did."""
        if run.alarm is not None and not run.in_attempt:
            run.cancel_alarms()
            return True
        if run in self._waiting:
            self._waiting.remove(run)
            return True
        return False

    # ---- intent

    def _intend(self, run: Run) -> Deferred[None]:
        run.intent = self._history.intend(run)
        return run.intent.addCallbacks(
            lambda _: self._intended(run), lambda failure: self._not_intended(run, failure)
        )

    def _intended(self, run: Run) -> None:
        run.committed = True
        if self._stopping is not None:
            self._not_started(run)
        elif run.holds_slot:
            self._attempts.start(run)

    def _not_intended(self, run: Run, failure: Failure) -> None:
        run.refusal = failure.value
        self._withdraw(run)
        if run in run.job.queue:
            run.job.queue.remove(run)
        self._history.not_intended(run, failure.getErrorMessage())
        self._leave(run)

    def _intend_retry(self, run: Run) -> None:
        self._history.intend_retry(run).addCallbacks(
            lambda _: self._attempts.start(run),
            lambda failure: self._finish(run, FAILED, f"no further attempt: {failure.getErrorMessage()}"),
        )

    # ---- ends

    def _end(self, run: Run, cause: str, detail: str, *, at_once: bool = False) -> None:
        """End RUN for CAUSE, whether it has a process already or waits for something."""
        if self._withdraw(run):
            self._give_up(run, cause, detail)
        else:
            self._attempts.end(run, cause, detail, at_once=at_once)

    def _attempt_ended(self, run: Run, how: str | None) -> None:
        """`Attempts.ended`: the process of RUN is gone, or never was."""
        self._release_slot(run)
        if run.cause is not None and run.cause != TIMEOUT:
            self._finish(run, run.cause, run.detail)
        elif run.signal is not None and run.signal == run.sent:
            self._finish(run, KILLED, f"by hand with {signal_name(run.signal)}")
        elif run.cause is None and run.exit == 0:
            self._finish(run, OK, "")
        elif how is None:
            self._finish(run, run.cause or LOST, run.detail or "jobd was away when it started")
        elif run.attempt <= run.job.options.retries and (run.job.started or run.by_hand):
            self._retry(run, f"{run.cause} {run.detail}" if run.cause else how)
        else:
            self._finish(run, run.cause or FAILED, run.detail or how)
        if self._stopping is not None and not self.running:
            self._clock.call_later(0, self._stopped)

    def _retry(self, run: Run, how: str) -> None:
        run.cause, run.detail = None, ""
        self._history.will_retry(run, how, self._retry_later(run))

    def _retry_later(self, run: Run) -> float:
        """Have RUN wait for its next attempt; for how many seconds."""
        doubled = run.job.options.retry_delay * 2.0 ** min(run.attempt - 1, 32)
        # A quarter less or more, so that what failed together does not come back together.
        delay = min(RETRY_LIMIT, doubled) * (0.75 + secrets.randbelow(512) / 1024)
        run.alarm = self._alarms.after(delay, self._queue_for_slot, run)
        return delay

    def _give_up(self, run: Run, outcome: str, detail: str) -> None:
        """RUN, which waited, goes no further."""
        if run.intent is None:
            self._history.never_began(run, outcome, detail)
            self._leave(run)
        else:
            # Its record is in the database, or will be in a moment.
            run.intent.addCallback(
                lambda _: self._finish(run, outcome, detail) if run.refusal is None else None
            )

    def _finish(self, run: Run, outcome: str, detail: str) -> None:
        """RUN has its last outcome: record it, then let the next one in."""
        run.cancel_alarms()
        self._release_slot(run)
        self._history.end(run, outcome, detail).addCallback(lambda _: self._finished(run, outcome))

    def _finished(self, run: Run, outcome: str) -> None:
        exit = run.exit if run.signal is None else signal_name(run.signal)
        failed = FailedRun(run.number, run.scheduled, outcome, "" if exit is None else str(exit))
        self._on_failure.tell(run.job, failed)
        self._leave(run)

    def _leave(self, run: Run) -> None:
        """RUN occupies its job no more."""
        job = run.job
        self._release_slot(run)
        job.active.pop(run.number, None)
        self._journal.forget_runs(job)
        waiters, run.waiters = run.waiters, []
        for waiter in waiters:
            waiter.callback(None)
        self._next_in_line(job)


def _how_lost(record: RunRecord) -> str:
    if record.pid:
        return "it ended while jobd was away"
    return "jobd died before its end" if record.started else "jobd died at its start"


def _busy(job: Job) -> str:
    numbers = ", ".join(map(str, job.active))
    return f"run {numbers} is in progress" if len(job.active) < 2 else f"runs {numbers} are in progress"


def _shown(job: Job) -> str:
    policy = job.options.overlap
    return f"{policy.name} {policy.number}" if policy.number else policy.name
