"""A jobd whose clock, disk and processes do what a seed says, and the laws that hold whatever that is."""

from __future__ import annotations

import gc
import os
import random
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from jobd.jobs.job import Job
from jobd.jobs.records import RunRecord
from jobd.jobs.run import MISSED
from jobd.testing import FakeProcess, MemoryJobd
from tests.jobs.memory import HOUR, ME, MINUTE

SEEDS = int(os.environ.get("JOBD_SEEDS", "300"))
"""How many seeds are tried; a nightly run tries thousands."""
FIRST_SEED = int(os.environ.get("JOBD_FIRST_SEED", "0"))
STEPS = 60

SCHEDULES = (
    "* * * * *",
    "*/7 * * * *",
    "0 * * * *",
    "30 2 * * *",
    "@every 90s",
    "0/20 * * * * * *",
    "15 3 1-7 * *",
)
OPTIONS = (
    "overlap skip\n",
    "overlap queue 2\n",
    "overlap replace\n",
    "overlap allow 2\n",
    "catchup none\n",
    "catchup all 3\ndeadline 1d\n",
    "jitter 40s\n",
    "retries 2\nretry-delay 5s\n",
    "timeout 30s\ngrace 5s\n",
    "timezone America/New_York\n",
    "default\n",
)


class Expected:
    """What was answered about a job: nothing of it may be lost."""

    def __init__(self, schedule: str) -> None:
        self.schedule = schedule
        self.started = False
        self.by_hand: set[int] = set()


