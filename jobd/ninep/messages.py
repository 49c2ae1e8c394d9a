"""The messages of 9P2000, 9P2000.u and 9P2000.L, and their bytes.

Sources: section 5 of the Plan 9 manual; "Plan 9 Remote Resource Protocol Unix Extension" for 9P2000.u;
diod's protocol.md and the kernel's net/9p/client.c for 9P2000.L.

Each message is a NamedTuple whose annotations are its layout.  A message of which the dialects differ
only by fields at the end is one class, with defaults for the shorter form.
"""

from __future__ import annotations

import struct
from typing import Annotated, Any, NamedTuple

from jobd.ninep.errors import ProtocolError
from jobd.ninep.interfaces import NONUNAME
from jobd.ninep.stat import EXTENDED_STAT, PLAIN_STAT, Stat
from jobd.ninep.wire import (
    U8,
    U16,
    U32,
    U64,
    Data,
    Layout,
    Names,
    PerDialect,
    QidField,
    Qids,
    Str,
    StrExtended,
    U32Extended,
    U32Optional,
    compile_layout,
)

NOTAG = 0xFFFF
NOFID = 0xFFFFFFFF
IOHDRSZ = 24
"""What msize must leave beside the data of a read or write, by the convention of all clients."""
MAXWELEM = 16
"""The most names of one Twalk."""
VERSION_9P2000, VERSION_9P2000_U, VERSION_9P2000_L, VERSION_UNKNOWN = (
    "9P2000",
    "9P2000.u",
    "9P2000.L",
    "unknown",
)

HEAD = struct.Struct("<IBH")
"""What begins each message: its size with these four bytes, its type, its tag."""

StatField = Annotated[Stat, PerDialect(PLAIN_STAT, EXTENDED_STAT)]


class Tversion(NamedTuple):
    msize: U32
    version: Str


class Rversion(NamedTuple):
    msize: U32
    version: Str


class Tauth(NamedTuple):
    afid: U32
    uname: Str
    aname: Str
    n_uname: U32Extended = NONUNAME


class Rauth(NamedTuple):
    aqid: QidField


class Tattach(NamedTuple):
    fid: U32
    afid: U32
    uname: Str
    aname: Str
    n_uname: U32Extended = NONUNAME


class Rattach(NamedTuple):
    qid: QidField


class Rerror(NamedTuple):
    ename: Str
    errno: U32Extended = 0


class Tflush(NamedTuple):
    oldtag: U16


class Rflush(NamedTuple):
    pass


class Twalk(NamedTuple):
    fid: U32
    newfid: U32
    names: Names


class Rwalk(NamedTuple):
    qids: Qids


class Topen(NamedTuple):
    fid: U32
    mode: U8


class Ropen(NamedTuple):
    qid: QidField
    iounit: U32


class Tcreate(NamedTuple):
    fid: U32
    name: Str
    perm: U32
    mode: U8
    extension: StrExtended = ""


class Rcreate(NamedTuple):
    qid: QidField
    iounit: U32


class Tread(NamedTuple):
    fid: U32
    offset: U64
    count: U32  # type: ignore[assignment]  # tuple has a method of that name


class Rread(NamedTuple):
    data: Data


class Twrite(NamedTuple):
    fid: U32
    offset: U64
    data: Data


class Rwrite(NamedTuple):
    count: U32  # type: ignore[assignment]  # tuple has a method of that name


class Tclunk(NamedTuple):
    fid: U32


class Rclunk(NamedTuple):
    pass


class Tremove(NamedTuple):
    fid: U32


class Rremove(NamedTuple):
    pass


class Tstat(NamedTuple):
    fid: U32


class Rstat(NamedTuple):
    stat: StatField


class Twstat(NamedTuple):
    fid: U32
    stat: StatField


class Rwstat(NamedTuple):
    pass


class Rlerror(NamedTuple):
    ecode: U32


class Tstatfs(NamedTuple):
    fid: U32


