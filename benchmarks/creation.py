"""How many jobs a second a jobd makes durable through `clone`, beside what bounds it.

    python benchmarks/creation.py                    64 clients
    python benchmarks/creation.py --clients 1        one, which waits for each commit
    python benchmarks/creation.py --profile FILE     and where the daemon spends its time, for pstats

A client holds `clone` open and sends one Twrite a job, waiting for each answer: a C program, for all of
them.  The peers, in the same rounds: SQLite alone, which commits the same rows in groups of as many as
there are clients, on the same disk; and a Twisted server that gives each of the same messages a canned
reply, which is the most that a server in Python could do.  Jobs have one schedule, or 14,400 different ones.
Shown are the best of the rounds, since a shared machine only ever makes things slower; the time that 99
in 100 answers stay below; and the daemon's processor time for each job.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from typing import Any, NamedTuple

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [ROOT, os.path.join(ROOT, "benchmarks")]

from daemon import Daemon  # noqa: E402
from ninep import free_port, wait_for  # noqa: E402
from store import sqlite_alone  # noqa: E402

SCHEDULES = {"one schedule": "*/5 * * * *", "14,400 of them": "%10% %60% %24% 1 6 ? *"}


class Figures(NamedTuple):
    rate: float
    p99: float
    """Milliseconds."""
    cpu: float
    """Microseconds of the server's processor time for each."""


def load(load9p: str, port: int, message: str, options: Any) -> dict[str, Any]:
    """Have MESSAGE written to `clone` by all clients, for as long as asked."""
    command = [load9p, "-j", "-w", "0", "-t", str(options.seconds), "-c", str(options.clients)]
    command += ["-p", str(port), "-U", str(os.getuid()), "-m", "create:1", "-f", "clone", "-D", message]
    found: dict[str, Any] = json.loads(subprocess.check_output(command, text=True).splitlines()[-1])
    if found["errors"]:
        raise SystemExit(f"{found['errors']} messages were refused")
    return found


def through_clone(load9p: str, daemon: Daemon, port: int, message: str, options: Any) -> Figures:
    """One round of the daemon."""
    before = daemon.cpu()
    found = load(load9p, port, message, options)
    spent = daemon.cpu() - before
    return Figures(found["ops_s"], found["p99_us"] / 1e3, 1e6 * spent / (found["ops_s"] * found["secs"]))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dir", help="where the databases lie: the disk that is measured")
    parser.add_argument("--profile", metavar="FILE")
    options = parser.parse_args()
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(dir=options.dir))
        load9p = os.path.join(directory, "load9p")
        subprocess.run(["cc", "-O2", "-o", load9p, os.path.join(ROOT, "benchmarks", "load9p.c")], check=True)
        port, floor_port = free_port(), free_port()
        state, listen = os.path.join(directory, "state"), ("--fsaddr", f"127.0.0.1:{port}")
        daemon = stack.enter_context(Daemon(state, *listen, profile=options.profile))
        floor = [os.path.join(ROOT, "benchmarks", "ninep_servers.py"), "floor", str(floor_port)]
        canned = subprocess.Popen([sys.executable, *floor])
        stack.callback(canned.wait)
        stack.callback(canned.kill)
        wait_for(port)
        wait_for(floor_port)
        alone: list[float] = []
        bound: list[float] = []
        ours: dict[str, list[Figures]] = {name: [] for name in SCHEDULES}
        for number in range(options.rounds):
            database = os.path.join(directory, f"alone-{number}.db")
            alone.append(sqlite_alone(database, options.clients, options.seconds))
            for kind, (name, schedule) in enumerate(SCHEDULES.items()):
                message = f"job-{number}-{kind}-%0%:{schedule}:backup --all"
                if kind == 0:
                    bound.append(load(load9p, floor_port, message, options)["ops_s"])
                ours[name].append(through_clone(load9p, daemon, port, message, options))
        print(f"SQLite alone, {options.clients} rows a commit: {max(alone):,.0f} a second")
        print(f"canned replies: {max(bound):,.0f} a second, {max(bound) / max(alone):.2f} of SQLite")
        for name, rounds in ours.items():
            best = max(rounds)
            cpu = min(figures.cpu for figures in rounds)
            print(
                f"jobs with {name}: {best.rate:,.0f} a second, {best.rate / max(alone):.2f} of SQLite", end=""
            )
            print(
                f", {best.rate / max(bound):.2f} of canned; p99 {best.p99:.1f} ms, {cpu:.1f} us of processor"
            )


if __name__ == "__main__":
    main()
