"""The service: what it takes in, what it leaves, and how it begins and ends."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.task import deferLater
from twisted.internet.testing import StringTransport, StringTransportWithDisconnection
from twisted.logger import LogEvent, LogLevel, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase

from jobd.access import Access, Peer, User
from jobd.jobs.callables import Call
from jobd.jobs.errors import JobError
from jobd.jobs.processes import PosixSpawner
from jobd.jobs.store import Store, StoreError
from jobd.jobs.table import JobTable
from jobd.service import JobService, default_max_runs
from jobd.testing import FakeClock, FakeSpawner, MemoryJobd

PR_GET_CHILD_SUBREAPER = 37  # of prctl(2)

ORIGINAL = b"""\
hello:0 0/5 * * * ? *:echo hello world
colons:* * * * * * *:echo a:b:c

old:0 0 0 1 1 ? 2001:echo never again
bad name:* * * * *:x
sixty:60 * * * *:x
latin1:* * * * *:echo gr\xfc\xdfe
no command
hello:* * * * *:a second one
last:@hourly:true"""


def capture_logs(test: SynchronousTestCase) -> list[LogEvent]:
    """What is logged until the end of TEST."""
    events: list[LogEvent] = []
    globalLogPublisher.addObserver(events.append)
    test.addCleanup(globalLogPublisher.removeObserver, events.append)
    return events


class OriginalTest(SynchronousTestCase):
    """An original `jobs.db`."""

    def setUp(self) -> None:
        self.jobd = MemoryJobd()
        self.addCleanup(self.jobd.close)
        self.logged: list[str] = []

    def restart(self, text: bytes | None) -> None:
        """Begin anew with TEXT as jobs.db; `logged` has what was said."""

        def observe(event: dict[str, object]) -> None:
            if event.get("log_level") in (LogLevel.warn, LogLevel.error):
                self.logged.append(formatEvent(event))

        if text is not None:
            (Path(self.jobd.directory) / "jobs.db").write_bytes(text)
        globalLogPublisher.addObserver(observe)
        try:
            self.jobd.restart()
        finally:
            globalLogPublisher.removeObserver(observe)

    def jobs(self) -> dict[str, tuple[str, str, bool]]:
        return {job.name: (job.schedule_text, job.command, job.started) for job in self.jobd.table.after(0)}

    def test_import(self) -> None:
        """Its jobs come up stopped, its bad lines are told of and harm no other, and it stays as it was."""
        self.restart(ORIGINAL)
        expected = {
            "hello": ("0 0/5 * * * ? *", "echo hello world", False),
            "colons": ("* * * * * * *", "echo a:b:c", False),
            "last": ("@hourly", "true", False),
        }
        self.assertEqual(self.jobs(), expected)
        self.assertEqual((Path(self.jobd.directory) / "jobs.db").read_bytes(), ORIGINAL)
        for about in (
            "line 8",
            "line 9",
            "job old",
            "from now on",
            "job bad name",
            "job sixty",
            "minute",
            "job latin1",
        ):
            self.assertEqual(len([line for line in self.logged if about in line]), 1, (about, self.logged))
        self.assertEqual(len(self.logged), 6)

    def test_once(self) -> None:
        """It is imported once: what was removed since stays away."""
        self.restart(ORIGINAL)
        self.successResultOf(self.jobd.table.remove(self.jobd.table.job("hello"), actor="test"))
        self.logged.clear()
        self.restart(None)
        self.assertEqual(set(self.jobs()), {"colons", "last"})
        self.assertEqual(self.logged, [])

    def test_full_disk(self) -> None:
        """What the disk has no room for is tried again by the next start."""
        with mock.patch.object(JobTable, "create", lambda *_, **__: fail(StoreError(errno.ENOSPC))):
            self.restart(b"hello:@daily:true\n")
        self.assertEqual(len(self.logged), 1)
        self.assertIn("the next start tries again: No space left on device", self.logged[0])
        self.assertEqual(self.jobs(), {})
        self.restart(None)
        self.assertEqual(self.jobs(), {"hello": ("@daily", "true", False)})

    def test_unreadable(self) -> None:
        """One that can't be read stops the start with a sentence: its jobs must not be forgotten."""
        (Path(self.jobd.directory) / "jobs.db").mkdir()
        error = self.assertRaises(JobError, self.jobd.restart)
        self.assertEqual(error.errno, errno.EISDIR)
        self.assertIn("jobs.db can't be read", str(error))
        (Path(self.jobd.directory) / "jobs.db").rmdir()


