"""The session of the README through clients that others wrote, in each dialect that they speak."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.trial.unittest import SynchronousTestCase

from tests.clients.environment import require
from tests.daemon import Daemon
from tests.optional import lacking

TIMEOUT = 30


class RefusedError(Exception):
    """The server refused, with these words."""


class Client:
    """A program beside this file, driven as tests/clients/serving.py says."""

    def __init__(self, test: SynchronousTestCase, program: str, package: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name(program), *arguments],
            env=os.environ | {"PYTHONPATH": str(require(package))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        test.addCleanup(self._process.communicate)

    def ask(self, *request: str) -> Any:
        """The value that a method of the client gives. Raises RefusedError."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise AssertionError(f"the client ended at {request}; its traceback is on stderr")
        answer = json.loads(line)
        if "error" in answer:
            raise RefusedError(answer["error"])
        return answer["value"]


if TYPE_CHECKING:
    Mixin = SynchronousTestCase
else:
    Mixin = object


class Session(Mixin):
    """The tests, for a client that `connect` starts."""

    def connect(self, port: int) -> Client:
        raise NotImplementedError

    def setUp(self) -> None:
        self.client = self.connect(Daemon(self).port)

    def wait_for(self, words: str, path: str) -> None:
        """Read a file again and again until it holds WORDS."""
        deadline = time.monotonic() + TIMEOUT
        while words not in self.client.ask("read", path):
            self.assertLess(time.monotonic(), deadline, f"no {words} in {path}")
            time.sleep(0.1)

    def test_life_of_a_job(self) -> None:
        """A job made through clone is started, runs, tells so in its log, and is stopped."""
        ask = self.client.ask
        self.assertLessEqual({"clone", "ctl", "error", "jobs", "version"}, set(ask("names", "")))
        ask("write", "clone", "hello:* * * * * ? *:echo hello world")
        self.assertEqual(ask("names", "jobs"), ["hello"])
        self.assertEqual(ask("read", "jobs/hello/cmd"), "echo hello world\n")
        ask("write", "jobs/hello/schedule", "* * * * * * *\n")
        self.assertEqual(ask("read", "jobs/hello/schedule"), "* * * * * * *\n")
        ask("write", "jobs/hello/ctl", "start")
        self.assertEqual(ask("read", "jobs/hello/ctl"), "started\n")
        self.wait_for(":hello world\n", "jobs/hello/log")
        ask("write", "jobs/hello/ctl", "stop\n")
        self.assertEqual(ask("read", "jobs/hello/ctl"), "stopped\n")
        self.assertIn(":stopped\n", ask("read", "jobs/hello/log"))

    def test_directories(self) -> None:
        """A directory made in jobs is an empty stopped job; removed, it is gone."""
        self.client.ask("mkdir", "jobs/empty")
        self.assertEqual(self.client.ask("read", "jobs/empty/ctl"), "stopped\n")
        self.client.ask("remove", "jobs/empty")
        self.assertEqual(self.client.ask("names", "jobs"), [])

    def test_refusals(self) -> None:
        """A bad write is refused as an invalid argument, and /error says what was wrong with it."""
        ask = self.client.ask
        ask("write", "clone", "job:@daily:true")
        for path, text in (
            ("clone", "no job"),
            ("jobs/job/ctl", "nonsense"),
            ("jobs/job/schedule", "61 * * * *"),
        ):
            with self.assertRaisesRegex(RefusedError, "^Invalid argument$"):
                ask("write", path, text)
        with self.assertRaisesRegex(RefusedError, "(?i)exist"):
            ask("write", "clone", "job:@daily:true")
        self.assertRegex(
            ask("read", "error"), r"(?s)/clone: .*/jobs/job/ctl: .*nonsense.*/schedule: .*minute"
        )
        self.assertEqual(ask("read", "jobs/job/schedule"), "@daily\n")


class P9fsLinuxTests(Session, SynchronousTestCase):
    """p9fs, 9P2000.L."""

    def connect(self, port: int) -> Client:
        return Client(self, "p9fs_client.py", "p9fs", str(port), "9P2000.L")


class P9fsUnixTests(Session, SynchronousTestCase):
    """p9fs, 9P2000.u."""

    def connect(self, port: int) -> Client:
        return Client(self, "p9fs_client.py", "p9fs", str(port), "9P2000.u")


class P9fsPlan9Tests(Session, SynchronousTestCase):
    """p9fs, 9P2000."""

    def connect(self, port: int) -> Client:
        return Client(self, "p9fs_client.py", "p9fs", str(port), "9P2000")


class Python9pTests(Session, SynchronousTestCase):
    """python-9p, 9P2000."""

    def connect(self, port: int) -> Client:
        return Client(self, "python_9p_client.py", "python-9p", str(port))


class DiodTests(SynchronousTestCase):
    """The tools of diod, which speak 9P2000.L and only look."""

    def run_tool(self, tool: str, *arguments: str) -> str:
        """What a tool of diod prints, of a jobd with one job."""
        program = shutil.which(tool, path=f"{os.environ['PATH']}:/usr/sbin")
        if program is None:
            lacking(f"{tool}, of the Debian package diod")
        daemon = Daemon(self, {"jobs.db": "hello:@hourly:echo hello\n"})
        done = subprocess.run(
            [program, "--server", f"127.0.0.1:{daemon.port}", "--aname", "/", *arguments],
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout

    def test_diodls(self) -> None:
        """diodls lists a directory, with modes and lengths."""
        lines = self.run_tool("diodls", "-l", "jobs/hello").splitlines()
        modes = {line.split()[-1]: line.split()[0].rstrip(".") for line in lines}
        self.assertEqual(
            (modes["ctl"], modes["log"], modes["runs"]), ("-rw-r--r--", "-r--------", "dr-x------")
        )

    def test_diodcat(self) -> None:
        """diodcat prints files one after another."""
        text = self.run_tool("diodcat", "jobs/hello/cmd", "jobs/hello/schedule", "jobs/hello/ctl")
        self.assertEqual(text, "echo hello\n@hourly\nstopped\n")
