"""Peers that mean ill, or are broken: at most their own connection ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobd.ninep import messages as m
from jobd.ninep.files import Filesystem
from jobd.ninep.limits import Limits
from jobd.ninep.session import Session
from tests.ninep.test_messages import any_dialect, messages_of
from tests.ninep.trees import SlowDirectory, UnixDirectory

CORPUS = {path.name: path.read_bytes() for path in sorted(Path(__file__).with_name("corpus").glob("*.9p"))}

_fids = st.integers(0, 5) | st.just(m.NOFID)
_names = st.sampled_from(["hello", "sub", "slow", "new", "..", ".", "", "a/b", "\0", "x" * 300])


def tree() -> UnixDirectory:
    """A tree with something in it."""
    root = UnixDirectory(None, "/", 0o777)
    root.create("hello", 0o666, 1, None)[1].write(0, b"hello, world\n")
    root.mkdir("sub", 0o777, None)
    root.symlink("link", "hello", None)
    return root


class Server:
    """A session on a tree, and what came of all that it was sent."""

    def __init__(self, root: Any = None, limits: Limits | None = None) -> None:
        self.late = b""
        self.reported: list[BaseException] = []
        self.session = Session(
            Filesystem(root or tree()), write=self._write, limits=limits, report=self.reported.append
        )

    def _write(self, data: bytes) -> None:
        self.late += data

    def begin(self, dialect: m.Dialect, msize: int = 8192) -> None:
        """Negotiate, attach as fid 0, and open a file as fid 1."""
        self.session.receive(m.encode(m.NOTAG, m.Tversion(msize, dialect.version)))
        self.session.receive(m.encode(1, m.Tattach(0, m.NOFID, "", ""), dialect))
        self.session.receive(m.encode(1, m.Twalk(0, 1, ("hello",)), dialect))
        opening = m.Tlopen(1, 2) if dialect is m.LINUX else m.Topen(1, 2)
        self.session.receive(m.encode(1, opening, dialect))

    def receive_all(self, data: bytes) -> bytes:
        """All replies to DATA, however often it takes."""
        replies = self.session.receive(data)
        while self.session.throttled:
            replies += self.session.receive(b"")
        return replies


def frames(data: bytes) -> list[bytes]:
    """DATA, cut into messages."""
    cut = []
    while data:
        size = m.HEAD.unpack_from(data)[0]
        cut.append(data[:size])
        data = data[size:]
    return cut


def _tamed(message: Any, data: st.DataObject) -> Any:
    """MESSAGE with fids and names that often exist."""
    changes: dict[str, Any] = {}
    for name in message._fields:
        if name.endswith("fid") or name == "dirfd":
            changes[name] = data.draw(_fids)
        elif name in ("name", "oldname", "newname"):
            changes[name] = data.draw(_names)
        elif name == "names":
            changes[name] = tuple(data.draw(st.lists(_names, max_size=4)))
    return message._replace(**changes)


class AnyBytesTests(SynchronousTestCase):
    @given(st.binary(max_size=200), any_dialect, st.booleans())
    @settings(deadline=None, max_examples=100)
    def test_noise(self, noise: bytes, dialect: m.Dialect, begun: bool) -> None:
        """Any bytes leave the session alive or closed, before a Tversion and after."""
        server = Server()
        if begun:
            server.begin(dialect)
        server.session.receive(noise)
        server.session.lost()
        self.assertEqual(server.reported, [])

    @given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=60)), max_size=20), any_dialect)
    @settings(deadline=None, max_examples=100)
    def test_bodies(self, bodies: list[tuple[int, bytes]], dialect: m.Dialect) -> None:
        """Any bodies in right frames: each is answered once with its tag, until one ends the session."""
        server = Server()
        server.begin(dialect)
        data = b"".join(
            m.HEAD.pack(7 + len(body), type_, tag) + body for tag, (type_, body) in enumerate(bodies)
        )
        tags = [m.HEAD.unpack_from(reply)[2] for reply in frames(server.receive_all(data))]
        self.assertEqual(tags, list(range(len(tags))))
        if server.session.closed is None:
            self.assertEqual(len(tags), len(bodies))
        self.assertEqual(server.reported, [])

    @given(st.data(), any_dialect, st.integers(256, 600))
    @settings(deadline=None, max_examples=100)
    def test_messages(self, data: st.DataObject, dialect: m.Dialect, msize: int) -> None:
        """Any requests with any fields: each is answered once, by its reply or a refusal, within msize."""
        server = Server(limits=Limits(fids=6))
        server.begin(dialect, msize)
        requests = st.lists(
            messages_of(dialect).filter(
                lambda message: type(message).__name__[0] == "T" and not isinstance(message, m.Tversion)
            ),
            max_size=15,
        )
        for message in data.draw(requests):
            message = _tamed(message, data)
            frame = m.encode(7, message, dialect)
            if len(frame) > msize:
                continue
            (reply,) = frames(server.receive_all(frame))
            self.assertLessEqual(len(reply), msize)
            tag, answer = m.decode(reply, dialect)
            self.assertEqual(tag, 7)
            if not isinstance(answer, (m.Rerror, m.Rlerror)):
                self.assertEqual(m.TYPES[type(answer)], m.TYPES[type(message)] + 1)
            if isinstance(answer, (m.Rread, m.Rreaddir)):
                self.assertLessEqual(len(answer.data), message.count)
        self.assertIsNone(server.session.closed)
        self.assertEqual(server.reported, [])

    @given(st.data())
    @settings(deadline=None, max_examples=100)
    def test_slow(self, data: st.DataObject) -> None:
        """Where the file system answers late, no tag is answered twice and none is lost."""
        dialect = data.draw(any_dialect)
        root = SlowDirectory()
        server = Server(root, Limits(requests=8))
        server.session.receive(m.encode(m.NOTAG, m.Tversion(8192, dialect.version)))
        server.session.receive(m.encode(1, m.Tattach(0, m.NOFID, "", ""), dialect))
        server.session.receive(m.encode(1, m.Twalk(0, 1, ("slow",)), dialect))
        opening = m.Tlopen(1, 2) if dialect is m.LINUX else m.Topen(1, 2)
        server.session.receive(m.encode(1, opening, dialect))
        kinds = [m.Tread(1, 0, 10), m.Twrite(1, 0, b"x"), m.Tclunk(0), m.Tflush(3), m.Tflush(5), m.Tflush(9)]
        asked = data.draw(st.lists(st.tuples(st.integers(0, 10), st.sampled_from(kinds)), max_size=20))
        replies = b"".join(server.session.receive(m.encode(tag, message, dialect)) for tag, message in asked)
        for what in list(root.slow.asked):
            while root.slow.asked[what]:
                deferred = root.slow.asked[what].pop(0)
                if not deferred.called:
                    deferred.callback(b"data" if what == "read" else 1)
        answers = [m.decode(frame, dialect) for frame in frames(replies + server.late)]
        flushed = sum(isinstance(message, m.Tflush) for _, message in asked)
        self.assertLessEqual(len(answers), len(asked))
        self.assertGreaterEqual(len(answers), len(asked) - flushed)
        self.assertEqual(server.session._waiting, {})


class PiecesTests(SynchronousTestCase):
    @given(st.data(), st.sampled_from(sorted(CORPUS)))
    @settings(deadline=None, max_examples=40)
    def test_pieces(self, data: st.DataObject, name: str) -> None:
        """Bytes that come in any pieces are answered as if they had come at once."""
        sent = CORPUS[name][:3000]
        cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=20)))
        pieces = [sent[start:end] for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True)]
        once, often = Server(), Server()
        expected = [frame[4:7] for frame in frames(once.receive_all(sent))]
        answered = [frame[4:7] for frame in frames(b"".join(often.receive_all(piece) for piece in pieces))]
        self.assertEqual(answered, expected)

    def test_byte_by_byte(self) -> None:
        """One byte at a time is as good."""
        server = Server()
        data = m.encode(m.NOTAG, m.Tversion(8192, "9P2000")) + m.encode(1, m.Tattach(0, m.NOFID, "", ""))
        replies = [server.session.receive(data[n : n + 1]) for n in range(len(data))]
        self.assertEqual(len([reply for reply in replies if reply]), 2)


class CorpusTests(SynchronousTestCase):
    """What real clients have sent: the Linux kernel, diod's tools, p9fs, python-9p."""

    def test_replay(self) -> None:
        """Each recorded conversation is answered, message by message."""
        self.assertGreaterEqual(len(CORPUS), 9)
        for name, data in CORPUS.items():
            server = Server()
            self.assertEqual(len(frames(server.receive_all(data))), len(frames(data)), name)
            self.assertIsNone(server.session.closed, name)
            self.assertEqual(server.reported, [], name)

    @given(st.data(), st.sampled_from(sorted(CORPUS)))
    @settings(deadline=None, max_examples=80)
    def test_mutations(self, data: st.DataObject, name: str) -> None:
        """Recorded conversations with bytes changed, messages lost, doubled and swapped do no harm."""
        sent = frames(CORPUS[name])[: data.draw(st.integers(3, 60))]
        for _ in range(data.draw(st.integers(1, 6))):
            index = data.draw(st.integers(1, len(sent) - 1))
            change = data.draw(st.sampled_from(["byte", "drop", "double", "swap", "cut"]))
            frame = sent[index]
            if change == "byte":
                at = data.draw(st.integers(0, max(len(frame) - 1, 0)))
                sent[index] = frame[:at] + bytes([data.draw(st.integers(0, 255))]) + frame[at + 1 :]
            elif change == "drop":
                sent[index] = b""
            elif change == "double":
                sent[index] = frame * 2
            elif change == "swap":
                sent[index], sent[-1] = sent[-1], sent[index]
            else:
                sent[index] = frame[:-1]
        server = Server()
        server.receive_all(b"".join(sent))
        server.session.lost()
        self.assertEqual(server.reported, [])


