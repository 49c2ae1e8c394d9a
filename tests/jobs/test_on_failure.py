"""`on-failure`: what is run when a run failed for good, and what it is told."""

from __future__ import annotations

import signal

from jobd.jobs.job import Job
from jobd.jobs.on_failure import AT_A_TIME, LONGEST
from jobd.testing import FakeProcess
from tests.jobs.memory import HOUR, MINUTE, MemoryCase

OPTIONS = "on-failure tell somebody\ndir /\n"


class OnFailureTest(MemoryCase):
    """The command is run after the last attempt of what failed, and of nothing else."""

    def fail_once(self, options: str = "", name: str = "job") -> Job:
        """A job whose run by hand has just ended with status 3."""
        job = self.create(options=OPTIONS + options, name=name)
        self.run_by_hand(job)
        self.running[-1].exit(3)
        return job

    def told(self, process: FakeProcess) -> dict[str, str]:
        """The facts that PROCESS, which must be an `on-failure` command, was given."""
        self.assertIn("exec /bin/sh -c 'tell somebody'", process.script)
        exports = (line.split("=", 1) for line in process.script.splitlines() if line.startswith("export "))
        facts = {name.removeprefix("export JOBD_"): value.strip("'") for name, value in exports}
        return {name: facts[name] for name in ("JOB", "RUN", "OUTCOME", "EXIT")}

    def test_failed(self) -> None:
        """It is told of the job, the run, its outcome and its exit status."""
        self.fail_once()
        [process] = self.running
        self.assertEqual(self.told(process), {"JOB": "job", "RUN": "1", "OUTCOME": "failed", "EXIT": "3"})

    def test_signal(self) -> None:
        """The exit of a run that a signal ended is the name of the signal."""
        self.run_by_hand(self.create(options=OPTIONS))
        self.running[0].die(signal.SIGSEGV)
        self.assertEqual(self.told(self.running[0])["EXIT"], "SIGSEGV")

    def test_not_started(self) -> None:
        """What could not be started has failed, without an exit."""
        job = self.create(options=OPTIONS)
        self.jobd.spawner.refuse = OSError(11, "no more processes")
        self.run_by_hand(job)
        self.assertIn("on-failure of run 1 failed: not started: [Errno 11]", self.log_of(job))
        self.jobd.spawner.refuse = None
        self.fail_once(name="other")
        self.assertEqual(self.told(self.running[0])["JOB"], "other")

    def test_timeout(self) -> None:
        """An attempt whose time was up has failed."""
        self.start("0 * * * *", OPTIONS + "timeout 5s\n")
        self.clock.pass_time(HOUR + 10)
        self.assertEqual(
            self.told(self.running[0]), {"JOB": "job", "RUN": "1", "OUTCOME": "timeout", "EXIT": "SIGTERM"}
        )

    def test_last_attempt(self) -> None:
        """It waits for the last attempt."""
        self.fail_once("retries 1\nretry-delay 10s\n")
        self.assertEqual(self.running, [])
        self.clock.pass_time(20)
        [second] = self.running
        second.exit(4)
        self.assertEqual(self.told(self.running[0])["EXIT"], "4")

    def test_what_did_not_fail(self) -> None:
        """Nothing is run after a success, a kill, a skip or a replacement, or where there is no command."""
        job = self.start("* * * * *", OPTIONS + "overlap replace\n")
        self.clock.pass_time(2 * MINUTE)
        [replacing] = self.running
        replacing.exit(0)
        self.run_by_hand(job)
        self.jobd.table.kill(job, None, actor="me")
        self.clock.pass_time(0)
        self.assertEqual(self.outcomes(job), ["replaced", "ok", "killed"])
        self.assertEqual(self.running, [])
        self.done(self.jobd.table.set_options(job, b"on-failure", actor="me"))
        self.run_by_hand(job)
        self.running[0].exit(1)
        self.assertEqual(self.running, [])

    def test_missed(self) -> None:
        """For a gap of missed instants it is run once, with the number of the gap's record."""
        self.start("*/10 * * * *", OPTIONS + "catchup none\n")
        self.clock.suspend(2 * HOUR)
        self.assertEqual(
            [self.told(process) for process in self.running],
            [{"JOB": "job", "RUN": "1", "OUTCOME": "missed", "EXIT": ""}],
        )

    def test_lost(self) -> None:
        """The next daemon runs it for what was lost."""
        self.run_by_hand(self.create(options=OPTIONS))
        self.jobd.reboot()
        self.assertEqual(self.told(self.running[0])["OUTCOME"], "lost")

    def test_never_recursive(self) -> None:
        """Its own failure is a line in the log and one in `/events`, and that is all."""
        job = self.fail_once()
        self.running[0].print(b"no route to\nanybody")
        self.clock.read()
        self.running[0].exit(7)
        self.clock.pass_time(1)
        self.assertEqual(self.running, [])
        self.assertEqual(self.outcomes(job), ["failed"])
        self.assertEqual(
            self.log_of(job).splitlines()[-3:],
            ["no route to", "anybody", "on-failure of run 1 failed: exit status 7"],
        )
        self.assertIn("on-failure job=job run=1 detail='exit status 7'", self.events())

    def test_success_says_nothing(self) -> None:
        """Where it ends well, only what it printed is in the log."""
        job = self.fail_once()
        before = self.log_of(job)
        self.running[0].exit(0)
        self.assertEqual(self.log_of(job), before)

    def test_a_minute(self) -> None:
        """It is ended after a minute, whatever it does with TERM."""
        job = self.fail_once()
        self.running[0].stubborn = True
        self.clock.pass_time(LONGEST - 1)
        self.assertEqual(len(self.running), 1)
        self.clock.pass_time(2)
        self.assertEqual(self.running, [])
        self.assertIn("on-failure of run 1 failed: it took longer than 60s", self.log_of(job))

    def test_many(self) -> None:
        """So many run at a time; the others wait in order, and those of a removed job are dropped."""
        for number in range(AT_A_TIME + 3):
            self.fail_once(name=f"job{number}")
        self.assertEqual(len(self.running), AT_A_TIME)
        first_waiting = self.jobd.table.job(f"job{AT_A_TIME}")
        self.done(self.jobd.table.remove(first_waiting, actor="me"))
        self.running[0].exit(0)
        self.clock.pass_time(0)
        self.assertEqual(self.told(self.running[-1])["JOB"], f"job{AT_A_TIME + 1}")
        self.assertEqual(len(self.running), AT_A_TIME)

    def test_stop(self) -> None:
        """A daemon that stops leaves it running, and reads no more of it."""
        self.fail_once()
        self.jobd.restart()
        self.assertEqual(len(self.running), 1)
        self.assertEqual(self.clock.getReaders(), [])
