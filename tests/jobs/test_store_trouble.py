"""The store in trouble: killed, out of room, damaged."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from errno import ENOSPC, EUCLEAN
from typing import Any
from unittest import skipUnless
from unittest.mock import patch

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from jobd.jobs import salvage
from jobd.jobs.reserve import RESERVE_SIZE
from jobd.jobs.store import JobRecord, RunRecord, Store, StoreError

JOBS = 300
PAGE = 4096


def job(id: int) -> JobRecord:
    """A job that fills a twentieth of a page."""
    return JobRecord(id, f"job{id}", "seed", "glenda", "users", 0o711, "0 4 * * *", f"echo {'x' * 100}")


def run(id: int, number: int) -> RunRecord:
    """A run of it."""
    return RunRecord(id, number, scheduled=number, outcome="ok", exit=0, argv="[]", environment="{}" * 20)


CLIENT = """
import sys
from twisted.internet import reactor
from jobd.jobs.store import Store
from tests.jobs.test_store_trouble import job, run

def made(_, id):
    print(id, flush=True)
    make()

def make():
    id = store.next_job_id()
    store.create_job(job(id))
    store.begin_run(run(id, 1)._replace(outcome=None)).addCallback(made, id)

store = Store.open(sys.argv[1], reactor)
for _ in range(16):
    reactor.callWhenRunning(make)
reactor.run()
"""


class Killed(SynchronousTestCase):
    """A daemon that is killed."""

    def test_answered_is_there(self) -> None:
        """After kill -9 in the midst of sixteen clients' changes everything that was answered is there."""
        directory = self.mktemp()
        for lines in (1, 50, 400):
            client = subprocess.Popen(
                [sys.executable, "-c", CLIENT, directory],
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
            assert client.stdout is not None
            answered = [int(client.stdout.readline()) for _ in range(lines)]
            client.send_signal(signal.SIGKILL)
            answered += map(int, client.stdout.read().split())
            client.wait()
            client.stdout.close()
            store = Store.open(directory)
            self.assertEqual(store.notices, [])
            there = {each.id: each for each in store.load_jobs()}
            unfinished = {each.job for each in store.unfinished_runs()}
            for id in answered:
                self.assertEqual(there.get(id), job(id))
                self.assertIn(id, unfinished)
            self.assertGreater(store.next_job_id(), max(there))
            store.close()


def mounted(size: str, directory: str) -> bool:
    """Mount a file system in memory of SIZE on DIRECTORY, if this user may."""
    return not subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "jobd-test", directory], capture_output=True
    ).returncode


