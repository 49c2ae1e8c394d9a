"""The units do what their comments say."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

from tests.daemon import ROOT
from tests.processes import Client, ProcessTest
from tests.systemd.manager import Manager

UNITS = ROOT / "packaging" / "systemd"

RUN = "echo before; read line < /run/go; echo after $line"
"""A command that waits until the test tells it something."""


class VerifyTest(ProcessTest):
    """What systemd-analyze finds."""

    def test_verify(self) -> None:
        """It finds nothing to say of the units, nor of a drop-in, as units of the system and of a user."""
        analyze = shutil.which("systemd-analyze")
        if analyze is None:
            self.skipTest("needs systemd-analyze")
        self.directory.joinpath("jobd.service.d").mkdir()
        true = shutil.which("true") or ""
        for names, options in (
            (["jobd.service", "jobd.socket"], []),
            (["jobd.service", "jobd.service.d/confined.conf", "jobd.socket"], []),
            (["user/jobd.service"], ["--user"]),
        ):
            paths = []
            for name in names:
                path = self.directory / name.removeprefix("user/")
                text = (UNITS / name.removeprefix("jobd.service.d/")).read_text()
                path.write_text(re.sub(r"(?<=ExecStart=)\S+", true, text))
                if path.suffix != ".conf":
                    paths.append(str(path))
            found = subprocess.run(
                [analyze, "verify", "--man=no", *options, *paths],
                capture_output=True,
                text=True,
                env={"XDG_RUNTIME_DIR": str(self.directory), "PATH": "/usr/bin:/bin"},
                check=False,
            )
            self.assertEqual((found.returncode, found.stdout, found.stderr), (0, "", ""), names)


class ServiceTest(ProcessTest):
    """The service under a systemd that is PID 1."""

    def boot(self, *drop_ins: str, options: str = "") -> Manager:
        """A systemd that has started jobd, with a pipe for the job of a test."""
        self.manager = manager = Manager(self, *drop_ins, options=options)
        self.pipe = f"/proc/{manager.pid}/root/run/go"
        os.mkfifo(self.pipe)
        manager.systemctl("start", "jobd.service")
        return manager

    def run_job(self, manager: Manager) -> Client:
        """A client, when a run of `RUN` has printed its first line."""
        client = self.connect(address=manager.socket)
        client.write("/clone", f"one:@yearly:{RUN}")
        client.write("/jobs/one/ctl", "run")
        self.wait_until(lambda: "before" in client.read("/jobs/one/log"))
        return client

    def test_runs_go_on(self) -> None:
        """A run goes on over a restart, a crash and a stop of jobd, in its own control group."""
        manager = self.boot()
        self.run_job(manager)
        of_run = manager.processes("jobd")
        self.assertEqual(len(of_run), 1)
        for leave in (
            lambda: manager.systemctl("restart", "jobd.service"),
            lambda: (manager.kill(signal.SIGKILL), manager.wait_for("NRestarts", "1"))[-1],
            lambda: manager.systemctl("stop", "jobd.service"),
        ):
            before = manager.show("MainPID")
            leave()
            self.assertEqual(manager.processes("jobd"), of_run)
            self.assertNotEqual(manager.show("MainPID"), before)
        self.assertEqual(manager.processes(), of_run)
        # Its socket is there still, and starts it.
        client = self.connect(address=manager.socket)
        self.assertEqual(manager.show("ActiveState"), "active")
        Path(self.pipe).write_text("all that\n")
        self.assertRegex(client.read("/jobs/one/runs/1/wait"), "outcome=(ok|lost) ")
        self.assertIn("after all that\n", client.read("/jobs/one/log"))

    def test_ended_whole(self) -> None:
        """What a run has started is ended with it, by a jobd that did not start it too."""
        manager = self.boot()
        client = self.run_job(manager)
        manager.systemctl("restart", "jobd.service")
        client = self.connect(address=manager.socket)
        client.write("/jobs/one/ctl", "kill")
        self.assertIn("outcome=killed", client.read("/jobs/one/runs/1/wait"))
        self.wait_until(lambda: not manager.processes("jobd"))

    def test_watchdog(self) -> None:
        """jobd says in time that it is alive; when it hangs it is started again, and its run goes on."""
        manager = self.boot("[Service]\nWatchdogSec=6s\nRestartSec=0\n")
        self.run_job(manager)
        of_run = manager.processes("jobd")
        for _ in range(2):
            heard = manager.show("WatchdogTimestampMonotonic")
            self.wait_until(lambda heard=heard: manager.show("WatchdogTimestampMonotonic") != heard)
        self.assertEqual(manager.show("NRestarts"), "0")
        manager.kill(signal.SIGSTOP)
        manager.wait_for("NRestarts", "1")
        manager.wait_for("StatusText", "1 jobs, 1 runs")
        self.assertEqual(manager.processes("jobd"), of_run)

    def test_reload(self) -> None:
        """A reload is done when jobd says so, and is no restart."""
        manager = self.boot()
        before = manager.show("MainPID")
        manager.systemctl("reload", "jobd.service")
        self.assertEqual((manager.show("ActiveState"), manager.show("MainPID")), ("active", before))
        self.wait_until(lambda: "SIGHUP" in manager.log)

    def test_wrong_option(self) -> None:
        """With an option that is wrong it fails once, and is not tried again."""
        with self.assertRaises(AssertionError):
            self.boot(options="--max-runs none")
        self.assertEqual(self.manager.show("NRestarts"), "0")

    def test_long_stop(self) -> None:
        """A stop waits for a run as long as --stop-wait says, however short TimeoutStopSec= is."""
        manager = self.boot("[Service]\nTimeoutStopSec=1s\n", options="--stop-wait 1m")
        client = self.run_job(manager)
        manager.systemctl("stop", "--no-block", "jobd.service")
        manager.wait_for("ActiveState", "deactivating")
        time.sleep(2)
        self.assertEqual(manager.show("ActiveState"), "deactivating")
        Path(self.pipe).write_text("that\n")
        manager.wait_for("ActiveState", "inactive")
        self.assertEqual(manager.show("Result"), "success")
        client = self.connect(address=manager.socket)
        self.assertIn("outcome=ok", client.read("/jobs/one/history"))

    def test_confined(self) -> None:
        """Confined, jobd serves, runs and ends jobs as ever, and they can't write where they should not."""
        confined = (UNITS / "confined.conf").read_text()
        # The interpreter of this test may lie in a home, where only root gets.
        for line, other in (("User=jobd", "User=root"), ("Group=jobd", ""), ("ProtectHome=yes", "")):
            self.assertIn(line, confined)
            confined = confined.replace(line, other)
        manager = self.boot(confined)
        client = self.run_job(manager)
        client.write("/jobs/one/ctl", "kill")
        self.assertIn("outcome=killed", client.read("/jobs/one/runs/1/wait"))
        client.write("/clone", "two:@yearly:touch /var/lib/x; touch /var/lib/jobd/x && echo but here")
        client.write("/jobs/two/ctl", "run")
        client.read("/jobs/two/runs/1/wait")
        self.assertRegex(client.read("/jobs/two/log"), r"(?s)/var/lib/x.*Read-only.*:but here\n")
