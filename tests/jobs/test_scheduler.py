"""When jobs are due: the chain, the clock, and what is owed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from twisted.internet.testing import MemoryReactorClock

from jobd.jobs.scheduler import SLICE, Scheduler
from jobd.testing import BEGIN, FakeClock
from tests.jobs.memory import DAY, HOUR, MINUTE, MemoryCase


def epoch(text: str) -> float:
    """Seconds since 1970 of a time in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp()


class ChainTest(MemoryCase):
    """The heap, and the one call for it."""

    def test_one_call(self) -> None:
        """However many jobs are started, one call is armed, for the earliest instant."""
        for number in range(20):
            self.start(f"{number + 1} * * * *", name=f"job{number}")
        self.clock.pass_time(0)
        [call] = self.clock.getDelayedCalls()
        self.assertAlmostEqual(call.getTime(), BEGIN + MINUTE, places=3)

    def test_order(self) -> None:
        """Jobs run in the order of their instants, and those of one instant in the order they were made."""
        for name, schedule in (("c", "2 * * * *"), ("b", "1 * * * *"), ("a", "1 * * * *")):
            self.start(schedule, name=name)
        self.clock.pass_time(3 * MINUTE)
        lines = [
            line.split() for line in self.events().splitlines() if " start job=" in line.replace(":", " ")
        ]
        self.assertEqual([line[3].removeprefix("UTC:") + line[4] for line in lines], [
            "startjob=b", "startjob=a", "startjob=c"
        ])  # fmt: skip

    def test_every_instant_once(self) -> None:
        """An every-minute job runs 1,440 times a day, each instant once, also where it is skipped."""
        job = self.start("* * * * *", "keep-runs 5000\n")
        for _ in range(1440):
            self.clock.pass_time(MINUTE)
            self.end_all()
        self.assertEqual(self.instants(job), [MINUTE * (n + 1) for n in range(1440)])

    def test_starts_and_stops_leave_nothing(self) -> None:
        """The heap stays small when jobs are stopped and started again without end."""
        job = self.start("0 0 1 1 *")
        for _ in range(3000):
            self.done(self.jobd.table.stop(job, actor="me"))
            self.done(self.jobd.table.start(job, actor="me"))
        self.assertLess(len(self.jobd.service._scheduler._heap), 1100)

    def test_an_instant_while_it_is_looked_at(self) -> None:
        """A job that was stopped while it was due, before its next time was found, stays so."""
        job = self.create("* * * * *")
        dispatched: list[int] = []

        def dispatch(job, instant):
            dispatched.append(instant)
            scheduler.discard(job)

        scheduler = Scheduler(self.clock, dispatch=dispatch, missed=self.fail)
        job.load_schedule("UTC")
        job.started = True
        scheduler.start([])
        scheduler.add(job)
        self.clock.pass_time(10 * MINUTE)
        self.assertEqual(dispatched, [int(BEGIN) + MINUTE])


class SlowClock(FakeClock):
    """A clock on which looking at it takes a millisecond, and that writes down every turn asked for."""

    def __init__(self, log: list[str]) -> None:
        super().__init__()
        self._log = log

    def monotonic(self) -> float:
        self._go(0.001)
        return self._monotonic

    def _go(self, seconds: float) -> None:
        self._monotonic += seconds
        self.rightNow += seconds

    def call_later(self, delay: float, function: Callable[..., object], *args: Any) -> Any:
        self._log.append("turn")
        return super().call_later(delay, function, *args)


class Watched:
    """A schedule that writes down when it is asked."""

    fixed = False

    def __init__(self, log: list[str]) -> None:
        self._log = log

    def next_epoch(self, after: int) -> int:
        self._log.append("next")
        return after + MINUTE - after % MINUTE


