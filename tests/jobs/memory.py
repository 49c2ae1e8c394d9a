"""What the tests of the job layer share: a jobd in memory, and short words for what they do with it."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from jobd.accounts import User
from jobd.jobs.job import Job
from jobd.jobs.records import RunRecord
from jobd.jobs.run import history_line
from jobd.testing import BEGIN, FakeProcess, MemoryJobd

ME = User.by_uid(os.geteuid()).name
MINUTE = 60
HOUR = 3600
DAY = 86400


class MemoryCase(SynchronousTestCase):
    """A jobd in memory; it is 2026-01-01T00:00:00Z, a Thursday."""

    zone = "UTC"
    more: dict[str, Any] = {}  # noqa: RUF012

    def setUp(self) -> None:
        self.jobd = MemoryJobd(zone=self.zone, **self.more)
        self.addCleanup(self.jobd.close)
        self.clock = self.jobd.clock

    def done(self, change: Deferred[Any]) -> Any:
        """What CHANGE gives, which is there already."""
        return self.successResultOf(change)

    def create(self, schedule: str = "* * * * *", options: str = "", name: str = "job") -> Job:
        """A stopped job."""
        table = self.jobd.table
        job = self.done(table.create(name, schedule, "true", owner=ME, group=ME, actor="me"))
        if options:
            self.done(table.set_options(job, options.encode(), actor="me"))
        return job

    def start(self, schedule: str = "* * * * *", options: str = "", name: str = "job") -> Job:
        """A started job."""
        job = self.create(schedule, options, name)
        self.done(self.jobd.table.start(job, actor="me"))
        return job

    def again(self, job: Job) -> Job:
        """JOB as the next daemon has it."""
        return self.jobd.table.job(job.name)

    def run_by_hand(self, job: Job) -> int:
        return self.done(self.jobd.table.run(job, actor="me"))

    @property
    def running(self) -> list[FakeProcess]:
        return self.jobd.spawner.running

    def end_all(self, status: int = 0) -> None:
        """End what runs, and what starts when it ends, and so on."""
        while self.running:
            for process in self.running:
                process.exit(status)
            self.clock.pass_time(0)

    def records(self, job: Job) -> list[RunRecord]:
        return self.jobd.service.store.runs(job.id)

    def outcomes(self, job: Job) -> list[str | None]:
        return [record.outcome for record in self.records(job)]

    def instants(self, job: Job) -> list[int | None]:
        """The instants of JOB's runs that had a process, in seconds from the beginning."""
        return [
            record.scheduled if record.scheduled is None else record.scheduled - int(BEGIN)
            for record in self.records(job)
            if record.started
        ]

    def history(self, job: Job) -> str:
        return "\n".join(history_line(record) for record in self.records(job))

    def log_of(self, job: Job) -> str:
        """The log of JOB, without the times."""
        log = self.jobd.service.journal.log_of(job)
        lines = log.read(log.start, 1 << 20).decode(errors="replace").splitlines()
        return "\n".join(line.split("UTC:", 1)[-1] for line in lines)

    def events(self) -> str:
        reader = self.jobd.service.journal.events.reader()
        return reader.read(0, 1 << 22).decode()
