"""A 9P client for Twisted: every method gives a Deferred, to await or to add callbacks to.

    client = await connect(endpoint)
    print(await client.read_file("/jobs/hello/log"))

`NinepClient` works with paths, `RemoteFid` with fids, the same in every dialect; `NinepClient.request`
sends any message as it is.  A refusal of the server is a `NinepError`; a lost connection is Twisted's
ConnectionDone or ConnectionLost, and a server that breaks the protocol a ProtocolError.
"""

from __future__ import annotations

import errno
import functools
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IStreamClientEndpoint, ITCPTransport, IUNIXTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from jobd.ninep import messages as m
from jobd.ninep.client_session import ClientSession
from jobd.ninep.errors import NinepError, ProtocolError
from jobd.ninep.interfaces import NONUNAME, OAPPEND, OREAD, OTRUNC, OWRITE, SetStat
from jobd.ninep.remote import RemoteFid, deferred
from jobd.ninep.stat import Stat

_T = TypeVar("_T")


class NinepClient:
    """A connection on which a user is attached; paths are from the root of the tree, '/' between names."""

    def __init__(self, session: ClientSession) -> None:
        self.session = session
        self.root: RemoteFid | None = None
        """The fid of the first attach."""
        self.disconnect: Callable[[], object] = lambda: None
        """Ends the connection."""

    @deferred
    async def begin(self, version: str = m.VERSION_9P2000_L, msize: int = 1 << 17) -> str:
        """Negotiate; the version that is spoken from now on."""
        reply = await self.session.version(version, msize)
        return reply.version

    @deferred
    async def attach(self, uname: str = "", aname: str = "", n_uname: int | None = None) -> RemoteFid:
        """A fid for the root of the tree, as the user sees it."""
        number = self.session.take_fid()
        user = NONUNAME if n_uname is None else n_uname
        reply = await self.session.request(m.Tattach(number, m.NOFID, uname, aname, user), fid=number)
        fid = RemoteFid(self.session, number, reply.qid)
        if self.root is None:
            self.root = fid
        return fid

    def request(self, message: Any) -> Deferred[Any]:
        """Send any message; a Deferred of its reply. Fids it makes are the caller's: see `take_fid`."""
        return self.session.request(message)

    # By path

    @deferred
    async def walk(self, path: str) -> RemoteFid:
        """A fid for the file at PATH."""
        if self.root is None:
            raise NinepError(errno.EBADF, "nobody is attached")
        return await self.root.walk(*split_path(path))

    async def _with(self, path: str, use: Callable[[RemoteFid], Coroutine[Any, Any, _T]]) -> _T:
        """Walk to PATH, USE the fid, and clunk it whatever comes of that; a failing clunk is a failure."""
        fid = await self.walk(path)
        try:
            result = await use(fid)
        except Exception:
            await fid.clunk().addErrback(lambda _: None)
            raise
        await fid.clunk()
        return result

    @deferred
    async def open(self, path: str, mode: int = OREAD) -> RemoteFid:
        """An open fid for the file at PATH."""
        fid = await self.walk(path)
        try:
            return await fid.open(mode)
        except Exception:
            await fid.clunk().addErrback(lambda _: None)
            raise

    @deferred
    async def read_file(self, path: str) -> bytes:
        """All there is in the file at PATH."""

        async def read(fid: RemoteFid) -> bytes:
            await fid.open(OREAD)
            return await fid.read_all()

        return await self._with(path, read)

    @deferred
    async def write_file(self, path: str, data: bytes, append: bool = False, perm: int | None = None) -> None:
        """Make DATA the contents of the file at PATH, or add it at their end.

        What fits into one message is written by one. Where there is no such file it is made, if PERM
        says with which permissions.
        """

        async def write(fid: RemoteFid) -> None:
            await fid.open(OWRITE | (OAPPEND if append else OTRUNC))
            await fill(fid, (await fid.stat()).length if append else 0)

        async def create(directory: RemoteFid) -> None:
            assert perm is not None
            await directory.create(name, perm, OWRITE)
            await fill(directory, 0)

        async def fill(fid: RemoteFid, offset: int) -> None:
            if await fid.write(offset, data) < len(data):
                raise NinepError(errno.EIO, f"{path}: not all bytes were taken")

        try:
            await self._with(path, write)
        except NinepError as error:
            if error.errno != errno.ENOENT or perm is None:
                raise
            directory, _, name = path.rstrip("/").rpartition("/")
            await self._with(directory, create)

    @deferred
    async def listdir(self, path: str = "/") -> list[str]:
        """The names in the directory at PATH, in the server's order."""

        async def read(fid: RemoteFid) -> list[str]:
            await fid.open(OREAD)
            return [entry.name for entry in await fid.entries()]

        return await self._with(path, read)

    @deferred
    async def stat(self, path: str) -> Stat:
        """The attributes of the file at PATH, its name included."""

        async def stat(fid: RemoteFid) -> Stat:
            found = await fid.stat()
            names = split_path(path)
            return found if found.name else found._replace(name=names[-1] if names else "/")

        return await self._with(path, stat)

    @deferred
    async def set_stat(self, path: str, changes: SetStat) -> None:
        """Change attributes of the file at PATH."""

        async def change(fid: RemoteFid) -> None:
            await fid.set_stat(changes)

        await self._with(path, change)

    @deferred
    async def mkdir(self, path: str, perm: int = 0o777) -> None:
        """Make a directory at PATH."""
        directory, _, name = path.rstrip("/").rpartition("/")

        async def make(fid: RemoteFid) -> None:
            await fid.mkdir(name, perm)

        await self._with(directory, make)

    @deferred
    async def remove(self, path: str) -> None:
        """Remove the file or empty directory at PATH."""
        await (await self.walk(path)).remove()

    @deferred
    async def rename(self, path: str, newpath: str) -> None:
        """Move the file at PATH to NEWPATH; into another directory only 9P2000.L can, else EXDEV."""
        *directory, name = split_path(newpath) or [""]
        if self.session.dialect is not m.LINUX:
            if split_path(path)[:-1] != directory:
                raise NinepError(errno.EXDEV)
            await self.set_stat(path, SetStat(name=name))
            return

        async def into(target: RemoteFid) -> None:
            async def move(fid: RemoteFid) -> None:
                await fid.rename(target, name)

            await self._with(path, move)

        await self._with("/".join(directory), into)


