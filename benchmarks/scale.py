"""A jobd with very many jobs: making, restarting, listing, and doing nothing.

    python benchmarks/scale.py                          100,000 jobs with 10,000 schedules
    python benchmarks/scale.py --jobs 20000 --started 2000

The jobs are made through `clone` (benchmarks/creation.py measures that).  Then the daemon is started anew:
seconds until a client has read `version`, and its memory.  A listing is one client that reads the directory
`jobs` to its end; a look at a job reads its `status`, and asks for the attributes of all its files.  At last
so many jobs are started whose next instant is far away: processor time while nothing is due.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [ROOT, os.path.join(ROOT, "benchmarks")]

from daemon import Client, Daemon  # noqa: E402

from jobd.ninep import messages as m  # noqa: E402
from jobd.ninep.interfaces import OWRITE  # noqa: E402

CLIENTS = 64
SCHEDULES = 10_000
IDLE = 20.0
"""Seconds."""
LOOKS = 1000


def schedule(number: int) -> str:
    """One of the distinct schedules, none of which comes soon."""
    number %= SCHEDULES
    month = (time.localtime().tm_mon + 5) % 12 + 1
    return f"{number % 60} {number // 60 % 24} {number // 1440 + 1} {month} *"


def create(daemon: Daemon, count: int) -> None:
    """Make COUNT jobs."""
    clients = [daemon.connect() for _ in range(CLIENTS)]
    fids = [client.open("clone", OWRITE) for client in clients]
    for first in range(0, count, CLIENTS):
        busy = list(zip(clients, fids, range(first, min(count, first + CLIENTS)), strict=False))
        for client, fid, number in busy:
            client.send(m.Twrite(fid, 0, f"job{number}:{schedule(number)}:true".encode()))
        for client, _, _ in busy:
            client.receive()


def listing(client: Client) -> tuple[int, float]:
    """How many bytes a listing of all jobs has, and how many seconds it takes."""
    begin = time.perf_counter()
    fid = client.open("jobs")
    offset = 0
    while data := client.ask(m.Tread(fid, offset, 60_000)).data:
        offset += len(data)
    return offset, time.perf_counter() - begin


def look(client: Client, number: int) -> None:
    """Read the `status` of a job, and ask for the attributes of its files."""
    client.read_file(f"jobs/job{number}/status")
    for name in ("ctl", "cmd", "schedule", "log", "options", "status", "next", "history", "runs"):
        client.ask(m.Twalk(0, 1 << 20, ("jobs", f"job{number}", name)))
        client.ask(m.Tstat(1 << 20))
        client.ask(m.Tclunk(1 << 20))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--started", type=int, default=10_000)
    parser.add_argument("--dir", help="where the database lies: the disk that is measured")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.dir) as directory:
        state = os.path.join(directory, "state")
        with Daemon(state) as daemon:
            daemon.connect()
            create(daemon, options.jobs)
        begin = time.perf_counter()
        with Daemon(state) as daemon:
            client = daemon.connect()
            client.read_file("version")
            seconds = time.perf_counter() - begin
            print(f"{options.jobs:,} jobs: serving after {seconds:.2f} s, {daemon.memory() / 1e6:.0f} MB")
            size, seconds = listing(client)
            print(f"a listing of them: {seconds:.2f} s, {size / 1e6:.1f} MB", end="")
            print(f"; memory {daemon.memory() / 1e6:.0f} MB")
            begin = time.perf_counter()
            for number in range(LOOKS):
                look(client, number)
            seconds = time.perf_counter() - begin
            print(f"a look at a job: {1e3 * seconds / LOOKS:.2f} ms")
            for number in range(options.started):
                client.write(f"jobs/job{number}/ctl", "start")
        begin = time.perf_counter()
        with Daemon(state) as daemon:
            daemon.connect().read_file("version")
            seconds = time.perf_counter() - begin
            print(f"{options.started:,} of them started: serving after {seconds:.2f} s", end="")
            print(f", {daemon.memory() / 1e6:.0f} MB")
            time.sleep(3)
            cpu = daemon.cpu()
            time.sleep(IDLE)
            print(f"idle with them: {(daemon.cpu() - cpu) / IDLE:.2%} of a processor")


if __name__ == "__main__":
    main()
