"""Who one is, and what one may do."""

from __future__ import annotations

import errno
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from jobd.access import Access, Peer, User
from jobd.ninep.errors import NinepError
from jobd.ninep.interfaces import DMDIR, ORDWR, OREAD, OTRUNC, OWRITE, Attach, SetStat
from jobd.testing import MemoryJobd
from tests.tree import SELF, TreeTest, in_each_dialect

ROOT = User(0, 0, "root", frozenset({0}))
OPERATOR = User(4001, 4001, "operator", frozenset({4001}))
"""Whom the daemon runs as, where that is not the user of the test."""
GLENDA = User(4002, 4002, "glenda", frozenset({4002}))
"""The owner of a job."""
MEMBER = User(4003, 4003, "member", frozenset({4003, 4002}))
"""One of the owner's group."""
OTHER = User(4004, 4004, "other", frozenset({4004}))

PUBLIC = ("ctl", "schedule", "next", "status", "history")
PRIVATE = (
    "cmd",
    "log",
    "options",
    "runs",
    "runs/1",
    "runs/1/env",
    "runs/1/output",
    "runs/1/status",
    "runs/1/wait",
)


class AttachTest(SynchronousTestCase):
    """Whom an attach acts as."""

    def acts_as(
        self, peer: Peer | None, uname: str = "", n_uname: int | None = None, anonymous: User | None = None
    ) -> User:
        jobd = MemoryJobd(access=Access(daemon=OPERATOR, anonymous=anonymous))
        self.addCleanup(jobd.close)
        user: User = jobd.tree.attach(Attach(peer, uname, n_uname, "")).view.user
        return user

    def test_identities(self) -> None:
        """Root's connection speaks for others, every other is its proved user whatever it says."""
        plain, root = Peer("there", GLENDA), Peer("there", ROOT, speaks_for_others=True)
        for peer, uname, n_uname, name in (
            (plain, "", None, "glenda"),
            (plain, "root", 0, "glenda"),
            (plain, "nobody", None, "glenda"),
            (root, "", None, "root"),
            (root, "root", None, "root"),
            (root, "nobody", None, "nobody"),
            (root, "", 0, "root"),
            (root, "root", 54321, "54321"),
            (Peer("there", ROOT), "nobody", 54321, "root"),
        ):
            self.assertEqual(self.acts_as(peer, uname, n_uname).name, name, (peer, uname, n_uname))

    def test_unknown_name(self) -> None:
        """Root can't speak for a user that is not there."""
        peer = Peer("there", ROOT, speaks_for_others=True)
        error = self.assertRaises(NinepError, self.acts_as, peer, "no such user")
        self.assertEqual(error.errno, errno.EINVAL)

    def test_no_identity(self) -> None:
        """A peer without a proved identity is refused with a sentence that tells how to allow it."""
        for peer in (Peer("far away", None), None):
            error = self.assertRaises(NinepError, self.acts_as, peer, "root", 0)
            self.assertEqual(error.errno, errno.EACCES)
            # On the wire too: there is no /error for whom is not let in.
            self.assertIn("--anonymous USER", error.ename)

    def test_anonymous(self) -> None:
        """With --anonymous, such a peer acts as that user whatever it says, and no other peer does."""
        for peer in (Peer("far away", None), None):
            self.assertEqual(self.acts_as(peer, "root", 0, anonymous=GLENDA), GLENDA)
        self.assertEqual(self.acts_as(Peer("there", OTHER), anonymous=GLENDA), OTHER)

    def test_before_all_jobs_are_there(self) -> None:
        """While jobs are still being taken in, an attach waits."""
        jobd = MemoryJobd()
        self.addCleanup(jobd.close)
        jobd.tree.loading = loading = Deferred()
        clients = [jobd.connect(), jobd.connect()]
        for client in clients:
            self.assertNoResult(client)
        loading.callback(None)
        for client in clients:
            self.successResultOf(client)

    def test_trees(self) -> None:
        """There is one tree: another is ENOENT."""
        jobd = MemoryJobd()
        self.addCleanup(jobd.close)
        jobd.tree.attach(Attach(Peer("there", GLENDA), "", None, "/"))
        attach = Attach(Peer("there", GLENDA), "", None, "other")
        self.assertEqual(self.assertRaises(NinepError, jobd.tree.attach, attach).errno, errno.ENOENT)


class TreeOfOperator(TreeTest):
    """A daemon of a user of its own, which root's connections reach too."""

    def setUp(self) -> None:
        self.jobd = MemoryJobd(access=Access(daemon=OPERATOR))
        self.addCleanup(self.jobd.close)
        self.client = self.connect(OPERATOR)