class RestartTest(SynchronousTestCase):
    """What the next daemon finds."""

    def test_everything_survives(self) -> None:
        """Jobs, their states, options, logs and histories are as they were."""
        jobd = MemoryJobd()
        self.addCleanup(jobd.close)
        client = self.successResultOf(jobd.connect())
        for message in (b"one:* * * * *:echo 1", b"two:@hourly:echo 2"):
            self.successResultOf(client.write_file("/clone", message))
        self.successResultOf(client.write_file("/jobs/one/options", b"timeout 90s"))
        self.successResultOf(client.write_file("/jobs/one/ctl", b"start"))
        jobd.clock.pass_time(60)
        jobd.spawner.running[0].print(b"1\n")
        jobd.spawner.running[0].exit()
        paths = [f"/jobs/{job}/{name}" for job in ("one", "two") for name in (
            "cmd", "schedule", "ctl", "options", "log", "history", "status"
        )] + ["/jobs/one/runs/1/output"]  # fmt: skip
        before = [self.successResultOf(client.read_file(path)) for path in paths]
        qids = [self.successResultOf(client.walk(path)).qid.path for path in paths]
        jobd.restart()
        client = self.successResultOf(jobd.connect())
        self.assertEqual([self.successResultOf(client.read_file(path)) for path in paths], before)
        self.assertEqual([self.successResultOf(client.walk(path)).qid.path for path in paths], qids)
        jobd.clock.pass_time(60)
        self.assertEqual(len(jobd.spawner.running), 1)

    def test_callable_gone(self) -> None:
        """A job whose callable is registered no more is told of at the start."""
        jobd = MemoryJobd(callables={"work": lambda call: None, "rest": lambda call: None})
        self.addCleanup(jobd.close)
        for name in ("work", "rest"):
            self.successResultOf(jobd.jobs.add(name, "@hourly", f"@call {name}"))
        jobd._more["callables"] = {"rest": lambda call: None}
        events = capture_logs(self)
        jobd.restart()
        told = [formatEvent(event) for event in events if event["log_level"] == LogLevel.error]
        self.assertEqual(told, ["job work can't run: command: no callable 'work' is registered; known: rest"])

    def test_a_directory_in_use(self) -> None:
        """A second daemon is refused the directory, and the first does not mind."""
        directory = os.path.abspath(self.mktemp())
        first, second = self.service(directory), self.service(directory)
        first.startService()
        error = self.assertRaises(JobError, second.startService)
        self.assertIn(f"{directory} is in use by another jobd (process {os.getpid()})", str(error))
        self.assertFalse(second.running)
        self.successResultOf(first.stopService())
        second.startService()
        self.successResultOf(second.stopService())

    def test_a_start_that_failed(self) -> None:
        """A start that failed leaves the directory free for the next."""
        directory = os.path.abspath(self.mktemp())
        legacy = Path(directory) / "jobs.db"
        legacy.mkdir(parents=True)
        service = self.service(directory)
        self.assertRaises(JobError, service.startService)
        legacy.rmdir()
        service.startService()
        self.successResultOf(service.stopService())

    def service(self, directory: str) -> JobService:
        """A service on the disk."""
        clock = FakeClock()
        return JobService(
            clock,
            directory,
            access=Access(),
            spawner=FakeSpawner(),
            zone="UTC",
            clock=clock,
            open_store=lambda: Store.open(directory),
            in_thread=maybeDeferred,
        )

    def test_max_runs(self) -> None:
        """Runs at a time, unless said otherwise: 8 a core, at least 64."""
        for cores, runs in ((1, 64), (8, 64), (9, 72), (None, 64)):
            self.patch(os, "cpu_count", lambda cores=cores: cores)
            self.assertEqual(default_max_runs(), runs)


