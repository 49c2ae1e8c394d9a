"""What processes inherit is what most jobs want, and nobody else in the program sees it."""

from __future__ import annotations

import os
import pwd
import tempfile
import threading
from unittest.mock import patch

from twisted.internet import reactor
from twisted.internet.defer import inlineCallbacks
from twisted.trial.unittest import SkipTest, SynchronousTestCase, TestCase

from jobd.jobs import here, processes
from jobd.jobs.here import Here
from jobd.jobs.launch import Command
from tests.jobs.test_processes import Recorder


class Refusing:
    """A libc of a kernel, or a container, that gives no thread anything of its own."""

    def unshare(self, flags: int) -> int:
        return -1


class HereTests(SynchronousTestCase):
    """Directory and umask of a thread."""

    def setUp(self) -> None:
        self.directory = os.path.realpath(tempfile.mkdtemp(prefix="jobd-test-"))
        self.addCleanup(os.rmdir, self.directory)
        self.at_home = Here.at_home()

    def require_own(self) -> None:
        if self.at_home == Here.look():
            raise SkipTest("this platform gives a thread no directory of its own")

    def test_home(self) -> None:
        """Most jobs want their owner's home and the umask 022."""
        self.require_own()
        account = pwd.getpwuid(os.geteuid())
        self.assertEqual(self.at_home, Here(account.pw_uid, account.pw_dir, 0o022))

    def test_refused(self) -> None:
        """Where a thread can have nothing of its own, processes inherit what the program has."""
        for libc in (Refusing(), object()):
            with patch.object(here, "_libc", libc):
                self.assertEqual(Here.at_home(), Here.look())

    def test_of_a_spawner(self) -> None:
        """A spawner says where its processes start, or they start where we are."""
        place = Here(1, "/somewhere", 0)
        self.assertEqual(Here.of(processes.PosixSpawner(reactor, place)), place)
        self.assertEqual(Here.of(processes.PosixSpawner(reactor)), Here.look())
        self.assertEqual(Here.of(object()), Here.look())

    def test_only_here_and_now(self) -> None:
        """While a thread is there no other is, and afterwards the thread is where it was."""
        self.require_own()
        before, there = Here.look(), Here(os.geteuid(), self.directory, 0o027)
        seen = []
        ask, answered = threading.Event(), threading.Event()

        def other() -> None:
            ask.wait()
            # The umask of the thread, and not of the program's first.
            umask = os.umask(0o077)
            os.umask(umask)
            seen.append((os.getcwd(), umask))
            answered.set()

        thread = threading.Thread(target=other)
        thread.start()
        with there.entered():
            self.assertEqual(os.getcwd(), self.directory)
            ask.set()
            answered.wait()
            umask = os.umask(0o027)
        thread.join()
        self.assertEqual(umask, there.umask)
        self.assertEqual(seen, [(before.directory, before.umask)])
        self.assertEqual(Here.look(), before)

    def test_no_way_in(self) -> None:
        """Where the directory can't be entered, what goes on to others is started all the same."""
        self.require_own()
        before = Here.look()
        with Here(0, "/no/such", 0o027).entered():
            self.assertEqual(Here.look(), before._replace(umask=0o027))
        self.assertEqual(Here.look(), before)

    def test_a_home_that_is_gone(self) -> None:
        """Nothing is started directly in a directory that is not there: the script says so."""
        for directory, direct in (("/no/such", False), (self.directory, True)):
            place = Here(os.geteuid(), directory, 0o022)
            self.assertEqual(Command("true", directory, {}, place).direct, direct)


class SpawnerTests(TestCase):
    """Processes that are started somewhere else."""

    @inlineCallbacks
    def test_there(self) -> object:
        """A process of a spawner has the directory and the umask that the spawner says, and we keep ours."""
        place = Here.at_home()._replace(directory="/", umask=0o027)
        if not processes.available() or Here.at_home() == Here.look():
            raise SkipTest("this platform gives a thread no directory of its own")
        before = Here.look()
        reader, writer = os.pipe()
        protocol = Recorder()
        argv = ["/bin/sh", "-c", "pwd; umask"]
        processes.PosixSpawner(reactor, place).spawnProcess(protocol, argv[0], argv, {}, childFDs={1: writer})
        os.close(writer)
        yield protocol.ended
        with open(reader) as file:
            self.assertEqual(file.read().split(), ["/", "0027"])
        self.assertEqual(Here.look(), before)
