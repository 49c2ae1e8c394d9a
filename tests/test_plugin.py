"""The daemon as a process of its own, started in each of the ways it can be."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import sysconfig

from jobd.ninep import messages as m
from tests.daemon import free_port
from tests.processes import JOBD, PATIENCE, ProcessTest, wait_until_gone

SCRIPTS = sysconfig.get_path("scripts")
TWISTD = [os.path.join(SCRIPTS, "twistd")]


class StartTest(ProcessTest):
    """The ways to start it."""

    def test_foreground(self) -> None:
        """Each command serves, and ends at a SIGTERM as its kind does, with nothing but info in its log."""
        for command, statuses in (
            (JOBD, {0}),
            ([*TWISTD, "-n", "--pidfile=", "jobd"], {0, -signal.SIGTERM}),
            ([sys.executable, "-m", "twisted", "jobd"], {0, -signal.SIGTERM}),
        ):
            process = self.start(command, *self.arguments())
            self.assertRegex(self.connect(process).read("/version"), r"^jobd \S+\n$")
            self.assertIn(self.terminated(process), statuses, command)
            self.assertNotRegex(self.log.read_text(), "Traceback|Unhandled|error")

    def test_scripts(self) -> None:
        """`jobd` and `twist jobd` are installed, and know their options."""
        for command in (["jobd"], ["twist", "jobd"]):
            script = os.path.join(SCRIPTS, command[0])
            if not os.path.exists(script):
                self.skipTest(f"{script} is not installed")
            process = self.start([script, *command[1:]], "--version")
            self.assertEqual(process.wait(PATIENCE), 0)
            self.assertRegex(self.log.read_text(), r"\Ajobd \S+\n\Z")

    def test_background(self) -> None:
        """`twistd jobd` returns when the daemon serves; its second start fails with a line and status 1."""
        pidfile = self.directory / "pid"
        arguments = self.arguments()
        command = [*TWISTD, f"--pidfile={pidfile}", f"--logfile={self.directory}/daemon.log", "jobd"]
        self.assertEqual(self.start(command, *arguments).wait(PATIENCE), 0)
        pid = int(pidfile.read_text())
        try:
            self.assertIn("running", self.connect().read("/ctl"))
            command[1] = f"--pidfile={pidfile}2"
            self.assertEqual(self.start(command, *arguments).wait(PATIENCE), 1)
            self.assertIn("Address already in use", self.log.read_text())
        finally:
            os.kill(pid, signal.SIGTERM)
            wait_until_gone(pid)

    def test_what_is_in_use(self) -> None:
        """An address or a directory in use ends the start with one line and status 1."""
        process = self.start(JOBD, *self.arguments())
        self.connect(process)
        address, listening = self.address, r"(\S+ \[-\] 9P server starting on \S+\n)*"
        for options, sentence in (
            (
                ["--fsaddr", address, "--dbdir", f"{self.state}2"],
                f"--fsaddr {address}: Address already in use",
            ),
            (
                ["--fsaddr", "127.0.0.1:0", "--dbdir", str(self.state)],
                f"--dbdir {self.state} is in use by another",
            ),
            (
                ["--fsaddr", "127.0.0.1:0", "--dbdir", str(self.log)],
                f"--dbdir {self.log} can't be used: Not a directory",
            ),
        ):
            second = self.start(JOBD, *options)
            self.assertEqual(second.wait(PATIENCE), 1)
            self.assertRegex(self.log.read_text(), rf"\A{listening}jobd: {re.escape(sentence)}.*\n\Z")
        self.assertFalse(os.path.exists(f"{self.state}2"))

    def test_several_addresses(self) -> None:
        """It listens on all addresses it is given, and knows who is at the other end of each."""
        unix = f"unix:{self.directory}/socket"
        addresses = [f"127.0.0.1:{free_port()}", unix]
        if socket.has_ipv6 and has_ipv6_loopback():
            addresses.append(f"[::1]:{free_port()}")
        process = self.start(JOBD, *self.arguments(*addresses))
        for number, address in enumerate(addresses):
            client = self.connect(process, address)
            client.write("/clone", f"job{number}:@yearly:true")
        self.assertEqual(self.connect(process).read("/ctl").splitlines()[1], f"jobs={len(addresses)}")
        self.assertEqual(self.terminated(process), 0)
        self.assertFalse(os.path.exists(unix.removeprefix("unix:")))

    def test_trust(self) -> None:
        """With `--trust-tcp none` a TCP peer is nobody, whom --anonymous lets in and nothing else."""
        process = self.start(JOBD, *self.arguments(), "--trust-tcp", "none")
        refusal = self.connect(process).attached
        self.assertIn("--anonymous USER", getattr(refusal, "ename", ""))
        self.terminated(process)
        process = self.start(JOBD, *self.arguments(), "--trust-tcp", "none", "--anonymous", "nobody")
        self.assertIsInstance(self.connect(process).attached, m.Rattach)

    def test_what_is_said(self) -> None:
        """`--debug` has a line for every message, whatever --log-level keeps out of the log."""
        process = self.start(JOBD, *self.arguments(), "--debug", "--log-level", "critical")
        self.connect(process).read("/version")
        self.assertEqual(self.terminated(process), 0)
        lines = [line for line in self.log.read_text().splitlines() if " starting on " not in line]
        sent = [re.sub(r"^127\.0\.0\.1:\d+ (->|<-) (\w+).*", r"\1 \2", line) for line in lines]
        names = ("version", "attach", "walk", "open", "read", "clunk")
        self.assertEqual(sent, [arrow + name for name in names for arrow in ("-> T", "<- R")])


class SurvivalTest(ProcessTest):
    """What a crash leaves."""

    def test_killed(self) -> None:
        """What was answered before a `kill -9` is there after it: jobs, states, logs and histories."""
        process = self.start(JOBD, *self.arguments())
        client = self.connect(process)
        client.write("/clone", "one:@yearly:echo one")
        client.write("/clone", "two:@hourly:echo two")
        client.write("/jobs/one/ctl", "run")
        client.read("/jobs/one/runs/1/wait")
        client.write("/jobs/two/ctl", "start")
        paths = [f"/jobs/{job}/{name}" for job in ("one", "two") for name in (
            "cmd", "schedule", "ctl", "options", "history", "status", "log"
        )]  # fmt: skip
        before = [client.read(path) for path in paths]
        process.kill()
        process.wait()
        process = self.start(JOBD, *self.arguments(self.address))
        client = self.connect(process)
        self.assertEqual([client.read(path) for path in paths], before)
        self.assertIn(":one\n", before[6])

    def test_original(self) -> None:
        """An original jobs.db is imported at the first start, and what is wrong in it is said."""
        self.state.mkdir()
        (self.state / "jobs.db").write_text("hello:0 0/5 * * * ? *:echo hello\nbroken\nbad:99 * * * *:x\n")
        process = self.start(JOBD, *self.arguments())
        client = self.connect(process)
        self.assertEqual(client.read("/jobs/hello/ctl"), "stopped\n")
        self.assertEqual(client.read("/ctl").splitlines()[1], "jobs=1")
        self.terminated(process)
        self.assertRegex(self.log.read_text(), r"(?s)jobs\.db: line 2: .*job bad is not taken in: .*minute")


def has_ipv6_loopback() -> bool:
    """Whether ::1 is an address of this machine."""
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            return False
    return True
