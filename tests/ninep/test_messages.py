"""Messages and their bytes."""

from __future__ import annotations

import struct
from typing import Any, get_type_hints

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobd.ninep import messages as m
from jobd.ninep import wire
from jobd.ninep.errors import ProtocolError
from jobd.ninep.interfaces import NONUNAME, Qid
from jobd.ninep.stat import UNTOUCHED, Stat
from jobd.ninep.trace import format_message

QID = Qid(0x80, 1, 2)
QID_BYTES = bytes.fromhex("80 01000000 0200000000000000")
STAT = Stat(QID, 0x800001ED, 3, "n", "u", "g", "m", 4, 5, n_uid=6, n_gid=7, n_muid=8, extension="x")
STAT_2000 = bytes.fromhex(
    "3300 0000 00000000" + QID_BYTES.hex() + "ed010080 04000000 05000000 0300000000000000"
    "01006e 010075 010067 01006d"
)
STAT_U = b"\x42\x00" + STAT_2000[2:] + bytes.fromhex("010078 06000000 07000000 08000000")

# Each message with the body that the manual gives it; the dialect is the first that has it.
BODIES: list[tuple[m.Dialect, Any, str]] = [
    (m.PLAIN, m.Tversion(8192, "9P2000"), "00200000 0600 395032303030"),
    (m.PLAIN, m.Rversion(1, ""), "01000000 0000"),
    (m.PLAIN, m.Tauth(1, "u", "a"), "01000000 010075 010061"),
    (m.UNIX, m.Tauth(1, "u", "a", 2), "01000000 010075 010061 02000000"),
    (m.PLAIN, m.Rauth(QID), QID_BYTES.hex()),
    (m.PLAIN, m.Tattach(1, m.NOFID, "u", "a"), "01000000 ffffffff 010075 010061"),
    (m.LINUX, m.Tattach(1, m.NOFID, "u", "a", 2), "01000000 ffffffff 010075 010061 02000000"),
    (m.PLAIN, m.Rattach(QID), QID_BYTES.hex()),
    (m.PLAIN, m.Rerror("no"), "0200 6e6f"),
    (m.UNIX, m.Rerror("no", 5), "0200 6e6f 05000000"),
    (m.PLAIN, m.Tflush(258), "0201"),
    (m.PLAIN, m.Rflush(), ""),
    (m.PLAIN, m.Twalk(1, 2, ("a", "bc")), "01000000 02000000 0200 010061 02006263"),
    (m.PLAIN, m.Rwalk((QID, QID)), "0200" + QID_BYTES.hex() * 2),
    (m.PLAIN, m.Topen(1, 0x11), "01000000 11"),
    (m.PLAIN, m.Ropen(QID, 7), QID_BYTES.hex() + "07000000"),
    (m.PLAIN, m.Tcreate(1, "a", 2, 3), "01000000 010061 02000000 03"),
    (m.UNIX, m.Tcreate(1, "a", 2, 3, "x"), "01000000 010061 02000000 03 010078"),
    (m.PLAIN, m.Rcreate(QID, 7), QID_BYTES.hex() + "07000000"),
    (m.PLAIN, m.Tread(1, 2, 3), "01000000 0200000000000000 03000000"),
    (m.PLAIN, m.Rread(b"abc"), "03000000 616263"),
    (m.PLAIN, m.Twrite(1, 2, b"abc"), "01000000 0200000000000000 03000000 616263"),
    (m.PLAIN, m.Rwrite(3), "03000000"),
    (m.PLAIN, m.Tclunk(1), "01000000"),
    (m.PLAIN, m.Rclunk(), ""),
    (m.PLAIN, m.Tremove(1), "01000000"),
    (m.PLAIN, m.Rremove(), ""),
    (m.PLAIN, m.Tstat(1), "01000000"),
    (m.PLAIN, m.Rstat(STAT), "3500" + STAT_2000.hex()),
    (m.UNIX, m.Rstat(STAT), "4400" + STAT_U.hex()),
    (m.PLAIN, m.Twstat(1, STAT), "01000000 3500" + STAT_2000.hex()),
    (m.UNIX, m.Twstat(1, STAT), "01000000 4400" + STAT_U.hex()),
    (m.PLAIN, m.Rwstat(), ""),
    (m.LINUX, m.Rlerror(2), "02000000"),
    (m.LINUX, m.Tstatfs(1), "01000000"),
    (
        m.LINUX,
        m.Rstatfs(1, 2, 3, 4, 5, 6, 7, 8, 9),
        "01000000 02000000" + "".join(f"{n:02x}00000000000000" for n in range(3, 9)) + "09000000",
    ),
    (m.LINUX, m.Tlopen(1, 2), "01000000 02000000"),
    (m.LINUX, m.Rlopen(QID, 3), QID_BYTES.hex() + "03000000"),
    (m.LINUX, m.Tlcreate(1, "a", 2, 3, 4), "01000000 010061 02000000 03000000 04000000"),
    (m.LINUX, m.Rlcreate(QID, 3), QID_BYTES.hex() + "03000000"),
    (m.LINUX, m.Tsymlink(1, "a", "b", 2), "01000000 010061 010062 02000000"),
    (m.LINUX, m.Rsymlink(QID), QID_BYTES.hex()),
    (m.LINUX, m.Tmknod(1, "a", 2, 3, 4, 5), "01000000 010061 02000000 03000000 04000000 05000000"),
    (m.LINUX, m.Rmknod(QID), QID_BYTES.hex()),
    (m.LINUX, m.Trename(1, 2, "a"), "01000000 02000000 010061"),
    (m.LINUX, m.Rrename(), ""),
    (m.LINUX, m.Treadlink(1), "01000000"),
    (m.LINUX, m.Rreadlink("a"), "010061"),
    (m.LINUX, m.Tgetattr(1, 2), "01000000 0200000000000000"),
    (
        m.LINUX,
        m.Rgetattr(1, QID, *range(2, 20)),
        "0100000000000000"
        + QID_BYTES.hex()
        + "02000000 03000000 04000000"
        + "".join(f"{n:02x}00000000000000" for n in range(5, 20)),
    ),
    (
        m.LINUX,
        m.Tsetattr(*range(1, 11)),
        "".join(f"{n:02x}000000" for n in range(1, 6))
        + "".join(f"{n:02x}00000000000000" for n in range(6, 11)),
    ),
    (m.LINUX, m.Rsetattr(), ""),
    (m.LINUX, m.Txattrwalk(1, 2, "a"), "01000000 02000000 010061"),
    (m.LINUX, m.Rxattrwalk(1), "0100000000000000"),
    (m.LINUX, m.Txattrcreate(1, "a", 2, 3), "01000000 010061 0200000000000000 03000000"),
    (m.LINUX, m.Rxattrcreate(), ""),
    (m.LINUX, m.Treaddir(1, 2, 3), "01000000 0200000000000000 03000000"),
    (m.LINUX, m.Rreaddir(b"abc"), "03000000 616263"),
    (m.LINUX, m.Tfsync(1, 2), "01000000 02000000"),
    (m.LINUX, m.Rfsync(), ""),
    (
        m.LINUX,
        m.Tlock(1, 2, 3, 4, 5, 6, "a"),
        "01000000 02 03000000 0400000000000000 0500000000000000 06000000 010061",
    ),
    (m.LINUX, m.Rlock(1), "01"),
    (
        m.LINUX,
        m.Tgetlock(1, 2, 3, 4, 5, "a"),
        "01000000 02 0300000000000000 0400000000000000 05000000 010061",
    ),
    (m.LINUX, m.Rgetlock(1, 2, 3, 4, "a"), "01 0200000000000000 0300000000000000 04000000 010061"),
    (m.LINUX, m.Tlink(1, 2, "a"), "01000000 02000000 010061"),
    (m.LINUX, m.Rlink(), ""),
    (m.LINUX, m.Tmkdir(1, "a", 2, 3), "01000000 010061 02000000 03000000"),
    (m.LINUX, m.Rmkdir(QID), QID_BYTES.hex()),
    (m.LINUX, m.Trenameat(1, "a", 2, "b"), "01000000 010061 02000000 010062"),
    (m.LINUX, m.Rrenameat(), ""),
    (m.LINUX, m.Tunlinkat(1, "a", 2), "01000000 010061 02000000"),
    (m.LINUX, m.Runlinkat(), ""),
]


