"""How a request is refused: one exception, and one table from error numbers to error strings.

9P2000 sends a string, 9P2000.L a number, 9P2000.u both.  A Linux client of 9P2000 looks the string up,
letter by letter, in the table of its net/9p/error.c, and shows "Unknown error 526" for all that it
doesn't find there; so every string here is one of that table.  Where it holds several for a number,
this one takes Plan 9's own words.
"""

from __future__ import annotations

import errno
import os

STRINGS: dict[int, str] = {
    errno.EPERM: "Operation not permitted",
    errno.ENOENT: "file not found",
    errno.EINTR: "Interrupted system call",
    errno.EIO: "i/o error",
    errno.ENXIO: "No such device or address",
    errno.E2BIG: "Argument list too long",
    errno.EBADF: "fid unknown or out of range",
    errno.EAGAIN: "Resource temporarily unavailable",
    errno.ENOMEM: "Cannot allocate memory",
    errno.EACCES: "permission denied",
    errno.EFAULT: "Bad address",
    errno.ENOTBLK: "Block device required",
    errno.EBUSY: "Device or resource busy",
    errno.EEXIST: "file already exists",
    errno.EXDEV: "Invalid cross-device link",
    errno.ENODEV: "No such device",
    errno.ENOTDIR: "not a directory",
    errno.EISDIR: "Is a directory",
    errno.EINVAL: "Invalid argument",
    errno.ENFILE: "Too many open files in system",
    errno.EMFILE: "Too many open files",
    errno.ETXTBSY: "Text file busy",
    errno.EFBIG: "File too large",
    errno.ENOSPC: "No space left on device",
    errno.ESPIPE: "bad offset in directory read",
    errno.EROFS: "read only file system",
    errno.EMLINK: "Too many links",
    errno.EPIPE: "Broken pipe",
    errno.EDOM: "Numerical argument out of domain",
    errno.ERANGE: "Numerical result out of range",
    errno.EDEADLK: "Resource deadlock avoided",
    errno.ENAMETOOLONG: "File name too long",
    errno.ENOLCK: "No locks available",
    errno.ENOSYS: "Function not implemented",
    errno.ENOTEMPTY: "directory is not empty",
    errno.ELOOP: "Too many levels of symbolic links",
    errno.ENODATA: "No data available",
    errno.EPROTO: "Protocol error",
    errno.EBADMSG: "Bad message",
    errno.EMSGSIZE: "Message too long",
    errno.EOPNOTSUPP: "Operation not supported",
    errno.ENOBUFS: "No buffer space available",
    errno.ETIMEDOUT: "Connection timed out",
    errno.ECONNREFUSED: "authentication failed",
    errno.EDQUOT: "Disk quota exceeded",
}
"""The string of each error number, as 9P2000 and 9P2000.u send it."""

NUMBERS: dict[str, int] = {string: number for number, string in STRINGS.items()} | {
    "Permission denied": errno.EACCES,
    "No such file or directory": errno.ENOENT,
    "file does not exist": errno.ENOENT,
    "directory entry not found": errno.ENOENT,
    "File exists": errno.EEXIST,
    "file exists": errno.EEXIST,
    "Not a directory": errno.ENOTDIR,
    "Directory not empty": errno.ENOTEMPTY,
    "Input/output error": errno.EIO,
    "Bad file descriptor": errno.EBADF,
    "bad use of fid": errno.EBADF,
    "fid already in use": errno.EBADF,
    "file already open for I/O": errno.ETXTBSY,
    "file is in use": errno.EAGAIN,
    "exclusive use file already open": errno.EAGAIN,
    "illegal mode": errno.EINVAL,
    "illegal name": errno.ENAMETOOLONG,
    "illegal offset": errno.EINVAL,
    "illegal path element": errno.ENOENT,
    "unknown user": errno.EINVAL,
    "wstat prohibited": errno.EPERM,
    "cannot remove root": errno.EPERM,
    "protocol botch": errno.EPROTO,
    "Read-only file system": errno.EROFS,
    "Illegal seek": errno.ESPIPE,
    "Connection refused": errno.ECONNREFUSED,
}
"""What a client makes of a 9P2000 server's string: the table above and other servers' words."""

_LARGEST = 511  # Linux takes 512 and more for its internal errors, and 0 for success.


class NinepError(Exception):
    """A request was refused.

    ERRNO is a number of the `errno` module.  SENTENCE says why, for people: it goes to a file
    system's own error file and to logs, not on the wire.  ENAME is the string for 9P2000 and
    9P2000.u, where it shall not be the one of the table.

    A number that no client understands (0, or 512 and above) becomes EIO.
    """

    def __init__(self, errno_: int, sentence: str = "", ename: str | None = None) -> None:
        super().__init__(errno_, sentence, ename)
        self.errno = errno_ if 0 < errno_ <= _LARGEST else errno.EIO
        self.sentence = sentence
        self.ename = ename or STRINGS.get(self.errno) or os.strerror(self.errno)

    def __str__(self) -> str:
        """The sentence, or else the string of the wire."""
        return self.sentence or self.ename


class ProtocolError(Exception):
    """Bytes that are no 9P message, or a reply that doesn't fit its request: the connection is lost."""


def from_string(ename: str) -> NinepError:
    """The error that a 9P2000 server meant by ENAME; EIO where its words are unknown."""
    return NinepError(NUMBERS.get(ename, errno.EIO), ename, ename)
