"""Which jobs there are: by name, by id, and how many each owner has."""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Iterator
from errno import EDQUOT, ENOENT
from typing import TYPE_CHECKING

from twisted.logger import Logger

from jobd.jobs.errors import JobError
from jobd.jobs.job import Job

if TYPE_CHECKING:
    from jobd.jobs.store import JobRecord


class JobIndex:
    """The jobs in memory. `JobTable` is it, with the changes."""

    log = Logger()

    def __init__(self, zone: str) -> None:
        """ZONE is the daemon's own time zone, an IANA name."""
        self.zone = zone
        self._names: dict[str, Job] = {}
        self._ids: list[int] = []
        self._by_id: dict[int, Job] = {}
        self._owned: Counter[str] = Counter()
        """How many jobs each owner has, those included that are being made."""

    # ---- looking

    def __len__(self) -> int:
        return len(self._ids)

    def find(self, name: str) -> Job | None:
        """The job called NAME."""
        return self._names.get(name)

    def job(self, name: str) -> Job:
        """The job called NAME; JobError ENOENT where there is none."""
        job = self._names.get(name)
        if job is None:
            raise JobError(ENOENT, f"there is no job {name}")
        return job

    def after(self, job_id: int) -> Iterator[Job]:
        """The jobs whose id is above JOB_ID, ascending, whatever is added or removed meanwhile."""
        while True:
            index = bisect.bisect_right(self._ids, job_id)
            if index == len(self._ids):
                return
            job_id = self._ids[index]
            yield self._by_id[job_id]

    def next_of(self, job: Job, after: int) -> int | None:
        """The first instant of JOB later than AFTER, started or not; None where it has none."""
        try:
            job.load_schedule(self.zone)
        except JobError:
            return None
        return job.next_after(after)

    def zone_of(self, job: Job) -> str:
        """The time zone of JOB's schedule."""
        return job.options.timezone or self.zone

    # ---- loading

    def load(self, record: JobRecord, *, handled: int | None = None) -> Job:
        """Take in a job from the store. Instants up to HANDLED are owed no more, if it is given."""
        job = Job(record)
        self._owned[job.owner] += 1
        if handled is not None and job.watermark is not None:
            job.watermark = max(job.watermark, handled)
        self._insert(job)
        if job.started:
            self._read_schedule(job)
        return job

    def _read_schedule(self, job: Job) -> None:
        """Read the schedule of a started JOB; it does not run where that can't be read."""
        try:
            job.load_schedule(self.zone)
        except JobError as error:
            self.log.error("job {name} can't run: {error}", name=job.name, error=error)

    def _insert(self, job: Job) -> None:
        self._names[job.name] = job
        self._by_id[job.id] = job
        bisect.insort(self._ids, job.id)

    def _take_out(self, job: Job) -> None:
        self._owned[job.owner] -= 1
        del self._names[job.name], self._by_id[job.id]
        del self._ids[bisect.bisect_left(self._ids, job.id)]

    def _count(self, owner: str, most: int | None) -> None:
        """Count one more job of OWNER, if it has less than MOST."""
        if most is not None and self._owned[owner] >= most:
            raise JobError(EDQUOT, f"{owner} has {most} jobs, which is all that --max-jobs-per-user allows")
        self._owned[owner] += 1