def _numbers(bits: int) -> st.SearchStrategy[int]:
    return st.integers(0, 2**bits - 1)


_names = st.text(max_size=20) | st.binary(max_size=20).map(lambda b: b.decode("utf-8", "surrogateescape"))
_qids = st.builds(Qid, _numbers(8), _numbers(32), _numbers(64))


def _stats(extended: bool) -> st.SearchStrategy[Stat]:
    # All fields are named: those that the dialect has not keep their defaults.
    fields = {name: st.just(value) for name, value in Stat._field_defaults.items()}
    fields |= dict.fromkeys(("name", "uid", "gid", "muid"), _names)
    fields |= {name: _numbers(32) for name in ("atime", "mtime", "dev")}
    fields |= {"qid": _qids, "mode": _numbers(32), "length": _numbers(64), "type": _numbers(16)}
    if extended:
        fields |= {name: _numbers(32) for name in ("n_uid", "n_gid", "n_muid")} | {"extension": _names}
    return st.builds(Stat, **fields)


_FIELDS: dict[Any, st.SearchStrategy[Any]] = {
    wire.NUMBER8: _numbers(8),
    wire.NUMBER16: _numbers(16),
    wire.NUMBER32: _numbers(32),
    wire.NUMBER64: _numbers(64),
    wire.STRING: _names,
    wire.QID: _qids,
    wire.Data.__metadata__[0]: st.binary(max_size=100),
    wire.Names.__metadata__[0]: st.lists(_names, max_size=17).map(tuple),
    wire.Qids.__metadata__[0]: st.lists(_qids, max_size=17).map(tuple),
}


