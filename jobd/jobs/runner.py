"""Runs: admitted or skipped, committed, started, watched, ended, recorded.

For a due instant, in this order: overlap, jitter, `--max-runs`, deadline, intent committed, process
started.  The intent is on disk before the process, so a crash in between never runs an instant twice.
A run occupies its job from its admission to its last outcome, waits for retries included.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import signal
from collections import deque
from collections.abc import Iterable
from errno import EBUSY
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from jobd.jobs import groups, misfire
from jobd.jobs.errors import JobError
from jobd.jobs.job import Job
from jobd.jobs.output import PipeReader, make_pipe, reopen_pipe
from jobd.jobs.run import FAILED, KILLED, LOST, MISSED, NANO, OK, REPLACED, SKIPPED, TIMEOUT, Run, signal_name
from jobd.jobs.store import RunRecord

if TYPE_CHECKING:
    from jobd.jobs.clock import Alarms, IClock
    from jobd.jobs.journal import Journal
    from jobd.jobs.launch import Command, Launcher
    from jobd.jobs.store import Store

LAST_OUTPUT = 1 << 20
"""Bytes of output that are read at once when a process ended: what its pipe can hold."""
RETRY_LIMIT = 3600.0
"""Seconds beyond which the doubling of `retry-delay` stops."""


class Spawner(Protocol):
    """What the runner needs of an `IReactorProcess`."""

    def spawnProcess(self, processProtocol: Any, executable: Any, args: Any, env: Any, **kw: Any) -> Any: ...


class Runner:
    """Every run of every job."""

    log = Logger()

    def __init__(
        self,
        *,
        clock: IClock,
        alarms: Alarms,
        reactor: Any,
        store: Store,
        journal: Journal,
        launcher: Launcher,
        spawner: Spawner,
        max_runs: int,
        boot_id: str,
    ) -> None:
        self._clock = clock
        self._alarms = alarms
        self._reactor = reactor
        self._store = store
        self._journal = journal
        self._launcher = launcher
        self._spawner = spawner
        self._boot_id = boot_id
        self._free = max_runs
        self._waiting: deque[Run] = deque()
        self._stopping = False
        self._idle: Deferred[None] = Deferred()
        self.guard = 0
        """Instants up to this one may stand in the history already: the clock was set back."""
        self.running: dict[str, Run] = {}
        """Runs with a process, by run id."""
        self.ended = dict.fromkeys((OK, FAILED, TIMEOUT, KILLED, REPLACED, SKIPPED, MISSED, LOST), 0)
        """How many runs ended so, since the start."""

    # ---- what the scheduler asks for

    def fire(self, job: Job, instant: int) -> None:
        """JOB is due: start a run of it, or record why not."""
        if instant <= self.guard and self._store.has_instant(job.id, instant):
            return
        self._admit(self._new_run(job, instant))

    def missed(self, job: Job, after: int, until: int) -> None:
        """Nobody was there between AFTER and UNTIL: make up for it as `catchup` says."""
        options = job.options
        after = max(after, self.guard) if after < self.guard <= until else after
        plan = misfire.plan(job.next_after, after, until, options.catchup, options.deadline)
        if plan.missed:
            gap = plan.missed
            self._record(job, MISSED, gap.first, missed_to=gap.last, missed_count=gap.number)
        for instant in plan.run:
            run = self._new_run(job, instant)
            run.patient = True
            self._admit(run)

    @property
    def waiting(self) -> int:
        """Runs that wait for one of `max_runs` places."""
        return len(self._waiting)

    # ---- what people ask for

    def run_by_hand(self, job: Job) -> Deferred[int]:
        """Start a run of JOB now; its number, once its intent is on disk.

        JobError EBUSY where `overlap` would skip it.
        """
        verdict = self._overlap(job)
        if verdict == SKIPPED:
            numbers = ", ".join(map(str, job.active))
            raise JobError(
                EBUSY,
                f"job {job.name}: run {numbers} is in progress, and overlap {_shown(job)} starts no other",
            )
        run = self._new_run(job, None)

        def placed(_: object) -> int:
            self._place(run, verdict)
            return run.number

        return self._commit_intent(run).addCallback(placed)

    def kill(self, job: Job, signum: int | None) -> None:
        """Send SIGNUM to the runs in progress; without one, TERM, and after `grace` KILL to all that is left."""
        if not job.active:
            raise JobError(EBUSY, f"job {job.name}: no run is in progress")
        for run in list(job.active.values()):
            if signum is None:
                self._end(run, KILLED, "by hand")
            elif run.identity is not None:
                if signum == signal.SIGKILL:
                    self._end(run, KILLED, "by hand", at_once=True)
                else:
                    groups.signal_group(run.identity, signum)

    def drop_waiting(self, job: Job, why: str) -> None:
        """JOB was stopped: its queued instants and pending retries go, with a history line each."""
        queued, job.queue = job.queue, []
        for run in queued:
            self._give_up(run, SKIPPED, why)
        for run in list(job.active.values()):
            if run.process is None and run.attempt > 0 and run.alarm is not None:
                run.cancel_alarms()
                self._finish(run, FAILED, f"no further attempt: {why}")
            elif run.process is None and run.attempt == 0 and not run.by_hand and self._withdraw(run):
                self._give_up(run, SKIPPED, why)

    def fire_at_boot(self, jobs: Iterable[Job]) -> None:
        """The machine was started: those of JOBS that are `@reboot` run."""
        now = self._clock.now_ns() // NANO
        for job in jobs:
            if job.schedule is not None and job.schedule.kind == "reboot":
                job.watermark = now
                self.fire(job, now)

    def stop(self, wait: float) -> Deferred[None]:
        """Start nothing any more; fires when no run is in progress, or after WAIT seconds."""
        self._stopping = True
        if not self.running or not wait:
            self._gone()
        else:
            self._alarms.after(wait, self._gone)
        return self._idle

    def _gone(self) -> None:
        if not self._idle.called:
            self._idle.callback(None)

    def wait(self, job: Job, number: int) -> Deferred[None] | None:
        """Fires when run NUMBER of JOB has its outcome; None where it has one."""
        run = job.active.get(number) or next((run for run in job.queue if run.number == number), None)
        if run is None:
            return None

        def forget(waiter: Deferred[None]) -> None:
            run.waiters.remove(waiter)

        waiter: Deferred[None] = Deferred(forget)
        run.waiters.append(waiter)
        return waiter

    # ---- after a restart

    def adopt(self, jobs: dict[int, Job], records: Iterable[RunRecord]) -> None:
        """Go on with the runs that an earlier daemon left: watch those that live, end the others as lost."""
        for record in records:
            job = jobs[record.job]
            run = Run(job, record.number, record.scheduled, record.run_id)
            run.committed = True
            run.attempt = record.attempts
            run.started = record.started
            job.active[run.number] = run
            identity = None
            if record.pid and record.pid_start and record.boot_id:
                identity = groups.Identity(record.pid, record.pid_start, record.boot_id)
            if identity is not None and groups.same(identity):
                self._adopt_process(run, identity)
            else:
                self._finish(
                    run, LOST, "the daemon was away when it ended" if record.pid else "never started"
                )

    def _adopt_process(self, run: Run, identity: groups.Identity) -> None:
        self._free -= 1
        run.identity = identity
        self.running[run.run_id] = run
        fd = reopen_pipe(identity.pid)
        if fd is not None:
            run.reader = PipeReader(self._reactor, fd, lambda data: self._printed(run, data))

        def ended() -> None:
            self._process_gone(run)
            self._finish(run, run.cause or LOST, run.detail or "the daemon was away when it started")

        groups.watch(self._reactor, identity, ended)

    # ---- admission

    def _new_run(self, job: Job, instant: int | None) -> Run:
        job.last_run += 1
        return Run(job, job.last_run, instant, secrets.token_hex(16))

    def _admit(self, run: Run) -> None:
        self._place(run, "queue" if run.patient and run.job.active else self._overlap(run.job))

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
            numbers = ", ".join(map(str, job.active))
            self._give_up(run, SKIPPED, f"run {numbers} was in progress")
        elif verdict == "queue":
            job.queue.append(run)
        elif verdict == "replace":
            for queued in job.queue:
                self._give_up(queued, REPLACED, f"by run {run.number}")
            job.queue = [run]
            for active in list(job.active.values()):
                self._end(active, REPLACED, f"by run {run.number}")
        else:
            self._occupy(run)

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
        while self._free > 0 and self._waiting and not self._stopping:
            run = self._waiting.popleft()
            self._free -= 1
            self._prepare(run)

    def _withdraw(self, run: Run) -> bool:
        """Take back a run that waits for its jitter or for a slot; whether it still did."""
        if run.alarm is not None:
            run.cancel_alarms()
            return True
        if run in self._waiting:
            self._waiting.remove(run)
            return True
        return False

    def _prepare(self, run: Run) -> None:
        """RUN has its slot: commit its intent, then start it."""
        late = 0 if run.scheduled is None else self._clock.now_ns() / NANO - run.scheduled
        if run.attempt == 0 and late > max(run.job.options.deadline, run.job.options.jitter):
            self._release_slot()
            self._give_up(run, MISSED, f"{late:.0f}s late")
        elif run.committed:
            self._spawn(run)
        else:
            self._commit_intent(run).addCallbacks(
                lambda _: self._spawn(run), lambda failure: self._no_intent(run, failure)
            )

    def _commit_intent(self, run: Run) -> Deferred[None]:
        job = run.job
        record = RunRecord(job=job.id, number=run.number, scheduled=run.scheduled, run_id=run.run_id)
        job.runs_total += 1
        committed = self._store.begin_run(
            record,
            last_run=job.last_run,
            runs_total=job.runs_total,
            watermark=settled(job),
            anchor=job.anchor,
        )

        def done(_: object) -> None:
            run.committed = True

        return committed.addCallback(done)

    def _no_intent(self, run: Run, failure: Failure) -> None:
        self._release_slot()
        run.job.active.pop(run.number, None)
        self._journal.note(run.job, f"run {run.number} not started: {failure.getErrorMessage()}")
        self._next_in_line(run.job)

    # ---- attempts

    def _spawn(self, run: Run) -> None:
        job = run.job
        run.attempt += 1
        command: Command = self._launcher.command(job, run)
        reader, writer = make_pipe()
        run.reader = PipeReader(self._reactor, reader, lambda data: self._printed(run, data))
        now = self._clock.now_ns()
        run.started = run.started or now
        try:
            with command.files() as files:
                run.process = self._spawner.spawnProcess(
                    _RunProtocol(self, run),
                    command.argv[0],
                    command.argv,
                    command.environment,
                    childFDs={**files, 1: writer, 2: writer},
                )
        except (OSError, JobError) as error:
            os.close(writer)
            self._process_gone(run)
            self._attempt_ended(
                run, f"{job.options.shell}: {error.strerror if isinstance(error, OSError) else error}"
            )
            return
        os.close(writer)
        run.identity = groups.identify(run.process.pid)
        self.running[run.run_id] = run
        self._journal.began(run, now)
        if job.options.timeout:
            run.alarm = self._alarms.after(job.options.timeout, self._timed_out, run)
        self._store.update_run(
            job.id,
            run.number,
            started=run.started,
            attempts=run.attempt,
            pid=run.process.pid,
            pid_start=run.identity.start if run.identity else None,
            boot_id=self._boot_id,
            argv=json.dumps(command.shown_argv),
            directory=command.directory,
            environment=json.dumps(command.shown_environment),
        ).addErrback(
            lambda failure: self.log.failure(
                "run {number} of {job}", failure, number=run.number, job=job.name
            )
        )

    def _printed(self, run: Run, data: bytes) -> None:
        self._journal.printed(run, data)

    def _timed_out(self, run: Run) -> None:
        run.alarm = None
        self._end(run, TIMEOUT, f"after {run.job.options.timeout:g}s")

    def _end(self, run: Run, cause: str, detail: str, *, at_once: bool = False) -> None:
        """End RUN for CAUSE: TERM to its group, KILL to all of it after the grace."""
        run.cause, run.detail = run.cause or cause, run.detail or detail
        if run.identity is None:
            if self._withdraw(run):
                self._finish(run, run.cause, run.detail)
            return
        if at_once:
            self._kill_all(run)
        elif run.kill_alarm is None:
            groups.signal_group(run.identity, signal.SIGTERM)
            run.kill_alarm = self._alarms.after(run.job.options.grace, self._kill_all, run)

    def _kill_all(self, run: Run) -> None:
        """KILL everything RUN started, whether its first process is gone or not."""
        run.kill_alarm = None
        if run.identity is not None:
            groups.end_all(run.identity, run.run_id, self._alarms.after)

    def process_exited(self, run: Run, reason: Failure) -> None:
        """The process of RUN has ended: `IProcessProtocol.processExited`."""
        usage = getattr(run.process, "rusage", None)
        if usage is not None:
            run.cpu = (run.cpu or 0.0) + usage.cpu
            run.maxrss = max(run.maxrss or 0, usage.maxrss)
        ended: Any = reason.value
        run.exit, run.signal = ended.exitCode, ended.signal
        if run.cause is not None:
            self._kill_all(run)
        self._process_gone(run)
        how = f"killed by {signal_name(run.signal)}" if run.signal is not None else f"exit status {run.exit}"
        self._attempt_ended(run, how)

    def _process_gone(self, run: Run) -> None:
        run.cancel_alarms()
        run.process = None
        run.identity = None
        self.running.pop(run.run_id, None)
        if self._stopping and not self.running:
            self._reactor.callLater(0, self._gone)
        if run.reader is not None:
            # What a grandchild prints later still comes; only the run does not wait for it.
            run.reader.drain(LAST_OUTPUT)
        self._journal.printed_all(run)
        self._release_slot()

    def _release_slot(self) -> None:
        self._free += 1
        if self._waiting:
            self._reactor.callLater(0, self._fill_slots)

    def _attempt_ended(self, run: Run, how: str) -> None:
        options = run.job.options
        if run.cause is not None and run.cause != TIMEOUT:
            self._finish(run, run.cause, run.detail)
        elif run.cause is None and run.exit == 0:
            self._finish(run, OK, "")
        elif run.attempt <= options.retries and run.job.started | run.by_hand:
            delay = min(RETRY_LIMIT, options.retry_delay * 2 ** (run.attempt - 1)) * (
                0.75 + secrets.randbelow(512) / 1024
            )
            self._journal.note(
                run.job,
                f"run {run.number} attempt {run.attempt} failed: {run.cause or how}; again in {delay:.1f}s",
            )
            run.cause, run.detail, run.exit, run.signal = None, "", None, None
            run.alarm = self._alarms.after(delay, self._queue_for_slot, run)
        else:
            self._finish(run, run.cause or FAILED, run.detail or how)

    # ---- ends

    def _finish(self, run: Run, outcome: str, detail: str) -> None:
        """RUN has its last outcome: record it, then let the next one in."""
        job, now = run.job, self._clock.now_ns()
        run.cancel_alarms()
        self.ended[outcome] += 1
        job.ended += 1
        if outcome == OK:
            job.last_success = now
        else:
            job.failures += 1
        self._journal.ended(run, outcome, detail, now)
        recorded = self._store.end_run(
            job.id,
            run.number,
            keep_runs=job.options.keep_runs,
            ended=now,
            exit=run.exit,
            signal=run.signal,
            outcome=outcome,
            detail="" if outcome == OK else detail,
            attempts=run.attempt,
            cpu=run.cpu,
            maxrss=run.maxrss,
            failures=job.failures,
            last_success=job.last_success,
        )
        recorded.addErrback(
            lambda failure: self.log.failure("end of run {n} of {job}", failure, n=run.number, job=job.name)
        )
        recorded.addCallback(lambda _: self._ended(run))

    def _ended(self, run: Run) -> None:
        job = run.job
        job.active.pop(run.number, None)
        self._journal.forget_runs(job)
        waiters, run.waiters = run.waiters, []
        for waiter in waiters:
            waiter.callback(None)
        self._next_in_line(job)

    def _next_in_line(self, job: Job) -> None:
        if job.queue and not job.active:
            self._occupy(job.queue.pop(0))

    def _give_up(self, run: Run, outcome: str, detail: str) -> None:
        """RUN never starts: its history line says why."""
        run.job.active.pop(run.number, None)
        if run.committed:
            self._finish(run, outcome, detail)
            return
        self._record(run.job, outcome, run.scheduled, number=run.number, run_id=run.run_id, detail=detail)
        for waiter in run.waiters:
            waiter.callback(None)

    def _record(self, job: Job, outcome: str, scheduled: int | None, **columns: Any) -> None:
        """A history line for instants that did not run."""
        if "number" not in columns:
            job.last_run += 1
            columns["number"] = job.last_run
        record = RunRecord(
            job=job.id, scheduled=scheduled, outcome=outcome, ended=self._clock.now_ns(), **columns
        )
        self.ended[outcome] += 1
        job.ended += 1
        self._journal.not_run(job, record)
        self._store.add_record(
            record, keep_runs=job.options.keep_runs, last_run=job.last_run, watermark=settled(job)
        ).addErrback(
            lambda failure: self.log.failure("{outcome} of {job}", failure, outcome=outcome, job=job.name)
        )


def settled(job: Job) -> int | None:
    """The watermark for the disk: nothing up to it is still to be started after a crash."""
    waiting = [
        run.scheduled
        for run in (*job.queue, *job.active.values())
        if not run.committed and run.scheduled is not None
    ]
    return min([*(instant - 1 for instant in waiting), job.watermark or 0]) if waiting else job.watermark


def _shown(job: Job) -> str:
    policy = job.options.overlap
    return f"{policy.name} {policy.number}" if policy.number else policy.name


class _RunProtocol(ProcessProtocol):
    """Tells the runner of the end of a process."""

    def __init__(self, runner: Runner, run: Run) -> None:
        self._runner = runner
        self._run = run

    def processExited(self, reason: Failure) -> None:
        self._runner.process_exited(self._run, reason)
