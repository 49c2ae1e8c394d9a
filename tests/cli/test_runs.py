"""jobctl and a daemon as processes of their own: runs, logs that grow, and the command itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import unittest

from tests.cli.support import run
from tests.daemon import ROOT, Daemon
from tests.processes import JOBD, ProcessTest

# Commands, and the status with which `run --wait` ends; None is any.
STATUSES = [
    ("true", 0),
    ("exit 3", 3),
    ("kill -TERM $$", 128 + signal.SIGTERM),
    ("/nowhere/nothing", 127),
]
START_TIMEOUT = 30
JOBCTL = [sys.executable, "-c", "from jobd.cli.main import main; main()"]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


class RunTests(unittest.TestCase):
    """`run`, `log -f` and `kill` with real processes."""

    def setUp(self) -> None:
        self.daemon = Daemon(self)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """`jobctl ARGUMENTS`, started."""
        process = subprocess.Popen(
            [*JOBCTL, *arguments],
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

    def test_events(self) -> None:
        """events prints what happened to all jobs, and with -f what happens."""
        for name in ("a", "b"):
            self.jobctl("add", name, "@daily", "true")
        self.assertRegex(self.jobctl("events", "-n", "1")[1], r"\A[^\n]*:created job=b by=[^\n]*\n\Z")
        events = self.start("events", "-f")
        assert events.stdout is not None
        for name in ("a", "b"):
            self.assertIn(f":created job={name} ", events.stdout.readline())
        self.jobctl("rm", "a")
        self.assertIn(":removed job=a ", events.stdout.readline())
        events.send_signal(signal.SIGINT)
        self.assertEqual(events.wait(START_TIMEOUT), 130)

    def fifo(self) -> str:
        """The path of a pipe that nobody writes to."""
        path = f"{self.daemon.log}-fifo"
        os.mkfifo(path)
        return path


class RestartTests(ProcessTest):
    """jobctl while the daemon goes away and comes back."""

    def setUp(self) -> None:
        super().setUp()
        self.options = self.arguments()
        self.daemon = self.serve()
        os.mkfifo(self.directory / "fifo")
        command = f"echo first; read line < {self.directory}/fifo; echo $line"
        self.assertEqual(run("--addr", self.address, "add", "a", "@daily", command).output, "")

    def serve(self) -> subprocess.Popen[bytes]:
        """A daemon that listens."""
        daemon = self.start(JOBD, *self.options)
        self.connect(daemon)
        return daemon

    def restart(self, jobctl: subprocess.Popen[bytes]) -> None:
        """Have the daemon end and begin; JOBCTL notices."""
        self.assertEqual(self.terminated(self.daemon), 0)
        said = self.errors.open("rb")
        self.addCleanup(said.close)
        lost = b"jobctl: the connection to jobd at %s was lost; waiting for it to come back\n"
        while (line := said.readline()) == b"" and jobctl.poll() is None:
            time.sleep(0.02)
        self.assertEqual(line, lost % self.address.encode())
        self.daemon = self.serve()

    def jobctl(self, *arguments: str) -> subprocess.Popen[bytes]:
        """`jobctl ARGUMENTS`, started; what it says is in `errors`."""
        self.errors = self.directory / "errors"
        with self.errors.open("wb") as errors:
            process = subprocess.Popen(
                [*JOBCTL, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=ENVIRONMENT | {"JOBD_ADDR": self.address},
            )
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process

    def feed(self) -> None:
        """Have the run go on."""
        (self.directory / "fifo").write_text("second\n")

    def test_log(self) -> None:
        """log -f goes on where it was, and says each line once."""
        run("--addr", self.address, "run", "a")
        log = self.jobctl("log", "-f", "a")
        assert log.stdout is not None
        self.assertTrue(log.stdout.readline().endswith(b":first\n"))
        self.restart(log)
        self.feed()
        self.assertTrue(log.stdout.readline().endswith(b":second\n"))

    def test_run(self) -> None:
        """run --wait shows what the run prints as it comes, and waits on for its end."""
        waiting = self.jobctl("run", "--wait", "a")
        assert waiting.stdout is not None
        self.assertEqual(waiting.stdout.readline(), b"first\n")
        self.restart(waiting)
        self.feed()
        self.assertEqual(waiting.stdout.read(), b"second\n")
        # Whose child the run was is gone, and with it what would know its status.
        self.assertEqual(waiting.wait(START_TIMEOUT), 125)


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