class SliceTest(MemoryCase):
    """A hundred jobs at once."""

    def test_slices(self) -> None:
        """No turn takes longer than a slice, and next times are found after all that is due was started."""
        log: list[str] = []
        clock = SlowClock(log)
        scheduler = Scheduler(
            clock, dispatch=lambda _job, _instant: log.append("start"), missed=lambda *_: log.append("missed")
        )
        scheduler.start([])
        for number in range(100):
            job = self.create(name=f"job{number}")
            job.schedule, job.started, job.watermark = Watched(log), True, int(BEGIN)  # type: ignore[assignment]
            scheduler.add(job)
        del log[:]
        clock._go(MINUTE)
        while log.count("next") < 100:
            MemoryReactorClock.advance(clock, 0)
        work = [word for word in log if word != "turn"]
        self.assertEqual(work[:200], ["start"] * 100 + ["next"] * 100)
        turns = " ".join(log).split("turn")
        self.assertLessEqual(max(turn.count("start") for turn in turns), SLICE / 0.001 + 1)
        self.assertLessEqual(max(turn.count("next") for turn in turns), SLICE / 0.001 + 1)


class ClockTest(MemoryCase):
    """The wall clock is set, the machine sleeps, the daemon is away."""

    def test_forward(self) -> None:
        """A clock set forward makes missed instants: the last one still runs, the others are one record."""
        job = self.start("*/10 * * * *")
        self.clock.pass_time(5 * MINUTE)
        self.clock.step(2 * HOUR)
        self.end_all()
        self.assertEqual(self.instants(job), [2 * HOUR])
        self.assertEqual(
            self.history(job).splitlines()[0],
            "missed run=1 from=2026-01-01T00:10:00Z to=2026-01-01T01:50:00Z count=11 outcome=missed",
        )
        self.clock.pass_time(10 * MINUTE)
        self.assertEqual(self.instants(job), [2 * HOUR, 2 * HOUR + 10 * MINUTE])

    def test_suspend_before_the_tick(self) -> None:
        """Instants slept through are missed, even where the reactor wakes for them before the tick."""
        job = self.start("* * * * *", "catchup none\n")
        self.clock.pass_time(30)
        self.clock.rightNow += 600
        self.clock._go(0)
        self.assertEqual(self.outcomes(job), ["missed"])

    def test_standstill(self) -> None:
        """So they are where the whole process stood still, and both clocks went on."""
        job = self.start("* * * * *", "catchup none\n")
        self.clock.pass_time(30)
        self.clock.rightNow += 600
        self.clock._monotonic += 600
        self.clock._go(0)
        self.assertEqual(self.outcomes(job), ["missed"])

    def test_back_fixed(self) -> None:
        """A clock set back by up to three hours repeats nothing of a fixed-time schedule."""
        job = self.start("30 0 * * *")
        self.clock.pass_time(40 * MINUTE)
        self.end_all()
        self.clock.step(-HOUR)
        self.clock.pass_time(HOUR)
        self.assertEqual(self.instants(job), [30 * MINUTE])
        self.clock.pass_time(DAY)
        self.assertEqual(self.instants(job), [30 * MINUTE, 30 * MINUTE + DAY])

    def test_back_wildcard(self) -> None:
        """Any other follows the new clock, but what the history holds is not started again."""
        job = self.start("*/10 * * * *")
        self.clock.pass_time(61 * MINUTE)
        self.assertEqual(job.active.keys(), {1})
        self.end_all()
        before = self.instants(job)
        self.clock.step(-HOUR)
        self.clock.pass_time(58 * MINUTE)
        self.assertEqual(self.instants(job), before)
        self.clock.pass_time(12 * MINUTE)
        self.assertEqual(self.instants(job)[-1], 70 * MINUTE)

    def test_back_wildcard_new_instants(self) -> None:
        """It does start the instants of the new clock that were not there before."""
        self.clock.pass_time(HOUR)
        job = self.start("*/10 * * * *")
        self.clock.step(-HOUR)
        self.clock.pass_time(11 * MINUTE)
        self.assertEqual(self.instants(job), [10 * MINUTE])

    def test_back_far(self) -> None:
        """Back by more than three hours the new clock is accepted, and said in events."""
        self.clock.pass_time(6 * HOUR)
        job = self.start("0 * * * *")
        fixed = self.start("0 3 * * *", name="fixed")
        self.clock.step(-4 * HOUR)
        self.assertIn("clock-step seconds=-14400.0", self.events())
        self.clock.pass_time(61 * MINUTE)
        self.end_all()
        self.assertEqual((self.instants(job), self.instants(fixed)), ([3 * HOUR], [3 * HOUR]))

    def test_forward_and_back(self) -> None:
        """A clock that was wrong for a while, by years, stops no schedule when it is right again."""
        job = self.start("0 * * * *")
        fixed = self.start("30 2 * * *", name="fixed")
        self.clock.pass_time(90 * MINUTE)
        self.end_all()
        self.clock.step(4 * 365 * DAY)
        self.end_all()
        self.clock.step(-4 * 365 * DAY)
        self.clock.pass_time(2 * HOUR)
        self.end_all()
        self.assertIn(2 * HOUR, self.instants(job))
        self.assertIn(2 * HOUR + 30 * MINUTE, self.instants(fixed))

    def test_back_and_forward(self) -> None:
        """Back, and forward again: what ran before the first step was not missed."""
        job = self.start("*/10 * * * *")
        for _ in range(12):
            self.clock.pass_time(10 * MINUTE)
            self.end_all()
        self.clock.step(-HOUR)
        self.clock.pass_time(5 * MINUTE)
        self.clock.step(50 * MINUTE)
        self.assertEqual(self.outcomes(job), ["ok"] * 12)
        self.clock.step(30 * MINUTE)
        self.end_all()
        instants = self.instants(job)
        self.assertEqual(len(set(instants)), len(instants))
        self.assertEqual(self.records(job)[12].missed_count, 1)

    def test_never_twice_over_a_restart(self) -> None:
        """The next daemon too knows that the history may hold what the clock shows again."""
        job = self.start("*/10 * * * *")
        for _ in range(12):
            self.clock.pass_time(10 * MINUTE)
            self.end_all()
        self.clock.step(-HOUR)
        self.done(self.jobd.table.set_schedule(job, "5 * * * *", actor="me"))
        self.clock.pass_time(6 * MINUTE)
        self.end_all()
        self.jobd.crash()
        self.done(self.jobd.table.set_schedule(self.again(job), "*/10 * * * *", actor="me"))
        self.clock.pass_time(50 * MINUTE)
        self.assertEqual(self.instants(job), [*range(10 * MINUTE, 121 * MINUTE, 10 * MINUTE), 65 * MINUTE])

    def test_back_while_paused(self) -> None:
        """A clock that is set back while jobd is paused repeats nothing either."""
        job = self.start("*/10 * * * *")
        self.clock.pass_time(61 * MINUTE)
        self.end_all()
        before = self.instants(job)
        self.done(self.jobd.table.pause(actor="me"))
        self.clock.step(-HOUR)
        self.done(self.jobd.table.resume(actor="me"))
        self.clock.pass_time(30 * MINUTE)
        self.assertEqual(self.instants(job), before)

    def test_1970(self) -> None:
        """A machine that boots in 1970 and is set right later owes what it was away for, and no more."""
        job = self.start("0 * * * *", "catchup none\n")
        self.clock.pass_time(90 * MINUTE)
        self.end_all()
        self.jobd.stop()
        now = self.clock.rightNow
        self.clock.rightNow = 1000.0
        self.jobd._start()
        self.clock.pass_time(2 * HOUR)
        self.end_all()
        self.jobd.crash()
        self.clock.step(now + 3 * HOUR - self.clock.rightNow)
        gap = self.records(job)[-1]
        self.assertEqual((gap.scheduled, gap.missed_count), (BEGIN + 2 * HOUR, 3))
        self.clock.pass_time(HOUR)
        self.assertEqual(self.instants(job)[-1], 5 * HOUR)

    def test_small_steps(self) -> None:
        """A clock that is drawn slowly, less than a second at a time, loses and repeats nothing."""
        job = self.start("* * * * *", "keep-runs 1000\n")
        for second in range(1200):
            self.clock.rightNow += 0.4 if second % 100 < 50 else -0.4
            self.clock.pass_time(1)
            self.end_all()
        self.assertEqual(self.instants(job), [MINUTE * (n + 1) for n in range(20)])


