"""Files that grow: a reader who holds one open sees what is appended, and is never shifted by a trim."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobd.ninep.files import OpenFile
from jobd.tree.nodes import TreeNode

if TYPE_CHECKING:
    from jobd.jobs.capture import Capture, CaptureReader
    from jobd.jobs.segments import LogReader, SegmentLog


class GrowingNode(TreeNode):
    """A file over a log, or over what a run printed."""

    def log(self) -> SegmentLog | Capture:
        """What it shows."""
        raise NotImplementedError

    def version(self) -> int:
        return self.log().end

    def length(self) -> int:
        log = self.log()
        return log.end - log.start

    def opened(self, mode: int) -> Any:
        return OpenLog(self)


class OpenLog(OpenFile):
    """Such a file, open: it begins where the log began at the first read."""

    def __init__(self, node: GrowingNode) -> None:
        self._node = node
        self._reader: LogReader | CaptureReader | None = None

    def read(self, offset: int, count: int) -> Any:
        if self._reader is None or offset == 0:
            self.close(clunked=False)
            self._reader = self._node.log().reader()
        return self._reader.read(offset, count)

    def close(self, clunked: bool) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None
