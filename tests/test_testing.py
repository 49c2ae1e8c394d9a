"""The test kit, for what its users rely on and the tests of jobd itself don't."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from jobd.jobs.launch import LONGEST_ARGUMENT
from jobd.testing import FakeClock, MemoryJobd


class ClockTest(SynchronousTestCase):
    """The clock."""

    def test_advance(self) -> None:
        """`advance`, as Twisted's `Clock` has it, lets time pass on both clocks."""
        clock = FakeClock(begin=100.0)
        monotonic, called = clock.monotonic(), []
        clock.callLater(5, lambda: clock.callLater(5, called.append, clock.seconds))
        clock.advance(10)
        self.assertEqual((clock.seconds(), clock.monotonic() - monotonic, len(called)), (110.0, 10.0, 1))


class ProcessTest(SynchronousTestCase):
    """What a test sees of a process."""

    def setUp(self) -> None:
        self.jobd = MemoryJobd()
        self.addCleanup(self.jobd.close)

    def test_what_it_is(self) -> None:
        """Command, job and environment are those of the job, started directly or on a detour."""
        for name, options in (
            ("direct", {"dir": os.path.expanduser("~")}),
            ("detour", {"dir": "/", "nice": 5}),
        ):
            for command in ("echo 'one\nexec two'", "x" * (LONGEST_ARGUMENT + 1)):
                with self.subTest(name, length=len(command)):
                    options["env"] = {"A": "it's export B=1"}
                    self.successResultOf(self.jobd.jobs.ensure(name, "@hourly", command, options))
                    self.successResultOf(self.jobd.jobs.run(name))
                    process = self.jobd.process(name)
                    self.assertEqual((process.job, process.command), (name, command))
                    self.assertEqual(
                        (process.env["A"], process.env["JOBD_RUN_ID"]), ("it's export B=1", process.run_id)
                    )
                    self.assertNotIn("B", process.env)
                    process.exit()

    def test_not_running(self) -> None:
        """A job without a process has none to take."""
        self.assertRaises(AssertionError, self.jobd.process, "none")

    def test_print(self) -> None:
        """What a process prints, as text or bytes, is the output of its run."""
        self.successResultOf(self.jobd.jobs.add("hello", "@hourly", "true"))
        number = self.successResultOf(self.jobd.jobs.run("hello"))
        process = self.jobd.process("hello")
        process.print("one\n")
        process.print(b"two\n")
        process.exit()
        self.assertEqual(self.jobd.jobs.output("hello", number), "one\ntwo\n")
