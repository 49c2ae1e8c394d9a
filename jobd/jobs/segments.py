"""Append-only logs in segment files, trimmed a whole segment at a time.

A log is a directory.  Each file in it holds the bytes from the logical offset that is its name up to the
next one's, so an offset means the same byte for ever, whatever was trimmed before it.  A segment ends with
the first line that reaches its size, at the latest at twice its size: what is left of a log begins with a
whole line.

Nothing is opened, or even looked for, before it is needed, and a log that was never written has no files.
Open files are shared by all logs of a store and bounded in number.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

OPEN_FILES = 128
"""Segments that are kept open at a time: those of the logs that are busy now."""
SEGMENTS = 8
"""A log has about so many: trimming drops an eighth of it."""
SMALLEST_SEGMENT = 4096
"""Bytes."""
SYNC_ALL_ABOVE = 16
"""Files beyond which one syncfs(2) costs less than an fsync(2) each."""


def dropped_note(count: int) -> bytes:
    """The line that stands where COUNT bytes could not be written."""
    return b"jobd: no space left: %d bytes of output were dropped here\n" % count


class _Segment:
    """One file: bytes of the log from `start` to `end`."""

    __slots__ = ("end", "fd", "path", "start")

    def __init__(self, path: str, start: int, end: int) -> None:
        self.path = path
        self.start = start
        self.end = end
        self.fd: int | None = None
        """Open here once it was trimmed while somebody reads the log."""


class SegmentStore:
    """All logs under one directory. Only `sync` may be called in another thread."""

    def __init__(
        self,
        root: str,
        *,
        full: Callable[[], bool] = lambda: False,
        note: Callable[[int], bytes] = dropped_note,
        open_files: int = OPEN_FILES,
    ) -> None:
        """FULL tells whether the disk is so full that output must leave the rest of it alone.  NOTE gives
        the line that stands where so many bytes were dropped.
        """
        self.root = root
        self.full = full
        self.note = note
        self.dropped = 0
        """Bytes that all logs together lost to a full or failing disk."""
        self.last_error: OSError | None = None
        """Why output was dropped most recently."""
        self._open_files = open_files
        self._files: OrderedDict[str, int] = OrderedDict()
        self._dirty: set[str] = set()
        self._dirty_lock = threading.Lock()

    def log(self, key: str, keep: int) -> SegmentLog:
        """The log under KEY, a relative path, bounded to about KEEP bytes.

        One object for a key at a time: two would not know of each other's appends.
        """
        return SegmentLog(self, os.path.join(self.root, key), keep)

    def names(self, key: str) -> list[str]:
        """What there is directly below KEY: names of logs, or of directories of logs."""
        try:
            return os.listdir(os.path.join(self.root, key))
        except FileNotFoundError:
            return []

    def remove(self, key: str) -> None:
        """Delete the log under KEY and all logs below it; their objects must not be used any more."""
        path = os.path.join(self.root, key)
        for name in [name for name in self._files if name.startswith(path + "/")]:
            self.close_file(name)
        shutil.rmtree(path, ignore_errors=True)

    def sync(self) -> None:
        """Have on disk what was appended before the call. Raises OSError if any of it failed."""
        with self._dirty_lock:
            dirty, self._dirty = self._dirty, set()
        if len(dirty) > SYNC_ALL_ABOVE:
            sync_file_system(self.root)
            return
        error = None
        for path in dirty:
            try:
                _sync(path)
            except FileNotFoundError:  # trimmed or removed meanwhile
                continue
            except OSError as failure:
                error = failure
        if error is not None:
            raise error

    def close(self) -> None:
        """Sync, and close all files."""
        try:
            self.sync()
        finally:
            while self._files:
                os.close(self._files.popitem()[1])

    # What the logs need

    def file(self, path: str) -> int:
        """The segment at PATH, open until too many others were needed."""
        fd = self._files.get(path)
        if fd is not None:
            self._files.move_to_end(path)
            return fd
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._files[path] = fd
        if len(self._files) > self._open_files:
            os.close(self._files.popitem(last=False)[1])
        return fd

    def take_file(self, path: str) -> int:
        """The segment at PATH, open until the caller closes it."""
        fd = self.file(path)
        del self._files[path]
        return fd

    def close_file(self, path: str) -> None:
        """Have the segment at PATH open no more."""
        fd = self._files.pop(path, None)
        if fd is not None:
            os.close(fd)

    def create_file(self, path: str) -> None:
        """Make an empty segment at PATH, and the directories on the way to it."""
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        directory = os.path.dirname(path)
        try:
            fd = os.open(path, flags, 0o600)
        except FileNotFoundError:
            os.makedirs(directory, 0o700)
            fd = os.open(path, flags, 0o600)
            above = directory
            while len(above) >= len(self.root):
                above = os.path.dirname(above)
                self.needs_sync(above)
        os.close(fd)
        self.needs_sync(directory)

    def needs_sync(self, path: str) -> None:
        """Have the next `sync` mind PATH."""
        with self._dirty_lock:
            self._dirty.add(path)


class SegmentLog:
    """A log.  Its offsets count the bytes that were ever appended to it, and never go back."""

    __slots__ = (
        "_files",
        "_held",
        "_keep",
        "_mtime",
        "_owed",
        "_path",
        "_readers",
        "_segments",
        "_torn",
        "dropped",
    )

    def __init__(self, files: SegmentStore, path: str, keep: int) -> None:
        """`SegmentStore.log` makes one."""
        self._files = files
        self._path = path
        self._keep = keep
        self._segments: list[_Segment] | None = None
        self._held: list[_Segment] = []
        self._readers: set[LogReader] = set()
        self._mtime: int | None = None
        self._torn = False
        self._owed = 0
        self.dropped = 0
        """Bytes that were lost to a full or failing disk."""

    @property
    def start(self) -> int:
        """The offset of the oldest byte that is there."""
        segments = self._load()
        return segments[0].start if segments else 0

    @property
    def end(self) -> int:
        """The offset after the newest byte."""
        segments = self._load()
        return segments[-1].end if segments else 0

    @property
    def mtime(self) -> int | None:
        """When it was last appended to, in nanoseconds since 1970; None where it never was."""
        self._load()
        return self._mtime

    def set_keep(self, keep: int) -> None:
        """Bound the log to about KEEP bytes from now on."""
        self._keep = keep
        if self._segments:
            self._trim(self._segments)

    def append(self, data: bytes, when: int | None = None) -> None:
        """Add DATA at the end, at the time WHEN (nanoseconds; default: now).  Never raises OSError.

        What the disk has no room for, or refuses, is dropped and counted; when it takes data again, a note
        of it comes first.
        """
        lost = len(data)
        if lost and not self._files.full():
            note = b""
            if self._owed:
                note = (b"\n" if self._torn else b"") + self._files.note(self._owed)
            taken = self._write(note + data)
            if taken:
                self._mtime = time.time_ns() if when is None else when
            if taken >= len(note):
                self._owed = 0
            lost = min(lost, len(note) + lost - taken)
        self._owed += lost
        self.dropped += lost
        self._files.dropped += lost

    def read(self, offset: int, count: int) -> bytes:
        """At most COUNT bytes from OFFSET; b"" at the end.

        OSError: ESTALE where that part was trimmed, EIO and others where it can't be read.
        """
        segments = [*self._held, *self._load()]
        if segments and offset < segments[0].start:
            raise OSError(errno.ESTALE, "that part of the log was trimmed")
        pieces = []
        for segment in segments:
            if segment.end <= offset:
                continue
            if count <= 0:
                break
            fd = self._files.file(segment.path) if segment.fd is None else segment.fd
            data = os.pread(fd, min(count, segment.end - offset), offset - segment.start)
            if not data:
                raise OSError(errno.EIO, f"{segment.path} is shorter than it was")
            pieces.append(data)
            offset += len(data)
            count -= len(data)
            if offset < segment.end:
                break
        return b"".join(pieces)

    def reader(self) -> LogReader:
        """A view of the log for one open file, which begins at the oldest byte there is now."""
        reader = LogReader(self, self.start)
        self._readers.add(reader)
        return reader

    def forget_reader(self, reader: LogReader) -> None:
        """READER is closed."""
        self._readers.discard(reader)
        oldest = min((reader.start for reader in self._readers), default=self.end)
        self._release_held(lambda segment: segment.end <= oldest)

    def _load(self) -> list[_Segment]:
        if self._segments is None:
            self._segments = self._find_segments()
        return self._segments

    def _find_segments(self) -> list[_Segment]:
        found = []
        with contextlib.suppress(FileNotFoundError), os.scandir(self._path) as entries:
            for entry in entries:
                if entry.name.isdigit():
                    start, status = int(entry.name), entry.stat()
                    found.append((start, status.st_size, entry.path, status.st_mtime_ns))
        found.sort()
        segments = [_Segment(path, start, start + size) for start, size, path, _ in found]
        for segment, following in itertools.pairwise(segments):
            if segment.end != following.start:
                # A power cut took its end. Zeros in their place keep every later byte at its offset.
                segment.end = following.start
                os.truncate(segment.path, segment.end - segment.start)
        if found:
            self._mtime = found[-1][3]
        return segments

    def _write(self, data: bytes) -> int:
        """Append DATA; how much of it the disk took."""
        view, taken = memoryview(data), 0
        try:
            while taken < len(data):
                segment = self._writable()
                piece = view[taken : self._cut(segment, data, taken)]
                position = segment.end - segment.start
                written = os.pwrite(self._files.file(segment.path), piece, position)
                segment.end += written
                taken += written
                self._torn = data[taken - 1] != ord("\n")
                self._files.needs_sync(segment.path)
        except OSError as error:
            self._files.last_error = error
        if self._segments:
            self._trim(self._segments)
        return taken

    def _writable(self) -> _Segment:
        """The segment that takes the next byte."""
        segments, size = self._load(), self._segment_size()
        length = segments[-1].end - segments[-1].start if segments else 0
        if not segments or length >= 2 * size or (length >= size and not self._torn):
            path = os.path.join(self._path, f"{self.end:020d}")
            self._files.create_file(path)
            segments.append(_Segment(path, self.end, self.end))
        return segments[-1]

    def _cut(self, segment: _Segment, data: bytes, taken: int) -> int:
        """How far of DATA goes into SEGMENT, TAKEN bytes being in place already."""
        size = self._segment_size()
        room = size - (segment.end - segment.start)
        limit = taken + room + size
        line_end = data.find(b"\n", taken + max(room - 1, 0), limit)
        return limit if line_end < 0 else line_end + 1

    def _segment_size(self) -> int:
        return max(SMALLEST_SEGMENT, self._keep // SEGMENTS)

    def _trim(self, segments: list[_Segment]) -> None:
        end = segments[-1].end
        while len(segments) > 1 and end - segments[0].start > self._keep:
            oldest = segments.pop(0)
            if self._readers:
                with contextlib.suppress(OSError):
                    oldest.fd = self._files.take_file(oldest.path)
                    self._held.append(oldest)
            self._files.close_file(oldest.path)
            with contextlib.suppress(OSError):
                os.unlink(oldest.path)
        self._release_held(lambda segment: segments[0].start - segment.start > self._keep)

    def _release_held(self, unneeded: Callable[[_Segment], bool]) -> None:
        while self._held and unneeded(self._held[0]):
            segment = self._held.pop(0)
            if segment.fd is not None:
                os.close(segment.fd)


class LogReader:
    """What an open file shows of a log: offset 0 is the oldest byte that was there when it was opened.

    Trimming takes nothing from it until as much again as the log keeps was trimmed; reading what is gone
    then is an error (ESTALE), and what is left stays at its offset.
    """

    def __init__(self, log: SegmentLog, start: int) -> None:
        """`SegmentLog.reader` makes one."""
        self.log = log
        self.start = start
        """The logical offset of its offset 0."""

    @property
    def length(self) -> int:
        """How many bytes there are to read by now."""
        return self.log.end - self.start

    def read(self, offset: int, count: int) -> bytes:
        """At most COUNT bytes from OFFSET; b"" at the end. OSError as of `SegmentLog.read`."""
        return self.log.read(self.start + offset, count)

    def close(self) -> None:
        """Let go of what is kept only for this reader."""
        self.log.forget_reader(self)


def _sync(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_file_system(path: str) -> None:
    """syncfs(2): everything on the file system that PATH is on."""
    import ctypes

    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(fd):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), path)
    finally:
        os.close(fd)
