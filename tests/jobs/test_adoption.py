"""Processes of an earlier daemon are watched, and orphans are waited for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.task import deferLater
from twisted.trial.unittest import SkipTest, SynchronousTestCase, TestCase

from jobd.jobs import adoption, groups
from jobd.jobs.adoption import Watch

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class WatchTests(TestCase):
    """The end of a process that is not our child."""

    def setUp(self) -> Any:
        if not hasattr(os, "pidfd_open"):
            raise SkipTest("no pidfd on this platform")
        return deferLater(reactor, 0)  # type: ignore[arg-type]

    def stranger(self, script: str = "exit 0") -> groups.Identity:
        """A process that some other process has adopted; it runs SCRIPT when it is sent USR1."""
        reader, writer = os.pipe()
        patient = f"trap '{script}' USR1; echo $$; while :; do sleep 1 & wait; done"
        subprocess.run(
            ["/bin/sh", "-c", '/usr/bin/setsid /bin/sh -c "$0" &', patient], stdout=writer, check=True
        )
        identity = groups.identify(int(os.read(reader, 100)))
        os.close(reader)
        os.close(writer)
        assert identity is not None
        self.addCleanup(groups.signal_group, identity, signal.SIGKILL)
        return identity

    def watch(self, identity: groups.Identity) -> Deferred[int | None]:
        ended: Deferred[int | None] = Deferred()
        watch = Watch(reactor, identity, ended.callback)
        self.addCleanup(watch.stop)
        return ended

    @inlineCallbacks
    def test_end(self) -> Any:
        """The end of a stranger is told once, with its status where the kernel keeps that, else with None."""
        for script, status in (("exit 3", 3 << 8), ("exit 0", 0), ("kill -KILL $$", 9)):
            identity = self.stranger(script)
            ended = self.watch(identity)
            self.assertNoResult(ended)
            os.kill(identity.pid, signal.SIGUSR1)
            self.assertIn((yield ended), (status, None))

    @inlineCallbacks
    def test_status_of_a_child(self) -> Any:
        """A kernel that keeps the status gives it exactly, once the parent has taken it."""
        child = subprocess.Popen(["/bin/sh", "-c", "exit 7"])
        pidfd = os.pidfd_open(child.pid)
        self.addCleanup(os.close, pidfd)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        self.assertIsNone(adoption.exit_status(pidfd))
        child.wait()
        kernel = tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])
        self.assertEqual(adoption.exit_status(pidfd), 7 << 8 if kernel >= (6, 15) else None)
        yield None

    @inlineCallbacks
    def test_gone_already(self) -> Any:
        """The end of a process that is gone, or whose number another has, is told, but not at once."""
        child = subprocess.Popen(["/bin/true"])
        gone = groups.identify(child.pid)
        assert gone is not None
        child.wait()
        for identity in (gone, self.stranger()._replace(start=1)):
            ended = self.watch(identity)
            self.assertNoResult(ended)
            self.assertIsNone((yield ended))

    @inlineCallbacks
    def test_stopped(self) -> Any:
        """A watch that was stopped tells nothing, and leaves no file open."""
        identity = self.stranger()
        before = len(os.listdir("/proc/self/fd"))
        told: list[Any] = []
        watches = [Watch(reactor, each, told.append) for each in (identity, identity._replace(start=1))]
        for watch in watches:
            watch.stop()
        os.kill(identity.pid, signal.SIGKILL)
        yield deferLater(reactor, 0.05)  # type: ignore[arg-type]
        self.assertEqual(told, [])
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)


REAPING = """
import os, subprocess, sys, time
from twisted.internet import reactor
from twisted.internet.protocol import ProcessProtocol
from jobd.jobs import adoption, groups, processes

assert adoption.become_subreaper()
reaper = adoption.Reaper()
assert reaper.sweep() == 0
reader, writer = os.pipe()
subprocess.run(["/bin/sh", "-c", "/usr/bin/setsid sh -c 'echo $$' &"], stdout=writer, check=True)
orphan = int(os.read(reader, 100))
ours = processes.PosixSpawner(reactor).spawnProcess(ProcessProtocol(), "/bin/true", ["true"], childFDs={}).pid
popen = subprocess.Popen(["/bin/true"])
def ended(pid):
    while not groups.entry(pid).ended:
        time.sleep(0.01)
for pid in (orphan, ours, popen.pid):
    ended(pid)
assert groups.entry(orphan).parent == os.getpid()
counts = [reaper.sweep()]
popen.wait()
counts += [reaper.sweep(), reaper.sweep()]
print(counts, groups.entry(orphan), groups.entry(ours).state, popen.returncode)
"""


class ReaperTests(SynchronousTestCase):
    """Orphans of a daemon that is a subreaper."""

    def test_orphans_only(self) -> None:
        """An orphan is waited for at the second sweep; a child that somebody owns is left to its owner."""
        output = subprocess.check_output([sys.executable, "-c", REAPING], cwd=ROOT, text=True)
        self.assertEqual(output, "[0, 1, 0] None Z 0\n")
