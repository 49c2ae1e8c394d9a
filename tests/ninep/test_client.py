"""The client, on a server back to back, in each dialect."""

from __future__ import annotations

import errno
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.trial.unittest import SynchronousTestCase

from jobd.ninep import messages as m
from jobd.ninep.client import NinepClient
from jobd.ninep.client_session import ClientSession
from jobd.ninep.errors import NinepError, ProtocolError
from jobd.ninep.files import Filesystem
from jobd.ninep.interfaces import DMDEVICE, DMSYMLINK, ORDWR, OWRITE, QTDIR, SetStat
from jobd.ninep.linux import F_UNLCK, F_WRLCK
from jobd.ninep.testing import connect
from tests.ninep.trees import UnixDirectory, slow_tree

VERSIONS = ("9P2000", "9P2000.u", "9P2000.L")


class ClientCase(SynchronousTestCase):
    def connect(self, root: Any = None, version: str = "9P2000.L", **more: Any) -> Any:
        filesystem = Filesystem(root or UnixDirectory(None, "/", 0o777))
        return self.successResultOf(connect(filesystem, version, **more))

    def refused(self, deferred: Deferred[Any]) -> int:
        """The error number with which it was refused."""
        error: NinepError = self.failureResultOf(deferred, NinepError).value
        return error.errno


class PathTests(ClientCase):
    def test_files(self) -> None:
        """Files are written, read, appended to, and removed by path, in each dialect."""
        for version in VERSIONS:
            client = self.connect(version=version)
            self.assertEqual(self.refused(client.read_file("a")), errno.ENOENT)
            self.assertEqual(self.refused(client.write_file("a", b"x")), errno.ENOENT)
            self.successResultOf(client.write_file("/a", b"hello", perm=0o640))
            self.successResultOf(client.write_file("/a", b" world", append=True))
            self.assertEqual(self.successResultOf(client.read_file("./a")), b"hello world")
            stat = self.successResultOf(client.stat("a"))
            self.assertEqual((stat.name, stat.length, stat.mode & 0o777), ("a", 11, 0o640))
            self.successResultOf(client.set_stat("a", SetStat(length=1, mtime=5.0)))
            self.assertEqual(self.successResultOf(client.stat("a")).mtime, 5.0)
            self.successResultOf(client.rename("a", "/b"))
            self.assertEqual(self.successResultOf(client.listdir()), ["b"])
            self.successResultOf(client.remove("b"))
            self.assertEqual(self.successResultOf(client.listdir("/")), [])

    def test_deep_paths(self) -> None:
        """A path may have more names than one message."""
        client = self.connect()
        for depth in range(1, 41):
            self.successResultOf(client.mkdir("/".join("d" * depth)))
        self.successResultOf(client.write_file("/".join("d" * 40 + "f"), b"deep", perm=0o600))
        self.assertEqual(self.successResultOf(client.read_file("/".join("d" * 40 + "f"))), b"deep")
        self.assertEqual(self.refused(client.stat("/".join("d" * 40 + "x"))), errno.ENOENT)

    def test_no_fids_left(self) -> None:
        """Nothing that succeeds or fails by path leaves a fid behind."""
        for version in VERSIONS:
            client = self.connect(version=version)
            self.successResultOf(client.write_file("a", b"x" * 300_000, perm=0o600))
            for call in (
                lambda c=client: c.read_file("a"),
                lambda c=client: c.read_file("a/b"),
                lambda c=client: c.listdir("a"),
                lambda c=client: c.mkdir("a"),
                lambda c=client: c.mkdir("d/e"),
                lambda c=client: c.rename("x", "y"),
                lambda c=client: c.stat("a"),
                lambda c=client: c.write_file("a/b", b"", perm=0o600),
                lambda c=client: c.remove("nope"),
                lambda c=client: c.open("/", OWRITE),
            ):
                call().addErrback(lambda failure: failure.trap(NinepError))
            session = client.session
            self.assertEqual(sorted(session._free_fids), list(range(1, session._next_fid)), version)


