"""The jobs of a service, for the program around it."""

from __future__ import annotations

import errno
from datetime import datetime, timedelta, timezone

from twisted.internet.defer import Deferred

from jobd.facade import RunInfo
from jobd.jobs.errors import JobError
from jobd.jobs.options import Policy
from jobd.testing import BEGIN
from tests.jobs.memory import ME, MINUTE, MemoryCase

START = datetime.fromtimestamp(BEGIN, timezone.utc)


class FacadeCase(MemoryCase):
    """A jobd with a callable `work`, which gives `gone`."""

    def setUp(self) -> None:
        self.gone: Deferred[None] = Deferred()
        self.more = {"callables": {"work": lambda call: self.gone}}
        super().setUp()
        self.jobs = self.jobd.service.jobs

    def assert_refused(self, number: int, change: Deferred[object]) -> str:
        error = self.failureResultOf(change, JobError).value
        self.assertEqual(error.errno, number, str(error))
        return str(error)


class ChangesTest(FacadeCase):
    """What is made and changed."""

    def test_add(self) -> None:
        """A job is made with its options, owned by us, and runs from then on."""
        options = {"timeout": "90s", "retries": 2, "env": {"A": "1", "B": "x y"}, "limit": {"nofile": 9}}
        made = self.done(self.jobs.add("backup", "@hourly", "make backup", options))
        self.assertEqual(made, self.jobs.get("backup"))
        self.assertEqual((made.name, made.schedule, made.command), ("backup", "@hourly", "make backup"))
        self.assertEqual((made.owner, made.started, made.next), (ME, True, START + timedelta(hours=1)))
        self.assertEqual((made.options.timeout, made.options.retries), (90.0, 2))
        self.assertEqual(dict(made.options.env), {"A": "1", "B": "x y"})
        self.assertEqual(dict(made.options.limit), {"nofile": "9"})
        self.assertEqual((made.running, made.runs, made.failures, made.last_success), ((), 0, 0, None))
        self.clock.pass_time(60 * MINUTE)
        self.assertEqual(len(self.running), 1)

    def test_stopped(self) -> None:
        """It is stopped if so wanted, and started and stopped later."""
        made = self.done(self.jobs.add("backup", "@hourly", "true", started=False))
        self.assertEqual((made.started, made.next), (False, None))
        self.done(self.jobs.start("backup"))
        self.assertTrue(self.jobs.get("backup").started)
        self.done(self.jobs.stop("backup"))
        self.assertFalse(self.jobs.get("backup").started)

    def test_nothing_half_made(self) -> None:
        """What is refused leaves no job."""
        for schedule, command, options in (
            ("61 * * * *", "true", {}),
            ("@hourly", "true", {"timeout": "soon"}),
            ("@hourly", "true", {"description": "two\nretries 5"}),
            ("@hourly", "@call nothing", {}),
            ("@hourly", "@call work", {"nice": 5}),
            ("@hourly", "", {}),
        ):
            with self.subTest(command=command, options=options):
                self.assert_refused(errno.EINVAL, self.jobs.add("backup", schedule, command, options))
                self.assertNotIn("backup", self.jobs)

    def test_taken(self) -> None:
        """There is one job of a name."""
        self.done(self.jobs.add("backup", "@hourly", "true"))
        self.assert_refused(errno.EEXIST, self.jobs.add("backup", "@hourly", "true"))

    def test_unknown(self) -> None:
        """A job that isn't there is told of in one way everywhere."""
        jobs = self.jobs
        for change in (jobs.start, jobs.stop, jobs.run, jobs.remove, jobs.change):
            self.assertEqual(self.assert_refused(errno.ENOENT, change("none")), "there is no job none")
        for look in (jobs.get, jobs.history, jobs.log, jobs.kill):
            self.assertRaises(JobError, look, "none")

    def test_change(self) -> None:
        """What is given is changed, and the rest stays."""
        self.done(self.jobs.add("backup", "@hourly", "true", {"retries": 2, "timeout": "5s"}))
        self.done(self.jobs.change("backup", options={"retries": None}))
        changed = self.done(self.jobs.change("backup", schedule="@daily"))
        self.assertEqual((changed.schedule, changed.command), ("@daily", "true"))
        self.assertEqual((changed.options.retries, changed.options.timeout), (0, 5.0))
        changed = self.done(self.jobs.change("backup", command="false"))
        self.assertEqual((changed.schedule, changed.command), ("@daily", "false"))

    def test_ensure(self) -> None:
        """A program that starts has its job as it says, and its state as it was left."""
        self.done(self.jobs.ensure("backup", "@hourly", "true", {"retries": 2, "nice": 5}))
        self.assertTrue(self.jobs.get("backup").started)
        self.done(self.jobs.stop("backup"))
        self.jobd.restart()
        self.jobs = self.jobd.service.jobs
        there = self.done(self.jobs.ensure("backup", "@daily", "@call work", {"overlap": "queue 3"}))
        self.assertEqual((there.schedule, there.command, there.started), ("@daily", "@call work", False))
        self.assertEqual((there.options.retries, there.options.overlap), (0, Policy("queue", 3)))
        there = self.done(self.jobs.ensure("backup", "@daily", "true", {"nice": 5}))
        self.assertEqual((there.command, there.options.nice), ("true", 5))
        events = self.events()
        self.done(self.jobs.ensure("backup", "@daily", "true", {"nice": 5}))
        self.assertEqual(self.events(), events)

    def test_remove(self) -> None:
        """A job is removed, unless a run of it is in progress."""
        self.done(self.jobs.add("backup", "@hourly", "true"))
        self.done(self.jobs.run("backup"))
        self.assert_refused(errno.EBUSY, self.jobs.remove("backup"))
        self.end_all()
        self.done(self.jobs.remove("backup"))
        self.assertEqual((len(self.jobs), list(self.jobs)), (0, []))

    def test_listed(self) -> None:
        """All jobs, in the order in which they were made."""
        for name in "cab":
            self.done(self.jobs.add(name, "@hourly", "true"))
        self.assertEqual([job.name for job in self.jobs], ["c", "a", "b"])
        self.assertTrue("a" in self.jobs and "x" not in self.jobs and 1 not in self.jobs)

    def test_actor(self) -> None:
        """`/events` says that it was the application."""
        self.done(self.jobs.add("backup", "@hourly", "true"))
        self.assertIn("created job=backup by=application", self.events())


