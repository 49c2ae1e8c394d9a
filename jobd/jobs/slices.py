"""Work that comes in heaps, done in slices, so that everybody else has a turn in between."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from twisted.logger import Logger

from jobd.jobs.clock import IClock

SLICE = 0.004
"""Seconds of work after which the reactor gets a turn."""

_Item = TypeVar("_Item")


class Slices(Generic[_Item]):
    """Calls `work` for each item, in order: at once while this turn of the reactor has time left for it."""

    log = Logger()

    def __init__(
        self, clock: IClock, work: Callable[[_Item], object], give_way: Callable[[], bool] = lambda: False
    ) -> None:
        """While GIVE_WAY() says so, what is added waits: for `resume`, or for what is added afterwards."""
        self._clock = clock
        self._work = work
        self._give_way = give_way
        self._items: deque[_Item] = deque()
        self._spent = 0.0
        self._working = False
        self._armed: Any = None

    def add(self, item: _Item) -> None:
        """Have ITEM done after those before it."""
        self._items.append(item)
        if not self._working and not self._give_way():
            self._go_on()

    def resume(self) -> None:
        """Do what waits, in any case."""
        if self._items and not self._working:
            self._go_on()

    def stop(self) -> list[_Item]:
        """Do no more; what was not done."""
        left = list(self._items)
        self._items.clear()
        if self._armed is not None:
            self._armed.cancel()
            self._armed = None
        return left

    def _go_on(self) -> None:
        # What the work adds itself has its turn after it, not within it.
        self._working = True
        while self._items and self._spent < SLICE:
            begun = self._clock.monotonic()
            try:
                self._work(self._items.popleft())
            except Exception:
                self.log.failure("a piece of work failed")
            self._spent += self._clock.monotonic() - begun
        self._working = False
        if self._armed is None:
            self._armed = self._clock.call_later(0, self._next_turn)

    def _next_turn(self) -> None:
        self._armed = None
        self._spent = 0.0
        if self._items:
            self._go_on()
