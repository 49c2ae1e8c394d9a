"""What is read: fixed texts, files that grow, files that block, and the files of runs."""

from __future__ import annotations

import errno
import re
import sys
from collections.abc import Iterator

from twisted.internet.defer import CancelledError

from jobd.access import Peer
from jobd.jobs.store import JobRecord
from jobd.ninep import linux
from jobd.ninep import messages as m
from jobd.ninep.interfaces import Attach
from jobd.ninep.remote import RemoteFid
from jobd.ninep.stat import read_record
from tests.tree import SELF, TIME, TreeTest, in_each_dialect


@in_each_dialect
class FixedTextTest(TreeTest):
    """The text of an open file."""

    def setUp(self) -> None:
        super().setUp()
        self.make()

    def test_fixed_at_the_first_read(self) -> None:
        """An open file shows one text, from its first read at whatever offset until a read at offset 0."""
        fid = self.open("/jobs/hello/ctl")
        self.assertEqual(self.part(fid, 4), "ped\n")
        self.write("/jobs/hello/ctl", "start")
        self.assertEqual(self.part(fid, 4), "ped\n")
        self.assertEqual(self.part(fid, 0), "started\n")
        self.assertEqual(self.part(fid, 100), "")

    def test_opened_is_not_read(self) -> None:
        """A file that was opened before a change and read after it shows the change."""
        fid = self.open("/jobs/hello/ctl")
        self.write("/jobs/hello/ctl", "start")
        self.assertEqual(self.part(fid), "started\n")

    def test_stat_of_an_open_file(self) -> None:
        """stat of an open fid gives the length of its text, stat of another that of the text now."""
        fid = self.open("/jobs/hello/schedule")
        self.assertEqual(self.part(fid), "* * * * *\n")
        self.write("/jobs/hello/schedule", "0 12 * * 1-5")
        self.assertEqual(self.successResultOf(fid.stat()).length, len("* * * * *\n"))
        self.assertEqual(self.length("/jobs/hello/schedule"), len("0 12 * * 1-5\n"))
        self.part(fid)
        self.assertEqual(self.successResultOf(fid.stat()).length, len("0 12 * * 1-5\n"))

    def test_costly_lengths(self) -> None:
        """The length of a costly text is that of the last one made, by stat once a second at most."""
        made = []
        metrics = self.jobd.tree.metrics
        self.jobd.tree.metrics = lambda: made.append(1) or metrics()
        for _ in range(10):
            self.length("/metrics")
        self.assertEqual(len(made), 1)
        self.jobd.tree.metrics = lambda: made.append(1) or "short\n"
        self.assertNotEqual(self.length("/metrics"), 6)
        self.assertEqual(self.read("/metrics"), "short\n")
        self.assertEqual(self.length("/metrics"), 6)
        before = len(made)
        self.jobd.clock.pass_time(1.5)
        self.length("/metrics")
        self.assertEqual(len(made), before + 1)

    def test_metrics(self) -> None:
        """`/metrics` has a type for every sample, and numbers that are true."""
        text = self.read("/metrics")
        typed = set(re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE))
        for line in text.splitlines():
            if not line.startswith("#"):
                name = re.split(r"[ {]", line)[0]
                self.assertIn(re.sub(r"_(bucket|sum|count)$", "", name) if name not in typed else name, typed)
        self.assertIn('jobd_jobs{state="stopped"} 1\n', text)


