"""A file's attributes, in one form for all dialects, and their three forms on the wire.

Rstat and Twstat carry the record of stat(5), which 9P2000.u lengthens; directory reads of both are made
of such records.  Rgetattr of 9P2000.L carries what stat(2) knows.
"""

from __future__ import annotations

import math
import stat as unix
import struct
from typing import NamedTuple

from jobd.ninep.errors import ProtocolError
from jobd.ninep.interfaces import (
    DMDEVICE,
    DMDIR,
    DMNAMEDPIPE,
    DMSETGID,
    DMSETUID,
    DMSETVTX,
    DMSOCKET,
    DMSYMLINK,
    NONUNAME,
    Qid,
    SetStat,
)
from jobd.ninep.wire import NUMBER16, Kind, pack_string, read_block, read_string

_record_head = struct.Struct("<HHIBIQIIIQ")  # size type dev qid mode atime mtime length
_record_tail = struct.Struct("<III")  # n_uid n_gid n_muid
_attributes = struct.Struct("<BIQIIIQQQQQQQQQQQQQQQ")

_U16, _U32, _U64 = 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF

_UNIX_TYPES = {
    DMDIR: unix.S_IFDIR,
    DMSYMLINK: unix.S_IFLNK,
    DMDEVICE: unix.S_IFCHR,
    DMNAMEDPIPE: unix.S_IFIFO,
    DMSOCKET: unix.S_IFSOCK,
}
_UNIX_BITS = {DMSETUID: unix.S_ISUID, DMSETGID: unix.S_ISGID, DMSETVTX: unix.S_ISVTX}


class _Fields(NamedTuple):
    qid: Qid
    mode: int
    """The nine bits of Unix and `DM` bits."""
    length: int = 0
    """Bytes; 0 for a directory."""
    name: str = ""
    uid: str = ""
    gid: str = ""
    muid: str = ""
    """Who last changed it."""
    atime: float = 0.0
    """Seconds since 1970, as the other two; 9P2000 and 9P2000.u see whole ones."""
    mtime: float = 0.0
    ctime: float = 0.0
    n_uid: int = NONUNAME
    n_gid: int = NONUNAME
    n_muid: int = NONUNAME
    extension: str = ""
    """The target of a symbolic link; 'b MAJOR MINOR' or 'c MAJOR MINOR' of a device."""
    nlink: int = 1
    type: int = 0
    """For the kernel of the server, as is `dev`."""
    dev: int = 0


class Stat(_Fields):
    """A file's attributes.  It doesn't change, and keeps its packed forms: handing out one again is cheap.

    A Linux client of 9P2000.u or .L needs true `n_uid` and `n_gid`: with `NONUNAME` it refuses every write.
    """

    _plain: bytes | None = None
    _extended: bytes | None = None
    _linux: bytes | None = None

    def record(self, extended: bool) -> bytes:
        """The record of stat(5) with its size in front; EXTENDED as 9P2000.u has it."""
        packed = self._extended if extended else self._plain
        if packed is None:
            packed = self._pack_record(extended)
            if extended:
                self._extended = packed
            else:
                self._plain = packed
        return packed

    def attributes(self) -> bytes:
        """The body of an Rgetattr after its mask: from the qid on."""
        packed = self._linux
        if packed is None:
            packed = self._linux = self._pack_attributes()
        return packed

    def _pack_record(self, extended: bool) -> bytes:
        strings = b"".join(map(pack_string, (self.name, self.uid, self.gid, self.muid)))
        if extended:
            strings += pack_string(self.extension) + _record_tail.pack(self.n_uid, self.n_gid, self.n_muid)
        size = _record_head.size - 2 + len(strings)
        return (
            _record_head.pack(
                size,
                self.type,
                self.dev,
                *self.qid,
                self.mode,
                int(self.atime) & _U32,
                int(self.mtime) & _U32,
                self.length,
            )
            + strings
        )

    def _pack_attributes(self) -> bytes:
        return _attributes.pack(
            *self.qid,
            unix_mode(self.mode, self.extension),
            self.n_uid,
            self.n_gid,
            self.nlink,
            device_number(self.extension) if self.mode & DMDEVICE else 0,
            self.length,
            4096,
            (self.length + 511) // 512,
            *split_time(self.atime),
            *split_time(self.mtime),
            *split_time(self.ctime),
            *(0, 0, 0, 0),  # btime, gen and data_version, which the reply's mask never claims
        )


UNTOUCHED = Stat(
    qid=Qid(0xFF, _U32, _U64), mode=_U32, length=_U64, atime=_U32, mtime=_U32, type=_U16, dev=_U32
)
"""The stat of a Twstat that changes nothing: each field "don't touch"."""


