"""How many jobs a second the store makes durable, beside SQLite alone in groups of the same size.

    python benchmarks/store.py [--seconds S] [--rounds N] [--dir DIRECTORY]

The store: as many clients as said, each of which creates a job, waits for its commit, and creates the next.
SQLite: the same row inserted by a loop that commits once for as many rows, with the same settings on the
same disk: what group commit could reach at best if it cost nothing itself.  Rounds alternate, and the best
of each counts, since a shared machine only ever makes things slower.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import tempfile
import time
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import react

from jobd.jobs.schema import upgrade
from jobd.jobs.statements import insert
from jobd.jobs.store import JobRecord, Store

CLIENTS = (1, 8, 64)


def job(id: int) -> JobRecord:
    """A job as `clone` makes it."""
    return JobRecord(id, f"job-{id}", f"job-{id}", "glenda", "users", 0o711, "*/5 * * * *", "backup --all")


async def through_the_store(reactor: Any, directory: str, clients: int, seconds: float) -> float:
    """Jobs a second."""
    store = Store.open(directory, reactor)
    made = 0
    end = time.perf_counter() + seconds

    async def client() -> None:
        nonlocal made
        while time.perf_counter() < end:
            await store.create_job(job(store.next_job_id()))
            made += 1

    begin = time.perf_counter()
    await gatherResults([Deferred.fromCoroutine(client()) for _ in range(clients)])
    rate = made / (time.perf_counter() - begin)
    await store.close()
    return rate


def sqlite_alone(path: str, group: int, seconds: float) -> float:
    """Rows a second."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    upgrade(connection)
    id = 0
    begin = time.perf_counter()
    while time.perf_counter() - begin < seconds:
        connection.execute("BEGIN IMMEDIATE")
        for _ in range(group):
            id += 1
            sql, parameters, _ = insert(job(id))
            connection.execute(sql, parameters)
        connection.execute("COMMIT")
    rate = id / (time.perf_counter() - begin)
    connection.close()
    return rate


async def main(reactor: Any, options: argparse.Namespace) -> None:
    """Measure and print."""
    print(f"{'clients':>8} {'store, jobs/s':>14} {'SQLite, rows/s':>15} {'ratio':>6}")
    for clients in CLIENTS:
        ours, alone = [], []
        for _ in range(options.rounds):
            with tempfile.TemporaryDirectory(dir=options.dir) as directory:
                alone.append(sqlite_alone(os.path.join(directory, "alone.db"), clients, options.seconds))
                ours.append(await through_the_store(reactor, directory, clients, options.seconds))
        print(f"{clients:8} {max(ours):14,.0f} {max(alone):15,.0f} {max(ours) / max(alone):6.2f}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dir", help="where the databases lie: the disk that is measured")
    arguments = parser.parse_args()
    react(lambda reactor: Deferred.fromCoroutine(main(reactor, arguments)))
