"""Who is at the other end, and what they may do."""

from __future__ import annotations

import errno
import os
import pwd
import socket
import struct
import time
from collections.abc import Callable
from typing import Any
from unittest import skipUnless

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.policies import WrappingFactory
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import directlyProvides, noLongerProvides

from jobd import sockdiag
from jobd.access import Access, AccessError, Accounts, Peer, User, describe, identify
from jobd.jobs.errors import JobError
from jobd.sockdiag import Endpoint, endpoint, find, owner_of

OTHER = 65534
root_only = skipUnless(os.geteuid() == 0, "giving a socket to another user takes root")

ROOT = User(0, 0, "root", frozenset({0}))
GLENDA = User(1000, 1000, "glenda", frozenset({1000, 50}))
NOBODY = User.by_name("nobody")


def connected(family: int, listen: str, connect: str) -> tuple[socket.socket, socket.socket]:
    """The client's end and the server's of a TCP connection."""
    with socket.socket(family) as listener:
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind((listen, 0))
        listener.listen()
        client = socket.create_connection((connect, listener.getsockname()[1]))
        server, _ = listener.accept()
        return client, server


def abort(connection: socket.socket) -> None:
    """End CONNECTION by a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def has_ipv6() -> bool:
    """Whether ::1 can be used."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


class FakeAccounts(Accounts):
    """Accounts that a test says."""

    def __init__(self, **uids: int) -> None:
        super().__init__()
        self._known = uids

    def find_uid(self, name: str) -> int | None:
        return self._known.get(name)


