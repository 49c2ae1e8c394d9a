"""Committing changes: alone in the caller's thread, or grouped in a thread of the writer's own.

Group commit: while one transaction is being made durable, which takes a flush of the disk, the changes
that arrive wait together and become the next transaction.  One waiting client costs a flush for each
change; sixty-four share one.  Changes commit in the order in which they were submitted.
"""

from __future__ import annotations

import contextlib
import errno
import sqlite3
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from twisted.internet.defer import Deferred

from jobd.jobs.reserve import Reserve
from jobd.jobs.store_errors import StoreError, explain, is_damage, is_full

CHECKPOINT_PAGES = 1000
"""The length of the write-ahead log at which it is moved into the database: SQLite's own default."""
CHECKPOINT_PAGES_WHEN_FULL = 32
"""On a full disk: the log then goes round in the room it has, and leaves the reserve to the database."""
RESTORE_EVERY = 1.0
"""Seconds between looks whether a full disk has room again."""


class Statement(NamedTuple):
    """One statement of a change."""

    sql: str
    parameters: Sequence[Any]
    needs_row: bool = False
    """Whether it is an error (ENOENT) when the statement finds no row to change."""


class Change:
    """Statements that are committed together, or not at all."""

    __slots__ = ("done", "error", "grows", "statements")

    def __init__(self, statements: Sequence[Statement], grows: bool = False) -> None:
        self.statements = statements
        self.grows = grows
        """Whether it adds what can wait for better days: refused on a full disk."""
        self.done: Deferred[None] = Deferred()
        """Fires after the commit, or fails with a `StoreError`."""
        self.error: StoreError | None = None

    def answer(self) -> None:
        """Fire `done` with what became of the change."""
        if self.error is None:
            self.done.callback(None)
        else:
            self.done.errback(self.error)


class Transactions:
    """Commits changes on one connection, and keeps going on a full disk as long as the reserve lasts."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        reserve: Reserve | None = None,
        damaged: Callable[[], object] | None = None,
    ) -> None:
        """`damaged` is called, in whichever thread, when the database turns out to be damaged."""
        self.connection = connection
        self.reserve = reserve
        self._damaged = damaged
        self.commits = 0
        """Transactions that were made durable."""
        self._set_checkpoint()

    @property
    def full(self) -> bool:
        """Whether the disk is full, and the reserve therefore given up."""
        return self.reserve is not None and self.reserve.released

    def commit(self, changes: Sequence[Change]) -> None:
        """Commit CHANGES in one transaction; where that fails, each by itself, for the sake of the good
        ones.  What failed has its `error` set.
        """
        self.restore()
        if not self.full:
            try:
                self._transaction(changes)
                return
            except Exception as error:
                self._release_if_full(error)
        for change in changes:
            self._commit_alone(change)

    def restore(self) -> None:
        """Take the reserve back if it was released and there is room again."""
        if self.reserve is not None and self.reserve.released and self.reserve.restore():
            self._set_checkpoint()

    def note_damage(self, error: Exception) -> None:
        """Call `damaged` if that is what ERROR means."""
        if self._damaged is not None and is_damage(error):
            self._damaged()

    def close(self) -> None:
        """Close the connection, which moves the write-ahead log into the database."""
        self.connection.close()

    def _commit_alone(self, change: Change) -> None:
        try:
            try:
                self._refuse_growth(change)
                self._transaction((change,))
            except Exception as error:
                if not self._release_if_full(error):
                    raise
                self._refuse_growth(change)
                self._transaction((change,))
        except Exception as error:
            self.note_damage(error)
            change.error = explain(error)

    def _refuse_growth(self, change: Change) -> None:
        if change.grows and self.full:
            raise StoreError(
                errno.ENOSPC, "no space left for the database: changes are refused until there is"
            )

    def _release_if_full(self, error: Exception) -> bool:
        """Whether ERROR was a full disk and the reserve could be given up for it just now."""
        if self.reserve is None or self.reserve.released or not is_full(error):
            return False
        self.reserve.release()
        self._set_checkpoint()
        return True

    def _set_checkpoint(self) -> None:
        pages = CHECKPOINT_PAGES_WHEN_FULL if self.full else CHECKPOINT_PAGES
        self.connection.execute(f"PRAGMA wal_autocheckpoint = {pages}")

    def _transaction(self, changes: Sequence[Change]) -> None:
        execute = self.connection.execute
        statements = [statement for change in changes for statement in change.statements]
        if not statements:
            return
        try:
            execute("BEGIN IMMEDIATE")
            for sql, parameters, needs_row in statements:
                if not execute(sql, parameters).rowcount and needs_row:
                    raise StoreError(errno.ENOENT, "there is no such job or run in the database")
            execute("COMMIT")
        except Exception:
            if self.connection.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    execute("ROLLBACK")
            raise
        self.commits += 1


class Writer(Protocol):
    """Takes changes."""

    def submit(self, change: Change) -> Deferred[None]:
        """Commit CHANGE after all that were submitted before it; gives `change.done`."""

    def close(self) -> Deferred[None]:
        """Commit what was submitted, then close the connection."""


class InlineWriter:
    """Commits each change at once, in the caller's thread."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    def submit(self, change: Change) -> Deferred[None]:
        """Commit CHANGE; the Deferred has fired already."""
        self._transactions.commit((change,))
        change.answer()
        return change.done

    def close(self) -> Deferred[None]:
        """Close the connection."""
        self._transactions.close()
        return _fired()


