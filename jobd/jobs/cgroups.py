"""A control group for each run, where the kernel lets us make one: what no process leaves by itself.

cgroup v2, see Documentation/admin-guide/cgroup-v2.rst of Linux: whatever a member starts is a member, and
one write to cgroup.kill (Linux 5.14) ends them all.  The groups are made below the daemon's own; no
controller is turned on in them.  A daemon that runs under systemd needs `Delegate=yes`.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque

KILL = "cgroup.kill"
PROCS = "cgroup.procs"
SWEPT_AT_A_TIME = 256
"""Groups: some milliseconds."""


class Cgroups:
    """Makes, fills and ends the groups of runs, each named by its run's id, below the directory ROOT."""

    def __init__(self, root: str) -> None:
        self._root = root
        # What an earlier daemon left is looked at too; its runs that go on keep theirs.
        self._left = deque(self.run_ids())
        """Runs whose group may have to be removed still."""

    @classmethod
    def find(cls, proc: str = "/proc/self") -> Cgroups | None:
        """Those of this process; None where groups are not to be had, or not ours to make."""
        try:
            own = _own(proc)
            if own is None:
                return None
            root = os.path.join(own, "jobd")
            os.makedirs(root, exist_ok=True)
            if not os.access(os.path.join(root, KILL), os.W_OK) or not os.access(
                os.path.join(own, PROCS), os.W_OK
            ):
                return None
        except OSError:
            return None
        return cls(root)

    def add(self, run_id: str, pid: int) -> bool:
        """Put process PID, and what it starts from now on, into the group of a run; whether that was done."""
        path = self._path(run_id)
        try:
            with contextlib.suppress(FileExistsError):  # of an earlier attempt
                os.mkdir(path)
            _write(f"{path}/{PROCS}", pid)
        except OSError:  # ended already, or the system takes no more groups
            return False
        return True

    def members(self, run_id: str) -> set[int]:
        """The processes in the group of a run."""
        try:
            with open(os.path.join(self._path(run_id), PROCS)) as file:
                return {int(line) for line in file}
        except OSError:
            return set()

    def run_ids(self) -> list[str]:
        """The runs that have a group."""
        try:
            return [entry.name for entry in os.scandir(self._root) if entry.is_dir()]
        except OSError:
            return []

    def kill(self, run_id: str) -> None:
        """KILL every process in the group of a run, and whatever they start meanwhile."""
        try:
            _write(os.path.join(self._path(run_id), KILL), 1)
        except OSError:
            pass

    def remove(self, run_id: str) -> bool:
        """Take the group of a run away; False where somebody is in it still: `sweep` does it then."""
        try:
            os.rmdir(self._path(run_id))
        except FileNotFoundError:
            return True
        except OSError:
            self._left.append(run_id)
            return False
        return True

    def sweep(self) -> None:
        """Take away groups that somebody stayed in after the run, where the last of them has ended."""
        for _ in range(min(len(self._left), SWEPT_AT_A_TIME)):
            self.remove(self._left.popleft())

    def _path(self, run_id: str) -> str:
        return f"{self._root}/{run_id}"


def _own(proc: str) -> str | None:
    """The directory of this process's group; None where cgroup v2 is not mounted."""
    with open(os.path.join(proc, "mountinfo")) as file:
        mounts = [line.split() for line in file]
    with open(os.path.join(proc, "cgroup")) as file:
        groups = dict(line.rstrip("\n").split(":", 1) for line in file)
    path = groups.get("0", ":").removeprefix(":")
    for fields in mounts:
        kind = fields[fields.index("-") + 1]
        root, place = fields[3], fields[4]
        if kind == "cgroup2" and (path + "/").startswith(root.rstrip("/") + "/"):
            return os.path.join(place, os.path.relpath(path, root)) if path != root else place
    return None


def _write(path: str, number: int) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, b"%d" % number)
    finally:
        os.close(fd)
