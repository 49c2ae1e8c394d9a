"""Everything that a run started is found, and ended."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import time
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import inlineCallbacks
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest, SynchronousTestCase, TestCase

from jobd.jobs import groups
from jobd.jobs.cgroups import Cgroups
from jobd.jobs.groups import Descendants, Ender, Identity, Snapshot

SETSID = "/usr/bin/setsid"


class Starting:
    """Starts runs, each with a mark of its own, and waits for what they print."""

    def setUp(self) -> None:
        self.run_id = secrets.token_hex(8)

    def start(self: Any, script: str, *, lines: int = 1, run_id: str = "", **kw: Any) -> Any:
        """A shell that runs SCRIPT in a session of its own, once it has printed LINES pids; those."""
        environment = {"PATH": "/usr/bin:/bin", groups.MARK: run_id or self.run_id}
        process = subprocess.Popen(
            ["/bin/sh", "-c", script], stdout=subprocess.PIPE, env=environment, start_new_session=True, **kw
        )
        assert process.stdout is not None
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        pids = [int(process.stdout.readline()) for _ in range(lines)]
        for pid in pids:
            self.addCleanup(kill_quietly, groups.identify(pid))
        first = groups.identify(process.pid)
        if first is not None:
            self.addCleanup(end_quietly, Descendants(first, environment[groups.MARK]))
        return process, pids

    def found(self: Any, descendants: Descendants) -> set[int]:
        return {process.pid for process in descendants.find(Snapshot())}


def kill_quietly(identity: Identity | None) -> None:
    if identity is not None and groups.same(identity):
        os.kill(identity.pid, signal.SIGKILL)


def end_quietly(descendants: Descendants) -> None:
    for process in descendants.find(Snapshot()):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)


def identity_of(pid: int) -> Identity:
    identity = groups.identify(pid)
    assert identity is not None
    return identity


def gone(pid: int) -> bool:
    found = groups.entry(pid)
    return found is None or found.ended


# Ways in which a process can leave the one that started it. Each prints the pid of a sleeping process.
WAYS = {
    "a child": "sleep 600 & echo $!; wait",
    "a grandchild": "sh -c 'sleep 600 & echo $!; wait'",
    "a child whose parent is gone": "sh -c 'sleep 600 >/dev/null & echo $!'; sleep 600",
    "another session": f"{SETSID} sh -c 'echo $$; exec sleep 600'",
    "a daemon, forked twice": f"{SETSID} sh -c 'sleep 600 >/dev/null & echo $!' & sleep 600",
    "a clean environment": "env -i /bin/sh -c 'echo $$; exec /bin/sleep 600'",
    "a clean environment and no parent": "env -i /bin/sh -c '/bin/sleep 600 >/dev/null & echo $!'; sleep 600",
    "a session with a clean environment, its parent alive": (
        f"env -i {SETSID} /bin/sh -c 'echo $$; exec /bin/sleep 600' & sleep 600"
    ),
    "one that ignores TERM": "trap '' TERM; echo $$; while :; do sleep 1; done",
}


class IdentityTests(Starting, SynchronousTestCase):
    """A process is told from every other."""

    def test_itself(self) -> None:
        """A running process is the same as itself; with another start or boot it is another."""
        me = identity_of(os.getpid())
        self.assertTrue(groups.same(me))
        self.assertFalse(groups.same(me._replace(start=me.start + 1)))
        self.assertFalse(groups.same(me._replace(boot="another")))

    def test_ended(self) -> None:
        """A process that ended is not the same any more, waited for or not; there is none without a pid."""
        process, _ = self.start("echo $$; exec sleep 600")
        identity = identity_of(process.pid)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        self.assertFalse(groups.same(identity))
        process.wait()
        self.assertFalse(groups.same(identity))
        self.assertIsNone(groups.identify(process.pid))

    def test_name_that_deceives(self) -> None:
        """A program whose name looks like the fields of /proc/PID/stat deceives nobody."""
        path = os.path.abspath(self.mktemp() + ") R 1 1 (1")
        os.symlink("/bin/sleep", path)
        process = subprocess.Popen([path, "600"], start_new_session=True)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        found = groups.entry(process.pid)
        assert found is not None
        self.assertEqual((found.parent, found.session), (os.getpid(), process.pid))


class SignalGroupTests(Starting, SynchronousTestCase):
    """A signal reaches a run's own group or nobody."""

    def test_reaches_the_group(self) -> None:
        """The whole group of a run's first process gets the signal."""
        process, (child,) = self.start("sleep 600 & echo $!; wait")
        self.assertTrue(groups.signal_group(identity_of(process.pid), signal.SIGKILL))
        self.assertEqual(process.wait(), -signal.SIGKILL)
        while not gone(child):
            time.sleep(0.01)

    def test_never_ours(self) -> None:
        """Our own group, one that another process leads, and an impostor's get nothing."""
        self.assertFalse(groups.signal_group(identity_of(os.getpid()), 0))
        leader = groups.identify(os.getpgrp())
        if leader is not None:  # which may have ended before its group
            self.assertFalse(groups.signal_group(leader, 0))
        in_our_group = subprocess.Popen(["/bin/sleep", "600"])
        self.addCleanup(in_our_group.wait)
        self.addCleanup(in_our_group.kill)
        self.assertFalse(groups.signal_group(identity_of(in_our_group.pid), signal.SIGKILL))
        process, _ = self.start("echo $$; exec sleep 600")
        other = identity_of(process.pid)._replace(start=1)
        self.assertFalse(groups.signal_group(other, signal.SIGKILL))
        self.assertIsNone(process.poll())
        self.assertIsNone(in_our_group.poll())

    def test_gone(self) -> None:
        """Where the first process is gone nobody gets a signal."""
        process, _ = self.start("echo $$; exec sleep 600")
        identity = identity_of(process.pid)
        process.kill()
        process.wait()
        self.assertFalse(groups.signal_group(identity, signal.SIGKILL))


