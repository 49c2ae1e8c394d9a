"""A jobd whose clock, disk, processes and users do what a seed says, and the laws that hold in any case."""

from __future__ import annotations

import gc
import os
import random
import warnings
from collections import Counter
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from jobd.access import Access, User
from jobd.accounts import Accounts
from jobd.jobs.launch import Account, Here, Launcher
from jobd.jobs.records import RunRecord
from jobd.jobs.run import MISSED
from jobd.testing import FakeProcess, MemoryJobd
from tests.jobs.memory import HOUR, MINUTE
from tests.simulation.users import Known, SimulatedUser

_T = TypeVar("_T")

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


ROOT = User(0, 0, "root", frozenset({0}))
USERS = (ROOT, User(4001, 4001, "glenda", frozenset({4001})), User(4002, 4002, "rob", frozenset({4002})))


class SimulatedAccounts(Accounts):
    """A machine on which they have accounts, each with a group of the same name."""

    def find_uid(self, name: str) -> int | None:
        return next((user.uid for user in USERS if user.name == name), None)

    def find_gid(self, name: str) -> int | None:
        return self.find_uid(name)

    def group_of(self, user: User) -> str:
        return user.name


def look_up(name: str) -> Account:
    """The account of one of USERS."""
    [user] = [user for user in USERS if user.name == name]
    return Account(name, user.uid, user.gid, (user.gid,), "/")


class Simulation:
    """One seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.jobd = MemoryJobd(
            zone="Europe/Berlin",
            max_runs=self.random.choice((2, 64)),
            access=Access(daemon=ROOT, accounts=SimulatedAccounts()),
            launcher=Launcher(Here(uid=0, directory="/", umask=0o022), look_up),
        )
        self.wrong: list[str] = []
        self.users = [SimulatedUser(user, self.jobd, self.random, self.wrong) for user in USERS]
        self.known: dict[str, Known] = {}
        self.seen: dict[int, dict[int, RunRecord]] = {}
        self.names = 0

    def close(self) -> None:
        self.jobd.close()

    def run_steps(self) -> None:
        for _ in range(STEPS):
            self.step()
            assert not self.wrong, self.wrong
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
            self.hang_up: 1,
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

    def user(self) -> SimulatedUser:
        return self.random.choice(self.users)

    def job(self) -> Known | None:
        return self.random.choice([*self.known.values()]) if self.known else None

    def users_job(self) -> tuple[SimulatedUser, Known] | None:
        """Somebody who is about to change something: of three times two what he may."""
        if (job := self.job()) is None:
            return None
        user = self.user()
        if self.random.random() < 0.67 and user.user not in (ROOT, job.owner):
            [user] = [user for user in self.users if user.user == job.owner]
        return user, job

    def create(self) -> None:
        self.names += 1
        user = self.user()
        job = Known(f"job{self.names}", user.user, self.random.choice(SCHEDULES), f"echo {self.names}")
        self.known[job.name] = job
        user.create(job)

    def start(self) -> None:
        if found := self.users_job():
            SimulatedUser.start(*found)

    def stop(self) -> None:
        if found := self.users_job():
            SimulatedUser.stop(*found)

    def edit(self) -> None:
        if found := self.users_job():
            if self.random.random() < 0.5:
                SimulatedUser.set_schedule(*found, self.random.choice(SCHEDULES))
            else:
                SimulatedUser.set_command(*found, f"echo {self.random.random()}")

    def remove(self) -> None:
        if found := self.users_job():
            SimulatedUser.remove(*found)

    def set_options(self) -> None:
        if found := self.users_job():
            SimulatedUser.set_options(*found, self.random.choice(OPTIONS))

    def run(self) -> None:
        if found := self.users_job():
            SimulatedUser.run(*found)

    def kill(self) -> None:
        if found := self.users_job():
            SimulatedUser.kill(*found, self.random.choice(("", "9", "TERM", "HUP")))

    def hang_up(self) -> None:
        self.user().hang_up()

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
        [root] = [user for user in self.users if user.user == ROOT]
        change = root.client.write_file("/ctl", b"resume" if self.jobd.table.paused else b"pause")
        change.addErrback(lambda _: None)

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
        # What was committed last, nobody may have heard of.
        self.jobd.disk.commit(self.random.randrange(4), answer=False)
        self.healthy()
        self.jobd.crash() if self.random.random() < 0.8 else self.jobd.reboot()
        for user in self.users:
            user.forget()
        self.check_answers()

    def restart(self) -> None:
        self.healthy()
        self.jobd.disk.commit()
        for user in self.users:
            user.hang_up()
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
        """Nothing that was answered is lost, and every user is shown it."""
        client = self.user().client
        names = self.now(client.listdir("/jobs"))
        for job in [*self.known.values()]:
            exists = job.name in names
            assert job.exists.settle(exists), f"{job.name}: {exists}, but not {job.exists}"
            if not exists:
                del self.known[job.name]
                continue
            for file, facts in (("schedule", job.schedule), ("ctl", job.state)):
                found = self.now(client.read_file(f"/jobs/{job.name}/{file}")).decode().partition("\n")[0]
                assert facts.settle(found), f"{file} of {job.name}: {found}, but not {facts}"
            model = self.jobd.table.job(job.name)
            assert job.command.settle(model.command), f"{job.name}: {model.command}, but not {job.command}"
            assert model.last_run >= max(job.by_hand, default=0), f"a run of {job.name} is gone"
        self.check_records()

    def now(self, asked: Deferred[_T]) -> _T:
        """What ASKED gives, which waits for nobody."""
        results: list[_T] = []
        asked.addCallback(results.append)
        assert results, asked
        return results[0]

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
        for job in [*self.known.values()]:
            [user] = [user for user in self.users if user.user == job.owner]
            user.stop(job)
        self.end_everything()
        self.check_ends()
        self.jobd.crash()
        for user in self.users:
            user.forget()
        self.end_everything()
        self.check_ends()
        self.check_answers()

    def check_ends(self) -> None:
        """Every run has an end, those included whose record the disk refused at first."""
        for job in self.jobd.table.after(0):
            for record in self.jobd.service.store.runs(job.id):
                assert record.outcome is not None, record

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