def messages_of(dialect: m.Dialect) -> st.SearchStrategy[Any]:
    """Any message that DIALECT has, with any fields."""

    def fields(cls: Any) -> st.SearchStrategy[Any]:
        chosen = {}
        for name, hint in get_type_hints(cls, include_extras=True).items():
            kind = hint.__metadata__[0]
            if isinstance(kind, wire.PerDialect):
                chosen[name] = _stats(dialect.extended)
            elif isinstance(kind, wire.Extended):
                chosen[name] = _FIELDS[kind.kind] if dialect.extended else st.just(cls._field_defaults[name])
            else:
                chosen[name] = _FIELDS[kind.kind if isinstance(kind, wire.Optional) else kind]
        return st.builds(cls, **chosen)

    return st.sampled_from([layout.cls for layout in dialect.layouts.values()]).flatmap(fields)


any_dialect = st.sampled_from([m.PLAIN, m.UNIX, m.LINUX])


class MessageTests(SynchronousTestCase):
    def test_bodies(self) -> None:
        """Each message has the bytes that its manual says, and they decode to it again."""
        for dialect, message, body in BODIES:
            expected = bytes.fromhex(body)
            frame = m.HEAD.pack(7 + len(expected), m.TYPES[type(message)], 0x1234) + expected
            self.assertEqual(m.encode(0x1234, message, dialect), frame, message)
            tag, decoded = m.decode(frame, dialect)
            self.assertEqual(tag, 0x1234)
            self.assertIs(type(decoded), type(message))
            self.assertEqual(m.encode(0x1234, decoded, dialect), frame)

    def test_all_are_tested(self) -> None:
        """The table above misses no message."""
        self.assertEqual({type(message) for _, message, _ in BODIES}, set(m.TYPES))

    def test_pairs(self) -> None:
        """Each request's reply has the next number and the name with R, in every dialect."""
        for dialect in m.DIALECTS.values():
            for type_ in dialect.layouts:
                if type_ % 2 == 0:
                    self.assertEqual(m.NAMES[type_ + 1], "R" + m.NAMES[type_][1:])
                    self.assertIn(type_ + 1, dialect.layouts)

    @given(st.data(), _numbers(16))
    @settings(deadline=None, max_examples=200)
    def test_round_trip(self, data: Any, tag: int) -> None:
        """Whatever is encoded decodes to the same again, in each dialect."""
        dialect = data.draw(any_dialect)
        message = data.draw(messages_of(dialect))
        self.assertEqual(m.decode(m.encode(tag, message, dialect), dialect), (tag, message))

    @given(st.binary(max_size=80), st.integers(0, 255), any_dialect)
    @settings(deadline=None, max_examples=200)
    def test_any_bytes(self, body: bytes, type_: int, dialect: m.Dialect) -> None:
        """Any bytes decode or are a ProtocolError; what decodes encodes to the same bytes."""
        frame = m.HEAD.pack(7 + len(body), type_, 1) + body
        self.assertTrue(format_message(frame, dialect))
        try:
            tag, message = m.decode(frame, dialect)
        except ProtocolError:
            return
        if m.TYPES[type(message)] != m.TYPES[m.Tfsync]:  # the one with an optional field
            self.assertEqual(m.encode(tag, message, dialect), frame)

    @given(st.data())
    @settings(deadline=None, max_examples=200)
    def test_truncated(self, data: Any) -> None:
        """A message cut anywhere, or followed by anything, is a ProtocolError."""
        dialect = data.draw(any_dialect)
        message = data.draw(messages_of(dialect).filter(lambda message: not isinstance(message, m.Tfsync)))
        frame = m.encode(1, message, dialect)
        body = frame[7:]
        wrong = [body + b"\0"]
        if body:
            wrong.append(body[: data.draw(st.integers(0, len(body) - 1))])
        for other in wrong:
            with self.assertRaises(ProtocolError):
                m.decode(m.HEAD.pack(7 + len(other), frame[4], 1) + other, dialect)

    def test_wrong_size(self) -> None:
        """A frame's size must be its own."""
        for frame in (b"", b"\x07\0\0\0\x6c", m.encode(1, m.Tclunk(1)) + b"x", m.encode(1, m.Tclunk(1))[:-1]):
            with self.assertRaises(ProtocolError):
                m.decode(frame)

    def test_other_dialects(self) -> None:
        """A dialect doesn't have the messages of another."""
        with self.assertRaises(ProtocolError):
            m.decode(m.encode(1, m.Tlopen(1, 2), m.LINUX), m.PLAIN)
        with self.assertRaises(ProtocolError):
            m.decode(m.encode(1, m.Topen(1, 2), m.PLAIN), m.LINUX)

    def test_fsync_of_old(self) -> None:
        """Tfsync may end before datasync, which later clients added."""
        frame = m.HEAD.pack(11, m.TYPES[m.Tfsync], 1) + struct.pack("<I", 9)
        self.assertEqual(m.decode(frame, m.LINUX).message, m.Tfsync(9, 0))

    def test_defaults_of_9p2000(self) -> None:
        """Fields that 9P2000 has not have their defaults when decoded from it."""
        attach = m.decode(m.encode(1, m.Tattach(1, 2, "u", "a", 5))).message
        self.assertEqual(attach.n_uname, NONUNAME)
        stat = m.decode(m.encode(1, m.Rstat(STAT))).message.stat
        self.assertEqual((stat.n_uid, stat.extension), (NONUNAME, ""))


