"""The same from inside: races, accounts, pipes and Tauth, without a daemon of its own."""

from __future__ import annotations

import errno
import os
import pwd
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from jobd.access import Peer, User
from jobd.jobs import launch
from jobd.jobs.errors import JobError
from jobd.jobs.output import make_pipe, reopen_pipe
from jobd.jobs.shadow import why_unusable
from jobd.ninep import messages as m
from jobd.ninep.errors import NinepError
from jobd.ninep.interfaces import OWRITE, SetStat
from jobd.ninep.testing import wire
from jobd.testing import MemoryJobd
from tests.security import ALICE, BOB, require_root


class RaceTest(SynchronousTestCase):
    """What waits for its turn is checked when that comes."""

    def setUp(self) -> None:
        require_root()
        self.jobd = MemoryJobd()
        self.addCleanup(self.jobd.close)
        self.alice = self.client(self.jobd, ALICE)
        self.successResultOf(self.alice.write_file("/clone", b"mine:@daily:true"))

    def client(self, jobd: MemoryJobd, name: str) -> Any:
        return self.successResultOf(jobd.connect(peer=Peer("test", User.by_name(name))))

    def given_away(self, change: Any) -> Deferred[Any]:
        """CHANGE, asked for by alice while the gift of her job to bob waits for the disk."""
        self.jobd.disk.slow = True
        job = self.jobd.table.job("mine")
        given = self.jobd.table.set_access(job, owner=BOB, actor="root")
        asked: Deferred[Any] = change()
        while self.jobd.disk._waiting:
            self.jobd.disk.commit()
        self.jobd.disk.slow = False
        self.successResultOf(given)
        self.assertEqual(job.owner, BOB)
        return asked

    def test_changes_behind_a_gift(self) -> None:
        """What its old owner asked for, while root gave the job away, is not done."""
        fids = {
            name: self.successResultOf(self.alice.open(f"/jobs/mine/{name}", OWRITE))
            for name in ("cmd", "schedule", "options", "ctl")
        }
        for name, text in (
            ("schedule", b"* * * * *"),
            ("options", b"env A=b\n"),
            ("ctl", b"start"),
            ("ctl", b"run"),
            ("cmd", b"id"),
        ):
            asked = self.given_away(lambda name=name, text=text: fids[name].write(0, text))
            self.assertEqual(self.failureResultOf(asked, NinepError).value.errno, errno.EPERM, name)
            self.successResultOf(
                self.jobd.table.set_access(self.jobd.table.job("mine"), owner=ALICE, actor="root")
            )
        for change in (
            lambda: self.alice.remove("/jobs/mine"),
            lambda: self.alice.set_stat("/jobs/mine", SetStat(mode=0o777)),
        ):
            asked = self.given_away(change)
            self.assertEqual(self.failureResultOf(asked, NinepError).value.errno, errno.EPERM)
            self.successResultOf(
                self.jobd.table.set_access(self.jobd.table.job("mine"), owner=ALICE, actor="root")
            )
        job = self.jobd.table.job("mine")
        self.assertEqual(
            (job.command, job.schedule_text, job.started, job.last_run), ("true", "@daily", False, 0)
        )
        self.assertEqual(job.options.env, {})

    def test_command_behind_a_gift(self) -> None:
        """A command that was written before the gift and closed after it is dropped."""
        fid = self.successResultOf(self.alice.open("/jobs/mine/cmd", OWRITE))
        self.successResultOf(fid.write(0, b"id"))
        asked = self.given_away(fid.clunk)
        self.assertEqual(self.failureResultOf(asked, NinepError).value.errno, errno.EPERM)
        self.assertEqual(self.jobd.table.job("mine").command, "true")
        self.jobd.restart()
        self.assertEqual(self.jobd.table.job("mine").command, "true")

    def give(self) -> Deferred[None]:
        """Root gives alice's job to bob."""
        return self.jobd.table.set_access(self.jobd.table.job("mine"), owner=BOB, actor="root")

    def test_a_gift_is_stopped(self) -> None:
        """What its old owner started doesn't run as the new one: no instant of it, due meanwhile or later."""
        job = self.jobd.table.job("mine")
        for path, text in (("schedule", b"* * * * * ? *"), ("ctl", b"start")):
            self.successResultOf(self.alice.write_file(f"/jobs/mine/{path}", text))
        self.jobd.clock.pass_time(1)
        self.assertEqual(len(self.jobd.spawner.running), 1)
        self.assertEqual(self.failureResultOf(self.give(), JobError).value.errno, errno.EBUSY)
        self.assertTrue(job.started)
        self.jobd.spawner.running[0].exit()
        self.jobd.disk.slow = True
        given = self.give()
        self.jobd.clock.pass_time(1)  # an instant is due before the stop is on disk
        while self.jobd.disk._waiting:
            self.jobd.disk.commit()
        self.jobd.clock.pass_time(0)
        while self.jobd.disk._waiting:
            self.jobd.disk.commit()
        self.jobd.disk.slow = False
        self.assertEqual(self.failureResultOf(given, JobError).value.errno, errno.EBUSY)
        self.assertEqual((job.owner, job.started), (ALICE, False))
        for process in self.jobd.spawner.running:
            process.exit()
        self.successResultOf(self.give())
        started = len(self.jobd.spawner.processes)
        self.jobd.clock.pass_time(10)
        self.assertEqual((job.owner, job.started, len(self.jobd.spawner.processes)), (BOB, False, started))

    def test_a_gift_waits_for_retries(self) -> None:
        """A run that waits for another attempt is in progress: no attempt of it is another's."""
        for path, text in (("options", b"retries 5\nretry-delay 1h\n"), ("ctl", b"run")):
            self.successResultOf(self.alice.write_file(f"/jobs/mine/{path}", text))
        self.jobd.clock.pass_time(0)
        self.jobd.spawner.running[0].exit(1)
        self.assertEqual(self.jobd.spawner.running, [])
        self.assertEqual(self.failureResultOf(self.give(), JobError).value.errno, errno.EBUSY)

    def test_most_jobs_at_once(self) -> None:
        """Jobs that wait for the disk count: asking for many at once brings no more."""
        jobd = MemoryJobd(max_jobs=3)
        self.addCleanup(jobd.close)
        alice = self.client(jobd, ALICE)
        jobd.disk.slow = True
        asked = [alice.write_file("/clone", b"job%d:@daily:true" % number) for number in range(6)]
        while jobd.disk._waiting:
            jobd.disk.commit()
        errors = [self.failureResultOf(each, NinepError).value.errno for each in asked[3:]]
        self.assertEqual((errors, len(jobd.table)), ([errno.EDQUOT] * 3, 3))