class DescendantsTests(Starting, SynchronousTestCase):
    """What belongs to a run, and what doesn't."""

    def test_every_way(self) -> None:
        """A process is found however it has left the one that started it."""
        for way, script in WAYS.items():
            process, (pid,) = self.start(script)
            self.assertIn(pid, self.found(Descendants(identity_of(process.pid), self.run_id)), way)

    def test_after_the_first_has_ended(self) -> None:
        """What shares the session, or has the mark, is found though the first process is gone already."""
        for script in (
            "env -i /bin/sleep 600 >/dev/null & echo $!",
            f"{SETSID} sleep 600 >/dev/null & echo $!",
        ):
            process, (pid,) = self.start(script)
            identity = groups.identify(process.pid) or Identity(process.pid, 0, groups.boot_id())
            process.wait()
            self.assertIn(pid, self.found(Descendants(identity, self.run_id)), script)

    def test_found_once_found_for_good(self) -> None:
        """What was found stays found, though its parent ended and nothing else ties it to the run."""
        script = f"env -i {SETSID} /bin/sh -c 'echo $$; exec /bin/sleep 600 >/dev/null' & echo $$; read x"
        process, pids = self.start(script, lines=2, stdin=subprocess.PIPE)
        (child,) = (pid for pid in pids if pid != process.pid)
        descendants = Descendants(identity_of(process.pid), self.run_id)
        self.assertIn(child, self.found(descendants))
        process.stdin.close()
        process.wait()
        self.assertEqual(self.found(descendants), {child})
        self.assertEqual(
            self.found(Descendants(identity_of(child)._replace(pid=process.pid), self.run_id)), set()
        )

    def test_others_are_left_alone(self) -> None:
        """Neither we nor the processes of another run, though its mark begins alike, belong to a run."""
        process, _ = self.start("echo $$; exec sleep 600", run_id=self.run_id)
        other, _ = self.start("echo $$; exec sleep 600", run_id=self.run_id + "-more")
        self.assertEqual(self.found(Descendants(identity_of(process.pid), self.run_id)), {process.pid})
        us = identity_of(os.getpid())._replace(pid=os.getsid(0))
        self.assertNotIn(os.getpid(), self.found(Descendants(us, "nobody")))
        self.assertNotIn(other.pid, self.found(Descendants(us, "nobody")))

    def test_a_session_whose_number_was_used_again(self) -> None:
        """A session with the number of the run's, but led by a later process, is a stranger's."""
        process, _ = self.start("echo $$; exec sleep 600", run_id="stranger")
        earlier = identity_of(process.pid)._replace(start=1)
        self.assertEqual(self.found(Descendants(earlier, self.run_id)), set())

    def test_another_boot(self) -> None:
        """Nothing of an earlier boot is found."""
        process, _ = self.start("echo $$; exec sleep 600")
        before = identity_of(process.pid)._replace(boot="earlier")
        self.assertEqual(self.found(Descendants(before, self.run_id)), set())


