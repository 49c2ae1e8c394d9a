"""When jobs are due: one heap of instants, one armed callLater, and an eye on the clock.

The chain: `callLater` is armed for the earliest instant of all jobs.  When it wakes us, every job whose
instant has come is handed to `dispatch`, in slices of a few milliseconds, so that the file service stays
awake while thousands start; only then are their next instants computed, and the call is armed anew.

The clock: a tick once a second of monotonic time compares both clocks.  Where they moved apart by a
second or more the wall clock was set, or the machine was suspended.  Forward, the instants in between
were missed, and `missed` hears of them.  Backward, an instant that was handled is not handled again: a
fixed-time schedule waits until the clock has caught up with its watermark; any other goes by the new
clock, but starts no instant that its history holds.  Back by more than three hours, the new clock is
accepted as it is (cron.c of cronie draws the line there too).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from typing import Any

from twisted.logger import Logger

from jobd.jobs.clock import IClock
from jobd.jobs.job import Job

NANO = 1_000_000_000
SLICE = 0.004
"""Seconds of dispatching after which the reactor gets a turn."""
STEP = 1.0
"""Seconds by which the clocks may drift apart between two ticks before that counts as a step."""
ACCEPTED_STEP = 3 * 3600
"""Seconds back beyond which a fixed-time schedule follows the clock."""


class Scheduler:
    """Hands each started job to `dispatch` at its instants."""

    log = Logger()

    def __init__(
        self,
        clock: IClock,
        dispatch: Callable[[Job, int], object],
        missed: Callable[[Job, int, int], object],
        stepped: Callable[[float], object],
    ) -> None:
        """`dispatch(job, instant)` starts a run; `missed(job, after, until)` deals with the instants
        in between; `stepped(seconds)` is told when the clock was set.
        """
        self._clock = clock
        self._dispatch = dispatch
        self._missed = missed
        self._stepped = stepped
        self._heap: list[tuple[int, int, Job]] = []
        self._renew: list[Job] = []
        self._armed: Any = None
        self._running = False
        self._offset = 0.0
        self._gap_end = 0
        self.guard = 0
        """Instants up to this one may have been handled before the clock was set back."""

    def start(self, jobs: Iterable[Job]) -> None:
        """Begin. What JOBS should have done while nobody was here was missed."""
        self._running = True
        self._offset = self._clock_offset()
        self._gap_end = self._now()
        for job in jobs:
            self._take_back(job)
            self.add(job)
        self._arm()

    def stop(self) -> None:
        """Hand out nothing any more, until `start`."""
        self._running = False
        self._heap.clear()
        self._renew.clear()
        self._disarm()

    @property
    def running(self) -> bool:
        """Whether anything fires."""
        return self._running

    def add(self, job: Job) -> None:
        """Have a started JOB run at its instants after its watermark."""
        if job.watermark is None:
            job.watermark = self._now()
        job.next = job.next_after(job.watermark)
        self._push(job)

    def discard(self, job: Job) -> None:
        """Forget JOB: it was stopped or removed."""
        job.next = None

    def tick(self) -> None:
        """Once a second of monotonic time: see whether the clock was set."""
        if self._running:
            self._watch_clock()
            self._arm()

    def _now(self) -> int:
        return int(self._clock.now_ns() // NANO)

    def _clock_offset(self) -> float:
        return self._clock.now_ns() / NANO - self._clock.monotonic()

    def _push(self, job: Job) -> None:
        if job.next is None or not self._running:
            return
        entry = (job.next, job.id, job)
        heapq.heappush(self._heap, entry)
        if self._heap[0] is entry:
            self._arm()

    def _arm(self) -> None:
        self._disarm()
        while self._heap and self._heap[0][0] != self._heap[0][2].next:
            heapq.heappop(self._heap)
        if self._renew:
            self._armed = self._clock.call_later(0, self._turn)
        elif self._heap:
            delay = self._heap[0][0] - self._clock.now_ns() / NANO
            self._armed = self._clock.call_later(max(0.0, delay), self._turn)

    def _disarm(self) -> None:
        if self._armed is not None and self._armed.active():
            self._armed.cancel()
        self._armed = None

    def _turn(self) -> None:
        self._armed = None
        self._watch_clock()
        end = self._clock.monotonic() + SLICE
        now = self._now()
        heap = self._heap
        while heap and heap[0][0] <= now:
            instant, _, job = heapq.heappop(heap)
            if job.next != instant:
                continue
            self._handle(job, instant)
            if self._clock.monotonic() >= end:
                # The rest has its turn after the reactor's.
                self._armed = self._clock.call_later(0, self._turn)
                return
        while self._renew and self._clock.monotonic() < end:
            job = self._renew.pop()
            if job.started and job.next is None:
                self.add(job)
        self._arm()

    def _handle(self, job: Job, instant: int) -> None:
        job.next = None
        self._renew.append(job)
        try:
            if instant <= self._gap_end:
                after, job.watermark = job.watermark, self._gap_end
                self._missed(job, instant - 1 if after is None else after, self._gap_end)
            else:
                job.watermark = instant
                self._dispatch(job, instant)
        except Exception:
            self.log.failure("job {name} at {instant}", name=job.name, instant=instant)

    def _watch_clock(self) -> None:
        offset = self._clock_offset()
        step = offset - self._offset
        self._offset = offset
        if step >= STEP:
            self._gap_end = self._now()
            self._stepped(step)
        elif step <= -STEP:
            now = self._now()
            self._gap_end = min(self._gap_end, now)
            self.guard = max(self.guard, now - int(step) + 1)
            self._stepped(step)
            jobs = {job.id: job for _, _, job in self._heap if job.next is not None}
            jobs.update((job.id, job) for job in self._renew)
            self._heap.clear()
            self._renew.clear()
            for job in jobs.values():
                self._take_back(job)
                self.add(job)

    def _take_back(self, job: Job) -> None:
        """Mind JOB's watermark where it lies after now."""
        now = self._now()
        if job.watermark is None or job.watermark <= now:
            return
        self.guard = max(self.guard, job.watermark)
        fixed = job.schedule is not None and job.schedule.fixed
        if not fixed or job.watermark - now > ACCEPTED_STEP:
            job.watermark = now