class Rstatfs(NamedTuple):
    type: U32
    bsize: U32
    blocks: U64
    bfree: U64
    bavail: U64
    files: U64
    ffree: U64
    fsid: U64
    namelen: U32


class Tlopen(NamedTuple):
    fid: U32
    flags: U32


class Rlopen(NamedTuple):
    qid: QidField
    iounit: U32


class Tlcreate(NamedTuple):
    fid: U32
    name: Str
    flags: U32
    mode: U32
    gid: U32


class Rlcreate(NamedTuple):
    qid: QidField
    iounit: U32


class Tsymlink(NamedTuple):
    fid: U32
    name: Str
    target: Str
    gid: U32


class Rsymlink(NamedTuple):
    qid: QidField


class Tmknod(NamedTuple):
    dfid: U32
    name: Str
    mode: U32
    major: U32
    minor: U32
    gid: U32


class Rmknod(NamedTuple):
    qid: QidField


class Trename(NamedTuple):
    fid: U32
    dfid: U32
    name: Str


class Rrename(NamedTuple):
    pass


class Treadlink(NamedTuple):
    fid: U32


class Rreadlink(NamedTuple):
    target: Str


class Tgetattr(NamedTuple):
    fid: U32
    mask: U64


class Rgetattr(NamedTuple):
    valid: U64
    qid: QidField
    mode: U32
    uid: U32
    gid: U32
    nlink: U64
    rdev: U64
    size: U64
    blksize: U64
    blocks: U64
    atime_sec: U64
    atime_nsec: U64
    mtime_sec: U64
    mtime_nsec: U64
    ctime_sec: U64
    ctime_nsec: U64
    btime_sec: U64
    btime_nsec: U64
    gen: U64
    data_version: U64


class Tsetattr(NamedTuple):
    fid: U32
    valid: U32
    mode: U32
    uid: U32
    gid: U32
    size: U64
    atime_sec: U64
    atime_nsec: U64
    mtime_sec: U64
    mtime_nsec: U64


class Rsetattr(NamedTuple):
    pass


class Txattrwalk(NamedTuple):
    fid: U32
    newfid: U32
    name: Str


class Rxattrwalk(NamedTuple):
    size: U64


class Txattrcreate(NamedTuple):
    fid: U32
    name: Str
    size: U64
    flags: U32


class Rxattrcreate(NamedTuple):
    pass


class Treaddir(NamedTuple):
    fid: U32
    offset: U64
    count: U32  # type: ignore[assignment]  # tuple has a method of that name


class Rreaddir(NamedTuple):
    data: Data


class Tfsync(NamedTuple):
    fid: U32
    datasync: U32Optional = 0  # older clients end before it


class Rfsync(NamedTuple):
    pass


class Tlock(NamedTuple):
    fid: U32
    type: U8
    flags: U32
    start: U64
    length: U64
    proc_id: U32
    client_id: Str


class Rlock(NamedTuple):
    status: U8


class Tgetlock(NamedTuple):
    fid: U32
    type: U8
    start: U64
    length: U64
    proc_id: U32
    client_id: Str


class Rgetlock(NamedTuple):
    type: U8
    start: U64
    length: U64
    proc_id: U32
    client_id: Str


class Tlink(NamedTuple):
    dfid: U32
    fid: U32
    name: Str


class Rlink(NamedTuple):
    pass


class Tmkdir(NamedTuple):
    dfid: U32
    name: Str
    mode: U32
    gid: U32


class Rmkdir(NamedTuple):
    qid: QidField


class Trenameat(NamedTuple):
    olddirfid: U32
    oldname: Str
    newdirfid: U32
    newname: Str


class Rrenameat(NamedTuple):
    pass


class Tunlinkat(NamedTuple):
    dirfd: U32
    name: Str
    flags: U32


class Runlinkat(NamedTuple):
    pass


