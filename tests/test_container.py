"""jobd as the first process of a container."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import unittest
from collections.abc import Sequence
from pathlib import Path

from tests.daemon import ROOT
from tests.processes import JOBD, PATIENCE, ProcessTest

INIT = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
ORPHANS = "for n in 1 2 3; do (sleep 0.1 & :); done; sleep 1"
"""Leaves three processes without a parent to wait for them, and sees their end."""
ZOMBIES = "cat /proc/[0-9]*/stat | grep -c ') Z '"
LOADING = """
import os, sys, time
from jobd import __main__
from jobd.service import JobService

start = JobService.startService

def load(self):
    print("loading", flush=True)
    while not os.path.exists("loaded"):
        time.sleep(0.01)
    start(self)

JobService.startService = load
__main__.main(sys.argv[1:])
"""
"""A jobd that takes long to load its jobs."""


class InitTest(ProcessTest):
    """It is PID 1 of a namespace of its own, whose end is the end of all in it."""

    def setUp(self) -> None:
        if subprocess.run([*INIT, "true"], stderr=subprocess.DEVNULL, check=False).returncode:
            raise unittest.SkipTest("needs root, and leave to make a namespace of processes")
        super().setUp()

    def boot(self, *options: str, command: Sequence[str] = JOBD) -> subprocess.Popen[bytes]:
        """A process that ends as PID 1 does, which is `self.init` here."""
        process = self.start([*INIT, *command], *self.arguments(), *options)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        self.wait_until(lambda: children.read_text() != "")
        self.init = int(children.read_text())
        return process

    def test_signals(self) -> None:
        """SIGTERM and SIGINT end it with status 0. They would not end an init that did not handle them."""
        for number in (signal.SIGTERM, signal.SIGINT):
            process = self.boot()
            self.connect(process).write("/clone", f"job{number}:@yearly:true")
            os.kill(self.init, number)
            self.assertEqual(process.wait(PATIENCE), 0)
        self.assertNotIn("Traceback", self.log.read_text())

    def test_while_it_loads(self) -> None:
        """A SIGTERM that comes while the jobs are loaded is heeded when they are."""
        process = self.boot(command=[sys.executable, "-c", LOADING])
        self.wait_until(lambda: "loading" in self.log.read_text())
        os.kill(self.init, signal.SIGTERM)
        (self.directory / "loaded").touch()
        self.assertEqual(process.wait(PATIENCE), 0)

    def test_wrong_option(self) -> None:
        """The container's status is that of jobd."""
        self.assertEqual(self.boot("--max-runs", "none").wait(PATIENCE), 2)

    def test_orphans(self) -> None:
        """Whoever loses its parent is waited for: no zombie stays."""
        client = self.connect(self.boot())
        client.write("/clone", f"orphans:@yearly:{ORPHANS}")
        client.write("/jobs/orphans/ctl", "run")
        client.read("/jobs/orphans/runs/1/wait")
        client.write("/clone", f"zombies:@yearly:{ZOMBIES}")
        run = 0

        def none() -> bool:
            nonlocal run
            run += 1
            client.write("/jobs/zombies/ctl", "run")
            client.read(f"/jobs/zombies/runs/{run}/wait")
            return client.read(f"/jobs/zombies/runs/{run}/output") == "0\n"

        self.wait_until(none)

    def test_stop_wait(self) -> None:
        """Runs have --stop-wait to end in; those that need longer end with the container, and are lost."""
        process = self.boot("--stop-wait", "2s")
        client = self.connect(process)
        for name, command in (("short", "sleep 1; echo done"), ("long", "echo begun; sleep 600")):
            client.write("/clone", f"{name}:@yearly:{command}")
            client.write(f"/jobs/{name}/ctl", "run")
        self.wait_until(lambda: "begun" in client.read("/jobs/long/log"))
        os.kill(self.init, signal.SIGTERM)
        self.assertEqual(process.wait(PATIENCE), 0)
        client = self.connect(self.boot())
        self.assertIn("outcome=ok", client.read("/jobs/short/history"))
        self.assertIn(":done\n", client.read("/jobs/short/log"))
        self.assertIn("outcome=lost", client.read("/jobs/long/runs/1/wait"))


class ContainerfileTest(ProcessTest):
    """What packaging/Containerfile starts; no engine builds it here."""

    def test_commands(self) -> None:
        """The daemon starts as the file says, and the health check finds it well, and ill when it is gone."""
        text = (ROOT / "packaging" / "Containerfile").read_text()
        for path in ("/var/lib/jobd", "/run/jobd"):
            text = text.replace(path, f"{self.directory}{path}")
        (self.directory / "run/jobd").mkdir(parents=True)
        (self.directory / "var/lib").mkdir(parents=True)
        entrypoint, command, check = (
            json.loads(re.findall(rf"^{name}\b.*?(\[.*\])$", text, re.MULTILINE)[0])
            for name in ("ENTRYPOINT", "CMD", "HEALTHCHECK")
        )
        address = re.findall(r"JOBD_ADDR=(\S+)", text)[0]
        self.assertEqual((entrypoint[0], check[0]), ("jobd", "jobctl"))
        daemon = self.start(JOBD, *entrypoint[1:], *command)
        self.connect(daemon, address)
        self.assertEqual(self.healthy(check, address), 0)
        self.assertEqual(self.terminated(daemon), 0)
        self.assertNotEqual(self.healthy(check, address), 0)

    def healthy(self, check: Sequence[str], address: str) -> int:
        """The status of the health check."""
        return subprocess.run(
            [sys.executable, "-c", "from jobd.cli.main import main; main()", *check[1:]],
            env={**os.environ, "JOBD_ADDR": address, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        ).returncode
