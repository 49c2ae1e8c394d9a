"""What runs print, and what is said of them: log, output, events."""

from __future__ import annotations

import os

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobd.jobs.journal import TRIM_EVERY
from jobd.jobs.metrics import metrics_text
from jobd.jobs.output import LONG_LINE, LineStamper
from jobd.jobs.texts import stamp
from tests.jobs.memory import MINUTE, MemoryCase

NOW = 1_767_225_600_000_000_000


class StamperTest(SynchronousTestCase):
    """`LineStamper`."""

    @settings(deadline=None)
    @given(st.lists(st.binary(max_size=30), max_size=20))
    def test_lines(self, pieces: list[bytes]) -> None:
        """However output is cut into pieces, each of its lines is one line of the log, byte for byte."""
        stamper, time = LineStamper(), stamp(NOW)
        log = b"".join(stamper.feed(piece, NOW) for piece in pieces) + stamper.end(NOW)
        printed = b"".join(pieces)
        lines = printed.split(b"\n")
        if not lines[-1]:
            lines.pop()
        self.assertEqual(log, b"".join(time + line + b"\n" for line in lines))

    def test_time_of_a_line(self) -> None:
        """A line has the time at which it was complete."""
        stamper = LineStamper()
        self.assertEqual(stamper.feed(b"half", NOW), b"")
        self.assertEqual(stamper.feed(b" and half\n", NOW + 5), stamp(NOW + 5) + b"half and half\n")

    def test_endless_line(self) -> None:
        """A line without end is not kept in memory: it comes in pieces."""
        stamper = LineStamper()
        lines = b"".join(stamper.feed(b"x" * 1000, NOW) for _ in range(100))
        self.assertLessEqual(len(stamper.end(NOW)), LONG_LINE + 1000)
        self.assertGreater(lines.count(b"x"), 80_000)


