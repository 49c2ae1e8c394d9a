"""Jobs that call Python instead of starting a process."""

from __future__ import annotations

import errno
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, inlineCallbacks
from twisted.trial.unittest import SynchronousTestCase

from jobd.jobs.callables import Call, Callables
from jobd.jobs.errors import JobError
from jobd.jobs.job import Job
from jobd.jobs.run import status_text
from jobd.testing import BEGIN
from tests.jobs.memory import ME, MINUTE, MemoryCase


class CallablesCase(MemoryCase):
    """A jobd whose application has registered `work`, which does what the test says, and `other`."""

    def setUp(self) -> None:
        self.calls: list[Call] = []
        self.works: Callable[[Call], Any] = lambda call: Deferred()
        self.more = {"callables": {"work": self.work, "other": lambda call: None}}
        super().setUp()

    def work(self, call: Call) -> Any:
        self.calls.append(call)
        return self.works(call)

    def create(self, schedule: str = "* * * * *", options: str = "", name: str = "job") -> Job:
        job = super().create(schedule, options, name)
        self.done(self.jobd.table.set_command(job, "@call work", actor="me"))
        return job

    def output(self, job: Job, number: int = 1) -> str:
        reader, text = self.jobd.service.journal.output_of(job, number).reader(), b""
        while part := reader.read(len(text), 1 << 20):
            text += part
        return text.decode()

    def assert_refused(self, number: int, sentence: str, change: Deferred[Any]) -> None:
        error = self.failureResultOf(change, JobError).value
        self.assertEqual((error.errno, str(error)), (number, sentence))


class CallTest(CallablesCase):
    """What a callable is told, and what becomes of what it gives."""

    def test_value(self) -> None:
        """What returns a value, whatever it is, was a success; no process starts."""
        for value in (None, False, 1, "text"):
            self.works = lambda call, value=value: value
            job = self.start(name=f"job{value}")
            self.clock.pass_time(MINUTE)
            self.assertEqual(self.outcomes(job), ["ok"])
            self.assertIn("exit=0 outcome=ok attempts=1", self.history(job))
            self.done(self.jobd.table.stop(job, actor="me"))
        self.assertEqual(self.jobd.spawner.processes, [])

    def test_context(self) -> None:
        """It is told of the job, the run, the attempt, and the instant, which a run by hand has none of."""
        job = self.start(options="overlap allow 2\n")
        self.clock.pass_time(MINUTE)
        self.run_by_hand(job)
        [scheduled, by_hand] = self.calls
        self.assertEqual((scheduled.job, scheduled.run, scheduled.attempt), ("job", 1, 1))
        self.assertEqual(scheduled.scheduled, datetime.fromtimestamp(BEGIN + MINUTE, timezone.utc))
        self.assertEqual((by_hand.run, by_hand.scheduled), (2, None))

    def test_deferred(self) -> None:
        """A Deferred ends the run when it fires; until then the run is in progress, and the job occupied."""
        gone: Deferred[None] = Deferred()
        self.works = lambda call: gone
        job = self.start()
        self.clock.pass_time(2 * MINUTE)
        self.assertEqual(self.outcomes(job), [None, "skipped"])
        self.assertIn("state=running\n", status_text(self.records(job)[0]))
        gone.callback(None)
        self.assertEqual(self.outcomes(job), ["ok", "skipped"])

    def test_coroutine(self) -> None:
        """A coroutine is awaited."""
        reply: Deferred[str] = Deferred()

        async def ask(call: Call) -> None:
            print("said", await reply, file=call)

        self.works = ask
        job = self.start()
        self.clock.pass_time(MINUTE)
        self.assertEqual(self.outcomes(job), [None])
        reply.callback("yes")
        self.assertEqual((self.outcomes(job), self.output(job)), (["ok"], "said yes\n"))

    def test_writes(self) -> None:
        """What it writes is in output and log as it comes, and after the end nothing is any more."""
        gone: Deferred[None] = Deferred()
        self.works = lambda call: gone
        job = self.start()
        self.clock.pass_time(MINUTE)
        [call] = self.calls
        call.write("gr\N{LATIN SMALL LETTER U WITH DIAERESIS}n\nhalf")
        self.assertIn("grün", self.log_of(job))
        self.assertNotIn("half", self.log_of(job))
        call.write(b" a line")
        call.write("\udcff")
        gone.callback(None)
        call.write("late\n")
        self.assertTrue(self.log_of(job).endswith("grün\nhalf a line\\udcff"))
        self.assertEqual(self.output(job), "grün\nhalf a line\\udcff")

    def test_max_output(self) -> None:
        """Its output keeps head and tail."""
        self.works = lambda call: [call.write(b"x" * 1000) for _ in range(1000)]
        job = self.start(options="max-output 10K\n")
        self.clock.pass_time(MINUTE)
        self.assertIn("bytes were dropped here", self.output(job))

    def test_exception(self) -> None:
        """An exception is a failure: with exit 1, the traceback in the output, and a line in the history."""

        async def fail(call: Call) -> None:
            raise ValueError("no such\nindex")

        def fail_at_once(call: Call) -> None:
            raise ValueError("no such\nindex")

        for name, function in (("later", fail), ("once", fail_at_once)):
            self.works = function
            job = self.start(name=name)
            self.clock.pass_time(MINUTE)
            self.assertIn(
                "exit=1 outcome=failed attempts=1 detail='ValueError: no such index'", self.history(job)
            )
            self.assertIn(f"in {function.__name__}", self.output(job))
            self.assertIn("ValueError: no such\nindex", self.output(job))
            self.done(self.jobd.table.stop(job, actor="me"))

    def test_own_cancel(self) -> None:
        """A Deferred that was cancelled by others than jobd failed."""
        self.works = lambda call: Deferred()
        job = self.start()
        self.works = self.cancelled
        self.clock.pass_time(MINUTE)
        self.assertIn("exit=1 outcome=failed attempts=1 detail='CancelledError: ", self.history(job))

    @staticmethod
    def cancelled(call: Call) -> Deferred[None]:
        result: Deferred[None] = Deferred()
        result.cancel()
        return result

    def test_env(self) -> None:
        """A run's `env` says what was called."""
        job = self.start()
        self.clock.pass_time(MINUTE)
        [record] = self.records(job)
        self.assertEqual((record.argv, record.pid), ('["@call", "work"]', None))


