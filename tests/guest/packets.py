"""Ethernet, ARP, IPv4 and TCP on the wire: what the guest's gateway meets of them. Bytes in, values out.

Sources of the formats: RFC 826 (ARP), RFC 791 (IPv4), RFC 9293 (TCP).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

GATEWAY_MAC = b"\x52\x55\x0a\x00\x02\x02"
GATEWAY_IP = bytes((10, 0, 2, 2))
GUEST_IP = bytes((10, 0, 2, 15))

FIN, SYN, RST, ACK = 1, 2, 4, 16

ARP, IPV4 = b"\x08\x06", b"\x08\x00"
ARP_REQUEST, ARP_REPLY = b"\0\1", b"\0\2"
TCP = 6

# The largest payload of a TCP segment in a frame of 1500 bytes.
SEGMENT_SIZE = 1460


@dataclass(frozen=True)
class Segment:
    """A TCP segment between a port of the guest and one of the gateway, in either direction."""

    guest_port: int
    port: int
    seq: int
    ack: int
    flags: int
    window: int
    data: bytes = b""


def sender(frame: bytes) -> bytes:
    """The Ethernet address a frame comes from."""
    return frame[6:12]


def arp_reply(frame: bytes) -> bytes | None:
    """The answer to a frame that asks for the gateway's Ethernet address; None for any other frame."""
    if frame[12:14] != ARP or frame[20:22] != ARP_REQUEST or frame[38:42] != GATEWAY_IP:
        return None
    guest = frame[22:32]  # its Ethernet and its IP address
    return guest[:6] + GATEWAY_MAC + frame[12:20] + ARP_REPLY + GATEWAY_MAC + GATEWAY_IP + guest


def decode(frame: bytes) -> Segment | None:
    """The TCP segment in a frame for the gateway; None for a frame that holds none."""
    if frame[12:14] != IPV4 or frame[23] != TCP or frame[30:34] != GATEWAY_IP:
        return None
    packet = frame[14 : 14 + int.from_bytes(frame[16:18], "big")]
    tcp = packet[(packet[0] & 15) * 4 :]
    guest_port, port, seq, ack, offset, flags, window = struct.unpack_from(">HHIIBBH", tcp)
    return Segment(guest_port, port, seq, ack, flags, window, tcp[(offset >> 4) * 4 :])


def encode(segment: Segment, guest_mac: bytes) -> bytes:
    """A frame that carries a segment to the guest. One with SYN says what size of segment we take."""
    options = struct.pack(">BBH", 2, 4, SEGMENT_SIZE) if segment.flags & SYN else b""
    tcp = (
        struct.pack(
            ">HHIIBBHHH",
            segment.port,
            segment.guest_port,
            segment.seq,
            segment.ack,
            (20 + len(options)) << 2,
            segment.flags,
            segment.window,
            0,
            0,
        )
        + options
        + segment.data
    )
    pseudo_header = GATEWAY_IP + GUEST_IP + struct.pack(">HH", TCP, len(tcp))
    tcp = tcp[:16] + _checksum(pseudo_header + tcp) + tcp[18:]
    ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0x4000, 64, TCP, 0) + GATEWAY_IP + GUEST_IP
    ip = ip[:10] + _checksum(ip) + ip[12:]
    return guest_mac + GATEWAY_MAC + IPV4 + ip + tcp


def _checksum(data: bytes) -> bytes:
    """The one's complement sum of RFC 1071."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack(">H", ~total & 0xFFFF)