class Simulation:
    """One seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.jobd = MemoryJobd(zone="Europe/Berlin", max_runs=self.random.choice((2, 64)))
        self.expected: dict[str, Expected] = {}
        self.seen: dict[int, dict[int, RunRecord]] = {}
        self.pending: list[Deferred[Any]] = []
        self.names = 0

    def close(self) -> None:
        self.jobd.close()

    def run_steps(self) -> None:
        for _ in range(STEPS):
            self.step()
        self.settle()
        gc.collect()

    # ---- what may happen

    def step(self) -> None:
        actions = {
            self.create: 2,
            self.start: 3,
            self.stop: 1,
            self.remove: 1,
            self.edit: 2,
            self.set_options: 3,
            self.run: 2,
            self.kill: 1,
            self.pass_time: 8,
            self.end_processes: 6,
            self.step_clock: 1,
            self.pause: 1,
            self.disk: 2,
            self.crash: 1,
            self.restart: 1,
        }
        [action] = self.random.choices(list(actions), list(actions.values()))
        action()

    def job(self) -> Job | None:
        names = [name for name in self.expected if self.jobd.table.find(name)]
        return self.jobd.table.find(self.random.choice(names)) if names else None

    def ask(self, change: Deferred[Any], answered: Any) -> None:
        """ANSWERED is called with what CHANGE gives, if it ever gives anything."""

        def refused(failure: Failure) -> None:
            failure.trap(Exception)

        change.addCallback(answered).addErrback(refused)

    def create(self) -> None:
        self.names += 1
        name, schedule = f"job{self.names}", self.random.choice(SCHEDULES)
        change = self.jobd.table.create(name, schedule, "true", owner=ME, group=ME, actor="me")

        def made(_: Job) -> None:
            self.expected[name] = Expected(schedule)

        self.ask(change, made)

    def start(self) -> None:
        if job := self.job():
            self.ask(self.jobd.table.start(job, actor="me"), self.noted(job, started=True))

    def stop(self) -> None:
        if job := self.job():
            self.ask(self.jobd.table.stop(job, actor="me"), self.noted(job, started=False))

    def edit(self) -> None:
        if job := self.job():
            schedule = self.random.choice(SCHEDULES)
            change = self.jobd.table.set_schedule(job, schedule, actor="me")
            self.ask(change, self.noted(job, schedule=schedule))

    def noted(self, job: Job, **facts: Any) -> Callable[[Any], None]:
        """What notes FACTS of JOB once they were answered."""
        expected = self.expected[job.name]

        def note(_: Any) -> None:
            for name, value in facts.items():
                setattr(expected, name, value)

        return note

    def remove(self) -> None:
        if job := self.job():
            # Until it is answered, it may be there or not.
            expected = self.expected.pop(job.name)

            def kept(failure: Failure) -> None:
                self.expected[job.name] = expected

            self.jobd.table.remove(job, actor="me").addErrback(kept)

    def set_options(self) -> None:
        if job := self.job():
            message = self.random.choice(OPTIONS).encode()
            self.ask(self.jobd.table.set_options(job, message, actor="me"), lambda _: None)

    def run(self) -> None:
        if job := self.job():
            change = self.jobd.table.run(job, actor="me")
            self.ask(change, self.expected[job.name].by_hand.add)

    def kill(self) -> None:
        job = self.job()
        if job and job.active:
            self.jobd.table.kill(job, self.random.choice((None, 9, 15, 1)), actor="me")

    def pass_time(self) -> None:
        for _ in range(self.random.randrange(1, 10)):
            self.jobd.clock.pass_time(self.random.choice((0.3, 1, 7, MINUTE, 5 * MINUTE)))
            self.look()

    def end_processes(self) -> None:
        for process in self.jobd.spawner.running:
            what = self.random.random()
            if what < 0.6:
                process.print(b"out\n")
                process.exit(self.random.choice((0, 0, 1)))
            elif what < 0.7:
                process.stubborn = True
            self.look()

    def step_clock(self) -> None:
        hours = self.random.choice((-5, -1, -0.1, 0.1, 1, 5, 50))
        self.jobd.clock.step(hours * HOUR)

    def pause(self) -> None:
        table = self.jobd.table
        self.ask(table.resume(actor="me") if table.paused else table.pause(actor="me"), lambda _: None)

    def disk(self) -> None:
        """The disk gets slow, quick, or fails for a while."""
        disk = self.jobd.disk
        what = self.random.randrange(4)
        if what == 0:
            disk.slow = True
        elif what == 1:
            disk.commit(self.random.randrange(4))
        elif what == 2:
            disk.refuse = lambda _change: self.random.random() < 0.3
        else:
            disk.refuse = lambda _change: False
            disk.slow = False
            disk.commit()

    def crash(self) -> None:
        self.check_records()
        self.healthy()
        self.jobd.crash() if self.random.random() < 0.8 else self.jobd.reboot()
        self.check_answers()

    def restart(self) -> None:
        self.healthy()
        self.jobd.disk.commit()
        self.jobd.restart()
        self.check_answers()

    def healthy(self) -> None:
        self.jobd.disk.slow = False
        self.jobd.disk.refuse = lambda _change: False

    # ---- the laws

    def look(self) -> None:
        """Overlap is kept at every moment."""
        by_job = Counter(self.job_of(process) for process in self.jobd.spawner.running)
        for job in self.jobd.table.after(0):
            # `allow 2` may just have been taken back, and what an earlier daemon lost may run still.
            assert by_job[job.name] <= 2, f"{by_job[job.name]} runs of {job.name} at a time"
            numbers = [run.number for run in self.jobd.service.runner.running.values() if run.job is job]
            assert len(set(numbers)) == len(numbers)

    def job_of(self, process: FakeProcess) -> str:
        for run in self.jobd.service.runner.running.values():
            if run.run_id == process.run_id:
                return run.job.name
        return ""

    def check_answers(self) -> None:
        """Nothing that was answered is lost."""
        for name, expected in self.expected.items():
            job = self.jobd.table.find(name)
            assert job is not None, f"{name} was answered, and is gone"
            assert (job.schedule_text, job.started) == (expected.schedule, expected.started), name
            if expected.by_hand:
                assert job.last_run >= max(expected.by_hand), f"run {max(expected.by_hand)} of {name} is gone"
        self.check_records()

    def check_records(self) -> None:
        """No instant is in a history twice, and what has ended stays as it is."""
        for job in self.jobd.table.after(0):
            seen = self.seen.setdefault(job.id, {})
            records = self.jobd.service.store.runs(job.id)
            for record in records:
                if record.outcome is not None:
                    known = seen.setdefault(record.number, record)
                    assert known == record, f"{known} became {record}"
            instants = Counter(
                record.scheduled
                for record in records
                if record.scheduled is not None and not record.missed_count
            )
            twice = [instant for instant, count in instants.items() if count > 1]
            assert not twice, f"{job.name}: {twice} twice"
            for gap in records:
                if gap.outcome == MISSED and gap.missed_count:
                    assert gap.scheduled <= gap.missed_to

    def settle(self) -> None:
        """Once the disk is sound and everything ends, every run has its end."""
        self.healthy()
        self.jobd.disk.commit()
        for job in [self.jobd.table.job(name) for name in self.expected]:
            self.ask(self.jobd.table.stop(job, actor="me"), self.noted(job, started=False))
        self.end_everything()
        # The next daemon ends what a failing disk let no record be made of.
        self.jobd.crash()
        self.end_everything()
        for job in self.jobd.table.after(0):
            for record in self.jobd.service.store.runs(job.id):
                assert record.outcome is not None, record
        self.check_answers()

    def end_everything(self) -> None:
        for _ in range(400):
            for process in self.jobd.spawner.running:
                process.exit()
            self.jobd.clock.pass_time(10)
            if not any(job.active or job.queue for job in self.jobd.table.after(0)):
                break
        for job in self.jobd.table.after(0):
            assert not job.active and not job.queue, (job.name, job.active, job.queue)


class SimulationTest(SynchronousTestCase):
    """Many seeds; one that fails replays exactly."""

    def test_laws(self) -> None:
        """Nothing answered is lost, no instant is there twice, every run has its end, overlap is kept."""
        for seed in range(FIRST_SEED, FIRST_SEED + SEEDS):
            simulation = Simulation(seed)
            try:
                with warnings.catch_warnings():
                    # Of changes that waited for their turn when jobd was killed.
                    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
                    simulation.run_steps()
            except Exception as error:
                raise self.failureException(f"seed {seed}: {error!r}") from error
            finally:
                simulation.close()
