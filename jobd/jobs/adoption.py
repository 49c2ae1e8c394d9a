"""Processes that are not, or not only, our children: those of an earlier daemon, and orphans.

A run goes on while the daemon is away.  The next daemon watches it through a pidfd, and learns its status
where the kernel keeps that for others than the parent (Linux 6.15, PIDFD_INFO_EXIT in linux/pidfd.h).

A daemon that is a subreaper (PR_SET_CHILD_SUBREAPER of prctl(2)) becomes the parent of whatever its runs
leave behind, and has to wait for it.  `Reaper` does, and takes no child that somebody else waits for.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
from collections.abc import Callable
from typing import Any

from twisted.internet import process as twisted_process
from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from jobd.jobs.groups import Identity, Snapshot, same
from jobd.jobs.processes import owned_pids

PR_SET_CHILD_SUBREAPER = 36

# struct pidfd_info of linux/pidfd.h, first version: a mask of what is asked for or given, ..., the status.
_PIDFD_INFO = struct.Struct("=Q52xi")
_PIDFD_GET_INFO = 0xC0000000 | _PIDFD_INFO.size << 16 | 0xFF << 8 | 11
_PIDFD_INFO_EXIT = 1 << 3

_PATIENCE = 20
"""How often we ask for a status that is there only when the parent has taken it."""
_ASK_EVERY = 0.01
"""Seconds between."""


@implementer(IReadDescriptor)
class Watch:
    """Calls ENDED once the process IDENTITY has ended: with its wait status, or None where nobody tells.

    Never from within the constructor.  To be used in the reactor's thread.
    """

    def __init__(self, reactor: Any, identity: Identity, ended: Callable[[int | None], object]) -> None:
        self._reactor = reactor
        self._ended = ended
        self._stopped = False
        self._pidfd = -1
        try:
            self._pidfd = os.pidfd_open(identity.pid)
        except ProcessLookupError:
            pass
        if self._pidfd >= 0 and same(identity):
            reactor.addReader(self)
        else:
            self._close()
            reactor.callFromThread(self._end, None)

    def stop(self) -> None:
        """Watch no more: ENDED is not called."""
        self._stopped = True
        self._close()

    def fileno(self) -> int:
        return self._pidfd

    def logPrefix(self) -> str:
        return "watch"

    def connectionLost(self, _reason: Failure) -> None:
        self.stop()

    def doRead(self) -> None:
        self._reactor.removeReader(self)
        self._ask(_PATIENCE)

    def _ask(self, patience: int) -> None:
        if self._stopped:
            return
        status = exit_status(self._pidfd)
        if status is None and patience:
            self._reactor.callLater(_ASK_EVERY, self._ask, patience - 1)
            return
        self._close()
        self._end(status)

    def _end(self, status: int | None) -> None:
        if not self._stopped:
            self._stopped = True
            self._ended(status)

    def _close(self) -> None:
        if self._pidfd >= 0:
            self._reactor.removeReader(self)
            os.close(self._pidfd)
            self._pidfd = -1


def exit_status(pidfd: int) -> int | None:
    """The wait status of a process that ended and was waited for; None where the kernel does not tell."""
    info = bytearray(_PIDFD_INFO.pack(_PIDFD_INFO_EXIT, 0))
    try:
        fcntl.ioctl(pidfd, _PIDFD_GET_INFO, info)
    except OSError:
        return None
    given, status = _PIDFD_INFO.unpack(info)
    return status if given & _PIDFD_INFO_EXIT else None


def become_subreaper() -> bool:
    """Make the orphans among our descendants our children, rather than init's; whether that is possible."""
    libc = ctypes.CDLL(None, use_errno=True)
    return hasattr(libc, "prctl") and libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0


class Reaper:
    """Waits for the orphans of a subreaper."""

    def __init__(self) -> None:
        self._seen: set[tuple[int, int]] = set()

    def sweep(self) -> int:
        """Wait for the orphans that have ended; how many.

        To be called every second or so.  A child is taken only where neither provider of processes owns it,
        and where it had ended by the last sweep already: so that whoever else starts one has time to wait
        for it.
        """
        try:
            if os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                return 0
        except ChildProcessError:
            return 0
        owned = owned_pids | set(twisted_process.reapProcessHandlers)
        orphans = {
            (child.pid, child.start)
            for child in Snapshot().by_parent.get(os.getpid(), [])
            if child.ended and child.pid not in owned
        }
        reaped = 0
        for pid, _ in orphans & self._seen:
            try:
                reaped += os.waitpid(pid, os.WNOHANG)[0] == pid
            except ChildProcessError:
                pass
        self._seen = orphans
        return reaped
