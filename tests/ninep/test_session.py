"""A session's versions, tags and flushes, and requests that wait."""

from __future__ import annotations

import errno
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from jobd.ninep import messages as m
from jobd.ninep.errors import NinepError
from jobd.ninep.files import Directory, Filesystem, Node, OpenFile
from jobd.ninep.interfaces import DMDEVICE, DMLINK, DMSYMLINK, OREAD, Attach, Entry, Qid
from jobd.ninep.limits import Limits
from jobd.ninep.linux import read_dirents
from jobd.ninep.session import Session, negotiate
from jobd.ninep.stat import UNTOUCHED, Stat, read_record
from jobd.ninep.testing import Loopback, Wire, wire
from tests.ninep.trees import SlowDirectory, UnixDirectory, slow_tree

ROOT, FID, OTHER = 0, 1, 2


class NegotiateTests(SynchronousTestCase):
    def test_versions(self) -> None:
        """What follows a period may be ignored, later versions are answered by ours, older ones not."""
        for asked, answered in (
            ("9P2000", "9P2000"),
            ("9P2000.u", "9P2000.u"),
            ("9P2000.L", "9P2000.L"),
            ("9P2000.x", "9P2000"),
            ("9P2000.", "9P2000"),
            ("9P2000.l", "9P2000"),
            ("9P2000.L.Google.7", "9P2000.L"),
            ("9P2001", "9P2000"),
            ("9P2001.L", "9P2000"),
            ("9P1000", "unknown"),
            ("9P", "unknown"),
            ("", "unknown"),
            ("unknown", "unknown"),
            ("9P2000u", "unknown"),
            ("9P²000", "unknown"),
            ("HTTP/1.1", "unknown"),
        ):
            self.assertEqual(negotiate(asked), answered, asked)


class SessionCase(SynchronousTestCase):
    version = m.VERSION_9P2000_L
    loopback: Loopback
    wire: Wire

    def serve(self, root: Any, limits: Limits | None = None, version: str | None = None) -> Wire:
        """A wire to a session, attached to ROOT."""
        self.wire, self.loopback = wire(Filesystem(root), limits=limits)
        self.successResultOf(self.wire.version(version or self.version))
        self.rpc(m.Tattach(ROOT, m.NOFID, "me", ""))
        return self.wire

    def rpc(self, message: Any, tag: int = 1) -> Any:
        return self.successResultOf(self.wire.rpc(message, tag))

    def next(self) -> Any:
        """The next reply, (tag, message)."""
        return tuple(self.successResultOf(self.wire.answer()))

    def opened(self, name: str, mode: int = 2) -> None:
        """Walk to NAME and open it, as FID."""
        self.rpc(m.Twalk(ROOT, FID, (name,)))
        self.assertIsInstance(self.rpc(m.Tlopen(FID, mode)), m.Rlopen)


class VersionTests(SessionCase):
    def test_msize(self) -> None:
        """msize is the smaller of both sides', and one too small for any use is refused."""
        client, _ = wire(Filesystem(Directory()), limits=Limits(msize=10000))
        for asked, answered in ((8192, 8192), (10001, 10000), (2**32 - 1, 10000), (256, 256)):
            self.assertEqual(self.successResultOf(client.version("9P2000", asked)).msize, answered)
        client.dialect = m.PLAIN
        for msize in (0, 24, 255):
            self.assertIsInstance(self.successResultOf(client.rpc(m.Tversion(msize, "9P2000"))), m.Rerror)

    def test_unknown_keeps_nothing(self) -> None:
        """After an unknown version there is no session: only another Tversion helps."""
        self.serve(Directory())
        self.successResultOf(self.wire.version("nonsense"))
        self.assertIsInstance(self.rpc(m.Tclunk(ROOT)), m.Rerror)
        self.assertIsInstance(self.rpc(m.Tflush(1)), m.Rerror)

    def test_closes_files(self) -> None:
        """A second Tversion closes what is open, as not clunked, and cancels what reads."""
        _, root = slow_tree()
        self.serve(root)
        self.opened("slow")
        self.wire.ask(2, m.Tread(FID, 0, 10))
        self.wire.ask(3, m.Twrite(FID, 0, b"x"))
        self.successResultOf(self.wire.version(self.version))
        self.assertEqual(root.slow.closed, [False])
        self.assertEqual(root.slow.cancelled, ["read"])
        root.slow.answer("write", 1)
        self.assertEqual(self.wire.waiting, 0)
        self.assertEqual(self.loopback.reported, [])

    def test_late_open(self) -> None:
        """A file whose open ends after a Tversion is closed."""
        _, root = slow_tree()
        self.serve(root)
        self.rpc(m.Twalk(ROOT, FID, ("slow-open",)))
        self.wire.ask(2, m.Tlopen(FID, 0))
        self.successResultOf(self.wire.version(self.version))
        root.slow_open.answer("open", root.slow_open)
        self.assertEqual(root.slow_open.closed, [False])
        self.assertEqual(self.wire.waiting, 0)


