"""What a run prints: from its pipe into the job's log, line by line, and into the run's own output.

stdout and stderr are one pipe, so that their order is kept.  Both ends of it that the run gets are open
for reading too: a daemon that dies takes no run with it, and the next one opens the pipe again through
/proc.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from typing import Any

from jobd.jobs.texts import stamp

CHUNK = 65536
"""Bytes read in one turn: the size of a pipe, so that one loud run costs the others little."""
LONG_LINE = 8192
"""Bytes of an unfinished line after which it is put into the log as it is."""


def make_pipe() -> tuple[int, int]:
    """A pipe for a run's output: our reading end, and the end for the run, open for both."""
    reader, writer = os.pipe()
    try:
        both = os.open(f"/proc/self/fd/{writer}", os.O_RDWR | os.O_CLOEXEC)
    except OSError:  # no /proc: the run does without
        return reader, writer
    os.close(writer)
    return reader, both


def reopen_pipe(pid: int) -> int | None:
    """Our reading end of the pipe that process PID writes its output to; None where it has none now.

    PID does as it likes: it may have put a file there that we may read and it may not, which O_PATH allows
    it, or a device that we must not open.  So we look first, at what is then opened.
    """
    try:
        found = os.open(f"/proc/{pid}/fd/1", os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if not _is_pipe(found):
            return None
        return os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    finally:
        os.close(found)


def _is_pipe(fd: int) -> bool:
    """Whether FD is a pipe without a name: a FIFO in a directory may be anybody's."""
    ends = os.pipe()
    try:
        own, found = os.fstat(ends[0]), os.fstat(fd)
    finally:
        for end in ends:
            os.close(end)
    return stat.S_ISFIFO(found.st_mode) and found.st_dev == own.st_dev


class PipeReader:
    """Hands what comes through a pipe to `received`, as an `IReadDescriptor` of the reactor."""

    def __init__(self, reactor: Any, fd: int, received: Callable[[bytes], object]) -> None:
        os.set_blocking(fd, False)
        self._reactor = reactor
        self._fd = fd
        self._received = received
        reactor.addReader(self)

    def fileno(self) -> int:
        return self._fd

    def logPrefix(self) -> str:
        return "run output"

    def doRead(self) -> None:
        self._read()

    def connectionLost(self, reason: object) -> None:
        self.close()

    def drain(self, limit: int) -> None:
        """Take what is there now, up to LIMIT bytes."""
        while limit > 0 and (taken := self._read()):
            limit -= taken

    def close(self) -> None:
        """Read no more."""
        if self._fd >= 0:
            self._reactor.removeReader(self)
            os.close(self._fd)
            self._fd = -1

    def _read(self) -> int:
        if self._fd < 0:
            return 0
        try:
            data = os.read(self._fd, CHUNK)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EINTR):
                self.close()
            return 0
        if data:
            self._received(data)
        else:
            self.close()
        return len(data)


class LineStamper:
    """Turns pieces of output into whole log lines, each with the time at which it was complete."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes, now_ns: int) -> bytes:
        """The stamped lines that DATA completes."""
        whole, newline, self._rest = (self._rest + data).rpartition(b"\n")
        lines = self._stamped(whole, now_ns) if newline else b""
        if len(self._rest) > LONG_LINE:
            lines += self.end(now_ns)
        return lines

    def end(self, now_ns: int) -> bytes:
        """The last line, where it has no newline."""
        rest, self._rest = self._rest, b""
        return self._stamped(rest, now_ns) if rest else b""

    @staticmethod
    def _stamped(lines: bytes, now_ns: int) -> bytes:
        time = stamp(now_ns)
        return time + lines.replace(b"\n", b"\n" + time) + b"\n"
