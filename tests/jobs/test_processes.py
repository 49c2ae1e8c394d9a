"""Processes start and end alike with both providers of spawnProcess."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.interfaces import IProcessTransport, IReactorProcess
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest, SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from jobd.jobs import processes


class Recorder(ProcessProtocol):
    """Writes down what it is told, and fires `ended` with the reason."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.pids: list[int | None] = []
        self.ended: Deferred[Any] = Deferred()

    def connectionMade(self) -> None:
        self._note("made")

    def processExited(self, reason: Failure) -> None:
        self._note("exited")

    def processEnded(self, reason: Failure) -> None:
        self._note("ended")
        self.ended.callback(reason.value)

    def _note(self, what: str) -> None:
        self.told.append(what)
        self.pids.append(self.transport.pid)


class Spawning(TestCase):
    """Starts processes with their output in a pipe."""

    def spawner(self) -> Any:
        raise NotImplementedError

    def setUp(self) -> Any:
        self.reader, self.writer = os.pipe()
        self.null = os.open(os.devnull, os.O_RDONLY)
        self.addCleanup(lambda: [os.close(fd) for fd in (self.reader, self.writer, self.null)])
        # A reactor that trial has yet to start can lose the end of a child that it has already.
        return deferLater(reactor, 0)  # type: ignore[arg-type]

    def start(self, *args: str, env: Any = None, **kw: Any) -> Recorder:
        protocol = Recorder()
        kw.setdefault("childFDs", {0: self.null, 1: self.writer, 2: self.writer})
        transport = self.spawner().spawnProcess(protocol, args[0], args, {} if env is None else env, **kw)
        self.assertIs(transport, protocol.transport)
        return protocol

    def output(self) -> str:
        """What was written so far."""
        os.set_blocking(self.reader, False)
        try:
            return os.read(self.reader, 1 << 16).decode()
        except BlockingIOError:
            return ""


