"""Starting processes, and learning of their end.

`PosixSpawner` provides `IReactorProcess` as the runs of jobd need it.  Each process starts with
posix_spawn(3), which costs the same however large the daemon's heap is, and leads a session of its own.
Nothing walks over the open files: Python opens every file close-on-exec (PEP 446), and `seal_inherited`
says so of those that the daemon was started with.  The end comes through a pidfd, so that a thousand
running processes cost nothing while one of them ends, and wait4(2) tells what the process used.

`SetsidSpawner` is the same by way of the reactor's own `spawnProcess`, for platforms that lack one of these.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any, AnyStr, NamedTuple

from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.interfaces import IProcessProtocol, IProcessTransport, IReactorProcess, IReadDescriptor
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from jobd.jobs.here import Here

POLL = 0.1
"""Seconds between two looks at a process for which there was no descriptor left to make a pidfd of."""

SIGNALS = tuple(map(int, signal.valid_signals()))
"""Asked for once: it makes an object of each of them."""

owned_pids: set[int] = set()
"""Our unreaped children of every `PosixSpawner`; nothing else may wait for them."""


def available() -> bool:
    """Whether this platform has what `PosixSpawner` needs: a pidfd, and posix_spawn with a new session."""
    try:
        os.close(os.pidfd_open(os.getpid()))
        os.posix_spawn("/", ["/"], {}, setsid=True)
    except OSError as problem:
        return problem.errno == errno.EACCES  # of the directory "/", which nobody can execute
    except (AttributeError, NotImplementedError):
        return False
    return False


def seal_inherited() -> None:
    """Mark every open file above 2 close-on-exec: at the start of a daemon, before any process is started."""
    for name in os.listdir("/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"):
        if int(name) > 2:
            try:
                os.set_inheritable(int(name), False)
            except OSError:
                pass  # the descriptor of the listing itself


def signal_number(signal_id: str | int) -> int:
    """The number of a signal given as `TERM`, `SIGTERM` or 15.

    @raise ValueError: there is no such signal; the text says so.
    """
    if isinstance(signal_id, int) or (signal_id.isascii() and signal_id.isdigit()):
        number = int(signal_id)
    else:
        name = signal_id.upper()
        number = getattr(signal.Signals.__members__.get("SIG" + name.removeprefix("SIG")), "value", 0)
    if number not in signal.valid_signals():
        raise ValueError(f"there is no signal {signal_id}")
    return number


@implementer(IReactorProcess)
class PosixSpawner:
    """Starts each process with posix_spawn, in a session of its own, with default signals and none blocked.

    To be used in the reactor's thread.  REACTOR is an `IReactorFDSet` and `IReactorTime`.
    """

    def __init__(self, reactor: Any, here: Here | None = None) -> None:
        """HERE is where processes start, if not where we are."""
        self.reactor = reactor
        self.here = here

    def spawnProcess(
        self,
        processProtocol: IProcessProtocol,
        executable: bytes | str,
        args: Sequence[bytes | str] = (),
        env: Mapping[AnyStr, AnyStr] | None = {},
        path: bytes | str | None = None,
        uid: int | None = None,
        gid: int | None = None,
        usePTY: bool = False,
        childFDs: Mapping[int, int | str] | None = None,
    ) -> SpawnedProcess:
        """Start EXECUTABLE, a path, and connect PROCESSPROTOCOL to it.

        ENV None is our own.  CHILDFDS gives every file the process has: a descriptor of ours for each of
        its own.  The end is never told before this returns.

        @raise OSError: it could not be started, and no process was made.
        @raise ValueError: what only a fork could do was asked for: a directory, a user, a terminal; or a pipe
            of the reactor's.  `jobd.jobs.launch` does the first two.
        """
        if path is not None or uid is not None or gid is not None or usePTY:
            raise ValueError("posix_spawn sets no directory, user, group or terminal")
        if childFDs is None or not all(isinstance(ours, int) for ours in childFDs.values()):
            raise ValueError("childFDs must map each descriptor of the process to one of ours")
        with nullcontext() if self.here is None else self.here.entered():
            pid = _posix_spawn(executable, args, os.environ if env is None else env, childFDs)  # type: ignore[arg-type]
        return SpawnedProcess(self.reactor, pid, processProtocol)


def _posix_spawn(executable: Any, args: Any, env: Any, child_fds: Mapping[int, int]) -> int:
    """posix_spawn with exactly CHILD_FDS open among the low ones; the new pid.

    An open file of ours whose number the process uses itself is first copied out of the way.
    """
    first_free = max(child_fds, default=2) + 1
    copies: list[int] = []
    actions: list[tuple[int, ...]] = [
        (os.POSIX_SPAWN_CLOSE, unused) for unused in range(3) if unused not in child_fds
    ]
    try:
        for theirs, ours in child_fds.items():
            source = ours
            if ours < first_free:
                source = fcntl.fcntl(ours, fcntl.F_DUPFD_CLOEXEC, first_free)
                copies.append(source)
            actions.append((os.POSIX_SPAWN_DUP2, source, theirs))
        return os.posix_spawn(
            executable,
            args,
            env,
            file_actions=actions,
            setsid=True,
            setsigmask=(),
            setsigdef=SIGNALS,
        )
    finally:
        for copy in copies:
            os.close(copy)


class Usage(NamedTuple):
    """What a process and the children it waited for have used."""

    cpu: float
    """Seconds of processor time, user and system."""
    maxrss: int
    """KiB that the largest of them had in memory."""


@implementer(IProcessTransport, IReadDescriptor)
class SpawnedProcess:
    """A process of `PosixSpawner`'s: its transport, and the reader of its pidfd."""

    _log = Logger()
    status: int | None = None
    """What wait4 gave; None until the end, and after it where somebody else took it."""
    rusage: Usage | None = None
    """After the end, where it is known."""

    def __init__(self, reactor: Any, pid: int, protocol: IProcessProtocol) -> None:
        self.pid: int | None = pid
        self._reactor = reactor
        self._protocol = protocol
        owned_pids.add(pid)
        try:
            self._pidfd = os.pidfd_open(pid)
        except OSError:  # no descriptor left; the process runs all the same
            self._pidfd = -1
        with self._log.failuresHandled("while connecting the protocol of a process:"):
            protocol.makeConnection(self)
        if self._pidfd >= 0:
            reactor.addReader(self)
        else:
            reactor.callLater(POLL, self._poll)

    def __repr__(self) -> str:
        return f"<SpawnedProcess pid={self.pid} status={self.status}>"

    # What the reactor asks of a reader.

    def fileno(self) -> int:
        return self._pidfd

    def logPrefix(self) -> str:
        return "process"

    def doRead(self) -> None:
        self.reap()

    def connectionLost(self, _reason: Failure) -> None:
        """The reactor stops: the process is left running, and nobody will hear of its end."""
        self._close()

    def _poll(self) -> None:
        if not self.reap():
            self._reactor.callLater(POLL, self._poll)

    def reap(self) -> bool:
        """Tell the protocol if the process has ended, and whether it has."""
        if self.pid is None:
            return True
        reason: ProcessDone | ProcessTerminated
        try:
            pid, status, rusage = os.wait4(self.pid, os.WNOHANG)
        except ChildProcessError:  # somebody waited for any child, or SIGCHLD is ignored
            reason = ProcessTerminated()
        else:
            if not pid:
                return False
            self.status = status
            self.rusage = Usage(rusage.ru_utime + rusage.ru_stime, rusage.ru_maxrss)
            reason = _reason(status)
        owned_pids.discard(self.pid)
        self.pid = None
        self._close()
        failure = Failure(reason)
        with self._log.failuresHandled("while calling processExited:"):
            self._protocol.processExited(failure)
        with self._log.failuresHandled("while calling processEnded:"):
            self._protocol.processEnded(failure)
        return True

    def _close(self) -> None:
        if self._pidfd >= 0:
            self._reactor.removeReader(self)
            os.close(self._pidfd)
            self._pidfd = -1

    # What a protocol asks of its transport. There are no pipes of the reactor's to write to or close.

    def signalProcess(self, signalID: str | int) -> None:
        """Send a signal to the process alone.

        @raise ProcessExitedAlready: it has ended, and was waited for.
        @raise ValueError: there is no such signal.
        """
        number = signal_number(signalID)
        if self.pid is None:
            raise ProcessExitedAlready()
        os.kill(self.pid, number)

    def writeToChild(self, childFD: int, data: bytes) -> None:
        raise KeyError(childFD)

    def closeChildFD(self, descriptor: int) -> None:
        pass

    def closeStdin(self) -> None:
        pass

    def closeStdout(self) -> None:
        pass

    def closeStderr(self) -> None:
        pass

    def loseConnection(self) -> None:
        pass

    def write(self, data: bytes) -> None:
        self.writeToChild(0, data)

    def writeSequence(self, data: Any) -> None:
        self.writeToChild(0, b"".join(data))

    def getHost(self) -> Any:
        raise NotImplementedError("a process has no address")

    def getPeer(self) -> Any:
        raise NotImplementedError("a process has no address")


