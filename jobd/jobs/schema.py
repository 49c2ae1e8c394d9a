"""The tables of the database, one script for each version of them.

`PRAGMA user_version` counts the scripts a database has had.  A new one gets them all, so what makes a
new database and what upgrades an old one is the same text.

A script is never changed once a release has it: what is to be different comes in a further one, beside a
database of the version before in `tests/jobs/data`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3

from jobd.jobs.segments import sync_file_system
from jobd.jobs.store_errors import StoreError

SCRIPTS: tuple[str, ...] = (
    # AUTOINCREMENT: the id of a job is never used again, even where the newest was deleted.
    # Runs have rowids of their own, in the order they began, so that a thousand runs that begin in one
    # second fill pages one after another instead of touching one page a job.
    """
    CREATE TABLE jobs (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE,
        seed TEXT NOT NULL,
        owner TEXT NOT NULL,
        "group" TEXT NOT NULL,
        mode INTEGER NOT NULL,
        schedule TEXT NOT NULL,
        command TEXT NOT NULL,
        options TEXT NOT NULL DEFAULT '',
        started INTEGER NOT NULL DEFAULT 0,
        created INTEGER NOT NULL DEFAULT 0,
        changed INTEGER NOT NULL DEFAULT 0,
        started_at INTEGER,
        version INTEGER NOT NULL DEFAULT 0,
        watermark INTEGER,
        anchor INTEGER,
        last_run INTEGER NOT NULL DEFAULT 0,
        runs_total INTEGER NOT NULL DEFAULT 0,
        failures INTEGER NOT NULL DEFAULT 0,
        last_success INTEGER
    );
    CREATE TABLE runs (
        job INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
        number INTEGER NOT NULL,
        scheduled INTEGER,
        started INTEGER,
        ended INTEGER,
        exit INTEGER,
        signal INTEGER,
        outcome TEXT,
        attempts INTEGER NOT NULL DEFAULT 0,
        cpu REAL,
        maxrss INTEGER,
        pid INTEGER,
        pid_start INTEGER,
        boot_id TEXT,
        run_id TEXT NOT NULL DEFAULT '',
        argv TEXT NOT NULL DEFAULT '',
        directory TEXT NOT NULL DEFAULT '',
        environment TEXT NOT NULL DEFAULT '',
        detail TEXT NOT NULL DEFAULT '',
        missed_to INTEGER,
        missed_count INTEGER
    );
    CREATE UNIQUE INDEX runs_of_job ON runs (job, number);
    CREATE INDEX runs_unfinished ON runs (job, number) WHERE outcome IS NULL;
    CREATE TABLE drafts (
        job INTEGER PRIMARY KEY REFERENCES jobs ON DELETE CASCADE,
        command TEXT NOT NULL
    );
    CREATE TABLE meta (
        key TEXT PRIMARY KEY,
        value TEXT NOT NULL
    );
    """,
)


def version_of(connection: sqlite3.Connection) -> int:
    """How many of the scripts the database has had; 0 where it is new."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def upgrade(connection: sqlite3.Connection, to: int | None = None) -> None:
    """Bring the database to version TO, by default the newest; where that fails, it stays as it was.

    Raises `StoreError` for a database of a newer version than this program knows.
    """
    version = version_of(connection)
    if version > len(SCRIPTS):
        raise StoreError(
            errno.EINVAL,
            f"the database was written by a newer jobd (version {version} of its tables; "
            f"this one knows up to {len(SCRIPTS)})",
        )
    scripts = SCRIPTS[version:to]
    if not scripts:
        return
    script = "".join(scripts)
    try:
        connection.executescript(
            f"BEGIN IMMEDIATE;{script}PRAGMA user_version = {version + len(scripts)};COMMIT;"
        )
    except sqlite3.Error:
        if connection.in_transaction:
            connection.rollback()
        raise


def keep_old(connection: sqlite3.Connection, path: str) -> str | None:
    """Copy the database, whose file is at PATH, if `upgrade` would change it; the name of the copy.

    Raises sqlite3.Error and OSError.
    """
    version = version_of(connection)
    if not 0 < version < len(SCRIPTS):
        return None
    copy, directory = f"{path}.version-{version}", os.path.dirname(path)
    unfinished = f"{copy}.unfinished"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(unfinished)
    # Made by us first, so that nobody else can read it.
    os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    connection.execute("VACUUM INTO ?", (unfinished,))
    # Whole before it has its name, and named before anything changes.
    sync_file_system(directory)
    os.replace(unfinished, copy)
    sync_file_system(directory)
    return copy
