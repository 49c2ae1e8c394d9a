"""Finding everything that a run started, and ending it.

A process is known by its number, its start time and the boot, since numbers are used again.  What belongs to
a run is

* its session, which its first process leads, and its group;
* whatever carries the run's mark, JOBD_RUN_ID, in the environment it was started with;
* the children of all these, and of theirs;
* whatever was found to belong to it before, as long as it lives;
* whatever is in its control group, where runs have one: see `jobd.jobs.cgroups`.

Without control groups a process escapes that has left the session, dropped the mark and lost its parent
before anybody looks.
"""

from __future__ import annotations

import os
import signal
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import cache, cached_property
from typing import NamedTuple

from twisted.internet.defer import Deferred

from jobd.jobs.cgroups import Cgroups

MARK = "JOBD_RUN_ID"

STAT_LENGTH = 4096
"""Bytes, more than any /proc/PID/stat has: 51 numbers and a name of 64 bytes at most."""
SWEEP_EVERY = 0.05
"""Seconds between two sweeps."""
SWEEPS = 100
"""After so many, what is still there sleeps in the kernel, where no signal reaches it."""


class Identity(NamedTuple):
    """Which process: no other one is, was or will be this."""

    pid: int
    start: int
    """Clock ticks from the boot to its start: field 22 of proc_pid_stat(5)."""
    boot: str
    """/proc/sys/kernel/random/boot_id."""


class Entry(NamedTuple):
    """A process in /proc."""

    pid: int
    state: str
    parent: int
    group: int
    session: int
    start: int

    @property
    def ended(self) -> bool:
        """Whether it only waits for its parent to take its status."""
        return self.state in "ZX"


@cache
def boot_id() -> str:
    """The kernel's name for this boot."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def entry(pid: int) -> Entry | None:
    """What /proc has of PID; None where there is no such process."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fields = os.read(fd, STAT_LENGTH).rpartition(b")")[2].split()
    except ProcessLookupError:
        return None
    finally:
        os.close(fd)
    return Entry(pid, fields[0].decode(), int(fields[1]), int(fields[2]), int(fields[3]), int(fields[19]))


def identify(pid: int) -> Identity | None:
    """Who PID is now; None where there is no such process."""
    found = entry(pid)
    return None if found is None else Identity(pid, found.start, boot_id())


def same(identity: Identity) -> bool:
    """Whether that very process still runs."""
    found = entry(identity.pid)
    return found is not None and not found.ended and _is(found, identity)


def _is(found: Entry, identity: Identity) -> bool:
    return found.start == identity.start and boot_id() == identity.boot


def signal_group(identity: Identity, signum: int) -> bool:
    """Send SIGNUM to the group of a run's first process, IDENTITY; whether that was done.

    It is not, where that process is gone, does not lead its own session and group, or is in ours.
    """
    found = entry(identity.pid)
    if found is None or not _is(found, identity) or found.pid == os.getpgrp():
        return False
    if not found.pid == found.group == found.session:
        return False
    try:
        os.killpg(found.group, signum)
    except (ProcessLookupError, PermissionError):
        return False
    return True


class Snapshot:
    """Every process there is, at one moment."""

    def __init__(self) -> None:
        found = (entry(int(name)) for name in os.listdir("/proc") if name.isdigit())
        self.processes = {process.pid: process for process in found if process is not None}
        self.by_parent: dict[int, list[Entry]] = defaultdict(list)
        self.by_session: dict[int, list[Entry]] = defaultdict(list)
        for process in self.processes.values():
            self.by_parent[process.parent].append(process)
            self.by_session[process.session].append(process)

    @cached_property
    def by_mark(self) -> dict[bytes, list[Entry]]:
        """Those that carry a mark and that we may look into, by their run's id."""
        marked = defaultdict(list)
        for process in self.processes.values():
            if not process.ended and (run_id := _mark(process.pid)):
                marked[run_id].append(process)
        return marked


def _mark(pid: int) -> bytes | None:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            environment = b"\0" + file.read()
    except OSError:  # gone, or not ours to look into
        return None
    _, found, rest = environment.partition(b"\0" + MARK.encode() + b"=")
    return rest.partition(b"\0")[0] if found else None


