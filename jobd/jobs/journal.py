"""What happened, in words: the log of each job, the output of each run, and `/events`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from twisted.logger import Logger

from jobd.jobs.capture import Capture
from jobd.jobs.run import FAILED, KILLED, LOST, MISSED, OK, REPLACED, SKIPPED, TIMEOUT, Run
from jobd.jobs.texts import attributes, instant, stamp

if TYPE_CHECKING:
    from jobd.jobs.clock import IClock
    from jobd.jobs.job import Job
    from jobd.jobs.segments import SegmentLog, SegmentStore
    from jobd.jobs.store import RunRecord

EVENTS_KEPT = 4 << 20
"""Bytes of `/events`: some 30,000 lines."""
TRIM_EVERY = 16
"""Runs after which the outputs of runs that are no longer kept are removed."""

_ENDS = {
    FAILED: "failed",
    TIMEOUT: "timed out",
    KILLED: "was killed",
    REPLACED: "was replaced",
    SKIPPED: "was skipped",
    MISSED: "was missed",
    LOST: "was lost",
}


class Journal:
    """Writes down what happens, as it happens."""

    log = Logger()

    def __init__(self, clock: IClock, logs: SegmentStore) -> None:
        self._clock = clock
        self._logs = logs
        self._job_logs: dict[int, SegmentLog] = {}
        self._captures: WeakValueDictionary[tuple[int, int], Capture] = WeakValueDictionary()
        self._trimmed: dict[int, int] = {}
        self._events = logs.log("events", EVENTS_KEPT)
        self._unwritten: list[bytes] = []
        self._writing: Any = None

    @property
    def events(self) -> SegmentLog:
        """What `/events` shows."""
        self.flush()
        return self._events

    def flush(self) -> None:
        """Write the events of this turn of the reactor: all in one, since in a burst there are many."""
        if self._writing is not None:
            if self._writing.active():
                self._writing.cancel()
            self._writing = None
            lines, self._unwritten = self._unwritten, []
            self._events.append(b"".join(lines))

    @property
    def dropped(self) -> int:
        """Bytes that a full or failing disk did not take."""
        return self._logs.dropped

    def log_of(self, job: Job) -> SegmentLog:
        """The log of JOB."""
        log = self._job_logs.get(job.id)
        if log is None:
            log = self._job_logs[job.id] = self._logs.log(f"{job.id}/log", job.options.keep_log)
        return log

    def output_of(self, job: Job, number: int) -> Capture:
        """What run NUMBER of JOB printed."""
        capture = self._captures.get((job.id, number))
        if capture is None:
            most, key = job.options.max_output, f"{job.id}/{number}"
            # The head is bounded by what is put into it.
            head, tail = self._logs.log(f"{key}.head", 2 * most), self._logs.log(f"{key}.tail", most // 2)
            capture = self._captures[job.id, number] = Capture(head, tail, most)
        return capture

    # ---- changes

    def changed(self, what: str, job: Job, actor: str, **more: str) -> None:
        """ACTOR made a change to JOB."""
        if what == "options":
            self.log_of(job).set_keep(job.options.keep_log)
        self._audit(what, [("job", job.name), *more.items(), ("by", actor)])
        if what in ("started", "stopped"):
            self.note(job, what)

    def whole(self, what: str, actor: str) -> None:
        """ACTOR made a change to everything."""
        self._audit(what, [("by", actor)])

    def clock_stepped(self, seconds: float) -> None:
        """The wall clock was set, or the machine was suspended."""
        self._event("clock-step", [("seconds", f"{seconds:.1f}")])

    def remove(self, job: Job) -> None:
        """JOB is gone: its log and outputs go too."""
        self._job_logs.pop(job.id, None)
        self._trimmed.pop(job.id, None)
        self._logs.remove(str(job.id))

    # ---- runs

    def began(self, run: Run, now_ns: int) -> None:
        """An attempt of RUN has a process."""
        pairs: list[tuple[str, object]] = [
            ("job", run.job.name),
            ("run", run.number),
            ("scheduled", instant(run.scheduled) or "none"),
        ]
        if run.attempt > 1:
            pairs.append(("attempt", run.attempt))
        self._event("start", pairs, now_ns)

    def printed(self, run: Run, data: bytes) -> None:
        """RUN printed DATA."""
        lines = run.stamper.feed(data, self._clock.now_ns())
        if lines:
            self.log_of(run.job).append(lines)
        if run.output is None:
            run.output = self.output_of(run.job, run.number)
        run.output.append(data)

    def printed_all(self, run: Run) -> None:
        """What RUN printed ends here, with or without a newline."""
        rest = run.stamper.end(self._clock.now_ns())
        if rest:
            self.log_of(run.job).append(rest)

    def ended(self, run: Run, outcome: str, detail: str, now_ns: int) -> None:
        """RUN has its outcome."""
        pairs: list[tuple[str, object]] = [
            ("job", run.job.name),
            ("run", run.number),
            ("outcome", outcome),
            ("detail", detail or None),
        ]
        self._event("end", pairs, now_ns)
        if outcome != OK:
            self.note(run.job, f"run {run.number} {_ENDS[outcome]}: {detail}", now_ns)

    def not_run(self, job: Job, record: RunRecord) -> None:
        """Instants of JOB did not run."""
        pairs: list[tuple[str, object]] = [("job", job.name), ("run", record.number)]
        if record.missed_count:
            gap: list[tuple[str, object]] = [
                ("from", instant(record.scheduled)),
                ("to", instant(record.missed_to)),
                ("count", record.missed_count),
            ]
            self._event("miss", pairs + gap, record.ended)
            self.note(job, f"missed {attributes(gap)}", record.ended)
        else:
            kind = {SKIPPED: "skip", MISSED: "miss"}.get(record.outcome or "", "end")
            pairs += [("scheduled", instant(record.scheduled)), ("detail", record.detail or None)]
            self._event(kind, pairs, record.ended)
            self.note(
                job, f"run {record.number} {_ENDS[record.outcome or SKIPPED]}: {record.detail}", record.ended
            )

    def note(self, job: Job, text: str, now_ns: int | None = None) -> None:
        """Put a line of our own into the log of JOB."""
        self.log_of(job).append(stamp(now_ns or self._clock.now_ns()) + text.encode() + b"\n")

    def on_failure_failed(self, job: Job, number: int, how: str) -> None:
        """The `on-failure` command for run NUMBER of JOB failed itself."""
        self._event("on-failure", [("job", job.name), ("run", number), ("detail", how)])
        self.note(job, f"on-failure of run {number} failed: {how}")

    def forget_runs(self, job: Job) -> None:
        """Now and then, remove the outputs of JOB's runs that the history no longer has."""
        if job.last_run < self._trimmed.get(job.id, 0) + TRIM_EVERY:
            return
        self._trimmed[job.id] = job.last_run
        for name in self._logs.names(str(job.id)):
            number, _, kind = name.partition(".")
            if kind and int(number) <= job.last_run - job.options.keep_runs and int(number) not in job.active:
                self._logs.remove(f"{job.id}/{name}")

    def _audit(self, kind: str, pairs: list[tuple[str, object]]) -> None:
        """A change that somebody made: the log of the daemon tells of it too."""
        self.log.info("{change}", change=self._event(kind, pairs))

    def _event(self, kind: str, pairs: list[tuple[str, object]], now_ns: int | None = None) -> str:
        """Put a line into `/events`; what it says."""
        text = f"{kind} {attributes(pairs)}"
        self._unwritten.append(stamp(now_ns or self._clock.now_ns()) + text.encode() + b"\n")
        if self._writing is None:
            self._writing = self._clock.call_later(0, self.flush)
        return text
