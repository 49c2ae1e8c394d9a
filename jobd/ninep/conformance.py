"""Is it a 9P server?  Tests for any server or `IFilesystem`, in any of the three dialects.

Mix `ReadingTests` or `ChangingTests` of `jobd.ninep.conformance_changes` with trial's TestCase and say
how to connect:

    class ClockTests(ReadingTests, TestCase):
        version = "9P2000.L"
        file = ("time",)

        def connect(self):
            client, self.loopback = wire(filesystem)
            return client

The tests send messages as they are and look at each reply.  A test that a server can't pass, for a
reason, is named with that reason in `skipped`.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, ClassVar
from unittest import SkipTest

from jobd.ninep import messages as m
from jobd.ninep.errors import NUMBERS
from jobd.ninep.interfaces import NONUNAME, ORDWR, OREAD, OTRUNC, OWRITE, QTDIR, Qid
from jobd.ninep.linux import GETATTR_BASIC, linux_flags, read_dirents
from jobd.ninep.remote import deferred
from jobd.ninep.stat import read_record
from jobd.ninep.testing import Wire

ROOT, FID, OTHER = 0, 1, 2  # the fids that the tests use
_ABSENT = "no-such-file-here"
_ERRORS = (m.Rerror, m.Rlerror)


if TYPE_CHECKING:
    from twisted.trial.unittest import TestCase
else:
    TestCase = object


class Speaker(TestCase):
    """What the tests of one dialect need: a connection, and each dialect's way to say the same."""

    version: str = m.VERSION_9P2000_L
    uname: str = "root"
    n_uname: int = NONUNAME
    aname: str = ""
    msize: int = 8192
    exact_errors: bool = True
    """Whether a refusal is compared with what the manual or Linux says, or any refusal will do."""

    no_fid: int = errno.EBADF
    """The error of a request for a fid that is none."""
    skipped: ClassVar[dict[str, str]] = {}
    """Names of tests, and why each is not run."""

    wire: Wire

    def setUp(self) -> None:
        name = self.id().rpartition(".")[2]
        if name in self.skipped:
            raise SkipTest(self.skipped[name])

    def only(self, *versions: str) -> None:
        """Skip the test in other dialects than VERSIONS."""
        if self.version not in versions:
            raise SkipTest(f"not of {self.version}")

    def connect(self) -> Any:
        """A `Wire` to the server, or a Deferred of one."""
        raise NotImplementedError

    @deferred
    async def attached(self, msize: int | None = None) -> Wire:
        """A connection on which `ROOT` is the root of the tree."""
        connected = self.connect()
        self.wire = connected if isinstance(connected, Wire) else await connected
        reply = await self.wire.version(self.version, msize or self.msize)
        self.assertEqual(reply.version, self.version)
        await self.ok(self.attach(ROOT))
        return self.wire

    def attach(self, fid: int, afid: int = m.NOFID) -> m.Tattach:
        return m.Tattach(fid, afid, self.uname, self.aname, self.n_uname)

    async def ok(self, message: Any, tag: int = 1) -> Any:
        """The reply of MESSAGE, which must not be refused."""
        reply = await self.wire.rpc(message, tag)
        if isinstance(reply, _ERRORS):
            raise AssertionError(f"{message} was refused by {reply}")
        expected = m.NAMES[m.TYPES[type(message)] + 1]
        self.assertEqual(type(reply).__name__, expected)
        return reply

    async def refused(self, message: Any, *numbers: int, tag: int = 1) -> int:
        """MESSAGE must be refused, with one of the error NUMBERS if any; the number it had."""
        reply = await self.wire.rpc(message, tag)
        self.assertIsInstance(reply, _ERRORS, f"{message} was answered by {reply}")
        if isinstance(reply, m.Rlerror):
            number = reply.ecode
        else:
            number = reply.errno or NUMBERS.get(reply.ename, 0)
        if numbers and self.exact_errors:
            self.assertIn(number, numbers, f"{message} was refused by {reply}")
        return number

    @property
    def is_linux(self) -> bool:
        return self.version == m.VERSION_9P2000_L

    def open(self, fid: int, mode: int = OREAD) -> Any:
        return m.Tlopen(fid, linux_flags(mode)) if self.is_linux else m.Topen(fid, mode)

    def stat(self, fid: int) -> Any:
        return m.Tgetattr(fid, GETATTR_BASIC) if self.is_linux else m.Tstat(fid)

    async def length(self, fid: int) -> int:
        reply = await self.ok(self.stat(fid))
        return int(reply.size if self.is_linux else reply.stat.length)

    async def walk(self, fid: int, newfid: int, *names: str) -> tuple[Qid, ...]:
        """Walk all of NAMES, or fail."""
        reply = await self.ok(m.Twalk(fid, newfid, names))
        self.assertEqual(len(reply.qids), len(names), f"walk of {names}")
        qids: tuple[Qid, ...] = reply.qids
        return qids

    async def read_all(self, fid: int, count: int) -> bytes:
        """The contents of an open file, read by COUNT bytes."""
        data = b""
        while part := (await self.ok(m.Tread(fid, len(data), count))).data:
            self.assertLessEqual(len(part), count)
            data += part
        return data

    async def list_directory(self, fid: int, count: int = 4096) -> list[tuple[str, Qid]]:
        """What is in an open directory, read by COUNT bytes."""
        listed: list[tuple[str, Qid]] = []
        offset = 0
        while True:
            entries, offset = await self.read_directory(fid, offset, count)
            if not entries:
                return listed
            listed += entries

    async def read_directory(self, fid: int, offset: int, count: int) -> tuple[list[tuple[str, Qid]], int]:
        """What one read of an open directory brings, and the offset of the next."""
        if self.is_linux:
            data = (await self.ok(m.Treaddir(fid, offset, count))).data
            entries = list(read_dirents(data))
            listed = [(name, qid) for qid, _, _, name in entries if name not in (".", "..")]
            offset = entries[-1][1] if entries else offset
        else:
            data = (await self.ok(m.Tread(fid, offset, count))).data
            offset += len(data)
            listed = []
            position = 0
            while position < len(data):
                stat, position = read_record(data, position, len(data), self.wire.dialect.extended)
                listed.append((stat.name, stat.qid))
        self.assertLessEqual(len(data), count)
        return listed, offset