class OwnerOf(SynchronousTestCase):
    """Which owners of which sockets are believed."""

    def pair(self, family: int = socket.AF_INET, listen: str = "127.0.0.1", connect: str = "") -> Any:
        client, server = connected(family, listen, connect or listen)
        self.addCleanup(client.close)
        self.addCleanup(server.close)
        return client, server

    def test_open(self) -> None:
        """An open connection's peer belongs to who made it, over IPv4."""
        _, server = self.pair()
        self.assertEqual(owner_of(server), os.geteuid())

    @skipUnless(has_ipv6(), "this machine has no IPv6")
    def test_families(self) -> None:
        """So does one over IPv6, and one of IPv4 to a socket of IPv6, with either kind of client."""
        for listen, connect in (
            ("::1", "::1"),
            ("::", "::1"),
            ("::", "127.0.0.1"),
            ("::", "::ffff:127.0.0.1"),
        ):
            with self.subTest(listen=listen, connect=connect):
                _, server = self.pair(socket.AF_INET6, listen, connect)
                self.assertEqual(owner_of(server), os.geteuid())

    def test_any_local_address(self) -> None:
        """So does one over any other address of this machine."""
        _, server = self.pair(socket.AF_INET, "127.1.2.3")
        self.assertEqual(owner_of(server), os.geteuid())

    @root_only
    def test_owner(self) -> None:
        """The owner is the user who made the socket, or whom it was given to."""
        client, server = self.pair()
        os.fchown(client.fileno(), 1234, 1234)
        self.assertEqual(owner_of(server), 1234)
        os.seteuid(OTHER)
        try:
            _, server = self.pair()
        finally:
            os.seteuid(0)
        self.assertEqual(owner_of(server), OTHER)

    def test_data_waiting(self) -> None:
        """Data that waits to be read changes nothing."""
        client, server = self.pair()
        client.sendall(b"hello")
        self.assertEqual(owner_of(server), os.geteuid())

    def test_never_believed(self) -> None:
        """A socket on its way out has no owner, though the kernel shows uid 0 for some of them."""

        def shut(which: int, how: int) -> Callable[[Any], object]:
            return lambda pair: pair[which].shutdown(how)

        for name, end in {
            "closed": lambda pair: pair[0].close(),
            "closed after sending": lambda pair: (pair[0].sendall(b"x"), pair[0].close()),
            "reset": lambda pair: abort(pair[0]),
            "reset after sending": lambda pair: (pair[0].sendall(b"x"), abort(pair[0])),
            "half closed": shut(0, socket.SHUT_WR),
            "half closed by us": shut(1, socket.SHUT_WR),
            "closed by both": lambda pair: (
                pair[0].shutdown(socket.SHUT_WR),
                pair[1].shutdown(socket.SHUT_WR),
            ),
            "reset by us": lambda pair: abort(pair[1]),
        }.items():
            with self.subTest(name):
                pair = self.pair()
                end(pair)
                self.assertIsNone(owner_of(pair[1]))

    def test_closed_is_found(self) -> None:
        """The danger is real: the closed socket is found, with no inode and with most kernels uid 0."""
        client, server = self.pair()
        ours, theirs = endpoint(server.getsockname()), endpoint(server.getpeername())
        client.close()
        with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 4) as diag:
            found = find(diag, theirs, ours)
        assert found is not None
        self.assertEqual(found.inode, 0)
        self.assertNotEqual(found.state, 1)

    def test_time_wait(self) -> None:
        """A connection whose peer is in TIME_WAIT is not looked up by its old addresses."""
        client, server = self.pair()
        ours, theirs = endpoint(server.getsockname()), endpoint(server.getpeername())
        client.close()
        server.close()
        self.assertIsNone(owner_of(server))
        with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 4) as diag:
            found = find(diag, theirs, ours)
        self.assertTrue(found is None or (found.state, found.uid, found.inode) == (6, 0, 0), found)

    def test_addresses_used_again(self) -> None:
        """After a reset another socket may have the same addresses: it doesn't speak for the old one."""
        with socket.socket() as listener, socket.socket() as second:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            first = socket.create_connection(listener.getsockname())
            old, address = listener.accept()
            abort(first)
            second.bind(address)
            second.connect(listener.getsockname())
            new, _ = listener.accept()
            with old, new:
                self.assertEqual(new.getpeername(), address)
                self.assertEqual(owner_of(new), os.geteuid())
                self.assertIsNone(owner_of(old))

    def test_addresses_used_again_meanwhile(self) -> None:
        """Nor if that happens between the questions, so that the look-up finds the other socket."""
        found = []

        def change_hands(diag: socket.socket, source: Endpoint, target: Endpoint) -> Any:
            abort(first)
            second.bind(address)
            second.connect(listener.getsockname())
            found.append(find(diag, source, target))
            return found[0]

        with socket.socket() as listener, socket.socket() as second:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            first = socket.create_connection(listener.getsockname())
            old, address = listener.accept()
            self.patch(sockdiag, "find", change_hands)
            with old:
                self.assertIsNone(owner_of(old))
        self.assertEqual((found[0].state, found[0].uid), (1, os.geteuid()))

    def test_listener(self) -> None:
        """A listening socket answers for no connection."""
        with socket.socket() as listener, socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 4) as diag:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            listening = endpoint(listener.getsockname())
            self.assertIsNone(find(diag, listening, Endpoint(bytes([127, 0, 0, 1]), 9)))

    def test_elsewhere(self) -> None:
        """An address of another machine has no socket here."""
        with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 4) as diag:
            for here, there in (("127.0.0.1", "203.0.113.9"), ("::1", "2001:db8::1")):
                self.assertIsNone(find(diag, endpoint((there, 40000)), endpoint((here, 5640))))

    def test_no_connection(self) -> None:
        """A socket that is not connected has no peer to ask about."""
        with socket.socket() as unconnected:
            self.assertIsNone(owner_of(unconnected))

    def test_endpoints(self) -> None:
        """A v4-mapped address is one of IPv4; the interface counts for link-local ones."""
        for address, expected in (
            (("127.0.0.1", 5), Endpoint(bytes([127, 0, 0, 1]), 5)),
            (("::ffff:10.1.2.3", 5, 0, 0), Endpoint(bytes([10, 1, 2, 3]), 5)),
            (("::1", 5, 0, 0), Endpoint(bytes(15) + b"\1", 5)),
            (("fe80::1%lo", 5, 0, 7), Endpoint(b"\xfe\x80" + bytes(13) + b"\1", 5, 7)),
        ):
            self.assertEqual(endpoint(address), expected)


