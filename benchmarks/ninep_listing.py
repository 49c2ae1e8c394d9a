"""What directories cost as they grow: the server's processor time, in microseconds.

    python benchmarks/ninep_listing.py

Shown are for 1,000 to 100,000 jobs: the time for each entry of a listing of `/jobs`, in 9P2000.L
(Treaddir) and in 9P2000 (whole stat records), and the time of a walk to a job's file and of its stat, with
the client's share, in memory and without sockets.  Listing is linear where the first two stay the same.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Callable
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from jobd.access import Peer, User
from jobd.jobs.store import JobRecord
from jobd.ninep import messages as m
from jobd.ninep.session import Session
from jobd.testing import MemoryJobd

SIZES = (1_000, 10_000, 100_000)
REPEAT = 2_000


def processor_time(function: Callable[[], object]) -> float:
    """Microseconds that FUNCTION takes."""
    gc.collect()
    begin = time.process_time()
    function()
    return 1e6 * (time.process_time() - begin)


class Asker:
    """A client that looks at nothing but the count of bytes and the last cookie of what it is sent."""

    def __init__(self, filesystem: Any, dialect: m.Dialect) -> None:
        self.dialect = dialect
        peer = Peer("benchmark", User.by_uid(os.geteuid()))
        self.session = Session(filesystem, peer, write=lambda _: None)
        self.session.receive(m.encode(m.NOTAG, m.Tversion(1 << 17, dialect.version)))
        self.ask(m.Tattach(0, m.NOFID, "", ""))

    def ask(self, message: Any) -> bytes:
        reply = self.session.receive(m.encode(1, message, self.dialect))
        assert reply[4] == m.TYPES[type(message)] + 1, reply
        return reply

    def open(self, fid: int) -> None:
        self.ask(m.Tlopen(fid, 0) if self.dialect is m.LINUX else m.Topen(fid, 0))

    def list_all(self, fid: int) -> None:
        """Read the open directory FID to its end."""
        offset = 0
        while True:
            if self.dialect is m.LINUX:
                reply = self.ask(m.Treaddir(fid, offset, 100_000))
                # The last name is job and five digits long.
                offset = int.from_bytes(reply[-19:-11], "little") if len(reply) > 11 else 0
            else:
                reply = self.ask(m.Tread(fid, offset, 100_000))
                offset += len(reply) - 11
            if len(reply) == 11:
                return

    def repeat(self, *messages: Any) -> float:
        def ask() -> None:
            for _ in range(REPEAT):
                for message in messages:
                    self.ask(message)

        return processor_time(ask) / REPEAT


def measure(count: int) -> tuple[float, ...]:
    """The figures of a tree with COUNT jobs."""
    jobd = MemoryJobd()
    owner = User.by_uid(os.geteuid())
    for number in range(count):
        jobd.table.load(
            JobRecord(
                number + 1, f"job{number:05}", "", owner.name, owner.name, 0o711, "* * * * *", "true"
            )
        )  # fmt: skip
    figures = []
    for dialect in (m.LINUX, m.PLAIN):
        asker = Asker(jobd.tree, dialect)
        asker.ask(m.Twalk(0, 1, ("jobs",)))
        asker.open(1)
        figures.append(processor_time(lambda: asker.list_all(1)) / count)  # noqa: B023
    path = ("jobs", f"job{count // 2:05}", "ctl")
    figures.append(asker.repeat(m.Twalk(0, 2, path), m.Tclunk(2)))
    asker.ask(m.Twalk(0, 2, path))
    figures.append(asker.repeat(m.Tstat(2)))
    jobd.close()
    return tuple(figures)


if __name__ == "__main__":
    print(f"{'jobs':>8}{'.L entry':>10}{'entry':>10}{'walk':>10}{'stat':>10}")
    for count in SIZES:
        print(f"{count:8}" + "".join(f"{figure:10.1f}" for figure in measure(count)))