@skipUnless(os.geteuid() == 0 and shutil.which("mount"), "mounting a small file system takes root")
class FullDisk(SynchronousTestCase):
    """A disk without room."""

    def setUp(self) -> None:
        self.directory = os.path.abspath(self.mktemp())
        os.mkdir(self.directory)
        if not mounted("5m", self.directory):
            self.skipTest("this machine lets nobody mount")
        self.addCleanup(subprocess.run, ["umount", "--lazy", self.directory], check=True)
        self.filler = os.path.join(self.directory, "filler")

    def fill(self) -> None:
        """Leave no room at all."""
        with open(self.filler, "ab", buffering=0) as file:
            for size in (65536, 4096):
                while True:
                    try:
                        file.write(bytes(size))
                    except OSError:
                        break

    def outcome(self, change: Deferred[None]) -> int:
        """0, or the errno of the refusal."""
        results: list[int] = []
        change.addCallbacks(lambda _: results.append(0), lambda failure: results.append(failure.value.errno))
        return results[0]

    def test_runs_go_on(self) -> None:
        """On a full disk definitions are refused with ENOSPC, while intents, ends, stops and deletions
        commit by the thousand; when there is room again, so do definitions."""
        store = Store.open(self.directory)
        self.addCleanup(store.close)
        ids = [store.next_job_id() for _ in range(20)]
        for id in ids:
            store.create_job(job(id))
        self.fill()
        self.assertFalse(store.full)
        created = 0
        while not self.outcome(store.create_job(job(store.next_job_id()))):
            created += 1
            self.assertLess(created, 5000)
        self.assertTrue(store.full)
        self.assertEqual(self.outcome(store.create_job(job(99999))), ENOSPC)
        self.assertEqual(self.outcome(store.update_job(1, command="y")), ENOSPC)
        self.assertEqual(self.outcome(store.put_draft(1, "y")), ENOSPC)
        for number in range(1, 101):
            for id in ids:
                begun = store.begin_run(run(id, number)._replace(outcome=None), last_run=number)
                ended = store.end_run(id, number, keep_runs=10, outcome="ok")
                self.assertEqual((self.outcome(begun), self.outcome(ended)), (0, 0), (number, id))
        self.assertEqual(self.outcome(store.update_job(1, started=False)), 0)
        self.assertEqual(self.outcome(store.set_meta("paused", "1")), 0)
        self.assertEqual(self.outcome(store.delete_job(2)), 0)
        self.assertTrue(store.full)
        os.truncate(self.filler, max(0, os.path.getsize(self.filler) - 3 * RESERVE_SIZE))
        self.assertEqual(self.outcome(store.update_job(1, command="y")), 0)
        self.assertFalse(store.full)
        self.assertEqual(os.path.getsize(os.path.join(self.directory, "reserve")), RESERVE_SIZE)
        self.successResultOf(store.close())
        store = Store.open(self.directory)
        self.assertEqual(len(list(store.load_jobs())), 20 + created - 1)
        self.assertEqual([each.number for each in store.runs(20)], list(range(91, 101)))
        store.close()

    def test_start_without_room(self) -> None:
        """On a full disk a daemon starts with the room of its reserve, says so, records runs and refuses
        changes until there is room."""
        store = Store.open(self.directory)
        store.create_job(job(1))
        store.close()
        self.fill()
        store = Store.open(self.directory)
        self.addCleanup(store.close)
        self.assertTrue(store.full)
        self.assertIn("no space left", store.notices[0])
        self.assertEqual(self.outcome(store.create_job(job(2))), ENOSPC)
        self.assertEqual(self.outcome(store.begin_run(run(1, 1))), 0)
        os.truncate(self.filler, 0)
        self.assertEqual(self.outcome(store.create_job(job(2))), 0)


class NoMoreRoom(SynchronousTestCase):
    """A full disk where nobody can mount one: a limit on the database's pages."""

    def test_refusal(self) -> None:
        """What doesn't fit is refused with ENOSPC and changes nothing; the rest goes on."""
        store = Store.open(self.mktemp())
        self.addCleanup(store.close)
        store.create_job(job(1))
        connection = store._transactions.connection
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages + 1}")
        change = store.create_job(job(2)._replace(command="x" * 100_000))
        self.assertEqual(self.failureResultOf(change, StoreError).value.errno, ENOSPC)
        self.successResultOf(store.update_job(1, started=True))
        (loaded,) = store.load_jobs()
        self.assertTrue(loaded.started)


class PowerCutError(Exception):
    """The program ends here."""


