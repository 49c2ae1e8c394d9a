"""What is written down of each run: intent, attempts and outcome, in the database, the log and `/events`."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from jobd.jobs.metrics import Histogram
from jobd.jobs.records import Ended, RunRecord
from jobd.jobs.run import FAILED, KILLED, LOST, MISSED, NANO, OK, REPLACED, SKIPPED, TIMEOUT, Run
from jobd.jobs.slices import Slices

if TYPE_CHECKING:
    from jobd.jobs.callables import Calling
    from jobd.jobs.clock import IClock
    from jobd.jobs.job import Job
    from jobd.jobs.journal import Journal
    from jobd.jobs.launch import Command
    from jobd.jobs.misfire import Gap
    from jobd.jobs.store import Store

LATENCIES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 60.0)
DURATIONS = (0.01, 0.1, 1.0, 10.0, 60.0, 600.0, 3600.0, 86400.0)
MOST_UNWRITTEN = 10_000
"""Ends that are kept in mind while the disk takes no record of them; of more the next daemon knows that they
are lost.
"""
AT_A_TIME = 100
"""Of these, how many are tried in a second."""


class History:
    """Keeps the records of runs.

    The intent of a run, and that of each further attempt, is for the caller to wait for.  What happened
    already is written again where the disk fails, and the schedule goes on.
    """

    log = Logger()

    def __init__(
        self, clock: IClock, store: Store, journal: Journal, crowded: Callable[[], bool] = lambda: False
    ) -> None:
        """While it is CROWDED, with runs that are due and not started, what can wait for them does."""
        self._clock = clock
        self._store = store
        self._journal = journal
        self._beginnings: Slices[Run] = Slices(clock, self._write_beginning, crowded)
        self._unwritten: list[Callable[[], Deferred[None]]] = []
        self._on_their_way: set[tuple[int, int | None]] = set()
        self.listeners: list[Callable[[Job, RunRecord], object]] = []
        """Told of each attempt that begins, and of each run and gap that has its outcome: when that is on
        disk, unless the disk failed.
        """
        self.ended = dict.fromkeys((OK, FAILED, TIMEOUT, KILLED, REPLACED, SKIPPED, MISSED, LOST), 0)
        """How many runs ended so, since the start."""
        self.missed_instants = 0
        """How many instants were missed since the start."""
        self.latency = Histogram(LATENCIES)
        """Start of a run minus its instant, in seconds."""
        self.duration = Histogram(DURATIONS)
        """From the first start of a run to its outcome, in seconds."""

    def new_run(self, job: Job, instant: int | None) -> Run:
        """A run of JOB for INSTANT, or by hand, under the next number."""
        return Run(job, self.next_number(job), instant, secrets.token_hex(16))

    def next_number(self, job: Job) -> int:
        """The number for the next record of JOB."""
        job.last_run += 1
        return job.last_run

    def has_instant(self, job: Job, instant: int) -> bool:
        """Whether JOB has a record for INSTANT, on disk or on its way there."""
        return (job.id, instant) in self._on_their_way or self._store.has_instant(job.id, instant)

    def unrecorded(self, job: Job, after: int) -> Callable[[int], int | None]:
        """What gives JOB's next instant, less those that have a record, for instants later than AFTER.

        There are some where the daemon died while an instant waited and a later one was skipped.
        """
        taken = self._store.instants(job.id, after)
        if not taken:
            assert job.schedule is not None
            return job.schedule.next_epoch

        def next_instant(after: int) -> int | None:
            instant = job.next_after(after)
            while instant in taken:
                instant = job.next_after(instant)
            return instant

        return next_instant

    def last_ended(self, job: Job) -> Ended | None:
        """The newest run of JOB that has an outcome, on disk; it is read once."""
        if job.last_ended is None and job.last_run:
            job.last_ended = self._store.last_ended(job.id)
        return job.last_ended

    def intend(self, run: Run) -> Deferred[None]:
        """Commit that RUN is about to start, and with it the watermark of its job."""
        job = run.job
        record = RunRecord(
            job=job.id, number=run.number, scheduled=run.scheduled, run_id=run.run_id, attempts=1
        )
        job.runs_total += 1
        return self._store.begin_run(
            record,
            last_run=job.last_run,
            runs_total=job.runs_total,
            watermark=settled(job, run),
            anchor=job.anchor,
        )

    def intend_retry(self, run: Run) -> Deferred[None]:
        """Commit that the next attempt of RUN is about to start."""
        return self._store.update_run(run.job.id, run.number, attempts=run.attempt + 1, detail="")

    def began(self, run: Run, command: Command | Calling) -> None:
        """An attempt of RUN has begun, with COMMAND."""
        now = self._clock.now_ns()
        if run.started is None:
            run.started = now
            if run.scheduled is not None:
                self.latency.observe(now / NANO - run.scheduled)
        identity = run.identity
        self._journal.began(run, now)
        run.beginning = {
            "started": run.started,
            "pid": identity and identity.pid,
            "pid_start": identity and identity.start,
            "boot_id": identity and identity.boot,
            "argv": json.dumps(command.shown_argv),
            "directory": command.directory,
            "environment": json.dumps(command.shown_environment),
        }
        self._beginnings.add(run)
        if self.listeners:
            self._tell(run.job, _record(run))

    def catch_up(self) -> None:
        """Write down what gave way to starts: to be called once a second."""
        self._beginnings.resume()

    def close(self) -> None:
        """Write down all that has waited."""
        for run in self._beginnings.stop():
            self._write_beginning(run)

    def _write_beginning(self, run: Run) -> None:
        columns, run.beginning = run.beginning, {}
        if columns:
            self._keep(run, self._store.update_run(run.job.id, run.number, **columns))

    def will_retry(self, run: Run, how: str, delay: float) -> None:
        """An attempt of RUN failed; another comes after DELAY seconds."""
        self._journal.note(
            run.job, f"run {run.number} attempt {run.attempt} failed: {how}; again in {delay:.1f}s"
        )
        # A detail without an outcome: the next daemon knows that this attempt has ended.
        run.beginning |= {"pid": None, "pid_start": None, "detail": how}
        self._write_beginning(run)

    def end(self, run: Run, outcome: str, detail: str) -> Deferred[None]:
        """RUN has its last outcome; fires when that is committed, or could not be."""
        job, now = run.job, self._clock.now_ns()
        self.ended[outcome] += 1
        if run.started is not None:
            self.duration.observe((now - run.started) / NANO)
        if outcome == OK:
            job.last_success = now
        elif outcome != SKIPPED:
            job.failures += 1
        self._journal.ended(run, outcome, detail, now)
        columns = run.beginning | {
            "ended": now,
            "exit": run.exit,
            "signal": run.signal,
            "outcome": outcome,
            "detail": detail,
            "attempts": run.attempt,
            "cpu": run.cpu,
            "maxrss": run.maxrss,
        }
        run.beginning = {}

        def write() -> Deferred[None]:
            return self._store.end_run(
                job.id,
                run.number,
                keep_runs=job.options.keep_runs,
                failures=job.failures,
                last_success=job.last_success,
                **columns,
            )

        last = Ended(run.number, outcome, run.exit, run.signal, run.started, now)
        kept = self._keep_end(job, write, last)
        if self.listeners:
            record = _record(run, ended=now, outcome=outcome, detail=detail)
            kept.addCallback(lambda _: self._tell(job, record))
        return kept

    def never_began(self, run: Run, outcome: str, detail: str) -> None:
        """RUN, of which nothing is on disk, will not start."""
        record = RunRecord(
            job=run.job.id,
            number=run.number,
            scheduled=run.scheduled,
            run_id=run.run_id,
            outcome=outcome,
            detail=detail,
        )
        self._add(run.job, record)

    def gap(self, job: Job, number: int, gap: Gap) -> None:
        """Nobody was there for the instants of GAP, and they are not made up for."""
        self.missed_instants += gap.number
        self._add(
            job,
            RunRecord(
                job=job.id,
                number=number,
                scheduled=gap.first,
                outcome=MISSED,
                missed_to=gap.last,
                missed_count=gap.number,
            ),
        )

    def not_intended(self, run: Run, why: str) -> None:
        """The disk refused the intent of RUN."""
        run.job.runs_total -= 1
        self._journal.note(run.job, f"run {run.number} not started: {why}")

    def _add(self, job: Job, record: RunRecord) -> None:
        now = self._clock.now_ns()
        record = record._replace(ended=now)
        assert record.outcome is not None
        self.ended[record.outcome] += 1
        self._journal.not_run(job, record)

        def write() -> Deferred[None]:
            return self._store.add_record(
                record, keep_runs=job.options.keep_runs, last_run=job.last_run, watermark=settled(job)
            )

        key = job.id, record.scheduled
        self._on_their_way.add(key)
        kept = self._keep_end(job, write, Ended(record.number, record.outcome, None, None, None, now))
        kept.addCallback(lambda _: self._on_their_way.discard(key))
        if self.listeners:
            kept.addCallback(lambda _: self._tell(job, record))

    def _tell(self, job: Job, record: RunRecord) -> None:
        for listener in list(self.listeners):
            try:
                listener(job, record)
            except Exception:
                self.log.failure("who is told of the runs of {job} failed", job=job.name)

    def _keep(self, run: Run, written: Deferred[None]) -> Deferred[None]:
        return written.addErrback(self._warn, run.job, run.number)

    def _keep_end(self, job: Job, write: Callable[[], Deferred[None]], last: Ended) -> Deferred[None]:
        """WRITE the record of LAST, and again later where the disk refuses it."""

        def attempt() -> Deferred[None]:
            return write().addCallbacks(lambda _: _ended(job, last), refused)

        def refused(failure: Failure) -> None:
            if not job.removed and len(self._unwritten) < MOST_UNWRITTEN:
                self._unwritten.append(attempt)
            self._warn(failure, job, last.number)

        return attempt()

    def write_again(self) -> None:
        """Write ends that a failing disk took no record of, the oldest first. To be called every second."""
        again, self._unwritten = self._unwritten[:AT_A_TIME], self._unwritten[AT_A_TIME:]
        for attempt in again:
            attempt()

    def _warn(self, failure: Failure, job: Job, number: int) -> None:
        self.log.error(
            "the record of run {number} of {job} could not be written: {why}",
            number=number,
            job=job.name,
            why=failure.getErrorMessage(),
        )


def _ended(job: Job, last: Ended) -> None:
    """The history of JOB has LAST from now on."""
    job.ended += 1
    newest = job.last_ended
    # Else a newer one may be there, and was not read yet.
    if last.number == job.last_run or (newest is not None and newest.number < last.number):
        job.last_ended = last


def _record(run: Run, **columns: Any) -> RunRecord:
    """RUN as its record is, with COLUMNS."""
    return RunRecord(
        job=run.job.id,
        number=run.number,
        scheduled=run.scheduled,
        started=run.started,
        exit=run.exit,
        signal=run.signal,
        attempts=run.attempt,
        cpu=run.cpu,
        maxrss=run.maxrss,
        run_id=run.run_id,
        **columns,
    )


def settled(job: Job, beginning: Run | None = None) -> int | None:
    """The watermark for the disk: nothing up to it is still to be started after a crash.

    BEGINNING is the run whose intent is in the same commit.
    """
    waiting = [
        run.scheduled
        for run in (*job.queue, *job.active.values())
        if run.intent is None and run is not beginning and run.scheduled is not None
    ]
    if not waiting or job.watermark is None:
        return job.watermark
    return min(job.watermark, *(instant - 1 for instant in waiting))