class ReadingTests(Speaker):
    """Tests that change nothing in the tree."""

    file: ClassVar[tuple[str, ...]]
    """The path of a file that can be read and doesn't change, at most 16 names."""

    # Versions

    async def test_version_msize(self) -> None:
        """The server's msize is never larger than the client's."""
        await self.attached()
        for msize in (4096, 8192, 1 << 16, 1 << 30, 4096):
            reply = await self.wire.version(self.version, msize)
            self.assertLessEqual(reply.msize, msize)
            self.assertEqual(reply.version, self.version)

    async def test_version_unknown(self) -> None:
        """A version from another world is answered by "unknown", and the client may try again."""
        await self.attached()
        self.assertEqual((await self.wire.version("8P1812")).version, "unknown")
        self.assertEqual((await self.wire.version(self.version)).version, self.version)

    async def test_version_tag(self) -> None:
        """An Rversion carries the tag of its Tversion, NOTAG or not."""
        await self.attached()
        self.wire.dialect = m.PLAIN
        for tag in (m.NOTAG, 0, 7):
            await self.wire.rpc(m.Tversion(8192, self.version), tag)

    async def test_version_drops_fids(self) -> None:
        """A second Tversion begins a new session: all fids are gone."""
        await self.attached()
        await self.wire.version(self.version)
        await self.refused(self.stat(ROOT))
        await self.ok(self.attach(ROOT))

    async def test_before_version(self) -> None:
        """Nothing is answered by success before the first Tversion."""
        connected = self.connect()
        self.wire = connected if isinstance(connected, Wire) else await connected
        await self.refused(self.attach(ROOT))

    # Attach

    async def test_attach_twice(self) -> None:
        """A fid in use can't be attached again; another one can, to the same root."""
        await self.attached()
        await self.refused(self.attach(ROOT), errno.EBADF)
        again = await self.ok(self.attach(FID))
        await self.walk(ROOT, OTHER)
        self.assertTrue(again.qid.type & QTDIR)
        self.assertEqual(again.qid.path, (await self.walk(FID, 9, ".."))[0].path)

    async def test_auth(self) -> None:
        """A server that needs no authentication refuses Tauth, and an afid."""
        await self.attached()
        await self.refused(m.Tauth(FID, self.uname, self.aname, self.n_uname))
        await self.refused(self.attach(FID, afid=FID))

    # Fids and tags

    async def test_unknown_fid(self) -> None:
        """Whatever is asked of a fid that is none is refused."""
        await self.attached()
        asked: list[Any] = [
            m.Twalk(77, FID, ()),
            m.Twalk(77, FID, self.file),
            self.open(77),
            m.Tread(77, 0, 10),
            m.Twrite(77, 0, b"x"),
            self.stat(77),
            m.Tclunk(77),
            m.Tremove(77),
        ]
        if self.is_linux:
            asked += [m.Treaddir(77, 0, 100), m.Tstatfs(77), m.Tfsync(77), m.Treadlink(77)]
        for message in asked:
            await self.refused(message, self.no_fid)

    async def test_clunk(self) -> None:
        """A clunked fid is none any more, and its number is free."""
        await self.attached()
        for _ in range(3):
            await self.walk(ROOT, FID, *self.file)
            await self.ok(m.Tclunk(FID))
            await self.refused(m.Tclunk(FID), self.no_fid)

    async def test_newfid(self) -> None:
        """A walk can't make a fid that is one already, nor NOFID."""
        await self.attached()
        await self.walk(ROOT, FID)
        await self.refused(m.Twalk(ROOT, FID, ()), errno.EBADF)
        await self.refused(m.Twalk(ROOT, FID, self.file), errno.EBADF)
        await self.refused(m.Twalk(ROOT, m.NOFID, ()))

    async def test_many_tags(self) -> None:
        """Each reply carries the tag of its request."""
        await self.attached()
        tags = [0, 1, 2, 0x7FFF, 0xFFFE, 300]
        for tag in tags:
            self.wire.ask(tag, self.stat(ROOT))
        answered = [(await self.wire.answer()).tag for _ in tags]
        self.assertEqual(sorted(answered), sorted(tags))

    async def test_unknown_message(self) -> None:
        """A request of no known type is refused, and the connection goes on."""
        await self.attached()
        for type_ in (2, 90, 98, 200, 254):
            self.wire.send(m.HEAD.pack(7, type_, 5))
            frame = await self.wire.answer()
            self.assertEqual(frame.tag, 5)
            self.assertIsInstance(frame.message, _ERRORS)
        await self.ok(self.stat(ROOT))

    # Flush

    async def test_flush_nothing(self) -> None:
        """A Tflush of a tag that no request has, its own among them, is answered by Rflush."""
        await self.attached()
        for oldtag in (99, m.NOTAG, 1):
            await self.ok(m.Tflush(oldtag), tag=1)

    async def test_flush_after_reply(self) -> None:
        """A Tflush right behind its request is answered after it, and the tag is free then."""
        await self.attached()
        self.wire.ask(3, self.stat(ROOT))
        self.wire.ask(4, m.Tflush(3))
        tags = [(await self.wire.answer()).tag]
        if tags != [4]:
            tags.append((await self.wire.answer()).tag)
            self.assertEqual(tags, [3, 4])
        await self.ok(self.stat(ROOT), tag=3)

    # Walk

    async def test_walk_clone(self) -> None:
        """A walk of no names makes a second fid of the same file; onto itself it does nothing."""
        await self.attached()
        qids = await self.walk(ROOT, FID, *self.file)
        await self.walk(FID, OTHER)
        await self.walk(FID, FID)
        await self.ok(m.Tclunk(FID))
        reply = await self.ok(self.stat(OTHER))
        self.assertEqual((reply.qid if self.is_linux else reply.stat.qid).path, qids[-1].path)

    async def test_walk_in_place(self) -> None:
        """A walk onto its own fid moves it."""
        await self.attached()
        await self.walk(ROOT, FID)
        qids = await self.walk(FID, FID, *self.file)
        reply = await self.ok(self.stat(FID))
        self.assertEqual((reply.qid if self.is_linux else reply.stat.qid).path, qids[-1].path)

    async def test_walk_nowhere(self) -> None:
        """Where the first name doesn't exist the walk fails with ENOENT."""
        await self.attached()
        await self.refused(m.Twalk(ROOT, FID, (_ABSENT,)), errno.ENOENT)
        await self.refused(m.Twalk(ROOT, FID, (_ABSENT, "x")), errno.ENOENT)
        await self.refused(self.stat(FID), self.no_fid)

    async def test_walk_partly(self) -> None:
        """Where a later name doesn't exist the reply has the qids so far, and no fid is made or moved."""
        await self.attached()
        above = self.file[:-1]
        names = (*above, *[".."] * max(len(above), 1), *above)
        for newfid in (FID, ROOT):
            reply = await self.ok(m.Twalk(ROOT, newfid, (*names, _ABSENT)))
            self.assertEqual(len(reply.qids), len(names))
        await self.refused(self.stat(FID), self.no_fid)
        await self.walk(ROOT, FID, *self.file)

    async def test_walk_past_file(self) -> None:
        """A walk ends at a file, since it is no directory."""
        await self.attached()
        reply = await self.ok(m.Twalk(ROOT, FID, (*self.file, "x")))
        self.assertEqual(len(reply.qids), len(self.file))
        await self.walk(ROOT, FID, *self.file)
        await self.refused(m.Twalk(FID, OTHER, ("x",)), errno.ENOTDIR)

    async def test_walk_up(self) -> None:
        """'..' of the root is the root, however often."""
        await self.attached()
        root = (await self.ok(self.attach(FID))).qid
        qids = await self.walk(ROOT, OTHER, *[".."] * m.MAXWELEM)
        self.assertEqual({qid.path for qid in qids}, {root.path})

    async def test_walk_too_many(self) -> None:
        """A walk of more than 16 names is refused."""
        await self.attached()
        await self.refused(m.Twalk(ROOT, FID, ("..",) * (m.MAXWELEM + 1)))

    async def test_walk_bad_names(self) -> None:
        """No file has an empty name, nor one with a slash."""
        await self.attached()
        for name in ("", "a/b", "/"):
            await self.refused(m.Twalk(ROOT, FID, (name,)))

    # Open and read

    async def test_open_twice(self) -> None:
        """An open fid can't be opened again."""
        await self.attached()
        await self.walk(ROOT, FID, *self.file)
        await self.ok(self.open(FID))
        await self.refused(self.open(FID))

    async def test_open_directory_for_writing(self) -> None:
        """A directory can't be opened for writing, nor truncated."""
        await self.attached()
        for mode in (OWRITE, ORDWR, OREAD | OTRUNC):
            await self.walk(ROOT, FID)
            await self.refused(self.open(FID, mode), errno.EISDIR, errno.EACCES, errno.EPERM)
            await self.ok(m.Tclunk(FID))

    async def test_open_qid(self) -> None:
        """Walk, open and stat agree on a file's qid."""
        await self.attached()
        qid = (await self.walk(ROOT, FID, *self.file))[-1]
        self.assertFalse(qid.type & QTDIR)
        self.assertEqual((await self.ok(self.open(FID))).qid.path, qid.path)

    async def test_use_unopened(self) -> None:
        """A fid that isn't open can neither be read nor written."""
        await self.attached()
        await self.walk(ROOT, FID, *self.file)
        await self.refused(m.Tread(FID, 0, 10), errno.EBADF, errno.EINVAL)
        await self.refused(m.Twrite(FID, 0, b"x"), errno.EBADF, errno.EINVAL)

    async def test_write_read_only(self) -> None:
        """A fid that is open for reading can't be written."""
        await self.attached()
        await self.walk(ROOT, FID, *self.file)
        await self.ok(self.open(FID))
        await self.refused(m.Twrite(FID, 0, b"x"), errno.EBADF, errno.EACCES)

    async def test_read_pieces(self) -> None:
        """A file reads the same in pieces of any size, and never is more returned than asked."""
        await self.attached()
        await self.walk(ROOT, FID, *self.file)
        await self.ok(self.open(FID))
        whole = await self.read_all(FID, 4096)
        self.assertTrue(whole, "the file for these tests must have contents")
        for count in (1, 7, 1000):
            self.assertEqual(await self.read_all(FID, count), whole)
        self.assertEqual((await self.ok(m.Tread(FID, 0, 0))).data, b"")
        self.assertEqual((await self.ok(m.Tread(FID, len(whole), 100))).data, b"")
        self.assertEqual((await self.ok(m.Tread(FID, len(whole) + 1000, 100))).data, b"")

    async def test_read_too_much(self) -> None:
        """A count beyond msize brings what msize has room for, or a refusal; the connection goes on."""
        await self.attached()
        await self.walk(ROOT, FID, *self.file)
        await self.ok(self.open(FID))
        for count in (8192, 1 << 20, 0xFFFFFFFF, 0xFFFFFFFF - 10):
            reply = await self.wire.rpc(m.Tread(FID, 0, count))
            if isinstance(reply, m.Rread):
                self.assertLessEqual(len(reply.data) + 11, 8192)
        await self.ok(self.stat(FID))

    # Directories

    async def test_directory(self) -> None:
        """A directory lists its files, each once and with its qid, read in pieces of any size."""
        await self.attached()
        parent = self.file[:-1]
        await self.walk(ROOT, FID, *parent)
        await self.ok(self.open(FID))
        listed = await self.list_directory(FID)
        self.assertIn(self.file[-1], dict(listed))
        self.assertEqual(len(dict(listed)), len(listed))
        for name, qid in listed:
            await self.walk(ROOT, OTHER, *parent)
            found = (await self.walk(OTHER, 9, name))[0]
            self.assertEqual((found.type, found.path), (qid.type, qid.path), name)
            await self.ok(m.Tclunk(OTHER))
            await self.ok(m.Tclunk(9))
        for count in (300, 1000):
            self.assertEqual(
                [name for name, _ in await self.list_directory(FID, count)], [n for n, _ in listed]
            )

    async def test_directory_offsets(self) -> None:
        """In 9P2000 a directory is read from its start or from where the last read ended, nowhere else."""
        self.only(m.VERSION_9P2000, m.VERSION_9P2000_U)
        await self.attached()
        await self.walk(ROOT, FID, *self.file[:-1])
        await self.ok(self.open(FID))
        data = (await self.ok(m.Tread(FID, 0, 4096))).data
        await self.refused(m.Tread(FID, len(data) + 1, 4096))
        self.assertEqual((await self.ok(m.Tread(FID, 0, 4096))).data, data)

    async def test_readdir_of_file(self) -> None:
        """In 9P2000.L Treaddir reads directories and Tread files, and not the reverse."""
        self.only(m.VERSION_9P2000_L)
        await self.attached()
        await self.walk(ROOT, FID, *self.file)
        await self.ok(self.open(FID))
        await self.refused(m.Treaddir(FID, 0, 100), errno.ENOTDIR)
        await self.walk(ROOT, OTHER)
        await self.ok(self.open(OTHER))
        await self.refused(m.Tread(OTHER, 0, 100), errno.EISDIR)

    # Stat

    async def test_stat(self) -> None:
        """A stat says whether a file is a directory, as its qid does, and in 9P2000 its name."""
        await self.attached()
        await self.walk(ROOT, FID, *self.file)
        for fid, is_directory in ((ROOT, True), (FID, False)):
            reply = await self.ok(self.stat(fid))
            if self.is_linux:
                self.assertEqual(reply.valid & GETATTR_BASIC, GETATTR_BASIC)
                self.assertEqual(reply.mode & 0o170000, 0o040000 if is_directory else 0o100000)
                self.assertEqual(bool(reply.qid.type & QTDIR), is_directory)
            else:
                self.assertEqual(reply.stat.mode >> 24, reply.stat.qid.type)
                self.assertEqual(bool(reply.stat.qid.type & QTDIR), is_directory)
        if not self.is_linux:
            self.assertEqual((await self.ok(self.stat(FID))).stat.name, self.file[-1])

    async def test_statfs(self) -> None:
        """9P2000.L has statfs(2)."""
        self.only(m.VERSION_9P2000_L)
        await self.attached()
        self.assertTrue((await self.ok(m.Tstatfs(ROOT))).bsize)
