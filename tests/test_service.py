"""The service: what it takes in, what it leaves, and how it begins and ends."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from unittest import mock

from twisted.internet.defer import fail, maybeDeferred
from twisted.logger import LogLevel, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from jobd.access import Access
from jobd.jobs.errors import JobError
from jobd.jobs.store import Store, StoreError
from jobd.jobs.table import JobTable
from jobd.service import JobService, default_max_runs
from jobd.testing import FakeClock, FakeSpawner, MemoryJobd

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