class EnderTests(Starting, TestCase):
    """Runs are ended whole."""

    def after(self, seconds: float, function: Any, *args: Any) -> Any:
        return reactor.callLater(seconds, function, *args)  # type: ignore[attr-defined]

    @inlineCallbacks
    def test_every_way(self) -> Any:
        """Many runs are ended together, and nothing of any of them is left."""
        ender = Ender(self.after)
        started = [self.start(script, run_id=f"{self.run_id}-{n}") for n, script in enumerate(WAYS.values())]
        ends = [
            ender.end_all(identity_of(run.pid), f"{self.run_id}-{n}") for n, (run, _) in enumerate(started)
        ]
        for way, (process, (pid,)), end in zip(WAYS, started, ends, strict=True):
            self.assertEqual((yield end), 0, way)
            self.assertTrue(gone(pid), way)
            self.assertTrue(gone(process.pid), way)

    @inlineCallbacks
    def test_after_a_signal(self) -> Any:
        """What a signal made an orphan is ended with the run that it was seen in before."""
        script = f"env -i {SETSID} /bin/sh -c 'echo $$; exec /bin/sleep 600 >/dev/null' & wait"
        process, (child,) = self.start(script)
        ender, first = Ender(self.after), identity_of(process.pid)
        ender.signal_group(first, self.run_id, signal.SIGTERM)
        self.assertEqual((yield deferToThread(process.wait)), -signal.SIGTERM)
        self.assertFalse(gone(child))
        self.assertEqual((yield ender.end_all(first, self.run_id)), 0)
        self.assertTrue(gone(child))

    @inlineCallbacks
    def test_with_a_control_group(self) -> Any:
        """What nothing else ties to a run is ended by its control group, which is removed then."""
        cgroups = Cgroups.find()
        if cgroups is None:
            raise SkipTest("no cgroup v2 in which groups can be made")
        escape = f"env -i {SETSID} /bin/sh -c '/bin/sleep 600 >/dev/null & echo $!'"
        process, _ = self.start(f"echo $$; read go; {escape}; echo; sleep 600", stdin=subprocess.PIPE)
        self.assertTrue(cgroups.add(self.run_id, process.pid))
        process.stdin.write(b"\n")
        process.stdin.close()
        stray = int(process.stdout.readline())
        process.stdout.readline()  # its parent is gone
        self.addCleanup(kill_quietly, groups.identify(stray))
        first = identity_of(process.pid)
        self.assertNotIn(stray, self.found(Descendants(first, self.run_id)))
        self.assertEqual((yield Ender(self.after, cgroups).end_all(first, self.run_id)), 0)
        self.assertTrue(gone(stray))
        process.wait()
        self.assertTrue(cgroups.remove(self.run_id))

    @inlineCallbacks
    def test_one_that_starts_itself_again(self) -> Any:
        """A process that moves on and on, each time to a new process in a new session, is ended too."""
        path = os.path.abspath(self.mktemp())
        with open(path, "w") as file:
            file.write(f'sleep 0.05\n{SETSID} /bin/sh "$0" </dev/null >/dev/null 2>&1 &\nsleep 0.05\n')
        process, _ = self.start(f"echo $$; exec /bin/sh {path}")
        self.assertEqual((yield Ender(self.after).end_all(identity_of(process.pid), self.run_id)), 0)
        self.assertEqual(Snapshot().by_mark.get(self.run_id.encode()), None)

    @inlineCallbacks
    def test_what_cannot_be_ended(self) -> Any:
        """Sweeps stop after a bound, and say how many processes are left."""
        process, _ = self.start("echo $$; exec sleep 600")
        self.patch(groups, "_send", lambda process, signum: None)
        self.patch(os, "killpg", lambda group, signum: None)
        self.patch(groups, "SWEEPS", 3)
        calls: list[Any] = []
        end = Ender(lambda seconds, function: calls.append(function)).end_all(
            identity_of(process.pid), self.run_id
        )
        for _ in range(3):
            self.assertNoResult(end)
            calls.pop()()
        self.assertEqual((yield end), 1)
        self.assertEqual(calls, [])
