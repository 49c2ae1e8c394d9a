"""A job in memory: what defines it, and how far it has come."""

from __future__ import annotations

from errno import EINVAL
from typing import TYPE_CHECKING

from jobd.jobs import options as option_table
from jobd.jobs.errors import JobError
from jobd.jobs.options import DEFAULTS, Options
from jobd.schedule import Schedule, ScheduleError

if TYPE_CHECKING:
    from jobd.jobs.records import Ended
    from jobd.jobs.run import Run
    from jobd.jobs.store import JobRecord


class Job:
    """One job. Only `JobTable`, the scheduler and the runner change it, and only after a commit."""

    __slots__ = (
        "active",
        "anchor",
        "changed",
        "command",
        "created",
        "ended",
        "failures",
        "group",
        "id",
        "last_ended",
        "last_run",
        "last_success",
        "mode",
        "name",
        "next",
        "options",
        "owner",
        "queue",
        "removed",
        "runs_total",
        "schedule",
        "schedule_text",
        "seed",
        "started",
        "version",
        "watermark",
    )

    def __init__(self, record: JobRecord) -> None:
        self.id = record.id
        """Never used again for another job."""
        self.name = record.name
        self.seed = record.seed
        """Its first name: what `H` and the jitter hash, so that a rename moves nothing."""
        self.owner = record.owner
        self.group = record.group
        self.mode = record.mode
        self.schedule_text = record.schedule
        self.command = record.command
        self.options = option_table.merge(DEFAULTS, record.options.encode()) if record.options else DEFAULTS
        self.started = record.started
        self.created = record.created
        self.changed = record.changed
        """Wall clock of the last change of its definition or state, in nanoseconds, as `created`."""
        self.version = record.version
        """Counts those changes."""
        self.watermark = record.watermark
        """The last scheduled instant that was handled, in seconds since 1970."""
        self.anchor = record.anchor
        """Its first start, from which `@every` counts."""
        self.last_run = record.last_run
        """The number of its newest run; 0 before the first."""
        self.runs_total = record.runs_total
        self.failures = record.failures
        self.last_success = record.last_success

        self.schedule: Schedule | None = None
        """Read from the text when it is first needed: a stopped job needs none."""
        self.next: int | None = None
        """When it runs next, as the scheduler has it."""
        self.active: dict[int, Run] = {}
        """Its runs in progress, by number, from the intent to the last outcome."""
        self.queue: list[Run] = []
        """Runs that wait for those to end."""
        self.ended = record.runs_total
        """Counts what its history holds: runs that ended, were skipped or missed."""
        self.last_ended: Ended | None = None
        """The newest of those, once `History.last_ended` was asked for it."""
        self.removed = False

    def load_schedule(self, default_zone: str) -> Schedule:
        """Its schedule, read now if it was not before; JobError where it has none."""
        if self.schedule is None:
            self.schedule = read_schedule(
                self.schedule_text, self.options, default_zone, self.seed, self.anchor
            )
        return self.schedule

    def next_after(self, instant: int) -> int | None:
        """Its first instant later than INSTANT, in seconds since 1970; its schedule must be loaded."""
        return None if self.schedule is None else self.schedule.next_epoch(instant)


def read_schedule(
    text: str, options: Options, default_zone: str, seed: str, anchor: int | None = None
) -> Schedule:
    """The schedule that TEXT means under OPTIONS; JobError says what is wrong with it.

    ANCHOR is the first start, from which `@every` counts, where there was one.
    """
    if not text:
        raise JobError(EINVAL, "schedule: the job has none yet; write one to its schedule file")
    try:
        schedule = Schedule.parse(text, options.timezone or default_zone, seed, dst=options.dst)
    except ScheduleError as error:
        raise JobError(EINVAL, f"schedule: {error}") from None
    return schedule if anchor is None else schedule.anchored(anchor)
