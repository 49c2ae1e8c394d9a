"""The store: what it keeps, what it refuses, and when it answers."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from errno import EBUSY, EEXIST, EINVAL, ENOENT, ENOTDIR
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    rule,
    run_state_machine_as_test,
)
from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import SynchronousTestCase, TestCase

from jobd.jobs import writer
from jobd.jobs.store import JobRecord, RunRecord, Store, StoreError


def job(id: int, name: str = "", **columns: Any) -> JobRecord:
    """A job with a definition."""
    name = name or f"job{id}"
    record = JobRecord(id, name, name, "glenda", "users", 0o711, "0 4 * * *", "echo hello")
    return record._replace(**columns)


class Records(SynchronousTestCase):
    """What goes in comes out."""

    def setUp(self) -> None:
        self.store = Store.memory()

    def refused(self, change: Deferred[None]) -> int:
        return self.failureResultOf(change, StoreError).value.errno

    def test_job(self) -> None:
        """A job comes back as it was created, the started state as a bool."""
        record = job(self.store.next_job_id(), started=True, watermark=1700000000, last_success=5)
        self.successResultOf(self.store.create_job(record))
        (loaded,) = self.store.load_jobs()
        self.assertEqual(loaded, record)
        self.assertIs(loaded.started, True)

    @settings(deadline=None, max_examples=50)
    @given(st.binary(max_size=40), st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
    def test_any_text(self, command: bytes, options: str) -> None:
        """Bytes that are no UTF-8, NUL and every character come back from command, options and detail."""
        store = Store.memory()
        text = command.decode("utf-8", "surrogateescape")
        record = job(store.next_job_id(), command=text, options=options)
        self.successResultOf(store.create_job(record))
        self.successResultOf(store.begin_run(RunRecord(record.id, 1, detail=text, argv=options)))
        self.successResultOf(store.put_draft(record.id, text))
        self.assertEqual(list(store.load_jobs()), [record])
        self.assertEqual(store.drafts(), {record.id: text})
        run = store.run(record.id, 1)
        assert run is not None
        self.assertEqual((run.detail, run.argv), (text, options))

    def test_no_bytes_behind_a_surrogate(self) -> None:
        """Text with a surrogate that stands for no byte is refused through the Deferred."""
        self.assertEqual(self.refused(self.store.create_job(job(1, command="\ud800"))), EINVAL)

    def test_jobs_share_texts(self) -> None:
        """Jobs of one owner are loaded with one string for the owner."""
        for _ in range(2):
            self.store.create_job(job(self.store.next_job_id(), owner="gle" + "nda"))
        first, second = self.store.load_jobs()
        self.assertIs(first.owner, second.owner)

    def test_name_taken(self) -> None:
        """A name that is taken is refused with EEXIST, at creation and at a change."""
        self.store.create_job(job(1, "a"))
        self.store.create_job(job(2, "b"))
        self.assertEqual(self.refused(self.store.create_job(job(3, "a"))), EEXIST)
        self.assertEqual(self.refused(self.store.update_job(2, name="a", command="lost")), EEXIST)
        self.assertEqual(
            [(each.name, each.command) for each in self.store.load_jobs()],
            [("a", "echo hello"), ("b", "echo hello")],
        )

    def test_nothing_there(self) -> None:
        """Changing, deleting or running what isn't there is refused with ENOENT."""
        self.store.create_job(job(1))
        for change in (
            self.store.update_job(7, command="x"),
            self.store.delete_job(7),
            self.store.begin_run(RunRecord(7, 1)),
            self.store.update_run(1, 1, exit=0),
            self.store.end_run(1, 1, keep_runs=5, outcome="ok"),
            self.store.put_draft(7, "x"),
            self.store.take_draft(1),
        ):
            self.assertEqual(self.refused(change), ENOENT)

    def test_unknown_column(self) -> None:
        """A column that is none is the caller's mistake, before anything is submitted."""
        self.assertRaises(TypeError, self.store.update_job, 1, **{"name = 'x' --": 1})
        self.assertRaises(TypeError, self.store.update_job, 1, id=2)
        self.assertRaises(TypeError, self.store.update_run, 1, 1, number=2)
        self.assertRaises(TypeError, self.store.end_run, 1, 1, keep_runs=1, cmd="x")

    def test_delete(self) -> None:
        """A job goes with its runs and its draft, and leaves those of others."""
        for id in (1, 2):
            self.store.create_job(job(id))
            self.store.begin_run(RunRecord(id, 1))
            self.store.put_draft(id, "x")
        self.successResultOf(self.store.delete_job(1))
        self.assertEqual([each.id for each in self.store.load_jobs()], [2])
        self.assertEqual((self.store.runs(1), len(self.store.runs(2))), ([], 1))
        self.assertEqual(self.store.drafts(), {2: "x"})

    def test_run(self) -> None:
        """A run is begun with its job's columns, filled in, and ended with both tables' columns."""
        self.store.create_job(job(1))
        begun = RunRecord(1, 1, scheduled=100, run_id="r")
        self.successResultOf(self.store.begin_run(begun, watermark=100, last_run=1, started=True))
        self.assertEqual(self.store.unfinished_runs(), [begun])
        self.successResultOf(self.store.update_run(1, 1, started=5, pid=10, argv="[]"))
        self.successResultOf(
            self.store.end_run(
                1, 1, keep_runs=10, outcome="ok", exit=0, cpu=0.25, started=6, failures=3, last_success=7
            )
        )
        self.assertEqual(self.store.unfinished_runs(), [])
        self.assertEqual(
            self.store.run(1, 1),
            begun._replace(started=6, pid=10, argv="[]", outcome="ok", exit=0, cpu=0.25),
        )
        (loaded,) = self.store.load_jobs()
        self.assertEqual(
            (loaded.watermark, loaded.last_run, loaded.failures, loaded.last_success), (100, 1, 3, 7)
        )
        self.assertIs(loaded.started, True)

    def test_together_or_not_at_all(self) -> None:
        """A run that can't be added leaves its job's columns as they were."""
        self.store.create_job(job(1))
        self.store.begin_run(RunRecord(1, 1), watermark=1)
        self.assertEqual(self.refused(self.store.begin_run(RunRecord(1, 1), watermark=2)), EEXIST)
        (loaded,) = self.store.load_jobs()
        self.assertEqual(loaded.watermark, 1)

    def test_listing(self) -> None:
        """Runs are listed by ascending number, from one on and as many as asked."""
        self.store.create_job(job(1))
        for number in (3, 1, 2, 4):
            self.store.begin_run(RunRecord(1, number))
        for arguments, expected in (((), [1, 2, 3, 4]), ((2,), [3, 4]), ((1, 2), [2, 3]), ((4,), [])):
            self.assertEqual([run.number for run in self.store.runs(1, *arguments)], expected)
        self.assertIsNone(self.store.run(1, 5))

    def test_trimming(self) -> None:
        """Of the ended runs the newest stay; one in progress stays however old it is."""
        self.store.create_job(job(1))
        self.store.begin_run(RunRecord(1, 1))
        for number in range(2, 8):
            self.store.begin_run(RunRecord(1, number))
            self.store.end_run(1, number, keep_runs=3, outcome="ok")
        self.assertEqual([run.number for run in self.store.runs(1)], [1, 5, 6, 7])
        self.store.end_run(1, 1, keep_runs=3, outcome="lost")
        self.assertEqual([run.number for run in self.store.runs(1)], [5, 6, 7])
        self.store.add_record(RunRecord(1, 8, outcome="skipped"), keep_runs=2, last_run=8)
        self.assertEqual([run.number for run in self.store.runs(1)], [7, 8])

    def test_instants_of_the_history(self) -> None:
        """An instant is in the history where a run was for it; one that was missed in a gap is not."""
        self.store.create_job(job(1))
        self.store.begin_run(RunRecord(1, 1, scheduled=100))
        self.store.add_record(
            RunRecord(1, 2, scheduled=200, outcome="missed", missed_to=300, missed_count=11), keep_runs=9
        )
        self.store.begin_run(RunRecord(1, 3))
        expected = {99: False, 100: True, 101: False, 200: False, 250: False, 300: False}
        self.assertEqual({each: self.store.has_instant(1, each) for each in expected}, expected)
        self.assertFalse(self.store.has_instant(2, 100))
        self.assertEqual((self.store.instants(1, 99), self.store.instants(1, 100)), ({100}, set()))

    def test_drafts(self) -> None:
        """A draft is replaced, taken as the command once, or forgotten."""
        self.store.create_job(job(1))
        self.store.put_draft(1, "first")
        self.store.put_draft(1, "second")
        self.assertEqual(self.store.drafts(), {1: "second"})
        self.successResultOf(self.store.take_draft(1, changed=5))
        (loaded,) = self.store.load_jobs()
        self.assertEqual((loaded.command, loaded.changed, self.store.drafts()), ("second", 5, {}))
        self.store.put_draft(1, "third")
        self.successResultOf(self.store.take_draft(1, command="fourth"))
        (loaded,) = self.store.load_jobs()
        self.assertEqual((loaded.command, self.store.drafts()), ("fourth", {}))
        self.store.put_draft(1, "fifth")
        self.successResultOf(self.store.drop_draft(1))
        self.assertEqual(self.store.drafts(), {})

    def test_meta(self) -> None:
        """A key has no value, then the last one it was given, several in one change."""
        self.assertIsNone(self.store.get_meta("paused"))
        self.store.set_meta("paused", "1")
        self.successResultOf(self.store.set_meta("paused", "0", resumed="77"))
        self.assertEqual((self.store.get_meta("paused"), self.store.get_meta("resumed")), ("0", "77"))


