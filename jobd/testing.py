"""An in-memory jobd with a clock to advance, for the tests of those who build on it.

`FakeClock` is reactor and clock at once; it can be stepped and suspended.  `FakeSpawner` starts processes
that print and end when the test says so.  `MemoryJobd` is a whole `JobService` on both.
"""

from __future__ import annotations

import errno
import itertools
import os
import re
import shutil
import signal
import sqlite3
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.error import ConnectionAborted, ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.interfaces import IProcessProtocol, IReactorProcess
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from zope.interface import implementer

from jobd.access import Access, Peer, User
from jobd.jobs.clock import IClock
from jobd.jobs.groups import MARK, Identity
from jobd.jobs.launch import SCRIPT_FD
from jobd.jobs.schema import upgrade
from jobd.jobs.store import Store, StoreError
from jobd.jobs.writer import Change, Transactions
from jobd.ninep.client import NinepClient
from jobd.ninep.testing import connect
from jobd.service import JobService

NANO = 1_000_000_000
MEMORY = "/dev/shm"  # noqa: S108 - a new directory in it, as in /tmp
"""Where nothing waits for a disk: a test restarts the daemon, and never the machine."""
BEGIN = 1_767_225_600.0
"""2026-01-01T00:00:00Z: where a `FakeClock` begins."""


@implementer(IClock)
class FakeClock(MemoryReactorClock):
    """A reactor whose wall clock and monotonic clock go when told to.

    `callLater` goes by the wall clock, as that of Twisted's reactors does.
    Without `pass_time` nothing happens, not even what is due at once.
    """

    def __init__(self, begin: float = BEGIN) -> None:
        """BEGIN is the wall clock, in seconds since 1970."""
        super().__init__()
        self.rightNow = begin
        self._monotonic = 1000.0
        self._ticks: list[Callable[[], object]] = []

    def now_ns(self) -> int:
        return round(self.rightNow * 1_000_000) * 1000

    def monotonic(self) -> float:
        return self._monotonic

    def call_later(self, delay: float, function: Callable[..., object], *args: Any) -> Any:
        # In whole microseconds, and never none of them: else rounding could make an instant that never comes.
        return self.callLater(max(1e-6, round(delay, 6)) if delay > 0 else 0, function, *args)

    def every_second(self, function: Callable[[], object]) -> Callable[[], None]:
        self._ticks.append(function)
        return lambda: self._ticks.remove(function)

    def pass_time(self, seconds: float) -> None:
        """Let SECONDS pass on both clocks, and all happen that is due meanwhile, in its order.

        A second in which nothing is due is as good as no tick: so a year passes quickly.
        """
        end = self._monotonic + seconds
        while True:
            calls = self.getDelayedCalls()
            wait = max(0.0, min((call.getTime() for call in calls), default=float("inf")) - self.rightNow)
            if self._monotonic + wait > end:
                break
            self._go(wait)
        self._go(end - self._monotonic)
        self.read()
        self.tick()

    def step(self, seconds: float) -> None:
        """Set the wall clock forward, or back where SECONDS is negative; a second later that is noticed."""
        self.rightNow += seconds
        self.pass_time(1.0)

    def suspend(self, seconds: float) -> None:
        """Put the machine to sleep: the wall clock goes on, the monotonic clock stands."""
        self.step(seconds)

    def read(self) -> None:
        """Let the readers have what there is to read."""
        for reader in self.getReaders():
            reader.doRead()

    def forget(self) -> None:
        """Drop all calls and readers: who waited for them was killed."""
        for call in self.getDelayedCalls():
            call.cancel()
        for reader in self.getReaders():
            reader.connectionLost(Failure(ConnectionAborted()))
        self._ticks.clear()

    def tick(self) -> None:
        """What comes once a second."""
        for function in list(self._ticks):
            function()

    def _go(self, seconds: float) -> None:
        self._monotonic += seconds
        self.advance(seconds)


class FakeProcess:
    """A process that a `FakeSpawner` started; the test is what it does."""

    def __init__(
        self,
        identity: Identity,
        protocol: IProcessProtocol,
        argv: Sequence[str],
        env: Mapping[str, str],
        files: Mapping[int, int],
    ) -> None:
        self.pid: int | None = identity.pid
        self.identity = identity
        self.argv = list(argv)
        self.env = dict(env)
        self.signals: list[int] = []
        """What was sent to it."""
        self.stubborn = False
        """Whether it ignores TERM; other signals but KILL, it always does."""
        self._protocol: IProcessProtocol | None = protocol
        self._watchers: list[Callable[[int | None], object]] = []
        self._output = os.dup(files[1])
        self.script = ""
        """What a shell does on the way to the command; empty where that is started directly."""
        if SCRIPT_FD in files:
            self.script = os.pread(files[SCRIPT_FD], 1 << 20, 0).decode(errors="replace")
        mark = re.search(rf"^export {MARK}=(\w+)$", self.script, re.MULTILINE)
        self.run_id = mark[1] if mark else self.env.get(MARK, "")
        """What marks it as the process of its run."""

    def print(self, data: bytes) -> None:
        """Write DATA, at most the 64 KiB that a pipe holds, to its output."""
        os.write(self._output, data)

    def exit(self, status: int = 0) -> None:
        """End with STATUS."""
        self._end(ProcessTerminated(status, None, status << 8) if status else ProcessDone(0))

    def die(self, signum: int) -> None:
        """End by the signal SIGNUM."""
        self._end(ProcessTerminated(None, signum, signum))

    def signalProcess(self, name: str | int) -> None:
        """As of `IProcessTransport`: what is sent is kept in `signals`, and TERM and KILL end it."""
        if self.pid is None:
            raise ProcessExitedAlready()
        number = name if isinstance(name, int) else signal.Signals["SIG" + name].value
        self.signals.append(number)
        if number == signal.SIGKILL or (number == signal.SIGTERM and not self.stubborn):
            self.die(number)

    def watch(self, ended: Callable[[int | None], object]) -> FakeWatch:
        """As of `ProcessTable`."""
        self._watchers.append(ended)
        return FakeWatch(lambda: self._watchers.remove(ended))

    def open_output(self) -> int:
        """Our own end of the pipe it writes to."""
        return os.open(f"/proc/self/fd/{self._output}", os.O_RDONLY | os.O_NONBLOCK)

    def orphan(self) -> None:
        """Lose the daemon that started it: it was killed."""
        self._protocol = None
        self._watchers.clear()

    def _end(self, reason: ProcessDone | ProcessTerminated) -> None:
        os.close(self._output)
        self.pid = None
        if self._protocol is not None:
            self._protocol.processExited(Failure(reason))
            self._protocol.processEnded(Failure(reason))
        for ended in list(self._watchers):
            # As a kernel before Linux 6.15: only the parent learns the status.
            ended(None)


