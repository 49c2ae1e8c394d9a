"""Making a usable database of what is there: none yet, a good one, or a damaged one.

A new database is built beside its place and renamed into it, so a database that is empty, or has no
tables, is never one that we made.  Of a damaged one every row that can still be read is copied into a
new one.  Rows are reached by their number: a range that can't be read is halved until the unreadable
ones stand alone, so each row on a sound page is found.  The damaged file is never written to; it is set
aside under the name `jobd.db.damaged-TIME`.

The steps, each of which can be the last before a power cut: the new database is complete under its
`.salvaged` name; the damaged one has its second name; its write-ahead log (which must not be taken for
the new one's) is moved away; the new one is renamed into place.
"""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import sqlite3
import time
from urllib.parse import quote

from jobd.jobs import schema
from jobd.jobs.store_errors import is_damage

CHECKED_WHOLE = 256 << 20
"""Bytes up to which all of a database is checked at each start, about half a second's work. Of a larger
one the jobs are, and all of it where damage was met while it was in use."""
LOST_IDS = 1000
"""How far the ids of new jobs skip ahead where the newest id can't be known."""

_TABLES = {"jobs": "name", "runs": "job, number", "meta": "key"}
"""Each with the order of an index of it, which leads to the rows when the table doesn't."""
_CHUNK = 4096
"""Numbers of rows that are read at a time."""


def make_usable(path: str) -> list[str]:
    """Have a database at PATH that can be opened; sentences about what that took.

    Raises OSError or sqlite3.Error where the disk is the trouble.
    """
    notices: list[str] = []
    if os.path.exists(path + ".salvaged"):
        aside = _set_aside(path)
        notices.append(f"{path} was damaged: what could be read was kept; the original is {aside}")
    if not os.path.exists(path):
        _remove(path + ".new")
        _new_database(path + ".new").close()
        os.replace(path + ".new", path)
        sync_directory(os.path.dirname(path))
        return notices
    damage = find_damage(path)
    if damage is not None:
        counts = _salvage(path)
        aside = _set_aside(path)
        notices.append(
            f"{path} was damaged ({damage}): {counts} could be read and were kept; the original is {aside}"
        )
    return notices


def ask_for_check(path: str) -> None:
    """Have the next start check all of the database at PATH."""
    with contextlib.suppress(OSError):
        os.close(os.open(path + ".check", os.O_CREAT | os.O_CLOEXEC, 0o600))


def find_damage(path: str) -> str | None:
    """What is wrong with the database at PATH, in a few words; None where it is sound."""
    if os.path.getsize(path) == 0:
        return "the file is empty"
    asked = os.path.exists(path + ".check")
    whole = asked or os.path.getsize(path) <= CHECKED_WHOLE
    connection = sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, isolation_level=None)
    try:
        if schema.version_of(connection) > len(schema.SCRIPTS):
            return None  # `upgrade` refuses it, and it stays as it is
        found = connection.execute(
            "PRAGMA quick_check(1)" if whole else "PRAGMA quick_check(jobs)"
        ).fetchone()
        if found != ("ok",):
            return str(found[0]).replace("\n", " ")
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'jobs'").fetchone():
            return "it has no table of jobs"
    except sqlite3.Error as error:
        if not is_damage(error):
            raise
        return str(error)
    finally:
        connection.close()
    if asked:
        _remove(path + ".check")
    return None


def sync_directory(directory: str) -> None:
    """Have the names in DIRECTORY on disk."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _new_database(path: str, version: int | None = None) -> sqlite3.Connection:
    """A database without jobs, of the newest VERSION by default."""
    # Made by us first, so that nobody else can read it; SQLite gives its other files the same mode.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous = FULL")
    schema.upgrade(connection, version)
    return connection


def _salvage(path: str) -> str:
    """Build PATH.salvaged of the rows of PATH that can be read; how many those are, in words."""
    _remove(path + ".new")
    # Of the same version: it is upgraded afterwards, as a sound one is.
    new = _new_database(path + ".new", _version_of_damaged(path))
    new.execute("PRAGMA foreign_keys = OFF")
    old = _open_copy(path)
    try:
        new.execute("BEGIN")
        for table, order in _TABLES.items():
            _copy_rows(old, new, table, order)
        newest = _newest_id(old, new)
        new.execute("DELETE FROM runs WHERE job NOT IN (SELECT id FROM jobs)")
        new.execute("DELETE FROM sqlite_sequence")
        new.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('jobs', ?)", (newest,))
        new.execute("COMMIT")
        (jobs,) = new.execute("SELECT count(*) FROM jobs").fetchone()
        (runs,) = new.execute("SELECT count(*) FROM runs").fetchone()
    finally:
        old.close()
        new.close()
    for ending in ("", "-wal", "-shm"):
        _remove(f"{path}.copy{ending}")
    os.replace(path + ".new", path + ".salvaged")
    sync_directory(os.path.dirname(path))
    return f"{jobs} jobs and {runs} runs"


def _set_aside(path: str) -> str:
    """Put PATH.salvaged in the place of PATH; the name under which the damaged one is kept."""
    names = glob.glob(glob.escape(path) + ".damaged-*")
    aside = next((name for name in names if os.path.samefile(name, path)), None)
    if aside is None:
        aside = f"{path}.damaged-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
        os.link(path, aside)
    if os.path.exists(path + "-wal"):
        os.replace(path + "-wal", aside + "-wal")
    _remove(path + "-shm")
    _remove(path + ".check")
    sync_directory(os.path.dirname(path))
    os.replace(path + ".salvaged", path)
    sync_directory(os.path.dirname(path))
    return aside


def _version_of_damaged(path: str) -> int | None:
    """The version of a damaged database; None where it can't be read."""
    connection = sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True)
    with contextlib.suppress(sqlite3.Error), contextlib.closing(connection):
        return schema.version_of(connection) or None
    return None


