"""The table of jobs: every change is checked, committed, made, and answered, in this order."""

from __future__ import annotations

import errno
import os
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from jobd.jobs.errors import JobError
from jobd.jobs.job import Job
from jobd.jobs.options import show
from jobd.jobs.store import StoreError
from jobd.testing import BEGIN
from tests.jobs.memory import HOUR, ME, MINUTE, MemoryCase

State = tuple[Any, ...]


def state(job: Job) -> State:
    """What a client sees of JOB."""
    return (
        job.name,
        job.owner,
        job.group,
        job.mode,
        job.schedule_text,
        job.command,
        show(job.options),
        job.started,
        job.version,
    )


class ChangeTest(MemoryCase):
    """All changes of a job alike."""

    def changes(self, job: Job) -> dict[str, Any]:
        table = self.jobd.table
        return {
            "start": lambda: table.start(job, actor="me"),
            "schedule": lambda: table.set_schedule(job, "5 * * * *", actor="me"),
            "options": lambda: table.set_options(job, b"retries 3\n", actor="me"),
            "zone": lambda: table.set_options(job, b"timezone Asia/Kolkata\n", actor="me"),
            "command": lambda: table.set_command(job, "echo new", actor="me"),
            "access": lambda: table.set_access(job, actor="me", mode=0o755),
            "rename": lambda: table.rename(job, "new-name", actor="me"),
            "stop": lambda: table.stop(job, actor="me"),
        }

    def test_after_the_commit(self) -> None:
        """Each change is answered, and seen, when it is committed and not before; and it survives a crash."""
        job = self.create("0 * * * *")
        for what in self.changes(job):
            before, change = state(job), self.changes(job)[what]
            self.jobd.disk.slow = True
            answer = change()
            self.assertNoResult(answer)
            self.assertEqual(state(job), before, what)
            self.jobd.disk.slow = False
            self.jobd.disk.commit()
            self.done(answer)
            after = state(job)
            self.assertNotEqual(after, before, what)
            self.jobd.crash()
            job = self.again(job)
            self.assertEqual(state(job), after, what)

    def test_failing_commit(self) -> None:
        """Nothing of a change whose commit fails is seen, now or after a restart."""
        job = self.create("0 * * * *")
        events = self.events()
        for what, change in self.changes(job).items():
            if what == "stop":
                self.done(self.jobd.table.start(job, actor="me"))
                events = self.events()
            before = state(job), job.next, job.watermark
            self.jobd.disk.refuse = lambda _change: True
            self.assertEqual(self.failureResultOf(change(), StoreError).value.errno, errno.EIO)
            self.jobd.disk.refuse = lambda _change: False
            self.assertEqual((state(job), job.next, job.watermark), before, what)
        self.assertEqual(self.events(), events)
        self.jobd.crash()
        self.assertEqual(state(self.again(job)), before[0])

    def test_failing_removal(self) -> None:
        """A job whose removal fails is there still, and goes on."""
        job = self.start("* * * * *")
        self.jobd.disk.refuse = lambda _change: True
        self.failureResultOf(self.jobd.table.remove(job, actor="me"), StoreError)
        self.jobd.disk.refuse = lambda _change: False
        self.clock.pass_time(MINUTE)
        self.assertEqual((job.removed, len(self.running)), (False, 1))

    def test_nothing_changes(self) -> None:
        """A change that changes nothing is answered at once, needs no disk and leaves no line."""
        job = self.start("0 * * * *")
        table = self.jobd.table
        events, log, version = self.events(), self.log_of(job), job.version
        self.jobd.disk.slow = True
        for change in (
            table.start(job, actor="me"),
            table.set_schedule(job, "0 * * * *", actor="me"),
            table.set_options(job, show(job.options).encode(), actor="me"),
            table.set_access(job, actor="me", mode=job.mode, owner=ME),
            table.rename(job, job.name, actor="me"),
            table.resume(actor="me"),
        ):
            self.done(change)
        self.assertEqual((self.events(), self.log_of(job), job.version), (events, log, version))

    def test_in_order(self) -> None:
        """Changes of one job, asked for together, are made in their order, each on what the last left."""
        job = self.create("0 * * * *")
        table = self.jobd.table
        self.jobd.disk.slow = True
        order: list[str] = []
        changes = {
            "options": table.set_options(job, b"retries 3\n", actor="me"),
            "schedule": table.set_schedule(job, "5 * * * *", actor="me"),
            "more options": table.set_options(job, b"nice 5\ntimezone Asia/Kolkata\n", actor="me"),
            "start": table.start(job, actor="me"),
            "stop": table.stop(job, actor="me"),
            "again": table.start(job, actor="me"),
        }
        for what, change in changes.items():
            change.addCallback(lambda _, what=what: order.append(what))
        while len(order) < len(changes):
            self.jobd.disk.commit(1)
        self.assertEqual(order, list(changes))
        options = job.options
        self.assertEqual((options.retries, options.nice, options.timezone), (3, 5, "Asia/Kolkata"))
        self.assertEqual((job.schedule_text, job.started), ("5 * * * *", True))

    def test_different_jobs_share_commits(self) -> None:
        """Changes of different jobs do not wait for each other."""
        jobs = [self.create(name=f"job{number}") for number in range(5)]
        self.jobd.disk.slow = True
        for job in jobs:
            self.jobd.table.start(job, actor="me")
        self.assertEqual(len(self.jobd.disk._waiting), 5)

    def test_cancelled(self) -> None:
        """Who hangs up while a change is being committed does not undo it in memory alone."""
        job = self.create("0 * * * *")
        self.jobd.disk.slow = True
        answer = self.jobd.table.start(job, actor="me")
        answer.cancel()
        self.failureResultOf(answer, CancelledError)
        self.jobd.disk.commit()
        self.assertTrue(job.started)

    def test_refused(self) -> None:
        """What is wrong is refused with a sentence, and changes nothing."""
        job, table = self.create("0 * * * *"), self.jobd.table
        empty = self.done(table.create("empty", "", "", owner=ME, group=ME, actor="me"))
        table_of = (
            (
                lambda: table.create("job", "", "", owner=ME, group=ME, actor="me"),
                errno.EEXIST,
                "there is a job job",
            ),
            (
                lambda: table.create("a b", "", "", owner=ME, group=ME, actor="me"),
                errno.EINVAL,
                "job name 'a b'",
            ),
            (lambda: table.create("b", "x", "", owner=ME, group=ME, actor="me"), errno.EINVAL, "schedule: "),
            (lambda: table.rename(job, "empty", actor="me"), errno.EEXIST, "there is a job empty"),
            (lambda: table.rename(job, "..", actor="me"), errno.EINVAL, "job name '..'"),
            (lambda: table.set_schedule(job, "0 0 30 2 *", actor="me"), errno.EINVAL, "schedule: "),
            (
                lambda: table.set_schedule(job, "@at 2020-01-01T0000", actor="me"),
                errno.EINVAL,
                "no time from now",
            ),
            (lambda: table.set_options(job, b"nice x", actor="me"), errno.EINVAL, "option nice"),
            (lambda: table.set_command(job, "a\0b", actor="me"), errno.EINVAL, "NUL"),
            (lambda: table.start(empty, actor="me"), errno.EINVAL, "has no command yet"),
            (lambda: table.run(empty, actor="me"), errno.EINVAL, "has no command yet"),
        )
        before = state(job), len(table)
        for change, number, sentence in table_of:
            error = self.failureResultOf(change(), JobError).value
            self.assertIn(sentence, str(error))
            self.assertEqual((error.errno, "\n" in str(error)), (number, False))
        self.assertEqual((state(job), len(table)), before)


