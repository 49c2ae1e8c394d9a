"""A jobd in memory with a clock to advance, for the tests of those who build on it.

    jobd = MemoryJobd(callables={"reindex": reindex})
    self.addCleanup(jobd.close)
    self.successResultOf(jobd.jobs.add("nightly", "@daily", "@call reindex"))
    jobd.clock.advance(86400)

Nothing happens by itself: time passes when the test lets it, a process prints and ends when the test says so,
and the disk is as slow as it is told to be.  Where all of these answer at once, so does every Deferred.

`MemoryJobd` is a whole `JobService` on a `FakeClock`, which is its reactor too and can be set and suspended;
on a `FakeSpawner`, whose processes are `FakeProcess` objects; and on a `FakeDisk`.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred

from jobd.access import Access, Peer, User
from jobd.facade import Jobs
from jobd.jobs.table import JobTable
from jobd.ninep.client import NinepClient
from jobd.ninep.testing import connect
from jobd.service import JobService
from jobd.testing.clock import BEGIN, FakeClock
from jobd.testing.disk import FakeDisk
from jobd.testing.processes import FakeProcess, FakeSpawner
from jobd.tree import Tree

__all__ = ["BEGIN", "FakeClock", "FakeDisk", "FakeProcess", "FakeSpawner", "MemoryJobd"]

MEMORY = "/dev/shm"  # noqa: S108 - a new directory in it, as in /tmp
"""Where nothing waits for a disk: a test restarts the daemon, and never the machine."""


class MemoryJobd:
    """A jobd on the memory of this machine, its output in a directory of its own until `close`.

    `restart`, `crash` and `reboot` give the next daemon on the same store: `service`, and what belongs to it,
    is another one then.  A crash ends the callables that are in progress, and no process.
    """

    def __init__(
        self,
        *,
        clock: FakeClock | None = None,
        access: Access | None = None,
        zone: str = "UTC",
        start: bool = True,
        **more: Any,
    ) -> None:
        """START is False where the program under test starts `service` itself, as the parent of it does.
        MORE is handed to `JobService`, as `callables` and `max_runs` may be.
        """
        self.clock = clock or FakeClock()
        """Reactor and clock: 2026-01-01 00:00 UTC, a Thursday, unless another is given."""
        self.spawner = FakeSpawner()
        """What starts processes, and knows them."""
        self.disk = FakeDisk()
        """What the database is on."""
        self.directory = tempfile.mkdtemp(prefix="jobd", dir=MEMORY if os.access(MEMORY, os.W_OK) else None)
        self._access = access or Access()
        self._zone = zone
        self._starts = start
        self._more = more
        self._start()

    def _start(self) -> None:
        self.service = JobService(
            self.clock,
            self.directory,
            access=self._access,
            spawner=self.spawner,
            zone=self._zone,
            clock=self.clock,
            processes=self.spawner,
            open_store=self.disk.open,
            in_thread=maybeDeferred,
            **self._more,
        )
        """The daemon that runs now."""
        if self._starts:
            self.service.startService()

    @property
    def table(self) -> JobTable:
        """The jobs, as jobd itself has them."""
        return self.service.table

    @property
    def jobs(self) -> Jobs:
        """The jobs, as Python."""
        return self.service.jobs

    @property
    def tree(self) -> Tree:
        """The jobs, as an `IFilesystem`."""
        return self.service.filesystem

    def process(self, job: str) -> FakeProcess:
        """The process of the job JOB; AssertionError where it has not exactly one."""
        found = [process for process in self.spawner.running if process.job == job]
        if len(found) != 1:
            raise AssertionError(f"{len(found)} processes of {job} are running")
        return found[0]

    def connect(
        self, version: str = "9P2000.L", peer: Peer | None = None, **attach: Any
    ) -> Deferred[NinepClient]:
        """A client of the tree, by default as the user of this process; ATTACH is handed to
        `jobd.ninep.testing.connect`.
        """
        peer = peer or Peer("test", User.by_uid(os.geteuid()))
        return connect(self.tree, version, peer=peer, **attach)

    def restart(self) -> None:
        """Stop the daemon, and start the next one on what it left."""
        self.stop()
        self._start()

    def crash(self) -> None:
        """Kill the daemon, as `kill -9` does, and start the next one on what it left."""
        self.disk.lose()
        self.spawner.orphan_all()
        self.clock.forget()
        if self.service.running:
            for run in self.service.runner.running.values():
                if run.call is not None:
                    run.call.forget()
        self._start()

    def reboot(self) -> None:
        """Kill the machine, and start it again."""
        self.spawner.reboot()
        self.crash()

    def stop(self) -> Deferred[Any]:
        """Stop the daemon."""
        return self.service.stopService()

    def close(self) -> None:
        """Stop it, and remove its directory."""
        self.stop()
        self.clock.forget()
        self.spawner.reboot()
        self.disk.close()
        shutil.rmtree(self.directory, ignore_errors=True)
