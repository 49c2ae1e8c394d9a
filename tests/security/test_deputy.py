"""Nobody runs a command as somebody else, nor reads what is another's, by any option, name or race."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import socket
import sqlite3
import struct
import subprocess
import textwrap
import time
from typing import Any

from jobd.ninep import messages as m
from jobd.ninep.errors import NinepError
from jobd.ninep.interfaces import OREAD, OWRITE
from tests.security import ALICE, BOB, Client, UsersTest, acting_as, uid_of, wait_until

HOOK = """
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
__attribute__((constructor)) static void loaded(void)
{
    FILE *file = fopen(getenv("SEEN") ? getenv("SEEN") : "/dev/null", "a");
    if (file) { fprintf(file, "%d\\n", (int)geteuid()); fclose(file); }
}
"""


class DeputyTest(UsersTest):
    """One user who tries to be another, through root's jobd."""

    def setUp(self) -> None:
        super().setUp()
        self.place = self.jobd.directory / "place"
        self.place.mkdir()
        self.place.chmod(0o1777)

    def test_environment(self) -> None:
        """No variable of a job reaches a process that is not yet its owner's."""
        seen = self.place / "seen"
        seen.touch(0o666)
        seen.chmod(0o666)
        hook = self.place / "hook"
        hook.write_text(f"id -u >>{seen}\n")
        hook.chmod(0o755)
        for program in ("setpriv", "nice", "prlimit", "sh", "id"):
            fake = self.place / program
            fake.write_text(f"#!/bin/sh\n/usr/bin/id -u >>{seen}\n")
            fake.chmod(0o755)
        variables = {
            "PATH": str(self.place),
            "ENV": str(hook),
            "BASH_ENV": str(hook),
            "IFS": "/",
            "SEEN": str(seen),
        }
        variables |= {
            "LD_LIBRARY_PATH": str(self.place),
            "GCONV_PATH": str(self.place),
            "PYTHONPATH": str(self.place),
        }
        library = self.library()
        if library:
            variables |= {"LD_PRELOAD": library}
        options = "".join(f"env {name}={value}\n" for name, value in variables.items())
        self.alice.make("trap", "/usr/bin/id -u", options + "nice 5\nlimit nofile 64\numask 000\n")
        self.assertIn("outcome=ok", self.alice.run("trap"))
        self.assertEqual(self.alice.output("trap"), f"{uid_of(ALICE)}\n")
        self.assertLessEqual(set(seen.read_text().split()), {str(uid_of(ALICE))})
        if library:
            self.assertTrue(seen.read_text())

    def library(self) -> str | None:
        """A library that writes down as whom it was loaded; None without a compiler."""
        compiler = shutil.which("cc")
        if compiler is None:
            return None
        source, library = self.place / "hook.c", self.place / "hook.so"
        source.write_text(HOOK)
        subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True)
        library.chmod(0o755)
        return str(library)

    def test_shell_and_directory(self) -> None:
        """A shell or directory of the owner's choice is used as the owner, links or not."""
        secret = self.jobd.directory / "secret"
        secret.mkdir(mode=0o700)
        (secret / "file").write_text("secret")
        (self.place / "link").symlink_to(secret)
        shell = self.place / "shell"
        shell.write_text("#!/bin/sh\n/usr/bin/id -u\n")
        shell.chmod(0o755)
        suid = self.place / "suid"
        shutil.copy("/usr/bin/id", suid)
        os.chown(suid, uid_of(BOB), -1)
        suid.chmod(0o4755)
        for name, command, options, output in (
            ("s1", "true", f"shell {shell}", f"{uid_of(ALICE)}\n"),
            (
                "s2",
                "cat file",
                f"dir {self.place}/link",
                f"jobd: cannot enter the directory {self.place}/link\n",
            ),
            ("s3", "cat file", f"dir {secret}", f"jobd: cannot enter the directory {secret}\n"),
            ("s4", "pwd", "dir /proc/self/fd/3/..", None),
            ("s5", "id -u", "dir /proc/1/root/root", None),
        ):
            self.alice.make(name, command, options + "\n")
            self.alice.run(name)
            if output is not None:
                self.assertEqual(self.alice.output(name), output, name)
            self.assertNotIn("secret\n", self.alice.output(name).replace(str(secret), ""))

    def test_names_and_options_are_no_commands(self) -> None:
        """A name, a value or a variable with quotes, newlines or substitutions is only that."""
        for options in (
            "env A=$(id>{0})\n",
            "env A=';id>{0};'\n",
            "dir /tmp/$(id>{0})\n",
            "env A=`id>{0}`\nnice 1\n",
        ):
            self.alice.make("quoted", "true", options.format(self.place / "made"))
            self.alice.run("quoted")
            self.alice.remove("/jobs/quoted")
        self.assertFalse((self.place / "made").exists())
        for name in ("../../etc/cron.d/x", "a/b", "..", ".", "a\0b", "a\nb", "-x", "a" * 129, "$(id)", ""):
            with self.refused(errno.EINVAL):
                self.alice.write("/clone", f"{name}:@daily:id")

    def test_options_are_not_raised(self) -> None:
        """Nobody takes a lower nice value or a higher limit than is theirs."""
        self.alice.make("greedy", "nice; ulimit -n", "limit nofile 1000000000\n")
        self.alice.run("greedy")
        self.assertNotIn("1000000000", self.alice.output("greedy"))
        self.alice.write("/jobs/greedy/options", "default\n")
        try:
            self.alice.write("/jobs/greedy/options", "nice -10\n")
        except NinepError:
            return
        self.alice.run("greedy")
        self.assertNotIn("-10", self.alice.output("greedy", 2))

    def test_attach_as_another(self) -> None:
        """Only root's connection is whom it names; another's attach is its own user, whatever it says."""
        self.alice.make("mine", "true")
        for tcp in (False, True):
            client = self.jobd.connect(BOB, tcp=tcp)
            for uname, n_uname in (
                (ALICE, None),
                ("root", 0),
                ("", uid_of(ALICE)),
                ("", 0),
                ("root", uid_of(ALICE)),
            ):
                user = client.attach(uname, n_uname)
                with self.refused():
                    user.read("/jobs/mine/cmd")
                with self.refused():
                    user.write("/jobs/mine/ctl", "run")
        root = self.jobd.connect("root")
        self.assertEqual(root.attach(ALICE, None).read("/jobs/mine/cmd"), "true\n")
        self.assertEqual(root.attach("", uid_of(ALICE)).read("/jobs/mine/cmd"), "true\n")
        with self.refused():
            root.attach(BOB).read("/jobs/mine/cmd")
        with self.refused():
            root.attach("nobody").read("/jobs/mine/cmd")

    def test_users_of_one_connection(self) -> None:
        """Users who attach through one connection stay apart: each fid is its own user's."""
        client = self.jobd.connect("root")
        alice, bob = client.attach(ALICE), client.attach("", uid_of(BOB))
        alice.make("mine", "id -un")
        with self.refused():
            bob.write("/jobs/mine/ctl", "run")
        # Bob's own walk from a fid that is alice's goes on as alice, who opened it; from his root as himself.
        fid = bob.walk("/jobs/mine")
        clone = client.new_fid()
        client.rpc(m.Twalk(fid, clone, ("cmd",)))
        with self.refused(errno.EACCES):
            client.rpc(m.Topen(clone, OREAD))
        with self.refused():
            client.rpc(m.Tremove(fid))
        bob.make("theirs", "id -un")
        for user, name in ((alice, "mine"), (bob, "theirs")):
            user.run(name)
        self.assertEqual((alice.output("mine"), bob.output("theirs")), (f"{ALICE}\n", f"{BOB}\n"))

    def test_renamed_in_between(self) -> None:
        """A name that another took meanwhile is another job: an old fid stays with the old one."""
        self.alice.make("name", "echo alice")
        fid = self.alice.open("/jobs/name/cmd", OWRITE)
        old = self.alice.walk("/jobs/name")
        self.alice.rename("/jobs/name", "gone")
        self.bob.make("name", "echo bob")
        self.alice.write_fid(fid, "echo changed")
        self.alice.clunk(fid)
        self.assertEqual(self.bob.read("/jobs/name/cmd"), "echo bob\n")
        self.alice.client.rpc(m.Tremove(old))
        self.assertEqual(self.bob.read("/jobs/name/cmd"), "echo bob\n")
        with self.refused():
            self.alice.remove("/jobs/name")
        with self.refused(errno.EINVAL):
            self.bob.rename("/jobs/name", "../gone")

    def test_removed_and_made_again(self) -> None:
        """Nothing of a removed job shows in another of its name, and no old fid reaches that."""
        self.alice.make("name", "echo secret of alice")
        self.alice.run("name")
        fids = [self.alice.open(f"/jobs/name/{file}") for file in ("log", "runs/1/output", "cmd")]
        self.alice.remove("/jobs/name")
        self.bob.make("name", "echo secret of bob")
        self.bob.run("name")
        self.assertNotIn("alice", self.bob.read("/jobs/name/log") + self.bob.output("name"))
        for fid in fids:
            try:
                self.assertNotIn("bob", self.alice.read_fid(fid))
            except NinepError:
                pass

    def test_other_peoples_processes(self) -> None:
        """A run can't have its signals, or the end of its time, meet a process of another."""
        with acting_as(uid_of(BOB)):
            victim = subprocess.Popen(["/bin/sleep", "60"], start_new_session=True, user=uid_of(BOB))
        self.addCleanup(victim.wait)
        self.addCleanup(victim.kill)
        self.alice.make("killer", f"kill -9 {victim.pid}; exec sleep 60", "grace 0s\n")
        self.alice.write("/jobs/killer/ctl", "run")
        wait_until(lambda: "not permitted" in self.alice.output("killer"), "the attempt")
        self.alice.write("/jobs/killer/ctl", "kill KILL")
        self.assertIn("outcome=killed", self.alice.read("/jobs/killer/runs/1/wait"))
        self.assertIsNone(victim.poll())

    def test_output_that_is_no_pipe(self) -> None:
        """The next daemon reads a run's pipe, and no file that the run has put in its place."""
        secret = self.jobd.directory / "root-only"
        secret.write_text("secret of root\n")
        secret.chmod(0o600)
        # O_PATH needs no right to read what it opens.
        attack = f"""
            import os, time
            os.dup2(os.open({str(secret)!r}, os.O_PATH), 1)
            open({str(self.place / "ready")!r}, 'w').close()
            time.sleep(60)
        """
        program = self.place / "attack.py"
        program.write_text(textwrap.dedent(attack))
        self.alice.make("thief", f"exec /usr/bin/python3 {program}")
        self.alice.write("/jobs/thief/ctl", "run")
        wait_until((self.place / "ready").exists, "the attack")
        self.jobd.kill()
        self.jobd.start()
        alice = self.jobd.user(ALICE)
        alice.write("/jobs/thief/ctl", "kill KILL")
        alice.read("/jobs/thief/runs/1/wait")
        self.assertNotIn("secret", alice.output("thief") + alice.read("/jobs/thief/log"))

    def test_owner_is_gone(self) -> None:
        """A job whose owner has no account any more doesn't run, as root least of all."""
        self.alice.make("orphan", f"id >{self.place}/ran")
        self.jobd.stop()
        database = self.jobd.state / "jobd.db"
        for owner in ("no-such-user", "0", "", "root\0x", "-1", "+0", " root"):
            with contextlib.closing(sqlite3.connect(database)) as connection, connection:
                connection.execute("UPDATE jobs SET owner = ?", [owner])
            self.jobd.start()
            root = self.jobd.user("root")
            self.assertRegex(root.run("orphan"), "outcome=failed .*there is no user", owner)
            self.jobd.stop()
        self.assertFalse((self.place / "ran").exists())


