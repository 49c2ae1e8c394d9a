"""A jobd with a thousand jobs that are due in the same second: when the last one starts, and what it costs.

    python benchmarks/due.py                    1,000 jobs, beside a C program in the same rounds
    python benchmarks/due.py --count 300 --rounds 5
    python benchmarks/due.py --heap 500 --files 5000    the same with 500 MB of heap and 5,000 open files
    python benchmarks/due.py --profile FILE     and where the daemon spends its time, for pstats

The daemon is a process of its own, with its database on the disk of --dir.  All jobs are `true` and due once,
at the same second; when each process began is read from the database afterwards.  Meanwhile one 9P client
reads a small file of the daemon's, 2 ms after each answer: of these the median and the 99th percentile are
shown, in milliseconds, from the due second to the last start.  Processor time is the daemon's own, user and
system, from just before the due second until all runs have ended and are recorded, a run.  C is a program
with posix_spawn(3) that starts as many `sh -c true` and does nothing else.

Then runs one after another in one job, each asked for by hand when the one before has ended: runs a second.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [ROOT, os.path.join(ROOT, "benchmarks")]

from burst import compile_c  # noqa: E402
from daemon import Client, Daemon  # noqa: E402

NANO = 1_000_000_000
SUSTAINED = 200


class Burst(NamedTuple):
    last: float
    """Seconds from the due second to the last start."""
    cpu: float
    """Seconds of processor time of the daemon."""
    latencies: list[float]
    """Milliseconds of each read."""


def burst(daemon: Daemon, client: Client, count: int) -> Burst:
    """Have COUNT new jobs run at the same second."""
    due = int(time.time()) + 5 + count // 60
    schedule = time.strftime("@at %Y-%m-%dT%H%M%S", time.gmtime(due))
    names = [f"due-{due}-{number}" for number in range(count)]
    for name in names:
        client.write("clone", f"{name}:{schedule}:true")
        client.write(f"jobs/{name}/ctl", "start")
    if time.time() > due - 0.5:
        raise SystemExit("this machine takes too long to make the jobs: choose a smaller --count")
    time.sleep(max(0.0, due - 0.2 - time.time()))
    cpu = daemon.cpu()
    latencies = []
    fid = client.open("version")
    while True:
        begin = time.perf_counter()
        client.read(fid)
        latencies.append((time.time(), (time.perf_counter() - begin) * 1000))
        # Often enough to see each stall, and seldom enough to be no load.
        time.sleep(0.002)
        if len(latencies) % 50 == 0 and time.time() > due + 0.2 and daemon.ended(due) >= count:
            break
    starts = daemon.starts(due)
    last = max(starts) / NANO - due
    return Burst(last, daemon.cpu() - cpu, [ms for when, ms in latencies if due <= when <= due + last])


def sustained(client: Client, count: int) -> float:
    """Runs a second, one after another."""
    client.write("clone", "again:@yearly:true")
    begin = time.perf_counter()
    for number in range(1, count + 1):
        client.write("jobs/again/ctl", "run")
        client.read_file(f"jobs/again/runs/{number}/wait")
    return count / (time.perf_counter() - begin)


def in_c(program: str, count: int) -> Burst:
    last, cpu = map(float, subprocess.check_output([program, str(count)], text=True).split())
    return Burst(last, cpu, [])


def show(name: str, rounds: list[Burst], count: int) -> None:
    last = [each.last for each in rounds]
    line = f"{name:10}{min(last):9.2f} s{statistics.median(last):9.2f} s"
    line += f"{min(each.cpu for each in rounds) / count * 1e3:9.2f} ms"
    latencies = sorted(ms for each in rounds for ms in each.latencies)
    if latencies:
        line += f"{statistics.median(latencies):9.2f} ms{latencies[int(len(latencies) * 0.99)]:9.2f} ms"
    print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dir", help="where the database lies: the disk that is measured")
    parser.add_argument(
        "--heap", type=int, default=0, metavar="MB", help="that the daemon has beside its own"
    )
    parser.add_argument("--files", type=int, default=0, help="that the daemon has open beside its own")
    parser.add_argument("--profile", metavar="FILE")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.dir) as directory:
        program = compile_c(directory)
        ballast = options.heap, options.files
        with Daemon(os.path.join(directory, "state"), profile=options.profile, ballast=ballast) as daemon:
            client = daemon.connect()
            ours, theirs = [], []
            for _ in range(options.rounds):
                if program:
                    theirs.append(in_c(program, options.count))
                ours.append(burst(daemon, client, options.count))
            print(f"{options.count} jobs due in the same second, rounds in turn")
            print(f"{'':10}{'last start':>11}{'median':>11}{'CPU a run':>12}{'9P p50':>12}{'p99':>12}")
            if theirs:
                show("C", theirs, options.count)
            show("jobd", ours, options.count)
            if theirs:
                ratio = min(each.last for each in ours) / min(each.last for each in theirs)
                print(f"jobd / C: {ratio:.2f}")
            cpu = daemon.cpu()
            rate = sustained(client, SUSTAINED)
            each = (daemon.cpu() - cpu) / SUSTAINED * 1e3
            print(f"one after another: {rate:.0f} runs a second, {each:.2f} ms of processor time each")


if __name__ == "__main__":
    main()
