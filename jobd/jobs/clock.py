"""The two clocks everything goes by, and calls that neither of them can delay.

The wall clock says when a schedule is due, and may be set.  The monotonic clock measures durations: a
timeout, a grace, a delay.  Twisted's `callLater` goes by the wall clock: set back an hour, it waits an
hour more.  So whatever waits for a duration waits in `Alarms`, and a tick that comes once a second of
monotonic time, whatever the reactor's clock does, looks after it.
"""

from __future__ import annotations

import ctypes
import heapq
import itertools
import os
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReactorCore, IReactorTime
from twisted.logger import Logger
from zope.interface import Interface, implementer

CROWD = 1024
"""Alarms below which those that were cancelled are left until their time."""

CLOCK_MONOTONIC = 1  # of clock_gettime(2)
TFD_NONBLOCK_CLOEXEC = os.O_NONBLOCK | os.O_CLOEXEC


class IClock(Interface):
    """Wall clock, monotonic clock, and ways to be called later."""

    def now_ns() -> int:
        """Wall clock: nanoseconds since 1970, UTC."""

    def monotonic() -> float:
        """Seconds that only ever grow, and stand still while the machine is suspended."""

    def call_later(delay: float, function: Callable[..., object], *args: Any) -> Any:
        """Twisted's callLater, which a step of the wall clock may hasten or delay.

        Without a delay it is in the next turn of the reactor, whatever the clock says then.
        """

    def every_second(function: Callable[[], object]) -> Callable[[], None]:
        """Call FUNCTION once a second of monotonic time; what is returned ends that."""


@implementer(IClock)
class SystemClock:
    """The machine's own clocks."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def call_later(self, delay: float, function: Callable[..., object], *args: Any) -> Any:
        if delay <= 0:
            return _NextTurn(self._reactor, lambda: function(*args))
        return IReactorTime(self._reactor).callLater(delay, function, *args)

    def now_ns(self) -> int:
        return time.time_ns()

    def monotonic(self) -> float:
        return time.monotonic()

    def every_second(self, function: Callable[[], object]) -> Callable[[], None]:
        try:
            timer = _TimerReader(function)
        except (OSError, AttributeError):  # no timerfd here, or a libc without it
            return _tick_from_thread(self._reactor, function)
        self._reactor.addReader(timer)

        def stop() -> None:
            self._reactor.removeReader(timer)
            timer.close()

        return stop


class _NextTurn:
    """A call in the next turn of the reactor, as far as an `IDelayedCall` is needed."""

    def __init__(self, reactor: Any, function: Callable[[], object]) -> None:
        self._function: Callable[[], object] | None = function
        # callLater(0) waits for an hour where the clock is set back by one before its turn comes.
        reactor.callFromThread(self._call)

    def active(self) -> bool:
        return self._function is not None

    def cancel(self) -> None:
        self._function = None

    def _call(self) -> None:
        function, self._function = self._function, None
        if function is not None:
            function()


class _TimerReader:
    """A timerfd(2) that is readable once a second, as an `IReadDescriptor`."""

    log = Logger()

    def __init__(self, function: Callable[[], object]) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._function = function
        self._fd: int = libc.timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        # struct itimerspec: the interval, then the first expiry, each as seconds and nanoseconds.
        if libc.timerfd_settime(self._fd, 0, struct.pack("@llll", 1, 0, 1, 0), None) < 0:
            self.close()
            raise OSError(ctypes.get_errno(), "timerfd_settime")

    def fileno(self) -> int:
        return self._fd

    def logPrefix(self) -> str:
        return "clock"

    def doRead(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return
        try:
            self._function()
        except Exception:  # a reader that raises is taken off the reactor, and the clock must go on
            self.log.failure("what comes once a second failed")

    def connectionLost(self, reason: object) -> None:
        self.close()

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _tick_from_thread(reactor: IReactorCore, function: Callable[[], object]) -> Callable[[], None]:
    """The same by a thread that sleeps: callFromThread wakes a reactor whatever its clock says."""
    stopped = threading.Event()

    def tick() -> None:
        while not stopped.wait(1.0):
            reactor.callFromThread(lambda: None if stopped.is_set() else function())  # type: ignore[attr-defined]

    threading.Thread(target=tick, name="jobd-tick", daemon=True).start()
    return stopped.set


class Alarm:
    """One call that `Alarms` will make; `cancel` takes it back."""

    __slots__ = ("args", "function")

    def __init__(self, function: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.function: Callable[..., object] | None = function
        self.args = args

    def cancel(self) -> None:
        self.function = None
        self.args = ()


class Alarms:
    """Calls after a duration of the monotonic clock.

    One callLater is armed for the earliest; `check`, called by the tick, makes up for a wall clock that
    was set meanwhile.
    """

    log = Logger()

    def __init__(self, clock: IClock) -> None:
        self._clock = clock
        self._heap: list[tuple[float, int, Alarm]] = []
        self._order = itertools.count()
        self._crowded = CROWD
        self._armed: Any = None

    def after(self, delay: float, function: Callable[..., object], *args: Any) -> Alarm:
        """Call FUNCTION with ARGS once DELAY seconds have passed."""
        alarm = Alarm(function, args)
        entry = (self._clock.monotonic() + delay, next(self._order), alarm)
        if len(self._heap) >= self._crowded:
            self._heap = [entry for entry in self._heap if entry[2].function is not None]
            heapq.heapify(self._heap)
            self._crowded = max(CROWD, 2 * len(self._heap))
        heapq.heappush(self._heap, entry)
        if self._heap[0] is entry:
            self._arm()
        return alarm

    def check(self) -> None:
        """Make every call whose time has come."""
        self._disarm()
        while self._heap and self._heap[0][0] <= self._clock.monotonic():
            alarm = heapq.heappop(self._heap)[2]
            function, args = alarm.function, alarm.args
            alarm.cancel()
            if function is not None:
                try:
                    function(*args)
                except Exception:
                    self.log.failure("an alarm failed")
        self._arm()

    def stop(self) -> None:
        """Make no further call."""
        self._heap.clear()
        self._disarm()

    def _arm(self) -> None:
        self._disarm()
        while self._heap and self._heap[0][2].function is None:
            heapq.heappop(self._heap)
        if self._heap:
            delay = max(0.0, self._heap[0][0] - self._clock.monotonic())
            self._armed = self._clock.call_later(delay, self._fired)

    def _fired(self) -> None:
        self._armed = None
        self.check()

    def _disarm(self) -> None:
        if self._armed is not None and self._armed.active():
            self._armed.cancel()
        self._armed = None