class FidTests(ClientCase):
    def test_all_messages(self) -> None:
        """What Unix has besides works where the dialect has it, and is EOPNOTSUPP where not."""
        for version in VERSIONS:
            client = self.connect(version=version)
            root = client.root
            self.successResultOf(client.write_file("f", b"data", perm=0o600))
            file = self.successResultOf(client.open("f", ORDWR))
            unix = [
                (root.symlink("l", "to"), None),
                (root.link("h", file), None),
                (root.mknod("n", DMDEVICE | 0o600, 1, 3), None),
            ]
            linux = [
                (file.lock(F_WRLCK), 0),
                (file.set_xattr("user.x", b"value"), None),
                (file.get_xattr("user.x"), b"value"),
                (file.get_xattr(), b"user.x\0"),
            ]
            for deferred, expected in unix:
                if version == "9P2000":
                    self.assertEqual(self.refused(deferred), errno.EOPNOTSUPP)
                else:
                    self.assertEqual(self.successResultOf(deferred), expected)
            for deferred, expected in linux:
                if version != "9P2000.L":
                    self.assertEqual(self.refused(deferred), errno.EOPNOTSUPP)
                else:
                    self.assertEqual(self.successResultOf(deferred), expected)
            self.successResultOf(file.sync())
            if version != "9P2000":
                link = self.successResultOf(client.walk("l"))
                self.assertEqual(self.successResultOf(link.readlink()), "to")
                self.assertEqual(self.successResultOf(link.stat()).mode >> 25 & 1, DMSYMLINK >> 25)
                self.assertEqual(self.successResultOf(client.read_file("h")), b"data")
            self.assertEqual(self.refused(file.readlink()), errno.EINVAL)
            if version == "9P2000.L":
                self.assertEqual(self.successResultOf(file.get_lock(F_WRLCK)).type, F_UNLCK)
                self.assertEqual(self.successResultOf(file.statfs()).bsize, 4096)

    def test_directories(self) -> None:
        """Entries and their stats come whole, though they take many messages."""
        for version in VERSIONS:
            client = self.connect(version=version, msize=500)
            for number in range(50):
                self.successResultOf(client.write_file(f"file{number}", b"x" * number, perm=0o600))
            self.successResultOf(client.mkdir("d"))
            fid = self.successResultOf(client.open("/"))
            names = [f"file{number}" for number in range(50)] + ["d"]
            entries = self.successResultOf(fid.entries())
            self.assertEqual([entry.name for entry in entries], names)
            self.assertEqual(entries[-1].qid.type, QTDIR)
            stats = self.successResultOf(fid.stats())
            self.assertEqual([stat.length for stat in stats], [*range(50), 0])

    def test_unlink(self) -> None:
        """A directory's names can be removed through it."""
        client = self.connect()
        self.successResultOf(client.mkdir("d"))
        self.successResultOf(client.root.unlink("d"))
        self.assertEqual(self.successResultOf(client.listdir()), [])

    def test_by_callbacks(self) -> None:
        """Whoever doesn't await adds callbacks."""
        client = self.connect()
        got = []
        client.write_file("a", b"x", perm=0o600).addCallback(lambda _: client.read_file("a")).addCallback(
            got.append
        )
        self.assertEqual(got, [b"x"])


class FlushTests(ClientCase):
    def test_cancelled_read(self) -> None:
        """Cancelling a read flushes it: the server forgets it, and the tag is used again."""
        _, root = slow_tree()
        client = self.connect(root)
        fid = self.successResultOf(client.open("slow"))
        read = fid.read(0)
        self.assertNoResult(read)
        read.cancel()
        self.failureResultOf(read, CancelledError)
        self.assertEqual(root.slow.cancelled, ["read"])
        self.successResultOf(fid.clunk())
        self.assertEqual(client.session._pending, {})

    def test_cancelled_walk(self) -> None:
        """A fid that a cancelled walk may have made is clunked."""
        _, root = slow_tree()
        client = self.connect(root)
        walk = client.walk("later-a")
        walk.cancel()
        self.failureResultOf(walk, CancelledError)
        root.walks.pop().callback(root.slow)
        self.assertEqual(client.session._pending, {})
        self.assertEqual(self.successResultOf(client.root.walk()).number, 1)

    def test_cancelled_helper(self) -> None:
        """Cancelling what takes several messages stops it and clunks its fid."""
        _, root = slow_tree()
        client = self.connect(root)
        read = client.read_file("slow")
        read.cancel()
        self.failureResultOf(read, CancelledError)
        self.assertEqual((root.slow.cancelled, root.slow.closed), (["read"], [True]))