class AttachTests(SessionCase):
    def test_request(self) -> None:
        """A file system is told who attaches: ~0 is no number, and 9P2000 has none."""
        seen = []

        class Recorder(Filesystem):
            def attach(self, request: Attach) -> Any:
                seen.append(request)
                return super().attach(request)

        for version, n_uname in (
            ("9P2000.L", 0),
            ("9P2000.u", 1000),
            ("9P2000.L", 0xFFFFFFFF),
            ("9P2000", 7),
        ):
            client, _ = wire(Recorder(Directory()), peer="someone")
            self.successResultOf(client.version(version))
            self.successResultOf(client.rpc(m.Tattach(0, m.NOFID, "me", "/a", n_uname)))
        self.assertEqual(seen, [Attach("someone", "me", number, "/a") for number in (0, 1000, None, None)])

    def test_refused(self) -> None:
        """An attach that the file system refuses leaves the fid free."""

        class Shut(Filesystem):
            def attach(self, request: Attach) -> Any:
                raise NinepError(errno.EACCES, "not you")

        client, _ = wire(Shut(Directory()))
        self.successResultOf(client.version("9P2000.L"))
        for _ in range(2):
            self.assertEqual(
                self.successResultOf(client.rpc(m.Tattach(0, m.NOFID, "me", ""))), m.Rlerror(errno.EACCES)
            )