class SocketsTest(UsersTest):
    """Connections in every state that has no owner."""

    def setUp(self) -> None:
        super().setUp()
        self.requests = b"".join(
            (
                m.encode(m.NOTAG, m.Tversion(8192, "9P2000"), m.PLAIN),
                m.encode(1, m.Tattach(1, m.NOFID, "root", ""), m.PLAIN),
                m.encode(1, m.Twalk(1, 2, ("clone",)), m.PLAIN),
                m.encode(1, m.Topen(2, OWRITE), m.PLAIN),
                m.encode(1, m.Twrite(2, 0, b"stolen:@daily:id"), m.PLAIN),
            )
        )

    def fire(self, end: Any) -> None:
        """As bob: connect, send all that makes a job, and END the connection."""
        with acting_as(uid_of(BOB)):
            connection = socket.socket()
            connection.connect(("127.0.0.1", self.jobd.port))
            connection.sendall(self.requests)
            end(connection)
            connection.close()

    def test_closed_sockets_have_no_owner(self) -> None:
        """A socket that is closed, half closed or reset at once is nobody's, though shown with uid 0."""
        ends = (
            lambda c: None,
            lambda c: c.shutdown(socket.SHUT_WR),
            lambda c: c.shutdown(socket.SHUT_RDWR),
            lambda c: c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)),
        )
        for _ in range(25):
            for end in ends:
                self.fire(end)
        root = self.jobd.user("root")
        root.read("/version")
        for _ in range(20):
            try:
                self.assertEqual(root.stat("/jobs/stolen").uid, BOB)
                root.remove("/jobs/stolen")
            except NinepError as error:
                self.assertEqual(error.errno, errno.ENOENT)
            time.sleep(0.01)
        for line in self.jobd.log.read_text().splitlines():
            if "stolen" in line and " by=" in line:
                self.assertRegex(line, f"by='({BOB} .*uid {uid_of(BOB)}|root a unix socket uid 0)'")

    def test_addresses_are_used_again(self) -> None:
        """A port that root's connection had a moment ago, now another's, is that other's."""
        root = self.jobd.connect("root", tcp=True)
        address = root.connection.getsockname()
        root.attach()
        root.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        root.close()
        with acting_as(uid_of(BOB)):
            connection = socket.socket()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            connection.bind(address)
            connection.connect(("127.0.0.1", self.jobd.port))
        self.addCleanup(connection.close)
        bob = Client(connection).attach("root", 0)
        bob.make("mine", "id -un")
        self.assertEqual(bob.stat("/jobs/mine").uid, BOB)

    def test_handed_on(self) -> None:
        """A socket that root's program hands to another is root's still, as root did; never the reverse."""
        ours, theirs = socket.socketpair()
        with ours, theirs, acting_as(uid_of(BOB)):
            connection = socket.socket()
            connection.connect(("127.0.0.1", self.jobd.port))
            socket.send_fds(ours, [b"x"], [connection.fileno()])
            connection.close()
        # Root holds it now, and it is bob's all the same.
        fds = []
        ours, theirs = socket.socketpair()
        with ours, theirs, acting_as(uid_of(BOB)):
            connection = socket.socket()
            connection.connect(("127.0.0.1", self.jobd.port))
            socket.send_fds(ours, [b"x"], [connection.fileno()])
            connection.close()
            _, fds, _, _ = socket.recv_fds(theirs, 1, 1)
        received = socket.socket(fileno=fds[0])
        self.addCleanup(received.close)
        user = Client(received).attach("root", 0)
        user.make("mine", "true")
        self.assertEqual(user.stat("/jobs/mine").uid, BOB)
