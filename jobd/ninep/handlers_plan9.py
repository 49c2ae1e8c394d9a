"""The requests of 9P2000 and 9P2000.u alone: open, create, stat, wstat, and directories that are read."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from jobd.ninep import messages as m
from jobd.ninep.errors import NinepError
from jobd.ninep.handlers import Handlers, Reply, then
from jobd.ninep.interfaces import (
    DMDEVICE,
    DMDIR,
    DMLINK,
    DMNAMEDPIPE,
    DMSOCKET,
    DMSYMLINK,
    OCEXEC,
    ORCLOSE,
    OREAD,
    QTDIR,
    SetStat,
)
from jobd.ninep.stat import UNTOUCHED, Stat, requested_changes

_stat_head = struct.Struct("<IBHH")
_RSTAT = m.TYPES[m.Rstat]
_UNKNOWN_MODES = 0x0C
_SPECIAL = DMSYMLINK | DMLINK | DMDEVICE | DMNAMEDPIPE | DMSOCKET
_UNTOUCHED_QID = UNTOUCHED.qid


class Plan9Handlers(Handlers):
    """The handlers of 9P2000 and 9P2000.u."""

    def table(self) -> dict[Any, Callable[..., Reply]]:
        return super().table() | {
            m.Topen: self.open,
            m.Tcreate: self.create,
            m.Tstat: self.stat,
            m.Twstat: self.wstat,
        }

    def directory_reader(self, file: Any) -> Callable[[int, int], Any]:
        return DirectoryReader(file, self.dialect.extended).read

    def open(self, tag: int, number: int, mode: int) -> Reply:
        """By the manual's open."""
        fid = self.unopened(number)
        if mode & _UNKNOWN_MODES:
            raise NinepError(errno.EINVAL, f"mode {mode:#x} is none of open(5)", "illegal mode")
        return self.open_file(fid, mode, tag, m.Ropen)

    def create(self, tag: int, number: int, name: str, perm: int, mode: int, extension: str) -> Reply:
        """Make a file or directory and open it; in 9P2000.u also what else Unix knows, unopened."""
        fid = self.unopened(number)
        parent = self.directory(number)
        self.check_name(name)
        if mode & _UNKNOWN_MODES:
            raise NinepError(errno.EINVAL, f"mode {mode:#x} is none of open(5)", "illegal mode")
        if perm & DMDIR:
            if mode & ~(OCEXEC | ORCLOSE) != OREAD:
                raise NinepError(errno.EISDIR)
            made = then(parent.mkdir(name, perm & ~DMDIR, None), self._open_made)
        elif perm & _SPECIAL and self.dialect.extended:
            made = then(self._make_special(parent, name, perm, extension), lambda node: (node, None))
        else:
            made = parent.create(name, perm, mode & ~ORCLOSE, None)
        return then(self.hold(fid, made), self._created, fid, mode, tag)

    def _open_made(self, node: Any) -> Any:
        return then(node.open(OREAD), lambda file: (node, file))

    def _created(self, made: tuple[Any, Any], fid: Any, mode: int, tag: int) -> bytes:
        node, file = made
        if file is None:
            fid.node = node
            return self.reply(tag, m.Rcreate(node.qid, 0))
        return self.opened(file, fid, node, mode, tag, m.Rcreate)

    def _make_special(self, parent: Any, name: str, perm: int, extension: str) -> Any:
        """A link, device, pipe or socket, as 9P2000.u asks for it by PERM and EXTENSION: its node."""
        if perm & DMSYMLINK:
            return parent.symlink(name, extension, None)
        if perm & DMLINK:
            extension = extension.rstrip("\n")  # of a Linux client
            if not extension.isdecimal():
                raise NinepError(errno.EINVAL, "a hard link's extension is the number of a fid")
            target = self.fid(int(extension)).node
            return then(parent.link(name, target), lambda _: target)
        major = minor = 0
        if perm & DMDEVICE:
            try:
                kind, major_text, minor_text = extension.split()
                major, minor = int(major_text), int(minor_text)
            except ValueError:
                kind = ""
            if kind not in ("b", "c"):
                raise NinepError(errno.EINVAL, "a device's extension is 'b' or 'c', major and minor number")
        return parent.mknod(name, perm, major, minor, None)

    def stat(self, tag: int, number: int) -> Reply:
        """By the manual's stat."""
        stat = self.fid(number).node.stat()
        if type(stat) is not Stat and isinstance(stat, Deferred):
            return stat.addCallback(self._have_stat, tag)
        return self._have_stat(stat, tag)

    def _have_stat(self, stat: Stat, tag: int) -> bytes:
        record = stat.record(self.dialect.extended)
        size = len(record)
        return self.fitting(_stat_head.pack(9 + size, _RSTAT, tag, size) + record)

    def wstat(self, tag: int, number: int, stat: Stat) -> Reply:
        """All changes or none; a stat that changes nothing asks to have everything on disk."""
        node = self.fid(number).node
        self._check_unchangeable(stat, node)
        changes = requested_changes(stat)
        if stat.name == node.name:
            changes = changes._replace(name=None)
        elif stat.name:
            self.check_name(stat.name)
        changed = node.sync() if changes == SetStat() else node.set_stat(changes)
        return then(changed, self.done, tag, m.Rwstat)

    def _check_unchangeable(self, stat: Stat, node: Any) -> None:
        """Refuse changes that no Twstat may ask for: kernel's numbers, qid, file to directory."""
        same = stat.type in (0, UNTOUCHED.type) and stat.dev in (0, UNTOUCHED.dev)
        if not same or stat.qid not in (_UNTOUCHED_QID, node.qid):
            raise NinepError(errno.EPERM, "type, dev and qid can't be changed", "wstat prohibited")
        if stat.mode != UNTOUCHED.mode and bool(stat.mode & DMDIR) != bool(node.qid.type & QTDIR):
            ename = "wstat can't convert between files and directories"
            raise NinepError(errno.EPERM, "a file can't become a directory, nor the reverse", ename)