class AwayTest(MemoryCase):
    """What is owed, and what is not."""

    def away(self, seconds: float) -> None:
        self.jobd.stop()
        self.clock.pass_time(seconds)
        self.jobd._start()
        self.clock.pass_time(0)

    def test_downtime(self) -> None:
        """A daemon that was down makes up for what `catchup` and `deadline` allow."""
        table = (
            # options, instants that still run (hours), missed
            ("", [5], 4),
            ("catchup none\n", [], 5),
            ("catchup all 2\ndeadline 1d\n", [4, 5], 3),
            ("catchup all 9\ndeadline 1d\n", [1, 2, 3, 4, 5], 0),
            ("catchup all 9\ndeadline 2h\n", [4, 5], 3),
            ("deadline 10m\n", [], 5),
        )
        jobs = [
            self.start("0 * * * *", options, name=f"job{number}")
            for number, (options, *_) in enumerate(table)
        ]
        self.away(5 * HOUR + 30 * MINUTE)
        self.end_all()
        for job, (options, runs, missed) in zip(jobs, table, strict=True):
            counts = [record.missed_count or 0 for record in self.records(job)]
            self.assertEqual(
                (self.instants(job), sum(counts)), ([hour * HOUR for hour in runs], missed), options
            )

    def test_one_after_another(self) -> None:
        """What is made up for runs oldest first, one after another, whatever `overlap` says."""
        for overlap in ("skip", "allow 5", "replace", "queue 1"):
            name = overlap.replace(" ", "")
            job = self.start("0 * * * *", f"overlap {overlap}\ncatchup all 3\ndeadline 1d\n", name=name)
            self.away(3 * HOUR + 30 * MINUTE)
            job = self.again(job)
            seen = []
            while self.running:
                self.assertEqual(len(self.running), 1, overlap)
                seen.append(self.records(job)[-1].scheduled)
                self.running[0].exit()
                self.clock.pass_time(0)
            self.assertEqual((seen, len(seen)), (sorted(seen), 3), overlap)
            self.done(self.jobd.table.stop(job, actor="me"))

    def test_made_up_for_after_a_crash(self) -> None:
        """What was to be made up for, and did not start before a crash, is made up for after it; once."""
        job = self.start("0 * * * *", "catchup all 3\ndeadline 1d\n")
        self.away(3 * HOUR + 30 * MINUTE)
        self.jobd.crash()
        self.end_all()
        job = self.again(job)
        self.assertEqual(self.instants(job), [HOUR, 2 * HOUR, 3 * HOUR])
        self.assertEqual(self.outcomes(job), ["lost", "ok", "ok"])

    def test_nothing_owed(self) -> None:
        """Start, resume, and a new schedule, zone or rule owe nothing from before; a rename moves nothing."""
        table = self.jobd.table

        def edit(change):
            def make(job):
                self.clock.pass_time(50 * MINUTE)
                self.done(change(job))

            return make

        def stop_start(job):
            self.done(table.stop(job, actor="me"))
            self.clock.pass_time(50 * MINUTE)
            self.done(table.start(job, actor="me"))

        def pause(job):
            self.done(table.pause(actor="me"))
            self.clock.pass_time(50 * MINUTE)
            self.done(table.resume(actor="me"))

        changes = {
            "stop and start": stop_start,
            "pause and resume": pause,
            "schedule": edit(lambda job: table.set_schedule(job, "25,55 * * * *", actor="me")),
            "zone": edit(lambda job: table.set_options(job, b"timezone Asia/Kolkata\n", actor="me")),
            "rule": edit(lambda job: table.set_options(job, b"dst utc\n", actor="me")),
            "rename": edit(lambda job: table.rename(job, f"{job.name}-new", actor="me")),
        }
        for number, (what, change) in enumerate(changes.items()):
            job = self.start("0 0,23 * * *", name=f"job{number}")
            change(job)
            self.clock.pass_time(1)
            self.assertEqual(self.records(job), [], what)
            self.done(table.stop(job, actor="me"))

    def test_paused_over_a_restart(self) -> None:
        """Paused, nothing fires, over a restart too; what fell due is skipped."""
        job = self.start("*/10 * * * *")
        self.done(self.jobd.table.pause(actor="me"))
        self.clock.pass_time(HOUR)
        self.jobd.restart()
        self.clock.pass_time(HOUR)
        self.jobd.crash()
        self.assertEqual(self.records(job), [])
        self.done(self.jobd.table.resume(actor="me"))
        self.jobd.crash()
        self.clock.pass_time(10 * MINUTE)
        self.assertEqual(self.instants(job), [2 * HOUR + 10 * MINUTE])

    def test_commit_of_an_edit(self) -> None:
        """An instant that the old schedule starts during the commit of the new one is not started again."""
        job = self.start("* * * * *")
        self.clock.pass_time(59.5)
        self.jobd.disk.slow = True
        change = self.jobd.table.set_schedule(job, "*/1 * * * *", actor="me")
        self.clock.pass_time(1)
        self.jobd.disk.slow = False
        self.jobd.disk.commit()
        self.done(change)
        self.clock.pass_time(1)
        self.end_all()
        self.assertEqual(self.instants(job), [MINUTE])


