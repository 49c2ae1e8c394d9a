"""`jobctl` at many jobs: making them from an export, listing, exporting.

    python benchmarks/jobctl.py [--jobs 10000] [--rounds 3]

For each command: seconds on the clock, processor time of jobctl and of the daemon, jobctl's peak memory.
The peer of `ls` reads the same files over the same kind of
connection, one request after another.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from typing import IO, Any

from daemon import ROOT, Daemon

JOBCTL = [sys.executable, "-c", "from jobd.cli.main import main; main()"]


def export_of(jobs: int) -> str:
    """A text that `jobctl import` reads."""
    return "\n".join(
        f"job job-{number:06}\nschedule {number % 60} {number % 24} * * *\nstate started\ncommand true\n"
        for number in range(jobs)
    )


def measure(daemon: Daemon, *arguments: str, stdin: IO[Any] | int = subprocess.DEVNULL) -> str:
    """What `jobctl ARGUMENTS` costs, as cells of a table."""
    environment = os.environ | {"JOBD_ADDR": f"unix:{daemon.socket}"}
    cpu, begin = daemon.cpu(), time.monotonic()
    process = subprocess.Popen(
        [*JOBCTL, *arguments], stdin=stdin, stdout=subprocess.DEVNULL, cwd=ROOT, env=environment
    )
    _, status, usage = os.wait4(process.pid, 0)
    took = time.monotonic() - begin
    if status:
        raise SystemExit(f"jobctl {arguments} ended with {status}")
    own = usage.ru_utime + usage.ru_stime
    return f"{took:.2f} s | {own:.2f} s | {daemon.cpu() - cpu:.2f} s | {usage.ru_maxrss / 1024:.0f} MB"


def one_by_one(daemon: Daemon, jobs: int) -> str:
    """What it costs to read the same files one after another."""
    client = daemon.connect()
    cpu, own, begin = daemon.cpu(), time.process_time(), time.monotonic()
    for number in range(jobs):
        client.read_file(f"jobs/job-{number:06}/status")
    took, own = time.monotonic() - begin, time.process_time() - own
    return f"{took:.2f} s | {own:.2f} s | {daemon.cpu() - cpu:.2f} s | "


def main() -> None:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print("| | on the clock | jobctl | daemon | jobctl's memory |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as directory, tempfile.TemporaryFile("w+") as text:
        text.write(export_of(options.jobs))
        text.seek(0)
        with Daemon(os.path.join(directory, "state")) as daemon:
            daemon.connect()
            print(f"| `import` | {measure(daemon, 'import', '-', stdin=text)} |")
            for _ in range(options.rounds):
                for command in (("ls",), ("ls", "--json"), ("export",)):
                    print(f"| `{' '.join(command)}` | {measure(daemon, *command)} |", flush=True)
                print(f"| one request after another | {one_by_one(daemon, options.jobs)} |")


if __name__ == "__main__":
    main()