@in_each_dialect
class GrowingTest(TreeTest):
    """Files that show what is appended while they are open."""

    def setUp(self) -> None:
        super().setUp()
        self.make()

    def run_printing(self, text: bytes) -> None:
        self.write("/jobs/hello/ctl", "run")
        process = self.jobd.spawner.running[0]
        process.print(text)
        process.exit()

    def test_log_grows(self) -> None:
        """An open log shows what comes, and stat of it follows; `tail -f` needs both."""
        fid = self.open("/jobs/hello/log")
        self.assertEqual(self.part(fid), "")
        self.run_printing(b"hello\n")
        line = self.part(fid)
        self.assertRegex(line, rf"\A{TIME}:hello\n\Z")
        self.assertEqual(self.successResultOf(fid.stat()).length, len(line))
        self.run_printing(b"again\n")
        self.assertRegex(self.part(fid, len(line)), rf"\A{TIME}:again\n\Z")

    def test_log_is_not_shifted(self) -> None:
        """Trimming an old log shifts no reader: its bytes stay where they were, and its length only grows."""
        self.write("/jobs/hello/options", "keep-log 8K")
        self.run_printing(b"first line\n")
        fid = self.open("/jobs/hello/log")
        first = self.part(fid)
        position, seen = len(first), first
        for number in range(12):
            self.run_printing(b"%04d" % number * 500 + b"\n")
            before = self.successResultOf(fid.stat()).length
            while part := self.part(fid, position):
                seen += part
                position += len(part)
            self.assertGreater(position, before - 1)
        self.assertEqual(self.successResultOf(fid.stat()).length, position)
        self.assertEqual(re.findall(r":(\d{4})", seen), [f"{number:04d}" for number in range(12)])
        self.assertLess(self.length("/jobs/hello/log"), position)

    def test_history_grows(self) -> None:
        """An open history shows the runs that end, each once, in the order in which they end."""
        self.write("/jobs/hello/options", "overlap allow 3")
        fid = self.open("/jobs/hello/history")
        self.assertEqual(self.part(fid), "")
        for _ in range(3):
            self.write("/jobs/hello/ctl", "run")
        processes = self.jobd.spawner.running
        position, seen = 0, []
        for index in (1, 0, 2):
            processes[index].exit()
            length = self.successResultOf(fid.stat()).length
            line = self.part(fid, position)
            position += len(line)
            self.assertEqual(length, position)
            self.assertEqual(line.count("\n"), 1)
            seen.append(line)
            self.jobd.clock.pass_time(1)
        self.assertEqual([line.split()[0] for line in seen], ["run=2", "run=1", "run=3"])
        self.assertEqual(self.read("/jobs/hello/history"), "".join(seen))
        self.assertEqual(self.part(fid, position), "")

    def test_history_is_not_shifted(self) -> None:
        """Runs that are kept no more stay in the history of whoever has it open."""
        self.write("/jobs/hello/options", "keep-runs 2")
        self.run_printing(b"")
        fid = self.open("/jobs/hello/history")
        first = self.part(fid)
        self.run_printing(b"")
        self.assertTrue(self.part(fid, len(first)).startswith("run=2 "))
        for _ in range(4):
            self.run_printing(b"")
        rest = self.part(fid, len(first))
        self.assertEqual(re.findall(r"^run=(\d)", first + rest, re.MULTILINE)[0], "1")
        self.assertEqual(re.findall(r"^run=(\d)", self.read("/jobs/hello/history"), re.MULTILINE), ["5", "6"])

    def test_events(self) -> None:
        """`/events` has a line for each start, end, creation, change and removal, and who asked for it."""
        fid = self.open("/events")
        begin = self.part(fid)
        self.write("/jobs/hello/cmd", "echo x")
        self.write("/jobs/hello/ctl", "start")
        self.run_printing(b"x\n")
        self.write("/jobs/hello/ctl", "stop")
        self.successResultOf(self.rename("/jobs/hello", "other"))
        self.successResultOf(self.client.remove("/jobs/other"))
        self.jobd.clock.pass_time(0)
        lines = (begin + self.part(fid, len(begin))).splitlines()
        kinds = [re.sub(f"^{TIME}:", "", line).split()[0] for line in lines]
        self.assertEqual(
            kinds,
            ["created", "command", "started", "run", "start", "end", "stopped", "renamed", "removed"],
        )
        self.assertIn("job=hello", lines[1])
        self.assertIn("test'", lines[1])

    def test_output(self) -> None:
        """A run's output shows what it printed, as it comes."""
        self.write("/jobs/hello/ctl", "run")
        process = self.jobd.spawner.running[0]
        fid = self.open("/jobs/hello/runs/1/output")
        self.assertEqual(self.part(fid), "")
        process.print(b"half a")
        process.exit(3)
        self.assertEqual(self.part(fid), "half a")
        self.assertEqual(self.successResultOf(fid.stat()).length, 6)
        self.assertEqual(self.read("/jobs/hello/runs/1/output"), "half a")


