"""One run of a job: an instant (or one `run` by hand) with its attempts, its process and its outcome."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any, NamedTuple

from jobd.jobs.output import LineStamper, PipeReader
from jobd.jobs.texts import attribute_lines, attributes, instant

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from jobd.jobs.callables import Calling
    from jobd.jobs.capture import Capture
    from jobd.jobs.clock import Alarm
    from jobd.jobs.groups import Identity
    from jobd.jobs.job import Job
    from jobd.jobs.proctable import Watching
    from jobd.jobs.store import RunRecord

NANO = 1_000_000_000

# Outcomes of a run.
OK, FAILED, TIMEOUT, KILLED = "ok", "failed", "timeout", "killed"
REPLACED, SKIPPED, MISSED, LOST = "replaced", "skipped", "missed", "lost"


class Run:
    """A run from its place in line to its last outcome."""

    __slots__ = (
        "alarm",
        "attempt",
        "beginning",
        "call",
        "cause",
        "committed",
        "cpu",
        "detail",
        "exit",
        "holds_slot",
        "identity",
        "intent",
        "job",
        "kill_alarm",
        "maxrss",
        "number",
        "output",
        "process",
        "reader",
        "refusal",
        "run_id",
        "scheduled",
        "sent",
        "signal",
        "stamper",
        "started",
        "waiters",
        "watching",
    )

    def __init__(self, job: Job, number: int, scheduled: int | None, run_id: str) -> None:
        self.job = job
        self.number = number
        self.scheduled = scheduled
        """The instant it is for, in seconds since 1970; None by hand."""
        self.run_id = run_id
        """Unguessable: the mark in its environment by which its strays are found."""
        self.intent: Deferred[None] | None = None
        """Fires when its intent is committed, or could not be: then `refusal` says why."""
        self.committed = False
        """Whether its intent is on disk."""
        self.refusal: BaseException | None = None
        self.holds_slot = False
        """Whether it has one of the places among `--max-runs`."""
        self.attempt = 0
        """The number of the attempt that was last begun."""
        self.started: int | None = None
        """Wall clock of its first process, in nanoseconds."""
        self.beginning: dict[str, Any] = {}
        """What its record is still to say of the attempt."""
        self.process: Any = None
        """The transport of its process while that runs, where we started it."""
        self.watching: Watching | None = None
        """What watches its process while that runs, where an earlier daemon started it."""
        self.identity: Identity | None = None
        """Its process while that runs."""
        self.call: Calling | None = None
        """Its callable while that runs, where it is no process."""
        self.reader: PipeReader | None = None
        self.stamper = LineStamper()
        self.output: Capture | None = None
        self.cause: str | None = None
        """Why it is being ended, where it is: an outcome."""
        self.detail = ""
        """What the history says of the cause."""
        self.sent: int | None = None
        """The signal that somebody sent to it last."""
        self.exit: int | None = None
        self.signal: int | None = None
        self.cpu: float | None = None
        self.maxrss: int | None = None
        self.alarm: Alarm | None = None
        """Its jitter, timeout or retry, whichever it waits for."""
        self.kill_alarm: Alarm | None = None
        self.waiters: list[Deferred[None]] = []
        """Who is told of its end."""

    @property
    def in_attempt(self) -> bool:
        """Whether a process or a callable of it runs."""
        return self.identity is not None or self.call is not None

    @property
    def by_hand(self) -> bool:
        """Whether somebody asked for it, rather than the schedule."""
        return self.scheduled is None

    def cancel_alarms(self) -> None:
        """Nothing more is waited for."""
        for alarm in (self.alarm, self.kill_alarm):
            if alarm is not None:
                alarm.cancel()
        self.alarm = self.kill_alarm = None


class FailedRun(NamedTuple):
    """What an `on-failure` command is told of: a run, or a gap where runs were missed."""

    number: int
    scheduled: int | None
    """Its instant, in seconds since 1970; of a gap the first."""
    outcome: str
    exit: str = ""
    """The exit status, or the name of the signal; empty where there is neither."""


def signal_name(number: int) -> str:
    """`SIGTERM`, or the number where it has no name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


def history_line(record: RunRecord) -> str:
    """A run as its line in `history` has it, without the newline."""
    word = "missed " if _is_gap(record) else ""
    return word + attributes(history(record))


def status_text(record: RunRecord) -> str:
    """A run as its `status` file has it: an `attr=value` line each."""
    # A callable has no process; a detail without an outcome is that of an attempt that ended.
    running = record.pid or (record.started and not record.detail)
    state = "ended" if record.outcome else "running" if running else "waiting"
    pairs = [("state", state), ("pid", None if record.outcome else record.pid), *history(record)]
    return attribute_lines(pairs)


def history(record: RunRecord) -> list[tuple[str, object]]:
    """What is known of a run, as attributes and values; a value of None is left out."""
    if _is_gap(record):
        return [
            ("run", record.number),
            ("from", instant(record.scheduled)),
            ("to", instant(record.missed_to)),
            ("count", record.missed_count),
            ("outcome", MISSED),
            ("detail", record.detail or None),
        ]
    lost = record.outcome == LOST and record.exit is None and record.signal is None
    return [
        ("run", record.number),
        ("scheduled", instant(record.scheduled) or "none"),
        ("started", instant(_seconds(record.started))),
        ("ended", instant(_seconds(record.ended))),
        ("exit", "unknown" if lost else record.exit),
        ("signal", None if record.signal is None else signal_name(record.signal)),
        ("outcome", record.outcome),
        ("attempts", record.attempts),
        ("cpu", None if record.cpu is None else f"{record.cpu:.3f}"),
        ("maxrss", record.maxrss),
        ("detail", record.detail or None),
    ]


def _is_gap(record: RunRecord) -> bool:
    return record.outcome == MISSED and bool(record.missed_count)


def environment_text(record: RunRecord) -> str:
    """What exactly was run, as the `env` file of a run has it."""
    argv = json.loads(record.argv) if record.argv else []
    environment = json.loads(record.environment) if record.environment else {}
    words = [(f"argv{index}", word) for index, word in enumerate(argv)]
    return attribute_lines([*words, ("directory", record.directory), *sorted(environment.items())])


def _seconds(ns: int | None) -> float | None:
    return None if ns is None else ns / NANO
