"""Texts that grow, put out as they come."""

from __future__ import annotations

import errno
import re
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.internet.task import deferLater

from jobd.cli.daemon import remote_errors
from jobd.cli.many import let_go
from jobd.ninep.errors import NinepError

if TYPE_CHECKING:
    from jobd.cli.daemon import Daemon

_SHORTEST, _LONGEST = 0.01, 0.3
"""Seconds between two looks at a text that grows: the longer nothing comes, the more."""
_REMEMBERED = 4096
"""Bytes by which it is known how far a text was read: each line of a log begins with a time of its own."""
_GAP = re.compile(rb"\n\.\.\. [0-9]+ bytes were dropped here \.\.\.\n")
"""What stands in the output of a run for its middle."""


class Follower:
    """Puts out a file from where it is now to its end, over more than one connection if need be."""

    def __init__(self, path: str, lines: int | None = None) -> None:
        """PATH is the file; LINES how many of those begin that are there at first, None for all."""
        self._path = path
        self._lines = lines
        self._position = 0
        self._last = b""
        self.begun = False
        """Whether it could be opened yet."""

    async def follow(self, daemon: Daemon, ended: Callable[[], bool]) -> None:
        """Put out what is there and what is added, until all is out that was there when it had ENDED."""
        with remote_errors(self._path):
            stale = False
            while stale := await self._view(daemon, ended, stale):
                pass

    async def _view(self, daemon: Daemon, ended: Callable[[], bool], stale: bool) -> bool:
        """The file as one open of it shows it, to its end; True where it grew too fast to be seen so."""
        fid = await daemon.open(self._path)
        try:
            if self.begun or self._lines is not None:
                self._begin(await fid.read_all(), stale)
            self.begun = True
            pause = _SHORTEST
            while True:
                last_look = ended()
                while text := await fid.read(self._position):
                    self._put(text, text)
                    self._position += len(text)
                    pause = _SHORTEST
                if last_look:
                    return False
                await deferLater(daemon.reactor, pause)
                pause = min(2 * pause, _LONGEST)
        except NinepError as error:
            if error.errno != errno.ESTALE:
                raise
            return True  # what comes next was trimmed before it was read
        finally:
            await let_go(fid)

    def _begin(self, text: bytes, stale: bool) -> None:
        new = text[self._known(text, stale) :]
        if not self.begun and self._lines is not None:
            new = b"".join(new.splitlines(keepends=True)[-self._lines :] if self._lines else [])
        self._put(new, text)
        self._position = len(text)

    def _known(self, text: bytes, stale: bool) -> int:
        """How much of TEXT was put out already, by other views of it."""
        if not stale:
            if text[: self._position].endswith(self._last):
                return self._position
            # Of a log that was trimmed the first lines are gone; of one whose daemon was killed the last.
            for line in reversed(self._last.splitlines(keepends=True)):
                if (found := text.rfind(line)) >= 0:
                    return found + len(line)
        gap = _GAP.search(text)
        return gap.start() if gap else 0

    def _put(self, new: bytes, text: bytes) -> None:
        self._last = (self._last + text)[-_REMEMBERED:]
        sys.stdout.buffer.write(new)
        sys.stdout.buffer.flush()
