"""The base classes of file systems."""

from __future__ import annotations

import errno
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from jobd.ninep.errors import NUMBERS, STRINGS, NinepError, from_string
from jobd.ninep.files import (
    BytesFile,
    Changeable,
    Children,
    Directory,
    Filesystem,
    Node,
    OpenFile,
    TextFile,
)
from jobd.ninep.interfaces import (
    OAPPEND,
    OTRUNC,
    OWRITE,
    IFilesystem,
    INode,
    IOpenDirectory,
    IOpenFile,
    Qid,
    SetStat,
)
from jobd.ninep.linux import F_UNLCK


class Removable(Changeable, BytesFile):
    pass


class RemovableDirectory(Changeable, Directory):
    pass


class NodeTests(SynchronousTestCase):
    def refusal(self, function: Any, *arguments: Any) -> int:
        return self.assertRaises(NinepError, function, *arguments).errno

    def test_interfaces(self) -> None:
        """Each class provides what it says."""
        directory = Directory()
        verifyObject(INode, directory)
        verifyObject(INode, BytesFile(directory, "b"))
        verifyObject(INode, TextFile(directory, "t", str))
        verifyObject(IOpenFile, OpenFile())
        verifyObject(IOpenFile, BytesFile(directory, "b").open(0))
        verifyObject(IOpenDirectory, directory.open(0))
        verifyObject(IFilesystem, Filesystem(directory))

    def test_defaults(self) -> None:
        """A node refuses what would change something, in the words of Unix."""
        node = Node(None, "/")
        node.qid = Qid(0x80, 0, 1)
        self.assertIs(node.parent, node)
        refusals = [
            (errno.ENOTDIR, node.walk, "x"),
            (errno.EACCES, node.open, 0),
            (errno.EPERM, node.create, "x", 0, 0, None),
            (errno.EPERM, node.mkdir, "x", 0, None),
            (errno.EOPNOTSUPP, node.symlink, "x", "y", None),
            (errno.EOPNOTSUPP, node.mknod, "x", 0, 0, 0, None),
            (errno.EOPNOTSUPP, node.link, "x", node),
            (errno.EINVAL, node.readlink),
            (errno.EPERM, node.remove),
            (errno.EPERM, node.rename, node, "x"),
            (errno.EPERM, node.set_stat, SetStat()),
            (errno.EOPNOTSUPP, node.get_xattr, "x"),
            (errno.EOPNOTSUPP, node.set_xattr, "x", b"", 0),
            (errno.EINVAL, OpenFile().read, 0, 1),
            (errno.EINVAL, OpenFile().write, 0, b""),
        ]
        for number, function, *arguments in refusals:
            self.assertEqual(self.refusal(function, *arguments), number, function)
        self.assertEqual(node.stat().mode, 0x80000000)
        self.assertIsNone(node.sync())
        self.assertEqual(node.lock(1, 0, 0, 0, 1, "c"), 0)
        self.assertEqual(node.get_lock(1, 2, 3, 4, "c"), (F_UNLCK, 2, 3, 4, "c"))

    def test_bytes(self) -> None:
        """A file of bytes is written anywhere, appended to and truncated, up to its limit."""
        file = BytesFile(Directory(), "b", data=b"0123")
        opened = file.open(OWRITE)
        opened.write(6, b"67")
        self.assertEqual(opened.read(2, 100), b"23\0\x0067")
        file.open(OWRITE | OAPPEND).write(0, b"8")
        self.assertEqual(file.length(), 9)
        file.largest = 20
        self.assertEqual(self.refusal(opened.write, 20, b"x"), errno.EFBIG)
        self.assertEqual(self.refusal(file.truncate, 21), errno.EFBIG)
        file.open(OWRITE | OTRUNC)
        self.assertEqual(file.length(), 0)

    def test_text(self) -> None:
        """A text is fixed at its open; writes are handed on; without a writer it is read-only."""
        written: list[bytes] = []
        texts = iter(["one", "two", "three"])
        file = TextFile(Directory(), "t", lambda: next(texts), written.append)
        opened = file.open(2)
        self.assertEqual((opened.read(0, 2), opened.read(2, 9)), (b"on", b"e"))
        self.assertEqual(opened.write(7, b"abc"), 3)
        self.assertEqual(written, [b"abc"])
        self.assertIsNone(file.set_stat(SetStat(length=0, mtime=1.0)))
        self.assertEqual(self.refusal(file.set_stat, SetStat(mode=0)), errno.EPERM)
        fixed = TextFile(Directory(), "t", lambda: "x")
        for mode in (OWRITE, 2, OTRUNC):
            self.assertEqual(self.refusal(fixed.open, mode), errno.EACCES)
        self.assertEqual(self.refusal(fixed.open(0).write, 0, b""), errno.EACCES)

    def test_rename(self) -> None:
        """A move replaces what may be replaced, and nothing else."""
        root = RemovableDirectory(None, "/", 0o777)
        d, e = (root.children.add(RemovableDirectory(root, name, 0o777)) for name in "de")
        f, g = (root.children.add(Removable(root, name)) for name in "fg")
        self.assertEqual(self.refusal(d.rename, d, "x"), errno.EINVAL)
        self.assertEqual(self.refusal(f.rename, root, "d"), errno.EISDIR)
        self.assertEqual(self.refusal(d.rename, root, "f"), errno.ENOTDIR)
        f.rename(root, "f")
        f.rename(root, "g")
        self.assertIs(root.children["g"], f)
        g.name = "h"
        e.children.add(Removable(e, "x"))
        self.assertEqual(self.refusal(d.rename, root, "e"), errno.ENOTEMPTY)
        d.rename(e, "d")
        self.assertIs(root.walk("e").walk("d"), d)
        self.assertEqual(self.refusal(root.remove), errno.EBUSY)
        self.assertEqual(self.refusal(e.remove), errno.ENOTEMPTY)

    def test_removed(self) -> None:
        """What was removed is gone for those who still hold it, whatever has its name by now."""
        root = RemovableDirectory(None, "/", 0o777)
        d, other = (root.children.add(RemovableDirectory(root, name, 0o777)) for name in ("d", "other"))
        f = root.children.add(Removable(root, "f", 0o666, b"text"))
        opened = f.open(0)
        d.remove()
        f.remove()
        root.children.add(RemovableDirectory(root, "d", 0o777))
        new = root.children.add(Removable(root, "f"))
        for node in (d, f):
            self.assertEqual(self.refusal(node.remove), errno.ENOENT)
            self.assertEqual(self.refusal(node.open, 0), errno.ENOENT)
            self.assertEqual(self.refusal(node.rename, other, "x"), errno.ENOENT)
            self.assertEqual(self.refusal(node.set_stat, SetStat(name="x")), errno.ENOENT)
        self.assertEqual(self.refusal(d.children.add, Removable(d, "x")), errno.ENOENT)
        self.assertEqual(self.refusal(new.rename, d, "x"), errno.ENOENT)
        self.assertIs(root.children["f"], new)
        self.assertEqual((opened.read(0, 9), f.stat().length), (b"text", 4))

    def test_owners_and_times(self) -> None:
        """Owners and times are set as asked; -1 is now."""
        root = RemovableDirectory(None, "/", 0o777)
        file = root.children.add(Removable(root, "f"))
        file.set_stat(SetStat(uid=5, gid="staff", atime=1.0, mtime=-1.0))
        stat = file.stat()
        self.assertEqual((stat.n_uid, stat.gid, stat.atime), (5, "staff", 1.0))
        self.assertTrue(stat.mtime > 1e9)

    def test_children(self) -> None:
        """Cookies ascend, last as long as the name, and are never used again."""
        children = Children()
        nodes = [children.add(Node(None, name)) for name in "abc"]
        self.assertEqual([entry.cookie for entry in children.after(0)], [1, 2, 3])
        children.remove("b")
        self.assertRaises(NinepError, children.remove, "b")
        self.assertRaises(NinepError, children.add, nodes[0])
        children.add(nodes[1])
        self.assertEqual(
            [(entry.cookie, entry.node.name) for entry in children.after(1)], [(3, "c"), (4, "b")]
        )
        self.assertEqual(list(children.after(4)), [])
        self.assertEqual(len(children), 3)


class ErrorTests(SynchronousTestCase):
    def test_table(self) -> None:
        """Each string is that of its number, either way."""
        for number, string in STRINGS.items():
            self.assertEqual(NinepError(number).ename, string)
            self.assertEqual(from_string(string).errno, number)
        for string, number in NUMBERS.items():
            self.assertIn(number, STRINGS, string)

    def test_words(self) -> None:
        """An error shows its sentence, else its string; a number without a string has the C library's."""
        self.assertEqual(str(NinepError(errno.EINVAL, "field 3 is wrong")), "field 3 is wrong")
        self.assertEqual(str(NinepError(errno.EINVAL)), "Invalid argument")
        self.assertEqual(NinepError(errno.ECHILD).ename, "No child processes")