class KnownKillersTests(SynchronousTestCase):
    """What has killed another server: each ends one connection at most, and is answered where it can be."""

    def answers(self, *bodies: tuple[int, bytes]) -> list[Any]:
        """The replies to messages of these types and bodies; None where the session was closed."""
        results: list[Any] = []
        for type_, body in bodies:
            server = Server()
            server.begin(m.PLAIN)
            replies = frames(server.session.receive(m.HEAD.pack(7 + len(body), type_, 9) + body))
            if server.session.closed is None:
                results.append(m.decode(replies[0]).message)
            else:
                self.assertEqual(replies, [])
                results.append(None)
        return results

    def test_counts(self) -> None:
        """Reads of absurd counts and offsets are cut to what there is."""
        fid, offset = b"\1\0\0\0", bytes(8)
        read = m.TYPES[m.Tread]
        largest, near, far = self.answers(
            (read, fid + offset + b"\xff" * 4),
            (read, fid + offset + b"\xe8\xff\xff\xff"),
            (read, fid + b"\xff" * 8 + b"\xff" * 4),
        )
        self.assertEqual((largest.data, near.data, far.data), (b"hello, world\n", b"hello, world\n", b""))

    def test_lies(self) -> None:
        """Lengths that lie about what follows, and messages that end early, end the session."""
        fid = b"\1\0\0\0"
        lying = [
            (m.TYPES[m.Twalk], fid + b"\2\0\0\0" + b"\xff\xff"),
            (m.TYPES[m.Twalk], fid + b"\2\0\0\0" + b"\1\0" + b"\xff\xffx"),
            (m.TYPES[m.Topen], b""),
            (m.TYPES[m.Twstat], fid + b"\4\0\2\0\0\0"),
            (m.TYPES[m.Twstat], fid + b"\xff\xff"),
            (m.TYPES[m.Twrite], fid + bytes(8) + b"\xff\xff\xff\x7f" + b"abc"),
            (m.TYPES[m.Rerror], b"\2\0no"),
            (m.TYPES[m.Rclunk], b""),
        ]
        self.assertEqual(self.answers(*lying), [None] * len(lying))

    def test_sizes(self) -> None:
        """A frame smaller than its head or larger than msize ends the session, at once."""
        for head in (bytes(7), b"\3\0\0\0\x64\0\0", b"\xff\xff\xff\x7f\x64\0\0", b"\1\x20\0\0\x76\0\0"):
            server = Server()
            server.begin(m.PLAIN)
            self.assertEqual(server.session.receive(head), b"")
            self.assertIsNotNone(server.session.closed, head)
            self.assertEqual(server.session.receive(m.encode(1, m.Tclunk(0))), b"")

    def test_answered_before_the_end(self) -> None:
        """What came before the message that ends the session is answered."""
        server = Server()
        server.begin(m.PLAIN)
        replies = server.session.receive(m.encode(1, m.Tclunk(1)) + bytes(7))
        self.assertEqual(m.decode(replies).message, m.Rclunk())

    def test_many_large_reads(self) -> None:
        """Replies are made only as fast as they can be sent."""
        root = UnixDirectory(None, "/", 0o777)
        root.create("hello", 0o666, 1, None)[1].write(0, bytes(100_000))
        server = Server(root, Limits(reply_bytes=500_000))
        server.begin(m.PLAIN, 1 << 17)
        request = b"".join(m.encode(tag, m.Tread(1, 0, 100_000)) for tag in range(100))
        sizes = [len(server.session.receive(request))]
        while server.session.throttled:
            sizes.append(len(server.session.receive(b"")))
        self.assertEqual(sum(sizes), 100 * 100_011)
        self.assertLessEqual(max(sizes), 600_000)