class TraceTests(SynchronousTestCase):
    def test_lines(self) -> None:
        """A message is one line that says all that matters of it."""
        lines = [
            (m.PLAIN, m.Twalk(0, 1, ("jobs", "a b")), "Twalk tag 1 fid 0 newfid 1 names ['jobs' 'a b']"),
            (
                m.PLAIN,
                m.Tattach(0, m.NOFID, "me", ""),
                "Tattach tag 1 fid 0 afid ~0 uname 'me' aname '' n_uname ~0",
            ),
            (m.PLAIN, m.Topen(1, 0x11), "Topen tag 1 fid 1 mode 021"),
            (m.PLAIN, m.Ropen(QID, 0), "Ropen tag 1 qid (2 1 d) iounit 0"),
            (m.PLAIN, m.Rread(b"x" * 60), "Rread tag 1 data 60 b'" + "x" * 48 + "'..."),
            (m.PLAIN, m.Twstat(1, UNTOUCHED._replace(length=0)), "Twstat tag 1 fid 1 stat {length 0}"),
            (m.UNIX, m.Tcreate(1, "n", 0o644, 1), "Tcreate tag 1 fid 1 name 'n' perm 0644 mode 01"),
            (m.LINUX, m.Rlerror(2), "Rlerror tag 1 ecode 2"),
            (m.LINUX, m.Tgetattr(1, 0x7FF), "Tgetattr tag 1 fid 1 mask 0x7ff"),
        ]
        for dialect, message, line in lines:
            self.assertEqual(format_message(m.encode(1, message, dialect), dialect), line)

    def test_malformed(self) -> None:
        """What is no message is shown as its bytes."""
        self.assertIn("malformed", format_message(b"\x07\0\0\0\x01\0\0"))
