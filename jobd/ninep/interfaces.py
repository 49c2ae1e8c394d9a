"""What a file system hands out, and what the 9P session asks of it.

A session turns messages into calls of these interfaces, the same calls in every dialect: modes are
9P2000's (`OREAD` ... `OTRUNC`), permissions its `DM` bits with the nine of Unix, whatever the client
speaks.  See intro(5) of the Plan 9 manual for the words.

Rules that hold for every method:

* It is called in the reactor's thread and must not block.
* It answers with a value, or with a Deferred where it must wait.  An answer at once costs much less.
* A Deferred that is handed out is the session's own: it adds callbacks and may cancel it.  Where several
  requests wait for the same thing, each gets a new one.
* It refuses by raising `jobd.ninep.errors.NinepError` (or failing its Deferred with one).  Any other
  exception is logged with its traceback and answered as EIO.
* Requests on one file may overlap where an earlier one still waits.
* A Tflush cancels the Deferred of a *read* and answers when that is done; the Deferred of anything
  else is waited for, since a change may have been made already.

`jobd.ninep.files` has base classes with defaults for all of it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from zope.interface import Attribute, Interface

# Modes of open(5). The low two bits are one of the first four; the others are added.
OREAD, OWRITE, ORDWR, OEXEC = 0, 1, 2, 3
OTRUNC = 0x10
OCEXEC = 0x20
ORCLOSE = 0x40
OAPPEND = 0x80  # 9P2000.u and Linux
OEXCL = 0x1000  # 9P2000.u and Linux: a create that must not find the file

# Permissions of stat(5), above the nine bits of Unix.
DMDIR = 0x80000000
DMAPPEND = 0x40000000
DMEXCL = 0x20000000
DMTMP = 0x04000000
DMSYMLINK = 0x02000000  # this and the following: 9P2000.u
DMDEVICE = 0x00800000
DMNAMEDPIPE = 0x00200000
DMSOCKET = 0x00100000
DMSETUID = 0x00080000
DMSETGID = 0x00040000
DMSETVTX = 0x00010000

DMLINK = 0x01000000  # asks Tcreate for a further name of a file; never in a stat

# Types of a qid: the top byte of the permissions.
QTDIR, QTAPPEND, QTEXCL, QTAUTH, QTTMP, QTSYMLINK, QTFILE = 0x80, 0x40, 0x20, 0x08, 0x04, 0x02, 0x00

NONUNAME = 0xFFFFFFFF  # "no numeric user", on the wire


class Qid(NamedTuple):
    """A file's identity: two files of a server are the same where their paths are."""

    type: int
    """`QT` bits."""
    version: int
    """Counts changes of the contents; 32 bits."""
    path: int
    """Never used again for another file; 64 bits."""


class Attach(NamedTuple):
    """Who attaches, as far as the wire and the transport tell."""

    peer: Any
    """What the factory's `identify` said of the transport; None where there is no such thing."""
    uname: str
    n_uname: int | None
    """The numeric user of 9P2000.u and .L; None where the dialect has none or the client sent ~0."""
    aname: str


class SetStat(NamedTuple):
    """What a Twstat or Tsetattr asks to change; None is "don't touch"."""

    mode: int | None = None
    """Permissions with `DM` bits. From 9P2000.L: the nine bits of Unix and setuid, setgid, sticky."""
    uid: str | int | None = None
    gid: str | int | None = None
    length: int | None = None
    """Bytes."""
    atime: float | None = None
    """Seconds since 1970; -1.0 is the server's now (Tsetattr without the `_SET` bit)."""
    mtime: float | None = None
    name: str | None = None
    """A new name in the same directory (Twstat only)."""
    muid: str | None = None


class Statfs(NamedTuple):
    """statfs(2) of the whole file system, for Rstatfs."""

    type: int = 0x65735546
    """Linux hands it on as f_type. The default is FUSE's: GNU `tail -f` polls such a file system."""
    bsize: int = 4096
    blocks: int = 0
    bfree: int = 0
    bavail: int = 0
    files: int = 0
    ffree: int = 0
    fsid: int = 0
    namelen: int = 255


class Entry(NamedTuple):
    """One name in a directory."""

    cookie: int
    """Where a reader goes on after this entry: positive, below 2**63, ascending in a listing, and of
    the same meaning as long as the directory exists, whatever is added and removed meanwhile."""
    node: Any
    """An `INode`."""
    special: int = 0
    """Of a device, pipe or socket its `DM` bit, which a qid has no room for; else other bits or none."""


class IFilesystem(Interface):
    """A tree of files for 9P clients."""

    def attach(request: Attach) -> Any:
        """The root of the tree as the user of REQUEST sees it: an `INode`, or a Deferred of one.

        What the user may do is the node's affair: nodes that are walked to from it carry the user on.
        """

    def statfs() -> Statfs:
        """The file system's totals, or a Deferred of them."""