class DirectoryReader:
    """Reads an open directory: whole stat records, from its start or from where the last read ended."""

    def __init__(self, directory: Any, extended: bool) -> None:
        self._directory = directory
        self._extended = extended
        self._offset = 0
        self._cookie = 0

    def read(self, offset: int, count: int) -> Any:
        """As many records as COUNT bytes hold.

        That may be none, which is no error: a Linux client asks to have the rest of its buffer filled.
        """
        if offset == 0:
            self._offset = self._cookie = 0
        elif offset != self._offset:
            raise NinepError(errno.ESPIPE)
        return self._fill([], count)

    def _fill(self, records: list[bytes], room: int) -> Any:
        """RECORDS, and after them those that fit into ROOM."""
        return then(self._directory.entries(self._cookie), self._fill_from, records, room)

    def _fill_from(self, entries: Any, records: list[bytes], room: int) -> Any:
        for cookie, node, _ in entries:
            try:
                stat = node.stat()
            except NinepError:  # removed since it was listed
                self._cookie = cookie
                continue
            if isinstance(stat, Deferred):
                arguments = (records, room, cookie)
                return stat.addCallbacks(
                    self._fill_on, self._fill_past, callbackArgs=arguments, errbackArgs=arguments
                )
            room = self._add(stat, records, room, cookie)
            if room < 0:
                break
        return b"".join(records)

    def _add(self, stat: Stat, records: list[bytes], room: int, cookie: int) -> int:
        """Add the record of STAT where it fits into ROOM; the room left, negative if not."""
        record = stat.record(self._extended)
        room -= len(record)
        if room >= 0:
            records.append(record)
            self._cookie = cookie
            self._offset += len(record)
        return room

    def _fill_on(self, stat: Stat, records: list[bytes], room: int, cookie: int) -> Any:
        room = self._add(stat, records, room, cookie)
        return b"".join(records) if room < 0 else self._fill(records, room)

    def _fill_past(self, failure: Any, records: list[bytes], room: int, cookie: int) -> Any:
        failure.trap(NinepError)
        self._cookie = cookie
        return self._fill(records, room)
