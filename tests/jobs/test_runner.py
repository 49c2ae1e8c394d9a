"""Runs: overlap, slots, timeouts, retries, kills, intents, restarts, on fake processes."""

from __future__ import annotations

import errno
import signal

from jobd.jobs.errors import JobError
from jobd.jobs.job import Job
from jobd.jobs.records import RunRecord
from jobd.jobs.run import NANO
from jobd.jobs.store import StoreError
from jobd.testing import BEGIN
from tests.jobs.memory import HOUR, MINUTE, MemoryCase


class OverlapTest(MemoryCase):
    """`overlap`, for instants and for runs by hand."""

    def ends(self, job: Job) -> list[tuple[int, str | None]]:
        return [(record.number, record.outcome) for record in self.records(job)]

    def test_instants(self) -> None:
        """What becomes of four instants while the first run goes on, and after it."""
        table = (
            # overlap, runs at a time at 4.5 minutes, outcomes once all has ended
            ("skip", 1, ["ok", "skipped", "skipped", "skipped"]),
            ("queue 2", 1, ["ok", "ok", "ok", "skipped"]),
            ("allow 2", 2, ["ok", "ok", "skipped", "skipped"]),
            ("allow 9", 4, ["ok", "ok", "ok", "ok"]),
        )
        for overlap, at_a_time, outcomes in table:
            job = self.start("* * * * *", f"overlap {overlap}\n", name=overlap.replace(" ", ""))
            self.clock.pass_time(4.5 * MINUTE)
            self.assertEqual(len(self.running), at_a_time, overlap)
            self.end_all()
            self.assertEqual(self.outcomes(job), outcomes, overlap)
            self.done(self.jobd.table.stop(job, actor="me"))
            self.clock.pass_time(30)

    def test_replace(self) -> None:
        """The new run starts when the old one has ended, by TERM or by KILL after the grace."""
        job = self.start("* * * * *", "overlap replace\ngrace 5s\n")
        self.clock.pass_time(MINUTE)
        [old] = self.running
        old.stubborn = True
        self.clock.pass_time(MINUTE + 4)
        self.assertEqual((self.running, old.signals), ([old], [signal.SIGTERM]))
        self.clock.pass_time(2)
        [new] = self.running
        self.assertIsNot(new, old)
        self.assertEqual(old.signals, [signal.SIGTERM, signal.SIGKILL])
        self.assertEqual(self.ends(job), [(1, "replaced"), (2, None)])
        self.assertIn("run 1 was replaced: by run 2", self.log_of(job))

    def test_replace_what_waits(self) -> None:
        """Only the newest waits for the end of a run that is being replaced."""
        job = self.start("* * * * *", "overlap replace\ngrace 10m\n")
        self.clock.pass_time(MINUTE)
        self.running[0].stubborn = True
        self.clock.pass_time(3 * MINUTE)
        self.running[0].exit()
        self.clock.pass_time(0)
        self.assertEqual(self.ends(job), [(1, "replaced"), (2, "replaced"), (3, "replaced"), (4, None)])

    def test_by_hand(self) -> None:
        """A run by hand obeys `overlap`: EBUSY, and no record, where it would be skipped."""
        for overlap, allowed in (("skip", 1), ("queue 2", 3), ("allow 2", 2)):
            job = self.create("0 0 1 1 *", f"overlap {overlap}\n", name=overlap.replace(" ", ""))
            numbers = [self.run_by_hand(job) for _ in range(allowed)]
            refused = self.failureResultOf(self.jobd.table.run(job, actor="me"), JobError).value
            self.assertEqual(refused.errno, errno.EBUSY)
            self.assertIn(f"overlap {overlap} starts no other", str(refused))
            self.end_all()
            self.assertEqual(numbers, [*range(1, allowed + 1)])
            self.assertEqual(self.outcomes(job), ["ok"] * allowed)
            self.assertEqual({record.scheduled for record in self.records(job)}, {None})

    def test_by_hand_while_committing(self) -> None:
        """A run by hand occupies its job from the moment it was asked for, before its intent is committed."""
        job = self.start("* * * * *")
        self.clock.pass_time(59)
        self.jobd.disk.slow = True
        answer = self.jobd.table.run(job, actor="me")
        self.clock.pass_time(2)
        self.assertNoResult(answer)
        self.assertEqual(self.running, [])
        self.jobd.disk.slow = False
        self.jobd.disk.commit()
        self.assertEqual(self.done(answer), 1)
        self.assertEqual((len(self.running), self.ends(job)), (1, [(1, None), (2, "skipped")]))

    def test_by_hand_uses_up_no_instant(self) -> None:
        """A run by hand leaves the next instant to the schedule, and is `scheduled=none`."""
        job = self.start("*/10 * * * *")
        self.run_by_hand(job)
        self.end_all()
        self.clock.pass_time(10 * MINUTE)
        self.assertEqual(self.instants(job), [None, 10 * MINUTE])
        self.assertIn("run=1 scheduled=none", self.history(job))


