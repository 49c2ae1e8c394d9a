"""Each option of a job, proved on real processes of a real daemon.  `docs/reference/options.md` is the table.

The test of an option has its name.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from datetime import datetime
from hashlib import sha256
from zoneinfo import ZoneInfo

from jobd.jobs import options
from tests.daemon import ROOT
from tests.docs.tables import code, tables
from tests.processes import JOBD, ProcessTest
from tests.test_runs import until

PAGE = ROOT / "docs/reference/options.md"
EVERY_SECOND = "* * * * * * *"


class OptionsTest(ProcessTest):
    """A daemon in UTC, and jobs of the user of this process."""

    def setUp(self) -> None:
        super().setUp()
        self.process = self.daemon()
        self.client = self.connect(self.process)

    def daemon(self) -> subprocess.Popen[bytes]:
        address = getattr(self, "address", None)
        return self.start(JOBD, *(self.arguments(address) if address else self.arguments()))

    def job(self, command: str, options: str, schedule: str = "@yearly", name: str = "job") -> None:
        """A stopped job."""
        self.client.write("/clone", f"{name}:{schedule}:{command}")
        self.client.write(f"/jobs/{name}/options", options)

    def begin(self, name: str = "job", verb: str = "run") -> None:
        self.client.write(f"/jobs/{name}/ctl", verb)

    def ended(self, number: int = 1, name: str = "job") -> str:
        """The history line of a run, once it has ended."""
        path = f"/jobs/{name}/runs/{number}/wait"
        until(lambda: self.client.exists(path), f"run {number} of {name}")
        return self.client.read(path)

    def output(self, number: int = 1, name: str = "job") -> str:
        return self.client.read(f"/jobs/{name}/runs/{number}/output")

    def history(self, name: str = "job") -> str:
        return self.client.read(f"/jobs/{name}/history")

    def once(self, command: str, options: str) -> str:
        """What a run of COMMAND under OPTIONS prints."""
        self.job(command, options)
        self.begin()
        self.assertIn("outcome=ok", self.ended())
        return self.output()

    def until_says(self, words: str, name: str, file: str) -> None:
        """Wait until FILE of the job NAME has WORDS."""
        path = f"/jobs/{name}/{file}"
        until(lambda: words in self.client.read(path), f"{words!r} in {path}")

    def path(self, name: str) -> str:
        return str(self.directory / name)

    def wait_for(self, name: str) -> str:
        """A command that goes on when there is a file NAME, or the test is over."""
        return f"until [ -e {self.path(name)} -o ! -d {self.directory} ]; do sleep 0.02; done"

    def restart_after(self, seconds: float) -> None:
        """Have no daemon for SECONDS."""
        self.assertEqual(self.terminated(self.process), 0)
        time.sleep(seconds)
        self.process = self.daemon()
        self.client = self.connect(self.process)

    # ---- when

    def test_description(self) -> None:
        """It is kept as it stands, and is no business of the process."""
        self.assertNotIn("grün", self.once("env", "description a 'grün' job\n"))
        self.assertIn("description a 'grün' job\n", self.client.read("/jobs/job/options"))

    def test_timezone(self) -> None:
        """A time of the schedule is one of that zone's clocks."""
        soon = int(time.time()) + 2
        text = datetime.fromtimestamp(soon, ZoneInfo("Asia/Kathmandu")).strftime("%Y-%m-%dT%H%M%S")
        self.job("true", "timezone Asia/Kathmandu\n")
        self.client.write("/jobs/job/schedule", f"@at {text}")
        self.begin(verb="start")
        self.assertIn(f"scheduled={time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(soon))} ", self.ended())

    def test_dst(self) -> None:
        """`utc` reads the schedule in UTC, whatever the zone; `skip` leaves out what the clocks jump over."""
        soon = int(time.time()) + 2
        text = time.strftime("%Y-%m-%dT%H%M%S", time.gmtime(soon))
        self.job("true", "timezone Asia/Kathmandu\ndst utc\n")
        self.client.write("/jobs/job/schedule", f"@at {text}")
        self.begin(verb="start")
        self.assertIn("outcome=ok", self.ended())
        first = {}
        for rule in ("vixie", "skip"):
            self.job("true", f"timezone Europe/Berlin\ndst {rule}\n", "30 2 * 3 SUN", rule)
            times = [line[:16] for line in self.client.read(f"/jobs/{rule}/next").splitlines()]
            first[rule] = [time for time in times if not time.endswith("02:30")]
        self.assertRegex(first["vixie"][0], r"-03-\d\d 03:00$")
        self.assertEqual(first["skip"], [])

    def test_catchup(self) -> None:
        """After an absence none, the last, or the last N of the instants run; the rest is one record."""
        for name, policy in (("none", "none"), ("last", "last"), ("all", "all 2")):
            self.job("true", f"catchup {policy}\n", EVERY_SECOND, name)
            self.begin(name, "start")
        self.restart_after(3.5)
        for name in ("none", "last", "all"):
            self.begin(name, "stop")
            self.until_says("missed", name, "history")
            self.until_says("running=0", name, "status")
        gaps = {}
        for name in ("none", "last", "all"):
            (gap,) = re.findall(r"^missed .* to=(\S+) ", self.history(name), re.MULTILINE)
            gaps[name] = datetime.fromisoformat(gap.replace("Z", "+00:00")).timestamp()
        # All three missed the same instants, the last of them when the daemon came back.
        self.assertEqual([gaps["none"] - gaps[name] for name in ("last", "all")], [1, 2])

    def test_deadline(self) -> None:
        """What would start later than that is missed."""
        soon = time.strftime("%Y-%m-%dT%H%M%S", time.gmtime(time.time() + 2))
        for name, deadline in (("soon", "1s"), ("late", "1h")):
            self.job("true", f"deadline {deadline}\n", f"@at {soon}", name)
            self.begin(name, "start")
        self.restart_after(4.0)
        self.assertIn("outcome=ok", self.ended(name="late"))
        self.until_says("outcome=missed", "soon", "history")
        self.assertEqual(self.history("soon").count("\n"), 1)

    def test_jitter(self) -> None:
        """A start comes later by what the name of the job decides, the same each time."""
        share = int.from_bytes(sha256(b"job").digest()[:4], "big") / 2**32
        self.job("true", "jitter 900ms\n", EVERY_SECOND)
        self.begin(verb="start")
        for number in (1, 2):
            line = self.ended(number)
            scheduled, started = (
                datetime.fromisoformat(text.replace("Z", "+00:00"))
                for text in re.findall(r"(?:scheduled|started)=(\S+)", line)
            )
            self.assertGreaterEqual((started - scheduled).total_seconds(), share * 0.9 - 0.002)

    # ---- how many

    def test_overlap(self) -> None:
        """A run that meets another is skipped, queued, takes its place, or runs beside it."""
        go = self.wait_for("go")
        for name, policy in (
            ("skip", "skip"),
            ("queue", "queue 1"),
            ("replace", "replace"),
            ("allow", "allow 2"),
        ):
            self.job(go, f"overlap {policy}\n", EVERY_SECOND, name)
            self.begin(name, "start")
        self.until_says("outcome=skipped", "skip", "history")
        self.until_says("queued=1", "queue", "status")
        self.until_says("signal=SIGTERM outcome=replaced", "replace", "history")
        self.until_says("running=2", "allow", "status")
        for name in ("skip", "queue", "replace", "allow"):
            self.begin(name, "stop")
        (self.directory / "go").touch()
        self.assertIn("outcome=ok", self.ended(1, "skip"))

    def test_timeout(self) -> None:
        """An attempt that takes longer is ended."""
        self.job("exec sleep 600", "timeout 300ms\n")
        self.begin()
        self.assertRegex(self.ended(), "signal=SIGTERM outcome=timeout .*detail='after 0.3s'")

    def test_grace(self) -> None:
        """What tidies up at TERM has that time for it; what doesn't end is killed after it."""
        tidy = "trap 'sleep 0.2; echo tidied; exit 1' TERM; while :; do sleep 0.02; done"
        self.job(tidy, "timeout 500ms\ngrace 20s\n", name="tidy")
        self.job("trap '' TERM; while :; do sleep 0.02; done", "timeout 300ms\ngrace 100ms\n", name="deaf")
        for name in ("tidy", "deaf"):
            self.begin(name)
        self.assertIn("outcome=timeout", self.ended(name="tidy"))
        self.assertIn("tidied\n", self.output(name="tidy"))
        self.assertIn("signal=SIGKILL outcome=timeout", self.ended(name="deaf"))

    def test_retries(self) -> None:
        """An attempt that fails is followed by so many others, until one does not."""
        count = f"echo x >> {self.path('$JOBD_JOB')}; [ $(wc -l < {self.path('$JOBD_JOB')}) -ge 3 ]"
        for name, retries in (("enough", 2), ("few", 1)):
            self.job(count, f"retries {retries}\nretry-delay 10ms\n", name=name)
            self.begin(name)
        self.assertRegex(self.ended(name="enough"), "outcome=ok attempts=3 ")
        self.assertRegex(self.ended(name="few"), "exit=1 outcome=failed attempts=2 ")

    def test_retry_delay(self) -> None:
        """The wait before the next attempt is said in the log, and doubles."""
        self.job("exit 1", "retries 2\nretry-delay 200ms\n")
        self.begin()
        self.assertIn("attempts=3", self.ended())
        first, second = re.findall(r"again in (\d+\.\d)s\n", self.client.read("/jobs/job/log"))
        self.assertGreaterEqual(float(second), 2 * 0.2 * 0.5)
        self.assertGreaterEqual(float(first), 0.1)

    # ---- in what

    def test_dir(self) -> None:
        """The process is there."""
        self.assertEqual(self.once("pwd -P", "dir /usr/bin\n"), os.path.realpath("/usr/bin") + "\n")

    def test_shell(self) -> None:
        """It is what is given `-c` and the command, and the SHELL of the process."""
        (self.directory / "shell").write_text('#!/bin/sh\necho "$1 $2 $SHELL"\n')
        (self.directory / "shell").chmod(0o755)
        shell = self.path("shell")
        self.assertEqual(self.once("any words", f"shell {shell}\n"), f"-c any words {shell}\n")

    def test_env(self) -> None:
        """Each is a variable of the process, with its value as it stands."""
        printed = self.once('echo "$A|$B"', "env A=one 'two' $HOME \nenv B=3\n")
        self.assertEqual(printed, "one 'two' $HOME|3\n")

    def test_umask(self) -> None:
        """Files that the process makes have the modes that it leaves."""
        self.once(f"umask; : > {self.path('made')}", "umask 027\n")
        self.assertEqual((self.directory / "made").stat().st_mode & 0o777, 0o640)

    def test_nice(self) -> None:
        """The process has that niceness."""
        self.assertEqual(self.once("nice", "nice 7\n"), f"{os.nice(0) + 7}\n")

    def test_limit(self) -> None:
        """The process has that limit, and can't raise it."""
        printed = self.once("ulimit -n; ulimit -n 64 2>&- || echo no", "limit nofile 32\n")
        self.assertEqual(printed, "32\nno\n")

    # ---- what is kept

    def test_keep_log(self) -> None:
        """Of the log its end is kept, of about that length and from the beginning of a line on."""
        self.once("seq 20000", "keep-log 64K\nmax-output 4K\n")
        log = self.client.read_all("/jobs/job/log")
        self.assertLess(len(log), 128 << 10)
        lines = [line.rpartition(":")[2] for line in log.splitlines()]
        self.assertEqual(lines[-1], "20000")
        self.assertEqual(lines, [str(number) for number in range(int(lines[0]), 20001)])

    def test_keep_runs(self) -> None:
        """So many runs are kept, the newest."""
        self.job("true", "keep-runs 2\n")
        for number in range(1, 5):
            self.begin()
            self.assertIn("outcome=ok", self.ended(number))
        self.assertEqual(re.findall(r"^run=(\d+)", self.history(), re.MULTILINE), ["3", "4"])

    def test_max_output(self) -> None:
        """Of what a run printed the head and the tail are kept, and between them what was dropped is said."""
        self.once("seq 20000", "max-output 8K\n")
        output = self.client.read_all("/jobs/job/runs/1/output")
        self.assertLess(len(output), 16 << 10)
        self.assertTrue(output.startswith("1\n2\n3\n"))
        self.assertTrue(output.endswith("\n19999\n20000\n"))
        self.assertRegex(output, r"\n\.\.\. \d+ bytes")

    def test_on_failure(self) -> None:
        """It is a process with the facts in its environment, after the last attempt and not before."""
        told = self.path("told")
        tell = f'echo "$JOBD_JOB $JOBD_RUN $JOBD_OUTCOME $JOBD_EXIT" >> {told}'
        self.job("exit 7", f"retries 1\nretry-delay 10ms\non-failure {tell}\n")
        self.begin()
        self.assertIn("attempts=2", self.ended())
        until(lambda: os.path.exists(told) and (self.directory / "told").read_text(), "the command")
        self.assertEqual((self.directory / "told").read_text(), "job 1 failed 7\n")


class PageTest(ProcessTest):
    """The table of the options."""

    def test_rows(self) -> None:
        """Each option has its row, whose test is that of its name; and each row is an option."""
        (rows,) = tables(PAGE.read_text())
        named = {code(row[0])[0].split()[0]: code(row[2]) for row in rows}
        self.assertEqual(set(named), set(options.KEYS))
        for option, tests in named.items():
            name = f"test_{option.replace('-', '_')}"
            self.assertEqual(tests, [name])
            self.assertTrue(callable(getattr(OptionsTest, name, None)), name)