class WaitingTests(SessionCase):
    """Requests that the file system answers later."""

    def setUp(self) -> None:
        _, self.root = slow_tree()
        self.serve(self.root)
        self.slow = self.root.slow

    def test_others_go_on(self) -> None:
        """While one read waits, others are answered."""
        self.opened("slow")
        self.wire.ask(2, m.Tread(FID, 0, 10))
        self.assertIsInstance(self.rpc(m.Twalk(ROOT, OTHER, ("fast",))), m.Rwalk)
        self.slow.answer("read", b"late")
        self.assertEqual(self.next(), (2, m.Rread(b"late")))

    def test_each_kind(self) -> None:
        """Stat, write, sync, remove and clunk may wait too."""
        self.opened("slow")
        self.wire.ask(2, m.Tgetattr(FID, 0x7FF))
        self.wire.ask(3, m.Twrite(FID, 0, b"abc"))
        self.wire.ask(4, m.Tfsync(FID, 0))
        self.wire.ask(5, m.Tremove(FID))
        self.assertEqual(self.wire.waiting, 0)
        self.slow.answer("stat", Stat(self.slow.qid, 0o600, 9))
        self.assertEqual(self.next()[1].size, 9)
        self.slow.answer("write", 3)
        self.assertEqual(self.next(), (3, m.Rwrite(3)))
        self.slow.answer("sync")
        self.assertEqual(self.next(), (4, m.Rfsync()))
        self.assertEqual(self.slow.closed, [])
        self.slow.answer("remove")
        self.assertEqual(self.next(), (5, m.Rremove()))
        self.assertEqual(self.slow.closed, [True])

    def test_refused_late(self) -> None:
        """A refusal may come later, and a failure of the file system is EIO and reported."""
        self.opened("slow")
        self.wire.ask(2, m.Twrite(FID, 0, b"x"))
        self.wire.ask(3, m.Twrite(FID, 0, b"x"))
        self.slow.asked["write"].pop(0).errback(NinepError(errno.ENOSPC))
        self.assertEqual(self.next(), (2, m.Rlerror(errno.ENOSPC)))
        self.slow.asked["write"].pop(0).errback(ZeroDivisionError())
        self.assertEqual(self.next(), (3, m.Rlerror(errno.EIO)))
        self.assertEqual([type(error) for error in self.loopback.reported], [ZeroDivisionError])

    def test_duplicate_tag(self) -> None:
        """A tag in use is refused to a second request, and the first is still answered."""
        self.opened("slow")
        self.wire.ask(2, m.Tread(FID, 0, 10))
        self.assertIsInstance(self.rpc(m.Tgetattr(ROOT, 0x7FF), tag=2), m.Rlerror)
        self.slow.answer("read", b"x")
        self.assertEqual(self.next(), (2, m.Rread(b"x")))
        self.assertIsInstance(self.rpc(m.Tgetattr(ROOT, 0x7FF), tag=2), m.Rgetattr)

    def test_too_many_wait(self) -> None:
        """Beyond the limit requests are refused, but never a Tflush."""
        self.serve(self.root, Limits(requests=3))
        self.opened("slow")
        for tag in (2, 3, 4):
            self.wire.ask(tag, m.Twrite(FID, 0, b""))
        self.assertEqual(self.rpc(m.Tclunk(ROOT)), m.Rlerror(errno.EAGAIN))
        self.wire.ask(5, m.Tflush(3))
        self.slow.asked["write"].pop(1).callback(0)
        self.assertEqual([self.next(), self.next()], [(3, m.Rwrite(0)), (5, m.Rflush())])
        self.assertEqual(self.rpc(m.Tflush(99)), m.Rflush())

    def test_waiting_bytes(self) -> None:
        """The counts of reads that wait are bounded together."""
        self.serve(self.root, Limits(waiting_bytes=100))
        self.opened("slow")
        self.wire.ask(2, m.Tread(FID, 0, 60))
        self.assertEqual(self.rpc(m.Tread(FID, 0, 60)), m.Rlerror(errno.EAGAIN))
        self.slow.answer("read", b"x")
        self.assertEqual(self.next(), (2, m.Rread(b"x")))
        self.wire.ask(3, m.Tread(FID, 0, 100))
        self.slow.asked["read"].pop().callback(b"y")
        self.assertEqual(self.next(), (3, m.Rread(b"y")))
        self.assertEqual(self.loopback.reported, [])

    def test_walk(self) -> None:
        """A walk may wait at any name; its newfid is taken meanwhile and nothing of it shows before."""
        self.wire.ask(2, m.Twalk(ROOT, FID, ("later-a", "later-b")))
        self.assertEqual(self.rpc(m.Twalk(ROOT, FID, ())), m.Rlerror(errno.EBADF))
        self.assertEqual(self.rpc(m.Tgetattr(FID, 1)), m.Rlerror(errno.EBADF))
        self.root.walks.pop().callback(self.root)
        self.assertEqual(self.wire.waiting, 0)
        self.root.walks.pop().callback(self.slow)
        self.assertEqual(self.next(), (2, m.Rwalk((self.root.qid, self.slow.qid))))
        self.assertIsInstance(self.rpc(m.Tclunk(FID)), m.Rclunk)

    def test_walk_partly(self) -> None:
        """Where a later name is refused late, the qids so far are the reply and no fid is made."""
        self.wire.ask(2, m.Twalk(ROOT, FID, ("later-a", "later-b")))
        self.root.walks.pop().callback(self.root)
        self.root.walks.pop().errback(NinepError(errno.ENOENT))
        self.assertEqual(self.next(), (2, m.Rwalk((self.root.qid,))))
        self.wire.ask(2, m.Twalk(ROOT, FID, ("later-a", "x")))
        self.root.walks.pop().errback(NinepError(errno.ENOENT))
        self.assertEqual(self.next(), (2, m.Rlerror(errno.ENOENT)))
        self.assertIsInstance(self.rpc(m.Twalk(ROOT, FID, ())), m.Rwalk)

    def test_open(self) -> None:
        """While an open waits the fid can't be opened again, nor read."""
        self.rpc(m.Twalk(ROOT, FID, ("slow-open",)))
        self.wire.ask(2, m.Tlopen(FID, 0))
        self.assertEqual(self.rpc(m.Tlopen(FID, 0)), m.Rlerror(errno.EBADF))
        self.assertEqual(self.rpc(m.Tread(FID, 0, 1)), m.Rlerror(errno.EBADF))
        self.root.slow_open.answer("open", self.root.slow_open)
        self.assertIsInstance(self.next()[1], m.Rlopen)

    def test_clunk_while_opening(self) -> None:
        """A fid clunked while its open waits is gone, and the file that comes is closed."""
        self.rpc(m.Twalk(ROOT, FID, ("slow-open",)))
        self.wire.ask(2, m.Tlopen(FID, 0))
        self.assertIsInstance(self.rpc(m.Tclunk(FID)), m.Rclunk)
        self.root.slow_open.answer("open", self.root.slow_open)
        self.assertEqual(self.next(), (2, m.Rlerror(errno.EBADF)))
        self.assertEqual(self.root.slow_open.closed, [False])

    def test_connection_lost(self) -> None:
        """When the connection ends, reads are cancelled and files closed, once."""
        self.opened("slow")
        self.wire.ask(2, m.Tread(FID, 0, 10))
        self.wire.ask(3, m.Twrite(FID, 0, b"x"))
        self.loopback.disconnect()
        self.assertEqual((self.slow.cancelled, self.slow.closed), (["read"], [False]))
        self.slow.asked["write"].pop().errback(ZeroDivisionError())
        self.assertEqual(self.wire.waiting, 0)
        self.assertEqual([type(error) for error in self.loopback.reported], [ZeroDivisionError])