class SlotTest(MemoryCase):
    """`--max-runs`."""

    more = {"max_runs": 2}  # noqa: RUF012

    def test_order(self) -> None:
        """Due runs wait for a place in the order in which they were due."""
        for number in range(6):
            self.start("1 * * * *", name=f"job{number}")
        self.clock.pass_time(MINUTE)
        self.assertEqual((len(self.running), self.jobd.service.runner.waiting), (2, 4))
        order = []
        while self.running:
            self.running[0].exit()
            self.clock.pass_time(0)
        order = [
            line.split("job=")[1].split()[0] for line in self.events().splitlines() if "UTC:start job" in line
        ]
        self.assertEqual(order, [f"job{number}" for number in range(6)])

    def crowd(self) -> list[Job]:
        """Jobs that are due now, of which two have a place."""
        jobs = [self.start("1 * * * *", name=f"job{number}") for number in range(4)]
        self.clock.pass_time(MINUTE - 1)
        # All are due before the first of them may start.
        self.jobd.disk.slow = True
        self.clock.pass_time(1)
        self.jobd.disk.commit()
        self.jobd.disk.slow = False
        self.assertEqual((len(self.running), self.jobd.service.runner.waiting), (2, 2))
        return jobs

    def test_starts_come_first(self) -> None:
        """While runs wait for a place, who has one is written down a second later, or with its end."""
        first, second, *_ = self.crowd()
        self.assertEqual([self.records(job)[0].started for job in (first, second)], [None, None])
        self.running[0].exit()
        [record] = self.records(first)
        self.assertEqual((record.outcome, record.started), ("ok", int(BEGIN + MINUTE) * NANO))
        self.assertIn("JOBD_JOB", str(record.environment))
        self.assertIsNone(self.records(second)[0].pid)
        self.clock.tick()
        self.assertEqual(self.records(second)[0].pid, self.running[0].pid)

    def test_a_stop_in_a_crowd(self) -> None:
        """What was not written down for the crowd is by the time that the daemon has stopped."""
        first, second, *_ = self.crowd()
        pids = [process.pid for process in self.running]
        self.jobd.restart()
        self.assertEqual([self.records(job)[0].pid for job in (first, second)], pids)

    def test_waiting_is_in_progress(self) -> None:
        """A run that waits for a place occupies its job: it is skipped over, can be killed, and keeps it."""
        for number in range(2):
            self.start("1 * * * *", name=f"job{number}")
        job = self.start("* * * * *", name="waits")
        self.clock.pass_time(2 * MINUTE)
        self.assertEqual(self.outcomes(job), ["skipped"])
        refused = self.failureResultOf(self.jobd.table.remove(job, actor="me"), JobError).value
        self.assertEqual(refused.errno, errno.EBUSY)
        self.jobd.table.kill(job, None, actor="me")
        self.assertEqual(self.outcomes(job), ["killed", "skipped"])
        self.assertEqual(self.jobd.service.runner.waiting, 0)

    def test_places_come_back(self) -> None:
        """Every way a run can end gives its place back."""
        self.jobd.spawner.refuse = OSError(errno.ENOEXEC, "no")
        for number in range(5):
            self.run_by_hand(self.create(name=f"job{number}"))
            self.clock.pass_time(0)
        self.jobd.spawner.refuse = None
        self.jobd.disk.refuse = lambda _change: True
        job = self.create_quietly("other")
        self.failureResultOf(self.jobd.table.run(job, actor="me"), StoreError)
        self.jobd.disk.refuse = lambda _change: False
        for number in range(2):
            self.run_by_hand(self.create(name=f"more{number}"))
        self.assertEqual(len(self.running), 2)

    def create_quietly(self, name: str) -> Job:
        self.jobd.disk.refuse = lambda _change: False
        job = self.create(name=name)
        self.jobd.disk.refuse = lambda _change: True
        return job