class CrowdTest(MemoryCase):
    """Few places for many runs."""

    more = {"max_runs": 10}  # noqa: RUF012

    def test_a_thousand_wake_together(self) -> None:
        """A thousand jobs that wake together run as `--max-runs` lets them, and all do."""
        jobs = [self.start("0 * * * *", name=f"job{number}") for number in range(1000)]
        self.jobd.stop()
        self.clock.pass_time(90 * MINUTE)
        self.jobd._start()
        self.clock.pass_time(0)
        most = 0
        while self.running:
            most = max(most, len(self.running))
            self.running[0].exit()
            self.clock.pass_time(0)
        self.assertEqual(most, 10)
        self.assertEqual({tuple(self.outcomes(job)) for job in jobs}, {("ok",)})


class SpecialTest(MemoryCase):
    """@at, @every, @reboot, H and jitter."""

    def test_at_ends_as_stopped(self) -> None:
        """An `@at` job is stopped once its run has ended, retries included."""
        job = self.start("@at 2026-01-01T0030", "retries 1\n")
        self.clock.pass_time(31 * MINUTE)
        self.running[0].exit(1)
        self.clock.pass_time(10)
        self.assertTrue(job.started)
        self.clock.pass_time(20)
        self.running[0].exit(0)
        self.assertFalse(job.started)
        self.assertEqual(self.outcomes(job), ["ok"])
        self.assertEqual(self.log_of(job).splitlines()[-1], "stopped")
        self.jobd.crash()
        self.assertFalse(self.again(job).started)

    def test_at_that_was_missed(self) -> None:
        """So it is where its time was missed for good, or passed while jobd was paused."""
        job = self.start("@at 2026-01-01T0030", "catchup none\n")
        other = self.start("@at 2026-01-01T0300", name="other")
        self.clock.step(2 * HOUR)
        self.assertEqual((self.outcomes(job), job.started), (["missed"], False))
        self.done(self.jobd.table.pause(actor="me"))
        self.clock.pass_time(2 * HOUR)
        self.done(self.jobd.table.resume(actor="me"))
        self.assertEqual((self.records(other), other.started), ([], False))

    def test_every(self) -> None:
        """`@every` counts from the first start, over stops and restarts; a new one from its own start."""
        self.clock.pass_time(7)
        job = self.start("@every 90s", "catchup none\noverlap allow 99\n")
        self.clock.pass_time(200)
        self.assertEqual(self.instants(job), [97, 187])
        self.done(self.jobd.table.stop(job, actor="me"))
        self.clock.pass_time(100)
        self.done(self.jobd.table.start(job, actor="me"))
        self.clock.pass_time(100)
        self.jobd.restart()
        job = self.again(job)
        self.clock.pass_time(100)
        self.assertEqual(self.instants(job), [97, 187, 367, 457])
        self.done(self.jobd.table.set_schedule(job, "@every 100s", actor="me"))
        self.clock.pass_time(101)
        self.assertEqual(self.instants(job)[-1], 607)

    def test_reboot(self) -> None:
        """`@reboot` runs once a boot: not at its start, and not at a restart of the daemon."""
        job = self.start("@reboot")
        self.jobd.crash()
        self.jobd.restart()
        self.assertEqual(self.records(job), [])
        self.jobd.reboot()
        self.assertEqual(len(self.running), 1)
        self.jobd.restart()
        self.jobd.crash()
        self.end_all()
        self.assertEqual(len(self.records(job)), 1)
        self.jobd.reboot()
        self.end_all()
        self.assertEqual(len(self.records(job)), 2)
        self.assertTrue(self.again(job).started)

    def test_jitter_is_stable(self) -> None:
        """Jitter delays every run of a job by the same, less than it says, and differently for each job."""
        jobs = [self.start("0 * * * *", "jitter 10m\n", name=f"job{number}") for number in range(8)]
        for _ in range(3):
            for _ in range(60):
                self.clock.pass_time(MINUTE)
                self.end_all()
        delays = [
            [(record.started or 0) // 10**9 - (record.scheduled or 0) for record in self.records(job)]
            for job in jobs
        ]
        for each in delays:
            self.assertEqual(len(set(each)), 1)
        self.assertEqual(len({each[0] for each in delays}), 8)
        self.assertTrue(all(0 <= each[0] < 600 for each in delays))

    def test_renamed(self) -> None:
        """H and jitter go by the first name of a job."""
        job = self.create("H H * * *")
        before = self.jobd.table.next_of(job, int(BEGIN))
        self.done(self.jobd.table.rename(job, "other", actor="me"))
        self.jobd.restart()
        self.assertEqual(self.jobd.table.next_of(self.jobd.table.job("other"), int(BEGIN)), before)


class YearTest(MemoryCase):
    """A year in Berlin."""

    zone = "Europe/Berlin"

    def test_a_year(self) -> None:
        """A fixed daily job runs once on each of 365 days, an hourly one in each of 8,760 hours."""
        daily = self.start("30 2 * * *", "keep-runs 9999\n", name="daily")
        hourly = self.start("@hourly", "keep-runs 9999\n", name="hourly")
        for _ in range(365 * 24):
            self.clock.pass_time(HOUR)
            for process in self.running:
                process.exit()
        days = self.instants(daily)
        hours = self.instants(hourly)
        self.assertEqual(hours, [HOUR * (n + 1) for n in range(365 * 24)])
        self.assertEqual(len(days), 365)
        spring, autumn = epoch("2026-03-29"), epoch("2026-10-25")
        self.assertIn(int(spring - BEGIN) + HOUR, days)  # 03:00 CEST, the first instant after the gap
        self.assertIn(int(autumn - BEGIN) + 30 * MINUTE, days)  # 02:30 CEST, the first of two