_COMMON: dict[int, Any] = {
    100: Tversion, 101: Rversion,
    102: Tauth, 103: Rauth,
    104: Tattach, 105: Rattach,
    108: Tflush, 109: Rflush,
    110: Twalk, 111: Rwalk,
    116: Tread, 117: Rread,
    118: Twrite, 119: Rwrite,
    120: Tclunk, 121: Rclunk,
    122: Tremove, 123: Rremove,
}  # fmt: skip
_PLAN9: dict[int, Any] = _COMMON | {
    107: Rerror,
    112: Topen, 113: Ropen,
    114: Tcreate, 115: Rcreate,
    124: Tstat, 125: Rstat,
    126: Twstat, 127: Rwstat,
}  # fmt: skip
_LINUX: dict[int, Any] = _COMMON | {
    7: Rlerror,
    8: Tstatfs, 9: Rstatfs,
    12: Tlopen, 13: Rlopen,
    14: Tlcreate, 15: Rlcreate,
    16: Tsymlink, 17: Rsymlink,
    18: Tmknod, 19: Rmknod,
    20: Trename, 21: Rrename,
    22: Treadlink, 23: Rreadlink,
    24: Tgetattr, 25: Rgetattr,
    26: Tsetattr, 27: Rsetattr,
    30: Txattrwalk, 31: Rxattrwalk,
    32: Txattrcreate, 33: Rxattrcreate,
    40: Treaddir, 41: Rreaddir,
    50: Tfsync, 51: Rfsync,
    52: Tlock, 53: Rlock,
    54: Tgetlock, 55: Rgetlock,
    70: Tlink, 71: Rlink,
    72: Tmkdir, 73: Rmkdir,
    74: Trenameat, 75: Rrenameat,
    76: Tunlinkat, 77: Runlinkat,
}  # fmt: skip

TYPES: dict[Any, int] = {cls: type_ for type_, cls in (_PLAN9 | _LINUX).items()}
"""The type number of each message class."""
NAMES: dict[int, str] = {type_: cls.__name__ for cls, type_ in TYPES.items()}


class Dialect:
    """A version of the protocol: its name, and the layout of each of its messages."""

    def __init__(self, version: str, classes: dict[int, Any], extended: bool) -> None:
        self.version = version
        self.extended = extended
        """Whether messages and stat records have the further fields of 9P2000.u."""
        self.layouts: dict[int, Layout] = {
            type_: compile_layout(cls, extended) for type_, cls in classes.items()
        }

    def __repr__(self) -> str:
        return f"<Dialect {self.version}>"

    def refusal(self, ename: str, errno: int) -> Any:
        """The message that refuses a request."""
        return Rerror(ename, errno) if TYPES[Rerror] in self.layouts else Rlerror(errno)


PLAIN = Dialect(VERSION_9P2000, _PLAN9, extended=False)
UNIX = Dialect(VERSION_9P2000_U, _PLAN9, extended=True)
LINUX = Dialect(VERSION_9P2000_L, _LINUX, extended=True)
DIALECTS: dict[str, Dialect] = {dialect.version: dialect for dialect in (PLAIN, UNIX, LINUX)}


class Frame(NamedTuple):
    """A decoded message."""

    tag: int
    message: Any
    """A message class's instance."""


def decode(buffer: bytes, dialect: Dialect = PLAIN) -> Frame:
    """The message whose bytes BUFFER holds, no more and no less; raises ProtocolError for any other bytes."""
    if len(buffer) < HEAD.size:
        raise ProtocolError(f"a message of {len(buffer)} bytes")
    size, type_, tag = HEAD.unpack_from(buffer)
    if size != len(buffer):
        raise ProtocolError(f"a message of {len(buffer)} bytes that says it has {size}")
    layout = dialect.layouts.get(type_)
    if layout is None:
        raise ProtocolError(f"{dialect.version} has no message of type {type_}")
    return Frame(tag, layout.cls._make(layout.unpack(buffer, HEAD.size, size)))


def encode(tag: int, message: Any, dialect: Dialect = PLAIN) -> bytes:
    """The bytes of MESSAGE.  A field that can't be packed raises struct.error or UnicodeEncodeError."""
    type_ = TYPES[type(message)]
    body = dialect.layouts[type_].pack(message)
    return HEAD.pack(HEAD.size + len(body), type_, tag) + body