class FlushTests(SessionCase):
    """Rules of flush(5)."""

    def setUp(self) -> None:
        _, self.root = slow_tree()
        self.serve(self.root)
        self.slow = self.root.slow
        self.opened("slow")

    def test_read(self) -> None:
        """A read that is flushed is cancelled and never answered; its tag is free after the Rflush."""
        self.wire.ask(2, m.Tread(FID, 0, 10))
        self.assertEqual(self.rpc(m.Tflush(2), tag=3), m.Rflush())
        self.assertEqual(self.slow.cancelled, ["read"])
        self.assertEqual(self.wire.waiting, 0)
        self.assertIsInstance(self.rpc(m.Tgetattr(ROOT, 1), tag=2), m.Rgetattr)

    def test_read_that_had_data(self) -> None:
        """A read that ends with data when cancelled is answered before the Rflush: nothing is lost."""
        self.wire.ask(2, m.Tread(FID, 0, 10))
        self.slow.asked["read"][0]._canceller = lambda deferred: deferred.callback(b"just now")
        self.wire.ask(3, m.Tflush(2))
        self.assertEqual([self.next(), self.next()], [(2, m.Rread(b"just now")), (3, m.Rflush())])

    def test_write(self) -> None:
        """A change may have been made already: it is waited for, and answered before the Rflush."""
        self.wire.ask(2, m.Twrite(FID, 0, b"x"))
        self.wire.ask(3, m.Tflush(2))
        self.assertEqual((self.wire.waiting, self.slow.cancelled), (0, []))
        self.slow.answer("write", 1)
        self.assertEqual([self.next(), self.next()], [(2, m.Rwrite(1)), (3, m.Rflush())])

    def test_several(self) -> None:
        """Several flushes of one request are answered in the order they came, after it."""
        self.wire.ask(2, m.Twrite(FID, 0, b"x"))
        for tag in (5, 4, 3):
            self.wire.ask(tag, m.Tflush(2))
        self.slow.answer("write", 1)
        self.assertEqual([self.next()[0] for _ in range(4)], [2, 5, 4, 3])

    def test_flush_of_flush(self) -> None:
        """A flush of a flush is answered after it."""
        self.wire.ask(2, m.Twrite(FID, 0, b"x"))
        self.wire.ask(3, m.Tflush(2))
        self.wire.ask(4, m.Tflush(3))
        self.wire.ask(5, m.Tflush(2))
        self.assertEqual(self.wire.waiting, 0)
        self.slow.answer("write", 1)
        self.assertEqual([self.next()[0] for _ in range(4)], [2, 3, 4, 5])

    def test_own_tag(self) -> None:
        """A flush of its own tag, or of one that no request has, is answered at once."""
        self.assertEqual(self.rpc(m.Tflush(7), tag=7), m.Rflush())
        self.assertEqual(self.rpc(m.Tflush(8), tag=7), m.Rflush())

    def test_answered_in_one_go(self) -> None:
        """A request and its flush in one piece: the request is answered first."""
        self.wire.send(m.encode(2, m.Tgetattr(ROOT, 1), m.LINUX) + m.encode(3, m.Tflush(2)))
        self.assertEqual([self.next()[0], self.next()[0]], [2, 3])

    def test_interrupted(self) -> None:
        """A read that is cancelled by its file, and not flushed, is EINTR."""
        self.wire.ask(2, m.Tread(FID, 0, 10))
        self.slow.asked["read"].pop().errback(CancelledError())
        self.assertEqual(self.next(), (2, m.Rlerror(errno.EINTR)))