class InADirectory(SynchronousTestCase):
    """A store in a directory, which outlives its program."""

    def setUp(self) -> None:
        self.directory = self.mktemp()

    def open(self) -> Store:
        store = Store.open(self.directory)
        self.addCleanup(store.close)
        return store

    def refusal(self, directory: str) -> StoreError:
        return self.assertRaises(StoreError, Store.open, directory)

    def test_restart(self) -> None:
        """Jobs, runs, drafts and keys are there after a restart."""
        store = self.open()
        store.create_job(job(1))
        store.begin_run(RunRecord(1, 1, pid=5))
        store.put_draft(1, "x")
        store.set_meta("paused", "1")
        self.successResultOf(store.close())
        store = self.open()
        self.assertEqual(list(store.load_jobs()), [job(1)])
        self.assertEqual(store.unfinished_runs(), [RunRecord(1, 1, pid=5)])
        self.assertEqual((store.drafts(), store.get_meta("paused"), store.notices), ({1: "x"}, "1", []))

    def test_ids_are_never_reused(self) -> None:
        """The id of the newest job isn't given again after its deletion and a restart."""
        store = self.open()
        ids = [store.next_job_id(), store.next_job_id()]
        for id in ids:
            store.create_job(job(id))
            store.delete_job(id)
        self.successResultOf(store.close())
        self.assertGreater(self.open().next_job_id(), max(ids))

    def test_one_daemon(self) -> None:
        """A second daemon is refused with a sentence that names the first, until that one has closed."""
        store = Store.open(self.directory)
        error = self.refusal(self.directory)
        self.assertEqual(error.errno, EBUSY)
        self.assertIn(f"in use by another jobd (process {os.getpid()})", str(error))
        self.successResultOf(store.close())
        self.open()

    def test_private(self) -> None:
        """The directory that is made and every file in it are for the daemon's user alone."""
        store = self.open()
        store.create_job(job(1))
        self.assertEqual(stat.S_IMODE(os.stat(self.directory).st_mode), 0o700)
        names = set(os.listdir(self.directory))
        self.assertLessEqual({"jobd.db", "jobd.db-wal", "lock", "reserve"}, names)
        for name in names:
            self.assertEqual(stat.S_IMODE(os.stat(os.path.join(self.directory, name)).st_mode), 0o600, name)

    def test_unusable(self) -> None:
        """A directory that can't be made or used is refused with a sentence that names it."""
        file = self.mktemp()
        with open(file, "w"):
            pass
        for directory, number in (
            (os.path.join(file + "x", "y"), ENOENT),
            (file, ENOTDIR),
            ("/proc/jobd", ENOENT),
        ):
            error = self.refusal(directory)
            self.assertEqual(error.errno, number)
            self.assertIn(os.path.abspath(directory), str(error))

    def test_reserve(self) -> None:
        """A reserve of real blocks is held."""
        self.open()
        status = os.stat(os.path.join(self.directory, "reserve"))
        self.assertGreaterEqual(status.st_blocks * 512, 1 << 20)

    def test_strange_directory(self) -> None:
        """A directory whose name means something in a URI is a directory like any other."""
        self.directory = self.mktemp() + "?mode=memory#%41 é"
        store = self.open()
        store.create_job(job(1))
        self.assertEqual(len(list(store.load_jobs())), 1)


