"""Messages as lines for people: what a server's --debug prints."""

from __future__ import annotations

from typing import Any

from jobd.ninep.errors import ProtocolError
from jobd.ninep.interfaces import Qid
from jobd.ninep.messages import NOFID, PLAIN, Dialect, decode
from jobd.ninep.stat import UNTOUCHED, Stat

_DATA_SHOWN = 48


def format_message(buffer: bytes, dialect: Dialect = PLAIN) -> str:
    """One readable line for the message whose bytes BUFFER holds, whatever they are."""
    try:
        tag, message = decode(buffer, dialect)
    except ProtocolError as error:
        return f"malformed: {error}: {buffer[:_DATA_SHOWN].hex(' ')}"
    fields = [
        f"{name} {_format_field(name, value)}"
        for name, value in zip(message._fields, message, strict=True)
        if name not in _HIDDEN or value
    ]
    return " ".join([type(message).__name__, f"tag {tag}", *fields])


_OCTAL = {"mode", "perm", "flags"}
_HEXADECIMAL = {"mask", "valid"}
_HIDDEN = {"extension", "btime_sec", "btime_nsec", "gen", "data_version"}


def _format_field(name: str, value: Any) -> str:
    if isinstance(value, Stat):
        return format_stat(value)
    if isinstance(value, Qid):
        return format_qid(value)
    if isinstance(value, bytes):
        more = "..." if len(value) > _DATA_SHOWN else ""
        return f"{len(value)} {value[:_DATA_SHOWN]!r}{more}"
    if isinstance(value, str):
        return ascii(value)
    if isinstance(value, tuple):
        return "[" + " ".join(_format_field("", item) for item in value) + "]"
    if name in _OCTAL:
        return f"0{value:o}"
    if name in _HEXADECIMAL:
        return f"0x{value:x}"
    return "~0" if value in (NOFID, 0xFFFFFFFFFFFFFFFF) else str(value)


def format_qid(qid: Qid) -> str:
    """(path version type), as Plan 9 prints a qid."""
    letters = "".join(
        letter
        for bit, letter in zip((0x80, 0x40, 0x20, 0x08, 0x04, 0x02), "dalAtL", strict=True)
        if qid.type & bit
    )
    return f"({qid.path:x} {qid.version} {letters})"


def format_stat(stat: Stat) -> str:
    """The fields of STAT that aren't "don't touch"."""
    shown = [
        f"{name} {_format_field(name, value)}"
        for name, value, untouched in zip(stat._fields, stat, UNTOUCHED, strict=True)
        if value not in (untouched, "")
    ]
    return "{" + " ".join(shown) + "}"
