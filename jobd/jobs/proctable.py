"""What the runs of jobd need to know of processes, as one object, so that a simulation can have its own."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from jobd.jobs import groups
from jobd.jobs.adoption import Watch
from jobd.jobs.cgroups import Cgroups
from jobd.jobs.groups import Ender, Identity, Snapshot
from jobd.jobs.output import reopen_pipe

SWEEP_GROUPS_EVERY = 10.0
"""Seconds."""


class Watching(Protocol):
    """What `ProcessTable.watch` gives."""

    def stop(self) -> None:
        """Watch no more."""


class ProcessTable(Protocol):
    """The processes of a machine."""

    @property
    def boot_id(self) -> str:
        """The name of this boot."""

    def identify(self, pid: int) -> Identity | None:
        """Who PID is now; None where there is no such process."""

    def alive(self, identity: Identity) -> bool:
        """Whether that very process still runs."""

    def leaders(self) -> dict[str, Identity]:
        """The first process of each run that can be found by its mark or group, by the id of the run."""

    def began(self, run_id: str, pid: int) -> None:
        """A run has started PID: keep together what that starts, where the machine can."""

    def done(self, run_id: str) -> None:
        """A run has ended; what it left behind may stay."""

    def signal(self, identity: Identity, signum: int) -> bool:
        """Send SIGNUM to the group of a run's first process; whether that was done."""

    def terminate(self, identity: Identity, run_id: str) -> None:
        """Send TERM to the group of a run, after a look at what it has started; `end_all` must follow."""

    def end_all(self, identity: Identity, run_id: str) -> Deferred[int]:
        """KILL all that a run has started; fires with the number of those that could not be ended."""

    def watch(self, identity: Identity, ended: Callable[[int | None], object]) -> Watching:
        """Call ENDED, later, once that process ended: with its wait status, or None where nobody tells."""

    def open_output(self, identity: Identity) -> int | None:
        """The reading end of the pipe that it writes to; None where it has none."""


class MachineProcesses:
    """The `ProcessTable` of this machine."""

    def __init__(self, reactor: Any, after: Callable[..., object], cgroups: Cgroups | None = None) -> None:
        """AFTER calls a function after some seconds of the monotonic clock; runs have CGROUPS, if given."""
        self._reactor = reactor
        self._cgroups = cgroups
        self._ender = Ender(after, cgroups)
        self._after = after
        if cgroups is not None:
            after(SWEEP_GROUPS_EVERY, self._sweep_groups, cgroups)

    def _sweep_groups(self, cgroups: Cgroups) -> None:
        cgroups.sweep()
        self._after(SWEEP_GROUPS_EVERY, self._sweep_groups, cgroups)

    @property
    def boot_id(self) -> str:
        return groups.boot_id()

    def identify(self, pid: int) -> Identity | None:
        return groups.identify(pid)

    def alive(self, identity: Identity) -> bool:
        return groups.same(identity)

    def leaders(self) -> dict[str, Identity]:
        snapshot = Snapshot()
        found = {mark.decode(errors="replace"): [*processes] for mark, processes in snapshot.by_mark.items()}
        if self._cgroups is not None:
            # Of those that have dropped the mark.
            for run_id in self._cgroups.run_ids():
                members = (snapshot.processes.get(pid) for pid in self._cgroups.members(run_id))
                found.setdefault(run_id, []).extend(process for process in members if process is not None)
        first: dict[str, Identity] = {}
        for run_id, processes in found.items():
            # A grandchild may lead a session too, but began later.
            leading = [process for process in processes if process.pid == process.session]
            if leading:
                process = min(leading, key=lambda process: process.start)
                first[run_id] = Identity(process.pid, process.start, self.boot_id)
        return first

    def began(self, run_id: str, pid: int) -> None:
        if self._cgroups is not None:
            self._cgroups.add(run_id, pid)

    def done(self, run_id: str) -> None:
        if self._cgroups is not None:
            self._cgroups.remove(run_id)

    def terminate(self, identity: Identity, run_id: str) -> None:
        self._ender.signal_group(identity, run_id, signal.SIGTERM)

    def signal(self, identity: Identity, signum: int) -> bool:
        return groups.signal_group(identity, signum)

    def end_all(self, identity: Identity, run_id: str) -> Deferred[int]:
        return self._ender.end_all(identity, run_id)

    def watch(self, identity: Identity, ended: Callable[[int | None], object]) -> Watching:
        return Watch(self._reactor, identity, ended)

    def open_output(self, identity: Identity) -> int | None:
        return reopen_pipe(identity.pid)