class Threaded(TestCase):
    """A store that commits in a thread."""

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.directory = self.mktemp()
        self.store = Store.open(self.directory, reactor)
        self.other = sqlite3.connect(os.path.join(self.directory, "jobd.db"), isolation_level=None)
        self.addCleanup(self.other.close)
        self.addCleanup(self.store.close)

    def names(self) -> list[str]:
        return [name for (name,) in self.other.execute("SELECT name FROM jobs ORDER BY id")]

    async def test_answered_means_committed(self) -> None:
        """A Deferred fires in the reactor's thread, and another connection then sees the change."""
        await self.store.create_job(job(1, "a"))
        self.assertEqual(self.names(), ["a"])
        self.assertEqual(threading.current_thread(), threading.main_thread())

    async def test_order(self) -> None:
        """Changes commit and answer in the order in which they were made."""
        answers: list[int] = []
        changes = [self.store.create_job(job(1, "a"))]
        changes += [self.store.update_job(1, command=str(n)) for n in range(50)]
        for number, change in enumerate(changes):
            change.addCallback(lambda _, number=number: answers.append(number))
        await self.store.flush()
        self.assertEqual(answers, list(range(51)))
        (loaded,) = self.store.load_jobs()
        self.assertEqual(loaded.command, "49")

    async def test_group_commit(self) -> None:
        """What gathers while a transaction is under way becomes one transaction."""
        self.other.execute("BEGIN IMMEDIATE")
        changes = [self.store.create_job(job(id)) for id in range(1, 101)]
        self.assertEqual(list(self.store.load_jobs()), [])
        self.other.execute("ROLLBACK")
        await gatherResults(changes)
        self.assertEqual(len(self.names()), 100)
        self.assertLessEqual(self.store.commits, 2)

    async def test_clock_set_back(self) -> None:
        """No commit waits for a timer, which would wait for an hour where the clock is set back by one."""
        from twisted.internet import reactor

        class NoTimers:
            def callFromThread(self, call: Any, *arguments: Any) -> None:
                reactor.callFromThread(call, *arguments)  # type: ignore[attr-defined]

        await self.store.close()
        self.store = Store.open(self.directory, NoTimers())
        await self.store.create_job(job(1, "a"))
        self.assertEqual(self.names(), ["a"])

    async def test_one_bad_change(self) -> None:
        """A change that can't be made fails alone; those around it are committed."""
        self.other.execute("BEGIN IMMEDIATE")
        changes = [self.store.create_job(job(id, f"job{id % 5}")) for id in range(1, 8)]
        self.other.execute("ROLLBACK")
        failed = []
        for id, change in enumerate(changes, 1):
            try:
                await change
            except StoreError as error:
                failed.append((id, error.errno))
        self.assertEqual(failed, [(6, EEXIST), (7, EEXIST)])
        self.assertEqual(len(self.names()), 5)

    async def test_close(self) -> None:
        """Closing commits what was submitted before, and answers it first."""
        answers: list[str] = []
        self.store.create_job(job(1, "a")).addCallback(lambda _: answers.append("created"))
        await self.store.close().addCallback(lambda _: answers.append("closed"))
        self.assertEqual((answers, self.names()), (["created", "closed"], ["a"]))
        self.store = Store.open(self.directory)
        self.assertEqual(len(list(self.store.load_jobs())), 1)