def split_path(path: str) -> list[str]:
    """The names of PATH, without empty ones and '.'."""
    return [name for name in path.split("/") if name not in ("", ".")]


class NinepClientProtocol(Protocol):
    """Bytes between a transport and a `ClientSession`."""

    transport: Any

    def __init__(self, trace: Callable[[str], object] | None = None) -> None:
        self.session = ClientSession(self._write, trace)

    def _write(self, data: bytes) -> None:
        self.transport.write(data)

    def connectionMade(self) -> None:
        # Before 24.11, Twisted's unix sockets have the method too, and it fails.
        if ITCPTransport.providedBy(self.transport) and not IUNIXTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)

    def dataReceived(self, data: bytes) -> None:
        try:
            self.session.receive(data)
        except ProtocolError as error:
            self.session.lost(error)
            self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.session.closed is None:
            assert reason.value is not None
            self.session.lost(reason.value)


@deferred
async def connect(
    endpoint: IStreamClientEndpoint,
    version: str = m.VERSION_9P2000_L,
    msize: int = 1 << 17,
    uname: str = "",
    aname: str = "",
    n_uname: int | None = None,
    trace: Callable[[str], object] | None = None,
) -> NinepClient:
    """Connect to ENDPOINT, negotiate and attach: a client whose `root` is the root of the tree."""
    protocol: Any = await endpoint.connect(Factory.forProtocol(functools.partial(NinepClientProtocol, trace)))
    client = NinepClient(protocol.session)
    client.disconnect = protocol.transport.loseConnection
    try:
        await client.begin(version, msize)
        await client.attach(uname, aname, n_uname)
    except BaseException:
        client.disconnect()
        raise
    return client
