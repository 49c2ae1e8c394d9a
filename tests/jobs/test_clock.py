"""The two clocks, and calls that neither of them can delay."""

from __future__ import annotations

import time

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

from jobd.jobs.clock import CROWD, Alarms, SystemClock, _tick_from_thread
from jobd.jobs.slices import SLICE, Slices
from jobd.testing import BEGIN, FakeClock


class AlarmsTest(SynchronousTestCase):
    """`Alarms`."""

    def setUp(self) -> None:
        self.clock = FakeClock()
        self.alarms = Alarms(self.clock)
        self.stop = self.clock.every_second(self.alarms.check)
        self.rung: list[str] = []

    def test_order(self) -> None:
        """They ring in the order of their times, whatever the order in which they were asked for."""
        for name, delay in (("c", 3.0), ("a", 1.0), ("b", 2.0), ("a2", 1.0)):
            self.alarms.after(delay, self.rung.append, name)
        self.clock.pass_time(2.5)
        self.assertEqual(self.rung, ["a", "a2", "b"])
        self.clock.pass_time(1)
        self.assertEqual(self.rung, ["a", "a2", "b", "c"])

    def test_wall_clock(self) -> None:
        """A step of the wall clock, forward or back, neither hastens nor delays them."""
        for step in (3600, -3600, 86400 * 400, -86400 * 400):
            self.rung.clear()
            self.alarms.after(30.0, self.rung.append, "a")
            self.clock.step(step)
            self.clock.pass_time(28)
            self.assertEqual(self.rung, [], step)
            self.clock.pass_time(1.5)
            self.assertEqual(self.rung, ["a"], step)

    @settings(deadline=None)
    @given(
        st.lists(st.tuples(st.floats(0.01, 100), st.booleans()), max_size=30),
        st.lists(st.floats(-1000, 1000), max_size=3),
    )
    def test_each_once(self, alarms: list[tuple[float, bool]], steps: list[float]) -> None:
        """Each rings once, not before its time, and within a second of it; one that is cancelled does not."""
        clock, rung = FakeClock(), []
        these = Alarms(clock)
        clock.every_second(these.check)
        begun = clock.monotonic()
        for number, (delay, cancelled) in enumerate(alarms):
            alarm = these.after(
                delay, lambda n, d: rung.append((n, clock.monotonic() - begun - d)), number, delay
            )
            if cancelled:
                alarm.cancel()
        for step in steps:
            clock.step(step)
        for _ in range(101):
            clock.pass_time(1)
        self.assertEqual(
            sorted(number for number, _ in rung), [n for n, (_, off) in enumerate(alarms) if not off]
        )
        for _, late in rung:
            self.assertTrue(-1e-6 <= late <= 1.01, rung)

    def test_one_that_fails(self) -> None:
        """One that raises is logged, and the others ring."""
        self.alarms.after(1.0, lambda: 1 // 0)
        self.alarms.after(1.0, self.rung.append, "a")
        self.clock.pass_time(1.5)
        self.assertEqual((self.rung, len(self.flushLoggedErrors(ZeroDivisionError))), (["a"], 1))

    def test_cancelled_are_forgotten(self) -> None:
        """Timeouts that never come do not pile up."""
        for _ in range(10 * CROWD):
            self.alarms.after(1e6, self.fail).cancel()
        self.assertLessEqual(len(self.alarms._heap), CROWD)

    def test_stop(self) -> None:
        """After `stop` nothing rings."""
        self.alarms.after(1.0, self.fail)
        self.alarms.stop()
        self.clock.pass_time(10)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class SlicesTest(SynchronousTestCase):
    """`Slices`."""

    def test_slices(self) -> None:
        """Much work is done in order, a slice in each turn of the reactor; little work is done at once."""
        clock, done = FakeClock(), []

        def work(item: int) -> None:
            clock._monotonic += 0.6 * SLICE
            done.append(item)

        slices: Slices[int] = Slices(clock, work)
        slices.add(0)
        self.assertEqual(done, [0])
        for item in range(1, 20):
            slices.add(item)
        self.assertEqual(done, [0, 1])
        clock._go(0)
        self.assertEqual(done, list(range(20)))

    def test_work_that_makes_work(self) -> None:
        """What the work adds comes after it, however much it is; and work that fails stops nothing."""
        clock, done = FakeClock(), []

        def work(item: int) -> None:
            if item < 5000:
                slices.add(item + 1)
            done.append(item)
            if item == 3:
                raise ZeroDivisionError

        slices: Slices[int] = Slices(clock, work)
        slices.add(0)
        self.assertEqual(done, list(range(5001)))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_gives_way(self) -> None:
        """Work that gives way waits until it is told to go on, or something is added that need not wait."""
        clock, done = FakeClock(), []
        crowded = True
        slices: Slices[int] = Slices(clock, done.append, lambda: crowded)
        slices.add(1)
        slices.add(2)
        clock.pass_time(10)
        self.assertEqual(done, [])
        slices.resume()
        self.assertEqual(done, [1, 2])
        clock.pass_time(10)
        slices.add(3)
        crowded = False
        clock.pass_time(10)
        self.assertEqual(done, [1, 2])
        slices.add(4)
        self.assertEqual(done, [1, 2, 3, 4])

    def test_stop(self) -> None:
        """`stop` gives what was not done."""
        clock = FakeClock()

        def work(_: int) -> None:
            clock._monotonic += 1

        slices: Slices[int] = Slices(clock, work)
        for item in range(4):
            slices.add(item)
        self.assertEqual(slices.stop(), [1, 2, 3])
        clock.pass_time(1)


class FakeClockTest(SynchronousTestCase):
    """The clock of the tests themselves."""

    def test_calls(self) -> None:
        """`callLater` goes by the wall clock, and `pass_time` moves both."""
        clock, calls = FakeClock(), []
        clock.callLater(10, calls.append, "a")
        clock.step(-5)
        self.assertEqual((clock.now_ns() / 1e9 - BEGIN, clock.monotonic()), (-4.0, 1001.0))
        clock.pass_time(13)
        self.assertEqual(calls, [])
        clock.suspend(5)
        self.assertEqual(calls, ["a"])


class SystemClockTest(TestCase):
    """The machine's clocks."""

    def test_ticks(self) -> Deferred[None]:
        """A tick comes once a second of monotonic time, by timerfd or thread, also after one that failed."""
        begun, ticked, stops = time.monotonic(), Deferred(), []
        counts = {"timer": 0, "thread": 0}

        def tick(kind: str) -> None:
            counts[kind] += 1
            if kind == "timer" and counts[kind] == 1:
                raise ZeroDivisionError
            if min(counts.values()) == 2 and not ticked.called:
                for stop in stops:
                    stop()
                ticked.callback(None)

        stops.append(SystemClock(reactor).every_second(lambda: tick("timer")))
        stops.append(_tick_from_thread(reactor, lambda: tick("thread")))

        def check(_: None) -> None:
            self.assertGreater(time.monotonic() - begun, 1.9)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

        return ticked.addCallback(check)

    def test_next_turn(self) -> Deferred[None]:
        """What is for the next turn comes then, though the clock is set back meanwhile, or is cancelled."""
        clock, called, seconds = SystemClock(reactor), Deferred(), reactor.seconds
        dropped = clock.call_later(0, called.errback, AssertionError("cancelled"))
        soon = clock.call_later(0, called.callback, None)
        dropped.cancel()
        self.assertEqual((dropped.active(), soon.active()), (False, True))
        self.patch(reactor, "seconds", lambda: seconds() - 3600)
        return called.addCallback(lambda _: self.assertFalse(soon.active()))

    def test_clocks(self) -> None:
        """They are those of the machine."""
        clock = SystemClock(reactor)
        self.assertTrue(abs(clock.now_ns() / 1e9 - time.time()) < 60)
        before = time.monotonic()
        self.assertTrue(before <= clock.monotonic() <= time.monotonic())
