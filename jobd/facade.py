"""The jobs of a `JobService`, for the program around it: what the file system offers, as Python.

    service = JobService(reactor, "/var/lib/shop", callables={"reindex": reindex})
    service.startService()
    service.jobs.ensure("nightly", "@daily", "@call reindex", {"retries": 2})

Every change is on disk when its Deferred fires, and fails with a `JobError` whose text is one sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timezone
from errno import EIO, ENOENT
from typing import TYPE_CHECKING, NamedTuple

from jobd.jobs import options as option_table
from jobd.jobs.callables import VERB
from jobd.jobs.errors import JobError
from jobd.jobs.options import DEFAULTS, Options
from jobd.jobs.run import NANO
from jobd.ninep.remote import deferred

if TYPE_CHECKING:
    from jobd.jobs.job import Job
    from jobd.jobs.records import RunRecord
    from jobd.jobs.table import JobTable
    from jobd.service import JobService

ACTOR = "application"
"""Who asks for changes made here, as `/events` has it."""
READ = 1 << 20
"""Bytes that are read at a time."""


class JobInfo(NamedTuple):
    """A job as it stands."""

    name: str
    schedule: str
    """As it was written; empty where it has none yet."""
    command: str
    options: Options
    owner: str
    started: bool
    """Whether it runs at its instants."""
    next: datetime | None
    """When it runs next, in UTC; None where it is stopped."""
    running: tuple[int, ...]
    """The numbers of its runs in progress."""
    runs: int
    """How many of its runs ever began."""
    failures: int
    """How many of its runs ended otherwise than well."""
    last_success: datetime | None
    """When a run of it last ended well, in UTC."""


class RunInfo(NamedTuple):
    """A run of a job as it stands; a gap of missed instants is one as well. All times are in UTC."""

    job: str
    number: int
    scheduled: datetime | None
    """The instant it is for, of a gap the first; None where somebody asked for it by hand."""
    started: datetime | None
    """When its first attempt began; None where none did."""
    ended: datetime | None
    outcome: str | None
    """`ok`, `failed`, `timeout`, `killed`, `replaced`, `skipped`, `missed` or `lost`; None while it is in
    progress.
    """
    exit: int | None
    """The exit status of its last attempt; of a callable 0, or 1 after an exception."""
    signal: int | None
    """What ended its last attempt, where that was a signal."""
    attempts: int
    detail: str
    """The cause of its outcome in words; empty where it is `ok`."""
    missed: int
    """Of a gap: how many instants it is."""


class Jobs:
    """What there is as `JobService.jobs`. All but `subscribe` needs the service to run."""

    def __init__(self, service: JobService) -> None:
        self._service = service

    # ---- looking

    def __len__(self) -> int:
        return len(self._table)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._table.find(name) is not None

    def __iter__(self) -> Iterator[JobInfo]:
        """All jobs, in the order in which they were made."""
        return map(_job_info, self._table.after(0))

    def get(self, name: str) -> JobInfo:
        """The job NAME; JobError (ENOENT) where there is none."""
        return _job_info(self._job(name))

    def history(self, name: str, after: int = 0) -> list[RunInfo]:
        """The runs of job NAME that are kept and have a number above AFTER, ascending, those in progress
        included.
        """
        job = self._job(name)
        return [_run_info(job, record) for record in self._service.store.runs(job.id, after)]

    def log(self, name: str) -> str:
        """What is kept of the log of job NAME."""
        log = self._service.journal.log_of(self._job(name))
        return _text(log.read, log.start)

    def output(self, name: str, number: int) -> str:
        """What is kept of the output of run NUMBER of job NAME; empty where there is none."""
        reader = self._service.journal.output_of(self._job(name), number).reader()
        try:
            return _text(reader.read)
        finally:
            reader.close()

    # ---- changing

    @deferred
    async def add(
        self,
        name: str,
        schedule: str,
        command: str,
        options: Mapping[str, object] = {},
        *,
        started: bool = True,
    ) -> JobInfo:
        """Make a job, owned by the user this program runs as.

        COMMAND is for the shell, or `@call NAME` for a callable that is registered.  OPTIONS are those of the
        `options` file by their names there, such as `{"timeout": "90s", "retries": 2, "env": {"A": "1"}}`.
        It is stopped unless STARTED.  Where anything is wrong, nothing is made; JobError (EEXIST) where there
        is a job NAME.
        """
        table, access = self._table, self._service.access
        message = option_table.message(options).encode()
        # Looked at first: what is wrong shall leave no job behind.
        option_table.merge(DEFAULTS, message)
        owner = access.daemon
        group = access.accounts.group_of(owner)
        job = await table.create(name, schedule, command, owner=owner.name, group=group, actor=ACTOR)
        try:
            await table.set_options(job, message, actor=ACTOR)
            if started:
                await table.start(job, actor=ACTOR)
        except JobError:
            await table.remove(job, actor=ACTOR)
            raise
        return _job_info(job)

    @deferred
    async def ensure(
        self,
        name: str,
        schedule: str,
        command: str,
        options: Mapping[str, object] = {},
        *,
        started: bool = True,
    ) -> JobInfo:
        """Have there be a job with exactly this schedule, command and options: for the start of a program.

        One that exists is changed where it differs, and keeps its history, its state and the instants that it
        is owed; so whoever stopped it finds it stopped.  One that doesn't is made, as by `add`.
        """
        if name not in self:
            return await self.add(name, schedule, command, options, started=started)
        return await self._change(name, schedule, command, "default\n" + option_table.message(options))

    @deferred
    async def change(
        self,
        name: str,
        *,
        schedule: str | None = None,
        command: str | None = None,
        options: Mapping[str, object] = {},
    ) -> JobInfo:
        """Change what is given of job NAME; options that are not named stay, and one that is None is reset.

        It is changed one after another: what is refused leaves what was changed before it.
        """
        return await self._change(name, schedule, command, option_table.message(options))

    @deferred
    async def start(self, name: str) -> None:
        """Have job NAME run at its instants from now on."""
        await self._table.start(self._job(name), actor=ACTOR)

    @deferred
    async def stop(self, name: str) -> None:
        """Have job NAME run no more. A run in progress goes on."""
        await self._table.stop(self._job(name), actor=ACTOR)

    @deferred
    async def run(self, name: str) -> int:
        """Run job NAME once, now; the number of that run. JobError (EBUSY) where `overlap` would skip it."""
        return await self._table.run(self._job(name), actor=ACTOR)

    def kill(self, name: str, signal: int | None = None) -> None:
        """End the runs of job NAME that are in progress, or send them SIGNAL.

        JobError (EBUSY) where none is.
        """
        self._table.kill(self._job(name), signal, actor=ACTOR)

    @deferred
    async def remove(self, name: str) -> None:
        """Delete job NAME with its log and history; JobError (EBUSY) while a run is in progress."""
        await self._table.remove(self._job(name), actor=ACTOR)

    # ---- runs

    @deferred
    async def wait(self, name: str, number: int) -> RunInfo:
        """Fires with run NUMBER of job NAME when it is over and on disk; JobError where it isn't kept, or the
        disk takes no record of its end.
        """
        job = self._job(name)
        waiting = self._service.runner.wait(job, number)
        if waiting is not None:
            await waiting
        record = self._service.store.run(job.id, number)
        if record is None:
            raise JobError(ENOENT, f"run {number} of {name} is not kept, or never was")
        if record.outcome is None:
            raise JobError(EIO, f"run {number} of {name} has ended, but the disk took no record of it")
        return _run_info(job, record)

    def subscribe(self, listener: Callable[[RunInfo], object]) -> Callable[[], None]:
        """Call LISTENER with each attempt that begins, its `outcome` None, and each run that is over.

        What is skipped or missed is over without having begun.  A run that is over is on disk.  What LISTENER
        raises is logged.  What is returned ends that.
        """

        def told(job: Job, record: RunRecord) -> None:
            listener(_run_info(job, record))

        self._service.listeners.append(told)
        return lambda: self._service.listeners.remove(told)

    # ---- helpers

    @property
    def _table(self) -> JobTable:
        table: JobTable | None = getattr(self._service, "table", None)
        if table is None:
            raise RuntimeError("the service was never started, and has no jobs before")
        return table

    def _job(self, name: str) -> Job:
        return self._table.job(name)

    async def _change(self, name: str, schedule: str | None, command: str | None, options: str) -> JobInfo:
        table, job = self._table, self._job(name)
        option_table.merge(job.options, options.encode())
        # A call can't have all options that a command can: while one becomes the other, it has the fewer.
        calls = command is not None and command.split()[:1] == [VERB]
        if command is not None and not calls:
            await table.set_command(job, command, actor=ACTOR)
        await table.set_options(job, options.encode(), actor=ACTOR)
        if command is not None and calls:
            await table.set_command(job, command, actor=ACTOR)
        if schedule is not None:
            await table.set_schedule(job, schedule, actor=ACTOR)
        return _job_info(job)


def _text(read: Callable[[int, int], bytes], offset: int = 0) -> str:
    """All that READ gives from OFFSET on."""
    parts = []
    while part := read(offset, READ):
        parts.append(part)
        offset += len(part)
    return b"".join(parts).decode(errors="replace")


def _job_info(job: Job) -> JobInfo:
    return JobInfo(
        name=job.name,
        schedule=job.schedule_text,
        command=job.command,
        options=job.options,
        owner=job.owner,
        started=job.started,
        next=_moment(job.next if job.started else None),
        running=tuple(job.active),
        runs=job.runs_total,
        failures=job.failures,
        last_success=_moment(job.last_success, NANO),
    )


def _run_info(job: Job, record: RunRecord) -> RunInfo:
    return RunInfo(
        job=job.name,
        number=record.number,
        scheduled=_moment(record.scheduled),
        started=_moment(record.started, NANO),
        ended=_moment(record.ended, NANO),
        outcome=record.outcome,
        exit=record.exit,
        signal=record.signal,
        attempts=record.attempts,
        detail=record.detail if record.outcome else "",
        missed=record.missed_count or 0,
    )


def _moment(time: int | None, unit: int = 1) -> datetime | None:
    """The TIME since 1970 in seconds, or in UNITs of which a second has so many."""
    return None if time is None else datetime.fromtimestamp(time / unit, timezone.utc)