class Identify(TestCase):
    """What the transports of Twisted are asked."""

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.made: Deferred[Protocol] = Deferred()
        self.factory = Factory()
        self.factory.noisy = False
        self.factory.buildProtocol = self.build_protocol  # type: ignore[method-assign]

    def build_protocol(self, address: object) -> Protocol:
        made, protocol = self.made, Protocol()
        protocol.connectionMade = lambda: made.callback(protocol)  # type: ignore[method-assign]
        return protocol

    async def accepted(
        self, factory: Factory | None = None, act: Callable[[socket.socket], object] = id
    ) -> Any:
        """The server's transport of a new TCP connection, whose client did ACT before it was accepted."""
        port = self.reactor.listenTCP(0, factory or self.factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        client = socket.create_connection(("127.0.0.1", port.getHost().port))
        self.addCleanup(client.close)
        act(client)
        transport: Any = (await self.made).transport
        self.addCleanup(transport.abortConnection)
        return transport

    async def over_unix(self, uid: int) -> Any:
        """The server's transport of a new connection that UID made through a unix socket."""
        name = f"\0jobd test {os.getpid()} {time.monotonic_ns()}"
        port = self.reactor.listenUNIX(name, self.factory)
        self.addCleanup(port.stopListening)
        client = socket.socket(socket.AF_UNIX)
        self.addCleanup(client.close)
        os.seteuid(uid)
        try:
            client.connect(name)
        finally:
            if uid != os.getuid():
                os.seteuid(0)
        transport: Any = (await self.made).transport
        self.addCleanup(transport.abortConnection)
        return transport

    async def test_tcp(self) -> None:
        """A local TCP peer is the owner of its socket; root, and only root, speaks for others."""
        peer = identify(await self.accepted())
        self.assertEqual(peer.user, User.by_uid(os.geteuid()))
        self.assertEqual(peer.speaks_for_others, os.geteuid() == 0)
        self.assertRegex(peer.description, r"^127\.0\.0\.1:\d+ uid \d+$")

    @root_only
    async def test_another_user(self) -> None:
        """A peer of another user is that user, and speaks for itself alone."""
        peer = identify(await self.accepted(act=lambda client: os.fchown(client.fileno(), 54321, 1)))
        self.assertEqual(peer.user, User(54321, OTHER, "54321", frozenset()))
        self.assertFalse(peer.speaks_for_others)

    async def test_gone(self) -> None:
        """A peer that sent its bytes and left before it was accepted is nobody."""
        transport = await self.accepted(act=lambda client: (client.sendall(b"x"), client.close()))
        peer = identify(transport)
        self.assertEqual((peer.user, peer.speaks_for_others), (None, False))

    async def test_trust_tcp(self) -> None:
        """`none` believes no owner of a TCP socket, `users` none that is root."""
        transport = await self.accepted()
        mine = User.by_uid(os.geteuid())
        for trust, expected in (("all", mine), ("users", None if mine.uid == 0 else mine), ("none", None)):
            self.assertEqual(identify(transport, trust).user, expected, trust)

    @root_only
    async def test_trusted_user(self) -> None:
        """`users` believes an owner who isn't root."""
        transport = await self.accepted(act=lambda client: os.fchown(client.fileno(), OTHER, 1))
        user = identify(transport, "users").user
        assert user is not None
        self.assertEqual(user.uid, OTHER)

    async def test_unix(self) -> None:
        """A unix peer is who connected, whatever is trusted of TCP."""
        peer = identify(await self.over_unix(os.geteuid()), "none")
        self.assertEqual(peer.user, User.by_uid(os.geteuid()))
        self.assertEqual(peer.speaks_for_others, os.geteuid() == 0)
        self.assertEqual(peer.description, f"a unix socket uid {os.geteuid()}")

    @root_only
    async def test_unix_of_another_user(self) -> None:
        """A unix peer of another user is that user."""
        peer = identify(await self.over_unix(OTHER))
        assert peer.user is not None
        self.assertEqual((peer.user.uid, peer.speaks_for_others), (OTHER, False))

    async def test_wrapped(self) -> None:
        """Through a wrapper (a proxy's header, a throttle) nobody is believed: the socket is another's."""
        factory = WrappingFactory(self.factory)
        factory.noisy = False
        transport = await self.accepted(factory)
        self.assertIsNotNone(transport.getHandle())
        self.assertIsNone(identify(transport).user)

    async def test_tls(self) -> None:
        """On a connection that turned to TLS the socket's owner counts for nothing."""
        transport = await self.accepted()
        directlyProvides(transport, ISSLTransport)
        self.assertIsNone(identify(transport).user)
        noLongerProvides(transport, ISSLTransport)
        self.assertIsNotNone(identify(transport).user)


class Rules(SynchronousTestCase):
    """Who is admitted as whom, and what they may do then."""

    def test_admit(self) -> None:
        """Local root's connection acts as whom it names; any other as its proved user."""
        unknown = User(54321, OTHER, "54321", frozenset())
        for user, uname, n_uname, expected in (
            (ROOT, "", None, ROOT),
            (ROOT, "root", None, User.by_uid(0)),
            (ROOT, "nobody", None, NOBODY),
            (ROOT, "", 54321, unknown),
            (ROOT, "root", 54321, unknown),
            (ROOT, "nobody", 0, User.by_uid(0)),
            (ROOT, "no such user", 54321, unknown),
            (GLENDA, "", None, GLENDA),
            (GLENDA, "root", None, GLENDA),
            (GLENDA, "root", 0, GLENDA),
            (GLENDA, "no such user", None, GLENDA),
        ):
            peer = Peer("here", user, speaks_for_others=user is ROOT)
            for access in (Access(), Access(anonymous=GLENDA)):
                self.assertEqual(access.admit(peer, uname, n_uname), expected, (user.name, uname, n_uname))

    def test_unknown_name(self) -> None:
        """A name without an account is refused, with the name."""
        error = self.assertRaises(AccessError, Access().admit, Peer("here", ROOT, True), "no such user", None)
        self.assertEqual(error.errno, errno.EINVAL)
        self.assertIn("no such user", str(error))
        for name in ("a\0b", "\udcff", "x" * 10_000):
            self.assertRaises(AccessError, Access().admit, Peer("here", ROOT, True), name, None)

    def test_no_identity(self) -> None:
        """Without identity nobody is admitted, whatever they call themselves; a sentence says how."""
        for peer in (None, Peer("there", None)):
            for uname, n_uname in (("root", None), ("root", 0), ("", None)):
                error = self.assertRaises(AccessError, Access().admit, peer, uname, n_uname)
                self.assertEqual(error.errno, errno.EACCES)
                for way in ("--anonymous USER", "unix socket", "on this machine"):
                    self.assertIn(way, str(error))
                self.assertEqual(Access(anonymous=GLENDA).admit(peer, uname, n_uname), GLENDA)

    def test_changes(self) -> None:
        """In root's daemon all who have an account change things; in another its own user and root."""
        unknown = User(54321, OTHER, "54321", frozenset())
        accounts = FakeAccounts(glenda=1000, nobody=OTHER)
        assert NOBODY is not None
        for daemon, user, why in (
            (ROOT, ROOT, ""),
            (ROOT, GLENDA, ""),
            (ROOT, NOBODY, ""),
            (ROOT, unknown, "54321 may only look: no job can run as one who has no account here"),
            (
                ROOT,
                GLENDA._replace(uid=1001),
                "glenda may only look: no job can run as one who has no account here",
            ),
            (GLENDA, ROOT, ""),
            (GLENDA, GLENDA, ""),
            (GLENDA, NOBODY, "nobody may only look: changes are root's and glenda's"),
        ):
            access = Access(daemon=daemon, accounts=accounts)
            if why:
                error = self.assertRaises(AccessError, access.check_change, user)
                self.assertEqual((error.errno, str(error)), (errno.EACCES, why))
            else:
                access.check_change(user)

    def test_owner(self) -> None:
        """A job is changed by its owner and root, and in a user's own daemon by that user."""
        rob = User(1001, 1001, "rob", frozenset({1001}))
        accounts = FakeAccounts(glenda=1000, rob=1001)
        for daemon, user, may in (
            (ROOT, ROOT, True),
            (ROOT, GLENDA, True),
            (ROOT, rob, False),
            # Who had the account that is glenda's now, and is attached still.
            (ROOT, GLENDA._replace(uid=999), False),
            (rob, rob, True),
            (rob, ROOT, True),
        ):
            access = Access(daemon=daemon, accounts=accounts)
            if may:
                access.check_owner(user, "glenda")
            else:
                error = self.assertRaises(AccessError, access.check_owner, user, "glenda")
                self.assertEqual(error.errno, errno.EPERM)
                self.assertIn("the job is glenda's", str(error))

    def test_owner_of_new(self) -> None:
        """What one makes is one's own; in a daemon that isn't root it is the daemon's, which runs it."""
        for daemon, user, owner in ((ROOT, ROOT, ROOT), (ROOT, GLENDA, GLENDA), (GLENDA, ROOT, GLENDA)):
            self.assertEqual(Access(daemon=daemon).owner_of_new(user), owner)

    def test_daemon(self) -> None:
        """The daemon's user is who this process runs as."""
        self.assertEqual(Access().daemon.uid, os.geteuid())

    def test_permits(self) -> None:
        """The owner's bits are for the owner, the group's for those in it, the last for the rest, and
        root's are all; the first that fits counts, as in Unix."""
        group, others = Accounts().group_of(ROOT), User(1001, 1001, "rob", frozenset({1001}))
        member = User(1002, 1002, "ken", frozenset({1002, 0}))
        for user, owner, mode, wanted, expected in (
            (GLENDA, "glenda", 0o600, 6, True),
            (GLENDA, "glenda", 0o077, 4, False),
            (GLENDA, "glenda", 0o400, 6, False),
            (member, "glenda", 0o040, 4, True),
            (member, "glenda", 0o707, 4, False),
            (others, "glenda", 0o004, 4, True),
            (others, "glenda", 0o770, 1, False),
            (ROOT, "glenda", 0, 7, True),
        ):
            permitted = Access().permits(user, owner, group, mode, wanted)
            self.assertIs(permitted, expected, (user.name, oct(mode), wanted))
        self.assertFalse(Access().permits(GLENDA, "rob", "no such group", 0o070, 4))

    def test_attributes(self) -> None:
        """Only root gives a job to somebody else, and to nobody but itself where that can't run its jobs."""
        for columns in ({"mode": 0o700}, {"owner": "rob"}, {"group": "rob"}, {"mode": 0, "owner": "rob"}):
            Access(daemon=ROOT).check_attributes(ROOT, columns)
            for daemon in (ROOT, GLENDA):
                access = Access(daemon=daemon)
                if set(columns) == {"mode"}:
                    access.check_attributes(GLENDA, columns)
                else:
                    error = self.assertRaises(AccessError, access.check_attributes, GLENDA, columns)
                    self.assertEqual(error.errno, errno.EPERM)
        access = Access(daemon=GLENDA)
        access.check_attributes(ROOT, {"owner": "glenda", "group": "rob"})
        error = self.assertRaises(AccessError, access.check_attributes, ROOT, {"owner": "rob"})
        self.assertEqual(
            (error.errno, str(error)), (errno.EPERM, "all jobs here are glenda's: jobd doesn't run as root")
        )

    def test_describe(self) -> None:
        """Addresses are told as they are written."""
        for address, expected in (
            (IPv4Address("TCP", "10.0.0.1", 5640), "10.0.0.1:5640"),
            (IPv6Address("TCP", "::1", 5640), "[::1]:5640"),
            (UNIXAddress(None), "a unix socket"),
        ):
            self.assertEqual(describe(address), expected)


class Names(SynchronousTestCase):
    """Users and groups by name and number."""

    def test_users(self) -> None:
        """A user is found by name and by number, with its groups."""
        root = User.by_uid(0)
        self.assertEqual(root.name, pwd.getpwuid(0).pw_name)
        self.assertEqual(User.by_name(root.name), root)
        self.assertIn(root.gid, root.groups)
        self.assertIsNone(User.by_name("no such user"))

    def test_numbers_of_names(self) -> None:
        """A name without an account is its own number if it is one, else nobody."""
        accounts = Accounts()
        for name, expected in (("root", 0), ("54321", 54321), ("no such", OTHER), ("²", OTHER), ("", OTHER)):
            self.assertEqual(accounts.uid_of(name), expected)
        for name in ("54321", "no such", ""):
            self.assertIsNone(accounts.find_uid(name))
        # (uid_t)-1 is nobody's number: the kernel takes it for "as it is".
        self.assertEqual(accounts.uid_of("4294967295"), OTHER)
        self.assertEqual((accounts.gid_of("no such"), accounts.find_gid("no such")), (OTHER, None))
        self.assertEqual(accounts.find_gid("54321"), 54321)
        self.assertEqual(accounts.gid_of(accounts.group_of(ROOT)), 0)
        self.assertEqual(accounts.group_of(GLENDA._replace(gid=54321)), "54321")

    def test_names(self) -> None:
        """An owner or group is given by name or number, and must have an account."""
        accounts = Accounts()
        self.assertEqual((accounts.user_name(0), accounts.user_name("root")), ("root", "root"))
        self.assertEqual(accounts.group_name(0), accounts.group_of(ROOT))
        for ask, unknown in (
            (accounts.user_name, 54321),
            (accounts.user_name, "no such"),
            (accounts.group_name, 54321),
            (accounts.group_name, "a\0"),
        ):
            error = self.assertRaises(JobError, ask, unknown)
            self.assertEqual(error.errno, errno.EINVAL)

    def test_asked_once_a_minute(self) -> None:
        """An account is looked up once a minute, however often it is wanted."""
        now, asked = [1000.0], []

        def getpwnam(name: str) -> Any:
            asked.append(name)
            return pwd.struct_passwd((name, "x", 7, 7, "", "/", "/bin/sh"))

        self.patch(pwd, "getpwnam", getpwnam)
        accounts = Accounts(lambda: now[0])
        for seconds in (0, 1, 59, 2, 30):
            now[0] += seconds
            self.assertEqual(accounts.uid_of("glenda"), 7)
        self.assertEqual(len(asked), 2)