class RefusalTests(SessionCase):
    """What is refused, in which words."""

    def test_dialects(self) -> None:
        """9P2000 says it with a string, 9P2000.u with string and number, 9P2000.L with a number."""
        for version, refusal in (
            ("9P2000", m.Rerror("file not found")),
            ("9P2000.u", m.Rerror("file not found", 2)),
            ("9P2000.L", m.Rlerror(2)),
        ):
            self.serve(Directory(), version=version)
            self.assertEqual(self.rpc(m.Twalk(ROOT, FID, ("x",))), refusal)

    def test_own_string(self) -> None:
        """A file system may have a string of its own; a sentence isn't for the wire; too long is cut off."""

        class Refusing(Node):
            qid = Qid(0x80, 0, 1)
            error = NinepError(errno.EINVAL)

            def walk(self, name: str) -> Any:
                raise self.error

        root = Refusing(None, "/")
        self.serve(root, version="9P2000.u")
        for error, refusal in (
            (NinepError(errno.EINVAL, "a long story"), m.Rerror("Invalid argument", errno.EINVAL)),
            (NinepError(errno.EINVAL, "a story", "bad command"), m.Rerror("bad command", errno.EINVAL)),
            (NinepError(0), m.Rerror("i/o error", errno.EIO)),
            (NinepError(512), m.Rerror("i/o error", errno.EIO)),
            (NinepError(errno.EINVAL, "", "x" * 9000), m.Rerror("i/o error", errno.EINVAL)),
        ):
            root.error = error
            self.assertEqual(self.rpc(m.Twalk(ROOT, FID, ("x",))), refusal)

    def test_failing_file_system(self) -> None:
        """Whatever a file system raises or returns, the session goes on; the exception is reported."""

        class Failing(OpenFile, Node):
            qid = Qid(0, 0, 1)

            def __init__(self) -> None:
                super().__init__(None, "/")

            def stat(self) -> Any:
                return "nonsense"

            def open(self, mode: int) -> Any:
                return self

            def read(self, offset: int, count: int) -> Any:
                raise KeyError(offset)

            def write(self, offset: int, data: bytes) -> Any:
                return "many"

            def close(self, clunked: bool) -> Any:
                raise OSError(28, "full")

        self.serve(Failing())
        self.rpc(m.Twalk(ROOT, FID, ()))
        self.rpc(m.Tlopen(FID, 2))
        for message in (m.Tgetattr(FID, 1), m.Tread(FID, 0, 1), m.Twrite(FID, 0, b"x"), m.Tclunk(FID)):
            self.assertEqual(self.rpc(message), m.Rlerror(errno.EIO))
        self.assertEqual(len(self.loopback.reported), 4)
        self.assertEqual(self.rpc(m.Tclunk(FID)), m.Rlerror(errno.EBADF))

    def test_too_long_for_msize(self) -> None:
        """A reply that msize has no room for is a refusal."""
        root = UnixDirectory(None, "/", 0o777)
        root.symlink("l", "x" * 300, None)
        self.wire, self.loopback = wire(Filesystem(root))
        self.successResultOf(self.wire.version("9P2000.L", 256))
        self.rpc(m.Tattach(ROOT, m.NOFID, "", ""))
        self.rpc(m.Twalk(ROOT, FID, ("l",)))
        self.assertEqual(self.rpc(m.Treadlink(FID)), m.Rlerror(errno.EMSGSIZE))

    def test_more_than_asked(self) -> None:
        """A file that reads more than asked is cut: no reply is ever longer than its request allows."""

        class Generous(OpenFile, Node):
            qid = Qid(0, 0, 1)

            def open(self, mode: int) -> Any:
                return self

            def read(self, offset: int, count: int) -> Any:
                return b"x" * 100

        self.serve(Generous(None, "/"))
        self.rpc(m.Tlopen(ROOT, 0))
        self.assertEqual(self.rpc(m.Tread(ROOT, 0, 3)), m.Rread(b"xxx"))

    def test_too_many_fids(self) -> None:
        """Fids are bounded."""
        self.serve(Directory(), Limits(fids=3))
        self.assertIsInstance(self.rpc(m.Twalk(ROOT, 1, ())), m.Rwalk)
        self.assertIsInstance(self.rpc(m.Twalk(ROOT, 2, ())), m.Rwalk)
        self.assertEqual(self.rpc(m.Twalk(ROOT, 3, ())), m.Rlerror(errno.EMFILE))
        self.rpc(m.Tclunk(2))
        self.assertIsInstance(self.rpc(m.Twalk(ROOT, 3, ())), m.Rwalk)

    def test_long_names(self) -> None:
        """A name of more than 255 bytes is none."""
        self.serve(UnixDirectory(None, "/", 0o777))
        self.assertEqual(self.rpc(m.Twalk(ROOT, FID, ("x" * 256,))), m.Rlerror(errno.ENAMETOOLONG))
        self.assertEqual(self.rpc(m.Tmkdir(ROOT, "ü" * 128, 0o777, 0)), m.Rlerror(errno.ENAMETOOLONG))


