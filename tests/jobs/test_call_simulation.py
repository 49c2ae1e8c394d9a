"""Callables that do what a seed says, in a jobd that is stopped, crashes and has a slow disk meanwhile."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from jobd.jobs.callables import Call
from jobd.jobs.errors import JobError
from jobd.testing import MemoryJobd
from tests.jobs.memory import MINUTE

SEEDS = 60
STEPS = 80
MAX_RUNS = 3
OPTIONS: tuple[dict[str, object], ...] = (
    {},
    {"overlap": "queue 2"},
    {"overlap": "replace"},
    {"overlap": "allow 2"},
    {"retries": 2, "retry-delay": "5s"},
    {"timeout": "30s", "grace": "5s", "retries": 1},
    {"jitter": "20s", "catchup": "all 3"},
)


class Work:
    """One call in progress."""

    def __init__(self, call: Call, stubborn: bool) -> None:
        self.call = call
        self.stubborn = stubborn
        self.cancelled = 0
        self.result: Deferred[None] = Deferred()

    async def go(self) -> None:
        while True:
            try:
                await self._wait()
                return
            except CancelledError:
                self.cancelled += 1
                if not self.stubborn:
                    raise

    def _wait(self) -> Deferred[None]:
        waiting: Deferred[None] = Deferred()
        self.result.addCallbacks(
            lambda _: None if waiting.called else waiting.callback(None),
            lambda why: None if waiting.called else waiting.errback(why),
        )
        return waiting


class Simulation:
    """One seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.works: list[Work] = []
        self.calls: Counter[tuple[str, int, int]] = Counter()
        self.jobd = MemoryJobd(callables={"work": self.work}, max_runs=MAX_RUNS)
        for number in range(4):
            options = self.random.choice(OPTIONS)
            self.jobd.jobs.add(
                f"job{number}", self.random.choice(("* * * * *", "@every 45s")), "@call work", options
            )

    def work(self, call: Call) -> Any:
        self.calls[call.job, call.run, call.attempt] += 1
        call.write("begun\n")
        what = self.random.random()
        if what < 0.3:
            return what
        if what < 0.4:
            raise OSError("at once")
        self.works.append(Work(call, stubborn=what < 0.6))
        return self.works[-1].go()

    def step(self) -> None:
        actions = {
            self.pass_time: 8,
            self.end_some: 5,
            self.kill: 2,
            self.run: 2,
            self.start_or_stop: 1,
            self.disk: 1,
            self.crash: 0.3,
            self.restart: 0.3,
        }
        [action] = self.random.choices(list(actions), list(actions.values()))
        action()
        self.look()

    def name(self) -> str:
        return f"job{self.random.randrange(4)}"

    def pass_time(self) -> None:
        self.jobd.clock.pass_time(self.random.choice((0.3, 4, 31, MINUTE, 2 * MINUTE)))

    def end_some(self) -> None:
        for work in self.works[:]:
            if self.random.random() < 0.5:
                self.works.remove(work)
                if self.random.random() < 0.7:
                    work.result.callback(None)
                else:
                    work.result.errback(ValueError("later"))

    def kill(self) -> None:
        try:
            self.jobd.jobs.kill(self.name(), self.random.choice((None, 9, 15)))
        except JobError:
            pass

    def run(self) -> None:
        self.jobd.jobs.run(self.name()).addErrback(lambda why: why.trap(JobError))

    def start_or_stop(self) -> None:
        jobs, name = self.jobd.jobs, self.name()
        change = jobs.stop(name) if jobs.get(name).started else jobs.start(name)
        change.addErrback(lambda why: why.trap(JobError))

    def disk(self) -> None:
        self.jobd.disk.slow = not self.jobd.disk.slow
        if not self.jobd.disk.slow:
            self.jobd.disk.commit()

    def healthy(self) -> None:
        self.jobd.disk.slow = False
        self.jobd.disk.commit()

    def crash(self) -> None:
        self.healthy()
        self.works.clear()
        self.jobd.crash()

    def restart(self) -> None:
        self.healthy()
        stopped = self.jobd.stop()
        self.jobd.clock.pass_time(11)
        assert stopped.called, "a stop waits for longer than the grace"
        assert not self.jobd.service.runner.running
        self.jobd._start()

    def look(self) -> None:
        """No attempt is called twice, and there are never more in progress than places."""
        assert not [key for key, count in self.calls.items() if count > 1], self.calls
        runner = self.jobd.service.runner
        assert 0 <= runner._free <= MAX_RUNS
        assert len(runner.running) <= MAX_RUNS - runner._free
        for job in self.jobd.jobs:
            most = job.options.overlap.number if job.options.overlap.name == "allow" else 1
            calling = [run for run in runner.running.values() if run.job.name == job.name]
            assert len(calling) <= most, f"{len(calling)} of {job.name}"

    def settle(self) -> None:
        """Once all is sound and nothing new comes, every run has its end, and every place is free."""
        self.healthy()
        for job in self.jobd.jobs:
            self.jobd.jobs.stop(job.name)
        for _ in range(20):
            for work in self.works:
                work.result.callback(None)
            self.works.clear()
            self.jobd.clock.pass_time(MINUTE)
        runner = self.jobd.service.runner
        assert (runner._free, runner.running) == (MAX_RUNS, {})
        for job in self.jobd.jobs:
            for run in self.jobd.jobs.history(job.name):
                assert run.outcome is not None, run
                called = max((key[2] for key in self.calls if key[:2] == (job.name, run.number)), default=0)
                assert called in (run.attempts, run.attempts - 1) or run.outcome == "lost", (run, called)


class CallSimulationTest(SynchronousTestCase):
    """Many seeds."""

    def test_laws(self) -> None:
        """No attempt is called twice, no place is lost, every run has its end, and stops heed the grace."""
        for seed in range(SEEDS):
            simulation = Simulation(seed)
            self.addCleanup(simulation.jobd.close)
            try:
                for _ in range(STEPS):
                    simulation.step()
                simulation.settle()
            except Exception as error:
                raise self.failureException(f"seed {seed}: {error!r}") from error
