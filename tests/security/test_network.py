"""Where a peer is, what is believed of it, and who may do what in a daemon that is not root's."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import pwd
import shutil
import socket
import sqlite3
import subprocess
import threading
import unittest
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from jobd.access import User
from jobd.ninep.errors import NinepError
from jobd.ninep.interfaces import DMDIR
from tests.optional import lacking
from tests.security import (
    ALICE,
    BOB,
    Client,
    Jobd,
    SecurityTest,
    UsersTest,
    acting_as,
    free_port,
    start_jobd,
    uid_of,
    wait_until,
)

HERE, THERE = "198.51.100.1", "198.51.100.2"
"""Addresses of two ends of a cable between network namespaces, kept for documentation (RFC 5737)."""

CLONE_NEWNET = 0x40000000


def ip(*arguments: str) -> None:
    """Run ip(8); CalledProcessError where it fails."""
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@contextlib.contextmanager
def elsewhere() -> Iterator[Callable[[Callable[[], Any]], Any]]:
    """Another network namespace, joined to ours by a cable: calls a function in it."""
    name, cable = f"jobd-{os.getpid()}", f"jd{os.getpid() % 10**8}"
    try:
        ip("netns", "add", name)
    except (OSError, subprocess.CalledProcessError):
        raise unittest.SkipTest("needs network namespaces (ip netns add)") from None
    try:
        try:
            ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", name)
        except subprocess.CalledProcessError:
            raise unittest.SkipTest("needs a cable between network namespaces (veth)") from None
        ip("address", "add", f"{HERE}/30", "dev", cable)
        ip("link", "set", cable, "up")
        ip("-n", name, "address", "add", f"{THERE}/30", "dev", "eth0")
        ip("-n", name, "link", "set", "eth0", "up")

        def call(function: Callable[[], Any]) -> Any:
            results: list[Any] = []

            def work() -> None:
                libc = ctypes.CDLL(None, use_errno=True)
                with Path(f"/run/netns/{name}").open() as namespace:
                    # Of this thread alone.
                    assert libc.setns(namespace.fileno(), CLONE_NEWNET) == 0
                results.append(function())

            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
            return results[0]

        yield call
    finally:
        # By name: a namespace goes later, with its end of the cable.
        subprocess.run(["ip", "link", "delete", cable], check=False, capture_output=True)
        ip("netns", "delete", name)


class PlacesTest(SecurityTest):
    """One daemon for each value of --trust-tcp, and what it makes of peers in each place."""

    def whose(self, connect: Callable[[], socket.socket], uname: str = "", n_uname: int | None = None) -> str:
        """As whom a connection acts, or `refused`."""
        connection = connect()
        self.addCleanup(connection.close)
        try:
            user = Client(connection).attach(uname, n_uname)
        except NinepError as error:
            self.assertEqual(error.errno, errno.EACCES)
            self.assertIn("--anonymous USER", str(error))
            return "refused"
        try:
            user.make("made", "true")
        except NinepError as error:
            self.assertEqual(error.errno, errno.EACCES)
            return "looks only"
        owner: str = user.stat("/jobs/made").uid
        user.remove("/jobs/made")
        return owner

    def by(self, user: str | int, address: Any, family: int = socket.AF_INET) -> Callable[[], socket.socket]:
        def connect() -> socket.socket:
            with acting_as(user if isinstance(user, int) else uid_of(user)):
                connection = socket.socket(family)
                connection.connect(address)
                return connection

        return connect

    def test_table(self) -> None:
        """Who connects from where, naming whom, and as whom that acts."""
        for trust, root, alice in (
            ("all", "root", ALICE),
            ("users", "refused", ALICE),
            ("none", "refused", "refused"),
        ):
            port = free_port()
            wide = ["--fsaddr", f"0.0.0.0:{port}", "--fsaddr", f"[::1]:{port}"]
            jobd = Jobd(self, "--trust-tcp", trust, *wide)
            v4, v6, local = ("127.0.0.1", port), ("::1", port), str(jobd.socket)
            with socket.socket(socket.AF_INET6) as probe:
                wait_until(lambda probe=probe, v6=v6: not probe.connect_ex(v6), "a start")
            for what, connect, names, expected in (
                ("root, v4", self.by("root", v4), (), root),
                ("root, v6", self.by("root", v6, socket.AF_INET6), (), root),
                ("root for alice", self.by("root", v4), (ALICE,), ALICE if root == "root" else root),
                (
                    "root for a number",
                    self.by("root", v4),
                    ("", uid_of(BOB)),
                    BOB if root == "root" else root,
                ),
                ("alice, v4", self.by(ALICE, v4), (), alice),
                ("alice, v6", self.by(ALICE, v6, socket.AF_INET6), (), alice),
                ("alice, another address of ours", self.by(ALICE, ("127.9.8.7", port)), (), alice),
                ("alice as root", self.by(ALICE, v4), ("root", 0), alice),
                ("alice as bob", self.by(ALICE, v4), (BOB, uid_of(BOB)), alice),
                ("no account", self.by(54321, v4), ("root", 0), "looks only" if alice == ALICE else alice),
                ("root, unix", self.by("root", local, socket.AF_UNIX), (), "root"),
                ("root, unix, for alice", self.by("root", local, socket.AF_UNIX), (ALICE,), ALICE),
                ("alice, unix", self.by(ALICE, local, socket.AF_UNIX), ("root", 0), ALICE),
            ):
                with self.subTest(what, trust=trust):
                    self.assertEqual(self.whose(connect, *names), expected)
            jobd.stop()

    def test_other_namespace(self) -> None:
        """A peer in another network namespace is not of this machine: root there is nobody here."""
        port = free_port()
        for options, expected in (((), "refused"), (("--anonymous", ALICE), ALICE)):
            jobd = Jobd(self, *options, addresses=[f"0.0.0.0:{port}"])
            with elsewhere() as call:
                wait_until(lambda: not socket.socket().connect_ex(("127.0.0.1", port)), "a start")

                def connect(call: Any = call) -> socket.socket:
                    connection: socket.socket = call(lambda: socket.create_connection((HERE, port), 10))
                    return connection

                for names in ((), ("root", 0), (BOB,), ("", uid_of(BOB))):
                    self.assertEqual(self.whose(connect, *names), expected)
            jobd.stop()


class UnprivilegedTest(UsersTest):
    """A daemon that is a user's own."""

    user = ALICE

    def test_changes(self) -> None:
        """It takes changes from its own user and root, whoever made a job, and runs all as itself."""
        self.alice.make("hers", "id -un")
        self.root.make("roots", "id -un")
        for user, name in ((self.alice, "roots"), (self.root, "hers")):
            self.assertEqual(user.stat(f"/jobs/{name}").uid, ALICE)
            self.assertIn("outcome=ok", user.run(name))
            self.assertEqual(user.output(name), f"{ALICE}\n")
            user.set_stat(f"/jobs/{name}", mode=DMDIR | 0o700)
        for user in (self.root, self.alice):
            user.write("/ctl", "pause")
            user.write("/ctl", "resume")
            with self.refused(errno.EPERM):
                user.set_stat("/jobs/hers", uid=BOB, n_uid=uid_of(BOB))
            with self.refused(errno.EPERM):
                user.set_stat("/jobs/hers", uid="root", n_uid=0)

    def test_others_look(self) -> None:
        """Others read what modes allow, and change nothing, not even in a job that says it is theirs."""
        self.alice.make("hers", "id -un")
        for change in (
            lambda: self.bob.make("his", "id"),
            lambda: self.bob.write("/jobs/hers/ctl", "run"),
            lambda: self.bob.remove("/jobs/hers"),
            lambda: self.bob.write("/ctl", "pause"),
            lambda: self.bob.set_stat("/jobs/hers", mode=DMDIR | 0o777),
        ):
            with self.refused():
                change()
        self.assertEqual(self.bob.read("/jobs/hers/ctl"), "stopped\n")
        with self.refused(errno.EACCES):
            self.bob.read("/jobs/hers/cmd")

    def test_jobs_of_another_owner(self) -> None:
        """A job whose owner it can't become doesn't run: not as itself, either."""
        self.alice.make("old", "id -un")
        self.jobd.stop()
        for owner in (BOB, "root"):
            with contextlib.closing(sqlite3.connect(self.jobd.state / "jobd.db")) as connection, connection:
                connection.execute("UPDATE jobs SET owner = ?", [owner])
            self.jobd.start()
            line = self.jobd.user(ALICE).run("old")
            self.assertRegex(line, f"outcome=failed .*not root cannot run a job as {owner}")
            self.jobd.stop()