class WstatTests(SessionCase):
    version = m.VERSION_9P2000_U

    def test_unchangeable(self) -> None:
        """No Twstat changes a file's qid, the kernel's numbers, or makes a directory of a file."""
        root = UnixDirectory(None, "/", 0o777)
        root.create("f", 0o666, OREAD, None)
        self.serve(root)
        self.rpc(m.Twalk(ROOT, FID, ("f",)))
        for change in ({"type": 1}, {"dev": 1}, {"qid": Qid(0, 0, 999)}, {"mode": 0x800001FF}):
            reply = self.rpc(m.Twstat(FID, UNTOUCHED._replace(**change)))
            self.assertEqual(reply.errno, errno.EPERM, change)
        stat = self.rpc(m.Tstat(FID)).stat
        self.assertEqual(self.rpc(m.Twstat(FID, stat)), m.Rwstat())

    def test_sync(self) -> None:
        """A Twstat that touches nothing is the file's sync, and may wait."""
        _, root = slow_tree()
        self.serve(root)
        self.rpc(m.Twalk(ROOT, FID, ("slow",)))
        self.wire.ask(2, m.Twstat(FID, UNTOUCHED))
        self.assertEqual(self.wire.waiting, 0)
        root.slow.answer("sync")
        self.assertEqual(self.next(), (2, m.Rwstat()))


class UnixCreateTests(SessionCase):
    version = m.VERSION_9P2000_U

    def test_special(self) -> None:
        """Tcreate of 9P2000.u makes links, devices, pipes and sockets, as its extension says."""
        root = UnixDirectory(None, "/", 0o777)
        self.serve(root)
        for name, perm, extension in (
            ("symlink", DMSYMLINK | 0o777, "to/where"),
            ("device", DMDEVICE | 0o600, "c 1 3"),
        ):
            self.rpc(m.Twalk(ROOT, FID, ()))
            self.assertIsInstance(self.rpc(m.Tcreate(FID, name, perm, OREAD, extension)), m.Rcreate)
            self.assertEqual(self.rpc(m.Tstat(FID)).stat.extension, extension)
            self.rpc(m.Tclunk(FID))
        root.create("file", 0o666, OREAD, None)
        self.rpc(m.Twalk(ROOT, OTHER, ("file",)))
        self.rpc(m.Twalk(ROOT, FID, ()))
        self.assertIsInstance(self.rpc(m.Tcreate(FID, "link", DMLINK, OREAD, str(OTHER))), m.Rcreate)
        self.assertEqual(root.children["link"].qid, root.children["file"].qid)

    def test_bad_extensions(self) -> None:
        """An extension that says nothing is refused."""
        self.serve(UnixDirectory(None, "/", 0o777))
        self.rpc(m.Twalk(ROOT, FID, ()))
        for perm, extension in (
            (DMDEVICE, ""),
            (DMDEVICE, "x 1 2"),
            (DMDEVICE, "c 1"),
            (DMDEVICE, "c one two"),
            (DMLINK, ""),
            (DMLINK, "-1"),
            (DMLINK, "99"),
        ):
            self.assertIsInstance(self.rpc(m.Tcreate(FID, "n", perm, OREAD, extension)), m.Rerror, extension)


