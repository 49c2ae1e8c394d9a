"""The requests of 9P2000.L alone.

They are Linux system calls in all but name; diod's protocol.md describes them, and the kernel's
fs/9p/vfs_inode_dotl.c is what sends them.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from jobd.ninep import messages as m
from jobd.ninep.errors import NinepError
from jobd.ninep.files import OpenFile
from jobd.ninep.handlers import Fid, Handlers, Reply, then
from jobd.ninep.interfaces import NONUNAME, OEXCL, QTDIR, SetStat, Statfs
from jobd.ninep.linux import (
    AT_REMOVEDIR,
    F_UNLCK,
    GETATTR_BASIC,
    L_DIRECTORY,
    L_EXCL,
    changes_of_setattr,
    ninep_flags,
    pack_dirent,
)
from jobd.ninep.stat import Stat, ninep_mode

_getattr_head = struct.Struct("<IBHQ")
_data_head = struct.Struct("<IBHI")
_RGETATTR, _RREADDIR = m.TYPES[m.Rgetattr], m.TYPES[m.Rreaddir]


class LinuxHandlers(Handlers):
    """The handlers of 9P2000.L."""

    def table(self) -> dict[Any, Callable[..., Reply]]:
        return super().table() | {
            m.Tstatfs: self.statfs,
            m.Tlopen: self.lopen,
            m.Tlcreate: self.lcreate,
            m.Tsymlink: self.symlink,
            m.Tmknod: self.mknod,
            m.Trename: self.rename,
            m.Treadlink: self.readlink,
            m.Tgetattr: self.getattr,
            m.Tsetattr: self.setattr,
            m.Txattrwalk: self.xattrwalk,
            m.Txattrcreate: self.xattrcreate,
            m.Treaddir: self.readdir,
            m.Tfsync: self.fsync,
            m.Tlock: self.lock,
            m.Tgetlock: self.getlock,
            m.Tlink: self.link,
            m.Tmkdir: self.mkdir,
            m.Trenameat: self.renameat,
            m.Tunlinkat: self.unlinkat,
        }

    def directory_reader(self, _file: Any) -> Callable[[int, int], Any]:
        return _refuse_read

    def statfs(self, tag: int, number: int) -> Reply:
        self.fid(number)
        return then(self.filesystem.statfs(), self._have_statfs, tag)

    def _have_statfs(self, statfs: Statfs, tag: int) -> bytes:
        return self.reply(tag, m.Rstatfs(*statfs))

    # Opening and making files

    def lopen(self, tag: int, number: int, flags: int) -> Reply:
        """O_CREAT comes through from every shell's `>` and means nothing on a file that exists."""
        fid = self.unopened(number)
        if flags & L_DIRECTORY and not fid.node.qid.type & QTDIR:
            raise NinepError(errno.ENOTDIR)
        return self.open_file(fid, ninep_flags(flags), tag, m.Rlopen)

    def lcreate(self, tag: int, number: int, name: str, flags: int, mode: int, gid: int) -> Reply:
        """The fid, a directory's, becomes the new file's."""
        fid = self.unopened(number)
        parent = self.directory(number)
        self.check_name(name)
        open_mode = ninep_flags(flags) | (OEXCL if flags & L_EXCL else 0)
        made = parent.create(name, ninep_mode(mode & 0o7777), open_mode, _group(gid))
        return then(self.hold(fid, made), self._created, fid, open_mode, tag)

    def _created(self, made: tuple[Any, Any], fid: Fid, mode: int, tag: int) -> bytes:
        node, file = made
        return self.opened(file, fid, node, mode, tag, m.Rlcreate)

    def mkdir(self, tag: int, number: int, name: str, mode: int, gid: int) -> Reply:
        parent = self.directory(number)
        self.check_name(name)
        made = parent.mkdir(name, ninep_mode(mode & 0o7777), _group(gid))
        return then(made, self._made, tag, m.Rmkdir)

    def symlink(self, tag: int, number: int, name: str, target: str, gid: int) -> Reply:
        parent = self.directory(number)
        self.check_name(name)
        return then(parent.symlink(name, target, _group(gid)), self._made, tag, m.Rsymlink)

    def mknod(self, tag: int, number: int, name: str, mode: int, major: int, minor: int, gid: int) -> Reply:
        parent = self.directory(number)
        self.check_name(name)
        made = parent.mknod(name, ninep_mode(mode), major, minor, _group(gid))
        return then(made, self._made, tag, m.Rmknod)

    def _made(self, node: Any, tag: int, cls: Any) -> bytes:
        return self.reply(tag, cls(node.qid))

    def link(self, tag: int, number: int, target: int, name: str) -> Reply:
        parent = self.directory(number)
        self.check_name(name)
        return then(parent.link(name, self.fid(target).node), self.done, tag, m.Rlink)

    def readlink(self, tag: int, number: int) -> Reply:
        return then(self.fid(number).node.readlink(), self._have_target, tag)

    def _have_target(self, target: str, tag: int) -> bytes:
        return self.reply(tag, m.Rreadlink(target))

    # Moving and removing

    def rename(self, tag: int, number: int, directory: int, name: str) -> Reply:
        node = self.fid(number).node
        self.check_name(name)
        return then(node.rename(self.directory(directory), name), self.done, tag, m.Rrename)

    def renameat(self, tag: int, directory: int, name: str, newdirectory: int, newname: str) -> Reply:
        old, new = self.directory(directory), self.directory(newdirectory)
        self.check_name(name)
        self.check_name(newname)
        renamed = then(old.walk(name), lambda node: node.rename(new, newname))
        return then(renamed, self.done, tag, m.Rrenameat)

    def unlinkat(self, tag: int, number: int, name: str, flags: int) -> Reply:
        parent = self.directory(number)
        self.check_name(name)
        return then(then(parent.walk(name), self._unlink, flags), self.done, tag, m.Runlinkat)

    def _unlink(self, node: Any, flags: int) -> Any:
        is_directory = bool(node.qid.type & QTDIR)
        if is_directory != bool(flags & AT_REMOVEDIR):
            raise NinepError(errno.EISDIR if is_directory else errno.ENOTDIR)
        return node.remove()

    # Attributes

    def getattr(self, tag: int, number: int, mask: int) -> Reply:
        stat = self.fid(number).node.stat()
        if type(stat) is not Stat and isinstance(stat, Deferred):
            return stat.addCallback(self._have_stat, tag, mask)
        return self._have_stat(stat, tag, mask)

    def _have_stat(self, stat: Stat, tag: int, mask: int) -> bytes:
        return _getattr_head.pack(160, _RGETATTR, tag, mask & GETATTR_BASIC) + stat.attributes()

    def setattr(self, tag: int, number: int, valid: int, *fields: int) -> Reply:
        """What only sets ctime, which is the server's to set, changes nothing."""
        node = self.fid(number).node
        changes = changes_of_setattr(valid, *fields)
        changed = None if changes == SetStat() else node.set_stat(changes)
        return then(changed, self.done, tag, m.Rsetattr)

    def fsync(self, tag: int, number: int, _datasync: int) -> Reply:
        return then(self.fid(number).node.sync(), self.done, tag, m.Rfsync)

    # Directories

    def readdir(self, tag: int, number: int, offset: int, count: int) -> Reply:
        """OFFSET is 0 or that of the last entry the client has: the cookie of the file system."""
        fid = self.fid(number)
        if fid.file is None:
            raise NinepError(errno.EBADF, f"fid {number} is not open", "bad use of fid")
        if fid.entries is None:
            raise NinepError(errno.ENOTDIR)
        count = min(count, self.largest)
        entries = fid.entries(offset)
        if isinstance(entries, Deferred):
            entries = self.wait_for_data(entries, count)
        return then(entries, self._have_entries, tag, count)

    def _have_entries(self, entries: Any, tag: int, room: int) -> bytes:
        records: list[bytes] = []
        for cookie, node, special in entries:
            name = node.name.encode("utf-8", "surrogateescape")
            record = pack_dirent(node.qid, cookie, name, special)
            room -= len(record)
            if room < 0:
                if not records:
                    raise NinepError(errno.EINVAL, "the next entry has no room in that count")
                break
            records.append(record)
        data = b"".join(records)
        return _data_head.pack(11 + len(data), _RREADDIR, tag, len(data)) + data

    # Extended attributes

    def xattrwalk(self, tag: int, number: int, newnumber: int, name: str) -> Reply:
        """The new fid reads the attribute's value, or the names of all where NAME is empty."""
        node = self.fid(number).node
        self.check_free(newnumber)
        value = self.reserve(newnumber, node.get_xattr(name))
        return then(value, self._have_xattr, node, newnumber, tag)

    def _have_xattr(self, value: bytes, node: Any, number: int, tag: int) -> bytes:
        fid = self.fids[number] = Fid(node)
        fid.file = OpenFile()
        fid.read = lambda offset, count: value[offset : offset + count]
        return self.reply(tag, m.Rxattrwalk(len(value)))

    def xattrcreate(self, tag: int, number: int, name: str, size: int, flags: int) -> Reply:
        """The fid takes the value of the attribute, which is set when it is clunked."""
        fid = self.unopened(number)
        if size > self.limits.xattr:
            raise NinepError(errno.E2BIG, f"an extended attribute has at most {self.limits.xattr} bytes")
        fid.file = _XattrValue(fid.node, name, size, flags)
        fid.write = fid.file.write
        return self.done(None, tag, m.Rxattrcreate)

    # Locks

    def lock(
        self, tag: int, number: int, type_: int, flags: int, start: int, length: int, pid: int, client: str
    ) -> Reply:
        node = self._lockable(number, type_)
        return then(node.lock(type_, flags, start, length, pid, client), self._have_status, tag)

    def _have_status(self, status: int, tag: int) -> bytes:
        return self.reply(tag, m.Rlock(status))

    def getlock(
        self, tag: int, number: int, type_: int, start: int, length: int, pid: int, client: str
    ) -> Reply:
        node = self._lockable(number, type_)
        return then(node.get_lock(type_, start, length, pid, client), self._have_lock, tag)

    def _have_lock(self, lock: tuple[int, int, int, int, str], tag: int) -> bytes:
        return self.reply(tag, m.Rgetlock(*lock))

    def _lockable(self, number: int, type_: int) -> Any:
        fid = self.fid(number)
        if fid.file is None:
            raise NinepError(errno.EBADF, f"fid {number} is not open", "bad use of fid")
        if type_ > F_UNLCK:
            raise NinepError(errno.EINVAL, f"there is no lock of type {type_}")
        return fid.node


class _XattrValue(OpenFile):
    """Collects the value of an extended attribute until the clunk sets it."""

    def __init__(self, node: Any, name: str, size: int, flags: int) -> None:
        self._node = node
        self._name = name
        self._size = size
        self._flags = flags
        self._value = b""

    def write(self, offset: int, data: bytes) -> int:
        if offset != len(self._value) or offset + len(data) > self._size:
            raise NinepError(errno.EINVAL, "the parts of an extended attribute follow each other")
        self._value += data
        return len(data)

    def close(self, clunked: bool) -> Any:
        if not clunked:
            return None
        if len(self._value) != self._size:
            raise NinepError(errno.EINVAL, f"{len(self._value)} of {self._size} bytes of the value came")
        return self._node.set_xattr(self._name, self._value, self._flags)


def _refuse_read(_offset: int, _count: int) -> Any:
    """A directory is read by Treaddir, never by Tread."""
    raise NinepError(errno.EISDIR)


def _group(gid: int) -> int | None:
    return None if gid == NONUNAME else gid
