"""jobd as a service: sockets that are handed over, and what the service manager is told."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from jobd.ninep import messages as m
from jobd.systemd import Notifier
from tests.daemon import ROOT
from tests.optional import lacking
from tests.processes import JOBD, PATIENCE, ProcessTest

HAND_OVER = """
import fcntl, os, sys
files = [fcntl.fcntl(int(file), fcntl.F_DUPFD, 100) for file in sys.argv[1].split(",")]
for number, file in enumerate(files, 3):
    os.dup2(file, number)
    os.close(file)
os.environ |= {
    "LISTEN_PID": str(os.getpid()),
    "LISTEN_FDS": str(len(files)),
    "LISTEN_FDNAMES": ":".join("x" for _ in files),
}
os.execv(sys.argv[2], sys.argv[2:])
"""
"""What systemd does between fork and exec: sockets become 3 and above, and the environment says how many."""


class Manager:
    """The socket on which a service manager listens to its services."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(path)
        self._socket.settimeout(PATIENCE)
        self.heard: list[str] = []

    def wait_for(self, news: str) -> list[str]:
        """What was told from the last call up to NEWS, a line each."""
        begin = len(self.heard)
        while news not in self.heard[begin:]:
            self.heard += self._socket.recv(4096).decode().splitlines()
        return self.heard[begin:]

    def close(self) -> None:
        self._socket.close()


