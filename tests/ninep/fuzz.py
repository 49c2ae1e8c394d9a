"""Mutated traffic of real clients, for as long as one likes: python -m tests.ninep.fuzz --seconds 600

Each execution is one conversation of the corpus, some of whose messages are changed, doubled, lost or
swapped, or taken from another one; it comes in any pieces.  The session must answer each tag that was asked,
and no other, until it ends the connection; by well-formed replies within msize; and report nothing.
What breaks this is printed with its seed, which makes it again (`--seed`), and ends the run with status 1.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from typing import Any

from jobd.ninep import messages as m
from jobd.ninep.errors import ProtocolError
from jobd.ninep.files import Filesystem
from jobd.ninep.limits import Limits
from jobd.ninep.session import Session
from tests.ninep.test_hostile import CORPUS, frames, tree

CONVERSATIONS = [frames(data) for data in CORPUS.values()]
NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF)
KINDS = [type_ for type_ in m.NAMES if not type_ & 1]


def mutate(frame: bytes, chance: random.Random) -> bytes:
    """FRAME with something changed; its size is right, most of the time."""
    changed = bytearray(frame)
    for _ in range(chance.choice((1, 1, 2, 4))):
        at = chance.randrange(4, len(changed) + 1)
        how = chance.choice((0, 0, 0, 0, 1, 1, 1, 1, 2, 3, 4, 5))  # most leave the layout whole
        if how == 0 and at < len(changed):
            changed[at] ^= 1 << chance.randrange(8)
        elif how == 1:
            width = chance.choice((1, 2, 4, 8))
            number = chance.choice(NUMBERS) + chance.choice((-1, 0, 1))
            changed[at : at + width] = (number % (1 << 8 * width)).to_bytes(width, "little")
        elif how == 2:
            changed[at:at] = chance.randbytes(chance.randrange(1, 9))
        elif how == 3:
            del changed[at : at + chance.randrange(1, 9)]
        elif how == 4:
            changed[4:5] = bytes([chance.choice(KINDS)])
        else:
            changed[at:at] = chance.choice(
                (b"\x02\0..", b"\0\0", b"\x01\0/", b"\x03\0a\0b", b"\x02\0\xff\xfe")
            )
    size = len(changed) if chance.randrange(100) else chance.choice((0, 6, 7, len(changed) + 1, 1 << 31))
    changed[:4] = size.to_bytes(4, "little")
    return bytes(changed)


def conversation(chance: random.Random) -> list[bytes]:
    """The messages of a recorded conversation, and what has become of them."""
    sent = chance.choice(CONVERSATIONS)[: chance.randrange(4, 80)]
    # Its first messages stay now and then, so that it comes to the later ones.
    first = chance.choice((0, 2, 2, 2, 3))
    for _ in range(chance.randrange(1, 12)):
        at, how = chance.randrange(first, len(sent)), chance.randrange(8)
        if how < 3:
            sent[at] = mutate(sent[at], chance)
        elif how == 3:
            sent.insert(at, mutate(sent[at], chance))
        elif how == 4:
            sent.insert(at, chance.choice(chance.choice(CONVERSATIONS)))
        elif how == 5:
            sent.insert(at, chance.choice(sent))
        elif how == 6 and len(sent) > first + 1:
            del sent[at]
        else:
            other = chance.randrange(first, len(sent))
            sent[at], sent[other] = sent[other], sent[at]
    return sent


def pieces(data: bytes, chance: random.Random) -> list[bytes]:
    """DATA as a network may bring it."""
    if chance.randrange(3):
        return [data]
    cuts = sorted(chance.randrange(len(data) + 1) for _ in range(chance.randrange(1, 6)))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def asked(data: bytes) -> Counter[int]:
    """How often each tag is asked in DATA, as far as it can be cut into messages."""
    tags: Counter[int] = Counter()
    while len(data) >= m.HEAD.size:
        size, _, tag = m.HEAD.unpack_from(data)
        if not m.HEAD.size <= size <= len(data):
            break
        tags[tag] += 1
        data = data[size:]
    return tags


def is_reply(frame: bytes) -> bool:
    """Whether FRAME is a reply in one of the dialects."""
    for dialect in m.DIALECTS.values():
        try:
            return type(m.decode(frame, dialect).message).__name__.startswith("R")
        except ProtocolError:
            continue
    return False


def execute(filesystem: Any, sent: list[bytes], chance: random.Random, seen: Counter[str]) -> None:
    """Hold a conversation and count in SEEN what is answered; AssertionError where the session does wrong."""
    late: list[bytes] = []
    reported: list[BaseException] = []
    limits = Limits(msize=1 << chance.randrange(9, 18), fids=chance.choice((4, 1000)), requests=8)
    session = Session(filesystem, write=late.append, limits=limits, report=reported.append)
    data = b"".join(sent)
    answered = []
    for piece in pieces(data, chance):
        answered.append(session.receive(piece))
        while session.throttled:
            answered.append(session.receive(b""))
    replies = frames(b"".join(answered + late))
    tags = asked(data)
    for reply in replies:
        assert is_reply(reply), f"no reply: {reply!r}"
        assert len(reply) <= limits.msize, f"a reply of {len(reply)} bytes where msize is {limits.msize}"
        tags[m.HEAD.unpack_from(reply)[2]] -= 1
        seen[m.NAMES[reply[4]]] += 1
    assert min(tags.values(), default=0) >= 0, "a tag was answered that was not asked"
    assert session.closed is not None or not any(tags.values()), f"unanswered tags: {+tags}"
    session.lost()
    assert not reported, repr(reported[0])
    seen["closed"] += session.closed is not None


def fuzz(make_filesystem: Callable[[], Any], seconds: float, seed: int) -> int:
    """Execute conversations from SEED on; 0, or 1 where one went wrong."""
    seen: Counter[str] = Counter()
    end, count, filesystem = time.monotonic() + seconds, 0, None
    while count == 0 or time.monotonic() < end:
        # A tree serves a hundred conversations, each of which may have changed it.
        if filesystem is None or count % 100 == 0:
            filesystem = make_filesystem()
        chance = random.Random(seed + count)
        sent = conversation(chance)
        try:
            execute(filesystem, sent, chance, seen)
        except Exception:
            print(f"seed {seed + count}: {b''.join(sent)!r}")
            traceback.print_exc()
            return 1
        count += 1
    print(f"{count} executions from seed {seed} on, {dict(sorted(seen.items()))}")
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    sys.exit(fuzz(lambda: Filesystem(tree()), options.seconds, options.seed))
