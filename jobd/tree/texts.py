"""Files with a text, and files that take messages.

The text of an open file is fixed at its first read, at whatever offset, and taken anew by a read at
offset 0: so a reader sees one state of the file, and a reader that rewinds sees the newest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jobd.ninep.files import OpenFile
from jobd.tree.nodes import TreeNode

FRESH = 1.0
"""Seconds for which the length of a text that is costly to make is taken as it was."""


class FileNode(TreeNode):
    """A file.

    A client that opens a file clones the fid it walked to, as Linux does, and may ask either for its
    length; both have this node.
    """

    reader: Reader | None = None
    """What began to read last and is open still: stat gives the length of its text."""

    def length(self) -> int:
        return self.unread_length() if self.reader is None else self.reader.length()

    def unread_length(self) -> int:
        """Its length where nobody has it open."""
        raise NotImplementedError


class Reader(OpenFile):
    """An open file that can be read."""

    def __init__(self, node: Any) -> None:
        self.node = node
        self._fixed = False

    def read(self, offset: int, count: int) -> Any:
        self.node.recheck()
        if not self._fixed or offset == 0:
            self.fix()
            self._fixed = True
            self.node.reader = self
        return self.part(offset, count)

    def close(self, clunked: bool) -> Any:
        if self.node.reader is self:
            self.node.reader = None

    def fix(self) -> None:
        """Take the text as it is now."""
        raise NotImplementedError

    def part(self, offset: int, count: int) -> bytes:
        """At most COUNT bytes of it from OFFSET."""
        raise NotImplementedError

    def length(self) -> int:
        """Its bytes."""
        raise NotImplementedError


class TextNode(FileNode):
    """A file with a text."""

    costly = False
    """Whether its text takes so long to make that stat takes its length from the one last made."""
    lasting = False
    """Whether that one's length holds for as long as the file has the same version."""

    def text(self) -> bytes:
        """Its text now."""
        return b""

    def made(self) -> bytes:
        """Its text now, for a reader."""
        text = self.text()
        if self.costly:
            self.view.tree.lengths.keep(self.qid_path(), len(text), self.version())
        return text

    def unread_length(self) -> int:
        if not self.costly:
            return len(self.text())
        return self.view.tree.lengths.of(self.qid_path(), self.text, self.version(), self.lasting)

    def opened(self) -> Any:
        return OpenText(self)


class OpenText(Reader):
    """An open file with a text."""

    _text = b""

    def fix(self) -> None:
        self._text = self.node.made()

    def part(self, offset: int, count: int) -> bytes:
        return self._text[offset : offset + count]

    def length(self) -> int:
        return len(self._text)


class MessageNode(TextNode):
    """A file that takes messages: each Twrite is one, whole, wherever it is written to."""

    def message(self, data: bytes) -> Any:
        """Do what DATA says; a Deferred where that takes until a commit. Refuses with `JobError`."""
        raise NotImplementedError

    def opened(self) -> Any:
        return OpenMessages(self)


class OpenMessages(OpenText):
    """An open file that takes messages."""

    def write(self, offset: int, data: bytes) -> Any:
        return self.node.view.change(self.node.path, lambda: self.message(data), len(data))

    def message(self, data: bytes) -> Any:
        """Hand DATA to the file."""
        return self.node.message(data)


class Lengths:
    """Lengths of costly texts, each made again after `FRESH` seconds at the soonest; bounded in number."""

    def __init__(self, monotonic: Callable[[], float], most: int = 4096) -> None:
        self._monotonic = monotonic
        self._most = most
        self._made: dict[int, tuple[float, int, int]] = {}

    def of(self, path: int, text: Callable[[], bytes], version: int, lasting: bool) -> int:
        """The length of the file with qid PATH, whose text is made by TEXT.

        A LASTING one is made again where VERSION is another, and only there.
        """
        made = self._made.get(path)
        if made is not None:
            since, made_of, length = made
            if made_of == version if lasting else self._monotonic() - since <= FRESH:
                return length
        return self.keep(path, len(text()), version)

    def keep(self, path: int, length: int, version: int) -> int:
        """The text of the file with qid PATH was made just now; its LENGTH."""
        self._made.pop(path, None)
        while len(self._made) >= self._most:
            del self._made[next(iter(self._made))]
        self._made[path] = self._monotonic(), version, length
        return length