class SlowStatTests(SessionCase):
    version = m.VERSION_9P2000

    def test_directory(self) -> None:
        """A directory is read though stats come later, and what was removed meanwhile is left out."""
        root = SlowDirectory()
        self.serve(root)
        self.rpc(m.Topen(ROOT, 0))
        self.wire.ask(2, m.Tread(ROOT, 0, 4096))
        self.assertEqual(self.wire.waiting, 0)
        root.slow.answer("stat", Stat(root.slow.qid, 0, name="slow"))
        root.slow_open.asked["stat"].pop().errback(NinepError(errno.ENOENT))
        data = self.next()[1].data
        names = []
        position = 0
        while position < len(data):
            stat, position = read_record(data, position, len(data), False)
            names.append(stat.name)
        self.assertEqual(names, ["slow", "fast"])
        self.assertEqual(self.rpc(m.Tread(ROOT, len(data), 4096)).data, b"")


class ReaddirTests(SessionCase):
    def test_small_count(self) -> None:
        """A count too small for one entry is EINVAL in 9P2000.L and empty in 9P2000, as Linux expects."""
        self.serve(UnixDirectory(None, "/", 0o777))
        self.rpc(m.Tmkdir(ROOT, "directory", 0o777, 0))
        self.rpc(m.Tlopen(ROOT, 0))
        self.assertEqual(self.rpc(m.Treaddir(ROOT, 0, 20)), m.Rlerror(errno.EINVAL))
        self.assertEqual(len(self.rpc(m.Treaddir(ROOT, 0, 33)).data), 33)
        self.serve(UnixDirectory(None, "/", 0o777), version="9P2000")
        self.rpc(m.Twalk(ROOT, FID, ()))
        self.rpc(m.Tcreate(FID, "file", 0o666, 0))
        self.rpc(m.Topen(ROOT, 0))
        self.assertEqual(self.rpc(m.Tread(ROOT, 0, 20)), m.Rread(b""))
        self.assertTrue(self.rpc(m.Tread(ROOT, 0, 200)).data)

    def test_types(self) -> None:
        """Each entry tells its type, where its qid and its mode do; a device's is unknown."""
        self.serve(UnixDirectory(None, "/", 0o777))
        self.rpc(m.Tmkdir(ROOT, "directory", 0o777, 0))
        self.rpc(m.Tsymlink(ROOT, "link", "target", 0))
        for name, kind in (("block", 0o060000), ("pipe", 0o010000), ("socket", 0o140000)):
            self.rpc(m.Tmknod(ROOT, name, kind | 0o666, 1, 2, 0))
        self.rpc(m.Twalk(ROOT, FID, ()))
        self.rpc(m.Tlcreate(FID, "file", 0, 0o666, 0))
        self.rpc(m.Tlopen(ROOT, 0))
        data = self.rpc(m.Treaddir(ROOT, 0, 1000)).data
        self.assertEqual(
            {name: type_ for _, _, type_, name in read_dirents(data)},
            {"directory": 4, "link": 10, "block": 0, "pipe": 1, "socket": 12, "file": 8},
        )

    def test_attribute_of_directory(self) -> None:
        """An extended attribute of a directory is read, and is no directory to list."""
        self.serve(UnixDirectory(None, "/", 0o777))
        self.rpc(m.Txattrwalk(ROOT, FID, ""))
        self.assertEqual(self.rpc(m.Treaddir(FID, 0, 100)), m.Rlerror(errno.ENOTDIR))
        self.assertEqual(self.rpc(m.Tread(FID, 0, 100)), m.Rread(b""))

    def test_late_entries(self) -> None:
        """A directory may give its entries later; a flush cancels that as it does a read."""
        cancelled = []

        class Late(Directory):
            def open(self, mode: int) -> Any:
                return self

            def entries(self, after: int) -> Any:
                self.asked: Deferred[Any] = Deferred(cancelled.append)
                return self.asked

            def close(self, clunked: bool) -> None:
                pass

        root = Late()
        self.serve(root)
        self.rpc(m.Tlopen(ROOT, 0))
        self.wire.ask(2, m.Treaddir(ROOT, 0, 100))
        root.asked.callback([Entry(5, root)])
        self.assertEqual(len(self.next()[1].data), 25)
        self.wire.ask(2, m.Treaddir(ROOT, 5, 100))
        self.assertEqual(self.rpc(m.Tflush(2), tag=3), m.Rflush())
        self.assertEqual(len(cancelled), 1)


