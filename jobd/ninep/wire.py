"""The layout of a message on the wire, compiled from the annotations of its class.

A message class is a NamedTuple whose annotations name the kinds of its fields, in their order:

    class Tread(NamedTuple):
        fid: U32
        offset: U64
        count: U32

`compile_layout` turns it into a function that takes the fields out of a buffer and one that packs them.
Fields of fixed size at the front are one `struct.Struct`; the rest is read kind by kind.  Everything is
little-endian; see intro(5) of the Plan 9 manual.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, get_type_hints

from jobd.ninep.errors import ProtocolError
from jobd.ninep.interfaces import Qid


class Kind(NamedTuple):
    """A kind of field: how it is read from a buffer, and how it is packed."""

    read: Callable[[bytes, int, int], tuple[Any, int]]
    """(buffer, position, end) -> (value, next position); raises ProtocolError past END."""
    pack: Callable[[Any], bytes]
    code: str = ""
    """The struct module's letter, of a kind that is one number."""


# The marks of fields below are equal to themselves only: Python 3.10 takes an Annotated for another
# whose marks are equal.


@dataclass(frozen=True, eq=False)
class Extended:
    """A field that 9P2000.u and 9P2000.L have and 9P2000 has not: its default stands in there."""

    kind: Kind


@dataclass(frozen=True, eq=False)
class Optional:
    """A last field that some clients leave out: its default stands in then."""

    kind: Kind


@dataclass(frozen=True, eq=False)
class PerDialect:
    """A field whose kind differs: one for 9P2000, one for 9P2000.u and 9P2000.L."""

    plain: Kind
    extended: Kind


class Layout(NamedTuple):
    """A compiled message class."""

    cls: Any
    unpack: Callable[[bytes, int, int], tuple[Any, ...]]
    """(buffer, start, end) -> the fields of the body that lies between START and END."""
    pack: Callable[[tuple[Any, ...]], bytes]
    """The fields -> the body."""


def _number(code: str) -> Kind:
    form = struct.Struct("<" + code)

    def read(buffer: bytes, position: int, end: int) -> tuple[int, int]:
        after = position + form.size
        if after > end:
            raise ProtocolError("a message ends in the middle of a number")
        return form.unpack_from(buffer, position)[0], after

    return Kind(read, form.pack, code)


_u16, _u32, _qid = struct.Struct("<H"), struct.Struct("<I"), struct.Struct("<BIQ")
NUMBER8, NUMBER16, NUMBER32, NUMBER64 = map(_number, "BHIQ")

# The readers below are what a server spends its time in: each does all of its work itself.


def read_block(buffer: bytes, position: int, end: int) -> tuple[bytes, int]:
    """Bytes after a 16 bit count of them."""
    start = position + 2
    if start <= end:
        after = start + int(_u16.unpack_from(buffer, position)[0])
        if after <= end:
            return buffer[start:after], after
    raise ProtocolError("a message ends in the middle of a stat")


def read_string(buffer: bytes, position: int, end: int) -> tuple[str, int]:
    """A string with its length; bytes that are no UTF-8 become surrogates."""
    start = position + 2
    if start <= end:
        after = start + int(_u16.unpack_from(buffer, position)[0])
        if after <= end:
            return buffer[start:after].decode("utf-8", "surrogateescape"), after
    raise ProtocolError("a message ends in the middle of a string")


def pack_string(value: str) -> bytes:
    """A string with its length; surrogates become the bytes that they stand for."""
    encoded = value.encode("utf-8", "surrogateescape")
    return _u16.pack(len(encoded)) + encoded


def _read_data(buffer: bytes, position: int, end: int) -> tuple[bytes, int]:
    start = position + 4
    if start <= end:
        after = start + int(_u32.unpack_from(buffer, position)[0])
        if after <= end:
            return buffer[start:after], after
    raise ProtocolError("a message ends in the middle of its data")


def _pack_data(value: bytes) -> bytes:
    return _u32.pack(len(value)) + value


def _read_qid(buffer: bytes, position: int, end: int) -> tuple[Qid, int]:
    after = position + _qid.size
    if after > end:
        raise ProtocolError("a message ends in the middle of a qid")
    return Qid._make(_qid.unpack_from(buffer, position)), after


def pack_qid(qid: Qid) -> bytes:
    """The 13 bytes of a qid."""
    return _qid.pack(*qid)


def _read_names(buffer: bytes, position: int, end: int) -> tuple[tuple[str, ...], int]:
    if position + 2 > end:
        raise ProtocolError("a message ends before its names")
    count = _u16.unpack_from(buffer, position)[0]
    position += 2
    names = []
    for _ in range(count):
        start = position + 2
        if start > end:
            raise ProtocolError("a message ends before its last name")
        position = start + _u16.unpack_from(buffer, position)[0]
        if position > end:
            raise ProtocolError("a message ends in the middle of a name")
        names.append(buffer[start:position].decode("utf-8", "surrogateescape"))
    return tuple(names), position


