"""Whose socket is at the other end of a TCP connection on this machine.

The kernel tells by NETLINK_SOCK_DIAG (sock_diag(7)): a look-up of one socket by its exact addresses and
ports, laid out as in include/uapi/linux/inet_diag.h.  What it tells of a socket that is being closed is
worthless: its inode is shown as 0, and by most kernels its owner too.  So an answer counts only for a
socket that is ESTABLISHED and has an inode, and only if our own end is ESTABLISHED after the answer: the
peer then had not let go of the connection, and no other socket can have had its addresses.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import struct
from typing import Any, NamedTuple

NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
NLM_F_REQUEST = 1
TCP_ESTABLISHED = 1
ANY_STATE = 0xFFFFFFFF
NO_COOKIE = 0xFFFFFFFF
V4_MAPPED = bytes(10) + b"\xff\xff"

_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_REQUEST = struct.Struct("=BBBxI")  # inet_diag_req_v2: family, protocol, extensions, states
_SOCKET = struct.Struct(">HH16s16s")  # inet_diag_sockid: ports and addresses, in network order
_SOCKET_REST = struct.Struct("=III")  # its interface and cookie
_STATE = struct.Struct("=BBxx")  # inet_diag_msg: family, state
_OWNER = struct.Struct("=12xII")  # its uid and inode, after three numbers that are of no use here


class Endpoint(NamedTuple):
    """One end of a connection."""

    address: bytes
    """4 bytes for IPv4, also where the socket is of IPv6 and the address v4-mapped; else 16."""
    port: int
    scope: int = 0
    """The interface of a link-local address."""


class Found(NamedTuple):
    """A socket as the kernel describes it."""

    state: int
    uid: int
    inode: int


def owner_of(connection: socket.socket) -> int | None:
    """The uid that owns the peer's socket of CONNECTION, one of TCP over IPv4 or IPv6.

    None if the peer is not on this machine (or in another network namespace of it), if its socket can't be
    believed, or if the kernel does not say.
    """
    try:
        ours, theirs = endpoint(connection.getsockname()), endpoint(connection.getpeername())
        with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, NETLINK_SOCK_DIAG) as diag:
            peer = find(diag, theirs, ours)
        own_state = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]  # tcpi_state
    except (OSError, ValueError):
        return None
    if peer is None or peer.state != TCP_ESTABLISHED or not peer.inode or own_state != TCP_ESTABLISHED:
        return None
    return peer.uid


def endpoint(address: tuple[Any, ...]) -> Endpoint:
    """The end that ADDRESS, as of `socket.getsockname`, means. ValueError where it is no IP address."""
    ip = ipaddress.ip_address(address[0].partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    scope = address[3] if len(address) > 3 else 0
    return Endpoint(ip.packed, address[1], scope if ip.is_link_local else 0)


def find(diag: socket.socket, source: Endpoint, target: Endpoint) -> Found | None:
    """Ask through DIAG for the TCP socket whose own end is SOURCE and whose peer is TARGET.

    None where there is none in this network namespace; OSError where the kernel refuses to look.
    """
    family = socket.AF_INET if len(source.address) == 4 else socket.AF_INET6
    body = (
        _REQUEST.pack(family, socket.IPPROTO_TCP, 0, ANY_STATE)
        + _SOCKET.pack(source.port, target.port, source.address, target.address)
        + _SOCKET_REST.pack(source.scope, NO_COOKIE, NO_COOKIE)
    )
    diag.send(_HEADER.pack(_HEADER.size + len(body), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, 1, 0) + body)
    reply = diag.recv(4096)
    _, kind, _, _, _ = _HEADER.unpack_from(reply)
    at = _HEADER.size
    if kind != SOCK_DIAG_BY_FAMILY:
        (error,) = struct.unpack_from("=i", reply, at)
        if -error == errno.ENOENT:
            return None
        raise OSError(-error, os.strerror(-error))
    _, state = _STATE.unpack_from(reply, at)
    at += _STATE.size
    source_port, target_port, source_address, target_address = _SOCKET.unpack_from(reply, at)
    # A listening socket answers for addresses that no connection has.
    if (source_port, target_port) != (source.port, target.port):
        return None
    if not (_is(source_address, source) and _is(target_address, target)):
        return None
    uid, inode = _OWNER.unpack_from(reply, at + _SOCKET.size + _SOCKET_REST.size)
    return Found(state, uid, inode)


def _is(address: bytes, end: Endpoint) -> bool:
    """Whether a field of 16 bytes holds the address of END, as a socket of IPv4 or of IPv6 has it."""
    if len(end.address) == 16:
        return address == end.address
    return address in (end.address.ljust(16, b"\0"), V4_MAPPED + end.address)