class AccountsTest(SynchronousTestCase):
    """Accounts as whom nothing may run."""

    def test_numbers_that_mean_nothing(self) -> None:
        """An account with the number -1 is refused: a process told to become that stays root."""
        for uid, gid in ((0xFFFFFFFF, 5), (-1, 5), (5, 0xFFFFFFFF)):
            entry = pwd.struct_passwd(("odd", "x", uid, gid, "", "/", "/bin/sh"))
            self.patch(pwd, "getpwnam", lambda _name, entry=entry: entry)
            self.patch(os, "getgrouplist", lambda _name, gid: [gid])
            error = self.assertRaises(JobError, launch.look_up, "odd")
            self.assertIn("no number", str(error))

    def test_shadow(self) -> None:
        """A locked or expired account is told of; one that never had a password is neither."""
        path = self.mktemp()
        Path(path).write_text(
            "open:$y$j9T$x:19000:0:99999:7:::\n"
            "service:!:19000:0:99999:7:::\n"
            "system:!*:19000::::::\n"
            "old:*:19000:0:99999:7:::\n"
            "locked:!$y$j9T$x:19000:0:99999:7:::\n"
            "twice:!!$y$j9T$x:19000:0:99999:7:::\n"
            "expired:$y$j9T$x:19000:0:99999:7::20000:\n"
            "gone:*:19000:0:99999:7::1:\n"
            "tomorrow:*:19000:0:99999:7::20001:\n"
            "broken\n"
        )
        for name, why in (
            ("open", None),
            ("service", None),
            ("system", None),
            ("old", None),
            ("tomorrow", None),
            ("elsewhere", None),
            ("broken", None),
            ("locked", "the account of locked is locked"),
            ("twice", "the account of twice is locked"),
            ("expired", "the account of expired has expired"),
            ("gone", "the account of gone has expired"),
        ):
            self.assertEqual(why_unusable(name, 20000, path), why)
        self.assertIsNone(why_unusable("open", 20000, path + " that is not there"))

    def test_unusable_accounts_do_not_run(self) -> None:
        """What the shadow file says ends a start; root, who may be locked too, is the daemon itself."""
        self.patch(launch, "why_unusable", lambda name, _today: f"the account of {name} is locked")
        error = self.assertRaises(JobError, launch.look_up, "nobody")
        self.assertRegex(str(error), re.escape("the account of nobody is locked"))
        self.assertEqual(launch.look_up("root").uid, 0)