class OptionsTest(CallablesCase):
    """What a run by process has, one by call has too, where it can."""

    def test_retries(self) -> None:
        """What failed is tried again, and told which attempt it is."""

        def fail_once(call: Call) -> None:
            if call.attempt == 1:
                raise OSError("not yet")

        self.works = fail_once
        job = self.start("0 * * * *", "retries 2\nretry-delay 10s\n")
        self.clock.pass_time(61 * MINUTE)
        [record] = self.records(job)
        self.assertEqual((record.outcome, record.attempts), ("ok", 2))
        self.assertIn("run 1 attempt 1 failed: OSError: not yet; again in", self.log_of(job))

    def test_killed_between(self) -> None:
        """A run that waits for its next attempt can be ended at once."""

        def fail(call: Call) -> None:
            raise OSError

        self.works = fail
        job = self.start("0 * * * *", "retries 2\nretry-delay 10m\n")
        self.clock.pass_time(60 * MINUTE)
        self.jobd.table.kill(job, None, actor="me")
        self.assertEqual((self.outcomes(job), len(self.calls)), (["killed"], 1))

    def test_timeout(self) -> None:
        """Its Deferred is cancelled when the time is up, and the run ends at once where it heeds that."""
        job = self.start("0 * * * *", "timeout 30s\n")
        self.clock.pass_time(60 * MINUTE + 30)
        self.assertEqual(self.outcomes(job), ["timeout"])
        self.assertIn("detail='after 30s'", self.history(job))
        self.assertNotIn("Traceback", self.output(job))

    def test_timeout_unheeded(self) -> None:
        """What goes on after its cancel is left behind after the grace: the run ends, is not tried again, and
        what is written or raised later is not seen.
        """
        gone: Deferred[None] = Deferred()
        seen: list[BaseException] = []

        async def stubborn(call: Call) -> None:
            while not gone.called:
                try:
                    await Deferred()
                except CancelledError as error:
                    seen.append(error)
                    if len(seen) == 2:
                        await gone
            call.write("late\n")
            raise ValueError("late")

        self.works = stubborn
        job = self.start("0 * * * *", "timeout 30s\ngrace 5s\nretries 3\n")
        self.clock.pass_time(60 * MINUTE + 34)
        self.assertEqual((self.outcomes(job), len(seen)), ([None], 1))
        self.clock.pass_time(1)
        self.assertEqual((self.outcomes(job), len(seen)), (["timeout"], 2))
        self.assertIn("it was cancelled and goes on", self.log_of(job))
        gone.callback(None)
        self.assertNotIn("late", self.log_of(job))
        self.assertEqual(self.jobd.service.runner.running, {})

    def test_cleanup(self) -> None:
        """A cancelled coroutine has the grace for its cleanup, whose exception is in the output."""
        gone: Deferred[None] = Deferred()

        async def tidy(call: Call) -> None:
            try:
                await Deferred()
            finally:
                await gone
                raise ValueError("untidy")

        self.works = tidy
        job = self.start("0 * * * *", "timeout 30s\n")
        self.clock.pass_time(60 * MINUTE + 31)
        self.assertEqual(self.outcomes(job), [None])
        gone.callback(None)
        self.assertEqual(self.outcomes(job), ["timeout"])
        self.assertIn("ValueError: untidy", self.output(job))

    def test_bad_canceller(self) -> None:
        """A canceller that raises leaves the run to its grace."""

        def refuse(_: Deferred[None]) -> None:
            raise ZeroDivisionError

        self.works = lambda call: Deferred(refuse)
        job = self.start("0 * * * *", "timeout 30s\ngrace 5s\n")
        self.clock.pass_time(60 * MINUTE + 36)
        self.assertEqual(self.outcomes(job), ["timeout"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_kill(self) -> None:
        """`kill` cancels it, as `kill KILL` does, and it takes no other signal."""
        job = self.create()
        for number, signum in enumerate((None, 9), 1):
            self.run_by_hand(job)
            error = self.assertRaises(JobError, self.jobd.table.kill, job, 15, actor="me")
            self.assertEqual(
                str(error), f"run {number} is no process: kill alone cancels it, and kill KILL at once"
            )
            self.assertEqual(self.outcomes(job)[-1], None)
            self.jobd.table.kill(job, signum, actor="me")
            self.assertEqual(self.outcomes(job)[-1], "killed")

    def test_kills_itself(self) -> None:
        """One that ends its own job before it gives anything is cancelled when it does."""

        def end_it(call: Call) -> Deferred[None]:
            self.jobd.table.kill(self.jobd.table.job(call.job), None, actor="me")
            return Deferred()

        self.works = end_it
        job = self.create()
        self.run_by_hand(job)
        self.assertEqual(self.outcomes(job), ["killed"])

    def test_replace(self) -> None:
        """`overlap replace` cancels the old one before the new one begins."""
        job = self.start(options="overlap replace\n")
        self.clock.pass_time(2 * MINUTE)
        self.assertEqual(self.outcomes(job), ["replaced", None])

    def test_max_runs(self) -> None:
        """It has a place among --max-runs while it runs, and gives it back."""
        self.jobd._more["max_runs"] = 1
        self.jobd.restart()
        self.works = lambda call: Deferred()
        first, second = self.create(name="first"), self.create(name="second")
        self.run_by_hand(first)
        self.run_by_hand(second)
        self.assertEqual([call.job for call in self.calls], ["first"])
        self.jobd.table.kill(first, None, actor="me")
        self.clock.pass_time(0)
        self.assertEqual([call.job for call in self.calls], ["first", "second"])

    def test_on_failure(self) -> None:
        """Its `on-failure` command runs when it failed."""

        def fail(call: Call) -> None:
            raise ValueError

        self.works = fail
        self.start("0 * * * *", "on-failure mail\n")
        self.clock.pass_time(60 * MINUTE)
        [process] = self.running
        self.assertEqual((process.job, process.command), ("job", "mail"))


class EndTest(CallablesCase):
    """Calls end with the service."""

    def test_stop(self) -> None:
        """A stop cancels them, and waits for their end, which the history has."""
        gone: Deferred[None] = Deferred()

        @inlineCallbacks
        def tidy(call: Call) -> Any:
            try:
                yield Deferred()
            finally:
                yield gone

        self.works = tidy
        job = self.start()
        self.clock.pass_time(MINUTE)
        stopped = self.jobd.stop()
        self.assertNoResult(stopped)
        gone.callback(None)
        self.clock.pass_time(0)
        self.successResultOf(stopped)
        self.jobd._start()
        self.assertEqual(self.outcomes(job)[0], "killed")
        self.assertIn("run 1 was killed: jobd was stopped", self.log_of(job))

    def test_stop_unheeded(self) -> None:
        """A stop waits no longer than the grace for what goes on."""
        self.works = lambda call: Deferred(lambda _: None).addErrback(
            lambda _: Deferred(lambda d: d.callback)
        )
        job = self.start(options="grace 5s\n")
        self.clock.pass_time(MINUTE)
        stopped = self.jobd.stop()
        self.assertNoResult(stopped)
        self.clock.pass_time(5)
        self.successResultOf(stopped)
        self.jobd._start()
        self.assertEqual(self.outcomes(job)[0], "killed")

    def test_stop_wait(self) -> None:
        """What ends within --stop-wait is not cancelled."""
        self.jobd.service._stop_wait = 30.0
        gone: Deferred[None] = Deferred()
        self.works = lambda call: gone
        job = self.start()
        self.clock.pass_time(MINUTE)
        stopped = self.jobd.stop()
        self.clock.pass_time(10)
        self.assertNoResult(stopped)
        gone.callback(None)
        self.clock.pass_time(0)
        self.successResultOf(stopped)
        self.jobd._start()
        self.assertEqual(self.outcomes(job)[0], "ok")

    def test_stop_beside_processes(self) -> None:
        """A process that is left running keeps no stop waiting for the calls beside it."""
        self.start()
        command = MemoryCase.create(self, name="command")
        self.run_by_hand(command)
        self.clock.pass_time(MINUTE)
        self.successResultOf(self.jobd.stop())
        self.assertEqual(len(self.running), 1)
        self.jobd._start()

    def test_crash(self) -> None:
        """One that was in progress when the application died is lost, and is not tried again."""
        job = self.start("0 * * * *", "retries 3\n")
        self.clock.pass_time(60 * MINUTE)
        self.jobd.crash()
        self.calls[0].write("from beyond\n")
        self.clock.pass_time(10 * MINUTE)
        self.assertEqual((self.outcomes(job), len(self.calls)), (["lost"], 1))
        self.assertNotIn("beyond", self.log_of(job))
        self.assertIn("run 1 was lost: jobd died before its end", self.log_of(job))

    def test_pending_retry(self) -> None:
        """One that waited for its next attempt still does after a restart."""

        def fail_once(call: Call) -> None:
            if call.attempt == 1:
                raise OSError("not yet")

        self.works = fail_once
        job = self.start("0 * * * *", "retries 1\nretry-delay 2m\n")
        self.clock.pass_time(60 * MINUTE)
        self.jobd.crash()
        self.assertEqual(self.outcomes(job), [None])
        self.clock.pass_time(3 * MINUTE)
        self.assertEqual(self.outcomes(job), ["ok"])


class RefusalTest(CallablesCase):
    """What can't be called is refused when it is written, and when it is to run."""

    def test_unknown(self) -> None:
        """A name that nobody registered is refused, with those that there are."""
        job, table = self.create(), self.jobd.table
        for change in (table.set_command, table.put_draft):
            self.assert_refused(
                errno.EINVAL,
                "command: no callable 'nothing' is registered; known: other, work",
                change(job, "@call nothing", actor="me"),
            )
        for command in ("@call", "@call work now", "@call work\ntrue"):
            self.assert_refused(
                errno.EINVAL,
                "command: @call NAME is expected, and nothing else; known: other, work",
                table.set_command(job, command, actor="me"),
            )
        self.assertEqual(job.command, "@call work")

    def test_created(self) -> None:
        """So it is where the job is made."""
        made = self.jobd.table.create("new", "@daily", "@call nothing", owner=ME, group=ME, actor="me")
        self.failureResultOf(made, JobError)
        self.assertIsNone(self.jobd.table.find("new"))

    def test_drafts(self) -> None:
        """The beginning of a call may be written first; it is no call yet."""
        job, table = self.create(), self.jobd.table
        for text in ("", "@", "@call", "@call w", "@call work"):
            self.done(table.put_draft(job, text, actor="me"))
        self.failureResultOf(table.set_command(job, "@call w", actor="me"), JobError)

    def test_owner(self) -> None:
        """A job of somebody else can't call, nor can one that calls be given away."""
        table, job = self.jobd.table, self.create()
        sentence = f"command: @call is for jobs of {ME}, as whom jobd runs; this is glenda's"
        made = table.create("theirs", "@daily", "@call work", owner="glenda", group=ME, actor="me")
        self.assert_refused(errno.EPERM, sentence, made)
        given = table.set_access(job, actor="root", owner="glenda")
        self.assert_refused(errno.EPERM, sentence, given)
        theirs = self.done(table.create("theirs", "@daily", "true", owner="glenda", group=ME, actor="me"))
        for change in (table.put_draft, table.set_command):
            self.assert_refused(errno.EPERM, sentence, change(theirs, "@call work", actor="me"))
        self.assertEqual(self.calls, [])

    def test_owner_at_the_run(self) -> None:
        """Nor does a job of somebody else call what it came by in another way."""
        job = self.create()
        self.done(self.jobd.service.store.update_job(job.id, owner="glenda"))
        self.jobd.restart()
        self.run_by_hand(self.again(job))
        self.assertIn(f"not started: command: @call is for jobs of {ME}", self.log_of(job))
        self.assertEqual((self.outcomes(job), self.calls), (["failed"], []))

    def test_options(self) -> None:
        """What only a process can have is refused, whichever of both is written first."""
        table = self.jobd.table
        for option in ("dir /", "shell /bin/true", "env A=1", "umask 077", "nice 5", "limit cpu 1"):
            key = option.split()[0]
            job = self.create(name=f"calls-{key}")
            sentence = f"options: {key}: only a process has them, and @call work starts none"
            self.assert_refused(errno.EINVAL, sentence, table.set_options(job, option.encode(), actor="me"))
            runs = MemoryCase.create(self, options=option, name=f"runs-{key}")
            self.assert_refused(errno.EINVAL, sentence, table.set_command(runs, "@call work", actor="me"))

    def test_on_failure(self) -> None:
        """`on-failure` is a command."""
        self.assert_refused(
            errno.EINVAL,
            "option on-failure: a command is expected; @call is for cmd alone",
            self.jobd.table.set_options(self.create(), b"on-failure @call work", actor="me"),
        )

    def test_not_registered_any_more(self) -> None:
        """A job whose callable is gone fails, and its log says why."""
        job = self.start()
        self.jobd._more["callables"] = {"other": self.work}
        self.jobd.restart()
        self.clock.pass_time(MINUTE)
        self.assertEqual(self.outcomes(job), ["failed"])
        self.assertIn(
            "run 1 failed: not started: command: no callable 'work' is registered; known: other",
            self.log_of(job),
        )

    def test_nothing_registered(self) -> None:
        """Where nothing is registered the text is a command."""
        self.jobd._more["callables"] = {}
        self.jobd.restart()
        job = self.create(options="nice 5\non-failure @call x\n")
        self.run_by_hand(job)
        self.assertEqual((len(self.running), self.calls), (1, []))


class RegistryTest(SynchronousTestCase):
    """Names of callables."""

    def test_names(self) -> None:
        """A name is letters, digits and a few marks, and taken once."""
        callables = Callables("me")
        callables.register("re-index.2_x", lambda call: None)
        for name in ("", "two words", "-x", "x\n", "re-index.2_x"):
            with self.subTest(name):
                self.assertRaises(ValueError, callables.register, name, lambda call: None)
