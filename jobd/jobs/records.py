"""The rows of jobs and runs, as the store hands them out and takes them."""

from __future__ import annotations

from typing import NamedTuple


class JobRecord(NamedTuple):
    """A job's row. Moments are nanoseconds since 1970 unless seconds are said."""

    id: int
    name: str
    seed: str
    owner: str
    group: str
    mode: int
    schedule: str
    command: str
    options: str = ""
    """The lines of the options that are not at their defaults."""
    started: bool = False
    created: int = 0
    changed: int = 0
    """When the definition or the state last changed."""
    started_at: int | None = None
    """When it was last started."""
    version: int = 0
    """Counts the changes."""
    watermark: int | None = None
    """The last scheduled instant that was handled, in seconds."""
    anchor: int | None = None
    """The first start, in seconds, from which `@every` counts."""
    last_run: int = 0
    """The number of the newest run; 0 before the first."""
    runs_total: int = 0
    failures: int = 0
    last_success: int | None = None


class Ended(NamedTuple):
    """Of the record of a run that has ended, what each look at its job tells."""

    number: int
    outcome: str
    exit: int | None
    signal: int | None
    started: int | None
    ended: int


class RunRecord(NamedTuple):
    """A run's row; a gap of missed instants is one as well. Moments as in `JobRecord`."""

    job: int
    number: int
    scheduled: int | None = None
    """The instant it was for, in seconds; None for a run by hand."""
    run_id: str = ""
    attempts: int = 0
    started: int | None = None
    ended: int | None = None
    exit: int | None = None
    signal: int | None = None
    outcome: str | None = None
    """None while it is in progress."""
    cpu: float | None = None
    """Seconds of processor time."""
    maxrss: int | None = None
    """KiB."""
    pid: int | None = None
    pid_start: int | None = None
    boot_id: str | None = None
    argv: str = ""
    """JSON, as `environment`."""
    directory: str = ""
    environment: str = ""
    detail: str = ""
    """The cause of its outcome, in words."""
    missed_to: int | None = None
    """Of a gap: its last instant, in seconds; `scheduled` is its first."""
    missed_count: int | None = None