def _open_copy(path: str) -> sqlite3.Connection:
    """A copy of the damaged database, open for reading, with its write-ahead log."""
    copy = path + ".copy"
    for ending in ("", "-wal", "-shm"):
        _remove(copy + ending)
    shutil.copyfile(path, copy)
    if os.path.exists(path + "-wal"):
        shutil.copyfile(path + "-wal", copy + "-wal")
    connection = _open_damaged(copy)
    try:
        connection.execute("SELECT 1 FROM jobs LIMIT 1")
        return connection
    except sqlite3.Error:
        connection.close()
    _give_first_page(copy, path + ".new")
    return _open_damaged(copy)


def _open_damaged(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.text_factory = _text
    return connection


def _give_first_page(path: str, sound: str) -> None:
    """Give the database at PATH, whose first page is damaged, that of the SOUND empty one.

    The page tells where each table begins, and tables are always made in the same order.  Its fields are
    those of section 1.3 of SQLite's "Database File Format".
    """
    with open(sound, "rb") as file:
        header = file.read(100)
        size = int.from_bytes(header[16:18], "big")
        file.seek(0)
        page = bytearray(file.read(size))
    with open(path, "r+b") as file:
        pages = max(1, file.seek(0, os.SEEK_END) // size)
        page[18:20] = b"\2\2"  # has a write-ahead log
        page[28:32] = pages.to_bytes(4, "big")
        file.seek(0)
        file.write(page)


def _copy_rows(old: sqlite3.Connection, new: sqlite3.Connection, table: str, order: str) -> None:
    columns = ", ".join(f'"{row[1]}"' for row in new.execute(f"PRAGMA table_info({table})"))
    marks = ", ".join("?" * (columns.count(",") + 1))
    # OR IGNORE: a row that a damaged page made up may break a rule of the table.
    insert = f"INSERT OR IGNORE INTO {table} ({columns}) VALUES ({marks})"  # noqa: S608
    select = f"SELECT {columns} FROM {table} NOT INDEXED WHERE rowid BETWEEN ? AND ?"  # noqa: S608
    first, last = _bounds(old, table, order)
    ranges = [(low, min(low + _CHUNK - 1, last)) for low in range(first, last + 1, _CHUNK)][::-1]
    while ranges:
        low, high = ranges.pop()
        try:
            new.executemany(insert, old.execute(select, (low, high)).fetchall())
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            if low < high:
                middle = (low + high) // 2
                ranges += [(middle + 1, high), (low, middle)]


def _bounds(old: sqlite3.Connection, table: str, order: str) -> tuple[int, int]:
    """The lowest and the highest row number of TABLE that can be found, from either end of it and of its
    index; (1, 0) where there is none.
    """
    first, last = 1 << 63, 0
    for way in ("rowid", "rowid DESC", order, order.replace(",", " DESC,") + " DESC"):
        with contextlib.suppress(sqlite3.Error):
            for (number,) in old.execute(f"SELECT rowid FROM {table} ORDER BY {way}"):  # noqa: S608
                first, last = min(first, number), max(last, number)
    return (first, last) if last else (1, 0)


def _newest_id(old: sqlite3.Connection, new: sqlite3.Connection) -> int:
    """The newest id that any job had."""
    (seen,) = new.execute(
        "SELECT ifnull(max(id), 0) FROM (SELECT id FROM jobs UNION SELECT job FROM runs)"
    ).fetchone()
    try:
        (known,) = old.execute("SELECT seq FROM sqlite_sequence WHERE name = 'jobs'").fetchone() or (0,)
        return max(int(known), int(seen))
    except (sqlite3.Error, TypeError, ValueError):
        return int(seen) + LOST_IDS


def _text(data: bytes) -> str | bytes:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