class EmbeddedTest(TestCase):
    """A service with nothing handed in but a reactor and a directory."""

    def service(self, directory: str | None, **more: Any) -> JobService:
        service = JobService(reactor, directory, **more)
        service.startService()
        self.addCleanup(service.stopService)
        return service

    async def run_once(self, service: JobService, command: str) -> str:
        """What COMMAND prints, as a job."""
        await service.jobs.ensure("job", "@hourly", command)
        number = await service.jobs.run("job")
        run = await service.jobs.wait("job", number)
        self.assertEqual(run.outcome, "ok")
        return service.jobs.output("job", number)

    async def test_directory(self) -> None:
        """It runs jobs, and finds them again."""
        directory = os.path.abspath(self.mktemp())
        service = self.service(directory)
        self.assertEqual(await self.run_once(service, "echo $JOBD_JOB"), "job\n")
        await service.stopService()
        service = self.service(directory)
        [run] = service.jobs.history("job")
        self.assertEqual((run.outcome, service.jobs.output("job", 1)), ("ok", "job\n"))

    async def test_no_directory(self) -> None:
        """Without a directory nothing is left of them."""
        service = self.service(None)
        self.assertEqual(await self.run_once(service, "echo one"), "one\n")
        assert service._temporary is not None
        directory = service._temporary.name
        self.assertTrue(os.path.isdir(directory))
        await service.stopService()
        self.assertFalse(os.path.exists(directory))
        service.startService()
        self.assertEqual(list(service.jobs), [])

    async def test_stop_with_a_call(self) -> None:
        """A stop cancels what is called, waits for it, and has its end on disk."""
        directory, began, gone = os.path.abspath(self.mktemp()), Deferred(), Deferred()

        async def work(call: Call) -> None:
            try:
                began.callback(None)
                await Deferred()
            finally:
                await gone

        service = self.service(directory, callables={"work": work})
        await service.jobs.add("job", "@hourly", "@call work")
        await service.jobs.run("job")
        await began
        stopped = service.stopService()
        self.assertNoResult(stopped)
        gone.callback(None)
        await stopped
        service = self.service(directory, callables={"work": work})
        [run] = service.jobs.history("job")
        self.assertEqual((run.outcome, run.detail), ("killed", "jobd was stopped"))

    def test_another_user(self) -> None:
        """Whose it is follows from the user that it starts as: twistd --uid makes that another one."""
        service = JobService(reactor, None)
        other = User(4001, 4001, "glenda", frozenset({4001}))
        self.patch(User, "by_uid", lambda uid: other)
        service.startService()
        self.addCleanup(service.stopService)
        self.assertEqual(service.access.daemon, other)

    async def test_process_is_as_it_was(self) -> None:
        """It changes nothing of the process around it."""

        def state() -> list[object]:
            with open("/proc/self/status") as status:
                umask = [line for line in status if line.startswith("Umask")]
            handlers = [signal.getsignal(number) for number in sorted(signal.valid_signals())]
            reaper = ctypes.c_int()
            ctypes.CDLL(None).prctl(PR_GET_CHILD_SUBREAPER, ctypes.byref(reaper), 0, 0, 0)
            return [os.getcwd(), os.environ.copy(), umask, handlers, reaper.value, signal.set_wakeup_fd(-1)]

        # The reactor that runs has handlers of its own.
        await deferLater(reactor, 0)
        before = state()
        signal.set_wakeup_fd(before[-1])  # type: ignore[arg-type]
        service = self.service(None, spawner=PosixSpawner(reactor))
        await self.run_once(service, "true")
        within = state()
        signal.set_wakeup_fd(within[-1])  # type: ignore[arg-type]
        self.assertEqual(within, before)

    def test_never_started(self) -> Deferred[Any]:
        """One that was never started stops without a word, and says why it has no jobs."""
        service = JobService(reactor, None)
        self.assertIn("never started", str(self.assertRaises(RuntimeError, service.jobs.get, "job")))
        return service.stopService()


class FactoryTest(SynchronousTestCase):
    """The jobs as files, on sockets."""

    def setUp(self) -> None:
        self.jobd = MemoryJobd(start=False)
        self.addCleanup(self.jobd.close)
        self.factory = self.jobd.service.factory(
            identify=lambda _: Peer("here", self.jobd.service.access.daemon)
        )

    def connect(self) -> StringTransport:
        transport = StringTransportWithDisconnection()
        transport.abortConnection = transport.loseConnection  # type: ignore[method-assign]
        protocol = self.factory.buildProtocol(None)
        transport.protocol = protocol
        protocol.makeConnection(transport)
        return transport

    def test_while_it_runs(self) -> None:
        """A connection is refused before the start, served then, and ended by the stop."""
        self.assertFalse(self.connect().connected)
        self.jobd.service.startService()
        transport = self.connect()
        self.assertTrue(transport.connected)
        stopped = self.jobd.stop()
        self.assertFalse(transport.connected)
        self.jobd.clock.advance(0)
        self.successResultOf(stopped)
        self.assertFalse(self.connect().connected)
        self.jobd.service.startService()
        self.assertTrue(self.connect().connected)

    def test_metrics(self) -> None:
        """`/metrics` counts its connections."""
        self.jobd.service.startService()
        self.connect()
        client = self.successResultOf(self.jobd.connect())
        self.assertIn(b"\njobd_connections 1\n", self.successResultOf(client.read_file("/metrics")))

    def test_made_later(self) -> None:
        """One that is made while the service runs serves at once."""
        self.jobd.service.startService()
        self.factory = self.jobd.service.factory(identify=lambda _: None)
        self.assertTrue(self.connect().connected)
