"""Much at one time: many small files read, many jobs changed, with a bar that shows how far it is."""

from __future__ import annotations

import errno
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import click
from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.python.failure import Failure

from jobd.ninep import messages as m
from jobd.ninep.client import split_path
from jobd.ninep.errors import NinepError
from jobd.ninep.interfaces import OREAD
from jobd.ninep.remote import RemoteFid

_A = TypeVar("_A")
_T = TypeVar("_T")

AT_ONCE = 256
"""Small files that are read, or jobs that are changed, at one time."""
_PATIENCE = 0.5
"""Seconds after which a bar is shown."""


async def at_once(work: Callable[[_A], Awaitable[_T]], items: Sequence[_A], label: str = "") -> list[_T]:
    """What WORK comes to for each of ITEMS; the first failure once there is one.

    `AT_ONCE` of them are under way: when one is done, the next begins.
    """
    found: dict[int, _T] = {}
    waiting = iter(enumerate(items))

    async def worker() -> None:
        for index, item in waiting:
            found[index] = await work(item)
            step()

    with _progress(len(items), label) as step:
        workers = [Deferred.fromCoroutine(worker()) for _ in range(min(AT_ONCE, len(items)))]
        try:
            await gatherResults(workers, consumeErrors=True)
        except FirstError as error:
            error.subFailure.raiseException()
    return [found[index] for index in range(len(items))]


@contextmanager
def _progress(count: int, label: str) -> Iterator[Callable[[], None]]:
    """What is to be called after each of COUNT steps: with a LABEL a bar on a terminal, if it takes long."""
    bar: Any = None
    done, start = 0, time.monotonic()

    def step() -> None:
        nonlocal bar, done
        done += 1
        if bar is not None:
            bar.update(1)
        elif label and time.monotonic() - start > _PATIENCE and sys.stderr.isatty():
            bar = click.progressbar(length=count, label=label, file=sys.stderr)
            bar.__enter__()
            bar.update(done)

    try:
        yield step
    finally:
        if bar is not None:
            bar.__exit__(None, None, None)


async def let_go(fid: RemoteFid) -> None:
    """Clunk FID, whatever comes of that."""
    await fid.clunk().addErrback(lambda _: None)


def fetch(root: RemoteFid, path: str) -> Deferred[str | NinepError]:
    """What is in a small file, or why it can't be read.

    Walk, open, read and clunk are sent at once: jobd answers in order what need not wait, and an error of
    one makes the others fail.  It counts as read when less came than was asked for.
    """
    session, names = root.session, split_path(path)
    number, count = session.take_fid(), 8192
    wrong: list[Failure] = []
    parts: list[bytes] = []

    def walked(reply: m.Rwalk) -> None:
        if len(reply.qids) < len(names):
            wrong.append(Failure(NinepError(errno.ENOENT)))
            session.free_fid(number)

    def finish(clunked: Any) -> Any:
        if not isinstance(clunked, Failure):
            session.free_fid(number)
        if wrong:
            return wrong[0].value if wrong[0].check(NinepError) else wrong[0]
        if len(parts[0]) < count:
            return parts[0].decode("utf-8", "replace")
        return _read_all(root, names)

    walk = session.request(m.Twalk(root.number, number, tuple(names)), fid=number)
    walk.addCallbacks(walked, wrong.append)
    session.request(m.Topen(number, OREAD)).addErrback(wrong.append)
    read = session.request(m.Tread(number, 0, count))
    read.addCallbacks(lambda reply: parts.append(bytes(reply.data)), wrong.append)
    return session.request(m.Tclunk(number)).addBoth(finish)


def _read_all(root: RemoteFid, names: Sequence[str]) -> Deferred[str]:
    async def read() -> str:
        fid = await root.walk(*names)
        try:
            await fid.open(OREAD)
            return (await fid.read_all()).decode("utf-8", "replace")
        finally:
            await let_go(fid)

    return Deferred.fromCoroutine(read())
