"""The table of jobs: which there are, and whether they fire."""

from __future__ import annotations

from errno import EEXIST
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from jobd.jobs import options as option_table
from jobd.jobs.changes import NANO, JobChanges
from jobd.jobs.errors import JobError
from jobd.jobs.job import Job, read_schedule
from jobd.jobs.store import JobRecord
from jobd.jobs.texts import check_command, check_name


class JobTable(JobChanges):
    """All jobs, and every change to them; what is said of changes in `JobChanges` holds here too."""

    def __init__(self, *, jobs_mode: int = 0o711, **parts: Any) -> None:
        """JOBS_MODE is the mode of a new job's directory; PARTS are for `JobChanges`."""
        super().__init__(**parts)
        self._jobs_mode = jobs_mode
        self.paused = False

    def create(
        self,
        name: str,
        schedule: str,
        command: str,
        *,
        owner: str,
        group: str,
        actor: str,
        most: int | None = None,
    ) -> Deferred[Job]:
        """A new stopped job. SCHEDULE may be empty: the job then can't be started before it has one.

        EDQUOT where OWNER has MOST jobs already.
        """
        return self._turns.take(name, self._create, name, schedule, command, owner, group, actor, most)

    def _create(
        self, name: str, schedule: str, command: str, owner: str, group: str, actor: str, most: int | None
    ) -> Deferred[Job]:
        # No coroutine: it would take longer than everything else here.
        check_name(name)
        self._callables.check(check_command(command), owner, option_table.DEFAULTS)
        if schedule:
            self._check_comes(read_schedule(schedule, option_table.DEFAULTS, self.zone, name))
        if name in self._names:
            raise JobError(EEXIST, f"there is a job {name} already")
        now = self._clock.now_ns()
        record = JobRecord(
            id=self._store.next_job_id(),
            name=name,
            seed=name,
            owner=owner,
            group=group,
            mode=self._jobs_mode,
            schedule=schedule,
            command=command,
            created=now,
            changed=now,
        )
        self._count(owner, most)

        def created(_: None) -> Job:
            job = Job(record)
            self._insert(job)
            self._touched(now)
            self._journal.changed("created", job, actor)
            return job

        def refused(failure: Failure) -> Failure:
            self._owned[owner] -= 1
            return failure

        return self._store.create_job(record).addCallbacks(created, refused)

    def remove(self, job: Job, *, actor: str) -> Deferred[None]:
        """Delete JOB with its log and history. EBUSY while a run is in progress."""
        return self._turns.take(job.id, self._remove, job, actor)

    async def _remove(self, job: Job, actor: str) -> None:
        self._check(job, actor)
        self._check_idle(job)
        # Nothing of it may start any more once it is to go.
        self._scheduler.discard(job)
        try:
            await self._store.delete_job(job.id)
        except Exception:
            if job.started:
                self._scheduler.add(job)
            raise
        job.removed = True
        self._take_out(job)
        self._touched(self._clock.now_ns())
        self._journal.changed("removed", job, actor)
        self._journal.remove(job)

    def rename(self, job: Job, name: str, *, actor: str) -> Deferred[None]:
        """Call JOB NAME. Its schedule, log and history stay as they are."""
        return self._turns.take(job.id, self._rename, job, name, actor)

    async def _rename(self, job: Job, name: str, actor: str) -> None:
        self._check(job, actor)
        check_name(name)
        if name == job.name:
            return
        await self._turns.take(name, self._rename_to, job, name, actor)

    async def _rename_to(self, job: Job, name: str, actor: str) -> None:
        if name in self._names:
            raise JobError(EEXIST, f"there is a job {name} already")
        now = self._clock.now_ns()
        await self._store.update_job(job.id, name=name, changed=now, version=job.version + 1)
        old = job.name
        del self._names[old]
        job.name = name
        self._names[name] = job
        self._touched(now, job)
        self._journal.changed("renamed", job, actor, old=old)

    def pause(self, *, actor: str) -> Deferred[None]:
        """Have nothing fire until `resume`, over restarts too."""
        return self._turns.take("/", self._set_paused, True, actor)

    def resume(self, *, actor: str) -> Deferred[None]:
        """Fire again; what fell due meanwhile is owed no more."""
        return self._turns.take("/", self._set_paused, False, actor)

    async def _set_paused(self, paused: bool, actor: str) -> None:
        if paused == self.paused:
            return
        second = self._clock.now_ns() // NANO
        await self._store.set_meta("paused", "1" if paused else "0", resumed=str(second))
        self.paused = paused
        if paused:
            self._scheduler.stop()
        else:
            for job in self._by_id.values():
                if job.started:
                    job.watermark = second
            self.start_scheduler()
        self._journal.whole("paused" if paused else "resumed", actor)

    def start_scheduler(self) -> None:
        """Have the started jobs run at their instants."""
        self._scheduler.start(job for job in self._by_id.values() if job.started)

    def reread_schedules(self) -> None:
        """Go by the rules of time zones as `forget_zones` has left them."""
        for job in self._by_id.values():
            job.schedule = None
            if job.started:
                self._read_schedule(job)
        self._scheduler.renew(job for job in self._by_id.values() if job.started)
