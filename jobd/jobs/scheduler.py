"""When jobs are due: one heap of instants, one armed callLater, and an eye on the clock.

The chain: `callLater` is armed for the earliest instant of all jobs.  When it wakes us, every job whose
instant has come is handed to `dispatch`, in slices of a few milliseconds, so that the file service stays
awake while thousands start; only then are their next instants computed, and the call is armed anew.

The clock: at every wake, and once a second of monotonic time, both clocks are compared.  Where they moved
apart by a second or more the wall clock was set, or the machine was suspended.  Forward, the instants in
between were missed, and `missed` hears of them; so it is when the process itself stood still.  Backward,
an instant that was handled is not handled again: a fixed-time schedule waits until the clock has caught up
with its watermark; any other goes by the new clock, but starts no instant that its history holds.  Back by
more than three hours, the new clock is accepted as it is (cron.c of cronie draws the line there too).
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

from twisted.logger import Logger

from jobd.jobs.clock import IClock
from jobd.jobs.job import Job
from jobd.jobs.slices import SLICE

NANO = 1_000_000_000
STEP = 1.0
"""Seconds by which the clocks may drift apart between two looks before that counts as a step."""
STALL = 5.0
"""Seconds after which a call that comes late means that the process stood still."""
ACCEPTED_STEP = 3 * 3600
"""Seconds back beyond which a fixed-time schedule follows the clock."""
CROWD = 1024
"""Entries of the heap below which those that count no more are left in it."""


class Scheduler:
    """Hands each started job to `dispatch` at its instants."""

    log = Logger()

    def __init__(
        self,
        clock: IClock,
        *,
        dispatch: Callable[[Job, int], object],
        missed: Callable[[Job, int, int], object],
        held: Callable[[Job, int], bool] = lambda _job, _instant: False,
        exhausted: Callable[[Job], object] = lambda _job: None,
        stepped: Callable[[float], object] = lambda _seconds: None,
    ) -> None:
        """`dispatch(job, instant)` starts a run; `missed(job, after, until)` deals with the instants
        later than AFTER and up to UNTIL; `held(job, instant)` says whether there is a run for it already;
        `exhausted(job)` is told of a job that has no further instant, and `stepped(seconds)` when the clock
        was set.
        """
        self._clock = clock
        self._dispatch = dispatch
        self._missed = missed
        self._held = held
        self._exhausted = exhausted
        self._stepped = stepped
        self._heap: list[tuple[int, int, Job]] = []
        self._crowded = CROWD
        self._renew: OrderedDict[int, Job] = OrderedDict()
        self._armed: Any = None
        self._expected = 0.0
        self._running = False
        self._offset = self._clock_offset()
        self._gap_end = 0
        self.guard = 0
        """Instants up to this one may have been handled before the clock was set back."""

    def start(self, jobs: Iterable[Job]) -> None:
        """Begin. What JOBS should have done while nobody was here was missed."""
        self._look_at_clock()
        self._running = True
        self._gap_end = self._now()
        for job in jobs:
            self._take_back(job)
            self._enter(job)
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
        self._enter(job)
        if self._heap and self._heap[0][2] is job:
            self._arm()

    def discard(self, job: Job) -> None:
        """Forget JOB: it was stopped or removed."""
        job.next = None
        self._renew.pop(job.id, None)

    def renew(self, jobs: Iterable[Job]) -> None:
        """Find the next instants of JOBS anew, whose schedules mean something else now.

        What is due by now stays so; what the new meaning would have had before is not owed.
        """
        if not self._running:
            return
        now = self._now()
        for job in jobs:
            if job.next is None or job.next > now:
                job.next = None
                job.watermark = now if job.watermark is None else max(job.watermark, now)
                self._renew[job.id] = job
        self._arm()

    def tick(self) -> None:
        """Once a second of monotonic time: see whether the clock was set."""
        self._look_at_clock()
        if self._running:
            self._arm()

    def _now(self) -> int:
        return int(self._clock.now_ns() // NANO)

    def _clock_offset(self) -> float:
        return self._clock.now_ns() / NANO - self._clock.monotonic()

    # ---- the chain

    def _enter(self, job: Job) -> None:
        if job.watermark is None:
            job.watermark = self._now()
        job.next = job.next_after(job.watermark)
        if job.next is None:
            self._exhausted(job)
        elif self._running:
            if len(self._heap) >= self._crowded:
                # Jobs that are stopped, started and edited all the time leave many that count no more.
                self._heap = list({entry for entry in self._heap if entry[0] == entry[2].next})
                heapq.heapify(self._heap)
                self._crowded = max(CROWD, 2 * len(self._heap))
            heapq.heappush(self._heap, (job.next, job.id, job))

    def _arm(self) -> None:
        self._disarm()
        while self._heap and self._heap[0][0] != self._heap[0][2].next:
            heapq.heappop(self._heap)
        if self._renew:
            delay = 0.0
        elif self._heap:
            delay = max(0.0, self._heap[0][0] - self._clock.now_ns() / NANO)
        else:
            return
        self._expected = self._clock.monotonic() + delay
        self._armed = self._clock.call_later(delay, self._turn)

    def _disarm(self) -> None:
        if self._armed is not None and self._armed.active():
            self._armed.cancel()
        self._armed = None

    def _turn(self) -> None:
        self._armed = None
        self._look_at_clock()
        woken = self._clock.monotonic()
        if woken - self._expected > STALL:
            self._gap_end = max(self._gap_end, self._now())
        now, end = self._now(), woken + SLICE
        while self._heap and self._heap[0][0] <= now:
            instant, _, job = heapq.heappop(self._heap)
            if job.next == instant:
                self._handle(job, instant)
                if self._clock.monotonic() >= end:
                    break
        else:
            while self._renew and self._clock.monotonic() < end:
                self._enter(self._renew.popitem(last=False)[1])
        self._arm()

    def _handle(self, job: Job, instant: int) -> None:
        job.next = None
        self._renew[job.id] = job
        try:
            if instant <= self._gap_end:
                self._handle_gap(job, instant - 1 if job.watermark is None else job.watermark)
            else:
                job.watermark = instant
                if instant > self.guard or not self._held(job, instant):
                    self._dispatch(job, instant)
        except Exception:
            self.log.failure("job {name} at {instant}", name=job.name, instant=instant)

    # ---- the clock

    def _handle_gap(self, job: Job, after: int) -> None:
        job.watermark = self._gap_end
        if self.guard - self._gap_end <= ACCEPTED_STEP:
            # The clock was set back, and now forward: what came before the first step was not missed.
            after = max(after, self.guard)
        if after < self._gap_end:
            self._missed(job, after, self._gap_end)

    def _look_at_clock(self) -> None:
        offset = self._clock_offset()
        step, self._offset = offset - self._offset, offset
        if abs(step) < STEP:
            return
        now = self._now()
        if step > 0:
            self._gap_end = now
        else:
            self.guard = max(self.guard, now - int(step) + 1)
            self._gap_end = min(self._gap_end, now)
            jobs = {job.id: job for instant, _, job in self._heap if job.next == instant} | self._renew
            self._heap.clear()
            self._renew.clear()
            for job in jobs.values():
                self._take_back(job, -step)
                self._enter(job)
        self._stepped(step)

    def _take_back(self, job: Job, back: float = 0.0) -> None:
        """Mind JOB's watermark where it lies after now, the clock having been set BACK by so many seconds."""
        now = self._now()
        if job.watermark is None or job.watermark <= now:
            return
        self.guard = max(self.guard, job.watermark)
        fixed = job.schedule is not None and job.schedule.fixed
        if not fixed or max(back, job.watermark - now) > ACCEPTED_STEP:
            job.watermark = now
