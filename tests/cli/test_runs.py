"""jobctl and a daemon as processes of their own: runs, logs that grow, and the command itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import unittest

from tests.cli.support import run
from tests.daemon import ROOT, Daemon

# Commands, and the status with which `run --wait` ends; None is any.
STATUSES = [
    ("true", 0),
    ("exit 3", 3),
    ("kill -TERM $$", 128 + signal.SIGTERM),
    ("/nowhere/nothing", 127),
]
START_TIMEOUT = 30
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


class RunTests(unittest.TestCase):
    """`run`, `log -f` and `kill` with real processes."""

    def setUp(self) -> None:
        self.daemon = Daemon(self)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """`jobctl ARGUMENTS`, started."""
        process = subprocess.Popen(
            [sys.executable, "-c", "from jobd.cli.main import main; main()", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT | {"JOBD_ADDR": f"127.0.0.1:{self.daemon.port}"},
        )
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process

    def jobctl(self, *arguments: str) -> tuple[int, str, str]:
        """The status of `jobctl ARGUMENTS`, what it printed, and what it said on stderr."""
        result = run("--addr", f"127.0.0.1:{self.daemon.port}", *arguments)
        return result.exit_code, result.stdout, result.stderr

    def test_status_of_a_run(self) -> None:
        """run --wait prints what the run printed and ends as it ended."""
        self.jobctl("add", "a", "@daily", "x")
        for command, status in STATUSES:
            with self.subTest(command):
                self.jobctl("write", "jobs/a/cmd", f"echo {status}; {command}")
                found, output, errors = self.jobctl("run", "--wait", "a")
                self.assertEqual((found, output.splitlines()[0]), (status, str(status)))
                self.assertEqual(bool(errors), status != 0)
        status, output, _ = self.jobctl("run", "--wait", "--json", "a")
        self.assertEqual((status, json.loads(output)["exit"]), (127, "127"))

    def test_timeout(self) -> None:
        """A run that took too long ends run --wait with status 124."""
        self.jobctl("add", "a", "@daily", "sleep 60", "-o", "timeout=100ms")
        status, _, errors = self.jobctl("run", "--wait", "a")
        self.assertEqual(status, 124)
        self.assertIn("run 1: timeout", errors)

    def test_follow(self) -> None:
        """log -f prints what is added while it looks, until an interrupt ends it with status 130."""
        self.jobctl(
            "add", "a", "@daily", "echo first; read line < $FIFO", "--start", "-o", f"env=FIFO={self.fifo()}"
        )
        log = self.start("log", "-f", "a")
        assert log.stdout is not None
        self.assertTrue(log.stdout.readline().endswith(":started\n"))
        self.jobctl("run", "a")
        self.assertTrue(log.stdout.readline().endswith(":first\n"))
        self.jobctl("kill", "a")
        self.assertIn("killed", log.stdout.readline())
        log.send_signal(signal.SIGINT)
        self.assertEqual(log.wait(START_TIMEOUT), 130)
        assert log.stderr is not None
        self.assertEqual(log.stderr.read(), "")

    def fifo(self) -> str:
        """The path of a pipe that nobody writes to."""
        path = f"{self.daemon.log}-fifo"
        os.mkfifo(path)
        return path

    def test_lost_connection(self) -> None:
        """A daemon that goes away is said in one sentence, with status 4."""
        self.jobctl("add", "a", "@daily", "x", "--start")
        log = self.start("log", "-f", "a")
        assert log.stdout is not None and log.stderr is not None
        log.stdout.readline()
        self.daemon.stop()
        self.assertEqual(log.wait(START_TIMEOUT), 4)
        self.assertRegex(log.stderr.read(), r"\Ajobctl: the connection to jobd at .* was lost\n\Z")


class CommandTests(unittest.TestCase):
    """The command itself."""

    def test_help_imports_little(self) -> None:
        """--help is quick because what is slow to import isn't."""
        program = (
            # What measures the coverage of this process may have imported some of it before.
            "import sys; before = set(sys.modules); "
            "from jobd.cli.main import jobctl; jobctl(['--help'], standalone_mode=False); "
            "slow = {'twisted', 'croniter', 'cron_descriptor', 'sqlite3'}; "
            "print(sorted(slow & set(sys.modules) - before))"
        )
        found = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=ENVIRONMENT
        )
        self.assertEqual(found.stdout.splitlines()[-1], "[]")
        self.assertIn("Exit status:", found.stdout)
