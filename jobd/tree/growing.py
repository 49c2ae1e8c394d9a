"""Files that grow: a reader who holds one open sees what is appended, and is never shifted by a trim."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from jobd.ninep.errors import NinepError
from jobd.tree.texts import FileNode, Reader

if TYPE_CHECKING:
    from jobd.jobs.capture import Capture, CaptureReader
    from jobd.jobs.segments import LogReader, SegmentLog


class GrowingNode(FileNode):
    """A file over a log, or over what a run printed."""

    def log(self) -> SegmentLog | Capture:
        """What it shows."""
        raise NotImplementedError

    def version(self) -> int:
        return self.log().end

    def unread_length(self) -> int:
        log = self.log()
        return log.end - log.start

    def opened(self) -> Any:
        return OpenLog(self)


class OpenLog(Reader):
    """Such a file, open: it begins where the log began when it was fixed."""

    _reader: LogReader | CaptureReader | None = None

    def fix(self) -> None:
        self._let_go()
        self._reader = self.node.log().reader()

    def part(self, offset: int, count: int) -> bytes:
        """OSError of the disk, and of what was trimmed long ago, goes to the client as it is."""
        assert self._reader is not None
        try:
            return self._reader.read(offset, count)
        except OSError as error:
            raise NinepError(error.errno or errno.EIO, f"{self.node.path}: {error}") from None

    def length(self) -> int:
        return 0 if self._reader is None else self._reader.length

    def close(self, clunked: bool) -> Any:
        super().close(clunked)
        self._let_go()

    def _let_go(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None
