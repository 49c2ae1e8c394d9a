"""Daemons that are killed at random moments, while users make, change, start and remove jobs.

`JOBD_CRASHES` is how often each of them is killed (5; a nightly run takes 200), `JOBD_CRASH_SEED` the seed of
what users do and of the moments (0).  A seed brings no round back as it was: processes and disks are real.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path

from tests.crashes.clients import Changer, write
from tests.optional import lacking
from tests.processes import JOBD, PATIENCE, Client, ProcessTest

CRASHES = int(os.environ.get("JOBD_CRASHES", "5"))
SEED = int(os.environ.get("JOBD_CRASH_SEED", "0"))
USERS = 8
LONGEST = 1.2
"""Seconds that a daemon is left alone; schedules are due every second or two."""
ONE_IN = 40
"""Of so many writes to a broken disk one fails."""


class CrashTest(ProcessTest):
    """A daemon that is killed again and again."""

    doubtful = False

    def setUp(self) -> None:
        super().setUp()
        self.environment: dict[str, str] = {}
        self.random = random.Random(SEED)
        self.witness = self.directory / "witness"
        self.witness.touch()
        self.users = [
            Changer(number, str(self.witness), self.random.getrandbits(32), doubtful=self.doubtful)
            for number in range(USERS)
        ]
        # A port could be taken by others before the next daemon starts.
        self.options = self.arguments(f"unix:{self.directory}/socket")

    def trouble(self) -> None:
        """What happens to the disk while a daemon is under load."""

    def relief(self) -> None:
        """The end of that, before the next daemon starts."""

    def crash(self) -> None:
        """Kill a daemon under load `CRASHES` times, and look each time at what is there."""
        for _ in range(CRASHES):
            process = self.start(JOBD, *self.options, environment=self.environment)
            self.look(self.connect(process))
            clients = [self.connect(process) for _ in self.users]
            threads = [
                threading.Thread(target=user.work, args=(client,), daemon=True)
                for user, client in zip(self.users, clients, strict=True)
            ]
            for thread in threads:
                thread.start()
            time.sleep(self.random.uniform(0, LONGEST / 2))
            self.trouble()
            time.sleep(self.random.uniform(0, LONGEST / 2))
            self.assertIsNone(process.poll(), f"it has ended by itself:\n{self.log.read_text()}")
            process.kill()
            process.wait()
            for thread, client in zip(threads, clients, strict=True):
                thread.join(PATIENCE)
                self.assertFalse(thread.is_alive(), "a client got no answer")
                client.close()
            self.relief()
        self.come_to_rest()

    def look(self, client: Client) -> None:
        """What was answered is there."""
        for user in self.users:
            user.look(client)

    def come_to_rest(self) -> None:
        """Stop all jobs: every run has an end, and no instant was started twice."""
        process = self.start(JOBD, *self.options, environment=self.environment)
        client = self.connect(process)
        self.look(client)
        names = [name for user in self.users for name, states in user.possible.items() if states != {None}]
        for name in names:
            write(client, f"jobs/{name}/ctl", "stop")
        for name in names:
            self.assertEqual(self.runs_without_end(client, name), [], name)
        self.assertEqual(self.terminated(process), 0)
        self.assertNotIn("Traceback", self.log.read_text())
        signed = [line.split() for line in self.witness.read_text().splitlines()]
        started = Counter((job, scheduled) for job, scheduled, _ in signed if scheduled != "none")
        started.update(run for _, _, run in signed)
        self.assertEqual([each for each, times in started.items() if times > 1], [])
        self.assertNotEqual(signed, [])
        self.assertGreater(min(user.answered for user in self.users), 0)

    def runs_without_end(self, client: Client, name: str) -> list[int]:
        """Those of the job NAME, once nothing of it is in progress."""
        deadline = time.monotonic() + PATIENCE
        while True:
            status = dict(line.split("=", 1) for line in client.read(f"/jobs/{name}/status").splitlines())
            if status["running"] == "0":
                break
            self.assertLess(time.monotonic(), deadline, f"a run of {name} goes on")
            time.sleep(0.05)
        history = client.read_all(f"/jobs/{name}/history")
        ended = {int(number) for number in re.findall(r"^(?:missed )?run=(\d+) ", history, re.M)}
        missing = set(range(min(ended, default=1), int(status["runs"]) + 1)) - ended
        # A failing disk may refuse a run's intent: then its number goes unused.
        if self.doubtful:
            missing = {number for number in missing if client.exists(f"/jobs/{name}/runs/{number}")}
        return sorted(missing)


class GoodDiskTest(CrashTest):
    """A disk that does as it is told."""

    def test_killed(self) -> None:
        """What was answered is there, no instant runs twice, every run ends; a busy job alone is refused."""
        self.crash()
        others = [text for user in self.users for text in user.refusals if "busy" not in text]
        self.assertEqual(others, [])


class FullDiskTest(CrashTest):
    """A disk that fills up again and again."""

    def setUp(self) -> None:
        super().setUp()
        self.state.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=12m,mode=0700", "jobd-test", str(self.state)]
        if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
            lacking("a user who may mount a file system in memory")
        self.addCleanup(subprocess.run, ["umount", "--lazy", str(self.state)], check=True)
        self.filler = self.state / "filler"

    def trouble(self) -> None:
        with self.filler.open("wb", buffering=0) as file:
            for size in (65536, 4096):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(bytes(size))

    def relief(self) -> None:
        self.filler.unlink(missing_ok=True)

    def test_killed(self) -> None:
        """The same on a disk that is full at times: what doesn't fit is refused, and changes nothing."""
        self.crash()
        self.assertIn(
            "No space left on device", " ".join(text for user in self.users for text in user.refusals)
        )


class BrokenDiskTest(CrashTest):
    """A disk on which a write or a sync fails now and then."""

    doubtful = True

    def setUp(self) -> None:
        super().setUp()
        compiler = shutil.which("cc")
        if compiler is None:
            lacking("a C compiler")
        library = self.directory / "ioerrors.so"
        source = Path(__file__).with_name("ioerrors.c")
        subprocess.run([compiler, "-shared", "-fPIC", "-O", "-o", library, source, "-ldl"], check=True)
        self.broken = self.directory / "broken"
        self.environment = {
            "LD_PRELOAD": str(library),
            "IOERRORS": str(self.broken),
            "IOERRORS_UNDER": str(self.state),
            "IOERRORS_IN": str(ONE_IN),
        }

    def trouble(self) -> None:
        self.broken.touch()

    def relief(self) -> None:
        self.broken.unlink(missing_ok=True)

    def test_killed(self) -> None:
        """The same on a disk with errors: what was answered is there, whatever was refused."""
        self.crash()
        self.assertIn("i/o error", " ".join(text for user in self.users for text in user.refusals))