class NotifierTest(SynchronousTestCase):
    """sd_notify(3)."""

    def setUp(self) -> None:
        self.path = self.mktemp()
        self.manager = Manager(self.path)
        self.addCleanup(self.manager.close)

    def test_news(self) -> None:
        """A status is told when it is another one."""
        notifier = Notifier({"NOTIFY_SOCKET": self.path})
        for status in ("1 jobs", "1 jobs", "2 jobs"):
            notifier.alive(status)
        notifier.stopping(1.5)
        self.assertEqual(
            self.manager.wait_for("EXTEND_TIMEOUT_USEC=1500000"),
            ["STATUS=1 jobs", "STATUS=2 jobs", "STOPPING=1", "EXTEND_TIMEOUT_USEC=1500000"],
        )

    def test_abstract(self) -> None:
        """An address that begins with @ is in the abstract name space."""
        name = f"jobd-test-{os.getpid()}"
        manager = Manager("\0" + name)
        self.addCleanup(manager.close)
        Notifier({"NOTIFY_SOCKET": "@" + name}).ready()
        self.assertEqual(manager.wait_for("READY=1"), ["READY=1"])

    def test_nobody(self) -> None:
        """Without a manager, or when it went, nothing is told and nothing fails."""
        for environment in ({}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": self.path + "-gone"}):
            Notifier(environment).ready()

    def test_watchdog(self) -> None:
        """Who is watched says by half of the time that it is alive; the watch of another is no affair."""
        now = 1000.0
        self.patch(time, "monotonic", lambda: now)
        notifier = Notifier({"NOTIFY_SOCKET": self.path, "WATCHDOG_USEC": "10000000"})
        notifier.ready()
        told = []
        for _ in range(12):
            now += 1
            notifier.alive("")
            notifier.stopping(now)
            told.append("WATCHDOG=1" in self.manager.wait_for(f"EXTEND_TIMEOUT_USEC={int(now * 1e6)}"))
        self.assertEqual([second for second, alive in enumerate(told, 1) if alive], [4, 8, 12])
        for pid, watchdog in ((os.getpid(), 10.0), (1, None)):
            self.assertEqual(
                Notifier({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": str(pid)}).watchdog, watchdog
            )


class ServiceTest(ProcessTest):
    """The daemon under a service manager."""

    def setUp(self) -> None:
        super().setUp()
        self.notify = str(self.directory / "notify")
        self.manager = Manager(self.notify)
        self.addCleanup(self.manager.close)

    def test_told(self) -> None:
        """It says when it serves, how it stands, that it is alive, that it reads anew, and that it stops."""
        environment = {"NOTIFY_SOCKET": self.notify, "WATCHDOG_USEC": "3000000"}
        process = self.start(JOBD, *self.arguments(), "--stop-wait", "5m", environment=environment)
        self.assertEqual(self.manager.wait_for("READY=1"), ["READY=1"])
        client = self.connect(process)
        client.write("/clone", "one:@yearly:true")
        self.manager.wait_for("STATUS=1 jobs, 0 runs")
        self.manager.wait_for("WATCHDOG=1")
        client.write("/ctl", "pause")
        self.manager.wait_for("STATUS=1 jobs, 0 runs, paused")
        process.send_signal(signal.SIGHUP)
        told = self.manager.wait_for("READY=1")
        self.assertLess(told.index("RELOADING=1"), told.index("READY=1"))
        self.assertEqual(self.terminated(process), 0)
        self.assertIn("STOPPING=1", self.manager.wait_for("EXTEND_TIMEOUT_USEC=360000000"))

    def test_refused(self) -> None:
        """It never says that it serves where it can't."""
        process = self.start(
            JOBD, *self.arguments(), "--dbdir", "/dev/null", environment={"NOTIFY_SOCKET": self.notify}
        )
        self.assertEqual(process.wait(PATIENCE), 1)
        Notifier({"NOTIFY_SOCKET": self.notify}).stopping(0)
        self.assertNotIn("READY=1", self.manager.wait_for("STOPPING=1"))


class SocketTest(ProcessTest):
    """Socket activation."""

    def setUp(self) -> None:
        super().setUp()
        self.path = str(self.directory / "socket")
        self.unix = self.listen(socket.AF_UNIX, self.path)
        self.tcp = self.listen(socket.AF_INET, ("127.0.0.1", 0))
        self.port = self.tcp.getsockname()[1]

    def listen(self, family: int, address: object) -> socket.socket:
        """What the service manager listens on."""
        listening = socket.socket(family)
        self.addCleanup(listening.close)
        listening.bind(address)
        listening.listen()
        return listening

    def hand_over(self, *sockets: socket.socket, options: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        """A daemon that has SOCKETS from its manager."""
        files = [each.fileno() for each in sockets]
        command = [
            sys.executable,
            "-c",
            HAND_OVER,
            ",".join(map(str, files)),
            *JOBD,
            "--dbdir",
            str(self.state),
        ]
        return self.start(command, *options, files=files)

    def test_taken(self) -> None:
        """Without --fsaddr it serves on what it was handed, and knows who is at the other end."""
        process = self.hand_over(self.unix, self.tcp)
        for number, address in enumerate((f"unix:{self.path}", f"127.0.0.1:{self.port}")):
            client = self.connect(process, address)
            client.write("/clone", f"job{number}:@yearly:true")
        self.assertIn("jobs=2\n", client.read("/ctl"))
        self.assertEqual(self.terminated(process), 0)

    def test_between(self) -> None:
        """Who comes between two daemons waits for the second: nobody is refused, and no path goes away."""
        process = self.hand_over(self.unix)
        self.connect(process, f"unix:{self.path}").write("/clone", "one:@yearly:true")
        self.assertEqual(self.terminated(process), 0)
        waiting = socket.socket(socket.AF_UNIX)
        self.addCleanup(waiting.close)
        waiting.settimeout(PATIENCE)
        waiting.connect(self.path)
        waiting.sendall(m.encode(1, m.Tversion(8192, m.VERSION_9P2000)))
        second = self.hand_over(self.unix)
        self.assertTrue(waiting.recv(1))
        self.assertIn("jobs=1\n", self.connect(second, f"unix:{self.path}").read("/ctl"))

    def test_said_otherwise(self) -> None:
        """With --fsaddr only that counts: other addresses, or one of the sockets."""
        address = f"unix:{self.directory}/other"
        process = self.hand_over(self.tcp, options=["--fsaddr", address])
        self.connect(process, address)
        self.assertNotIn(str(self.port), self.log.read_text())
        self.terminated(process)
        process = self.hand_over(self.unix, self.tcp, options=["--fsaddr", "systemd:domain=INET:index=1"])
        self.connect(process, f"127.0.0.1:{self.port}")
        self.assertNotIn(self.path, self.log.read_text())

    def test_no_such_socket(self) -> None:
        """What can't be listened on ends the start with a line."""
        connected, other = socket.socketpair()
        self.addCleanup(connected.close)
        self.addCleanup(other.close)
        process = self.hand_over(connected)
        self.assertEqual(process.wait(PATIENCE), 2)
        self.assertRegex(self.log.read_text(), r"\Ajobd: LISTEN_FDS: file descriptor 3 is no socket .*\n\Z")


class HangupTest(ProcessTest):
    """SIGHUP."""

    def test_log(self) -> None:
        """A log that was moved away goes on in a new file; one that can't be opened, where it was."""
        directory = self.directory / "logs"
        directory.mkdir()
        log = directory / "jobd.log"
        process = self.start(JOBD, *self.arguments(), "--logfile", str(log))
        self.connect(process)
        log.rename(directory / "jobd.log.1")
        self.hang_up(process, log, times=1)
        self.assertNotIn("starting on", log.read_text())
        directory.rename(self.directory / "away")
        self.hang_up(process, self.directory / "away/jobd.log", times=2)
        self.assertIn(
            "No such file or directory; the log goes on", (self.directory / "away/jobd.log").read_text()
        )
        self.assertEqual(self.terminated(process), 0)
        self.assertEqual(self.log.read_text(), "")

    def hang_up(self, process: subprocess.Popen[bytes], log: Path, times: int) -> None:
        """Send SIGHUP, and wait until LOG tells of the TIMES-th."""
        process.send_signal(signal.SIGHUP)
        self.wait_until(lambda: log.exists() and log.read_text().count("SIGHUP") >= times)

    def test_logrotate(self) -> None:
        """logrotate(8), by the file of packaging, moves the log away and has jobd begin another."""
        logrotate = shutil.which("logrotate", path="/usr/sbin:/sbin:" + os.environ["PATH"])
        if logrotate is None:
            lacking("logrotate")
        log = self.directory / "jobd.log"
        process = self.start(JOBD, *self.arguments(), "--logfile", str(log))
        self.connect(process)
        text = (ROOT / "packaging" / "logrotate" / "jobd").read_text()
        for there, here in (
            ("/var/log/jobd.log", str(log)),
            ("systemctl kill --signal=HUP --kill-who=main jobd.service", f"kill -HUP {process.pid}"),
        ):
            self.assertIn(there, text)
            text = text.replace(there, here)
        snippet = self.directory / "snippet"
        snippet.write_text(text)
        snippet.chmod(0o644)
        subprocess.run([logrotate, "--force", "--state", f"{snippet}.state", str(snippet)], check=True)
        self.wait_until(lambda: log.exists() and "SIGHUP" in log.read_text())
        self.assertIn("starting on", log.with_name("jobd.log.1").read_text())
        self.assertNotIn("starting on", log.read_text())

    def test_twistd(self) -> None:
        """twistd begins another log at SIGUSR1, and reads zones anew at SIGHUP like any jobd."""
        log = self.directory / "twistd.log"
        process = self.start(
            [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"],
            "-n", "--pidfile=", f"--logfile={log}", "jobd", *self.arguments(),
        )  # fmt: skip
        self.connect(process)
        process.send_signal(signal.SIGUSR1)
        self.wait_until(log.with_name("twistd.log.1").exists)
        self.hang_up(process, log, times=1)
        self.assertNotIn("starting on", log.read_text())

    def test_zones(self) -> None:
        """A job goes by the new rules of its zone, and is told so at once."""
        zones = self.directory / "zones"
        zones.mkdir()

        def have_rules_of(name: str) -> None:
            (zones / "Here").write_bytes(files("tzdata").joinpath("zoneinfo", name).read_bytes())

        have_rules_of("Asia/Tokyo")
        process = self.start(JOBD, *self.arguments(), environment={"PYTHONTZPATH": str(zones)})
        client = self.connect(process)
        client.write("/clone", "one:0 12 * * *:true")
        client.write("/jobs/one/options", "timezone Here\n")
        client.write("/jobs/one/ctl", "start")
        self.assertIn(" 12:00:00 +0900 JST", client.read("/jobs/one/schedule"))
        have_rules_of("Asia/Kolkata")
        self.hang_up(process, self.log, times=1)
        self.assertIn(" 12:00:00 +0530 IST", client.read("/jobs/one/schedule"))
        self.assertEqual(self.terminated(process), 0)

    def test_terminal(self) -> None:
        """A daemon on a terminal ends with it, as after SIGTERM."""
        ours, terminal = os.openpty()
        self.addCleanup(os.close, ours)
        process = self.start(
            ["sh", "-c", f'exec "$@" </proc/self/fd/{terminal}', "sh", *JOBD],
            *self.arguments(),
            files=[terminal],
        )
        os.close(terminal)
        self.connect(process)
        process.send_signal(signal.SIGHUP)
        self.assertEqual(process.wait(PATIENCE), 0)