class NoReactor:
    """Has no thread, and calls nothing."""

    def callFromThread(self, call: Any, *arguments: Any) -> None:
        pass


class FullDisk(SynchronousTestCase):
    """A disk that is full while nothing is to be done."""

    def test_looks_for_room(self) -> None:
        """The thread looks for room now and then, whether or not there are changes."""
        self.patch(writer, "RESTORE_EVERY", 0.01)
        looked = threading.Event()

        class Transactions:
            full = True

            def restore(self) -> None:
                looked.set()

            def close(self) -> None:
                pass

        thread = writer.ThreadWriter(cast(Any, Transactions()), NoReactor())
        self.addCleanup(thread.close)
        self.assertTrue(looked.wait(30))


class Model(RuleBasedStateMachine):
    """The store beside plain dictionaries, with restarts in between."""

    jobs = Bundle("jobs")
    directory = ""

    def __init__(self) -> None:
        super().__init__()
        self.store = Store.open(self.directory)
        for record in self.store.load_jobs():
            self.store.delete_job(record.id)
        self.model: dict[int, JobRecord] = {}
        self.history: dict[int, dict[int, RunRecord]] = {}
        self.newest = 0

    def teardown(self) -> None:
        self.store.close()

    @rule(target=jobs, name=st.sampled_from("abcdefgh"), command=st.text(max_size=5))
    def create(self, name: str, command: str) -> int:
        id = self.store.next_job_id()
        assert id > self.newest
        record = job(id, name, command=command)
        taken = any(each.name == name for each in self.model.values())
        assert self.done(self.store.create_job(record)) is not taken
        if not taken:
            self.model[id], self.history[id], self.newest = record, {}, id
        return id

    @rule(id=jobs, name=st.sampled_from("abcdefgh"), started=st.booleans())
    def change(self, id: int, name: str, started: bool) -> None:
        taken = any(each.name == name and each.id != id for each in self.model.values())
        good = id in self.model and not taken
        assert self.done(self.store.update_job(id, name=name, started=started)) is good
        if good:
            self.model[id] = self.model[id]._replace(name=name, started=started)

    @rule(id=consumes(jobs))
    def delete(self, id: int) -> None:
        assert self.done(self.store.delete_job(id)) is (id in self.model)
        self.model.pop(id, None)
        self.history.pop(id, None)

    @rule(id=jobs, scheduled=st.integers(0, 9))
    def begin(self, id: int, scheduled: int) -> None:
        number = self.model[id].last_run + 1 if id in self.model else 1
        run = RunRecord(id, number, scheduled)
        assert self.done(self.store.begin_run(run, last_run=number)) is (id in self.model)
        if id in self.model:
            self.model[id] = self.model[id]._replace(last_run=number)
            self.history[id][number] = run

    @rule(id=jobs, keep=st.integers(1, 3), which=st.integers(0, 3))
    def end(self, id: int, keep: int, which: int) -> None:
        runs = self.history.get(id, {})
        number = sorted(runs)[which] if which < len(runs) else 99
        done = self.done(self.store.end_run(id, number, keep_runs=keep, outcome="ok", failures=which))
        assert done is (number in runs)
        if done:
            self.model[id] = self.model[id]._replace(failures=which)
            runs[number] = runs[number]._replace(outcome="ok")
            for old in [each for each in runs if each <= max(runs) - keep and runs[each].outcome]:
                del runs[old]

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.store = Store.open(self.directory)

    @invariant()
    def same(self) -> None:
        assert list(self.store.load_jobs()) == [self.model[id] for id in sorted(self.model)]
        for id, runs in self.history.items():
            assert self.store.runs(id) == [runs[number] for number in sorted(runs)]
        unfinished = [
            run
            for id in sorted(self.history)
            for _, run in sorted(self.history[id].items())
            if not run.outcome
        ]
        assert self.store.unfinished_runs() == unfinished

    def done(self, change: Deferred[None]) -> bool:
        results: list[bool] = []
        change.addCallbacks(lambda _: results.append(True), lambda _: results.append(False))
        return results[0]


class Laws(SynchronousTestCase):
    """Whatever is done, in whatever order."""

    def test_model(self) -> None:
        """The store equals dictionaries after any changes and restarts."""
        Model.directory = self.mktemp()
        run_state_machine_as_test(
            Model, settings=settings(deadline=None, max_examples=60, stateful_step_count=25)
        )