class StartTest(SecurityTest):
    """Starts that would hand somebody else's rights to whoever comes."""

    def setUp(self) -> None:
        super().setUp()
        self.place = Path(self.mktemp()).absolute()
        self.place.mkdir(parents=True)

    def start(self, *prefix: str, state: Path) -> str:
        """What a start says that must fail."""
        log = self.place / "log"
        log.unlink(missing_ok=True)
        process = start_jobd(["--fsaddr", "127.0.0.1:0", "--dbdir", str(state)], log, prefix=prefix)
        self.assertNotEqual(process.wait(30), 0)
        text = log.read_text()
        self.assertNotIn("Traceback", text)
        return text.splitlines()[-1]

    def test_directory_of_another(self) -> None:
        """A directory that another owns, or everybody can write, holds no jobs of ours; nor does jobs.db."""
        state = self.place / "state"
        state.mkdir(mode=0o700)
        os.chown(state, uid_of(BOB), -1)
        self.assertIn(f"belongs to another user (uid {uid_of(BOB)})", self.start(state=state))
        os.chown(state, 0, -1)
        state.chmod(0o1777)
        self.assertIn("can be written by everybody", self.start(state=state))
        state.chmod(0o755)
        jobs = state / "jobs.db"
        jobs.write_text("stolen:@reboot:id\n")
        os.chown(jobs, uid_of(BOB), -1)
        self.assertIn("jobs.db belongs to another user", self.start(state=state))

    def test_two_users_at_once(self) -> None:
        """A process that is root as well (twistd --euid) would start jobs that could be root again."""
        sentence = self.start("setpriv", f"--euid={uid_of(ALICE)}", "--", state=self.place / "state")
        self.assertIn("as two users at once", sentence)

    def test_anonymous_root(self) -> None:
        """It is said loudly that everybody is root."""
        jobd = Jobd(self, "--anonymous", "root")
        self.assertRegex(jobd.log.read_text(), "critical.*whoever reaches it .* as root")