class PipesTest(SynchronousTestCase):
    """What is taken for the output of a run."""

    def test_only_pipes(self) -> None:
        """A pipe is opened again; a file, a named pipe, a directory or nothing is not."""
        path = self.mktemp()
        Path(path).write_text("secret")
        fifo = self.mktemp()
        os.mkfifo(fifo)
        reader, writer = make_pipe()
        self.addCleanup(os.close, reader)
        self.addCleanup(os.close, writer)
        ready = "os.write(2, b'x'); time.sleep(60)"
        program = f"import os, sys, time; os.dup2(os.open(sys.argv[1], os.O_PATH), 1); {ready}"
        for target, is_pipe in (
            (None, True),
            (path, False),
            (fifo, False),
            ("/", False),
            ("/dev/null", False),
        ):
            with subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    program if target else f"import os, time; {ready}",
                    str(target),
                ],
                stdout=writer,
                stderr=subprocess.PIPE,
            ) as process:
                assert process.stderr is not None
                process.stderr.read(1)
                found = reopen_pipe(process.pid)
                self.assertIs(found is not None, is_pipe, target)
                if found is not None:
                    self.assertEqual(os.fstat(found).st_ino, os.fstat(reader).st_ino)
                    os.close(found)
                process.kill()
        self.assertIsNone(reopen_pipe(process.pid))


class AuthTest(SynchronousTestCase):
    """Tauth, where no authentication is needed."""

    def test_no_authentication_is_needed(self) -> None:
        """Each dialect answers with an error, as attach(5) has it; an attach without afid then succeeds."""
        jobd = MemoryJobd()
        self.addCleanup(jobd.close)
        for version in (m.VERSION_9P2000, m.VERSION_9P2000_U, m.VERSION_9P2000_L):
            client, _ = wire(jobd.tree, Peer("test", User.by_uid(os.geteuid())))
            self.successResultOf(client.version(version))
            reply = self.successResultOf(client.rpc(m.Tauth(1, "root", "")))
            if version == m.VERSION_9P2000_L:
                self.assertEqual(reply, m.Rlerror(errno.ENOENT))
            else:
                self.assertEqual(reply.ename, "authentication not required")
            reply = self.successResultOf(client.rpc(m.Tattach(1, 1, "root", "")))
            self.assertIsInstance(reply, (m.Rerror, m.Rlerror))
            reply = self.successResultOf(client.rpc(m.Tattach(1, m.NOFID, "root", "")))
            self.assertIsInstance(reply, m.Rattach)
