"""What a process inherits from the daemon, and how the daemon gives it something else than its own.

Directory and umask belong to a whole program, and a thread of it may make files at any time.  But Linux lets
a thread have its own, by unshare(2): so the one that starts processes takes on the directory and the umask
that most jobs want while it starts one, and neither the other threads nor its own other work see it.
"""

from __future__ import annotations

import ctypes
import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

CLONE_FS = 0x200
"""Directory and umask, in sched.h of Linux."""
USUAL_UMASK = 0o022
"""What a job has that asks for no other."""


class Here(NamedTuple):
    """What a process that is started directly has."""

    uid: int
    directory: str
    umask: int

    @classmethod
    def look(cls) -> Here:
        """What it has from this process as it is."""
        return cls(os.geteuid(), os.getcwd(), _umask())

    @classmethod
    def of(cls, spawner: object) -> Here:
        """What it has from SPAWNER: the `here` of that, and where it knows of none, what `look` finds."""
        return getattr(spawner, "here", None) or cls.look()

    @classmethod
    def at_home(cls) -> Here:
        """What most jobs of this process's user want, where `entered` can give it; else as `look`."""
        try:
            home = pwd.getpwuid(os.geteuid()).pw_dir
        except KeyError:
            return cls.look()
        return cls(os.geteuid(), home, USUAL_UMASK) if _unshare() else cls.look()

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Have this thread alone in that directory, with that umask.

        Where the directory can't be entered it stays where it was: nothing is started directly then, and what
        runs in other directories must not fail for this one.
        """
        before = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        _unshare()
        umask = os.umask(self.umask)
        try:
            if os.access(self.directory, os.X_OK):
                os.chdir(self.directory)
            yield
        finally:
            os.umask(umask)
            os.fchdir(before)
            os.close(before)


def _umask() -> int:
    """The umask of this process: to ask umask(2) would change it for a moment, for other threads too."""
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1], 8) for line in status if line.startswith("Umask:"))
    except (OSError, StopIteration):  # no /proc, or a Linux before 4.7
        umask = os.umask(0o077)
        os.umask(umask)
        return umask


def _unshare() -> bool:
    """Give this thread a directory and a umask of its own; whether it has them.

    Where it has, that costs nothing; but threads that it starts share them with it again.
    """
    try:
        return bool(_libc.unshare(CLONE_FS) == 0)
    except AttributeError:
        return False


_libc = ctypes.CDLL(None)
