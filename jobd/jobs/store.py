"""Where jobs and runs are kept: a SQLite database in `--dbdir`.

Changes go to a writer and are answered by a Deferred that fires after their commit; they commit in the
order in which they were made.  Reads see what is committed, and return at once, through a connection of
their own that can't write.

Columns are named by the fields of `JobRecord` and `RunRecord`.  Text is str, with surrogates (PEP 383)
for bytes that are no UTF-8.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import sqlite3
import stat
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any
from urllib.parse import quote

from twisted.internet.defer import Deferred, fail

from jobd.jobs import salvage
from jobd.jobs.records import Ended, JobRecord, RunRecord
from jobd.jobs.reserve import Reserve
from jobd.jobs.schema import keep_old, upgrade
from jobd.jobs.statements import (
    DEFINITION,
    RUN_COLUMNS,
    insert,
    select,
    storable,
    texts,
    trim_runs,
    update_job,
    update_run,
)
from jobd.jobs.store_errors import StoreError, explain
from jobd.jobs.writer import (
    Change,
    InlineWriter,
    Statement,
    ThreadWriter,
    Transactions,
    Writer,
)

__all__ = ["JobRecord", "RunRecord", "Store", "StoreError"]

# What there is in the directory.
DATABASE = "jobd.db"
OUTPUT = "output"


class Store:
    """The database, open. `Store.open` and `Store.memory` make one.

    Every method that changes something returns a Deferred that fires with None after the commit, or
    fails with a `StoreError`: ENOSPC on a full disk, EIO where the disk fails, EEXIST for a name that is
    taken, ENOENT for a job or run that isn't there.  Methods that read raise it.
    """

    def __init__(self, writer: Writer, transactions: Transactions, reader: sqlite3.Connection) -> None:
        self._writer = writer
        self._transactions = transactions
        self._reader = reader
        self._lock: int | None = None
        self._newest_id = self._read_newest_id()
        self.notices: list[str] = []
        """Sentences that the operator must hear: what was damaged, and what was done about it."""

    @classmethod
    def memory(cls) -> Store:
        """A store in memory; each change is committed when its method returns."""
        connection = _connect(":memory:")
        upgrade(connection)
        transactions = Transactions(connection)
        return cls(InlineWriter(transactions), transactions, connection)

    @classmethod
    def open(cls, directory: str, reactor: Any = None) -> Store:
        """The store in DIRECTORY, which is made with mode 0700 if only its last part is missing.

        With a REACTOR (`IReactorFromThreads`) changes are committed in a thread and Deferreds fire in the
        reactor's; without one a change is committed when its method returns.  Raises `StoreError` where
        the directory can't be used, or another daemon uses it.
        """
        directory = os.path.abspath(directory)
        with contextlib.ExitStack() as undo:
            lock = _lock(directory)
            undo.callback(os.close, lock)
            try:
                store = cls._open_locked(directory, reactor)
            except (sqlite3.Error, OSError, StoreError) as error:
                cause = explain(error)
                raise StoreError(cause.errno, f"{directory}: {cause}") from error
            undo.pop_all()
        store._lock = lock
        return store

    @classmethod
    def _open_locked(cls, directory: str, reactor: Any) -> Store:
        path = os.path.join(directory, DATABASE)
        reserve = Reserve(os.path.join(directory, "reserve"))
        # On a full disk it takes the reserve to open the database at all.
        reserve.release()
        notices = salvage.make_usable(path)
        connection = _connect(path)
        old = keep_old(connection, path)
        upgrade(connection)
        if old is not None:
            notices.append(f"{path} was brought up to date; as it was, it is {old}")
        reader = _connect(f"file:{quote(path)}?mode=ro", uri=True)
        if not reserve.hold():
            notices.append(f"{directory}: no space left; changes of jobs are refused until there is")
        transactions = Transactions(connection, reserve, partial(salvage.ask_for_check, path))
        writer = InlineWriter(transactions) if reactor is None else ThreadWriter(transactions, reactor)
        store = cls(writer, transactions, reader)
        store.notices = notices
        return store

    def close(self) -> Deferred[None]:
        """Commit all that was submitted and close; nothing can be read from now on."""
        if self._reader is not self._transactions.connection:
            # Closed first, so that the writer is the last and tidies the write-ahead log away.
            self._reader.close()
        return self._writer.close().addCallback(self._unlock)

    def _unlock(self, _: None) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @property
    def full(self) -> bool:
        """Whether the disk is full: definitions can't change, and output should not take what is left."""
        return self._transactions.full

    @property
    def commits(self) -> int:
        """How many transactions were made durable since the start."""
        return self._transactions.commits

    # Reading

    def load_jobs(self) -> Iterator[JobRecord]:
        """All jobs, by id; to be taken at one go."""
        fields = JobRecord._fields
        started = fields.index("started")
        shared_fields = [fields.index(name) for name in ("owner", "group", "mode", "schedule", "options")]
        shared: dict[Any, Any] = {}
        for row in self._rows(select("jobs", fields, "ORDER BY id")):
            values = texts(row)
            values[started] = bool(values[started])
            # Ten thousand jobs of one owner need his name once.
            for index in shared_fields:
                values[index] = shared.setdefault(values[index], values[index])
            yield JobRecord(*values)

    def runs(self, job: int, after: int = 0, limit: int | None = None) -> list[RunRecord]:
        """The records of JOB with a number above AFTER, ascending; the first LIMIT of them."""
        rest = "WHERE job = ? AND number > ? ORDER BY number LIMIT ?"
        return self._runs(rest, (job, after, -1 if limit is None else limit))

    def run(self, job: int, number: int) -> RunRecord | None:
        """The record of one run."""
        found = self._runs("WHERE job = ? AND number = ?", (job, number))
        return found[0] if found else None

    def last_ended(self, job: int) -> Ended | None:
        """The newest run of JOB that has an outcome."""
        rest = "WHERE job = ? AND outcome IS NOT NULL ORDER BY number DESC LIMIT 1"
        for row in self._rows(select("runs", Ended._fields, rest), (job,)):
            return Ended(*row)
        return None

    def unfinished_runs(self) -> list[RunRecord]:
        """The runs without an outcome, by job and number."""
        return self._runs("WHERE outcome IS NULL ORDER BY job, number")

    def has_instant(self, job: int, instant: int) -> bool:
        """Whether a record of JOB is for INSTANT (seconds); a gap of missed instants is for none."""
        rest = "WHERE job = ? AND scheduled = ? AND missed_to IS NULL LIMIT 1"
        return any(self._rows(select("runs", ("number",), rest), (job, instant)))

    def instants(self, job: int, after: int) -> set[int]:
        """The instants later than AFTER that a record of JOB is for; a gap is for none."""
        rest = "WHERE job = ? AND scheduled > ? AND missed_to IS NULL"
        return {instant for (instant,) in self._rows(select("runs", ("scheduled",), rest), (job, after))}

    def drafts(self) -> dict[int, str]:
        """The drafts that nobody has taken, by job."""
        return {job: texts((text,))[0] for job, text in self._rows("SELECT job, command FROM drafts")}

    def get_meta(self, key: str) -> str | None:
        """What was last committed for KEY."""
        for (value,) in self._rows("SELECT value FROM meta WHERE key = ?", (key,)):
            return str(value)
        return None

    def next_job_id(self) -> int:
        """An id that no job has, had, or will get by another call."""
        self._newest_id += 1
        return self._newest_id

    # Changing

    def create_job(self, record: JobRecord) -> Deferred[None]:
        """Add a job, under an id of `next_job_id`."""
        return self._submit(insert(record), grows=True)

    def update_job(self, id: int, **columns: object) -> Deferred[None]:
        """Set COLUMNS of a job."""
        return self._submit(*update_job(id, columns), grows=not DEFINITION.isdisjoint(columns))

    def delete_job(self, id: int) -> Deferred[None]:
        """Delete a job with its runs and its draft."""
        return self._submit(Statement("DELETE FROM jobs WHERE id = ?", (id,), needs_row=True))

    def begin_run(self, run: RunRecord, **job_columns: object) -> Deferred[None]:
        """Add a run in progress, and set JOB_COLUMNS of its job with it."""
        return self._submit(insert(run), *update_job(run.job, job_columns))

    def add_record(self, run: RunRecord, *, keep_runs: int, **job_columns: object) -> Deferred[None]:
        """Add a run that never began, or a gap, with its outcome; the rest as in `end_run`."""
        return self._submit(insert(run), *update_job(run.job, job_columns), trim_runs(run.job, keep_runs))

    def update_run(self, job: int, number: int, **columns: object) -> Deferred[None]:
        """Set COLUMNS of a run."""
        return self._submit(*update_run(job, number, columns))

    def end_run(self, job: int, number: int, *, keep_runs: int, **columns: object) -> Deferred[None]:
        """Set COLUMNS of a run, and of its job those that only a job has (`started` is the run's); delete
        the job's records but the newest KEEP_RUNS. One in progress stays.
        """
        of_run = {name: value for name, value in columns.items() if name in RUN_COLUMNS}
        of_job = {name: value for name, value in columns.items() if name not in RUN_COLUMNS}
        return self._submit(
            *update_run(job, number, of_run), *update_job(job, of_job), trim_runs(job, keep_runs)
        )

    def put_draft(self, id: int, command: str) -> Deferred[None]:
        """Keep COMMAND as what was written to the job's `cmd` so far, in place of an earlier draft."""
        sql = "REPLACE INTO drafts (job, command) VALUES (?, ?)"
        return self._submit(Statement(sql, (id, command)), grows=True)

    def take_draft(self, id: int, **job_columns: object) -> Deferred[None]:
        """Make the draft the job's command and set JOB_COLUMNS with it.

        A `command` among the columns goes before the draft; without one, ENOENT where there is no draft.
        """
        take = (
            "UPDATE jobs SET command = (SELECT command FROM drafts WHERE job = ?1)"
            " WHERE id = ?1 AND id IN (SELECT job FROM drafts)"
        )
        taken = () if "command" in job_columns else (Statement(take, (id,), needs_row=True),)
        return self._submit(*taken, *update_job(id, job_columns), _drop_draft(id))

    def drop_draft(self, id: int) -> Deferred[None]:
        """Forget the draft, if there is one: its writer's connection ended before the clunk."""
        return self._submit(_drop_draft(id))

    def set_meta(self, key: str, value: str, **further: str) -> Deferred[None]:
        """Keep VALUE under KEY, and each of FURTHER with it."""
        sql = "REPLACE INTO meta (key, value) VALUES (?, ?)"
        return self._submit(*(Statement(sql, item) for item in {key: value, **further}.items()))

    def flush(self) -> Deferred[None]:
        """Fires when all that was submitted before is committed, or has failed."""
        return self._submit()

    def _submit(self, *statements: Statement, grows: bool = False) -> Deferred[None]:
        try:
            change = Change([storable(statement) for statement in statements], grows)
        except UnicodeEncodeError as error:
            return fail(explain(error))
        return self._writer.submit(change)

    def _rows(self, sql: str, parameters: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        try:
            yield from self._reader.execute(sql, parameters)
        except sqlite3.Error as error:
            self._transactions.note_damage(error)
            raise explain(error) from error

    def _runs(self, rest: str, parameters: Sequence[Any] = ()) -> list[RunRecord]:
        rows = self._rows(select("runs", RunRecord._fields, rest), parameters)
        return [RunRecord(*texts(row)) for row in rows]

    def _read_newest_id(self) -> int:
        for (newest,) in self._rows("SELECT seq FROM sqlite_sequence WHERE name = 'jobs'"):
            return int(newest)
        return 0


def _drop_draft(id: int) -> Statement:
    return Statement("DELETE FROM drafts WHERE job = ?", (id,))


def _connect(database: str, uri: bool = False) -> sqlite3.Connection:
    # The writer's connection is made in one thread and used in another, never in both at a time.
    connection = sqlite3.connect(
        database, timeout=10.0, isolation_level=None, check_same_thread=False, uri=uri
    )
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    # Temporary tables in memory: nothing of ours may fail for a full /tmp.
    connection.execute("PRAGMA temp_store = MEMORY")
    return connection


def _lock(directory: str) -> int:
    """Make DIRECTORY if need be and lock it for this process; the open lock file."""
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(directory, 0o700)
            salvage.sync_directory(os.path.dirname(directory))
        check_ours(directory)
        lock = os.open(os.path.join(directory, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unusable(directory, error) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        owner = os.pread(lock, 32, 0).decode("ascii", "replace").strip()
        os.close(lock)
        if error.errno != errno.EWOULDBLOCK:
            raise _unusable(directory, error) from error
        raise StoreError(errno.EBUSY, f"{directory} is in use by another jobd (process {owner})") from None
    with contextlib.suppress(OSError):  # a full disk
        os.pwrite(lock, b"%-10d\n" % os.getpid(), 0)
    return lock


def check_ours(path: str) -> None:
    """StoreError where others may change what is at PATH, and with it what runs as whom."""
    found = os.stat(path)
    if found.st_uid not in (0, os.geteuid()):
        raise StoreError(errno.EPERM, f"{path} belongs to another user (uid {found.st_uid})")
    if found.st_mode & stat.S_IWOTH:
        raise StoreError(errno.EPERM, f"{path} can be written by everybody")


def _unusable(directory: str, error: OSError) -> StoreError:
    return StoreError(error.errno or errno.EIO, f"{directory} can't be used: {error.strerror}")