@in_each_dialect
class RunFilesTest(TreeTest):
    """The files of a run, and what a job tells of its runs."""

    def setUp(self) -> None:
        super().setUp()
        self.make()
        self.write("/jobs/hello/ctl", "run")
        self.process = self.jobd.spawner.running[0]

    def test_wait_blocks(self) -> None:
        """`wait` gives the history line when the run has ended, and for ever after."""
        fid = self.open("/jobs/hello/runs/1/wait")
        waiting = fid.read(0)
        self.assertNoResult(waiting)
        self.assertEqual(self.length("/jobs/hello/runs/1/wait"), 0)
        self.jobd.clock.pass_time(5)
        self.process.exit(3)
        line = self.successResultOf(waiting).decode()
        self.assertRegex(line, r"\Arun=1 scheduled=none started=\S+ ended=\S+ exit=3 outcome=failed .*\n\Z")
        self.assertEqual(self.part(fid, len(line)), "")
        self.assertEqual(self.read("/jobs/hello/runs/1/wait"), line)
        self.assertEqual(self.read("/jobs/hello/history"), line)
        self.jobd.restart()
        self.client = self.connect()
        self.assertEqual(self.read("/jobs/hello/runs/1/wait"), line)

    def test_wait_is_flushed(self) -> None:
        """A Tflush ends a read that blocks, and the others that wait still get their answer."""
        fid, other = self.open("/jobs/hello/runs/1/wait"), self.open("/jobs/hello/runs/1/wait")
        flushed, waiting = fid.read(0), other.read(0)
        flushed.cancel()
        self.failureResultOf(flushed, CancelledError)
        self.process.exit()
        self.assertIn(b"outcome=ok", self.successResultOf(waiting))
        self.assertIn("outcome=ok", self.part(fid))

    def test_wait_for_what_was_not_recorded(self) -> None:
        """While the disk takes no record of the end, `wait` is refused; it is written when that can be."""
        waiting = self.open("/jobs/hello/runs/1/wait").read(0)
        self.jobd.disk.refuse = lambda _change: True
        self.process.exit()
        self.refused(errno.EIO, waiting)
        self.jobd.disk.refuse = lambda _change: False
        self.jobd.clock.pass_time(1)
        self.assertIn("outcome=ok", self.read("/jobs/hello/runs/1/wait"))

    def test_a_lost_connection_waits_no_more(self) -> None:
        """A connection that ends while it waits leaves nothing behind."""
        client = self.connect()
        waiting = self.open("/jobs/hello/runs/1/wait", client=client).read(0)
        waiting.addErrback(lambda _: None)
        client.disconnect()
        self.process.exit()
        self.assertIn("outcome=ok", self.read("/jobs/hello/history"))

    def test_status(self) -> None:
        """A run's `status` tells that it runs, then how it ended."""
        self.assertRegex(self.read("/jobs/hello/runs/1/status"), r"\Astate=running\npid=\d+\nrun=1\n")
        self.process.die(9)
        text = self.read("/jobs/hello/runs/1/status")
        self.assertTrue(text.startswith("state=ended\nrun=1\n"))
        self.assertIn("\nsignal=SIGKILL\n", text)

    def test_environment(self) -> None:
        """A run's `env` is what it was started with."""
        lines = self.read("/jobs/hello/runs/1/env").splitlines()
        self.assertEqual(lines[:3], ["argv0=/bin/sh", "argv1=-c", "argv2='echo hello world'"])
        self.assertTrue(lines[3].startswith("directory="))
        names = {line.partition("=")[0] for line in lines[4:]}
        self.assertGreaterEqual(names, {"HOME", "PATH", "JOBD_JOB", "JOBD_RUN", "JOBD_RUN_ID"})

    def test_status_of_the_job(self) -> None:
        """A job's `status` has its state and its last run, a line each."""

        def status() -> dict[str, str]:
            return dict(line.split("=", 1) for line in self.read("/jobs/hello/status").splitlines())

        self.assertEqual(
            status(),
            {
                "state": "stopped",
                "schedule": "'* * * * *'",
                "running": "1",
                "queued": "0",
                "runs": "1",
                "failures": "0",
            },
        )
        self.jobd.clock.pass_time(2.5)
        self.process.exit(3)
        self.write("/jobs/hello/ctl", "start")
        self.assertEqual(
            status(),
            {
                "state": "started",
                "schedule": "'* * * * *'",
                "next": "2026-01-01T00:01:00Z",
                "running": "0",
                "queued": "0",
                "runs": "1",
                "failures": "1",
                "last-run": "1",
                "last-outcome": "failed",
                "last-exit": "3",
                "last-start": "2026-01-01T00:00:00Z",
                "last-duration": "2.500s",
            },
        )

    def test_listing_a_job(self) -> None:
        """`ls -l` of a job's directory asks the database nothing once the job was looked at."""

        def listing() -> dict[str, tuple[int, int, float]]:
            names = self.names("/jobs/hello")
            stats = {name: self.successResultOf(self.client.stat(f"/jobs/hello/{name}")) for name in names}
            return {name: (stat.length, stat.qid.version, stat.mtime) for name, stat in stats.items()}

        self.process.exit(1)
        self.jobd.crash()
        self.client = self.connect()
        before = listing()
        asked: list[str] = []
        self.jobd.service.store._reader.set_trace_callback(asked.append)
        self.jobd.clock.pass_time(5)
        self.assertEqual(listing(), before)
        self.assertEqual(asked, [])
        self.write("/jobs/hello/ctl", "run")
        self.jobd.spawner.running[0].exit()
        after = listing()
        self.assertIn("last-run=2\n", self.read("/jobs/hello/status"))
        self.assertEqual(after["history"][0], len(self.read("/jobs/hello/history")))
        self.assertGreater(after["history"][0], before["history"][0])
        self.assertGreater(after["history"][1:], before["history"][1:])

    def test_runs_that_are_kept_no_more(self) -> None:
        """A file of a run that is not kept any more is gone: ENOENT."""
        self.process.exit()
        fid = self.open("/jobs/hello/runs/1/status")
        directory = self.successResultOf(self.client.walk("/jobs/hello/runs/1"))
        self.write("/jobs/hello/options", "keep-runs 1")
        self.write("/jobs/hello/ctl", "run")
        self.jobd.spawner.running[0].exit()
        self.assertEqual(self.names("/jobs/hello/runs"), ["2"])
        self.refused(errno.ENOENT, fid.read(0))
        self.refused(errno.ENOENT, directory.stat())
        self.refused(errno.ENOENT, self.client.walk("/jobs/hello/runs/1"))

    def test_many_runs_are_listed(self) -> None:
        """`runs` lists more than are taken from the store at a time."""
        self.process.exit()
        self.write("/jobs/hello/options", "keep-runs 200")
        for _ in range(149):
            self.write("/jobs/hello/ctl", "run")
            self.jobd.spawner.running[0].exit()
        self.assertEqual(self.names("/jobs/hello/runs"), [str(number) for number in range(1, 151)])


