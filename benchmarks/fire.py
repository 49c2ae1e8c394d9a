"""Jobs that are due in the same second: how late each is called, and no process is started.

    python benchmarks/fire.py                 1,000 and 10,000 jobs, beside APScheduler where it is installed
    python benchmarks/fire.py --jobs 5000

jobd is its scheduler, on the real reactor and the real clocks, with a `dispatch` that writes down the time.
APScheduler (3.x) has a Twisted scheduler too; it gets the same instant, with the least that a job can do
and no limit to how late it may be.  Both run in this process, one after the other, on the same load.  A line
each: milliseconds from the instant to the call, the median, the 99th percentile and the last, and seconds of
processor time from a second before the instant to the last call.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.task import deferLater, react

from jobd.jobs.clock import SystemClock
from jobd.jobs.job import Job
from jobd.jobs.records import JobRecord
from jobd.jobs.scheduler import Scheduler

try:
    from apscheduler.schedulers.twisted import TwistedScheduler
except ImportError:
    TwistedScheduler = None

AHEAD = 3
"""Seconds from the end of the preparations to the instant, at least."""


class Calls:
    """Writes down when calls come; `done` fires at the last."""

    def __init__(self, count: int) -> None:
        self.times: list[float] = []
        self.done: Deferred[None] = Deferred()
        self._count = count

    def __call__(self, *_: object) -> None:
        self.times.append(time.time())
        if len(self.times) == self._count:
            self.done.callback(None)


def jobd(count: int, calls: Calls) -> tuple[int, Callable[[], object]]:
    """COUNT started jobs of jobd's scheduler; their instant, and what ends them."""
    scheduler = Scheduler(SystemClock(reactor), dispatch=calls, missed=calls)
    scheduler.start([])
    jobs = []
    for number in range(1, count + 1):
        record = JobRecord(number, f"job{number}", "", "", "", 0, "* * * * * * *", "true", started=True)
        jobs.append(Job(record))
        jobs[-1].load_schedule("UTC")
    instant = int(time.time()) + AHEAD + count // 5000
    for job in jobs:
        job.watermark = instant - 1
        scheduler.add(job)
    return instant, scheduler.stop


def apscheduler(count: int, calls: Calls) -> tuple[int, Callable[[], object]]:
    """The same with APScheduler."""
    # The executor that calls a job in the reactor's thread: the quickest.
    scheduler = TwistedScheduler(
        reactor=reactor,
        timezone="UTC",
        executors={"default": {"class": "apscheduler.executors.debug:DebugExecutor"}},
    )
    scheduler.start()
    scheduler.pause()
    instant = int(time.time()) + AHEAD + count // 500
    when = datetime.fromtimestamp(instant, timezone.utc)
    for _ in range(count):
        scheduler.add_job(calls, "cron", second="*", next_run_time=when, misfire_grace_time=None)
    scheduler.resume()
    return instant, lambda: scheduler.shutdown(wait=False)


@inlineCallbacks
def measure(name: str, count: int, prepare: Callable[[int, Calls], Any]) -> Any:
    """Run one way and print its line."""
    calls = Calls(count)
    instant, stop = prepare(count, calls)
    yield deferLater(reactor, max(0.0, instant - 1 - time.time()), lambda: None)
    begun = time.process_time()
    yield calls.done
    spent = time.process_time() - begun
    stop()
    late = sorted((called - instant) * 1000 for called in calls.times[:count])
    figures = statistics.median(late), late[int(len(late) * 0.99)], late[-1]
    print(f"{name:<12} {count:>7,}", *(f"{ms:>9.1f}" for ms in figures), f"{spent:>9.2f}", flush=True)


@inlineCallbacks
def main(_reactor: Any) -> Any:
    """All ways, in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--jobs", type=int, nargs="*", default=[1_000, 10_000])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"{'':<12} {'jobs':>7} {'p50 ms':>9} {'p99 ms':>9} {'last ms':>9} {'CPU s':>9}")
    for count in options.jobs:
        for _ in range(options.rounds):
            yield measure("jobd", count, jobd)
            if TwistedScheduler is not None:
                yield measure("APScheduler", count, apscheduler)
    if TwistedScheduler is None:
        print("APScheduler is not installed.")


if __name__ == "__main__":
    react(main)
