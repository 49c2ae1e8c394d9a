"""Logs in segment files."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from contextlib import AbstractContextManager
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.trial.unittest import SynchronousTestCase

from jobd.jobs.segments import SMALLEST_SEGMENT, LogReader, SegmentLog, SegmentStore, dropped_note

KEEP = 8 * SMALLEST_SEGMENT


def lines(first: int, last: int) -> bytes:
    """Lines of 16 bytes, each with its number."""
    return b"".join(b"line %10d\n" % number for number in range(first, last))


class LogTestCase(SynchronousTestCase):
    """A test with a store of logs."""

    def setUp(self) -> None:
        self.root = os.path.abspath(self.mktemp())
        self.store = SegmentStore(self.root)
        self.addCleanup(lambda: self.store.close())
        self.log = self.store.log("7/log", KEEP)

    def again(self) -> SegmentLog:
        """The log as the next daemon finds it."""
        return SegmentStore(self.root).log("7/log", KEEP)

    def files(self, key: str = "7/log") -> list[str]:
        return sorted(os.listdir(os.path.join(self.root, key)))

    def text(self, log: SegmentLog | None = None) -> bytes:
        log = log or self.log
        return log.read(log.start, log.end - log.start)


class Appending(LogTestCase):
    """What was appended can be read."""

    def test_lazy(self) -> None:
        """A log that was never written has no file, not even after it was asked for its length."""
        self.assertEqual((self.log.start, self.log.end, self.log.mtime), (0, 0, None))
        self.assertEqual((self.log.read(0, 10), self.log.reader().read(0, 10)), (b"", b""))
        self.log.append(b"")
        self.assertFalse(os.path.exists(self.root))

    def test_opening_looks_at_nothing(self) -> None:
        """Opening a log makes no system call."""
        with patch("os.scandir", side_effect=AssertionError), patch("os.open", side_effect=AssertionError):
            self.store.log("8/log", KEEP)

    def test_read(self) -> None:
        """Any part of what is there is read, over the bounds of segments, and b"" at the end."""
        data = lines(0, 1500)
        for start in range(0, len(data), 333):
            self.log.append(data[start : start + 333])
        self.assertGreater(len(self.files()), 3)
        self.assertEqual(self.text(), data)
        for offset, count in (
            (0, 1),
            (4095, 5000),
            (10, 20),
            (len(data) - 3, 100),
            (len(data), 9),
            (len(data) + 5, 9),
            (5, 0),
        ):
            self.assertEqual(self.log.read(offset, count), data[offset : offset + count], (offset, count))

    def test_times(self) -> None:
        """The time of the last append is known, and found again by the next daemon."""
        self.log.append(b"x\n", when=5_000_000_000)
        self.assertEqual(self.log.mtime, 5_000_000_000)
        path = os.path.join(self.root, "7/log", self.files()[0])
        os.utime(path, ns=(7_000_000_000, 7_000_000_000))
        self.assertEqual(self.again().mtime, 7_000_000_000)

    def test_private(self) -> None:
        """Logs are for the daemon's user alone."""
        self.log.append(b"x")
        path = os.path.join(self.root, "7/log")
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o700)
        self.assertEqual(os.stat(os.path.join(path, self.files()[0])).st_mode & 0o777, 0o600)

    def test_open_files_are_few(self) -> None:
        """However many logs are written and read in turn, few files are open at a time."""
        self.store = SegmentStore(self.root, open_files=4)
        logs = [self.store.log(f"{number}/log", KEEP) for number in range(50)]
        before = len(os.listdir("/proc/self/fd"))
        for turn in range(3):
            for number, log in enumerate(logs):
                log.append(b"%d %d\n" % (number, turn))
        self.assertLessEqual(len(os.listdir("/proc/self/fd")), before + 4)
        for number, log in enumerate(logs):
            self.assertEqual(self.text(log), b"".join(b"%d %d\n" % (number, turn) for turn in range(3)))
        self.store.close()
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)

    def test_remove(self) -> None:
        """All logs below a key are removed, their files closed; those beside it stay."""
        others = [self.store.log(key, KEEP) for key in ("7/runs/1", "70/log")]
        for log in (self.log, *others):
            log.append(b"x")
        self.store.remove("7")
        self.assertEqual(os.listdir(self.root), ["70"])
        self.assertEqual(self.text(others[1]), b"x")
        self.assertFalse([fd for fd in os.listdir("/proc/self/fd") if self.deleted(fd)])
        self.store.remove("never/was")

    def test_names(self) -> None:
        """The logs below a key are listed; there are none below one that was never used."""
        for key in ("7/log", "7/12.head", "7/12.tail"):
            self.store.log(key, KEEP).append(b"x")
        self.assertEqual(sorted(self.store.names("7")), ["12.head", "12.tail", "log"])
        self.assertEqual(self.store.names("8"), [])

    def deleted(self, fd: str) -> bool:
        try:
            return os.readlink(f"/proc/self/fd/{fd}").startswith(self.root + "/7/")
        except OSError:
            return False


