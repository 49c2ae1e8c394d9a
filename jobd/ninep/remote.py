"""A file of a 9P server, as its client holds it: a fid, and what can be asked of it in every dialect.

Where a dialect has no message for something, EOPNOTSUPP is raised.
"""

from __future__ import annotations

import errno
import functools
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple, ParamSpec, TypeVar

from twisted.internet.defer import Deferred

from jobd.ninep import linux
from jobd.ninep import messages as m
from jobd.ninep.client_session import ClientSession
from jobd.ninep.errors import NinepError, ProtocolError
from jobd.ninep.interfaces import (
    DMDEVICE,
    DMDIR,
    DMLINK,
    DMSYMLINK,
    NONUNAME,
    OREAD,
    OWRITE,
    QTDIR,
    Qid,
    SetStat,
    Statfs,
)
from jobd.ninep.stat import (
    UNTOUCHED,
    Stat,
    ninep_mode,
    read_record,
    stat_of_changes,
    unix_mode,
    unix_permissions,
)

_P = ParamSpec("_P")
_T = TypeVar("_T")


def deferred(function: Callable[_P, Coroutine[Deferred[Any], Any, _T]]) -> Callable[_P, Deferred[_T]]:
    """Make a coroutine function one that gives a Deferred."""

    @functools.wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> Deferred[_T]:
        return Deferred.fromCoroutine(function(*args, **kwargs))

    return call


class RemoteEntry(NamedTuple):
    """One name in a directory."""

    name: str
    qid: Qid


