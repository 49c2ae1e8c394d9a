"""What the store refuses with, and what SQLite's and the system's errors become."""

from __future__ import annotations

import errno
import os
import sqlite3

from jobd.jobs.errors import JobError


class StoreError(JobError):
    """The store could not do it: `errno` is ENOSPC, EIO, EEXIST, ENOENT ..., `str()` one sentence."""


# SQLite's English text for its result codes (sqlite3ErrStr in main.c). Python has the codes themselves
# only from 3.11 on.
_DAMAGE = "the database is damaged; the next start keeps what is readable of it"
_TEXTS = (
    ("database or disk is full", errno.ENOSPC, "no space left for the database"),
    ("malformed", errno.EUCLEAN, _DAMAGE),
    ("file is not a database", errno.EUCLEAN, _DAMAGE),
    ("UNIQUE constraint failed: jobs.name", errno.EEXIST, "a job of that name exists already"),
    ("UNIQUE constraint failed", errno.EEXIST, "that record exists already"),
    ("FOREIGN KEY constraint failed", errno.ENOENT, "there is no such job in the database"),
    ("readonly database", errno.EROFS, "the database can't be written"),
    ("unable to open database file", errno.EACCES, "the database can't be opened"),
    ("database is locked", errno.EBUSY, "another program holds the database locked"),
    ("disk I/O error", errno.EIO, "the disk under the database failed to read or write"),
)  # fmt: skip


def explain(error: Exception) -> StoreError:
    """The `StoreError` that tells of ERROR, whatever a statement or a system call raised."""
    if isinstance(error, StoreError):
        return error
    if isinstance(error, sqlite3.Error):
        for text, number, sentence in _TEXTS:
            if text in str(error):
                return StoreError(number, sentence)
        return StoreError(errno.EIO, f"the database refused: {error}")
    if isinstance(error, OSError) and error.errno is not None:
        where = f"{error.filename}: " if error.filename else ""
        return StoreError(error.errno, f"{where}{os.strerror(error.errno)}")
    return StoreError(errno.EINVAL, f"this can't be stored: {error}")


def is_damage(error: Exception) -> bool:
    """Whether ERROR means that the database itself is damaged."""
    return explain(error).errno == errno.EUCLEAN


def is_full(error: Exception) -> bool:
    """Whether ERROR means that the disk, or the user's share of it, is used up."""
    return explain(error).errno in (errno.ENOSPC, errno.EDQUOT)