class RunsTest(FacadeCase):
    """What is told of runs."""

    def test_wait(self) -> None:
        """A run by hand has a number, and an end to wait for."""
        self.done(self.jobs.add("backup", "@hourly", "true"))
        number = self.done(self.jobs.run("backup"))
        waiting = self.jobs.wait("backup", number)
        self.assertNoResult(waiting)
        self.assertEqual(self.jobs.get("backup").running, (1,))
        [process] = self.running
        process.print(b"half a line")
        process.exit(3)
        over = self.done(waiting)
        self.assertEqual((over.number, over.outcome, over.exit, over.signal), (1, "failed", 3, None))
        self.assertEqual((over.scheduled, over.started, over.ended), (None, START, START))
        self.assertEqual((over.attempts, over.detail, over.missed), (1, "exit status 3", 0))
        self.assertEqual(self.done(self.jobs.wait("backup", number)), over)
        self.assertEqual(self.jobs.history("backup"), [over])
        self.assertEqual(self.jobs.history("backup", after=1), [])
        self.assertEqual(self.jobs.output("backup", number), "half a line")
        self.assertIn("UTC:half a line\n", self.jobs.log("backup"))
        self.assertEqual(
            self.assert_refused(errno.ENOENT, self.jobs.wait("backup", 2)),
            "run 2 of backup is not kept, or never was",
        )

    def test_kill(self) -> None:
        """What is in progress can be ended."""
        self.done(self.jobs.add("backup", "@hourly", "true"))
        error = self.assertRaises(JobError, self.jobs.kill, "backup")
        self.assertEqual(error.errno, errno.EBUSY)
        number = self.done(self.jobs.run("backup"))
        self.jobs.kill("backup")
        self.assertEqual(self.done(self.jobs.wait("backup", number)).outcome, "killed")

    def test_subscribe(self) -> None:
        """Who subscribed is told of each attempt that begins and each run that is over, until they don't
        want to be.
        """
        told: list[RunInfo] = []
        unsubscribe = self.jobs.subscribe(told.append)
        self.done(self.jobs.add("backup", "0 * * * *", "true", {"retries": 1, "retry-delay": "1s"}))
        self.clock.pass_time(60 * MINUTE)
        self.running[0].exit(1)
        self.clock.pass_time(10)
        self.running[0].exit(0)
        self.assertEqual(
            [(run.number, run.attempts, run.outcome) for run in told],
            [(1, 1, None), (1, 2, None), (1, 2, "ok")],
        )
        self.assertEqual(told[-1], self.jobs.history("backup")[0])
        unsubscribe()
        self.done(self.jobs.run("backup"))
        self.assertEqual(len(told), 3)

    def test_never_began(self) -> None:
        """What was skipped or missed is told of once, a gap with how much was missed."""
        told: list[RunInfo] = []
        self.jobs.subscribe(told.append)
        self.done(self.jobs.add("work", "0 * * * *", "@call work", {"catchup": "none"}))
        self.clock.pass_time(2 * 60 * MINUTE)
        self.clock.step(3 * 60 * MINUTE)
        self.assertEqual(
            [(run.outcome, run.scheduled, run.missed) for run in told],
            [
                (None, START + timedelta(hours=1), 0),
                ("skipped", START + timedelta(hours=2), 0),
                ("missed", START + timedelta(hours=3), 3),
            ],
        )
        self.assertEqual(told[1:], self.jobs.history("work")[1:])

    def test_on_disk(self) -> None:
        """Who is told of an end finds it in the history."""
        found: list[object] = []
        self.jobs.subscribe(lambda run: run.outcome and found.append(self.jobs.history(run.job) == [run]))
        self.done(self.jobs.add("backup", "@hourly", "true"))
        self.done(self.jobs.run("backup"))
        self.jobd.disk.slow = True
        self.running[0].exit()
        self.assertEqual(found, [])
        self.jobd.disk.commit()
        self.assertEqual(found, [True])

    def test_failing_listener(self) -> None:
        """One who fails is logged, and harms nobody."""
        told: list[RunInfo] = []
        self.jobs.subscribe(lambda run: 1 // 0)
        self.jobs.subscribe(told.append)
        self.done(self.jobs.add("backup", "@hourly", "true"))
        self.done(self.jobs.run("backup"))
        self.end_all()
        self.assertEqual(len(told), 2)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_subscribed_early(self) -> None:
        """A subscription made before the service starts, or over its restart, holds."""
        told: list[RunInfo] = []
        self.done(self.jobs.add("backup", "@hourly", "true"))
        self.done(self.jobs.run("backup"))
        self.successResultOf(self.jobd.stop())
        self.jobs.subscribe(told.append)
        self.running[0].exit()
        self.jobd.service.startService()
        self.clock.pass_time(0)
        self.assertEqual([run.outcome for run in told], ["lost"])