class FakeWatch:
    """What `FakeProcess.watch` gives."""

    def __init__(self, stop: Callable[[], object]) -> None:
        self._stop = stop

    def stop(self) -> None:
        self._stop()


@implementer(IReactorProcess)
class FakeSpawner:
    """Starts processes that are in `processes`, and is the table of them: a `ProcessTable`."""

    def __init__(self) -> None:
        self.processes: list[FakeProcess] = []
        self.refuse: OSError | None = None
        """Raised in place of a start."""
        self.boot = 1
        # Above what the kernel gives out, so that nothing real has the number.
        self._pids = itertools.count(1 << 22)

    @property
    def running(self) -> list[FakeProcess]:
        """Those that have not ended."""
        return [process for process in self.processes if process.pid is not None]

    def spawnProcess(
        self,
        processProtocol: IProcessProtocol,
        executable: Any,
        args: Any = (),
        env: Any = {},  # noqa: B006 - IReactorProcess has it so
        path: Any = None,
        uid: Any = None,
        gid: Any = None,
        usePTY: Any = False,
        childFDs: Any = None,
    ) -> Any:
        if self.refuse is not None:
            raise self.refuse
        pid = next(self._pids)
        process = FakeProcess(Identity(pid, pid, self.boot_id), processProtocol, args, env, childFDs)
        self.processes.append(process)
        processProtocol.makeConnection(process)  # type: ignore[arg-type]
        return process

    @property
    def boot_id(self) -> str:
        return f"boot {self.boot}"

    def identify(self, pid: int) -> Identity | None:
        return next((process.identity for process in self.running if process.pid == pid), None)

    def alive(self, identity: Identity) -> bool:
        return self._find(identity) is not None

    def leaders(self) -> dict[str, Identity]:
        return {process.run_id: process.identity for process in self.running}

    def began(self, run_id: str, pid: int) -> None:
        """As of `ProcessTable`: all is kept together here."""

    def done(self, run_id: str) -> None:
        """As of `ProcessTable`."""

    def terminate(self, identity: Identity, run_id: str) -> None:
        self.signal(identity, signal.SIGTERM)

    def signal(self, identity: Identity, signum: int) -> bool:
        process = self._find(identity)
        if process is not None:
            process.signalProcess(signum)
        return process is not None

    def end_all(self, identity: Identity, run_id: str) -> Deferred[int]:
        self.signal(identity, signal.SIGKILL)
        return succeed(0)

    def watch(self, identity: Identity, ended: Callable[[int | None], object]) -> FakeWatch:
        process = self._find(identity)
        assert process is not None
        return process.watch(ended)

    def open_output(self, identity: Identity) -> int | None:
        process = self._find(identity)
        return None if process is None else process.open_output()

    def orphan_all(self) -> None:
        """The daemon was killed: what it started goes on."""
        for process in self.running:
            process.orphan()

    def reboot(self) -> None:
        """The machine starts anew: nothing is left."""
        self.boot += 1
        for process in self.running:
            process.orphan()
            process.die(signal.SIGKILL)

    def _find(self, identity: Identity) -> FakeProcess | None:
        return next((process for process in self.running if process.identity == identity), None)


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


class MemoryJobd:
    """A jobd on the memory of this machine, in a directory of its own until `close`.

    `restart` and `crash` give the next daemon on the same store.
    """

    def __init__(
        self,
        *,
        clock: FakeClock | None = None,
        access: Access | None = None,
        zone: str = "UTC",
        **more: Any,
    ) -> None:
        """MORE is handed to `JobService`."""
        self.clock = clock or FakeClock()
        self.spawner = FakeSpawner()
        self.disk = FakeDisk()
        self.directory = tempfile.mkdtemp(prefix="jobd", dir=MEMORY if os.access(MEMORY, os.W_OK) else None)
        self._access = access or Access()
        self._zone = zone
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
        self.service.startService()
        self.table = self.service.table

    @property
    def tree(self) -> Any:
        """The `IFilesystem`."""
        return self.service.filesystem

    def connect(
        self, version: str = "9P2000.L", peer: Peer | None = None, **attach: Any
    ) -> Deferred[NinepClient]:
        """A client of the tree, by default as the user of this process; ATTACH is handed to `connect`."""
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
