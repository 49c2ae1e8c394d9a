"""A thousand processes that are due at once: how late the last one starts, and what each costs.

    python benchmarks/burst.py                            the ways beside each other, in turn
    python benchmarks/burst.py --heap 500 --files 5000    the same with 500 MB of heap and 5,000 open files

Each way starts `sh -c true` so many times, as fast as it can; C is a program with posix_spawn(3), compiled
here, which does nothing else.  A line a way: seconds from the due instant to the last start, starts a second,
and milliseconds of processor time of the starting process for each, user and system.  The rounds are
interleaved, since other load comes and goes; what is shown is the best of them, and the median.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any, NamedTuple

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import react

from jobd.jobs.here import Here
from jobd.jobs.launch import Account, Command
from jobd.jobs.processes import PosixSpawner, SetsidSpawner, seal_inherited

C_PROGRAM = r"""
#define _GNU_SOURCE
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>

static double seconds(struct timeval t) { return t.tv_sec + t.tv_usec / 1e6; }

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
    int count = atoi(argv[1]);
    char *args[] = {"/bin/sh", "-c", "true", NULL}, *env[] = {NULL};
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);
    double begin = now();
    for (int i = 0; i < count; i++) {
        pid_t pid;
        if (posix_spawn(&pid, args[0], NULL, &attributes, args, env)) return 1;
        while (waitpid(-1, NULL, WNOHANG) > 0) ;
    }
    double last = now() - begin;
    while (waitpid(-1, NULL, 0) > 0) ;
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    printf("%f %f\n", last, seconds(use.ru_utime) + seconds(use.ru_stime));
    return 0;
}
"""


class Round(NamedTuple):
    last: float
    """Seconds to the last start."""
    cpu: float
    """Seconds of processor time of the starting process alone."""


class Counting(ProcessProtocol):
    """Fires DONE when so many processes have exited."""

    def __init__(self, count: int) -> None:
        self.left = count
        self.done: Deferred[None] = Deferred()

    def makeConnection(self, transport: Any) -> None:
        pass

    def processExited(self, reason: Any) -> None:
        self.left -= 1
        if not self.left:
            self.done.callback(None)

    def childDataReceived(self, descriptor: int, data: bytes) -> None:
        pass

    def childConnectionLost(self, descriptor: int) -> None:
        pass

    def processEnded(self, reason: Any) -> None:
        pass


def own_cpu() -> float:
    use = resource.getrusage(resource.RUSAGE_SELF)
    return use.ru_utime + use.ru_stime


@inlineCallbacks
def burst(count: int, start: Callable[[ProcessProtocol], None]) -> Any:
    """Start COUNT processes in slices of a few milliseconds, as jobd's runner does."""
    protocol = Counting(count)
    begin, cpu = time.monotonic(), own_cpu()
    left = count

    def a_slice() -> None:
        nonlocal left, last
        until = time.monotonic() + 0.005
        while left and time.monotonic() < until:
            start(protocol)
            left -= 1
            last = time.monotonic() - begin
        if left:
            reactor.callLater(0, a_slice)

    last = 0.0
    a_slice()
    yield protocol.done
    return Round(last, own_cpu() - cpu)


def compile_c(directory: str) -> str | None:
    """The C program, compiled into DIRECTORY; None where there is no compiler."""
    if not shutil.which("cc"):
        return None
    source, program = os.path.join(directory, "burst.c"), os.path.join(directory, "burst")
    with open(source, "w") as file:
        file.write(C_PROGRAM)
    subprocess.run(["cc", "-O2", "-o", program, source], check=True)
    return program


def ways(count: int, directory: str) -> dict[str, Callable[[], Any]]:
    null = os.open(os.devnull, os.O_RDWR)
    standard = {0: null, 1: null, 2: null}
    here = Here.at_home()
    posix = PosixSpawner(reactor, here)

    def plain(spawner: Any, files: Any = standard) -> Callable[[ProcessProtocol], None]:
        args = ["/bin/sh", "-c", "true"]
        return lambda protocol: spawner.spawnProcess(protocol, args[0], args, {}, childFDs=files)

    def launched(command: Command) -> Callable[[ProcessProtocol], None]:
        def start(protocol: ProcessProtocol) -> None:
            argv = command.argv
            with command.files() as files:
                posix.spawnProcess(
                    protocol, argv[0], argv, command.environment, childFDs={**standard, **files}
                )

        return start

    program = compile_c(directory)

    def in_c() -> Any:
        output = subprocess.check_output([str(program), str(count)], text=True)
        return Round(*map(float, output.split()))

    found: dict[str, Callable[[], Any]] = {}
    if program is not None:
        found["C, posix_spawn"] = in_c
    direct = Command("true", here.directory, {}, here, umask=here.umask)
    elsewhere = Command(
        "true", "/", {"HOME": "/", "PATH": "/usr/bin:/bin"}, here._replace(directory="/nowhere")
    )
    found["PosixSpawner"] = lambda: burst(count, plain(posix))
    found["  a command, started directly"] = lambda: burst(count, launched(direct))
    found["  a command in another directory"] = lambda: burst(count, launched(elsewhere))
    if os.geteuid() == 0:
        other = Command(
            "true",
            "/",
            elsewhere.shown_environment,
            here,
            account=Account("nobody", 65534, 65534, (65534,), "/"),
        )
        found["  a command of another user"] = lambda: burst(count, launched(other))
    found["the reactor's spawnProcess"] = lambda: burst(count, plain(reactor))
    found["  with pipes of its own"] = lambda: burst(count, plain(reactor, None))
    found["  through setsid"] = lambda: burst(count, plain(SetsidSpawner(reactor)))
    return found


@inlineCallbacks
def main(_reactor: Any, options: argparse.Namespace) -> Any:
    seal_inherited()
    heap = bytearray(os.urandom(1 << 20) * options.heap)
    files = [os.open(os.devnull, os.O_RDONLY) for _ in range(options.files)]
    with tempfile.TemporaryDirectory() as directory:
        rounds: dict[str, list[Round]] = {}
        for _ in range(options.rounds):
            for name, way in ways(options.count, directory).items():
                if options.only is None or options.only in name:
                    rounds.setdefault(name, []).append((yield way()))
    print(f"{options.count} x sh -c true, {options.heap} MB of heap, {options.files} open files")
    print(f"{'':34}{'last start':>11}{'median':>9}{'starts/s':>10}{'CPU each':>11}")
    for name, results in rounds.items():
        last = [result.last for result in results]
        cpu = min(result.cpu for result in results) / options.count
        print(
            f"{name:34}{min(last):9.2f} s{statistics.median(last):7.2f} s"
            f"{options.count / min(last):10.0f}{cpu * 1e3:8.2f} ms"
        )
    for fd in files:
        os.close(fd)
    del heap


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--heap", type=int, default=0, metavar="MB")
    parser.add_argument("--files", type=int, default=0)
    parser.add_argument("--only", metavar="WORD", help="just the ways with this word in their name")
    react(main, [parser.parse_args()])