class ProviderMixin:
    """What a provider of spawnProcess promises to the runner."""

    def test_provides_the_interfaces(self: Any) -> Any:
        """The provider and its transports have every method that Twisted names."""
        verifyObject(IReactorProcess, self.spawner())
        protocol = self.start("/bin/true")
        verifyObject(IProcessTransport, protocol.transport)
        return protocol.ended

    @inlineCallbacks
    def test_ends(self: Any) -> Any:
        """The reason of an end is ProcessDone for status 0, else ProcessTerminated with status or signal."""
        for script, kind, status, signum in (
            ("exit 0", ProcessDone, 0, None),
            ("exit 7", ProcessTerminated, 7, None),
            ("exit 255", ProcessTerminated, 255, None),
            ("kill -TERM $$", ProcessTerminated, None, signal.SIGTERM),
            ("kill -KILL $$", ProcessTerminated, None, signal.SIGKILL),
        ):
            reason = yield self.start("/bin/sh", "-c", script).ended
            self.assertEqual((type(reason), reason.exitCode, reason.signal), (kind, status, signum), script)

    @inlineCallbacks
    def test_the_end_is_told_later(self: Any) -> Any:
        """Even the end of a process that ended at once is told when spawnProcess has returned."""
        protocols = []
        for _ in range(30):
            protocols.append(self.start("/bin/true"))
            self.assertEqual(protocols[-1].told, ["made"])
        for protocol in protocols:
            yield protocol.ended

    @inlineCallbacks
    def test_order_of_calls(self: Any) -> Any:
        """A protocol is connected while its process has a pid, then told of the exit, then of the end."""
        protocol = self.start("/bin/true")
        self.assertEqual(protocol.told, ["made"])
        yield protocol.ended
        self.assertEqual(protocol.told, ["made", "exited", "ended"])
        self.assertIsInstance(protocol.pids[0], int)
        self.assertEqual(protocol.pids[1:], [None, None])

    @inlineCallbacks
    def test_leads_its_own_session(self: Any) -> Any:
        """A process leads a session and a group that are not ours."""
        protocol = self.start("/bin/sh", "-c", "read -r line < /proc/self/stat; echo $line")
        pid = str(protocol.pids[0])
        yield protocol.ended
        fields = self.output().rpartition(")")[2].split()
        self.assertEqual((fields[2], fields[3]), (pid, pid))
        self.assertNotEqual(int(pid), os.getsid(0))

    @inlineCallbacks
    def test_environment(self: Any) -> Any:
        """A process has exactly the environment it was given, and ours where that is None."""
        yield self.start("/usr/bin/env", env={"A": "1", "B": "two words\n"}).ended
        self.assertEqual(self.output(), "A=1\nB=two words\n\n")
        self.patch(os, "environ", {"JOBD_TEST": "ours"})
        protocol = Recorder()
        files = {0: self.null, 1: self.writer, 2: self.writer}
        self.spawner().spawnProcess(protocol, "/usr/bin/env", ["/usr/bin/env"], None, childFDs=files)
        yield protocol.ended
        self.assertEqual(self.output(), "JOBD_TEST=ours\n")

    def test_refuses_what_cannot_be_executed(self: Any) -> None:
        """A program that is missing, or is none, raises OSError at once and makes no process."""
        self.assertRaises(FileNotFoundError, self.start, "/no/such/program")
        self.assertRaises(PermissionError, self.start, "/etc/passwd")

    @inlineCallbacks
    def test_open_files(self: Any) -> Any:
        """A process has the files it was given and no other, in whatever order our numbers are."""
        low = sorted(os.dup(self.null) for _ in range(3))
        self.addCleanup(lambda: [os.close(fd) for fd in low])
        other = os.open("/dev/zero", os.O_RDONLY)
        self.addCleanup(os.close, other)
        list_files = "for fd in /proc/self/fd/*; do echo ${fd##*/} $(readlink $fd); done"
        files = {0: self.null, 1: self.writer, 2: self.writer, low[0]: low[1], low[1]: other, low[2]: low[2]}
        yield self.start("/bin/sh", "-c", list_files, childFDs=files).ended
        found = (line.partition(" ") for line in self.output().splitlines())
        listed = {fd: target for fd, _, target in found if target}  # the listing's own file is closed by then
        self.assertEqual(listed[str(low[0])], "/dev/null")
        self.assertEqual(listed[str(low[1])], "/dev/zero")
        self.assertEqual(listed[str(low[2])], "/dev/null")
        self.assertEqual(set(listed), {str(fd) for fd in files})

    @inlineCallbacks
    def test_unmapped_standard_files_are_closed(self: Any) -> Any:
        """A standard file that was not given is closed, not ours."""
        script = "[ -e /proc/$$/fd/0 ] || echo none"
        yield self.start("/bin/sh", "-c", script, childFDs={1: self.writer, 2: self.writer}).ended
        self.assertEqual(self.output(), "none\n")

    @inlineCallbacks
    def test_default_signals(self: Any) -> Any:
        """A process ignores no signal, though Python ignores SIGPIPE and we ignore SIGUSR1."""
        self.addCleanup(signal.signal, signal.SIGUSR1, signal.signal(signal.SIGUSR1, signal.SIG_IGN))
        yield self.start("/bin/grep", "SigIgn", "/proc/self/status").ended
        ignored = int(self.output().split()[1], 16)
        # 32 and 33 are the C library's own.
        self.assertEqual([number for number in signal.valid_signals() if ignored >> number - 1 & 1], [])

    @inlineCallbacks
    def test_a_grandchild_delays_nothing(self: Any) -> Any:
        """The end is told while a process that was left behind keeps the output open."""
        protocol = self.start("/bin/sh", "-c", "sleep 600 & echo $!")
        yield protocol.ended
        os.kill(int(self.output()), signal.SIGKILL)

    @inlineCallbacks
    def test_signals(self: Any) -> Any:
        """A signal goes by name or number while the process lives, and is refused when it ended."""
        for signal_id, signum in (("TERM", 15), ("KILL", 9), (signal.SIGUSR2, 12), (1, 1)):
            protocol = self.start("/bin/sleep", "600")
            protocol.transport.signalProcess(signal_id)
            reason = yield protocol.ended
            self.assertEqual(reason.signal, signum)
            self.assertRaises(ProcessExitedAlready, protocol.transport.signalProcess, "TERM")

    @inlineCallbacks
    def test_leaves_no_zombie(self: Any) -> Any:
        """A process that ended has been waited for."""
        protocol = self.start("/bin/true")
        pid = protocol.transport.pid
        yield protocol.ended
        self.assertRaises(ChildProcessError, os.waitpid, pid, os.WNOHANG)

    @inlineCallbacks
    def test_many_at_once(self: Any) -> Any:
        """Each of many processes that end together is told of once, with its own status."""
        protocols = [self.start("/bin/sh", "-c", f"exit {n}") for n in range(1, 41)]
        for status, protocol in enumerate(protocols, 1):
            reason = yield protocol.ended
            self.assertEqual(reason.exitCode, status)

    @inlineCallbacks
    def test_a_failing_protocol(self: Any) -> Any:
        """An error in processExited is logged, and the end is told all the same."""
        protocol = self.start("/bin/true")
        protocol.processExited = lambda reason: 1 / 0  # type: ignore[method-assign]
        yield protocol.ended
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class PosixSpawnerTests(ProviderMixin, Spawning):
    """jobd's own provider."""

    def setUp(self) -> Any:
        if not processes.available():
            raise SkipTest("no posix_spawn with a session, or no pidfd, on this platform")
        processes.seal_inherited()
        return super().setUp()

    def spawner(self) -> Any:
        return processes.PosixSpawner(reactor)

    def test_refuses_what_needs_a_fork(self) -> None:
        """A directory, a user, a terminal and the reactor's own pipes are refused with a sentence."""
        for refused in (
            {"path": "/"},
            {"uid": 0},
            {"gid": 0},
            {"usePTY": True},
            {"childFDs": None},
            {"childFDs": {0: "w", 1: "r", 2: "r"}},
        ):
            with self.assertRaises(ValueError):
                self.start("/bin/true", **refused)

    @inlineCallbacks
    def test_usage(self) -> Any:
        """After the end the transport knows processor time and memory, and before it does not."""
        protocol = self.start(sys.executable, "-S", "-c", "n = sum(range(1000000))")
        transport: Any = protocol.transport
        self.assertIsNone(transport.rusage)
        yield protocol.ended
        self.assertGreater(transport.rusage.cpu, 0.0)
        self.assertGreater(transport.rusage.maxrss, 1000)

    @inlineCallbacks
    def test_blocked_signals(self) -> Any:
        """A process blocks no signal, though we do."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
        self.addCleanup(signal.pthread_sigmask, signal.SIG_SETMASK, before)
        yield self.start("/bin/grep", "SigBlk", "/proc/self/status").ended
        self.assertEqual(int(self.output().split()[1], 16), 0)

    @inlineCallbacks
    def test_without_a_descriptor_to_spare(self) -> Any:
        """Where no pidfd can be had, the end is told all the same."""

        def refuse(pid: int) -> int:
            raise OSError(24, "Too many open files")

        self.patch(os, "pidfd_open", refuse)
        reason = yield self.start("/bin/sh", "-c", "exit 3").ended
        self.assertEqual(reason.exitCode, 3)

    @inlineCallbacks
    def test_a_child_that_somebody_else_took(self) -> Any:
        """Where another part of the program waited for the process, its end is told with no status."""
        protocol = self.start("/bin/sh", "-c", "exit 3")
        os.waitpid(protocol.transport.pid, 0)
        reason = yield protocol.ended
        self.assertEqual((type(reason), reason.exitCode, reason.signal), (ProcessTerminated, None, None))

    @inlineCallbacks
    def test_beside_the_reactors_own(self) -> Any:
        """The children of the reactor's own spawnProcess keep their ends to themselves."""
        theirs = Recorder()
        reactor.spawnProcess(theirs, "/bin/sh", ["/bin/sh", "-c", "exit 4"], childFDs={})  # type: ignore[attr-defined]
        ours = self.start("/bin/sh", "-c", "exit 5")
        for protocol, status in ((ours, 5), (theirs, 4)):
            reason = yield protocol.ended
            self.assertEqual(reason.exitCode, status)

    @inlineCallbacks
    def test_leaves_nothing_open(self) -> Any:
        """A process that started, and one that could not be, leave no open file behind."""
        yield self.start("/bin/true").ended
        before = os.listdir("/proc/self/fd")
        for _ in range(3):
            yield self.start("/bin/true").ended
            self.assertRaises(OSError, self.start, "/no/such/program", childFDs={0: 0, 1: 1, 2: 2})
        self.assertEqual(len(os.listdir("/proc/self/fd")), len(before))
        self.assertEqual(processes.owned_pids, set())