class RootDaemonTest(SynchronousTestCase):
    """A daemon that is root's."""

    def test_jobs_are_their_makers(self) -> None:
        """What root makes is root's, and root may give it away and take it back."""
        jobd = MemoryJobd(access=Access(daemon=ROOT))
        self.addCleanup(jobd.close)
        client = self.successResultOf(jobd.connect(peer=Peer("test", ROOT)))
        self.successResultOf(client.mkdir("/jobs/new"))
        job = jobd.table.job("new")
        self.assertEqual((job.owner, job.group), ("root", "root"))
        nobody = User.by_name("nobody")
        assert nobody is not None
        self.successResultOf(client.set_stat("/jobs/new", SetStat(uid=nobody.uid)))
        self.assertEqual(job.owner, "nobody")
        for changes in (SetStat(uid=3_999_999_999), SetStat(gid=3_999_999_999)):
            error = self.failureResultOf(client.set_stat("/jobs/new", changes), NinepError).value
            self.assertEqual(error.errno, errno.EINVAL)


@in_each_dialect
class ChangesTest(TreeOfOperator):
    """Changes are root's and the daemon's own user's."""

    def test_others_look(self) -> None:
        """Another user changes nothing, the owner of a job as little, and finds out why in `/error`."""
        self.make()
        self.jobd.table.set_access(self.jobd.table.job("hello"), owner="glenda", group="4002", actor="test")
        for user in (GLENDA, OTHER):
            client = self.connect(user)
            for path, text in (
                ("/clone", "new:@daily:true"),
                ("/ctl", "pause"),
                ("/jobs/hello/ctl", "start"),
                ("/jobs/hello/cmd", "true"),
                ("/jobs/hello/schedule", "@daily"),
                ("/jobs/hello/options", "nice 1"),
            ):
                self.assert_refused(errno.EACCES, path, text, client)
            self.refused(errno.EACCES, client.mkdir("/jobs/new"))
            self.refused(errno.EACCES, client.remove("/jobs/hello"))
            self.refused(errno.EACCES, client.set_stat("/jobs/hello", SetStat(mode=DMDIR | 0o777)))
            lines = self.errors(client)
            self.assertEqual(len(lines), 9)
            self.assertEqual(
                lines[0], f"/clone: {user.name} may only look: changes are root's and operator's"
            )
        self.assertEqual(self.read("/error"), "")
        self.assertEqual(self.names("/jobs"), ["hello"])

    def test_root_and_the_daemon_change(self) -> None:
        """A daemon that isn't root runs jobs only as itself: what root makes there is the daemon's user's."""
        self.make("operators")
        root = self.connect(ROOT)
        self.write("/clone", "roots:@daily:true", root)
        self.write("/jobs/roots/schedule", "@hourly")
        self.write("/jobs/operators/cmd", "true", root)
        owners = [self.jobd.table.job(name).owner for name in ("operators", "roots")]
        self.assertEqual(owners, ["operator", "operator"])

    def test_attributes(self) -> None:
        """A mode is set by the daemon's user and root, a group by root alone, and an owner by nobody."""
        self.make()
        root, path = self.connect(ROOT), "/jobs/hello"
        for client, mode in ((self.client, 0o755), (root, 0o750)):
            self.successResultOf(client.set_stat(path, SetStat(mode=self.bits(mode))))
            self.assertEqual(self.jobd.table.job("hello").mode, mode)
        self.refused(errno.EPERM, self.client.set_stat(path, SetStat(gid=self.number(0, "root"))))
        self.successResultOf(root.set_stat(path, SetStat(gid=self.number(0, "root"))))
        self.refused(errno.EPERM, root.set_stat(path, SetStat(uid=self.number(0, "root"))))
        self.assertIn("doesn't run as root", self.errors(root)[-1])
        job = self.jobd.table.job("hello")
        self.assertEqual((job.owner, job.group), ("operator", "root"))

    def number(self, number: int, name: str) -> int | str:
        """An owner, as the dialect names one."""
        return name if self.version == "9P2000" else number

    def bits(self, mode: int) -> int:
        return mode if self.version == "9P2000.L" else mode | DMDIR

    def test_refused_opens(self) -> None:
        """An open for writing that is refused is a failed change, one for reading is not."""
        self.make()
        client = self.connect(OTHER)
        for mode in (OWRITE, ORDWR, OREAD | OTRUNC):
            self.refused(errno.EACCES, client.open("/jobs/hello/ctl", mode))
        self.refused(errno.EACCES, client.open("/jobs/hello/cmd", OREAD))
        self.assertEqual(
            self.errors(client), ["/jobs/hello/ctl: other may not write it: it is operator's"] * 3
        )

    def test_users_stay_apart(self) -> None:
        """Users who attach over one connection each have their own rights and their own `/error`."""
        self.make()
        peer = Peer("test", ROOT, speaks_for_others=True)
        client = self.successResultOf(self.jobd.connect(self.version, peer, uname="root"))
        nobody = self.successResultOf(client.attach("nobody"))
        fid = self.successResultOf(self.successResultOf(nobody.walk("clone")).open(OWRITE))
        self.refused(errno.EACCES, fid.write(0, b"new:@daily:true"))
        self.refused(errno.EACCES, self.successResultOf(nobody.walk("jobs", "hello", "cmd")).open(OREAD))
        self.write("/clone", "new:@daily:true", client)
        self.assertEqual(self.read("/error", client), "")
        error = self.successResultOf(self.successResultOf(nobody.walk("error")).open(OREAD))
        self.assertIn("nobody may only look", self.part(error))