def _pack_names(names: tuple[str, ...]) -> bytes:
    return _u16.pack(len(names)) + b"".join(map(pack_string, names))


def _read_qids(buffer: bytes, position: int, end: int) -> tuple[tuple[Qid, ...], int]:
    count, position = NUMBER16.read(buffer, position, end)
    qids = []
    for _ in range(count):
        qid, position = _read_qid(buffer, position, end)
        qids.append(qid)
    return tuple(qids), position


def _pack_qids(qids: tuple[Qid, ...]) -> bytes:
    return _u16.pack(len(qids)) + b"".join(map(pack_qid, qids))


STRING = Kind(read_string, pack_string)
QID = Kind(_read_qid, pack_qid)

U8 = Annotated[int, NUMBER8]
U16 = Annotated[int, NUMBER16]
U32 = Annotated[int, NUMBER32]
U64 = Annotated[int, NUMBER64]
Str = Annotated[str, STRING]
Data = Annotated[bytes, Kind(_read_data, _pack_data)]
Names = Annotated[tuple[str, ...], Kind(_read_names, _pack_names)]
QidField = Annotated[Qid, QID]
Qids = Annotated[tuple[Qid, ...], Kind(_read_qids, _pack_qids)]
U32Extended = Annotated[int, Extended(NUMBER32)]
StrExtended = Annotated[str, Extended(STRING)]
U32Optional = Annotated[int, Optional(NUMBER32)]


def compile_layout(cls: Any, extended: bool) -> Layout:
    """The layout of the message class CLS, in 9P2000 or (EXTENDED) in 9P2000.u and 9P2000.L."""
    kinds: list[Kind] = []
    defaults: list[Any] = []
    required = 0
    for name, hint in get_type_hints(cls, include_extras=True).items():
        kind = hint.__metadata__[0]
        optional = isinstance(kind, Optional)
        if isinstance(kind, PerDialect):
            kind = kind.extended if extended else kind.plain
        elif isinstance(kind, Extended) and not extended:
            defaults.append(cls._field_defaults[name])
            continue
        elif isinstance(kind, (Extended, Optional)):
            kind = kind.kind
        if optional:
            defaults.append(cls._field_defaults[name])
        else:
            required += 1
        kinds.append(kind)
    return Layout(cls, _unpacker(kinds, required, tuple(defaults)), _packer(kinds))


def _packer(kinds: list[Kind]) -> Callable[[tuple[Any, ...]], bytes]:
    if all(kind.code for kind in kinds):
        form = struct.Struct("<" + "".join(kind.code for kind in kinds))
        count = len(kinds)
        return lambda fields: form.pack(*fields[:count])
    packs = [kind.pack for kind in kinds]
    return lambda fields: b"".join([pack(field) for pack, field in zip(packs, fields, strict=False)])


def _unpacker(
    kinds: list[Kind], required: int, defaults: tuple[Any, ...]
) -> Callable[[bytes, int, int], tuple[Any, ...]]:
    """A reader of KINDS; DEFAULTS stand for the fields that the message has not, which are its last."""
    fixed = 0
    while fixed < required and kinds[fixed].code:
        fixed += 1
    prefix = struct.Struct("<" + "".join(kind.code for kind in kinds[:fixed]))
    unpack_prefix, prefix_size = prefix.unpack_from, prefix.size
    readers = [kind.read for kind in kinds[fixed:]]
    needed = required - fixed

    def unpack_fixed(buffer: bytes, start: int, end: int) -> tuple[Any, ...]:
        if end - start != prefix_size:
            raise ProtocolError(f"a body of {end - start} bytes where {prefix_size} belong")
        return unpack_prefix(buffer, start) + defaults

    def unpack_one(buffer: bytes, start: int, end: int) -> tuple[Any, ...]:
        position = start + prefix_size
        if position > end:
            raise ProtocolError(f"a body of {end - start} bytes where {prefix_size} at least belong")
        field, position = read_last(buffer, position, end)
        if position != end:
            raise ProtocolError(f"{end - position} bytes too many at the end of a message")
        return (*unpack_prefix(buffer, start), field, *defaults)

    def unpack_any(buffer: bytes, start: int, end: int) -> tuple[Any, ...]:
        position = start + prefix_size
        if position > end:
            raise ProtocolError(f"a body of {end - start} bytes where {prefix_size} at least belong")
        fields = list(unpack_prefix(buffer, start))
        for index, read in enumerate(readers):
            if index >= needed and position == end:
                return (*fields, *defaults)
            field, position = read(buffer, position, end)
            fields.append(field)
        if position != end:
            raise ProtocolError(f"{end - position} bytes too many at the end of a message")
        if len(readers) == needed:
            fields.extend(defaults)
        return tuple(fields)

    if not readers:
        return unpack_fixed
    if needed == 1 == len(readers):
        read_last = readers[0]
        return unpack_one
    return unpack_any
