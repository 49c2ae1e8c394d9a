"""Processes that are nothing but what a test makes of them."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.interfaces import IProcessProtocol, IReactorProcess
from twisted.python.failure import Failure
from zope.interface import implementer

from jobd.jobs.groups import MARK, Identity
from jobd.jobs.launch import COMMAND_FD, SCRIPT_FD

LONGEST = 8 << 20
"""Bytes that a command or a script is shorter than."""


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
        """What was started: a shell and its command, or what leads there."""
        self.script = _text(files[SCRIPT_FD]) if SCRIPT_FD in files else ""
        """What a shell does on the way to the command; empty where that is started directly."""
        self._given = dict(env)
        self._command = _text(files[COMMAND_FD]) if COMMAND_FD in files else ""
        mark = re.search(rf"^export {MARK}=(\w+)$", self.script, re.MULTILINE)
        self.run_id = mark[1] if mark else self._given.get(MARK, "")
        """What marks it as the process of its run."""
        self.signals: list[int] = []
        """What was sent to it."""
        self.stubborn = False
        """Whether it ignores TERM; other signals but KILL, it always does."""
        self._protocol: IProcessProtocol | None = protocol
        self._watchers: list[Callable[[int | None], object]] = []
        self._output = os.dup(files[1])

    @property
    def env(self) -> dict[str, str]:
        """The environment of the command."""
        words = shlex.split(self.script)
        exported = (word for export, word in itertools.pairwise(words) if export == "export")
        return dict(word.split("=", 1) for word in exported) if words else self._given

    @property
    def command(self) -> str:
        """The command of the job, or its `on-failure` command."""
        # A script ends in `exec SHELL -c COMMAND`, and what closes the script.
        words = shlex.split(self.script)
        return self._command or (words[-2] if words else self.argv[-1])

    @property
    def job(self) -> str:
        """The name of the job."""
        return self.env["JOBD_JOB"]

    def print(self, text: str | bytes) -> None:
        """Write TEXT, at most the 64 KiB that a pipe holds, to its output."""
        os.write(self._output, text.encode() if isinstance(text, str) else text)

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


def _text(fd: int) -> str:
    """The script or command that is open as FD."""
    return os.pread(fd, LONGEST, 0).decode(errors="replace")


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