class NamesTest(MemoryCase):
    """Jobs come and go."""

    def ask(self, *changes: Deferred[Any]) -> list[Any]:
        """What CHANGES, all on their way, give in the end: a value, or the number of an error."""
        self.jobd.disk.slow = False
        self.jobd.disk.commit()
        results: list[Any] = []
        for change in changes:
            change.addErrback(lambda failure: failure.value.errno)
            change.addCallback(results.append)
        return results

    def new(self, name: str) -> Deferred[Job]:
        return self.jobd.table.create(name, "", "", owner=ME, group=ME, actor="me")

    def test_create_twice(self) -> None:
        """Of two that make the same job at once, one does."""
        self.jobd.disk.slow = True
        made, refused = self.ask(self.new("a"), self.new("a"))
        self.assertEqual((made.name, refused, len(self.jobd.table)), ("a", errno.EEXIST, 1))

    def test_create_and_rename(self) -> None:
        """A name that is being taken, by a new job or a rename, can't be taken by another."""
        job, other = self.create(name="a"), self.create(name="b")
        rename = self.jobd.table.rename
        self.jobd.disk.slow = True
        results = self.ask(rename(job, "x", actor="me"), rename(other, "x", actor="me"), self.new("x"))
        self.assertEqual(results, [None, errno.EEXIST, errno.EEXIST])
        self.jobd.disk.slow = True
        results = self.ask(self.new("y"), rename(job, "y", actor="me"))
        self.assertEqual((results[0].name, results[1], job.name), ("y", errno.EEXIST, "x"))

    def test_remove_and_others(self) -> None:
        """What comes after a removal finds the job gone; its name is free once that is on disk."""
        job = self.create(name="a")
        table = self.jobd.table
        self.jobd.disk.slow = True
        results = self.ask(
            table.remove(job, actor="me"),
            self.new("a"),
            table.start(job, actor="me"),
            table.run(job, actor="me"),
            table.remove(job, actor="me"),
        )
        self.assertEqual(results, [None, errno.EEXIST, errno.ENOENT, errno.ENOENT, errno.ENOENT])
        self.assertIsNone(table.find("a"))
        new = self.done(self.new("a"))
        self.assertNotEqual(new.id, job.id)

    def test_swap(self) -> None:
        """Two renames to each other's names do not wait for each other for ever."""
        job, other = self.create(name="a"), self.create(name="b")
        rename = self.jobd.table.rename
        self.jobd.disk.slow = True
        results = self.ask(rename(job, "b", actor="me"), rename(other, "a", actor="me"))
        self.assertEqual(results, [errno.EEXIST, errno.EEXIST])

    def test_busy(self) -> None:
        """A job with a run in progress can't be removed, whatever the run waits for."""
        waits = {
            "a process": ("", lambda: None),
            "its jitter": ("jitter 10h\n", lambda: None),
            "a retry": ("retries 1\nretry-delay 1h\n", lambda: self.running[-1].exit(1)),
        }
        for number, (what, (options, then)) in enumerate(waits.items()):
            job = self.start(f"{number + 1} * * * *", options, name=f"job{number}")
            self.clock.pass_time(MINUTE)
            then()
            error = self.failureResultOf(self.jobd.table.remove(job, actor="me"), JobError).value
            self.assertEqual(error.errno, errno.EBUSY, what)
            self.assertIn("run 1 is in progress", str(error))

    def test_removal_takes_all(self) -> None:
        """With a job go its log, outputs and history; what a late grandchild prints brings none back."""
        job = self.create()
        self.run_by_hand(job)
        [process] = self.running
        pipe = process.open_output()
        writer = os.open(f"/proc/self/fd/{pipe}", os.O_WRONLY)
        self.addCleanup(os.close, pipe)
        process.print(b"hello\n")
        process.exit()
        directory = os.path.join(self.jobd.directory, "output", str(job.id))
        self.assertTrue(os.listdir(directory))
        self.done(self.jobd.table.remove(job, actor="me"))
        os.write(writer, b"late\n")
        os.close(writer)
        self.clock.pass_time(1)
        self.assertFalse(os.path.exists(directory))
        self.assertEqual(self.records(job), [])

    def test_listing(self) -> None:
        """A listing shows what was there all along once, whatever comes and goes meanwhile."""
        jobs = [self.create(name=f"job{number}") for number in range(6)]
        seen = []
        for job in self.jobd.table.after(0):
            seen.append(job.name)
            if job is jobs[1]:
                self.done(self.jobd.table.remove(jobs[0], actor="me"))
                self.done(self.jobd.table.remove(jobs[2], actor="me"))
                self.done(self.new("late"))
        self.assertEqual(seen, ["job0", "job1", "job3", "job4", "job5", "late"])

    def test_ten_thousand(self) -> None:
        """Ten thousand jobs are made, started, found again after a restart, and removed."""
        jobs = [self.start("0 * * * *", name=f"job{number}") for number in range(10_000)]
        self.jobd.crash()
        self.assertEqual(len(self.jobd.table), len(jobs))
        self.assertEqual({job.next for job in self.jobd.table.after(0)}, {int(BEGIN) + HOUR})
        for job in list(self.jobd.table.after(0)):
            self.done(self.jobd.table.remove(job, actor="me"))
        self.assertEqual((len(self.jobd.table), list(self.jobd.table.after(0))), (0, []))
