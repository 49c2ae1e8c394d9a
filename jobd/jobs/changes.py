"""Changes of a job, while there is one.

A change is checked, committed, and only then made in memory and answered: what was answered is on disk,
and nobody sees what is not.  Changes of one job wait for each other; those of different jobs share
commits.
"""

from __future__ import annotations

from errno import EBUSY, EINVAL, ENOENT
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from jobd.jobs import options as option_table
from jobd.jobs.actor import Actor
from jobd.jobs.errors import JobError
from jobd.jobs.index import JobIndex
from jobd.jobs.job import Job, read_schedule
from jobd.jobs.options import Options
from jobd.jobs.texts import check_command
from jobd.jobs.turns import Turns

if TYPE_CHECKING:
    from jobd.jobs.callables import Callables
    from jobd.jobs.clock import IClock
    from jobd.jobs.journal import Journal
    from jobd.jobs.runner import Runner
    from jobd.jobs.scheduler import Scheduler
    from jobd.jobs.store import Store
    from jobd.schedule import Schedule

NANO = 1_000_000_000


class JobChanges(JobIndex):
    """The jobs, and every change that leaves a job where it is.

    `actor` is, in every change, who asks for it: in words, for `/events`, and as an `Actor` with the right to
    change the job, which is asked when the change has its turn.  Every change returns a Deferred
    that fires after its commit, or fails with `JobError`, or with `StoreError` where the disk refuses.  To
    cancel it is to hear no more of the change, which is made all the same.
    """

    def __init__(
        self,
        *,
        clock: IClock,
        store: Store,
        journal: Journal,
        scheduler: Scheduler,
        runner: Runner,
        callables: Callables,
        zone: str,
    ) -> None:
        """ZONE is the daemon's own time zone, an IANA name."""
        super().__init__(zone)
        self._clock = clock
        self._store = store
        self._journal = journal
        self._scheduler = scheduler
        self._runner = runner
        self._callables = callables
        # Changes of a job wait for each other under its id; what makes a name, under the name.
        self._turns = Turns()
        self.changed = clock.now_ns()
        """When a job was made, removed or changed last, in nanoseconds."""
        self.version = 0
        """Counts those changes."""

    def start(self, job: Job, *, actor: str) -> Deferred[None]:
        """Have JOB run at its instants from now on; nothing earlier is owed."""
        return self._turns.take(job.id, self._start, job, actor)

    async def _start(self, job: Job, actor: str) -> None:
        self._check(job, actor)
        if job.started:
            return
        if not job.command:
            raise JobError(EINVAL, f"job {job.name} has no command yet: write one to its cmd file")
        now = self._clock.now_ns()
        schedule = job.load_schedule(self.zone)
        second = now // NANO
        self._check_comes(schedule)
        anchor = second if job.anchor is None and schedule.kind == "every" else job.anchor
        await self._store.update_job(
            job.id,
            started=True,
            started_at=now,
            watermark=second,
            anchor=anchor,
            changed=now,
            version=job.version + 1,
        )
        if anchor is not None and anchor != job.anchor:
            job.anchor, job.schedule = anchor, schedule.anchored(anchor)
        job.started = True
        job.watermark = second
        self._touched(now, job)
        self._scheduler.add(job)
        self._journal.changed("started", job, actor)

    def stop(self, job: Job, *, actor: str) -> Deferred[None]:
        """Have JOB run no more. A run in progress goes on; what waits to run is dropped."""
        return self._turns.take(job.id, self._stop, job, actor)

    async def _stop(self, job: Job, actor: str) -> None:
        self._check(job, actor)
        if not job.started:
            return
        now = self._clock.now_ns()
        await self._store.update_job(job.id, started=False, changed=now, version=job.version + 1)
        job.started = False
        self._scheduler.discard(job)
        self._touched(now, job)
        self._journal.changed("stopped", job, actor)
        self._runner.drop_waiting(job, "the job was stopped")

    def end_if_exhausted(self, job: Job) -> None:
        """Stop JOB if nothing of it runs and it has no further instant, as an `@at` that ran has none."""
        if self._is_exhausted(job):
            self._turns.take(job.id, self._end_exhausted, job).addErrback(
                lambda failure: self.log.error(
                    "job {job} can't be stopped: {why}", job=job.name, why=failure.getErrorMessage()
                )
            )

    async def _end_exhausted(self, job: Job) -> None:
        if self._is_exhausted(job):
            await self._stop(job, "jobd")

    @staticmethod
    def _is_exhausted(job: Job) -> bool:
        if not job.started or job.removed or job.active or job.queue or job.next is not None:
            return False
        if job.schedule is None or job.schedule.kind == "reboot":
            return False
        return job.watermark is not None and job.next_after(job.watermark) is None

    def set_schedule(self, job: Job, text: str, *, actor: str) -> Deferred[None]:
        """Give JOB another schedule; what the old one owed is forgotten."""
        return self._turns.take(job.id, self._set_schedule, job, text, actor)

    async def _set_schedule(self, job: Job, text: str, actor: str) -> None:
        await self._set_timing(job, text, job.options, "schedule", actor)

    def set_options(self, job: Job, data: bytes, *, actor: str) -> Deferred[None]:
        """Change JOB's options as the message DATA says."""
        return self._turns.take(job.id, self._set_options, job, data, actor)

    async def _set_options(self, job: Job, data: bytes, actor: str) -> None:
        options = option_table.merge(job.options, data)
        self._callables.check(job.command, job.owner, options)
        if (options.timezone, options.dst) != (job.options.timezone, job.options.dst):
            await self._set_timing(job, job.schedule_text, options, "options", actor)
        elif options != job.options:
            self._check(job, actor)
            now = self._clock.now_ns()
            await self._store.update_job(
                job.id,
                options=option_table.kept(options),
                changed=now,
                version=job.version + 1,
            )
            job.options = options
            self._touched(now, job)
            self._journal.changed("options", job, actor)

    async def _set_timing(self, job: Job, text: str, options: Options, what: str, actor: str) -> None:
        self._check(job, actor)
        if text == job.schedule_text and options == job.options:
            return
        now = self._clock.now_ns()
        second = now // NANO
        # A new @every counts from its own first start.
        anchor = job.anchor if text == job.schedule_text else second if job.started else None
        schedule = read_schedule(text, options, self.zone, job.seed, anchor) if text else None
        if schedule is not None:
            self._check_comes(schedule)
        await self._store.update_job(
            job.id,
            schedule=text,
            options=option_table.kept(options),
            anchor=anchor,
            watermark=second if job.started else job.watermark,
            changed=now,
            version=job.version + 1,
        )
        job.schedule_text, job.schedule, job.options, job.anchor = text, schedule, options, anchor
        self._touched(now, job)
        self._journal.changed(what, job, actor)
        if job.started:
            self._scheduler.discard(job)
            # The old schedule went on during the commit: what fell due meanwhile is not owed again.
            job.watermark = self._clock.now_ns() // NANO
            self._scheduler.add(job)

    def put_draft(self, job: Job, command: str, *, actor: str) -> Deferred[None]:
        """Keep COMMAND on disk, not yet in use: the file it is written to is still open."""
        return self._turns.take(job.id, self._put_draft, job, command, actor)

    async def _put_draft(self, job: Job, command: str, actor: str) -> None:
        self._check(job, actor)
        self._callables.check_begun(check_command(command), job.owner)
        await self._store.put_draft(job.id, command)

    def drop_draft(self, job: Job) -> Deferred[None]:
        """Forget what `put_draft` kept."""
        return self._turns.take(job.id, self._drop_draft, job)

    async def _drop_draft(self, job: Job) -> None:
        await self._store.drop_draft(job.id)

    def set_command(self, job: Job, command: str, *, actor: str) -> Deferred[None]:
        """Have the next runs of JOB use COMMAND."""
        return self._turns.take(job.id, self._set_command, job, command, actor)

    async def _set_command(self, job: Job, command: str, actor: str) -> None:
        self._check(job, actor)
        self._callables.check(check_command(command), job.owner, job.options)
        if command == job.command:
            await self._store.drop_draft(job.id)
            return
        now = self._clock.now_ns()
        await self._store.take_draft(job.id, command=command, changed=now, version=job.version + 1)
        job.command = command
        self._touched(now, job)
        self._journal.changed("command", job, actor)

    def set_access(self, job: Job, *, actor: str, **columns: Any) -> Deferred[None]:
        """Change the `mode`, `owner` or `group` of JOB.

        A new owner finds the job stopped, as chown(2) takes the setuid bit away: nothing that the old one
        wrote last runs as the new one before somebody has looked.  EBUSY while a run is in progress.
        """
        return self._turns.take(job.id, self._set_access, job, actor, columns)

    async def _set_access(self, job: Job, actor: str, columns: dict[str, Any]) -> None:
        self._check(job, actor)
        changes = {name: value for name, value in columns.items() if getattr(job, name) != value}
        if not changes:
            return
        if "owner" in changes:
            self._callables.check(job.command, changes["owner"], job.options)
            self._check_idle(job)
            await self._stop(job, actor)
            # What fell due while that was committed.
            self._check_idle(job)
        now = self._clock.now_ns()
        await self._store.update_job(job.id, **changes, changed=now, version=job.version + 1)
        self._owned[job.owner] -= 1
        for name, value in changes.items():
            setattr(job, name, value)
        self._owned[job.owner] += 1
        self._touched(now, job)
        self._journal.changed("access", job, actor)

    def run(self, job: Job, *, actor: str) -> Deferred[int]:
        """Run JOB once, now; the number of that run. EBUSY where `overlap` would skip it."""
        return self._turns.take(job.id, self._run, job, actor)

    async def _run(self, job: Job, actor: str) -> int:
        self._check(job, actor)
        if not job.command:
            raise JobError(EINVAL, f"job {job.name} has no command yet: write one to its cmd file")
        return await self._runner.run_by_hand(job, actor)

    def kill(self, job: Job, signum: int | None, *, actor: str) -> None:
        """End the runs of JOB that are in progress, or send them SIGNUM."""
        self._check(job, actor)
        self._runner.kill(job, signum)
        self._journal.changed("kill", job, actor)

    # ---- helpers

    def _check_comes(self, schedule: Schedule) -> None:
        now = self._clock.now_ns() // NANO
        if schedule.kind != "reboot" and schedule.next_epoch(now) is None:
            raise JobError(EINVAL, f"schedule: {schedule.text} has no time from now on")

    @staticmethod
    def _check_idle(job: Job) -> None:
        numbers = ", ".join(map(str, [*job.active, *(run.number for run in job.queue)]))
        if numbers:
            raise JobError(
                EBUSY, f"job {job.name}: run {numbers} is in progress; kill it or wait for its end"
            )

    @staticmethod
    def _check(job: Job, actor: str) -> None:
        if job.removed:
            raise JobError(ENOENT, f"there is no job {job.name} any more")
        if isinstance(actor, Actor):
            actor.check(job)

    def _touched(self, now: int, job: Job | None = None) -> None:
        self.changed = now
        self.version += 1
        if job is not None:
            job.changed = now
            job.version += 1
