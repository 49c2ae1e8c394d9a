"""The tables of the database, one script for each version of them.

`PRAGMA user_version` counts the scripts a database has had.  A new one gets them all, so what makes a
new database and what upgrades an old one is the same text.
"""

from __future__ import annotations

import errno
import sqlite3

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


def upgrade(connection: sqlite3.Connection, scripts: tuple[str, ...] = SCRIPTS) -> None:
    """Bring the database to the newest version, each step in a transaction of its own.

    Raises `StoreError` for a database of a newer version than this program knows.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(scripts):
        raise StoreError(
            errno.EINVAL,
            f"the database was written by a newer jobd (version {version} of its tables; "
            f"this one knows up to {len(scripts)})",
        )
    for number, script in enumerate(scripts[version:], version + 1):
        try:
            connection.executescript(f"BEGIN IMMEDIATE;{script}PRAGMA user_version = {number};COMMIT;")
        except sqlite3.Error:
            if connection.in_transaction:
                connection.rollback()
            raise
