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
import tempfile
import time
import unittest
from pathlib import Path

from tests.daemon import ROOT
from tests.docs.walk import make_jobd
from tests.optional import lacking
from tests.processes import PATIENCE

SYSTEMD = "/lib/systemd/systemd"
PREFIX = "/opt/jobd"
"""Where jobd is installed, as packaging and documentation have it."""
STAND_IN = "/run/test"
"""Where it is here."""
NAMESPACES = ["--pid", "--fork", "--kill-child", "--mount-proc", "--cgroup", "--uts", "--ipc", "--net"]

_BOOT = """
set -e
mount --make-rprivate /
umount -R /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs /run
cp -r "$1" "$3"
for directory in /var/lib /etc/default /etc/systemd/system; do
    mount -t tmpfs -o mode=755 tmpfs $directory
done
cp "$3/options" /etc/default/jobd
mount --bind /tmp /tmp    # stays writable: PrivateDevices= makes its devices there
mount -o remount,bind,ro /
exec env -i PATH="$3/bin:$PATH" container=jobd-test SYSTEMD_GENERATOR_PATH= \\
    SYSTEMD_UNIT_PATH="/etc/systemd/system:$3/units" \\
    "$2" --system --unit=boot.target --log-target=null --show-status=0
"""


class Manager:
    """A systemd that runs from now to the end of TEST, with jobd's units and DROP_INS for its service.

    Unless it is INSTALLED, its files are only in `STAND_IN`, as after `pip install`.
    """

    def __init__(
        self, test: unittest.TestCase, *drop_ins: str, options: str = "", installed: bool = True
    ) -> None:
        if os.geteuid() != 0:
            raise unittest.SkipTest("needs root, for namespaces")
        if not os.path.exists(SYSTEMD):
            lacking("systemd")
        directory = Path(tempfile.mkdtemp(prefix="jobd-systemd-"))
        test.addCleanup(shutil.rmtree, directory)
        _prepare(directory, drop_ins, options, installed)
        self._cgroup = _make_cgroup(test)
        said = directory / "log"
        with said.open("wb") as log:
            process = subprocess.Popen(
                ["unshare", *NAMESPACES, "sh", "-c", _BOOT, "boot", str(directory), SYSTEMD, STAND_IN],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=lambda: (self._cgroup / "cgroup.procs").write_text(str(os.getpid())),
                start_new_session=True,
            )
        test.addCleanup(self._end, process)
        self.pid = self._wait_until_it_runs(process, said)
        self.socket = f"unix:/proc/{self.pid}/root/run/jobd/jobd.sock"

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

    def type(self, command: str) -> str:
        """What a shell command prints on this machine; AssertionError where it fails."""
        done = subprocess.run(
            ["nsenter", "--target", str(self.pid), "--all", "sh", "-c", command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
            env={"PATH": f"{STAND_IN}/bin:{os.environ['PATH']}"},
        )
        if done.returncode:
            raise AssertionError(f"{command}: {done.stdout}\n{self.log}")
        return done.stdout

    def systemctl(self, *arguments: str) -> str:
        """What systemctl prints; AssertionError where it fails."""
        return self.type(shlex.join(["systemctl", *arguments]))

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


def _prepare(directory: Path, drop_ins: tuple[str, ...], options: str, installed: bool) -> None:
    """Fill DIRECTORY with what STAND_IN shall have."""
    share, units = directory / "share" / "jobd", directory / "units"
    for name in ("systemd", "default", "logrotate"):
        shutil.copytree(ROOT / "packaging" / name, share / name)
    for path in (path for path in share.rglob("*") if path.is_file()):
        path.write_text(path.read_text().replace(PREFIX, STAND_IN))
    if installed:
        shutil.copytree(share / "systemd", units)
    (units / "jobd.service.d").mkdir(parents=True)
    # There is no journal.
    for number, text in enumerate((*drop_ins, "[Service]\nStandardError=append:/run/log\n")):
        (units / "jobd.service.d" / f"{number}.conf").write_text(text)
    for target in ("boot", "sysinit", "basic", "sockets", "shutdown"):
        (units / f"{target}.target").write_text("[Unit]\nDefaultDependencies=no\n")
    (directory / "options").write_text(f'JOBD_OPTIONS="{options}"\n')
    make_jobd(directory / "bin")


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