class Trimming(LogTestCase):
    """A log is bounded."""

    def test_bound(self) -> None:
        """A log keeps at most `keep` bytes and, once full, at least three quarters of them, from the
        beginning of a line."""
        for number in range(10_000):
            self.log.append(lines(number, number + 1))
            size = self.log.end - self.log.start
            self.assertLessEqual(size, KEEP)
            if self.log.start:
                self.assertGreaterEqual(size, KEEP * 3 // 4)
        self.assertEqual(self.log.end, 160_000)
        self.assertEqual(self.text(), lines(self.log.start // 16, 10_000))
        on_disk = sum(os.path.getsize(os.path.join(self.root, "7/log", name)) for name in self.files())
        self.assertEqual(on_disk, self.log.end - self.log.start)

    def test_whole_lines(self) -> None:
        """Lines that come in pieces, or many at a time, are not cut by a segment's end."""
        data = b"".join(b"%d %s\n" % (number, b"x" * (number * 7 % 90)) for number in range(4000))
        position = 0
        for size in (5, 17, 3000, 1, 20_000, 400) * 100:
            self.log.append(data[position : position + size])
            position += size
            if self.log.start:
                self.assertEqual(data[self.log.start - 1 : self.log.start], b"\n")
        self.assertGreater(self.log.start, 0)

    def test_no_lines(self) -> None:
        """Without any newline a log is bounded as well."""
        for _ in range(100):
            self.log.append(b"x" * 5000)
        self.assertLessEqual(self.log.end - self.log.start, KEEP)
        self.log.append(b"y" * (3 * KEEP))
        self.assertLessEqual(self.log.end - self.log.start, KEEP)
        self.assertEqual(self.log.end, 500_000 + 3 * KEEP)
        self.assertEqual(self.text(), b"y" * (self.log.end - self.log.start))

    def test_set_keep(self) -> None:
        """A smaller bound trims at once; the offsets stay."""
        self.log.append(lines(0, 2000))
        end = self.log.end
        self.log.set_keep(2 * SMALLEST_SEGMENT)
        self.assertLessEqual(self.log.end - self.log.start, 2 * SMALLEST_SEGMENT)
        self.assertEqual((self.log.end, self.text()), (end, lines(self.log.start // 16, 2000)))

    def test_trimmed_part(self) -> None:
        """Reading what was trimmed is an error, never something else's bytes."""
        self.log.append(lines(0, 10_000))
        error = self.assertRaises(OSError, self.log.read, 0, 10)
        self.assertEqual(error.errno, errno.ESTALE)


class Readers(LogTestCase):
    """A reader is never shifted."""

    def setUp(self) -> None:
        super().setUp()
        self.log.append(lines(0, 1800))
        self.reader = self.log.reader()
        self.data = lines(0, 20_000)

    def fds(self) -> int:
        return len([fd for fd in os.listdir("/proc/self/fd") if self.under_root(fd)])

    def under_root(self, fd: str) -> bool:
        try:
            return os.readlink(f"/proc/self/fd/{fd}").startswith(self.root)
        except OSError:
            return False

    def test_trimmed_while_reading(self) -> None:
        """What was there when the reader came is read after it was trimmed, and the new text after it."""
        self.log.append(lines(1800, 3500))
        self.assertGreater(self.log.start, 0)
        text = b""
        while piece := self.reader.read(len(text), 1000):
            text += piece
        self.assertEqual(text, self.data[: 3500 * 16])
        self.assertEqual(self.reader.length, len(text))

    def test_base(self) -> None:
        """A reader's offset 0 is the oldest byte when it came."""
        self.reader.close()
        self.log.append(lines(1800, 5000))
        reader, start = self.log.reader(), self.log.start
        self.log.append(lines(5000, 5600))
        self.assertGreater(self.log.start, start)
        self.assertEqual(reader.read(0, 160), self.data[start : start + 160])
        reader.close()

    def test_bound(self) -> None:
        """A reader that never closes holds no more than as much again; what it lost is an error."""
        for number in range(1800, 20_000):
            self.log.append(lines(number, number + 1))
        held = sum(segment.end - segment.start for segment in self.log._held)
        self.assertLessEqual(held, KEEP)
        self.assertGreater(held, KEEP // 2)
        self.assertLessEqual(self.fds(), 18)
        error = self.assertRaises(OSError, self.reader.read, 0, 10)
        self.assertEqual(error.errno, errno.ESTALE)
        offset = self.log.start - KEEP // 2
        self.assertEqual(self.reader.read(offset, 50), self.data[offset : offset + 50])

    def test_close(self) -> None:
        """The last reader that may want a trimmed segment lets go of it."""
        self.log.append(lines(1800, 2500))
        later = self.log.reader()
        self.log.append(lines(2500, 3500))
        self.store.sync()
        both = len(self.log._held)
        self.reader.close()
        self.assertLess(len(self.log._held), both)
        self.assertEqual(later.read(0, 16), self.data[later.start : later.start + 16])
        later.close()
        self.assertEqual(self.log._held, [])
        self.store.close()
        self.assertEqual(self.fds(), 0)


APPENDER = """
import sys
from jobd.jobs.segments import SegmentStore
log = SegmentStore(sys.argv[1]).log("7/log", 32768)
number = 0
while True:
    log.append(b"line %10d\\n" % number)
    number += 1
    print(number, flush=True)
"""


class Restarting(LogTestCase):
    """A log is found again."""

    def test_kill(self) -> None:
        """After kill -9 everything that was appended is there, at its offset, and the log goes on."""
        client = subprocess.Popen(
            [sys.executable, "-c", APPENDER, self.root],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        assert client.stdout is not None
        for _ in range(5000):
            client.stdout.readline()
        client.send_signal(signal.SIGKILL)
        answered = int((client.stdout.read().split() or [b"5000"])[-1])
        client.wait()
        client.stdout.close()
        self.assertIn(self.log.end // 16, (answered, answered + 1))
        self.assertEqual(self.text(), lines(self.log.start // 16, self.log.end // 16))
        first = self.log.end // 16
        self.log.append(lines(first, first + 3000))
        self.assertEqual(self.text(), lines(self.log.start // 16, first + 3000))

    def test_torn_line(self) -> None:
        """A torn last line is kept as it is, and the log goes on after it."""
        self.log.append(b"whole\nto")
        log = self.again()
        self.assertEqual(self.text(log), b"whole\nto")
        log.append(b"rn\n")
        self.assertEqual(self.text(log), b"whole\ntorn\n")

    def test_power_cut(self) -> None:
        """A segment that lost its end to a power cut has zeros there: later bytes keep their offsets."""
        self.log.append(lines(0, 1000))
        path = os.path.join(self.root, "7/log", self.files()[1])
        lost = 100
        os.truncate(path, os.path.getsize(path) - lost)
        end = int(self.files()[2])
        text = self.text(self.again())
        self.assertEqual(text, lines(0, 1000)[: end - lost] + bytes(lost) + lines(0, 1000)[end:])

    def test_other_names(self) -> None:
        """What is no segment in the directory is left alone."""
        self.log.append(b"x")
        with open(os.path.join(self.root, "7/log", "README"), "w") as file:
            file.write("hello")
        self.assertEqual(self.text(self.again()), b"x")


class Syncing(LogTestCase):
    """Output reaches the disk."""

    def synced(self) -> list[str]:
        """What `sync` flushes: paths below the root, or "all"."""
        found: list[str] = []

        def one(path: str) -> None:
            if not os.path.exists(path):
                raise FileNotFoundError
            found.append(os.path.relpath(path, self.root))

        with (
            patch("jobd.jobs.segments._sync", one),
            patch("jobd.jobs.segments.sync_file_system", lambda path: found.append("all")),
        ):
            self.store.sync()
        return sorted(found)

    def test_first_append(self) -> None:
        """The first append needs its file and all new directories flushed, the next one the file alone."""
        self.log.append(b"x")
        name = self.files()[0]
        self.assertEqual(self.synced(), [".", "..", "7", "7/log", f"7/log/{name}"])
        self.assertEqual(self.synced(), [])
        self.log.append(b"y")
        self.assertEqual(self.synced(), [f"7/log/{name}"])

    def test_removed(self) -> None:
        """What was removed since needs no flush, and is no error."""
        self.log.append(b"x")
        self.store.sync()
        self.log.append(b"y")
        self.store.remove("7")
        self.assertEqual(self.synced(), [])

    def test_many(self) -> None:
        """Many files are flushed by one call for the whole file system, which works."""
        for number in range(20):
            self.store.log(f"{number}/log", KEEP).append(b"x")
        self.assertEqual(self.synced(), ["all"])
        for number in range(20):
            self.store.log(f"{number}/log", KEEP).append(b"x")
        self.store.sync()

    def test_failure(self) -> None:
        """A flush that fails is raised, after the others were made."""
        self.log.append(b"x")
        self.store.log("8/log", KEEP).append(b"x")
        calls: list[int] = []

        def failing(fd: int) -> None:
            calls.append(fd)
            if len(calls) == 2:
                raise OSError(errno.EIO, "I/O error")

        with patch("os.fsync", failing):
            error = self.assertRaises(OSError, self.store.sync)
        self.assertEqual((error.errno, len(calls)), (errno.EIO, 8))


class NoRoom(LogTestCase):
    """A disk that takes nothing, or some."""

    def taking(self, room: int, number: int = errno.ENOSPC) -> AbstractContextManager[object]:
        """A disk with ROOM bytes left."""
        left, pwrite = [room], os.pwrite

        def limited(fd: int, data: bytes, offset: int) -> int:
            if not left[0]:
                raise OSError(number, os.strerror(number))
            written = pwrite(fd, bytes(data)[: left[0]], offset)
            left[0] -= written
            return written

        return patch("os.pwrite", limited)

    def test_dropped(self) -> None:
        """Output that the disk refuses is dropped and counted; the next that it takes follows a note."""
        self.log.append(b"before\n")
        with self.taking(0):
            self.log.append(b"lost\n")
            self.log.append(b"lost too\n")
        self.assertEqual((self.log.dropped, self.store.dropped, self.text()), (14, 14, b"before\n"))
        assert self.store.last_error is not None
        self.assertEqual(self.store.last_error.errno, errno.ENOSPC)
        self.log.append(b"after\n")
        self.log.append(b"last\n")
        self.assertEqual(self.text(), b"before\n" + dropped_note(14) + b"after\nlast\n")
        self.assertEqual(self.log.dropped, 14)

    def test_taken_in_part(self) -> None:
        """Of what the disk takes in part, the part stays, and the note begins a new line."""
        with self.taking(5):
            self.log.append(b"0123456789\n")
        self.assertEqual((self.text(), self.log.dropped), (b"01234", 6))
        self.log.append(b"after\n")
        self.assertEqual(self.text(), b"01234\n" + dropped_note(6) + b"after\n")

    def test_note_taken_in_part(self) -> None:
        """Where not even the note fits, it is written once more."""
        with self.taking(0):
            self.log.append(b"lost\n")
        with self.taking(10):
            self.log.append(b"lost too\n")
        self.log.append(b"after\n")
        self.assertEqual(self.text(), dropped_note(5)[:10] + b"\n" + dropped_note(14) + b"after\n")

    def test_no_files(self) -> None:
        """Where no file can be made, output is dropped as well."""
        with patch("os.open", side_effect=OSError(errno.EMFILE, "Too many open files")):
            self.log.append(b"lost\n")
        self.log.append(b"after\n")
        self.assertEqual(self.text(), dropped_note(5) + b"after\n")

    def test_store_is_full(self) -> None:
        """While the store says that the disk is full, output leaves what room there is alone."""
        full = [True]
        store = SegmentStore(self.root, full=lambda: full[0], note=lambda count: b"<%d>" % count)
        log = store.log("7/log", KEEP)
        log.append(b"lost\n")
        self.assertEqual((log.end, os.path.exists(self.root)), (0, False))
        full[0] = False
        log.append(b"after\n")
        self.assertEqual(self.text(log), b"<5>after\n")
        store.close()

    def test_failing_disk(self) -> None:
        """An I/O error drops output as a full disk does."""
        with self.taking(3, errno.EIO):
            self.log.append(b"lost\n")
        self.assertEqual((self.log.dropped, self.text()), (2, b"los"))


class Model(RuleBasedStateMachine):
    """A log beside all the bytes that were ever appended to it."""

    root = ""

    def __init__(self) -> None:
        super().__init__()
        self.data = b""
        self.store = SegmentStore(self.root, open_files=3)
        self.store.remove("x")
        self.log = self.store.log("x/log", KEEP)
        self.readers: list[LogReader] = []

    def teardown(self) -> None:
        for reader in self.readers:
            reader.close()
        self.store.close()

    @rule(size=st.integers(1, 6000), line=st.integers(1, 5000))
    def append(self, size: int, line: int) -> None:
        data = bytes(10 if not (len(self.data) + n) % line else 97 + n % 26 for n in range(size))
        self.log.append(data)
        self.data += data

    @rule()
    def restart(self) -> None:
        for reader in self.readers:
            reader.close()
        self.readers = []
        self.store.close()
        self.store = SegmentStore(self.root, open_files=3)
        self.log = self.store.log("x/log", KEEP)

    @rule(keep=st.sampled_from([1, 9000, KEEP, 100_000]))
    def bound(self, keep: int) -> None:
        self.log.set_keep(keep)

    @rule()
    def open_reader(self) -> None:
        self.readers.append(self.log.reader())

    @precondition(lambda self: self.readers)
    @rule()
    def close_reader(self) -> None:
        self.readers.pop(0).close()

    @rule(offset=st.integers(0, 100_000), count=st.integers(0, 20_000))
    def read(self, offset: int, count: int) -> None:
        start = self.log.start
        assert self.log.read(start + offset, count) == self.data[start + offset :][:count]
        for reader in self.readers:
            try:
                found = reader.read(offset, count)
            except OSError as error:
                assert error.errno == errno.ESTALE
                assert reader.start + offset < start
            else:
                assert found == self.data[reader.start + offset :][:count]

    @invariant()
    def ends(self) -> None:
        assert self.log.end == len(self.data)
        assert 0 <= self.log.start <= self.log.end


class Laws(SynchronousTestCase):
    """Whatever is appended, read, bounded and restarted."""

    def test_model(self) -> None:
        """A log equals the end of what was appended, at its offsets."""
        Model.root = os.path.abspath(self.mktemp())
        run_state_machine_as_test(
            Model, settings=settings(deadline=None, max_examples=60, stateful_step_count=30)
        )

    @settings(deadline=None, max_examples=50)
    @given(st.lists(st.binary(max_size=300), max_size=30))
    def test_any_bytes(self, pieces: list[bytes]) -> None:
        """Any bytes in any pieces come back as they were."""
        store = SegmentStore(os.path.abspath(self.mktemp()))
        log = store.log("x", KEEP)
        for piece in pieces:
            log.append(piece)
        self.assertEqual(log.read(0, 1 << 20), b"".join(pieces))
        store.close()
