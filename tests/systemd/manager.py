"""A systemd with namespaces of its own: PID 1 of a machine that has nothing but the units of a test.

It sees this machine's files, read-only but for /tmp, and has a /run, /var/lib and /etc/default of its own.
It needs root, and a cgroup v2 hierarchy in which groups can be made.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

from tests.daemon import ROOT
from tests.optional import lacking
from tests.processes import PATIENCE

SYSTEMD = "/lib/systemd/systemd"
UNITS = ROOT / "packaging" / "systemd"
COMMANDS = ("/opt/jobd/bin/jobd", "%h/.local/bin/jobd")
"""What the units start; it is not installed, and another stands for it."""
NAMESPACES = ["--pid", "--fork", "--kill-child", "--mount-proc", "--cgroup", "--uts", "--ipc", "--net"]

_BOOT = """
set -e
mount --make-rprivate /
umount -R /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs /run
cp -r "$1" /run/test
mount -t tmpfs -o mode=755 tmpfs /var/lib
mount -t tmpfs -o mode=755 tmpfs /etc/default
cp /run/test/default /etc/default/jobd
mount --bind /tmp /tmp    # stays writable: PrivateDevices= makes its devices there
mount -o remount,bind,ro /
exec env -i PATH="$PATH" container=jobd-test SYSTEMD_UNIT_PATH=/run/test/units SYSTEMD_GENERATOR_PATH= \\
    "$2" --system --unit=boot.target --log-target=null --show-status=0
"""


def unit(name: str, command: str) -> str:
    """The text of a unit of packaging/systemd that starts COMMAND."""
    text = (UNITS / name).read_text()
    for installed in COMMANDS:
        text = text.replace(installed, command)
    return text


class Manager:
    """A systemd that runs from now to the end of TEST, with jobd's units and DROP_INS for its service."""

    def __init__(self, test: unittest.TestCase, *drop_ins: str, options: str = "") -> None:
        if os.geteuid() != 0:
            raise unittest.SkipTest("needs root, for namespaces")
        if not os.path.exists(SYSTEMD):
            lacking("systemd")
        directory = Path(tempfile.mkdtemp(prefix="jobd-systemd-"))
        test.addCleanup(shutil.rmtree, directory)
        self._prepare(directory, drop_ins, options)
        self._cgroup = _make_cgroup(test)
        said = directory / "log"
        with said.open("wb") as log:
            process = subprocess.Popen(
                ["unshare", *NAMESPACES, "sh", "-c", _BOOT, "boot", str(directory), SYSTEMD],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=lambda: (self._cgroup / "cgroup.procs").write_text(str(os.getpid())),
                start_new_session=True,
            )
        test.addCleanup(self._end, process)
        self.pid = self._wait_until_it_runs(process, said)
        self.socket = f"unix:/proc/{self.pid}/root/run/jobd/jobd.sock"

    def _prepare(self, directory: Path, drop_ins: tuple[str, ...], options: str) -> None:
        units = directory / "units"
        (units / "jobd.service.d").mkdir(parents=True)
        for name in ("jobd.service", "jobd.socket"):
            (units / name).write_text(unit(name, "/run/test/jobd"))
        # There is no journal.
        for number, text in enumerate((*drop_ins, "[Service]\nStandardError=append:/run/log\n")):
            (units / "jobd.service.d" / f"{number}.conf").write_text(text)
        for target in ("boot", "sysinit", "basic", "sockets", "shutdown"):
            (units / f"{target}.target").write_text("[Unit]\nDefaultDependencies=no\n")
        (directory / "default").write_text(f'JOBD_OPTIONS="{options}"\nTZ=UTC\nPYTHONPATH={ROOT}\n')
        (directory / "jobd").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m jobd "$@"\n')
        (directory / "jobd").chmod(0o755)

    def _wait_until_it_runs(self, process: subprocess.Popen[bytes], said: Path) -> int:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and process.poll() is None:
            for pid in map(int, children.read_text().split()):
                if os.path.exists(f"/proc/{pid}/root/run/systemd/private"):
                    return pid
            time.sleep(0.02)
        raise AssertionError(f"systemd does not come up:\n{said.read_text()}")

    @property
    def log(self) -> str:
        """What jobd has said."""
        log = Path(f"/proc/{self.pid}/root/run/log")
        return log.read_text(errors="replace") if log.exists() else ""

    def systemctl(self, *arguments: str) -> str:
        """What systemctl prints; AssertionError where it fails."""
        command = ["nsenter", "--target", str(self.pid), "--all", "systemctl", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
        if done.returncode:
            raise AssertionError(f"{arguments}: {done.stdout}{done.stderr}\n{self.log}")
        return done.stdout

    def show(self, name: str) -> str:
        """The property NAME of the service."""
        return self.systemctl("show", "--value", "--property", name, "jobd.service").strip()

    def wait_for(self, name: str, value: str) -> None:
        """Wait until a property of the service has a value."""
        deadline = time.monotonic() + PATIENCE
        while self.show(name) != value:
            if time.monotonic() > deadline:
                raise AssertionError(f"{name} is {self.show(name)}, and never {value}:\n{self.log}")
            time.sleep(0.05)

    def kill(self, number: signal.Signals) -> None:
        """Send a signal to the service's own process."""
        self.systemctl("kill", "--kill-who=main", f"--signal={number.name}", "jobd.service")

    def processes(self, group: str = "") -> list[str]:
        """The command lines of the processes in a control group of the service, and in those below it."""
        place = self._cgroup / "system.slice" / "jobd.service" / group
        found = []
        for listing in place.rglob("cgroup.procs"):
            for pid in listing.read_text().split():
                found.append(Path("/proc", pid, "cmdline").read_text().replace("\0", " ").strip())
        return found

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()
        (self._cgroup / "cgroup.kill").write_text("1")
        deadline = time.monotonic() + PATIENCE
        while "populated 1" in (self._cgroup / "cgroup.events").read_text():
            if time.monotonic() > deadline:
                raise AssertionError(f"{self._cgroup} does not end")
            time.sleep(0.02)
        for group, _, _ in os.walk(self._cgroup, topdown=False):
            os.rmdir(group)


def _make_cgroup(test: unittest.TestCase) -> Path:
    """A control group for all of a systemd; SkipTest where there can be none."""
    from jobd.jobs.cgroups import _own

    own = _own("/proc/self")
    if own is None:
        raise unittest.SkipTest("needs cgroup v2")
    path = Path(own, f"jobd-test-{os.getpid()}")
    try:
        path.mkdir()
        (path / "cgroup.kill").stat()
    except OSError as error:
        raise unittest.SkipTest(f"needs a cgroup v2 in which groups can be made: {error}") from None
    return path