class RemoteFid:
    """A fid of the server: a file or directory there, open or not."""

    def __init__(self, session: ClientSession, number: int, qid: Qid) -> None:
        self.session = session
        self.number = number
        self.qid = qid
        self.iounit = 0
        """Bytes of the largest read or write in one message, once it is open."""

    @property
    def is_directory(self) -> bool:
        return bool(self.qid.type & QTDIR)

    def _request(self, message: Any) -> Deferred[Any]:
        return self.session.request(message)

    @property
    def _is_linux(self) -> bool:
        return self.session.dialect is m.LINUX

    # Walking, opening, ending

    @deferred
    async def walk(self, *names: str) -> RemoteFid:
        """A new fid for what is found by walking NAMES from here, or for the same file without them.

        ENOENT where only the first of them exist.
        """
        fid = await self._walk(names[: m.MAXWELEM])
        for start in range(m.MAXWELEM, len(names), m.MAXWELEM):
            nearer = fid
            try:
                fid = await nearer._walk(names[start : start + m.MAXWELEM])
            finally:
                await nearer.clunk()
        return fid

    async def _walk(self, names: tuple[str, ...]) -> RemoteFid:
        session = self.session
        number = session.take_fid()
        reply = await session.request(m.Twalk(self.number, number, names), fid=number)
        if len(reply.qids) < len(names):
            session.free_fid(number)
            raise NinepError(errno.ENOENT)
        return RemoteFid(self.session, number, reply.qids[-1] if names else self.qid)

    @deferred
    async def open(self, mode: int = OREAD) -> RemoteFid:
        """Open it for reading, or as MODE says; gives itself."""
        message = (
            m.Tlopen(self.number, linux.linux_flags(mode)) if self._is_linux else m.Topen(self.number, mode)
        )
        return self._opened(await self._request(message))

    @deferred
    async def create(self, name: str, perm: int = 0o666, mode: int = OWRITE) -> RemoteFid:
        """Make the file NAME in this directory and open it; this fid becomes the file's. Gives itself."""
        if self._is_linux:
            flags = linux.linux_flags(mode) | linux.L_CREATE | linux.L_EXCL
            message: Any = m.Tlcreate(self.number, name, flags, unix_permissions(perm), NONUNAME)
        else:
            message = m.Tcreate(self.number, name, perm, mode)
        return self._opened(await self._request(message))

    def _opened(self, reply: Any) -> RemoteFid:
        self.qid = reply.qid
        largest = self.session.largest
        self.iounit = min(reply.iounit or largest, largest)
        return self

    @deferred
    async def clunk(self) -> None:
        """The fid is gone, even where this fails."""
        await self._end(m.Tclunk(self.number))

    @deferred
    async def remove(self) -> None:
        """Remove the file. The fid is gone, even where this fails."""
        await self._end(m.Tremove(self.number))

    async def _end(self, message: Any) -> None:
        try:
            await self._request(message)
        finally:
            self.session.free_fid(self.number)

    # Reading and writing

    @deferred
    async def read(self, offset: int, count: int | None = None) -> bytes:
        """What one message brings: at most COUNT bytes from OFFSET, b"" at the end."""
        largest = self.iounit or self.session.largest
        count = largest if count is None else min(count, largest)
        reply = await self._request(m.Tread(self.number, offset, count))
        if len(reply.data) > count:
            raise ProtocolError(f"{len(reply.data)} bytes were read where {count} were asked for")
        return bytes(reply.data)

    @deferred
    async def read_all(self) -> bytes:
        """All there is, until a read brings nothing."""
        parts = []
        offset = 0
        while part := await self.read(offset):
            parts.append(part)
            offset += len(part)
        return b"".join(parts)

    @deferred
    async def write(self, offset: int, data: bytes) -> int:
        """Write DATA at OFFSET, in as many messages as it takes; how many bytes were taken."""
        size = self.iounit or self.session.largest
        done = 0
        while True:
            part = data[done : done + size]
            reply = await self._request(m.Twrite(self.number, offset + done, part))
            done += reply.count
            if done >= len(data) or reply.count == 0:
                return int(done)

    @deferred
    async def entries(self) -> list[RemoteEntry]:
        """What is in this directory, which is open; without '.' and '..'."""
        if not self.is_directory:
            raise NinepError(errno.ENOTDIR)
        if not self._is_linux:
            return [RemoteEntry(stat.name, stat.qid) for stat in await self.stats()]
        entries: list[RemoteEntry] = []
        offset = 0
        while True:
            reply = await self._request(m.Treaddir(self.number, offset, self.session.largest))
            if not reply.data:
                return entries
            for qid, offset, _, name in linux.read_dirents(reply.data):  # noqa: B007
                if name not in (".", ".."):
                    entries.append(RemoteEntry(name, qid))

    @deferred
    async def stats(self) -> list[Stat]:
        """The stat of each file in this directory, which is open: one read in 9P2000 and 9P2000.u."""
        if not self.is_directory:
            raise NinepError(errno.ENOTDIR)
        stats: list[Stat] = []
        if self._is_linux:
            for entry in await self.entries():
                fid = await self.walk(entry.name)
                try:
                    stats.append(await fid.stat())
                finally:
                    await fid.clunk()
            return stats
        data = await self.read_all()
        position = 0
        while position < len(data):
            stat, position = read_record(data, position, len(data), self.session.dialect.extended)
            stats.append(stat)
        return stats

    # Attributes

    @deferred
    async def stat(self) -> Stat:
        """Its attributes; in 9P2000.L the name is that by which it was found, and owners are numbers."""
        if not self._is_linux:
            stat: Stat = (await self._request(m.Tstat(self.number))).stat
            return stat
        return _stat_of_getattr(await self._request(m.Tgetattr(self.number, linux.GETATTR_BASIC)))

    @deferred
    async def set_stat(self, changes: SetStat) -> None:
        """Make CHANGES; in 9P2000.L the name is `rename`'s to change."""
        if not self._is_linux:
            await self._request(m.Twstat(self.number, stat_of_changes(changes)))
            return
        if changes.name is not None:
            raise NinepError(errno.EOPNOTSUPP, "9P2000.L moves a file by its directory: see rename")
        fields = linux.setattr_of_changes(changes)
        if fields[0]:
            await self._request(m.Tsetattr(self.number, *fields))

    @deferred
    async def sync(self) -> None:
        """Have everything on disk that was answered."""
        await self._request(m.Tfsync(self.number) if self._is_linux else m.Twstat(self.number, UNTOUCHED))

    @deferred
    async def statfs(self) -> Statfs:
        return Statfs(*await self._request(self._only_linux(m.Tstatfs(self.number))))

    @deferred
    async def get_xattr(self, name: str = "") -> bytes:
        """The value of an extended attribute; without NAME the names of all, each ended by a NUL byte."""
        session = self.session
        number = session.take_fid()
        message = self._only_linux(m.Txattrwalk(self.number, number, name))
        reply = await session.request(message, fid=number)
        fid = RemoteFid(self.session, number, self.qid)
        try:
            value = await fid.read_all()
        finally:
            await fid.clunk()
        if len(value) != reply.size:
            raise ProtocolError(f"{len(value)} of {reply.size} bytes of an extended attribute came")
        return value

    @deferred
    async def set_xattr(self, name: str, value: bytes, flags: int = 0) -> None:
        """Set an extended attribute."""
        fid = await self.walk()
        try:
            await self._request(self._only_linux(m.Txattrcreate(fid.number, name, len(value), flags)))
            if value:
                await fid.write(0, value)
        except Exception:
            await fid.clunk().addErrback(lambda _: None)
            raise
        await fid.clunk()

    @deferred
    async def lock(
        self, type: int, flags: int = 0, start: int = 0, length: int = 0, pid: int = 0, client: str = ""
    ) -> int:
        """Ask for an advisory lock; the status of Rlock, 0 for success."""
        message = m.Tlock(self.number, type, flags, start, length, pid, client)
        return int((await self._request(self._only_linux(message))).status)

    @deferred
    async def get_lock(
        self, type: int, start: int = 0, length: int = 0, pid: int = 0, client: str = ""
    ) -> m.Rgetlock:
        """Who is in the way of that lock; its type is F_UNLCK where nobody is."""
        message = m.Tgetlock(self.number, type, start, length, pid, client)
        reply: m.Rgetlock = await self._request(self._only_linux(message))
        return reply

    # What is in a directory

    @deferred
    async def mkdir(self, name: str, perm: int = 0o777) -> None:
        """Make a directory in this one."""
        if self._is_linux:
            await self._request(m.Tmkdir(self.number, name, unix_permissions(perm), NONUNAME))
        else:
            await self._make(m.Tcreate(0, name, DMDIR | perm, OREAD))

    @deferred
    async def symlink(self, name: str, target: str) -> None:
        """Make a symbolic link in this directory."""
        if self._is_linux:
            await self._request(m.Tsymlink(self.number, name, target, NONUNAME))
        else:
            await self._make(m.Tcreate(0, name, DMSYMLINK | 0o777, OREAD, target))

    @deferred
    async def mknod(self, name: str, perm: int, major: int = 0, minor: int = 0, block: bool = False) -> None:
        """Make a device, pipe or socket in this directory: PERM has the `DM` bit that says which."""
        extension = f"{'b' if block else 'c'} {major} {minor}" if perm & DMDEVICE else ""
        if self._is_linux:
            mode = unix_mode(perm, extension)
            await self._request(m.Tmknod(self.number, name, mode, major, minor, NONUNAME))
        else:
            await self._make(m.Tcreate(0, name, perm, OREAD, extension))

    @deferred
    async def link(self, name: str, target: RemoteFid) -> None:
        """Make NAME in this directory a further name of the file TARGET."""
        if self._is_linux:
            await self._request(m.Tlink(self.number, target.number, name))
        else:
            await self._make(m.Tcreate(0, name, DMLINK, OREAD, str(target.number)))

    async def _make(self, message: m.Tcreate) -> None:
        if message.perm & ~(DMDIR | 0o777) and self.session.dialect is m.PLAIN:
            raise NinepError(errno.EOPNOTSUPP)
        fid = await self.walk()
        try:
            await self._request(message._replace(fid=fid.number))
        finally:
            await fid.clunk()

    @deferred
    async def readlink(self) -> str:
        """The target of a symbolic link."""
        if self._is_linux:
            return str((await self._request(m.Treadlink(self.number))).target)
        stat = await self.stat()
        if not stat.mode & DMSYMLINK:
            raise NinepError(errno.EINVAL)
        return stat.extension

    @deferred
    async def rename(self, directory: RemoteFid, name: str) -> None:
        """Move to NAME in DIRECTORY. Only 9P2000.L can; elsewhere `set_stat` changes the name."""
        await self._request(self._only_linux(m.Trename(self.number, directory.number, name)))

    @deferred
    async def unlink(self, name: str) -> None:
        """Remove NAME, a file or an empty directory, from this directory."""
        await (await self.walk(name)).remove()

    def _only_linux(self, message: Any) -> Any:
        if not self._is_linux:
            raise NinepError(errno.EOPNOTSUPP)
        return message


def _stat_of_getattr(reply: m.Rgetattr) -> Stat:
    return Stat(
        reply.qid,
        ninep_mode(reply.mode),
        reply.size,
        atime=reply.atime_sec + reply.atime_nsec / 1e9,
        mtime=reply.mtime_sec + reply.mtime_nsec / 1e9,
        ctime=reply.ctime_sec + reply.ctime_nsec / 1e9,
        n_uid=reply.uid,
        n_gid=reply.gid,
        nlink=reply.nlink,
    )