class Damaged(SynchronousTestCase):
    """A damaged database."""

    sound = b""

    def setUp(self) -> None:
        if not self.sound:
            Damaged.sound = self.filled()
        self.directory = self.mktemp()
        self.path = os.path.join(self.directory, "jobd.db")
        self.pages = len(self.sound) // PAGE
        os.mkdir(self.directory)
        self.restore()

    def filled(self) -> bytes:
        """A database with jobs, of which the newest was deleted, and runs."""
        directory = self.mktemp()
        store = Store.open(directory)
        for id in range(1, JOBS + 1):
            store.create_job(job(id))
            for number in range(1, 4):
                store.begin_run(run(id, number))
        store.set_meta("paused", "1")
        store.delete_job(JOBS)
        store.close()
        with open(os.path.join(directory, "jobd.db"), "rb") as file:
            return file.read()

    def restore(self) -> None:
        with open(self.path, "wb") as file:
            file.write(self.sound)

    def damage(self, page: int, data: bytes | None = None) -> None:
        with open(self.path, "r+b") as file:
            file.seek((page - 1) * PAGE)
            file.write(random.Random(page).randbytes(PAGE) if data is None else data)

    def pages_of(self, table: str) -> list[int]:
        """The pages with rows of TABLE: leaves (type 13) that hold the text of one."""
        marks = {"jobs": b"seedglenda", "runs": b"{}{}{}"}
        found = []
        with open(self.path, "rb") as file:
            for page in range(1, self.pages + 1):
                content = file.read(PAGE)
                if content[0] == 13 and marks[table] in content:
                    found.append(page)
        return found

    def reopened(self) -> tuple[Store, list[JobRecord]]:
        with open(self.path, "rb") as file:
            damaged = file.read()
        store = Store.open(self.directory)
        self.addCleanup(store.close)
        (notice,) = store.notices
        self.assertIn("was damaged", notice)
        (aside,) = [name for name in os.listdir(self.directory) if ".damaged-" in name and "-wal" not in name]
        self.assertIn(os.path.join(os.path.abspath(self.directory), aside), notice)
        with open(os.path.join(self.directory, aside), "rb") as file:
            self.assertEqual(file.read(), damaged)
        jobs = list(store.load_jobs())
        for each in jobs:
            self.assertEqual(each, job(each.id))
            for record in store.runs(each.id):
                self.assertEqual(record, run(each.id, record.number))
        self.assertIn(f"{len(jobs)} jobs", notice)
        self.successResultOf(store.create_job(job(store.next_job_id())))
        self.assertEqual(salvage.find_damage(os.path.abspath(self.path)), None)
        return store, jobs

    def test_sound(self) -> None:
        """A sound database is opened as it is."""
        store = Store.open(self.directory)
        self.addCleanup(store.close)
        self.assertEqual(store.notices, [])
        self.assertEqual(len(list(store.load_jobs())), JOBS - 1)
        self.assertEqual(store.next_job_id(), JOBS + 1)

    def test_first_page(self) -> None:
        """With the first page overwritten, every row is kept."""
        self.damage(1)
        store, jobs = self.reopened()
        self.assertEqual(len(jobs), JOBS - 1)
        self.assertEqual(sum(len(store.runs(each.id)) for each in jobs), 3 * (JOBS - 1))
        self.assertEqual(store.get_meta("paused"), "1")

    def test_page_of_jobs(self) -> None:
        """With a page of jobs overwritten, the jobs on the other pages are kept with their runs."""
        for page in (self.pages_of("jobs")[0], self.pages_of("jobs")[3], self.pages_of("jobs")[-1]):
            with self.subTest(page=page):
                self.setUp()
                self.damage(page)
                store, jobs = self.reopened()
                self.assertGreater(len(jobs), JOBS - 60)
                self.assertLess(len(jobs), JOBS - 1)
                self.assertEqual({len(store.runs(each.id)) for each in jobs}, {3})
                self.assertGreater(store.next_job_id(), JOBS)

    def test_page_of_runs(self) -> None:
        """With pages of runs overwritten, every job is kept, and the runs on the other pages."""
        for page in self.pages_of("runs")[5:7]:
            self.damage(page)
        store, jobs = self.reopened()
        self.assertEqual(len(jobs), JOBS - 1)
        kept = sum(len(store.runs(each.id)) for each in jobs)
        self.assertGreater(kept, 3 * JOBS - 120)
        self.assertLess(kept, 3 * (JOBS - 1))

    def test_every_page(self) -> None:
        """Whichever page is overwritten or zeroed, the store opens and works, and keeps most jobs unless
        it was the page that leads to them."""
        kept = []
        for page in range(1, self.pages + 1):
            for data in (None, bytes(PAGE)):
                self.restore()
                self.damage(page, data)
                store = Store.open(self.directory)
                jobs = list(store.load_jobs())
                for each in jobs:
                    self.assertEqual(each, job(each.id))
                self.successResultOf(store.create_job(job(store.next_job_id())))
                kept.append(len(jobs))
                store.close()
                for name in os.listdir(self.directory):
                    if ".damaged-" in name:
                        os.unlink(os.path.join(self.directory, name))
        poor = [number for number in kept if number < JOBS - 60]
        self.assertLessEqual(len(poor), 2)

    def test_truncated(self) -> None:
        """Of a file cut to half its length, or to nothing, what is left is kept."""
        os.truncate(self.path, self.pages // 2 * PAGE)
        _, jobs = self.reopened()
        self.assertGreater(len(jobs), 50)
        self.setUp()
        os.truncate(self.path, 0)
        _, jobs = self.reopened()
        self.assertEqual(jobs, [])

    def test_no_database(self) -> None:
        """A file that is something else altogether is set aside."""
        with open(self.path, "wb") as file:
            file.write(b"hello:* * * * *:echo hello\n" * 500)
        _, jobs = self.reopened()
        self.assertEqual(jobs, [])

    def test_log(self) -> None:
        """What is only in the write-ahead log yet is kept when the database beside it is damaged."""
        store = Store.open(self.directory)
        store.create_job(job(JOBS + 5))
        copy = self.mktemp()
        os.mkdir(copy)
        for name in ("jobd.db", "jobd.db-wal"):
            shutil.copy(os.path.join(self.directory, name), copy)
        store.close()
        self.directory, self.path = copy, os.path.join(copy, "jobd.db")
        self.damage(self.pages_of("jobs")[2])
        _, jobs = self.reopened()
        self.assertIn(JOBS + 5, [each.id for each in jobs])
        self.assertTrue(any(name.endswith("-wal") and ".damaged-" in name for name in os.listdir(copy)))

    def test_power_cut_while_salvaging(self) -> None:
        """Wherever a salvage is cut off, the next start completes it with the same jobs."""
        self.damage(self.pages_of("jobs")[2])
        whole = self.mktemp()
        shutil.copytree(self.directory, whole)
        store, expected = self.reopened()
        store.close()
        cuts = 0
        while self.cut_off(whole, cuts):
            store = Store.open(self.directory)
            self.assertEqual(list(store.load_jobs()), expected, cuts)
            self.assertEqual(len(store.notices), 1)
            store.close()
            cuts += 1
        self.assertGreater(cuts, 5)

    def cut_off(self, whole: str, after: int) -> bool:
        """Open a copy of WHOLE; whether that was cut off by the system call after the first AFTER ones."""
        self.directory = self.mktemp()
        shutil.copytree(whole, self.directory)
        left = [after]

        def cut(call: Callable[..., Any]) -> Callable[..., Any]:
            def called(*arguments: Any) -> Any:
                if left[0] == 0:
                    raise PowerCutError
                left[0] -= 1
                return call(*arguments)

            return called

        calls = {name: cut(getattr(os, name)) for name in ("link", "replace", "unlink")}
        with patch.multiple(salvage.os, **calls):
            try:
                Store.open(self.directory).close()
            except PowerCutError:
                return True
        return False

    def test_damage_in_use(self) -> None:
        """Damage that is met in use is an error of that read or change, and is salvaged at the next start
        even where a start would not look at all of so large a database."""
        self.patch(salvage, "CHECKED_WHOLE", 0)
        self.damage(self.pages_of("runs")[5])
        store = Store.open(self.directory)
        self.assertEqual(store.notices, [])
        lost = next(id for id in range(1, JOBS) if self.unreadable(store, id))
        change = store.end_run(lost, 2, keep_runs=1, outcome="ok")
        self.assertEqual(self.failureResultOf(change, StoreError).value.errno, EUCLEAN)
        store.close()
        _, jobs = self.reopened()
        self.assertEqual(len(jobs), JOBS - 1)

    def unreadable(self, store: Store, id: int) -> bool:
        try:
            store.runs(id)
        except StoreError as error:
            self.assertEqual(error.errno, EUCLEAN)
            return True
        return False


class Errors(SynchronousTestCase):
    """A disk that fails."""

    def test_database_gone_read_only(self) -> None:
        """An error that is no lack of room fails the change with a sentence, and the next may succeed."""
        store = Store.open(self.mktemp())
        self.addCleanup(store.close)
        connection = store._transactions.connection
        connection.execute("PRAGMA query_only = ON")
        failure = self.failureResultOf(store.create_job(job(1)), StoreError)
        self.assertIn("can't be written", str(failure.value))
        connection.execute("PRAGMA query_only = OFF")
        self.successResultOf(store.create_job(job(1)))

    def test_reading_after_close(self) -> None:
        """Reading a closed store is a StoreError, not an accident."""
        store = Store.open(self.mktemp())
        store.close()
        self.assertRaises(StoreError, store.run, 1, 1)