class SetsidSpawnerTests(ProviderMixin, Spawning):
    """The reactor's own provider, through setsid."""

    def spawner(self) -> Any:
        return processes.SetsidSpawner(reactor)


class SignalNumberTests(SynchronousTestCase):
    """Signals as people write them."""

    def test_names_and_numbers(self) -> None:
        """A signal is known by name, with or without SIG, in either case, and by number."""
        for text in ("TERM", "term", "SIGTERM", "15", 15, signal.SIGTERM):
            self.assertEqual(processes.signal_number(text), 15)

    def test_unknown_ones(self) -> None:
        """What is no signal is refused by name."""
        for text in ("", "NOPE", "SIG", "0", "-1", "999", 0, 999, "SIG_DFL", "\u0663"):
            with self.assertRaisesRegex(ValueError, "no signal"):
                processes.signal_number(text)


class SealTests(SynchronousTestCase):
    """Files that the daemon was started with."""

    def test_inherited_files_are_sealed(self) -> None:
        """What was open and inheritable is close-on-exec afterwards, but for the standard files."""
        reader, writer = os.pipe()
        self.addCleanup(lambda: [os.close(fd) for fd in (reader, writer)])
        os.set_inheritable(writer, True)
        standard = [os.get_inheritable(fd) for fd in range(3)]
        processes.seal_inherited()
        self.assertFalse(os.get_inheritable(writer))
        self.assertEqual([os.get_inheritable(fd) for fd in range(3)], standard)
