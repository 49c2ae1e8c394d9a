"""Who is at the other end, and what may they do.

Identity is what can be proved: by the kernel, for a unix socket and for a TCP peer on this machine; by a
certificate on a TLS connection.  A connection of local root, such as a kernel mount, may speak for others,
since root can become anyone; every other connection is its proved user, whatever it says.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from twisted.internet.interfaces import ISSLTransport
from twisted.internet.tcp import Connection

from jobd.accounts import Accounts, User
from jobd.jobs.errors import JobError
from jobd.sockdiag import owner_of

__all__ = ["Access", "AccessError", "Accounts", "IPeer", "Peer", "User", "describe", "identify", "peer_uid"]

_UCRED = struct.Struct("=iII")  # struct ucred of unix(7): process, user, group
NO_UID = 0xFFFFFFFF
"""What the kernel says of a peer that it knows no credentials of."""


class AccessError(JobError):
    """Somebody may not do that; `str()` is a sentence that says how it would be allowed."""


class IPeer(Protocol):
    """The other end of a connection, to be asked at an attach: what a TLS client proves it proves later."""

    @property
    def description(self) -> str:
        """Where it is, in words."""

    @property
    def user(self) -> User | None:
        """Who it is proved to be; None where nothing proves it."""

    @property
    def speaks_for_others(self) -> bool:
        """Whether it may attach as whom it names."""

    @property
    def unproved(self) -> str:
        """Why it has no user, and how it would."""


class Peer(NamedTuple):
    """The other end of a connection of which the kernel tells all there is to know."""

    description: str
    user: User | None
    speaks_for_others: bool = False
    unproved: str = "nothing proves who you are; connect on this machine or through a unix socket"


def identify(
    transport: Any, trust_tcp: str = "all", certified: Callable[[Any, str], IPeer] | None = None
) -> IPeer:
    """Who is at the other end of a transport of Twisted, to be asked before its first byte is read.

    TRUST_TCP is `all`, `users` (the owner of a local TCP socket is believed unless that is root, who may
    be relaying for others) or `none`.  CERTIFIED makes the peer of a TLS transport with that description.
    """
    description = describe(transport.getPeer())
    if ISSLTransport.providedBy(transport):
        # Its certificate and nothing else: the socket under it may be that of a relay.
        return Peer(description, None) if certified is None else certified(transport, description)
    # Nor is any other wrapper believed, such as the header of a proxy.
    if isinstance(transport, Connection):
        connection = transport.getHandle()
        uid = peer_uid(connection)
        if uid is not None and (connection.family == socket.AF_UNIX or _trusted(uid, trust_tcp)):
            return Peer(f"{description} uid {uid}", User.by_uid(uid), speaks_for_others=uid == 0)
    return Peer(description, None)


def peer_uid(connection: socket.socket) -> int | None:
    """The uid that the kernel proves for the other end of CONNECTION; None where it proves none."""
    if connection.family == socket.AF_UNIX:
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        uid = int(_UCRED.unpack(credentials)[1])
        return None if uid == NO_UID else uid
    if connection.family in (socket.AF_INET, socket.AF_INET6):
        return owner_of(connection)
    return None


def describe(address: Any) -> str:
    """An address of Twisted in words."""
    if hasattr(address, "host"):
        host = f"[{address.host}]" if ":" in address.host else address.host
        return f"{host}:{address.port}"
    return "a unix socket" if hasattr(address, "name") else str(address)


class Access:
    """The rules."""

    def __init__(
        self, *, anonymous: User | None = None, daemon: User | None = None, accounts: Accounts | None = None
    ) -> None:
        """ANONYMOUS is whom a peer without identity acts as, DAEMON the user this process runs as."""
        self.accounts = accounts or Accounts()
        self.anonymous = anonymous
        self.daemon = daemon or User.by_uid(os.geteuid())

    def admit(self, peer: IPeer | None, uname: str, n_uname: int | None) -> User:
        """Whom an attach over the connection of PEER acts as; `AccessError` where nobody.

        N_UNAME is None where the client gave no number.  On a connection that speaks for others the
        number counts first, then the name; without either it is the proved user itself.
        """
        user = peer.user if peer is not None else None
        if user is None:
            if self.anonymous is None:
                why = (peer or Peer("", None)).unproved
                raise AccessError(
                    errno.EACCES, f"permission denied: {why}, or have jobd started with --anonymous USER"
                )
            return self.anonymous
        if peer is None or not peer.speaks_for_others:
            return user
        if n_uname is not None:
            return User.by_uid(n_uname)
        if not uname:
            return user
        named = User.by_name(uname)
        if named is None:
            raise AccessError(errno.EINVAL, f"unknown user {uname!r}: attach as one who has an account here")
        return named

    def commands(self, user: User) -> bool:
        """Whether USER may do everything: root, and in its own daemon a user who is not root."""
        return user.uid in (0, self.daemon.uid)

    def owns(self, user: User, owner: str) -> bool:
        """Whether OWNER is USER, and not another who has the name now."""
        return user.name == owner and self.accounts.find_uid(owner) in (None, user.uid)

    def owner_of_new(self, user: User) -> User:
        """Whose a job is that USER makes. A daemon that isn't root runs jobs only as itself."""
        return user if self.daemon.uid == 0 else self.daemon

    def permits(self, user: User, owner: str, group: str, mode: int, wanted: int) -> bool:
        """Whether a file of OWNER and GROUP with MODE gives USER all of WANTED: 4 read, 2 write, 1 search."""
        if self.commands(user):
            return True
        if self.owns(user, owner):
            mode >>= 6
        elif self.accounts.find_gid(group) in user.groups:
            mode >>= 3
        return mode & wanted == wanted

    def check_change(self, user: User) -> None:
        """`AccessError` where USER may not change anything."""
        if self.commands(user):
            return
        if self.daemon.uid != 0:
            raise AccessError(
                errno.EACCES, f"{user.name} may only look: changes are root's and {self.daemon.name}'s"
            )
        if self.accounts.find_uid(user.name) != user.uid:
            raise AccessError(
                errno.EACCES, f"{user.name} may only look: no job can run as one who has no account here"
            )

    def check_owner(self, user: User, owner: str) -> None:
        """`AccessError` where USER may not change a job of OWNER."""
        if not self.commands(user) and not self.owns(user, owner):
            raise AccessError(errno.EPERM, f"{user.name} may not change it: the job is {owner}'s")

    def check_attributes(self, user: User, columns: Mapping[str, object]) -> None:
        """`AccessError` where USER may not set COLUMNS (`mode`, `owner`, `group`) of any job."""
        if user.uid != 0 and ("owner" in columns or "group" in columns):
            raise AccessError(errno.EPERM, f"{user.name} may not give a job away: chown and chgrp are root's")
        if self.daemon.uid != 0 and columns.get("owner", self.daemon.name) != self.daemon.name:
            raise AccessError(
                errno.EPERM, f"all jobs here are {self.daemon.name}'s: jobd doesn't run as root"
            )


def _trusted(uid: int, trust_tcp: str) -> bool:
    return trust_tcp == "all" or (trust_tcp == "users" and uid != 0)
