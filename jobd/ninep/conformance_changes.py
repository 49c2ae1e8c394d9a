"""Conformance tests that make, change and remove files: see `jobd.ninep.conformance`."""

from __future__ import annotations

import errno
import itertools
import os
from typing import Any
from unittest import SkipTest

from jobd.ninep import messages as m
from jobd.ninep.conformance import FID, OTHER, ROOT, Speaker
from jobd.ninep.interfaces import (
    DMDIR,
    DMSYMLINK,
    OAPPEND,
    ORCLOSE,
    ORDWR,
    OREAD,
    OTRUNC,
    OWRITE,
    QTDIR,
    SetStat,
)
from jobd.ninep.linux import (
    AT_REMOVEDIR,
    F_UNLCK,
    F_WRLCK,
    L_CREATE,
    L_EXCL,
    linux_flags,
    setattr_of_changes,
)
from jobd.ninep.remote import deferred
from jobd.ninep.stat import UNTOUCHED, stat_of_changes
from jobd.ninep.testing import Wire

_numbers = itertools.count()


class ChangingTests(Speaker):
    """Tests that make files. Each works in a directory of its own, which is `ROOT` to it."""

    top: int = 3
    """The fid of the tree's true root."""

    @deferred
    async def scratch(self, msize: int | None = None) -> Wire:
        """A connection on which `ROOT` is an empty directory made for this test."""
        await self.attached(msize)
        await self.walk(ROOT, self.top)
        name = f"conformance-{os.getpid()}-{next(_numbers)}"
        await self.mkdir(ROOT, name)
        await self.walk(ROOT, ROOT, name)
        return self.wire

    async def mkdir(self, fid: int, name: str) -> None:
        """Make a directory in that of FID."""
        if self.is_linux:
            await self.ok(m.Tmkdir(fid, name, 0o777, 0))
        else:
            await self.walk(fid, 99)
            await self.ok(m.Tcreate(99, name, DMDIR | 0o777, OREAD))
            await self.ok(m.Tclunk(99))

    def create(self, fid: int, name: str, mode: int = ORDWR, perm: int = 0o666) -> Any:
        if self.is_linux:
            return m.Tlcreate(fid, name, linux_flags(mode) | L_CREATE | L_EXCL, perm, 0)
        return m.Tcreate(fid, name, perm, mode)

    async def make(self, name: str, data: bytes = b"", fid: int = FID) -> None:
        """Make the file NAME with contents DATA in the test's directory; FID is its, open."""
        await self.walk(ROOT, fid)
        await self.ok(self.create(fid, name))
        if data:
            self.assertEqual((await self.ok(m.Twrite(fid, 0, data))).count, len(data))

    def wstat(self, fid: int, changes: SetStat) -> Any:
        if self.is_linux:
            return m.Tsetattr(fid, *setattr_of_changes(changes))
        return m.Twstat(fid, stat_of_changes(changes))

    async def names(self) -> set[str]:
        """What is in the test's directory."""
        await self.walk(ROOT, 98)
        await self.ok(self.open(98))
        listed = await self.list_directory(98)
        await self.ok(m.Tclunk(98))
        return {name for name, _ in listed}

    async def reread(self, name: str) -> bytes:
        """The contents of the file NAME, through a new fid."""
        await self.walk(ROOT, 97, name)
        await self.ok(self.open(97))
        data = await self.read_all(97, 4096)
        await self.ok(m.Tclunk(97))
        return data

    # Making files

    async def test_create(self) -> None:
        """A new file is there, open, and its fid is the file's."""
        await self.scratch()
        await self.make("new", b"hello")
        self.assertEqual((await self.ok(m.Tread(FID, 0, 100))).data, b"hello")
        self.assertEqual(await self.names(), {"new"})
        self.assertEqual(await self.reread("new"), b"hello")
        self.assertEqual(await self.length(FID), 5)

    async def test_create_existing(self) -> None:
        """A name that exists can't be made again, by any message."""
        await self.scratch()
        await self.make("a")
        await self.walk(ROOT, OTHER)
        await self.refused(self.create(OTHER, "a"), errno.EEXIST)
        if self.is_linux:
            await self.refused(m.Tmkdir(OTHER, "a", 0o777, 0), errno.EEXIST)
        else:
            await self.refused(m.Tcreate(OTHER, "a", DMDIR | 0o777, OREAD), errno.EEXIST)
        await self.ok(self.stat(OTHER))

    async def test_create_bad_names(self) -> None:
        """'', '.', '..' and names with a slash can't be made."""
        await self.scratch()
        await self.walk(ROOT, FID)
        for name in ("", ".", "..", "a/b"):
            await self.refused(self.create(FID, name))
        self.assertEqual(await self.names(), set())

    async def test_create_in_file(self) -> None:
        """A file can be made in a directory only."""
        await self.scratch()
        await self.make("a")
        await self.walk(ROOT, OTHER, "a")
        await self.refused(self.create(OTHER, "b"))

    async def test_names(self) -> None:
        """A name may have any letters, and 255 bytes."""
        await self.scratch()
        names = {"with space", "ümläut", "漢字", ".hidden", "x" * 255}
        for name in names:
            await self.make(name)
            await self.ok(m.Tclunk(FID))
        self.assertEqual(await self.names(), names)

    async def test_mkdir(self) -> None:
        """A new directory can be walked to, is empty, and can be filled."""
        await self.scratch()
        await self.mkdir(ROOT, "d")
        qids = await self.walk(ROOT, FID, "d")
        self.assertTrue(qids[0].type & QTDIR)
        await self.walk(FID, OTHER)
        await self.ok(self.create(OTHER, "f"))
        await self.walk(FID, 9, "..", "d", "f")

    # Reading and writing

    async def test_write(self) -> None:
        """Bytes are where they were written, and zeros where none were."""
        await self.scratch()
        await self.make("a", b"0123456789")
        await self.ok(m.Twrite(FID, 4, b"xy"))
        await self.ok(m.Twrite(FID, 12, b"z"))
        self.assertEqual(await self.reread("a"), b"0123xy6789\0\0z")

    async def test_write_large(self) -> None:
        """A file of more than one message reads back as it was written, at each msize."""
        for msize in (4096, 8192, 1 << 16):
            await self.scratch(msize)
            data = bytes(range(256)) * 300
            await self.walk(ROOT, FID)
            iounit = (await self.ok(self.create(FID, "large"))).iounit or msize - m.IOHDRSZ
            for start in range(0, len(data), iounit):
                part = data[start : start + iounit]
                self.assertEqual((await self.ok(m.Twrite(FID, start, part))).count, len(part))
            self.assertEqual(await self.read_all(FID, iounit), data)

    async def test_open_modes(self) -> None:
        """A fid open for writing can't be read; one open for both can both."""
        await self.scratch()
        await self.make("a", b"abc")
        await self.walk(ROOT, OTHER, "a")
        await self.ok(self.open(OTHER, OWRITE))
        await self.refused(m.Tread(OTHER, 0, 10), errno.EBADF)
        await self.ok(m.Twrite(OTHER, 0, b"x"))
        await self.walk(ROOT, 9, "a")
        await self.ok(self.open(9, ORDWR))
        await self.ok(m.Twrite(9, 1, b"y"))
        self.assertEqual((await self.ok(m.Tread(9, 0, 10))).data, b"xyc")

    async def test_truncate(self) -> None:
        """An open with OTRUNC empties the file."""
        await self.scratch()
        await self.make("a", b"abc")
        await self.walk(ROOT, OTHER, "a")
        await self.ok(self.open(OTHER, OWRITE | OTRUNC))
        self.assertEqual(await self.length(OTHER), 0)

    async def test_append(self) -> None:
        """A file open for appending is written at its end, whatever the offset."""
        self.only(m.VERSION_9P2000_L, m.VERSION_9P2000_U)
        await self.scratch()
        await self.make("a", b"abc")
        await self.walk(ROOT, OTHER, "a")
        await self.ok(self.open(OTHER, OWRITE | OAPPEND))
        await self.ok(m.Twrite(OTHER, 0, b"def"))
        self.assertEqual(await self.reread("a"), b"abcdef")

    async def test_remove_on_close(self) -> None:
        """A file open with ORCLOSE goes with its fid."""
        self.only(m.VERSION_9P2000, m.VERSION_9P2000_U)
        await self.scratch()
        await self.make("a")
        await self.walk(ROOT, OTHER, "a")
        await self.ok(self.open(OTHER, OREAD | ORCLOSE))
        self.assertEqual(await self.names(), {"a"})
        await self.ok(m.Tclunk(OTHER))
        self.assertEqual(await self.names(), set())

    # Attributes

    async def test_set_nothing(self) -> None:
        """A stat or setattr that touches nothing succeeds and changes nothing: so fsync is asked."""
        await self.scratch()
        await self.make("a", b"abc")
        before = await self.ok(self.stat(FID))
        await self.ok(m.Tfsync(FID, 0) if self.is_linux else m.Twstat(FID, UNTOUCHED))
        await self.ok(self.wstat(FID, SetStat()))
        self.assertEqual(await self.ok(self.stat(FID)), before)

    async def test_set_length(self) -> None:
        """Setting the length cuts a file or fills it up with zeros."""
        await self.scratch()
        await self.make("a", b"abcdef")
        await self.ok(self.wstat(FID, SetStat(length=2)))
        self.assertEqual(await self.reread("a"), b"ab")
        await self.ok(self.wstat(FID, SetStat(length=4)))
        self.assertEqual(await self.reread("a"), b"ab\0\0")

    async def test_set_mode(self) -> None:
        """Permissions can be changed, and nothing else is with them."""
        await self.scratch()
        await self.make("a", b"abc")
        await self.ok(self.wstat(FID, SetStat(mode=0o640)))
        reply = await self.ok(self.stat(FID))
        self.assertEqual((reply.mode if self.is_linux else reply.stat.mode) & 0o7777, 0o640)
        self.assertEqual(await self.reread("a"), b"abc")

    async def test_set_mtime(self) -> None:
        """The time of the last change can be set."""
        await self.scratch()
        await self.make("a")
        await self.ok(self.wstat(FID, SetStat(atime=1_000_000_000.0, mtime=1_100_000_000.0)))
        reply = await self.ok(self.stat(FID))
        self.assertEqual(reply.mtime_sec if self.is_linux else int(reply.stat.mtime), 1_100_000_000)

    async def test_qid_version(self) -> None:
        """The qid's version changes with the contents, and the path never does."""
        await self.scratch()
        await self.make("a")
        qids = set()
        for data in (b"1", b"22", b"333"):
            await self.ok(m.Twrite(FID, 0, data))
            reply = await self.ok(self.stat(FID))
            qids.add(reply.qid if self.is_linux else reply.stat.qid)
        self.assertEqual(len({qid.path for qid in qids}), 1)
        self.assertEqual(len({qid.version for qid in qids}), 3)

    # Moving

    async def test_rename(self) -> None:
        """A file moves to another name of its directory, and fids of it go with it."""
        await self.scratch()
        await self.make("a", b"abc")
        if self.is_linux:
            await self.ok(m.Trename(FID, ROOT, "b"))
        else:
            await self.ok(self.wstat(FID, SetStat(name="b")))
        self.assertEqual(await self.names(), {"b"})
        self.assertEqual(await self.reread("b"), b"abc")
        self.assertEqual((await self.ok(m.Tread(FID, 0, 10))).data, b"abc")

    async def test_rename_bad_names(self) -> None:
        """'.', '..' and names with a slash can't be moved to."""
        await self.scratch()
        await self.make("a")
        for name in (".", "..", "b/c"):
            message = m.Trename(FID, ROOT, name) if self.is_linux else self.wstat(FID, SetStat(name=name))
            await self.refused(message)
        self.assertEqual(await self.names(), {"a"})

    async def test_renameat(self) -> None:
        """Trenameat moves between directories, and replaces a file that is there."""
        self.only(m.VERSION_9P2000_L)
        await self.scratch()
        await self.mkdir(ROOT, "d")
        await self.walk(ROOT, OTHER, "d")
        await self.make("a", b"abc")
        await self.ok(m.Trenameat(ROOT, "a", OTHER, "b"))
        self.assertEqual(await self.names(), {"d"})
        await self.make("b", b"new", fid=9)
        await self.ok(m.Trenameat(ROOT, "b", OTHER, "b"))
        await self.walk(OTHER, OTHER, "b")
        self.assertEqual(await self.length(OTHER), 3)
        await self.refused(m.Trenameat(ROOT, "absent", ROOT, "x"), errno.ENOENT)

    # Removing

    async def test_remove(self) -> None:
        """A removed file is gone, and so is its fid."""
        await self.scratch()
        await self.make("a")
        await self.walk(ROOT, OTHER, "a")
        await self.ok(m.Tremove(OTHER))
        await self.refused(m.Tclunk(OTHER), self.no_fid)
        await self.refused(m.Twalk(ROOT, OTHER, ("a",)), errno.ENOENT)

    async def test_remove_refused(self) -> None:
        """A directory with something in it isn't removed, but the fid is gone all the same."""
        await self.scratch()
        await self.mkdir(ROOT, "d")
        await self.walk(ROOT, FID, "d")
        await self.ok(self.create(FID, "f"))
        await self.walk(ROOT, OTHER, "d")
        await self.refused(m.Tremove(OTHER), errno.ENOTEMPTY)
        await self.refused(m.Tclunk(OTHER), self.no_fid)
        await self.walk(ROOT, OTHER, "d", "f")

    async def test_unlinkat(self) -> None:
        """Tunlinkat removes files without AT_REMOVEDIR and empty directories with it."""
        self.only(m.VERSION_9P2000_L)
        await self.scratch()
        await self.mkdir(ROOT, "d")
        await self.make("a")
        await self.refused(m.Tunlinkat(ROOT, "d", 0), errno.EISDIR, errno.EPERM)
        await self.refused(m.Tunlinkat(ROOT, "a", AT_REMOVEDIR), errno.ENOTDIR)
        await self.refused(m.Tunlinkat(ROOT, "absent", 0), errno.ENOENT)
        await self.ok(m.Tunlinkat(ROOT, "a", 0))
        await self.ok(m.Tunlinkat(ROOT, "d", AT_REMOVEDIR))
        self.assertEqual(await self.names(), set())

    # Directories that change while they are read

    async def test_read_changing_directory(self) -> None:
        """What stays in a directory is listed exactly once, whatever is added and removed meanwhile."""
        await self.scratch()
        stay = {f"stay{number}" for number in range(40)}
        for number in range(40):
            for kind in ("stay", "go"):
                await self.make(f"{kind}{number}", fid=FID)
                await self.ok(m.Tclunk(FID))
        await self.walk(ROOT, FID)
        await self.ok(self.open(FID))
        listed: list[str] = []
        offset = 0
        for number in itertools.count():
            entries, offset = await self.read_directory(FID, offset, 500)
            if not entries:
                break
            listed += [name for name, _ in entries]
            if number < 40:
                await self.walk(ROOT, OTHER, f"go{number}")
                await self.ok(m.Tremove(OTHER))
                await self.make(f"new{number}", fid=OTHER)
                await self.ok(m.Tclunk(OTHER))
        self.assertEqual(len(set(listed)), len(listed))
        self.assertEqual(set(listed) & stay, stay)

    # What Unix has besides

    async def test_symlink(self) -> None:
        """A symbolic link keeps its target, and is no directory."""
        self.only(m.VERSION_9P2000_L, m.VERSION_9P2000_U)
        await self.scratch()
        if self.is_linux:
            await self.supported(m.Tsymlink(ROOT, "l", "some/where", 0))
        else:
            await self.walk(ROOT, FID)
            await self.supported(m.Tcreate(FID, "l", DMSYMLINK | 0o777, OREAD, "some/where"))
        await self.walk(ROOT, OTHER, "l")
        if self.is_linux:
            self.assertEqual((await self.ok(m.Treadlink(OTHER))).target, "some/where")
        else:
            self.assertEqual((await self.ok(m.Tstat(OTHER))).stat.extension, "some/where")

    async def test_readlink_of_file(self) -> None:
        """A file that is no symbolic link has no target."""
        self.only(m.VERSION_9P2000_L)
        await self.scratch()
        await self.make("a")
        await self.refused(m.Treadlink(FID), errno.EINVAL)

    async def test_link(self) -> None:
        """A second name of a file is the same file."""
        self.only(m.VERSION_9P2000_L)
        await self.scratch()
        await self.make("a", b"abc")
        await self.supported(m.Tlink(ROOT, FID, "b"))
        self.assertEqual(await self.reread("b"), b"abc")
        a = await self.walk(ROOT, OTHER, "a")
        b = await self.walk(ROOT, 9, "b")
        self.assertEqual(a[0].path, b[0].path)

    async def test_lock(self) -> None:
        """A file nobody has locked can be locked, and who asks is told that nobody is in the way."""
        self.only(m.VERSION_9P2000_L)
        await self.scratch()
        await self.make("a")
        lock = await self.ok(m.Tgetlock(FID, F_WRLCK, 0, 0, 1, "me"))
        self.assertEqual(lock.type, F_UNLCK)
        self.assertEqual((await self.ok(m.Tlock(FID, F_WRLCK, 0, 0, 0, 1, "me"))).status, 0)
        self.assertEqual((await self.ok(m.Tlock(FID, F_UNLCK, 0, 0, 0, 1, "me"))).status, 0)

    async def test_xattr(self) -> None:
        """An extended attribute reads as it was set when the fid that set it was clunked."""
        self.only(m.VERSION_9P2000_L)
        await self.scratch()
        await self.make("a")
        await self.walk(ROOT, OTHER, "a")
        await self.supported(m.Txattrcreate(OTHER, "user.test", 5, 0))
        await self.ok(m.Twrite(OTHER, 0, b"he"))
        await self.ok(m.Twrite(OTHER, 2, b"llo"))
        await self.supported(m.Tclunk(OTHER))
        self.assertEqual((await self.ok(m.Txattrwalk(FID, OTHER, "user.test"))).size, 5)
        self.assertEqual((await self.ok(m.Tread(OTHER, 0, 100))).data, b"hello")
        self.assertEqual((await self.ok(m.Tread(OTHER, 3, 100))).data, b"lo")
        await self.ok(m.Tclunk(OTHER))
        self.assertEqual((await self.ok(m.Txattrwalk(FID, OTHER, ""))).size, len("user.test") + 1)
        await self.refused(m.Txattrwalk(FID, 9, "user.absent"), errno.ENODATA)
        await self.refused(m.Tclunk(9), self.no_fid)

    async def supported(self, message: Any) -> Any:
        """The reply of MESSAGE; the test is skipped where it is refused with EOPNOTSUPP or EPERM."""
        reply = await self.wire.rpc(message)
        number = reply.ecode if isinstance(reply, m.Rlerror) else getattr(reply, "errno", 0)
        if number in (errno.EOPNOTSUPP, errno.EPERM):
            raise SkipTest(f"{type(message).__name__} is not supported")
        self.assertNotIsInstance(reply, (m.Rerror, m.Rlerror))
        return reply
