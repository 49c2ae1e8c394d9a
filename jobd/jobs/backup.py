"""A copy of `--dbdir` that a jobd can be started on, made while one works.

The database is copied in one read transaction, which no writer waits for: the copy is the state of one
moment.  The output comes after it, so that it holds at least what the database tells of; segments only grow
or go.  The copy is made beside its place, and is there under its name when it is whole and on disk.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sqlite3
from urllib.parse import quote

from jobd.jobs.salvage import find_damage, sync_directory
from jobd.jobs.segments import sync_file_system
from jobd.jobs.store import DATABASE, OUTPUT
from jobd.jobs.store_errors import StoreError, explain


def back_up(directory: str, target: str) -> None:
    """Copy the jobs, the history and the output in DIRECTORY to TARGET, which must not exist.

    StoreError where that fails; nothing is left at TARGET then.
    """
    directory, target = os.path.abspath(directory), os.path.abspath(target)
    database = os.path.join(directory, DATABASE)
    if not os.path.exists(database):
        raise StoreError(errno.ENOENT, f"{directory} holds no database of jobd")
    if os.path.lexists(target):
        raise StoreError(errno.EEXIST, f"{target} exists already")
    unfinished = f"{target}.unfinished-{os.getpid()}"
    try:
        os.mkdir(unfinished, 0o700)
        _copy_database(database, os.path.join(unfinished, DATABASE))
        _copy_output(os.path.join(directory, OUTPUT), os.path.join(unfinished, OUTPUT))
        if os.geteuid() == 0:
            _give_to(unfinished, os.stat(directory))
        sync_file_system(unfinished)
        os.rename(unfinished, target)
        sync_directory(os.path.dirname(target))
    except (OSError, sqlite3.Error, StoreError) as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise explain(error) from error


def _copy_database(path: str, copy: str) -> None:
    os.close(os.open(copy, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    with (
        contextlib.closing(sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, timeout=10.0)) as source,
        contextlib.closing(sqlite3.connect(copy)) as destination,
    ):
        # All pages at one go: a copy in steps begins anew at each commit of the daemon.
        source.backup(destination)
        # One file, without a log beside it; the store turns that on again.
        destination.execute("PRAGMA journal_mode = DELETE")
    damage = find_damage(copy)
    if damage is not None:
        raise StoreError(errno.EUCLEAN, f"the database is damaged: {damage}")


def _copy_output(source: str, copy: str) -> None:
    """Copy the tree of segments; what is trimmed meanwhile is left out."""
    os.mkdir(copy, 0o700)
    with contextlib.suppress(FileNotFoundError), os.scandir(source) as entries:
        for entry in entries:
            path = os.path.join(copy, entry.name)
            if entry.is_dir(follow_symlinks=False):
                _copy_output(entry.path, path)
            else:
                with contextlib.suppress(FileNotFoundError):
                    shutil.copy2(entry.path, path, follow_symlinks=False)


def _give_to(root: str, owner: os.stat_result) -> None:
    """Make the copy that root took the daemon's, whoever that is."""
    for directory, _, files in os.walk(root):
        for path in (directory, *(os.path.join(directory, name) for name in files)):
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
