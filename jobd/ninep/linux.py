"""Numbers of 9P2000.L that are Linux's, and what they are in the words of 9P2000.

They are the same on every machine: P9_DOTL_* and P9_*ATTR_* of the kernel's include/net/9p/9p.h.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator

from jobd.ninep.errors import NinepError, ProtocolError
from jobd.ninep.interfaces import (
    DMDEVICE,
    DMNAMEDPIPE,
    DMSOCKET,
    OAPPEND,
    OEXEC,
    OREAD,
    OTRUNC,
    QTDIR,
    QTSYMLINK,
    Qid,
    SetStat,
)
from jobd.ninep.stat import ninep_mode, split_time, unix_permissions

# Flags of Tlopen and Tlcreate.
L_ACCMODE, L_CREATE, L_EXCL, L_TRUNC = 0o3, 0o100, 0o200, 0o1000
L_APPEND, L_DIRECTORY = 0o2000, 0o200000

# Bits of Tgetattr's mask and Rgetattr's valid.
GETATTR_BASIC = 0x7FF
"""What stat(2) knows, and not birth time, generation or data version."""

# Bits of Tsetattr's valid.
SET_MODE, SET_UID, SET_GID, SET_SIZE, SET_ATIME, SET_MTIME = 0x1, 0x2, 0x4, 0x8, 0x10, 0x20
SET_CTIME, SET_ATIME_SET, SET_MTIME_SET = 0x40, 0x80, 0x100

AT_REMOVEDIR = 0x200  # Tunlinkat

F_RDLCK, F_WRLCK, F_UNLCK = 0, 1, 2  # Tlock, Tgetlock

DT_UNKNOWN, DT_FIFO, DT_DIR, DT_REG, DT_LNK, DT_SOCK = 0, 1, 4, 8, 10, 12  # Rreaddir

_dirent = struct.Struct("<BIQQBH")  # qid cookie type, and the length of the name


def ninep_flags(flags: int) -> int:
    """The mode of 9P2000 for the flags of open(2)."""
    mode = flags & L_ACCMODE
    if mode == L_ACCMODE:
        raise NinepError(errno.EINVAL, "neither for reading nor for writing", "illegal mode")
    if flags & L_TRUNC:
        mode |= OTRUNC
    if flags & L_APPEND:
        mode |= OAPPEND
    return mode


def linux_flags(mode: int) -> int:
    """The flags of open(2) for a mode of 9P2000."""
    flags = OREAD if mode & 3 == OEXEC else mode & 3
    if mode & OTRUNC:
        flags |= L_TRUNC
    if mode & OAPPEND:
        flags |= L_APPEND
    return flags


def dirent_type(qid_type: int, special: int) -> int:
    """The d_type of a directory entry, as far as its qid and SPECIAL, a `DM` bit, tell."""
    if special & (DMDEVICE | DMNAMEDPIPE | DMSOCKET):
        # Whether a device is a block device is for stat to say.
        return DT_UNKNOWN if special & DMDEVICE else DT_FIFO if special & DMNAMEDPIPE else DT_SOCK
    return DT_DIR if qid_type & QTDIR else DT_LNK if qid_type & QTSYMLINK else DT_REG


def pack_dirent(qid: Qid, cookie: int, name: bytes, special: int = 0) -> bytes:
    """An entry of an Rreaddir; SPECIAL is as in `Entry`."""
    return _dirent.pack(*qid, cookie, dirent_type(qid.type, special), len(name)) + name


def read_dirents(data: bytes) -> Iterator[tuple[Qid, int, int, str]]:
    """The entries of an Rreaddir, qid, cookie, type and name of each; ProtocolError for other bytes."""
    position = 0
    while position < len(data):
        if len(data) - position < _dirent.size:
            raise ProtocolError("an Rreaddir ends in the middle of an entry")
        *qid, cookie, type_, size = _dirent.unpack_from(data, position)
        position += _dirent.size
        name = data[position : position + size]
        if len(name) < size:
            raise ProtocolError("an Rreaddir ends in the middle of a name")
        position += size
        yield Qid(*qid), cookie, type_, name.decode("utf-8", "surrogateescape")


def changes_of_setattr(valid: int, mode: int, uid: int, gid: int, size: int, *times: int) -> SetStat:
    """What a Tsetattr with these fields asks to change.

    TIMES are seconds and nanoseconds of atime, then those of mtime.
    """
    return SetStat(
        mode=ninep_mode(mode & 0o7777) if valid & SET_MODE else None,
        uid=uid if valid & SET_UID else None,
        gid=gid if valid & SET_GID else None,
        length=size if valid & SET_SIZE else None,
        atime=_time(valid, SET_ATIME, SET_ATIME_SET, *times[:2]),
        mtime=_time(valid, SET_MTIME, SET_MTIME_SET, *times[2:]),
    )


def _time(valid: int, bit: int, set_bit: int, seconds: int, nanoseconds: int) -> float | None:
    """A time of Tsetattr: -1.0 is the server's now."""
    if not valid & bit:
        return None
    return seconds + nanoseconds / 1e9 if valid & set_bit else -1.0


def setattr_of_changes(changes: SetStat) -> tuple[int, ...]:
    """The fields of the Tsetattr that asks for CHANGES, from valid on.  Owners must be numbers."""
    valid = 0
    fields = []
    for value, bit in (
        (None if changes.mode is None else unix_permissions(changes.mode), SET_MODE),
        (changes.uid, SET_UID),
        (changes.gid, SET_GID),
        (changes.length, SET_SIZE),
    ):
        if isinstance(value, str):
            raise NinepError(errno.EINVAL, "9P2000.L knows owners by number only")
        valid |= 0 if value is None else bit
        fields.append(value or 0)
    for time, bit, set_bit in (
        (changes.atime, SET_ATIME, SET_ATIME_SET),
        (changes.mtime, SET_MTIME, SET_MTIME_SET),
    ):
        seconds = nanoseconds = 0
        if time is not None:
            valid |= bit
            if time >= 0:
                valid |= set_bit
                seconds, nanoseconds = split_time(time)
        fields += [seconds, nanoseconds]
    return (valid, *fields)
