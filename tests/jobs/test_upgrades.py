"""Databases of earlier versions: what becomes of them, and of the jobs in them."""

from __future__ import annotations

import errno
import glob
import os
import sqlite3
from contextlib import closing

from twisted.trial.unittest import SynchronousTestCase

from jobd.jobs import schema
from jobd.jobs.store import DATABASE, Store, StoreError
from tests.jobs.freeze import DATA, opened, shown

FURTHER = (
    "CREATE TABLE labels (job INTEGER REFERENCES jobs ON DELETE CASCADE, label TEXT NOT NULL);",
    "ALTER TABLE jobs ADD COLUMN labelled INTEGER NOT NULL DEFAULT 7; UPDATE jobs SET labelled = id;",
)
"""Versions that may come."""


class UpgradeTest(SynchronousTestCase):
    """A program that has further versions meets a database that an earlier one left."""

    def setUp(self) -> None:
        self.directory = self.mktemp()
        os.mkdir(self.directory, 0o700)
        self.path = os.path.join(self.directory, DATABASE)

    def frozen(self, version: int) -> str:
        """Have the database that is kept of VERSION in place; what its jobs show."""
        name = os.path.join(DATA, f"version-{version}")
        with closing(sqlite3.connect(self.path)) as connection, open(f"{name}.sql") as script:
            connection.executescript(script.read())
        with open(f"{name}.txt") as file:
            return file.read()

    def dump(self, path: str) -> list[str]:
        """All that is in the database at PATH."""
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            return [str(schema.version_of(connection)), *connection.iterdump()]

    def come(self, *scripts: str) -> None:
        """A program comes whose database has SCRIPTS beyond ours."""
        self.patch(schema, "SCRIPTS", (*schema.SCRIPTS, *scripts))

    def refusal(self) -> StoreError:
        return self.assertRaises(StoreError, Store.open, self.directory)

    def test_each_version(self) -> None:
        """The database of each version opens to the jobs that its last program showed."""
        versions = len(glob.glob(os.path.join(glob.escape(DATA), "version-*.sql")))
        self.assertEqual(versions, len(schema.SCRIPTS), "python -m tests.jobs.freeze makes the newest")
        for version in range(1, versions + 1):
            expected = self.frozen(version)
            with opened(self.directory) as client:
                self.assertEqual(shown(client).split("\n"), expected.split("\n"))
            self.setUp()

    def test_same_jobs(self) -> None:
        """After further steps the jobs are the same, and the ids of new ones go on."""
        expected = self.frozen(1)
        self.come(*FURTHER)
        with opened(self.directory) as client:
            self.assertEqual(shown(client), expected)
        store = Store.open(self.directory)
        self.addCleanup(store.close)
        self.assertEqual(store.next_job_id(), 15)
        self.assertEqual(self.dump(self.path)[0], str(len(schema.SCRIPTS)))

    def test_copy(self) -> None:
        """The old database is kept beside the new one, and the operator is told where."""
        self.frozen(1)
        before = self.dump(self.path)
        self.come(*FURTHER)
        store = Store.open(self.directory)
        copy = self.path + ".version-1"
        self.assertIn(copy, store.notices[0])
        self.successResultOf(store.close())
        self.assertEqual(self.dump(copy), before)
        self.assertEqual(os.stat(copy).st_mode & 0o777, 0o600)
        store = Store.open(self.directory)
        self.addCleanup(store.close)
        self.assertEqual(store.notices, [])
        self.assertEqual(glob.glob(glob.escape(self.path) + ".version-*"), [copy])

    def test_no_copy_no_upgrade(self) -> None:
        """Where the old database can't be kept, it is not touched."""
        self.frozen(1)
        before = self.dump(self.path)
        self.come(*FURTHER)
        os.mkdir(self.path + ".version-1")
        self.refusal()
        self.assertEqual(self.dump(self.path), before)

    def test_half_way(self) -> None:
        """An upgrade whose second step fails leaves the old database, which its program opens as ever."""
        expected = self.frozen(1)
        before = self.dump(self.path)
        with_failure = self.patch(
            schema, "SCRIPTS", (*schema.SCRIPTS, FURTHER[0], "INSERT INTO nowhere VALUES (1);")
        )
        self.assertIn("nowhere", str(self.refusal()))
        with_failure.restore()
        self.assertEqual(self.dump(self.path), before)
        with opened(self.directory) as client:
            self.assertEqual(shown(client), expected)

    def test_newer(self) -> None:
        """A database of a newer version is refused with a sentence that names both, and left as it is."""
        with_more = self.patch(schema, "SCRIPTS", (*schema.SCRIPTS, *FURTHER))
        self.successResultOf(Store.open(self.directory).close())
        with_more.restore()
        before = self.dump(self.path)
        known = len(schema.SCRIPTS)
        error = self.refusal()
        self.assertEqual(error.errno, errno.EINVAL)
        self.assertRegex(str(error), rf"newer jobd \(version {known + 2} .* up to {known}\)")
        self.assertEqual(self.dump(self.path), before)

    def test_damaged(self) -> None:
        """What can be read of a damaged old database has the steps too."""
        self.frozen(1)
        with closing(sqlite3.connect(self.path)) as connection:
            names = [name for (name,) in connection.execute("SELECT name FROM jobs ORDER BY id")]
            (page,) = connection.execute(
                "SELECT rootpage FROM sqlite_master WHERE name = 'runs_of_job'"
            ).fetchone()
            (size,) = connection.execute("PRAGMA page_size").fetchone()
        with open(self.path, "r+b") as file:
            file.seek((page - 1) * size)
            file.write(b"\xff" * 64)
        self.come(*FURTHER)
        store = Store.open(self.directory)
        self.addCleanup(store.close)
        self.assertEqual([record.name for record in store.load_jobs()], names)
        with closing(sqlite3.connect(self.path)) as connection:
            found = connection.execute("SELECT labelled FROM jobs ORDER BY id LIMIT 3").fetchall()
        self.assertEqual(found, [(1,), (2,), (3,)])