class LostTests(ClientCase):
    def test_waiting(self) -> None:
        """When the connection ends, whatever waits fails, and whatever comes later."""
        _, root = slow_tree()
        client = self.connect(root)
        read = client.read_file("slow")
        client.disconnect()
        self.failureResultOf(read, ConnectionDone)
        self.failureResultOf(client.read_file("slow"), ConnectionDone)

    def test_unattached(self) -> None:
        """Without an attach no path leads anywhere."""
        client = NinepClient(ClientSession(lambda _: None))
        self.assertEqual(self.refused(client.read_file("x")), errno.EBADF)


class BrokenServerTests(SynchronousTestCase):
    """Servers that don't keep to the protocol."""

    def setUp(self) -> None:
        self.sent: list[bytes] = []
        self.session = ClientSession(self.sent.append)

    def negotiated(self) -> None:
        version = self.session.version("9P2000", 8192)
        self.session.receive(m.encode(m.NOTAG, m.Rversion(8192, "9P2000")))
        self.successResultOf(version)

    def test_versions(self) -> None:
        """A version that wasn't asked for in words we know, or a larger msize, is refused."""
        for reply in (m.Rversion(8192, "unknown"), m.Rversion(8193, "9P2000"), m.Rversion(24, "9P2000")):
            version = self.session.version("9P2000", 8192)
            self.session.receive(m.encode(m.NOTAG, reply))
            self.failureResultOf(version, ProtocolError)

    def test_replies(self) -> None:
        """A reply without a request, of another type, or that is no message is a ProtocolError."""
        self.negotiated()
        self.session.request(m.Tclunk(1)).addErrback(lambda _: None)
        for reply in (
            m.encode(77, m.Rclunk()),
            m.encode(0, m.Rremove()),
            m.encode(0, m.Tclunk(1)),
            m.HEAD.pack(8, 121, 0) + b"x",
            m.HEAD.pack(3, 121, 0),
            m.HEAD.pack(1 << 30, 121, 0),
        ):
            with self.assertRaises(ProtocolError):
                self.session.receive(reply)
            self.session._rest.clear()

    def test_errors(self) -> None:
        """The strings of 9P2000 servers become error numbers, as a Linux client takes them."""
        self.negotiated()
        for ename, number in (
            ("file does not exist", errno.ENOENT),
            ("Permission denied", errno.EACCES),
            ("who knows", errno.EIO),
        ):
            request = self.session.request(m.Tclunk(1))
            self.session.receive(m.encode(0, m.Rerror(ename)))
            error = self.failureResultOf(request, NinepError).value
            self.assertEqual((error.errno, str(error), error.ename), (number, ename, ename))

    def test_too_large(self) -> None:
        """A message beyond msize is refused before it is sent, and its tag is free."""
        self.negotiated()
        count = len(self.sent)
        with self.assertRaises(NinepError):
            self.session.request(m.Twrite(1, 0, bytes(9000)))
        self.assertEqual(len(self.sent), count)
        self.session.request(m.Tclunk(1)).addErrback(lambda _: None)
        self.assertEqual(m.decode(self.sent[-1]).tag, 0)

    def test_trace(self) -> None:
        """A trace has a line for each message."""
        lines: list[str] = []
        session = ClientSession(lambda _: None, lines.append)
        session.version("9P2000", 8192).addErrback(lambda _: None)
        session.receive(m.encode(m.NOTAG, m.Rversion(8192, "9P2000")))
        self.assertEqual([line.split()[:2] for line in lines], [["->", "Tversion"], ["<-", "Rversion"]])