class INode(Interface):
    """A file or directory in its place in the tree, as one attached user sees it.

    A fid refers to a node.  Walking hands out nodes; there may be many for one file, which then have the
    same `qid.path`.  A node whose file was removed refuses with ENOENT, whatever has its name by now; its
    attributes may be asked, and what is open may be used, for as long as the file system keeps them.
    """

    name = Attribute("The last element of its path, a str; '/' for the root.")
    parent = Attribute("The node of its directory; the root's is itself.")
    qid = Attribute("Its `Qid`; cheap, since every walk asks.")

    def stat() -> Any:
        """Its `jobd.ninep.stat.Stat`, or a Deferred.

        The same object for as long as nothing changed spares packing it again.
        """

    def walk(name: str) -> Any:
        """The node called NAME in this directory, or a Deferred.  Never asked for '..' or '.'.

        NAME may hold surrogates where the client sent bytes that are not UTF-8.
        Refuses with ENOENT, and with ENOTDIR where this is no directory.
        """

    def open(mode: int) -> Any:
        """An `IOpenFile`, or for a directory an `IOpenDirectory`, or a Deferred of one.

        MODE is `OREAD` ... `OEXEC` with the added bits.  ORCLOSE is the session's affair.
        """

    def create(name: str, perm: int, mode: int, gid: int | None) -> Any:
        """Make a file in this directory and open it: (node, open file), or a Deferred.

        PERM has `DM` bits, never DMDIR.  GID is 9P2000.L's, else None.
        """

    def mkdir(name: str, perm: int, gid: int | None) -> Any:
        """Make a directory in this directory: its node, or a Deferred."""

    def symlink(name: str, target: str, gid: int | None) -> Any:
        """Make a symbolic link: its node, or a Deferred."""

    def mknod(name: str, perm: int, major: int, minor: int, gid: int | None) -> Any:
        """Make a device, pipe or socket: its node, or a Deferred."""

    def link(name: str, target: Any) -> Any:
        """Make NAME in this directory a further name of the node TARGET: None, or a Deferred."""

    def readlink() -> Any:
        """The target of a symbolic link, a str, or a Deferred."""

    def remove() -> Any:
        """Remove the file, or the empty directory: None, or a Deferred."""

    def rename(directory: Any, name: str) -> Any:
        """Move to NAME in the node DIRECTORY: None, or a Deferred.

        What is there already is replaced, as rename(2) does.
        """

    def set_stat(changes: SetStat) -> Any:
        """Make all of CHANGES or none of them: None, or a Deferred."""

    def sync() -> Any:
        """Have everything that was answered on disk (Tfsync, or a Twstat that touches nothing)."""

    def get_xattr(name: str) -> Any:
        """The value of an extended attribute, bytes, or a Deferred; with an empty NAME their names,
        each ended by a NUL byte.  ENODATA where there is none, EOPNOTSUPP where there never is.
        """

    def set_xattr(name: str, value: bytes, flags: int) -> Any:
        """Set an extended attribute: None, or a Deferred.

        An empty VALUE with `XATTR_REPLACE` removes it: so v9fs asks for that.
        """

    def lock(type: int, flags: int, start: int, length: int, pid: int, client: str) -> Any:
        """An advisory lock (Tlock): 0 success, 1 blocked, 2 error, 3 grace; or a Deferred of one."""

    def get_lock(type: int, start: int, length: int, pid: int, client: str) -> Any:
        """Who would be in the way of that lock: (type, start, length, pid, client), or a Deferred."""


class IOpenFile(Interface):
    """An open file, from its open to its clunk."""

    iounit = Attribute("The largest read or write that is one piece, in bytes; 0 leaves that to msize.")

    def read(offset: int, count: int) -> Any:
        """At most COUNT bytes from OFFSET, b"" at the end; or a Deferred, which a Tflush cancels."""

    def write(offset: int, data: bytes) -> Any:
        """Take DATA at OFFSET; how many bytes were taken, or a Deferred."""

    def close(clunked: bool) -> Any:
        """The fid is gone: None, or a Deferred that Rclunk waits for.

        CLUNKED is false where the client did not ask for it: its connection ended, or a new
        Tversion dropped all fids.
        """


class IOpenDirectory(Interface):
    """A directory open for reading."""

    def entries(after: int) -> Any:
        """An iterable of `Entry`, in ascending order of their cookies, from the first whose cookie is
        above AFTER (0: from the start); or a Deferred of one.  The session takes no more than fit.
        """

    def close(clunked: bool) -> Any:
        """As of `IOpenFile`."""