def _reason(status: int) -> ProcessDone | ProcessTerminated:
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0:
        return ProcessDone(status)
    if os.WIFEXITED(status):
        return ProcessTerminated(os.WEXITSTATUS(status), None, status)
    return ProcessTerminated(None, os.WTERMSIG(status), status)


@implementer(IReactorProcess)
class SetsidSpawner:
    """The reactor's own spawnProcess, through setsid(1) at an absolute path: the same, at more cost.

    The process has the pid that its transport says: setsid forks only where it leads a group already.
    """

    def __init__(self, reactor: Any, setsid: str = "/usr/bin/setsid") -> None:
        self.reactor = reactor
        self.setsid = setsid

    def spawnProcess(
        self,
        processProtocol: IProcessProtocol,
        executable: bytes | str,
        args: Sequence[bytes | str] = (),
        env: Mapping[AnyStr, AnyStr] | None = {},
        path: bytes | str | None = None,
        uid: int | None = None,
        gid: int | None = None,
        usePTY: bool = False,
        childFDs: Mapping[int, int | str] | None = None,
    ) -> IProcessTransport:
        """As `PosixSpawner.spawnProcess`; what that refuses is done, by a fork, and args[0] is EXECUTABLE.

        @raise OSError: EXECUTABLE can't be executed.
        """
        for program in (self.setsid, executable):
            if not os.access(program, os.X_OK):
                number = errno.EACCES if os.path.exists(program) else errno.ENOENT
                raise OSError(number, os.strerror(number), program)
        patient = _Patient(processProtocol)
        transport: IProcessTransport = self.reactor.spawnProcess(
            patient,
            self.setsid,
            [self.setsid, executable, *args[1:]],
            env=env,
            path=path,
            uid=uid,
            gid=gid,
            usePTY=usePTY,
            childFDs=childFDs,
        )
        # Not callLater: that waits for an hour where the clock is set back by one just now.
        self.reactor.callFromThread(patient.tell)
        return transport


class _Patient(ProcessProtocol):
    """Keeps what it hears until spawnProcess has returned: the reactor's may tell of the end before."""

    _log = Logger()

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self._kept: list[tuple[str, tuple[object, ...]]] | None = []

    def tell(self) -> None:
        kept, self._kept = self._kept or [], None
        for name, args in kept:
            with self._log.failuresHandled("while calling {name}:", name=name):
                getattr(self._protocol, name)(*args)

    def _soon(self, name: str, *args: object) -> None:
        if self._kept is None:
            getattr(self._protocol, name)(*args)
        else:
            self._kept.append((name, args))

    def connectionMade(self) -> None:
        self._protocol.makeConnection(self.transport)

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        self._soon("childDataReceived", childFD, data)

    def childConnectionLost(self, childFD: int) -> None:
        self._soon("childConnectionLost", childFD)

    def processExited(self, reason: Failure) -> None:
        self._soon("processExited", reason)

    def processEnded(self, reason: Failure) -> None:
        self._soon("processEnded", reason)