class Descendants:
    """Everything a run started, from its first process and its mark on."""

    def __init__(self, first: Identity, run_id: str) -> None:
        self.first = first
        self.run_id = run_id
        self._known: set[Entry] | None = None

    def find(self, snapshot: Snapshot, members: Iterable[int] = ()) -> list[Entry]:
        """Those in SNAPSHOT that belong to the run and have not ended; MEMBERS are known to.

        To be called first while the first process lives, or within a second of its end, and then again in
        good time: a number that nobody has is used again when all others have been.
        """
        if boot_id() != self.first.boot:
            return []
        todo = self._still_there(snapshot) + snapshot.by_mark.get(self.run_id.encode(), [])
        todo += [snapshot.processes[pid] for pid in members if pid in snapshot.processes]
        if self._session_is_ours(snapshot):
            todo += snapshot.by_session.get(self.first.pid, [])
        found: set[Entry] = set()
        while todo:
            process = todo.pop()
            if process not in found and process.pid not in (os.getpid(), 1):
                found.add(process)
                todo += snapshot.by_parent.get(process.pid, [])
        self._known = found
        return [process for process in found if not process.ended]

    def _still_there(self, snapshot: Snapshot) -> list[Entry]:
        """What was found the last time, as far as it lives."""
        now = (snapshot.processes.get(process.pid) for process in self._known or ())
        starts = {(process.pid, process.start) for process in self._known or ()}
        return [process for process in now if process is not None and (process.pid, process.start) in starts]

    def _session_is_ours(self, snapshot: Snapshot) -> bool:
        """Whether the session of that number is the run's.

        The kernel gives out no number that is a process's, a group's or a session's.  So it is, as long as
        the first process is there, or one that was found in it the last time.
        """
        first = snapshot.processes.get(self.first.pid)
        if first is not None:
            return first.start == self.first.start and first.session == first.pid != os.getsid(0)
        if self._known is None:
            return True
        return any(process.session == self.first.pid for process in self._still_there(snapshot))


class Ender:
    """Ends all that runs have started, however many runs at a time: one look at /proc serves them all.

    AFTER calls a function after some seconds, as `callLater` does.  Where runs have CGROUPS, these are
    ended and removed too.
    """

    def __init__(self, after: Callable[..., object], cgroups: Cgroups | None = None) -> None:
        self._after = after
        self._cgroups = cgroups
        self._runs: dict[str, Descendants] = {}
        self._signals: list[tuple[Descendants, int]] = []
        self._endings: list[_Ending] = []
        self._waiting = False

    def signal_group(self, first: Identity, run_id: str, signum: int) -> None:
        """Send SIGNUM to the group of a run, after a look at what else the run has started.

        What was seen then belongs to the run even if the signal ends the parent that ties it to the run.
        `end_all` must follow, at the latest when the end of the first process is told.
        """
        self._signals.append((self._descendants(first, run_id), signum))
        self._soon(0)

    def end_all(self, first: Identity, run_id: str) -> Deferred[int]:
        """KILL everything that a run has started, in sweeps until nothing is left.

        Fires with the number of processes that could not be ended: 0, but for those that sleep in the
        kernel, or that may not be killed.
        """
        ending = _Ending(self._descendants(first, run_id), Deferred(), SWEEPS)
        self._runs.pop(run_id, None)
        self._endings.append(ending)
        self._soon(0)
        return ending.done

    def _descendants(self, first: Identity, run_id: str) -> Descendants:
        return self._runs.setdefault(run_id, Descendants(first, run_id))

    def _soon(self, seconds: float) -> None:
        if not self._waiting:
            self._waiting = True
            self._after(seconds, self._sweep)

    def _sweep(self) -> None:
        self._waiting = False
        snapshot = Snapshot()
        signals, self._signals = self._signals, []
        for descendants, signum in signals:
            self._find(descendants, snapshot)
            signal_group(descendants.first, signum)
        endings, self._endings = self._endings, []
        for ending in endings:
            found = self._find(ending.descendants, snapshot)
            if self._cgroups is not None:
                self._cgroups.kill(ending.descendants.run_id)
            for process in found:
                _send(process, signal.SIGKILL)
            if found and ending.sweeps > 1:
                self._endings.append(ending._replace(sweeps=ending.sweeps - 1))
            else:
                if self._cgroups is not None:
                    self._cgroups.remove(ending.descendants.run_id)
                ending.done.callback(len(found))
        if self._endings:
            self._soon(SWEEP_EVERY)

    def _find(self, descendants: Descendants, snapshot: Snapshot) -> list[Entry]:
        members = self._cgroups.members(descendants.run_id) if self._cgroups else ()
        return descendants.find(snapshot, members)


class _Ending(NamedTuple):
    descendants: Descendants
    done: Deferred[int]
    sweeps: int


def _send(process: Entry, signum: int) -> None:
    """Send SIGNUM to PROCESS, and to no other that got its number since."""
    try:
        pidfd = os.pidfd_open(process.pid)
    except OSError:
        return
    try:
        now = entry(process.pid)
        if now is not None and now.start == process.start:
            signal.pidfd_send_signal(pidfd, signum)
    except (ProcessLookupError, PermissionError):
        pass
    finally:
        os.close(pidfd)