class ThreadWriter:
    """Commits in a thread of its own, all that has gathered in one transaction.

    The thread hears of changes at the end of the reactor's turn in which they came.  Woken by the first of
    them it would commit that one alone, and the two threads would contend for the interpreter.
    Deferreds fire in the reactor's thread, in the order of the changes.
    """

    def __init__(self, transactions: Transactions, reactor: Any) -> None:
        """`reactor` is an `IReactorFromThreads`."""
        self._transactions = transactions
        self._reactor = reactor
        self._gathered: list[Change] = []
        """The changes of this turn."""
        self._queue: list[Change] = []
        self._closing = False
        self._closed: Deferred[None] = Deferred()
        self._wake = threading.Condition()
        # A daemon thread: an interpreter that exits without `close` must not wait for it for ever.
        self._thread = threading.Thread(target=self._run, name="jobd store", daemon=True)
        self._thread.start()

    def submit(self, change: Change) -> Deferred[None]:
        """Have CHANGE committed with the next transaction."""
        if not self._gathered:
            # Not callLater: that waits for an hour where the clock is set back by one just now.
            self._reactor.callFromThread(self._hand_over)
        self._gathered.append(change)
        return change.done

    def close(self) -> Deferred[None]:
        """Have the thread commit what was submitted and end; fires when it has."""
        self._hand_over(closing=True)
        return self._closed

    def _hand_over(self, closing: bool = False) -> None:
        gathered, self._gathered = self._gathered, []
        with self._wake:
            self._queue += gathered
            self._closing |= closing
            self._wake.notify()

    def _run(self) -> None:
        while True:
            with self._wake:
                if not self._queue and not self._closing:
                    self._wake.wait(RESTORE_EVERY if self._transactions.full else None)
                changes, self._queue = self._queue, []
                closing = self._closing
            if changes:
                self._transactions.commit(changes)
                self._reactor.callFromThread(_answer_all, changes)
            elif closing:
                break
            else:
                self._transactions.restore()
        self._transactions.close()
        self._reactor.callFromThread(self._end)

    def _end(self) -> None:
        self._thread.join()
        self._closed.callback(None)


def _answer_all(changes: Sequence[Change]) -> None:
    for change in changes:
        change.answer()


def _fired() -> Deferred[None]:
    done: Deferred[None] = Deferred()
    done.callback(None)
    return done