class XattrTests(SessionCase):
    def test_value(self) -> None:
        """A value comes in parts that follow each other, as many bytes as were said, or isn't set."""
        root = UnixDirectory(None, "/", 0o777)
        self.serve(root, Limits(xattr=10))
        self.rpc(m.Twalk(ROOT, FID, ()))
        self.assertEqual(self.rpc(m.Txattrcreate(FID, "user.x", 11, 0)), m.Rlerror(errno.E2BIG))
        self.rpc(m.Txattrcreate(FID, "user.x", 4, 0))
        self.assertEqual(self.rpc(m.Twrite(FID, 1, b"x")), m.Rlerror(errno.EINVAL))
        self.assertEqual(self.rpc(m.Twrite(FID, 0, b"12345")), m.Rlerror(errno.EINVAL))
        self.rpc(m.Twrite(FID, 0, b"12"))
        self.assertEqual(self.rpc(m.Tclunk(FID)), m.Rlerror(errno.EINVAL))
        self.rpc(m.Twalk(ROOT, FID, ()))
        self.rpc(m.Txattrcreate(FID, "user.x", 1, 0))
        self.rpc(m.Twrite(FID, 0, b"1"))
        self.loopback.disconnect()
        self.assertEqual(root.xattrs, {})

    def test_locks(self) -> None:
        """Only open files are locked, and in ways that exist."""
        self.serve(UnixDirectory(None, "/", 0o777))
        self.assertEqual(self.rpc(m.Tlock(ROOT, 0, 0, 0, 0, 1, "")), m.Rlerror(errno.EBADF))
        self.rpc(m.Tlopen(ROOT, 0))
        self.assertEqual(self.rpc(m.Tlock(ROOT, 3, 0, 0, 0, 1, "")), m.Rlerror(errno.EINVAL))
        self.assertEqual(self.rpc(m.Tlock(ROOT, 2, 0, 0, 0, 1, "")), m.Rlock(0))


class OpenTests(SessionCase):
    def test_linux_flags(self) -> None:
        """O_DIRECTORY wants a directory; neither reading nor writing is no mode."""
        root = UnixDirectory(None, "/", 0o777)
        root.create("f", 0o666, OREAD, None)
        self.serve(root)
        self.rpc(m.Twalk(ROOT, FID, ("f",)))
        self.assertEqual(self.rpc(m.Tlopen(FID, 0o200000)), m.Rlerror(errno.ENOTDIR))
        self.assertEqual(self.rpc(m.Tlopen(FID, 3)), m.Rlerror(errno.EINVAL))
        self.assertIsInstance(self.rpc(m.Tlopen(FID, 0o100101)), m.Rlopen)
        self.assertEqual(self.rpc(m.Treaddir(ROOT, 0, 100)), m.Rlerror(errno.EBADF))

    def test_unknown_modes(self) -> None:
        """Bits that open(5) doesn't know are refused."""
        self.serve(UnixDirectory(None, "/", 0o777), version="9P2000.u")
        self.assertEqual(self.rpc(m.Topen(ROOT, 4)).ename, "illegal mode")
        self.assertEqual(self.rpc(m.Tcreate(ROOT, "f", 0o666, 8)).ename, "illegal mode")
        self.assertEqual(self.rpc(m.Tcreate(ROOT, "d", 0x800001FF, 1)).errno, errno.EISDIR)


class TraceTests(SynchronousTestCase):
    def test_lines(self) -> None:
        """A trace has a line for each message of either side, the late ones too."""
        lines: list[str] = []
        filesystem, root = slow_tree()
        session = Session(filesystem, write=lambda _: None, trace=lines.append)
        session.receive(m.encode(0xFFFF, m.Tversion(8192, "9P2000.L")))
        session.receive(m.encode(1, m.Tattach(0, m.NOFID, "", "", 5), m.LINUX))
        session.receive(m.encode(1, m.Twalk(0, 1, ("slow",))) + m.encode(2, m.Tgetattr(1, 1), m.LINUX))
        root.slow.answer("stat", Stat(root.slow.qid, 0))
        kinds = [line.split()[:2] for line in lines]
        self.assertEqual(
            kinds,
            [
                ["->", "Tversion"],
                ["<-", "Rversion"],
                ["->", "Tattach"],
                ["<-", "Rattach"],
                ["->", "Twalk"],
                ["<-", "Rwalk"],
                ["->", "Tgetattr"],
                ["<-", "Rgetattr"],
            ],
        )
