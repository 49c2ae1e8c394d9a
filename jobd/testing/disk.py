"""A disk in memory, which is slow or fails when a test says so."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed

from jobd.jobs.schema import upgrade
from jobd.jobs.store import Store, StoreError
from jobd.jobs.writer import Change, Transactions


class FakeDisk:
    """A database in memory that survives the daemon, and whose commits can be held back or refused."""

    def __init__(self) -> None:
        self._connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA foreign_keys = ON")
        upgrade(self._connection)
        self._waiting: list[Change] = []
        self._writer: _FakeWriter | None = None
        self.slow = False
        """Whether what is submitted waits for `commit`."""
        self.refuse: Callable[[Change], bool] = lambda _change: False
        """Whether the disk fails to take a change."""

    def open(self) -> Store:
        """The store on it, for the next daemon."""
        self._writer = _FakeWriter(self)
        return Store(self._writer, Transactions(self._connection), self._connection)

    def submit(self, change: Change, writer: object) -> None:
        """Take CHANGE of WRITER, unless that belongs to a daemon that was killed."""
        if writer is self._writer:
            self._waiting.append(change)
            if not self.slow:
                self.commit()

    def commit(self, most: int | None = None, *, answer: bool = True) -> None:
        """Commit what waits, or the first MOST of it; without ANSWER the daemon does not hear of it."""
        while self._waiting and (most is None or most > 0):
            change = self._waiting.pop(0)
            if self.refuse(change):
                change.error = StoreError(errno.EIO, "the disk under the database failed to read or write")
            else:
                Transactions(self._connection).commit([change])
            if answer:
                change.answer()
            most = None if most is None else most - 1

    def lose(self) -> None:
        """The daemon was killed: what waits is lost, and it submits nothing more."""
        self._waiting.clear()
        self._writer = None

    def close(self) -> None:
        """Give the memory back."""
        self._connection.close()


class _FakeWriter:
    def __init__(self, disk: FakeDisk) -> None:
        self._disk = disk

    def submit(self, change: Change) -> Deferred[None]:
        self._disk.submit(change, self)
        return change.done

    def close(self) -> Deferred[None]:
        self._disk.commit()
        return succeed(None)
