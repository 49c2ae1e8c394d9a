"""A reactor and clock that goes when a test says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.error import ConnectionAborted
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from zope.interface import implementer

from jobd.jobs.clock import IClock

BEGIN = 1_767_225_600.0
"""2026-01-01T00:00:00Z: where a `FakeClock` begins."""


@implementer(IClock)
class FakeClock(MemoryReactorClock):
    """A reactor whose wall clock and monotonic clock go when told to.

    `callLater` goes by the wall clock, as that of Twisted's reactors does.
    Without `pass_time` nothing happens, not even what is due at once.
    """

    def __init__(self, begin: float = BEGIN) -> None:
        """BEGIN is the wall clock, in seconds since 1970."""
        super().__init__()
        self.rightNow = begin
        self._monotonic = 1000.0
        self._ticks: list[Callable[[], object]] = []

    def now_ns(self) -> int:
        return round(self.rightNow * 1_000_000) * 1000

    def monotonic(self) -> float:
        return self._monotonic

    def call_later(self, delay: float, function: Callable[..., object], *args: Any) -> Any:
        # In whole microseconds, and never none of them: else rounding could make an instant that never comes.
        return self.callLater(max(1e-6, round(delay, 6)) if delay > 0 else 0, function, *args)

    def every_second(self, function: Callable[[], object]) -> Callable[[], None]:
        self._ticks.append(function)
        return lambda: self._ticks.remove(function)

    def pass_time(self, seconds: float) -> None:
        """Let SECONDS pass on both clocks, and all happen that is due meanwhile, in its order.

        A second in which nothing is due is as good as no tick: so a year passes quickly.
        """
        end = self._monotonic + seconds
        while True:
            calls = self.getDelayedCalls()
            wait = max(0.0, min((call.getTime() for call in calls), default=float("inf")) - self.rightNow)
            if self._monotonic + wait > end:
                break
            self._go(wait)
        self._go(end - self._monotonic)
        self.read()
        self.tick()

    def advance(self, amount: float) -> None:
        """`pass_time`, as Twisted's `Clock` calls it."""
        self.pass_time(amount)

    def step(self, seconds: float) -> None:
        """Set the wall clock forward, or back where SECONDS is negative; a second later that is noticed."""
        self.rightNow += seconds
        self.pass_time(1.0)

    def suspend(self, seconds: float) -> None:
        """Put the machine to sleep: the wall clock goes on, the monotonic clock stands."""
        self.step(seconds)

    def read(self) -> None:
        """Let the readers have what there is to read."""
        for reader in self.getReaders():
            reader.doRead()

    def forget(self) -> None:
        """Drop all calls and readers: who waited for them was killed."""
        for call in self.getDelayedCalls():
            call.cancel()
        for reader in self.getReaders():
            reader.connectionLost(Failure(ConnectionAborted()))
        self._ticks.clear()

    def tick(self) -> None:
        """What comes once a second."""
        for function in list(self._ticks):
            function()

    def _go(self, seconds: float) -> None:
        self._monotonic += seconds
        super().advance(seconds)