class ModesTest(TreeTest):
    """The modes that are shown are those that are enforced."""

    def setUp(self) -> None:
        super().setUp()
        self.make()
        self.write("/jobs/hello/ctl", "run")
        self.jobd.spawner.running[0].exit()
        self.clients = {user.name: self.connect(user) for user in (GLENDA, MEMBER, OTHER)}

    def give(self, mode: int) -> None:
        """Make the job glenda's, with MODE."""
        job = self.jobd.table.job("hello")
        self.successResultOf(
            self.jobd.table.set_access(job, owner="glenda", group="4002", mode=mode, actor="test")
        )

    def readers(self, path: str) -> set[str]:
        """Who may open the file at PATH for reading."""
        readers = set()
        for name, client in self.clients.items():
            opened: list[Any] = []
            client.open(path, OREAD).addCallbacks(opened.append, lambda failure: failure.trap(NinepError))
            if opened:
                readers.add(name)
        return readers

    def test_who_reads_what(self) -> None:
        """cmd, log, options and runs are the owner's unless the directory's mode lets others read."""
        for mode, public, private in (
            (0o711, {"glenda", "member", "other"}, {"glenda"}),
            (0o755, {"glenda", "member", "other"}, {"glenda", "member", "other"}),
            (0o751, {"glenda", "member", "other"}, {"glenda", "member"}),
            (0o750, {"glenda", "member"}, {"glenda", "member"}),
            (0o710, {"glenda", "member"}, {"glenda"}),
            (0o700, {"glenda"}, {"glenda"}),
            (0o744, {"glenda"}, {"glenda"}),
            (0o000, set(), set()),
        ):
            self.give(mode)
            for names, readers in ((PUBLIC, public), (PRIVATE, private)):
                for name in names:
                    self.assertEqual(self.readers(f"/jobs/hello/{name}"), readers, (oct(mode), name))

    def test_shown_is_enforced(self) -> None:
        """Whoever may read a file by its mode and those of the directories above does, and nobody else."""
        shifts = {"glenda": 6, "member": 3, "other": 0}
        for mode in range(0, 0o1000, 5):
            self.give(mode)
            for name in (*PUBLIC, *PRIVATE):
                expected = set(shifts)
                parts = name.split("/")
                for depth in range(len(parts) + 1):
                    path = "/".join(["/jobs/hello", *parts[:depth]])
                    wanted = 4 if depth == len(parts) else 1
                    shown = self.successResultOf(self.client.stat(path)).mode
                    expected = {user for user in expected if shown >> shifts[user] & wanted}
                self.assertEqual(self.readers(f"/jobs/hello/{name}"), expected, (oct(mode), name))

    def test_listing(self) -> None:
        """A job's directory is listed by whom its mode gives that, `/jobs` by all."""
        self.give(0o711)
        other = self.clients["other"]
        self.assertEqual(self.successResultOf(other.listdir("/jobs")), ["hello"])
        self.refused(errno.EACCES, other.listdir("/jobs/hello"))
        runs = self.successResultOf(other.walk("/jobs/hello/runs"))
        self.refused(errno.EACCES, runs.walk("1"))
        self.assertEqual(self.successResultOf(other.stat("/jobs/hello")).mode & 0o777, 0o711)
        self.give(0o755)
        self.assertEqual(len(self.successResultOf(other.listdir("/jobs/hello"))), 9)

    def test_jobs_mode(self) -> None:
        """A new job has the mode that the daemon was told."""
        jobd = MemoryJobd(jobs_mode=0o750)
        self.addCleanup(jobd.close)
        client = self.successResultOf(jobd.connect())
        self.successResultOf(client.mkdir("/jobs/new"))
        stat = self.successResultOf(client.stat("/jobs/new"))
        self.assertEqual((stat.mode & 0o7777, stat.n_uid), (0o750, SELF.uid))