def read_record(buffer: bytes, position: int, end: int, extended: bool) -> tuple[Stat, int]:
    """The record of stat(5) at POSITION, with its size in front: (stat, where the next begins)."""
    record, after = read_block(buffer, position, end)
    position, end = _record_head.size - 2, len(record)
    if end < position:
        raise ProtocolError("a stat record is too short")
    type_, dev, qtype, version, path, mode, atime, mtime, length = _record_body.unpack_from(record)
    strings = []
    for _ in range(5 if extended else 4):
        string, position = read_string(record, position, end)
        strings.append(string)
    numbers = (NONUNAME, NONUNAME, NONUNAME)
    if extended:
        if end - position < _record_tail.size:
            raise ProtocolError("a stat record ends before its numeric owners")
        numbers = _record_tail.unpack_from(record, position)
        position += _record_tail.size
    if position != end:
        raise ProtocolError(f"{end - position} bytes too many at the end of a stat record")
    name, uid, gid, muid, *extension = strings
    return Stat(
        Qid(qtype, version, path),
        mode,
        length,
        name,
        uid,
        gid,
        muid,
        atime,
        mtime,
        0.0,
        *numbers,
        extension[0] if extension else "",
        type=type_,
        dev=dev,
    ), after


_record_body = struct.Struct("<HIBIQIIIQ")


def _stat_kind(extended: bool) -> Kind:
    """The stat of an Rstat or Twstat: the record, and its length once more in front."""

    def read(buffer: bytes, position: int, end: int) -> tuple[Stat, int]:
        block, after = read_block(buffer, position, end)
        stat, last = read_record(block, 0, len(block), extended)
        if last != len(block):
            raise ProtocolError(f"{len(block) - last} bytes too many after a stat record")
        return stat, after

    def pack(stat: Stat) -> bytes:
        record = stat.record(extended)
        return NUMBER16.pack(len(record)) + record

    return Kind(read, pack)


PLAIN_STAT, EXTENDED_STAT = _stat_kind(False), _stat_kind(True)


def requested_changes(stat: Stat) -> SetStat:
    """What the STAT of a Twstat asks to change."""
    uid: str | int | None = stat.uid or None
    gid: str | int | None = stat.gid or None
    return SetStat(
        mode=None if stat.mode == _U32 else stat.mode,
        uid=uid if stat.n_uid == NONUNAME else stat.n_uid,
        gid=gid if stat.n_gid == NONUNAME else stat.n_gid,
        length=None if stat.length == _U64 else stat.length,
        atime=None if stat.atime == _U32 else float(stat.atime),
        mtime=None if stat.mtime == _U32 else float(stat.mtime),
        name=stat.name or None,
        muid=stat.muid or None,
    )


def stat_of_changes(changes: SetStat) -> Stat:
    """The stat of a Twstat that asks for CHANGES."""

    def owner(value: str | int | None) -> tuple[str, int]:
        return ("", value) if isinstance(value, int) else (value or "", NONUNAME)

    uid, n_uid = owner(changes.uid)
    gid, n_gid = owner(changes.gid)
    return UNTOUCHED._replace(
        mode=_U32 if changes.mode is None else changes.mode,
        length=_U64 if changes.length is None else changes.length,
        atime=_U32 if changes.atime is None else changes.atime,
        mtime=_U32 if changes.mtime is None else changes.mtime,
        name=changes.name or "",
        uid=uid,
        gid=gid,
        muid=changes.muid or "",
        n_uid=n_uid,
        n_gid=n_gid,
    )


def unix_permissions(mode: int) -> int:
    """The twelve permission bits of Unix for permissions with `DM` bits."""
    result = mode & 0o777
    for bit, unix_bit in _UNIX_BITS.items():
        if mode & bit:
            result |= unix_bit
    return result


def unix_mode(mode: int, extension: str = "") -> int:
    """The st_mode of a file whose permissions are MODE; a device is a block device by its EXTENSION."""
    result = unix_permissions(mode)
    for bit, unix_type in _UNIX_TYPES.items():
        if mode & bit:
            return result | (unix.S_IFBLK if bit == DMDEVICE and extension.startswith("b") else unix_type)
    return result | unix.S_IFREG


def ninep_mode(mode: int) -> int:
    """The permissions, with `DM` bits, of a file whose st_mode is MODE."""
    result = mode & 0o777
    for bit, unix_bit in _UNIX_BITS.items():
        if mode & unix_bit:
            result |= bit
    kind = unix.S_IFMT(mode)
    if kind == unix.S_IFBLK:
        return result | DMDEVICE
    for bit, unix_type in _UNIX_TYPES.items():
        if kind == unix_type:
            return result | bit
    return result


def device_number(extension: str) -> int:
    """The device number of 'c MAJOR MINOR', as Linux packs it into an Rgetattr; 0 if it is none.

    The layout is that of new_encode_dev() in the kernel's kdev_t.h.
    """
    try:
        _, major, minor = extension.split()
        return (int(minor) & 0xFF) | (int(major) << 8) | ((int(minor) & ~0xFF) << 12)
    except ValueError:
        return 0


def split_time(time: float) -> tuple[int, int]:
    """Seconds and nanoseconds of a time, as two 64 bit numbers."""
    whole = math.floor(time)
    return whole & _U64, int((time - whole) * 1e9)