def locked_account(test: SecurityTest) -> str:
    """The name of a new user, gone at the end of TEST."""
    if not all(shutil.which(program) for program in ("useradd", "usermod", "userdel")):
        lacking("useradd, usermod and userdel")
    name = f"jobd{os.getpid() % 10**6}"
    subprocess.run(["useradd", "--no-create-home", "--home-dir", "/", "--shell", "/bin/sh", name], check=True)
    test.addCleanup(subprocess.run, ["userdel", "--force", name], capture_output=True, check=False)
    return name


class AccountsTest(SecurityTest):
    """Real accounts that come and go under a running daemon."""

    def test_locked_expired_removed(self) -> None:
        """Locked, expired, open again, then removed: its job runs as that user or fails, with a sentence."""
        name = locked_account(self)
        jobd = Jobd(self)
        uid = pwd.getpwnam(name).pw_uid
        user, root = jobd.user(uid), jobd.user("root")
        user.make("job", "id -u")

        def usermod(*arguments: str) -> None:
            subprocess.run(["usermod", *arguments, name], check=True)

        for number, (change, expected) in enumerate(
            (
                (lambda: None, "outcome=ok"),
                (lambda: usermod("--password", "$y$j9T$x$y"), "outcome=ok"),
                (lambda: usermod("--lock"), f"the account of {name} is locked"),
                (lambda: usermod("--unlock"), "outcome=ok"),
                (lambda: usermod("--expiredate", "2020-01-01"), f"the account of {name} has expired"),
                (lambda: usermod("--expiredate", ""), "outcome=ok"),
                (
                    lambda: subprocess.run(["userdel", "--force", name], check=True),
                    f"there is no user {name}",
                ),
            ),
            1,
        ):
            change()
            line = root.run("job")
            self.assertIn(expected, line)
            output = root.output("job", number)
            self.assertEqual(output, f"{uid}\n" if expected == "outcome=ok" else "")
        self.assertEqual(User.by_uid(uid).name, str(uid))
