"""A file that holds room on the disk, to be given up when there is no other left."""

from __future__ import annotations

import os

RESERVE_SIZE = 1 << 20
"""Bytes: some thousand intents and ends of runs."""


class Reserve:
    """A file of real blocks."""

    def __init__(self, path: str, size: int = RESERVE_SIZE) -> None:
        self.path = path
        self.size = size
        self.released = False
        """Whether the room was given up, or could not be had."""

    def hold(self) -> bool:
        """Take the room; whether it could be had."""
        self.released = not self._allocate()
        if self.released:
            self._remove()
        return not self.released

    def release(self) -> None:
        """Give the room up."""
        self.released = True
        self._remove()

    def restore(self) -> bool:
        """Take the room back if there is twice as much: a disk on the brink would only go to and fro."""
        try:
            room = os.statvfs(os.path.dirname(self.path))
        except OSError:
            return False
        return room.f_bavail * room.f_frsize >= 2 * self.size and self.hold()

    def _allocate(self) -> bool:
        try:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(file, 0, self.size)
            finally:
                os.close(file)
        except OSError:
            return False
        return True

    def _remove(self) -> None:
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            pass
