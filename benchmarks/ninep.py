"""Requests a second that 9P servers answer, beside each other in the same run.

    python benchmarks/ninep.py                        the floor and ours, 9P2000
    python benchmarks/ninep.py --peers                and diod and pyroute2, where they are installed
    python benchmarks/ninep.py --server go=5650       and any other that listens there and has a file `small`

The load generator is a C program, compiled here; it takes one processor and the server another.  Shown are
for each server: operations a second (of large reads MB), and as a ratio to the first server's; the time that
99 in 100 stay below, and the server's processor time for each, both in microseconds.  Rounds are
interleaved, since other load comes and goes, and medians are shown; of processor time, which it disturbs
less, the least.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from typing import Any, NamedTuple

HERE = os.path.dirname(os.path.abspath(__file__))
SHAPES = ((1, 1), (4, 8), (32, 1))
OPERATIONS = ("read", "walk", "stat", "write")
TICK = os.sysconf("SC_CLK_TCK")


class Server(NamedTuple):
    name: str
    port: int
    pid: int | None
    version: str = "9P2000"
    aname: str = ""


class Figures(NamedTuple):
    rate: float
    megabytes: float
    """Read in a second."""
    p99: float
    """Microseconds from request to reply; all but one in a hundred took less."""
    cpu: float


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(stack: ExitStack, cpu: str, *command: str) -> int:
    """Start a server that ends with STACK; its pid."""
    # diod dies of SIGPIPE when a client goes too early.
    shell = ["sh", "-c", 'trap "" PIPE; exec taskset -c "$0" "$@"', cpu]
    process = subprocess.Popen([*shell, *command], stderr=subprocess.DEVNULL)
    stack.callback(process.wait)
    stack.callback(process.kill)
    return process.pid


def wait_for(port: int) -> None:
    """Return when something listens on PORT."""
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"nothing listens on port {port}")


def processor_time(pid: int | None) -> float:
    """Seconds that a process has run, as far as the kernel's ticks tell."""
    if pid is None:
        return 0.0
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def measure(load9p: str, server: Server, shape: tuple[int, int], seconds: float, more: list[str]) -> Figures:
    command = f"taskset -c 1 {load9p} -j -w 0 -U {os.getuid()} -p {server.port} -v {server.version}".split()
    command += ["-A", server.aname, "-t", str(seconds), "-c", str(shape[0]), "-d", str(shape[1]), *more]
    before = processor_time(server.pid)
    output = subprocess.run(command, capture_output=True, text=True, check=False)
    if output.returncode:
        raise SystemExit(f"{server.name}: {output.stderr}")
    spent = processor_time(server.pid) - before
    found: dict[str, Any] = json.loads(output.stdout.splitlines()[-1])
    operations = max(found["ops_s"] * found["secs"], 1)
    return Figures(found["ops_s"], found["MBs_in"], found["p99_us"], 1e6 * spent / operations)


def summary(rounds: list[Figures]) -> Figures:
    median = [statistics.median(figures) for figures in zip(*rounds, strict=True)]
    return Figures(*median[:3], cpu=min(figures.cpu for figures in rounds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement")
    parser.add_argument("--peers", action="store_true", help="measure diod and pyroute2 too")
    parser.add_argument(
        "--server", action="append", default=[], metavar="NAME=PORT", help="any other 9P2000 server"
    )
    options = parser.parse_args()
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        load9p = os.path.join(directory, "load9p")
        subprocess.run(["cc", "-O2", "-o", load9p, os.path.join(HERE, "load9p.c")], check=True)
        servers = []
        kinds = ["floor", "ours"] + (["pyroute2"] if options.peers else [])
        for kind in kinds:
            port = free_port()
            pid = start(stack, "0", sys.executable, os.path.join(HERE, "ninep_servers.py"), kind, str(port))
            servers.append(Server(kind, port, pid))
        servers.append(servers[1]._replace(name="ours .L", version="9P2000.L"))
        diod = shutil.which("diod", path="/usr/sbin:/usr/local/sbin:" + os.environ["PATH"])
        if options.peers and diod:
            port = free_port()
            exported = os.path.join(directory, "export")
            os.mkdir(exported)
            with open(os.path.join(exported, "small"), "w") as file:
                file.write("start")
            with open(os.path.join(exported, "large"), "wb") as file:
                file.write(bytes(1 << 20))
            pid = start(
                stack, "0", diod, "-f", "-n", "-N", "-c", "/dev/null", "-L", "stderr",
                "-e", exported, "-l", f"127.0.0.1:{port}",
            )  # fmt: skip
            servers.append(Server("diod .L", port, pid, "9P2000.L", exported))
        for text in options.server:
            name, _, port_text = text.partition("=")
            servers.append(Server(name, int(port_text), None))
        for server in servers:
            wait_for(server.port)
        print(f"{'':16}" + "".join(f"{server.name:>24}" for server in servers))
        for shape in SHAPES:
            for operation in OPERATIONS:
                more = ["-m", f"{operation}:1", "-f", "small"]
                show(f"{shape[0]}x{shape[1]} {operation}", load9p, servers, shape, more, options)
        for msize in (1 << 13, 1 << 16, 1 << 20):
            more = ["-m", "read:1", "-f", "large", "-M", str(msize), "-n", str(msize - 24)]
            able = [server for server in servers if server.name != "floor"]
            show(f"read {msize >> 10}K, 1x4", load9p, able, (1, 4), more, options, large=True)


def show(
    label: str,
    load9p: str,
    servers: list[Server],
    shape: Any,
    more: list[str],
    options: Any,
    large: bool = False,
) -> None:
    """Measure one row and print it: operations (LARGE: MB) a second, ratio to the first's, processor time."""
    rounds: dict[str, list[Figures]] = {server.name: [] for server in servers}
    for _ in range(options.rounds):
        for server in servers:
            rounds[server.name].append(measure(load9p, server, shape, options.seconds, more))
    figures = [summary(rounds[server.name]) for server in servers]
    rates = [each.megabytes if large else each.rate for each in figures]
    cells = [
        f"{rate:.0f} {rate / rates[0]:.2f} {each.p99:.0f} {each.cpu:.1f}"
        for rate, each in zip(rates, figures, strict=True)
    ]
    print(f"{label:16}" + " " * 24 * large + "".join(f"{cell:>24}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