class EndTest(MemoryCase):
    """How runs end."""

    def test_outcomes(self) -> None:
        """Exit and signal are in the history, and what is not ok is in the log."""
        table = (
            (lambda p: p.exit(0), "exit=0 outcome=ok", ""),
            (lambda p: p.exit(3), "exit=3 outcome=failed", "failed: exit status 3"),
            (lambda p: p.die(11), "signal=SIGSEGV outcome=failed", "failed: killed by SIGSEGV"),
        )
        for number, (end, line, log) in enumerate(table):
            job = self.create(name=f"job{number}")
            self.run_by_hand(job)
            end(self.running[0])
            self.assertIn(line, self.history(job))
            self.assertEqual(self.log_of(job), f"run 1 {log}" if log else "")

    def test_timeout(self) -> None:
        """After `timeout` comes TERM, after `grace` KILL; a step of the clock moves neither."""
        job = self.create(options="timeout 30s\ngrace 10s\n")
        self.run_by_hand(job)
        [process] = self.running
        process.stubborn = True
        self.clock.step(-HOUR)
        self.clock.pass_time(28)
        self.assertEqual(process.signals, [])
        self.clock.pass_time(1)
        self.assertEqual(process.signals, [signal.SIGTERM])
        self.clock.step(8)
        self.assertEqual(process.signals, [signal.SIGTERM])
        self.clock.pass_time(9)
        self.assertEqual(process.signals, [signal.SIGTERM, signal.SIGKILL])
        self.assertEqual(self.outcomes(job), ["timeout"])
        self.assertIn("run 1 timed out: after 30s", self.log_of(job))

    def test_retries(self) -> None:
        """An attempt that failed is tried again, after a delay that doubles, give or take a quarter."""
        job = self.create(options="retries 3\nretry-delay 10s\n")
        self.run_by_hand(job)
        delays = []
        for _ in range(3):
            self.running[0].exit(1)
            begun = self.clock.monotonic()
            while not self.running:
                self.clock.pass_time(0.5)
            delays.append(self.clock.monotonic() - begun)
        self.running[0].exit(1)
        for delay, least in zip(delays, (10, 20, 40), strict=True):
            self.assertTrue(0.75 * least <= delay <= 1.25 * least + 0.5, delays)
        [record] = self.records(job)
        self.assertEqual(
            (record.outcome, record.attempts, len(self.jobd.spawner.processes)), ("failed", 4, 4)
        )
        self.assertEqual(self.log_of(job).count("; again in "), 3)

    def test_retry_succeeds(self) -> None:
        """A run whose second attempt is ok is ok, and keeps its job until then."""
        job = self.start("* * * * *", "retries 1\nretry-delay 90s\n")
        self.clock.pass_time(MINUTE)
        self.running[0].exit(1)
        self.clock.pass_time(MINUTE + 1)
        self.assertEqual([record.outcome for record in self.records(job)], [None, "skipped"])
        self.clock.pass_time(MINUTE)
        self.end_all()
        self.assertEqual(self.outcomes(job)[0], "ok")

    def test_timeouts_are_retried(self) -> None:
        """An attempt that timed out is tried again too, with a timeout of its own."""
        job = self.create(options="retries 1\nretry-delay 10s\ntimeout 5s\n")
        self.run_by_hand(job)
        self.clock.pass_time(6)
        self.assertEqual((self.running, self.outcomes(job)), ([], [None]))
        self.clock.pass_time(13)
        self.clock.pass_time(6)
        self.assertEqual((self.outcomes(job), self.records(job)[0].attempts), (["timeout"], 2))

    def test_kill(self) -> None:
        """`kill` ends a run by TERM, then KILL; a signal by name is sent as it is, and may end it too."""
        table = (
            (None, False, [15], "killed"),
            (None, True, [15, 9], "killed"),
            (signal.SIGKILL, False, [9], "killed"),
            (signal.SIGTERM, False, [15], "killed"),
            (signal.SIGHUP, False, [1], None),
        )
        for number, (signum, stubborn, signals, outcome) in enumerate(table):
            job = self.create(options="retries 5\n", name=f"job{number}")
            self.run_by_hand(job)
            process = self.running[-1]
            process.stubborn = stubborn
            self.jobd.table.kill(job, signum, actor="me")
            self.clock.pass_time(11)
            self.assertEqual((process.signals, self.outcomes(job)), (signals, [outcome]), signum)

    def test_kill_nothing(self) -> None:
        """Where nothing runs, there is nothing to kill: EBUSY."""
        job = self.create()
        refused = self.assertRaises(JobError, self.jobd.table.kill, job, None, actor="me")
        self.assertEqual(refused.errno, errno.EBUSY)

    def test_stop_drops_what_waits(self) -> None:
        """`stop` drops queued instants and pending retries, with a line each, and leaves what runs alone."""
        queued = self.start("* * * * *", "overlap queue 5\n", name="queued")
        retried = self.start("1 * * * *", "retries 5\nretry-delay 1h\n", name="retried")
        self.clock.pass_time(MINUTE)
        self.jobd.spawner.processes[1].exit(1)
        self.clock.pass_time(2 * MINUTE)
        for job in (queued, retried):
            self.done(self.jobd.table.stop(job, actor="me"))
        self.assertEqual(self.outcomes(queued), [None, "skipped", "skipped"])
        self.assertEqual(self.log_of(queued).count("was skipped: the job was stopped"), 2)
        self.assertEqual(self.outcomes(retried), ["failed"])
        self.assertIn("run 1 failed: no further attempt: the job was stopped", self.log_of(retried))
        self.assertEqual(len(self.running), 1)
        self.end_all()
        self.assertEqual(self.outcomes(queued)[0], "ok")

    def test_spawn_failure(self) -> None:
        """A process that can't be started is a failed attempt, with the reason; so is an unknown owner."""
        job = self.create(options="retries 1\nretry-delay 1s\n")
        self.jobd.spawner.refuse = OSError(errno.ENOENT, "No such file or directory")
        self.run_by_hand(job)
        self.clock.pass_time(2)
        [record] = self.records(job)
        self.assertEqual((record.outcome, record.attempts), ("failed", 2))
        self.assertIn("No such file or directory", record.detail)
        self.jobd.spawner.refuse = None
        self.done(self.jobd.table.set_access(job, actor="root", owner="nosuchuser"))
        self.run_by_hand(job)
        self.clock.pass_time(2)
        self.assertIn("there is no user nosuchuser", self.records(job)[1].detail)

    def test_odd_spawner(self) -> None:
        """Whatever a start raises, the run ends and its job goes on."""
        job = self.start("* * * * *")
        self.jobd.spawner.refuse = ZeroDivisionError()  # type: ignore[assignment]
        self.clock.pass_time(2 * MINUTE)
        self.assertEqual(self.outcomes(job), ["failed", "failed"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_waiters(self) -> None:
        """Who waits for a run is told when its end is on disk; who waits no more is not."""
        job = self.create()
        number = self.run_by_hand(job)
        runner = self.jobd.service.runner
        waiter, other = runner.wait(job, number), runner.wait(job, number)
        other.cancel()
        self.failureResultOf(other)
        self.jobd.disk.slow = True
        self.running[0].exit()
        self.assertNoResult(waiter)
        self.jobd.disk.commit()
        self.done(waiter)
        self.assertIsNone(runner.wait(job, number))


class DiskTest(MemoryCase):
    """Intents, and a disk that fails."""

    def test_intent_before_process(self) -> None:
        """Nothing is started before its intent is on disk, attempts after the first included."""
        job = self.start("* * * * *", "retries 1\nretry-delay 1s\n")
        self.jobd.disk.slow = True
        self.clock.pass_time(MINUTE)
        self.assertEqual(self.running, [])
        self.jobd.disk.commit()
        [process] = self.running
        process.exit(1)
        self.clock.pass_time(3)
        self.assertEqual(self.running, [])
        self.jobd.disk.commit()
        self.assertEqual(len(self.running), 1)
        self.assertEqual(self.records(job)[0].attempts, 2)

    def test_watermark_with_the_intent(self) -> None:
        """The watermark is in the commit of the intent, and never past an instant that still waits."""
        self.start("* * * * *", "overlap queue 9\n")

        def watermark() -> float:
            [record] = self.jobd.service.store.load_jobs()
            return (record.watermark or 0) - BEGIN

        self.clock.pass_time(MINUTE)
        self.assertEqual(watermark(), MINUTE)
        self.clock.pass_time(3 * MINUTE)
        self.assertEqual(watermark(), MINUTE)
        self.running[0].exit()
        self.clock.pass_time(0)
        self.assertEqual(watermark(), 3 * MINUTE - 1)

    def test_crash_before_the_process(self) -> None:
        """A crash between intent and process: the run is lost, and its instant never runs again."""
        job = self.start("*/10 * * * *")
        self.jobd.disk.slow = True
        self.clock.pass_time(10 * MINUTE)
        self.jobd.disk.commit(answer=False)
        self.jobd.disk.slow = False
        self.jobd.crash()
        self.clock.pass_time(MINUTE)
        self.assertEqual((self.outcomes(job), self.jobd.spawner.processes), (["lost"], []))
        self.assertIn("run 1 was lost: jobd died at its start", self.log_of(job))

    def test_crash_before_the_pid(self) -> None:
        """A process whose number was not written down before a crash is found by its mark."""
        job = self.start("*/10 * * * *")
        self.clock.pass_time(10 * MINUTE - 1)
        self.jobd.disk.slow = True
        self.clock.pass_time(1)
        self.jobd.disk.commit(1)
        [process] = self.running
        self.jobd.crash()
        self.jobd.disk.slow = False
        self.assertIsNone(self.records(job)[0].pid)
        self.assertEqual(self.again(job).active.keys(), {1})
        process.exit()
        self.assertEqual(self.outcomes(job), ["lost"])

    def test_failing_disk(self) -> None:
        """Where the disk refuses intents nothing starts and the log says so; the schedule goes on."""
        job = self.start("* * * * *")
        self.jobd.disk.refuse = lambda _change: True
        self.clock.pass_time(3 * MINUTE)
        self.assertEqual((self.running, self.records(job), job.active), ([], [], {}))
        self.assertEqual(self.log_of(job).count("not started: the disk under the database failed"), 3)
        self.jobd.disk.refuse = lambda _change: False
        self.clock.pass_time(MINUTE)
        self.assertEqual(self.instants(job), [4 * MINUTE])
        self.jobd.disk.refuse = lambda _change: True
        self.end_all()
        self.assertEqual(job.active, {})
        self.jobd.disk.refuse = lambda _change: False
        self.clock.pass_time(MINUTE)
        self.assertEqual(len(self.running), 1)


class RestartTest(MemoryCase):
    """Runs go on while the daemon is away."""

    def one_running(self, options: str = "") -> tuple[Job, RunRecord]:
        job = self.start("*/10 * * * *", options)
        self.clock.pass_time(10 * MINUTE)
        return job, self.records(job)[0]

    def test_adopted(self) -> None:
        """The next daemon goes on with its output, keeps overlap, and records its end as unknown."""
        for again in (self.jobd.restart, self.jobd.crash):
            name = again.__name__
            job = self.start("* * * * *", name=name)
            self.clock.pass_time(MINUTE)
            [process] = self.running
            process.print(b"before\n")
            self.clock.pass_time(1)
            again()
            process.print(b"meanwhile\n")
            self.clock.pass_time(MINUTE)
            self.assertEqual(len(self.running), 1)
            process.print(b"last")
            process.exit()
            log = self.log_of(job)
            self.assertEqual([log.count(word) for word in ("before", "meanwhile", "last")], [1, 1, 1])
            self.assertEqual(self.outcomes(job)[:2], ["lost", "skipped"])
            self.assertIn("exit=unknown outcome=lost", self.history(job))
            output = self.jobd.service.journal.output_of(self.again(job), 1).reader()
            self.assertEqual(output.read(0, 100), b"before\nmeanwhile\nlast")
            self.done(self.jobd.table.stop(self.again(job), actor="me"))
            self.end_all()

    def test_adopted_can_be_killed(self) -> None:
        """An adopted run is killed like any other, and its timeout goes on."""
        job, _ = self.one_running("timeout 5m\n")
        self.clock.pass_time(4 * MINUTE)
        self.jobd.crash()
        self.clock.pass_time(61)
        self.assertEqual(self.outcomes(job), ["timeout"])
        self.clock.pass_time(6 * MINUTE)
        self.jobd.crash()
        self.jobd.table.kill(self.again(job), None, actor="me")
        self.assertEqual(self.outcomes(job), ["timeout", "killed"])

    def test_ended_meanwhile(self) -> None:
        """A run that ended while jobd was away, or with the machine, is lost."""
        job, _ = self.one_running("retries 3\n")
        self.jobd.stop()
        self.running[0].exit()
        self.jobd._start()
        self.assertEqual(self.outcomes(job), ["lost"])
        self.clock.pass_time(10 * MINUTE)
        self.jobd.reboot()
        self.assertEqual(self.outcomes(job), ["lost", "lost"])

    def test_pending_retry(self) -> None:
        """A run that waits for its next attempt still does after a restart; its job stays occupied."""
        job, _ = self.one_running("retries 1\nretry-delay 2m\n")
        self.running[0].exit(1)
        self.jobd.crash()
        self.assertEqual((self.outcomes(job), self.again(job).active.keys()), ([None], {1}))
        self.clock.pass_time(3 * MINUTE)
        self.running[0].exit(0)
        [record] = self.records(job)
        self.assertEqual((record.outcome, record.attempts), ("ok", 2))

    def test_graceful_stop(self) -> None:
        """A stop waits for runs as long as it is told to, starts nothing, and leaves the rest running."""
        for wait, ends in ((0.0, False), (30.0, False), (30.0, True)):
            self.jobd.service._stop_wait = wait
            job = self.start("* * * * *", name=f"job{wait:.0f}{ends}")
            self.clock.pass_time(MINUTE)
            stopped = self.jobd.stop()
            if wait:
                self.assertNoResult(stopped)
                if ends:
                    self.running[0].exit()
                self.clock.pass_time(0 if ends else 30)
            self.successResultOf(stopped)
            self.clock.pass_time(5 * MINUTE)
            self.assertEqual(len(self.running), 0 if ends else 1)
            self.jobd._start()
            self.assertEqual(self.outcomes(job)[0], "ok" if ends else None)
            self.done(self.jobd.table.stop(self.again(job), actor="me"))
            self.end_all()
