"""What one run printed: the head and the tail of it, and how much was dropped between."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobd.jobs.segments import LogReader, SegmentLog


class Capture:
    """A run's output, bounded: half for the head, half for the tail."""

    def __init__(self, head: SegmentLog, tail: SegmentLog, most: int) -> None:
        """MOST is how many bytes are kept of it; TAIL keeps half of them."""
        self._head = head
        self._tail = tail
        self._most = most
        self._room = max(0, most - most // 2 - head.end)

    start = 0

    @property
    def end(self) -> int:
        """How many bytes it shows."""
        return self._head.end + len(self.gap()) + self._tail.end - self._tail.start

    @property
    def mtime(self) -> int | None:
        """When something was printed last, in nanoseconds since 1970; None as of `SegmentLog`."""
        return self._tail.mtime or self._head.mtime

    def append(self, data: bytes) -> None:
        """Take what was printed."""
        if self._room > 0:
            self._head.append(data[: self._room])
            data, self._room = data[self._room :], max(0, self._room - len(data))
        if data and self._most:
            self._tail.append(data)

    def gap(self) -> bytes:
        """The line that stands for what was dropped."""
        dropped = self._tail.start
        return b"\n... %d bytes were dropped here ...\n" % dropped if dropped else b""

    def reader(self) -> CaptureReader:
        """A view of it that goes on as it grows, and that a trim does not shift."""
        return CaptureReader(self._head.reader(), self.gap(), self._tail.reader())


class CaptureReader:
    """Head, gap and tail as one text."""

    def __init__(self, head: LogReader, gap: bytes, tail: LogReader) -> None:
        self._head = head
        self._gap = gap
        self._tail = tail

    @property
    def length(self) -> int:
        """How many bytes there are to read by now."""
        return self._head.length + len(self._gap) + self._tail.length

    def read(self, offset: int, count: int) -> bytes:
        """At most COUNT bytes from OFFSET."""
        head = self._head.length
        if offset < head:
            return self._head.read(offset, count)
        offset -= head
        if offset < len(self._gap):
            return self._gap[offset : offset + count]
        return self._tail.read(offset - len(self._gap), count)

    def close(self) -> None:
        """Let go of the files."""
        self._head.close()
        self._tail.close()