@in_each_dialect
class ManyJobsTest(TreeTest):
    """Directories with much in them."""

    def test_listing_while_it_changes(self) -> None:
        """A listing that is read piece by piece has each job that was there all along exactly once."""
        for number in range(60):
            self.make(f"job{number}")
        fid = self.open("/jobs", client=self.connect(msize=512))
        names: list[str] = []
        for count, piece in enumerate(self.pieces(fid)):
            names += piece
            if count == 2:
                for number in (0, 1, 30, 59):
                    self.successResultOf(self.client.remove(f"/jobs/job{number}"))
                for number in range(60, 64):
                    self.make(f"job{number}")
        stayed = [f"job{number}" for number in range(60) if number not in (0, 1, 30, 59)]
        self.assertEqual([name for name in names if name in stayed], stayed)
        self.assertEqual(len(names), len(set(names)))
        self.assertIn("job63", names)

    def pieces(self, fid: RemoteFid) -> Iterator[list[str]]:
        """The names that each message brings."""
        offset = 0
        while True:
            if self.version == "9P2000.L":
                reply = self.successResultOf(fid.session.request(m.Treaddir(fid.number, offset, 488)))
                entries = list(linux.read_dirents(reply.data))
                piece = [name for _, _, _, name in entries]
                offset = entries[-1][1] if entries else offset
            else:
                data = self.successResultOf(fid.read(offset))
                piece, position = [], 0
                while position < len(data):
                    stat, position = read_record(data, position, len(data), self.version == "9P2000.u")
                    piece.append(stat.name)
                offset += len(data)
            if not piece:
                return
            yield piece

    def test_the_number_of_jobs_costs_nothing(self) -> None:
        """Walk and stat touch as many nodes and jobs with 5,000 jobs as with 5."""
        counts = []
        for count in (5, 5000):
            self.load_until(count)
            # The least of some, since now and then a cache is made anew.
            counts.append(min(self.calls_of_a_few_requests() for _ in range(4)))
        self.assertEqual(counts[0], counts[1])

    def load_until(self, count: int) -> None:
        """Have COUNT jobs, as a start of the daemon has them from the store."""
        for number in range(len(self.jobd.table), count):
            record = JobRecord(number + 1, f"job{number}", "", SELF.name, "root", 0o711, "@daily", "true")
            self.jobd.table.load(record)

    def calls_of_a_few_requests(self) -> int:
        """How many functions of Python are called for them."""
        calls = 0

        def count(_frame: object, event: str, _argument: object) -> None:
            nonlocal calls
            calls += event == "call"

        sys.setprofile(count)
        try:
            for path in ("/", "/jobs", "/jobs/job3", "/jobs/job3/cmd", "/clone"):
                self.client.stat(path)
        finally:
            sys.setprofile(None)
        return calls


class NodeTest(TreeTest):
    """What the nodes say of themselves."""

    def test_same_stat(self) -> None:
        """A node hands out one stat as long as nothing changes, so that it is packed once."""
        self.make()
        root = self.jobd.tree.attach(Attach(Peer("test", SELF), "", None, ""))
        node = root.walk("jobs").walk("hello").walk("ctl")
        self.assertIs(node.stat(), node.stat())
        before = node.stat()
        self.write("/jobs/hello/ctl", "start")
        self.assertIsNot(node.stat(), before)
