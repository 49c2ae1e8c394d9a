"""A backup is the state of one moment, whatever goes on meanwhile, and a jobd starts on it."""

from __future__ import annotations

import errno
import os
import sqlite3
import tempfile
import threading
from contextlib import closing
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from jobd.jobs.backup import back_up
from jobd.jobs.records import JobRecord, RunRecord
from jobd.jobs.segments import SegmentStore
from jobd.jobs.store import DATABASE, OUTPUT, Store, StoreError


def job(number: int) -> JobRecord:
    return JobRecord(number, f"job{number}", f"job{number}", "glenda", "users", 0o711, "@daily", "true")


class BackupTest(SynchronousTestCase):
    """`back_up`."""

    def setUp(self) -> None:
        parent = tempfile.TemporaryDirectory(prefix="jobd-backup-")
        self.addCleanup(parent.cleanup)
        self.parent = parent.name
        self.directory = os.path.join(parent.name, "state")
        self.target = os.path.join(parent.name, "copy")

    def store(self, directory: str = "") -> Store:
        store = Store.open(directory or self.directory)
        self.addCleanup(store.close)
        return store

    def refused(self, number: int, sentence: str) -> None:
        """There is no backup now, and nothing was left of it."""
        before = os.listdir(self.parent)
        error = self.assertRaises(StoreError, back_up, self.directory, self.target)
        self.assertEqual(error.errno, number)
        self.assertIn(sentence, str(error))
        self.assertEqual(os.listdir(self.parent), before)

    def test_all_of_it(self) -> None:
        """It has the jobs, the runs and the output, also those that are still in the write-ahead log."""
        store = self.store()
        store.create_job(job(store.next_job_id()))
        store.begin_run(RunRecord(1, 1, outcome="ok"), last_run=1)
        store.set_meta("paused", "1")
        logs = SegmentStore(os.path.join(self.directory, OUTPUT))
        logs.log("1/log", 1000).append(b"hello\n")
        back_up(self.directory, self.target)
        copy = self.store(self.target)
        self.assertEqual(list(copy.load_jobs()), list(store.load_jobs()))
        self.assertEqual(copy.runs(1), store.runs(1))
        self.assertEqual((copy.get_meta("paused"), copy.next_job_id()), ("1", 2))
        log = SegmentStore(os.path.join(self.target, OUTPUT)).log("1/log", 1000)
        self.assertEqual(log.read(0, 100), b"hello\n")
        self.assertEqual(os.stat(self.target).st_mode & 0o777, 0o700)
        self.assertEqual(os.stat(os.path.join(self.target, DATABASE)).st_mode & 0o777, 0o600)

    def test_under_load(self) -> None:
        """No copy has half of a change, and each has more than the one before, while changes go on."""
        store = self.store()
        logs = SegmentStore(os.path.join(self.directory, OUTPUT))
        log = logs.log("events", 64 << 10)
        made, ended = threading.Event(), threading.Event()

        def work() -> None:
            number = 0
            while not ended.is_set():
                number += 1
                store.create_job(job(number))
                store.begin_run(RunRecord(number, 7, outcome="ok"), last_run=7)
                log.append(b"x" * 4000 + b"%d\n" % number)
                if number == 50:
                    made.set()

        thread = threading.Thread(target=work)
        thread.start()
        self.assertTrue(made.wait(30))
        try:
            for number in range(5):
                back_up(self.directory, f"{self.target}{number}")
        finally:
            ended.set()
            thread.join()
        newest = 49
        for number in range(5):
            copy = self.store(f"{self.target}{number}")
            jobs = list(copy.load_jobs())
            self.assertGreaterEqual(len(jobs), newest)
            newest = len(jobs)
            self.assertEqual([record.id for record in jobs], [*range(1, newest + 1)])
            for record in jobs[:-1]:
                self.assertEqual([run.number for run in copy.runs(record.id)], [record.last_run])
            events = SegmentStore(os.path.join(f"{self.target}{number}", OUTPUT)).log("events", 64 << 10)
            lines = events.read(events.start, 1 << 20).splitlines()
            self.assertGreater(len(lines), 10)
            self.assertTrue(all(line.lstrip(b"x").isdigit() for line in lines))

    def test_after_a_crash(self) -> None:
        """It works too where a daemon was killed and none runs."""
        store = self.store()
        store.create_job(job(store.next_job_id()))
        killed = os.path.join(self.parent, "killed")
        os.mkdir(killed)
        for name in os.listdir(self.directory):
            if name.startswith(DATABASE) and not name.endswith("-shm"):
                with open(os.path.join(self.directory, name), "rb") as file:
                    data = file.read()
                with open(os.path.join(killed, name), "wb") as file:
                    file.write(data)
        back_up(killed, self.target)
        self.assertEqual([record.name for record in self.store(self.target).load_jobs()], ["job1"])

    def test_refused(self) -> None:
        """Refused: where there is nothing to copy, where something is in its place, on a full disk."""
        self.refused(errno.ENOENT, "holds no database of jobd")
        self.store().create_job(job(1))
        os.mkdir(self.target)
        self.refused(errno.EEXIST, "copy exists already")
        os.rmdir(self.target)
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with patch("jobd.jobs.backup.sync_file_system", side_effect=full):
            self.refused(errno.ENOSPC, "No space left on device")

    def test_damaged(self) -> None:
        """A damaged database is said to be, and its copy does not stay."""
        store = Store.open(self.directory)
        for number in range(1, 200):
            store.create_job(job(number))
        store.close()
        path = os.path.join(self.directory, DATABASE)
        with open(path, "r+b") as file:
            file.seek(3 * 4096)
            file.write(b"\xff" * 4096 * 3)
        self.refused(errno.EUCLEAN, "the database is damaged")
        with closing(sqlite3.connect(path)) as connection:
            self.assertNotEqual(connection.execute("PRAGMA quick_check(1)").fetchone(), ("ok",))