class EventsTest(MemoryCase):
    """`/events`."""

    def test_written_together(self) -> None:
        """The events of a turn of the reactor are written at its end, when somebody looks, or at a stop."""
        journal = self.jobd.service.journal
        path = os.path.join(self.jobd.directory, "output", "events")

        def written() -> int:
            return sum(
                os.path.getsize(os.path.join(path, name)) for name in self.jobd.service._logs.names("events")
            )

        self.create(name="one")
        self.create(name="two")
        self.assertEqual(written(), 0)
        self.clock.pass_time(0)
        after = written()
        self.assertEqual(self.events().count("created"), 2)
        self.create(name="three")
        self.assertEqual(written(), after)
        self.assertEqual(journal.events.end, written())
        self.assertEqual(self.events().count("created"), 3)
        self.create(name="four")
        self.jobd.stop()
        self.assertGreater(written(), journal.events.end // 4 * 3)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class OutputTest(MemoryCase):
    """The output of a run."""

    def run_and_print(self, *pieces: bytes, options: str = "", name: str = "job") -> tuple[str, bytes]:
        """The log and the output of a run that prints PIECES."""
        job = self.create(options=options, name=name)
        number = self.run_by_hand(job)
        [process] = self.running
        for piece in pieces:
            process.print(piece)
            self.clock.pass_time(1)
        process.exit()
        reader, output = self.jobd.service.journal.output_of(job, number).reader(), b""
        while piece := reader.read(len(output), 1 << 20):
            output += piece
        reader.close()
        return self.log_of(job), output

    def test_order_and_bytes(self) -> None:
        """Output is there in its order, a last line without newline too, and any bytes are kept."""
        log, output = self.run_and_print(b"one\ntw", b"o\n\xff\xfe\n", b"last")
        self.assertEqual(output, b"one\ntwo\n\xff\xfe\nlast")
        self.assertEqual(log, "one\ntwo\n\ufffd\ufffd\nlast")

    def test_as_it_comes(self) -> None:
        """It is there while the run goes on."""
        job = self.create()
        self.run_by_hand(job)
        self.running[0].print(b"early\n")
        self.clock.pass_time(1)
        self.assertEqual(self.log_of(job), "early")

    def test_max_output(self) -> None:
        """Of a long output the head and the tail are kept, and the bytes between are counted."""
        pieces = [b"%07d\n" % number * 1000 for number in range(40)]  # 8,000 bytes each
        _, output = self.run_and_print(*pieces, options="max-output 64K\n")
        printed = b"".join(pieces)
        head, _, rest = output.partition(b"\n... ")
        dropped, _, tail = rest.partition(b" bytes were dropped here ...\n")
        self.assertEqual(head, printed[: 32 << 10])
        self.assertTrue(printed.endswith(tail))
        self.assertEqual((32 << 10) + int(dropped) + len(tail), len(printed))
        self.assertLessEqual(len(tail), 48 << 10)

    def test_no_output_kept(self) -> None:
        """`max-output 0` keeps none of it."""
        log, output = self.run_and_print(b"hello\n", options="max-output 0\n")
        self.assertEqual((log, output), ("hello", b""))

    def test_max_output_reader(self) -> None:
        """Who reads while a run prints sees what comes, and no offset moves."""
        job = self.create(options="max-output 64K\n")
        self.run_by_hand(job)
        [process] = self.running
        process.print(b"a" * 30_000 + b"\n")
        self.clock.pass_time(1)
        reader = self.jobd.service.journal.output_of(job, 1).reader()
        self.assertEqual(reader.read(0, 5), b"aaaaa")
        process.print(b"b" * 30_000 + b"\n")
        self.clock.pass_time(1)
        text = b""
        while piece := reader.read(len(text), 4096):
            text += piece
        self.assertEqual(text, b"a" * 30_000 + b"\n" + b"b" * 30_000 + b"\n")
        reader.close()

    def test_keep_log(self) -> None:
        """The log is bounded by `keep-log`, from the moment it is set."""
        job = self.create(options="keep-log 1M\n")
        for _ in range(3):
            self.run_by_hand(job)
            for _ in range(4):
                self.running[0].print(b"x" * 49 + b"\n" * 1 + b"y" * 50_000 + b"\n")
                self.clock.pass_time(1)
            self.running[0].exit()
        log = self.jobd.service.journal.log_of(job)
        self.assertGreater(log.end - log.start, 500_000)
        self.done(self.jobd.table.set_options(job, b"keep-log 64K\n", actor="me"))
        self.assertLess(log.end - log.start, 200_000)

    def test_keep_runs(self) -> None:
        """Runs that the history no longer has leave no output behind, however runs and skips alternate."""
        job = self.start("* * * * *", "keep-runs 5\n")
        for _ in range(100):
            self.clock.pass_time(2 * MINUTE)
            self.running[0].print(b"hello\n")
            self.end_all()
        self.assertEqual(len(self.records(job)), 5)
        directory = os.path.join(self.jobd.directory, "output", str(job.id))
        outputs = {int(name.split(".")[0]) for name in os.listdir(directory) if name != "log"}
        self.assertLessEqual(len(outputs), 5 + TRIM_EVERY)
        self.assertGreater(min(outputs), job.last_run - 5 - TRIM_EVERY - 2)


class EventTest(MemoryCase):
    """`/events` and the lines of the log that are ours."""

    def test_events(self) -> None:
        """Every change, start, end, skip and miss has its line."""
        job = self.start("* * * * *", "catchup none\n")
        self.clock.pass_time(2 * MINUTE)
        self.running[0].exit(2)
        self.clock.step(10 * MINUTE)
        self.done(self.jobd.table.pause(actor="glenda"))
        self.done(self.jobd.table.stop(job, actor="glenda"))
        self.done(self.jobd.table.remove(job, actor="glenda"))
        lines = [line.split("UTC:")[1] for line in self.events().splitlines()]
        self.assertEqual(
            lines,
            [
                "created job=job by=me",
                "options job=job by=me",
                "started job=job by=me",
                "start job=job run=1 scheduled=2026-01-01T00:01:00Z",
                "skip job=job run=2 scheduled=2026-01-01T00:02:00Z detail='run 1 is in progress'",
                "end job=job run=1 outcome=failed detail='exit status 2'",
                "clock-step seconds=600.0",
                "miss job=job run=3 from=2026-01-01T00:03:00Z to=2026-01-01T00:12:00Z count=10",
                "paused by=glenda",
                "stopped job=job by=glenda",
                "removed job=job by=glenda",
            ],
        )

    def test_log(self) -> None:
        """The log has the control messages, the output, and a line for what did not go well."""
        job = self.start("* * * * *", "catchup none\n")
        self.clock.pass_time(2 * MINUTE)
        self.running[0].print(b"hello world\n")
        self.running[0].exit(2)
        self.clock.step(10 * MINUTE)
        self.done(self.jobd.table.stop(job, actor="me"))
        self.assertEqual(
            self.log_of(job).splitlines(),
            [
                "started",
                "run 2 was skipped: run 1 is in progress",
                "hello world",
                "run 1 failed: exit status 2",
                "missed from=2026-01-01T00:03:00Z to=2026-01-01T00:12:00Z count=10",
                "stopped",
            ],
        )

    def test_metrics(self) -> None:
        """The metrics count jobs, runs by outcome, what was missed, and how late and how long runs are."""
        self.start("* * * * *", "catchup none\n")
        self.create(name="other")
        self.clock.pass_time(2 * MINUTE)
        self.running[0].exit()
        self.clock.step(10 * MINUTE)
        service = self.jobd.service
        text = metrics_text(service.table, service.runner, service.history, service.store, service.journal)
        for line in (
            'jobd_jobs{state="started"} 1',
            'jobd_jobs{state="stopped"} 1',
            'jobd_runs_total{outcome="ok"} 1',
            'jobd_runs_total{outcome="skipped"} 1',
            "jobd_missed_instants_total 10",
            "jobd_runs_queued 0",
            "jobd_output_dropped_bytes_total 0",
            'jobd_fire_latency_seconds_bucket{le="0.01"} 1',
            "jobd_run_duration_seconds_sum 60.000000",
            'jobd_run_duration_seconds_bucket{le="10.0"} 0',
            'jobd_run_duration_seconds_bucket{le="+Inf"} 1',
            'jobd_job_last_success_timestamp_seconds{job="job"} 1767225720.000',
        ):
            self.assertIn(line + "\n", text)
