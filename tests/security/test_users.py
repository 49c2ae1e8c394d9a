"""Real users of one jobd: whose jobs are whose, who reads what, and as whom things run."""

from __future__ import annotations

import errno
import os
import pwd
import re
import stat

from jobd.ninep import messages as m
from jobd.ninep.interfaces import DMDIR, OWRITE
from tests.security import ALICE, BOB, UsersTest, uid_of, wait_until

PRIVATE = ("cmd", "log", "options", "runs/1/output", "runs/1/env", "runs/1/status", "runs/1/wait")
PUBLIC = ("ctl", "schedule", "next", "status", "history")


class RootsDaemonTest(UsersTest):
    """Root's jobd, and two users of it."""

    options = ("--max-jobs-per-user", "3")

    def test_runs_as_its_owner(self) -> None:
        """A job runs as its owner, with its groups, home and environment, and with no file of ours open."""
        self.alice.make("mine", "id -u; id -g; id -G; pwd; env | sort; ls -l /proc/self/fd; exit 3")
        self.assertIn("outcome=failed", self.alice.run("mine"))
        account = pwd.getpwnam(ALICE)
        uid, gid, groups, directory, *rest = self.alice.output("mine").splitlines()
        self.assertEqual((uid, gid, directory), (str(account.pw_uid), str(account.pw_gid), account.pw_dir))
        self.assertEqual(set(groups.split()), set(map(str, os.getgrouplist(ALICE, account.pw_gid))))
        names = {line.partition("=")[0] for line in rest if "=" in line}
        self.assertEqual(
            names - {"PWD"},
            {
                "HOME",
                "LOGNAME",
                "USER",
                "SHELL",
                "PATH",
                "JOBD_JOB",
                "JOBD_RUN",
                "JOBD_SCHEDULED",
                "JOBD_RUN_ID",
            },
        )
        self.assertIn(f"USER={ALICE}", rest)
        opened = [line for line in rest if "->" in line]
        # The last is the directory that ls reads.
        self.assertEqual(len(opened), 4, opened)
        self.assertEqual(sum("pipe:" in line for line in opened), 2)
        self.assertEqual(sum("/dev/null" in line for line in opened), 1)

    def test_on_failure_runs_as_the_owner(self) -> None:
        """So does its on-failure command, which has no file of ours either."""
        self.alice.make("mine", "false", "on-failure id -un; ls -l /proc/self/fd | grep -c ' -> '\n")
        self.alice.run("mine")
        wait_until(lambda: self.alice.read("/jobs/mine/log").endswith(":4\n"), "the command")
        self.assertIn(f":{ALICE}\n", self.alice.read("/jobs/mine/log"))

    def test_no_way_back(self) -> None:
        """It has no capability, no group of root's, and can't become root again."""
        self.alice.make("mine", "cat /proc/self/status; kill -0 1; echo $?")
        self.alice.run("mine")
        output = self.alice.output("mine")
        uid = uid_of(ALICE)
        self.assertIn("Uid:" + f"\t{uid}" * 4 + "\n", output)
        for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            self.assertIn(f"{kind}:\t{0:016x}\n", output)
        self.assertTrue(output.endswith("1\n"), output)

    def test_whose_it_is(self) -> None:
        """A new job is its maker's, in stat by name and by number."""
        self.alice.make("made", "true")
        self.alice.client.rpc(m.Tcreate(self.alice.walk("/jobs"), "directory", DMDIR | 0o755, 0, ""))
        for name in ("made", "directory"):
            for path in ("", "/cmd", "/ctl", "/log", "/runs"):
                found = self.bob.stat(f"/jobs/{name}{path}")
                self.assertEqual((found.uid, found.n_uid), (ALICE, uid_of(ALICE)))
                self.assertEqual(found.n_gid, pwd.getpwnam(ALICE).pw_gid)

    def test_others_change_nothing(self) -> None:
        """Another user can't write, run, start, stop, rename, remove, or give rights to, a job."""
        self.alice.make("mine", "true")
        self.alice.run("mine")
        before = self.snapshot("mine")
        for path, text in (
            ("ctl", "start"),
            ("ctl", "run"),
            ("ctl", "kill"),
            ("cmd", "id"),
            ("schedule", "* * * * *"),
            ("options", "env PATH=/tmp"),
        ):
            with self.refused(errno.EACCES):
                self.bob.write(f"/jobs/mine/{path}", text)
        for change in (
            lambda: self.bob.rename("/jobs/mine", "theirs"),
            lambda: self.bob.remove("/jobs/mine"),
            lambda: self.bob.set_stat("/jobs/mine", mode=DMDIR | 0o777),
            lambda: self.bob.set_stat("/jobs/mine", n_uid=uid_of(BOB), uid=BOB),
            lambda: self.bob.set_stat("/jobs/mine", n_gid=pwd.getpwnam(BOB).pw_gid, gid="bin"),
            lambda: self.bob.set_stat("/jobs/mine/cmd", length=0),
        ):
            with self.refused():
                change()
        self.assertEqual(self.snapshot("mine"), before)

    def snapshot(self, name: str) -> list[str]:
        found = self.root.stat(f"/jobs/{name}")
        files = [self.root.read(f"/jobs/{name}/{file}") for file in ("ctl", "cmd", "schedule", "options")]
        return [found.uid, found.gid, oct(found.mode), *files, self.root.read(f"/jobs/{name}/history")]

    def test_who_reads_what(self) -> None:
        """What a job does is public, what it is and says is its owner's, until the owner says otherwise."""
        self.alice.make("mine", "echo secret", "env TOKEN=secret\non-failure echo secret\n")
        self.alice.run("mine")
        for mode, reads in ((None, False), (0o755, True), (0o711, False), (0o700, None)):
            if mode is not None:
                self.alice.set_stat("/jobs/mine", mode=DMDIR | mode)
            for names, may in ((PRIVATE, reads), (PUBLIC, reads is not None)):
                for name in names:
                    if may:
                        self.bob.read(f"/jobs/mine/{name}")
                    else:
                        with self.refused(errno.EACCES):
                            self.bob.read(f"/jobs/mine/{name}")
                    self.alice.read(f"/jobs/mine/{name}")
                    self.root.read(f"/jobs/mine/{name}")

    def test_public_files_tell_no_secret(self) -> None:
        """Nothing that all may read has the command, the output or a variable of another's job."""
        self.alice.make(
            "mine", "echo SECRET; exit 1", "env TOKEN=SECRET\ndir /SECRET\non-failure echo SECRET\n"
        )
        self.alice.run("mine")
        self.alice.write("/jobs/mine/options", "dir /\n")
        self.alice.run("mine")
        with self.refused(errno.EINVAL):
            self.alice.write("/jobs/mine/options", "nice SECRET")
        paths = [f"/jobs/mine/{name}" for name in PUBLIC] + [
            "/events",
            "/metrics",
            "/error",
            "/ctl",
            "/version",
        ]
        for path in paths:
            self.assertNotIn("SECRET", self.bob.read(path), path)
        self.assertIn("SECRET", self.alice.read("/error"))

    def test_mode_counts_at_once(self) -> None:
        """Who has a file open reads no more of it than the mode gives now."""
        self.alice.make("mine", "echo one")
        self.alice.set_stat("/jobs/mine", mode=DMDIR | 0o755)
        fids = {name: self.bob.open(f"/jobs/mine/{name}") for name in ("cmd", "log", "options")}
        for fid in fids.values():
            self.bob.read_fid(fid)
        self.alice.set_stat("/jobs/mine", mode=DMDIR | 0o711)
        self.alice.run("mine")
        for fid in fids.values():
            with self.refused(errno.EACCES):
                self.bob.read_fid(fid)

    def test_rights_are_roots_to_give(self) -> None:
        """chmod is the owner's and root's, chown and chgrp are root's; then the new owner's it is."""
        self.alice.make("mine", "id -un")
        self.alice.set_stat("/jobs/mine", mode=DMDIR | 0o700)
        for user in (self.alice, self.bob):
            with self.refused(errno.EPERM):
                user.set_stat("/jobs/mine", uid=BOB, n_uid=uid_of(BOB))
            with self.refused(errno.EPERM):
                user.set_stat("/jobs/mine", gid="bin", n_gid=2)
        self.root.set_stat("/jobs/mine", uid=BOB, n_uid=uid_of(BOB))
        self.assertEqual(self.root.stat("/jobs/mine").n_uid, uid_of(BOB))
        with self.refused():
            self.alice.write("/jobs/mine/ctl", "run")
        self.assertIn("outcome=ok", self.bob.run("mine"))
        self.assertEqual(self.bob.output("mine"), BOB + "\n")

    def test_an_open_file_goes_with_the_job(self) -> None:
        """What is open for writing when root gives the job away can't be written any more."""
        self.alice.make("mine", "true")
        fids = {
            name: self.alice.open(f"/jobs/mine/{name}", OWRITE)
            for name in ("ctl", "cmd", "schedule", "options")
        }
        begun = self.alice.open("/jobs/mine/cmd", OWRITE)
        self.alice.write_fid(begun, "id > /tmp/taken")
        directory = self.alice.walk("/jobs/mine")
        self.root.set_stat("/jobs/mine", uid=BOB, n_uid=uid_of(BOB))
        for name, fid in fids.items():
            with self.refused():
                self.alice.write_fid(
                    fid, {"ctl": "run", "cmd": "id", "schedule": "@daily", "options": "nice 1"}[name]
                )
        with self.refused():
            self.alice.clunk(begun)
        with self.refused():
            self.alice.client.rpc(m.Tremove(directory))
        self.assertEqual(self.bob.read("/jobs/mine/cmd"), "true\n")
        self.assertEqual(self.bob.read("/jobs/mine/history"), "")

    def test_whole(self) -> None:
        """Only root pauses; everybody sees it."""
        for user in (self.alice, self.bob, self.jobd.user("nobody")):
            with self.refused(errno.EACCES):
                user.write("/ctl", "pause")
        self.root.write("/ctl", "pause")
        self.assertTrue(self.alice.read("/ctl").startswith("paused\n"))

    def test_most_jobs(self) -> None:
        """A user has so many jobs and no more; others are not counted with them, root is not counted."""
        for number in range(3):
            self.alice.make(f"a{number}", "true")
        with self.refused(errno.EDQUOT):
            self.alice.make("a3", "true")
        self.assertIn("--max-jobs-per-user", self.alice.read("/error"))
        self.bob.make("b0", "true")
        self.alice.remove("/jobs/a0")
        self.alice.make("a3", "true")
        for number in range(5):
            self.root.make(f"r{number}", "true")
        self.jobd.stop()
        self.jobd.start()
        alice = self.jobd.user(ALICE)
        with self.refused(errno.EDQUOT):
            alice.make("a4", "true")

    def test_errors_are_ones_own(self) -> None:
        """/error has the failed changes of the user, over all connections, and of nobody else."""
        with self.refused(errno.EINVAL):
            self.alice.write("/clone", "nonsense")
        self.assertIn("nonsense", self.jobd.user(ALICE).read("/error"))
        self.assertEqual(self.bob.read("/error"), "")
        self.assertEqual(self.root.read("/error"), "")

    def test_audit(self) -> None:
        """Each change names its user and peer, in /events and in the log; the log has those refused too."""
        self.alice.make("mine", "true")
        self.alice.write("/jobs/mine/ctl", "start")
        self.alice.set_stat("/jobs/mine", mode=DMDIR | 0o755)
        self.alice.rename("/jobs/mine", "other")
        with self.refused():
            self.bob.remove("/jobs/other")
        tcp = self.jobd.connect(ALICE, tcp=True)
        tcp.attach().remove("/jobs/other")
        who = f"'{ALICE} a unix socket uid {uid_of(ALICE)}'"
        port = tcp.connection.getsockname()[1]
        lines = [
            rf"created job=mine by={who}",
            rf"started job=mine by={who}",
            rf"access job=mine by={who}",
            rf"renamed job=other old=mine by={who}",
            rf"removed job=other by='{ALICE} 127\.0\.0\.1:{port} uid {uid_of(ALICE)}'",
        ]
        for text in (self.root.read("/events"), self.jobd.log.read_text()):
            found = [line for line in text.splitlines() if " by='" in line and "refused" not in line]
            for line, expected in zip(found, lines, strict=True):
                self.assertRegex(line, expected + "$")
        self.assertRegex(
            self.jobd.log.read_text(),
            rf"refused path=/jobs/other why='bin may not .*' by='{BOB} a unix socket uid {uid_of(BOB)}'",
        )

    def test_state_is_roots(self) -> None:
        """Nobody reads the database or a log around the file service, however wide the directory is open."""
        self.jobd.state.chmod(0o755)
        self.alice.make("mine", "echo secret")
        self.alice.run("mine")
        self.jobd.stop()
        self.jobd.start()
        for directory, _, files in os.walk(self.jobd.state):
            for name in files:
                mode = os.lstat(os.path.join(directory, name)).st_mode
                self.assertFalse(stat.S_IMODE(mode) & 0o077, (name, oct(mode)))

    def test_users_without_account(self) -> None:
        """Who has no account here reads what all may read, and changes nothing."""
        stranger = self.jobd.user(3_000_000)
        self.assertTrue(stranger.read("/ctl").startswith("running\n"))
        with self.refused(errno.EACCES):
            stranger.make("mine", "id")
        self.assertRegex(stranger.read("/error"), re.escape("no account"))
