"""An in-memory jobd with a clock to advance, for the tests of those who build on it.

`FakeClock` is reactor and clock at once; it can be stepped and suspended.  `FakeSpawner` starts processes
that print and end when the test says so.  `MemoryJobd` is a whole `JobService` on both.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.interfaces import IProcessProtocol, IReactorProcess
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from zope.interface import implementer

from jobd.access import Access, Peer, User
from jobd.jobs.clock import IClock
from jobd.jobs.store import Store
from jobd.ninep.client import NinepClient
from jobd.ninep.testing import connect
from jobd.service import JobService

NANO = 1_000_000_000
MEMORY = "/dev/shm"  # noqa: S108 - a new directory in it, as in /tmp
"""Where nothing waits for a disk: a test restarts the daemon, and never the machine."""
BEGIN = 1_767_225_600.0
"""2026-01-01T00:00:00Z: where a `FakeClock` begins."""


@implementer(IClock)
class FakeClock(MemoryReactorClock):  # type: ignore[misc]
    """A reactor whose wall clock and monotonic clock go when told to.

    `callLater` goes by the wall clock, as that of Twisted's reactors does.
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
        return self.callLater(delay, function, *args)

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
        self.tick()

    def step(self, seconds: float) -> None:
        """Set the wall clock forward, or back where SECONDS is negative; a second later that is noticed."""
        self.rightNow += seconds
        self.pass_time(1.0)

    def suspend(self, seconds: float) -> None:
        """Put the machine to sleep: the wall clock goes on, the monotonic clock stands."""
        self.step(seconds)

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
        self, pid: int, protocol: IProcessProtocol, argv: Sequence[str], env: Mapping[str, str], output: int
    ) -> None:
        self.pid: int | None = pid
        self.argv = list(argv)
        self.env = dict(env)
        self.signals: list[int] = []
        """What was sent to it."""
        self._protocol = protocol
        self._output = output

    def print(self, data: bytes) -> None:
        """Write DATA to its output."""
        os.write(self._output, data)

    def exit(self, status: int = 0) -> None:
        """End with STATUS."""
        self._end(ProcessTerminated(status, None, status << 8) if status else ProcessDone(0))

    def die(self, signum: int) -> None:
        """End by the signal SIGNUM."""
        self._end(ProcessTerminated(None, signum, signum))

    def signalProcess(self, name: str | int) -> None:
        """As of `IProcessTransport`: what is sent is kept in `signals`, and KILL ends it."""
        if self.pid is None:
            raise ProcessExitedAlready()
        number = name if isinstance(name, int) else signal.Signals["SIG" + name].value
        self.signals.append(number)
        if number == signal.SIGKILL:
            self.die(number)

    def _end(self, reason: ProcessDone | ProcessTerminated) -> None:
        os.close(self._output)
        self.pid = None
        self._protocol.processExited(Failure(reason))
        self._protocol.processEnded(Failure(reason))


@implementer(IReactorProcess)
class FakeSpawner:
    """Remembers what it was to start, in `processes`."""

    def __init__(self) -> None:
        self.processes: list[FakeProcess] = []
        self.refuse: OSError | None = None
        """Raised in place of a start."""
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
        process = FakeProcess(next(self._pids), processProtocol, args, env, os.dup(childFDs[1]))
        self.processes.append(process)
        processProtocol.makeConnection(process)  # type: ignore[arg-type]
        return process


class MemoryJobd:
    """A jobd on the memory of this machine, in a directory of its own until `close`.

    `restart` gives the next daemon on the same store.
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
            open_store=lambda: Store.open(self.directory),
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

    def stop(self) -> Deferred[Any]:
        """Stop the daemon."""
        return self.service.stopService()

    def close(self) -> None:
        """Stop it, and remove its directory."""
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)
