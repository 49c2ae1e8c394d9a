"""Runs of a daemon that is a process of its own: nothing of them is lost, or left behind.

`JOBD_RUNS` is how many runs are made to see what they leave (300), `JOBD_LOUD` the MiB of a loud one (64).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable

from jobd.jobs.segments import SEGMENTS
from tests.daemon import ROOT
from tests.processes import JOBD, PATIENCE, Client, ProcessTest, wait_until_gone

RUNS = int(os.environ.get("JOBD_RUNS", "300"))
LOUD = int(os.environ.get("JOBD_LOUD", "64"))
AT_A_TIME = 50
GROWTH = 40 << 10
"""KiB: more than what a daemon needs for its buffers, and less than what a loud run prints."""


def until(true: Callable[[], object], what: str, patience: float = PATIENCE) -> None:
    """Wait until TRUE() is."""
    deadline = time.monotonic() + patience
    while not true():
        if time.monotonic() > deadline:
            raise AssertionError(f"not in time: {what}")
        time.sleep(0.02)


def status(pid: int, field: str) -> str:
    """A field of /proc/PID/status."""
    with open(f"/proc/{pid}/status") as file:
        return next(line.partition(":")[2].strip() for line in file if line.startswith(f"{field}:"))


def children(pid: int) -> list[int]:
    """The children of PID, those that have ended and were not waited for included."""
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(number) for number in file.read().split()]


class RunsTest(ProcessTest):
    """Real daemons and real processes."""

    def daemon(self, *options: str) -> subprocess.Popen[bytes]:
        """A daemon on the state of this test, where the one before was."""
        address = getattr(self, "address", None)
        return self.start(JOBD, *(self.arguments(address) if address else self.arguments()), *options)

    def job(self, client: Client, name: str, command: str, options: str = "") -> None:
        """A job that nothing but the test starts."""
        client.write("/clone", f"{name}:@yearly:{command}")
        if options:
            client.write(f"/jobs/{name}/options", options)

    def run_once(self, client: Client, name: str) -> str:
        """The history line of a run of NAME, by hand, once it has ended."""
        client.write(f"/jobs/{name}/ctl", "run")
        number = re.findall(r"^runs=(\d+)", client.read(f"/jobs/{name}/status"), re.MULTILINE)[0]
        return client.read(f"/jobs/{name}/runs/{number}/wait")

    def path(self, name: str) -> str:
        """A file that runs of this test may make."""
        return str(self.directory / name)

    def exists(self, name: str) -> bool:
        return os.path.exists(self.path(name))

    def test_nothing_is_left(self) -> None:
        """After many runs there is no zombie, no process and no open file that was not there before."""
        process = self.daemon()
        client = self.connect(process)
        # Each leaves an orphan, that the daemon has to wait for.
        self.job(client, "many", "(setsid sleep 0.01 &) ; exit 3", f"overlap allow {AT_A_TIME}\n")
        self.run_once(client, "many")

        def files() -> int:
            return len(os.listdir(f"/proc/{process.pid}/fd"))

        until(lambda: not children(process.pid), "the end of the orphans")
        before = files()
        for done in range(1, RUNS + 1, AT_A_TIME):
            for _ in range(AT_A_TIME):
                client.write("/jobs/many/ctl", "run")
            for number in range(done + 1, done + AT_A_TIME + 1):
                self.assertIn("outcome=failed", client.read(f"/jobs/many/runs/{number}/wait"))
        until(lambda: not children(process.pid), f"children are left: {children(process.pid)}")
        # Some segments are kept open, of the job's log and of `/events`: not more than these have.
        most = before + 2 * (SEGMENTS + 1)
        until(lambda: files() <= most, f"{files()} files are open, {before} were")
        self.assertIn(f"failures={RUNS // AT_A_TIME * AT_A_TIME + 1}", client.read("/jobs/many/status"))

    def test_loud(self) -> None:
        """A command that prints without end costs bounded memory and disk, and others run meanwhile."""
        process = self.daemon()
        client = self.connect(process)
        self.job(client, "quiet", "echo I was here")
        self.job(client, "loud", "exec yes 'All work and no play makes Jack a dull boy.'")
        self.run_once(client, "quiet")
        before = int(status(process.pid, "VmHWM").split()[0])
        client.write("/jobs/loud/ctl", "run")

        def dropped() -> int:
            # Half of what is kept is the head of it, and then comes this line.
            found = re.match(r"\n\.\.\. (\d+) bytes", client.read("/jobs/loud/runs/1/output", 512 << 10))
            return int(found[1]) if found else 0

        def enough() -> bool:
            self.assertIn("outcome=ok", self.run_once(client, "quiet"))
            return dropped() >= LOUD << 20

        try:
            until(enough, f"{LOUD} MiB of output", PATIENCE + LOUD)
            self.assertIn("running=1", client.read("/jobs/loud/status"))
        finally:
            client.write("/jobs/loud/ctl", "kill KILL")
        self.assertIn("outcome=killed", client.read("/jobs/loud/runs/1/wait"))
        self.assertLess(int(status(process.pid, "VmHWM").split()[0]) - before, GROWTH)
        kept = sum(path.stat().st_size for path in (self.state / "output").rglob("*") if path.is_file())
        self.assertLess(kept, 4 << 20)

    def test_killed_daemon(self) -> None:
        """A run goes on when the daemon is killed; the next one has all that it printed, and its end."""
        process = self.daemon()
        client = self.connect(process)
        script = "echo before; {0} first; echo between; : > {1}; {0} second; echo after; exit 5"
        there = f"[ -e {self.directory}/$1 -o ! -d {self.directory} ]"
        wait = f"wait_for() {{ until {there}; do sleep 0.02; done; }}\n"
        self.job(client, "job", wait + script.format("wait_for", self.path("printed")))
        client.write("/jobs/job/ctl", "run")
        until(lambda: "before" in client.read("/jobs/job/runs/1/output"), "what the run prints first")
        process.kill()
        process.wait()
        (self.directory / "first").touch()
        until(lambda: self.exists("printed"), "the run to go on alone")
        process = self.daemon()
        client = self.connect(process)
        self.assertIn("state=running", client.read("/jobs/job/runs/1/status"))
        (self.directory / "second").touch()
        line = client.read("/jobs/job/runs/1/wait")
        # From Linux 6.15 on the kernel tells the status to others than the parent.
        self.assertRegex(line, "exit=5 outcome=failed|exit=unknown outcome=lost")
        self.assertEqual(client.read("/jobs/job/runs/1/output"), "before\nbetween\nafter\n")
        for word in ("before", "between", "after"):
            self.assertIn(f":{word}\n", client.read("/jobs/job/log"))
        client.write("/jobs/job/cmd", "true")
        self.assertIn("outcome=ok", self.run_once(client, "job"))

    def test_stop_wait(self) -> None:
        """SIGTERM waits for a run as long as it was told to, and starts no other meanwhile."""
        process = self.daemon("--stop-wait", "1h")
        client = self.connect(process)
        wait = f"until [ -e {self.path('go')} -o ! -d {self.directory} ]; do sleep 0.02; done; echo done"
        self.job(client, "job", wait)
        client.write("/clone", f"often:* * * * * * *:echo x >> {self.path('often')}")
        client.write("/jobs/job/ctl", "run")
        client.write("/jobs/often/ctl", "start")
        until(lambda: self.exists("often"), "a first run")
        process.terminate()
        self.assertRaises(ConnectionError, self.never, client)
        started = (self.directory / "often").read_text()
        time.sleep(1.5)
        self.assertLessEqual(len((self.directory / "often").read_text()), len(started) + 2)
        self.assertIsNone(process.poll())
        (self.directory / "go").touch()
        self.assertEqual(process.wait(PATIENCE), 0)
        client = self.connect(self.daemon())
        self.assertIn("exit=0 outcome=ok", client.read("/jobs/job/runs/1/wait"))
        self.assertEqual(client.read("/jobs/job/runs/1/output"), "done\n")

    def never(self, client: Client) -> None:
        """Read until the daemon ends the connection."""
        while True:
            client.read("/version")

    def test_stop_without_wait(self) -> None:
        """Without --stop-wait SIGTERM leaves the run alone, and the next daemon can end it."""
        process = self.daemon()
        client = self.connect(process)
        self.job(client, "job", f"echo $$ > {self.path('pid')}; exec sleep 600")
        client.write("/jobs/job/ctl", "run")
        until(lambda: self.exists("pid") and (self.directory / "pid").read_text(), "the run")
        pid = int((self.directory / "pid").read_text())
        self.assertEqual(self.terminated(process), 0)
        os.kill(pid, 0)
        client = self.connect(self.daemon())
        client.write("/jobs/job/ctl", "kill")
        self.assertIn("outcome=killed", client.read("/jobs/job/runs/1/wait"))
        wait_until_gone(pid)

    def test_timeout_ends_all(self) -> None:
        """A timeout ends every descendant: in other sessions, without parents, without environment."""
        client = self.connect(self.daemon())
        tell = f"echo $$ >> {self.path('pids')}; exec sleep 600"
        later = tell.replace("$", "\\$")
        command = (
            f"sh -c '{tell}' & "
            f"setsid sh -c '{tell}' & "
            f"(setsid sh -c '{tell}' &) ; "
            f"setsid sh -c \"trap '' TERM HUP; (sh -c '{later}' &) ; {later}\" & "
            f"env -i /bin/sh -c '{tell}' & "
            f"{tell}"
        )
        self.job(client, "job", command, "timeout 2s\ngrace 1s\n")
        self.assertRegex(self.run_once(client, "job"), "outcome=timeout .*detail='after 2s'")
        pids = [int(line) for line in (self.directory / "pids").read_text().split()]
        self.assertEqual(len(set(pids)), 7)
        for pid in pids:
            wait_until_gone(pid)

    def test_on_failure(self) -> None:
        """The command for failures is a process with the facts in its environment."""
        client = self.connect(self.daemon())
        told = self.path("told")
        facts = "$JOBD_JOB $JOBD_RUN $JOBD_OUTCOME $JOBD_EXIT"
        tell = f'echo "{facts}" > {told}.new; mv {told}.new {told}; echo told'
        self.job(client, "job", "exit 7", f"on-failure {tell}\n")
        self.run_once(client, "job")
        until(lambda: self.exists("told"), "the command")
        self.assertEqual((self.directory / "told").read_text(), "job 1 failed 7\n")
        until(lambda: ":told\n" in client.read("/jobs/job/log"), "what it prints")

    def test_backup(self) -> None:
        """A daemon can be started on a copy that was made while another worked."""
        process = self.daemon()
        client = self.connect(process)
        self.job(client, "job", "echo hello")
        client.write("/clone", "often:* * * * * * *:true")
        client.write("/jobs/often/ctl", "start")
        self.run_once(client, "job")
        copy = self.path("copy")
        jobctl = [sys.executable, "-c", "from jobd.cli.main import main; main()"]
        subprocess.run([*jobctl, "backup", "--dbdir", str(self.state), copy], check=True, cwd=ROOT)
        history = client.read("/jobs/job/history")
        self.assertEqual(self.terminated(process), 0)
        os.rename(self.state, self.path("lost"))
        os.rename(copy, self.state)
        client = self.connect(self.daemon())
        self.assertEqual(client.read("/jobs/job/history"), history)
        self.assertEqual(client.read("/jobs/job/runs/1/output"), "hello\n")
        self.assertEqual(client.read("/jobs/often/ctl"), "started\n")

    def test_metrics(self) -> None:
        """`/metrics` tells of this very connection, and of what it asked."""
        client = self.connect(self.daemon())
        text = client.read("/metrics")
        self.assertIn("\njobd_connections 1\n", text)
        self.assertIn('\njobd_requests_total{type="Tattach"} 1\n', text)
