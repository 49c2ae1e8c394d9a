"""The ram file system beside a dict: after any operations through a client, both hold the same."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from examples.ramfs import RamDirectory
from jobd.ninep.errors import NinepError
from jobd.ninep.files import Filesystem
from jobd.ninep.interfaces import SetStat
from jobd.ninep.testing import connect

_names = st.sampled_from(["a", "b", "ü c"])
_paths = st.lists(_names, min_size=1, max_size=3).map(tuple)
_data = st.binary(max_size=50) | st.just(b"long " * 100)


def _result(deferred: Deferred[Any]) -> Any:
    """What a Deferred has fired with; a failure is raised."""
    results: list[Any] = []
    deferred.addBoth(results.append)
    (result,) = results
    if hasattr(result, "raiseException"):
        result.raiseException()
    return result


class RamMachine(RuleBasedStateMachine):
    """`model` maps a path to the bytes of a file, or to None for a directory."""

    version = ""

    def __init__(self) -> None:
        super().__init__()
        self.model: dict[tuple[str, ...], bytes | None] = {(): None}
        filesystem = Filesystem(RamDirectory(None, "/", 0o777))
        # A small msize, so that most files and directories take several messages.
        self.client = _result(connect(filesystem, self.version, msize=300))

    def children(self, path: tuple[str, ...]) -> list[str]:
        return [other[-1] for other in self.model if len(other) == len(path) + 1 and other[:-1] == path]

    def is_directory(self, path: tuple[str, ...]) -> bool:
        return path in self.model and self.model[path] is None

    def attempt(self, call: Callable[[], Deferred[Any]], allowed: bool) -> Any:
        """CALL must succeed if ALLOWED, and be refused if not."""
        try:
            result = _result(call())
        except NinepError as error:
            assert not allowed, error
            return None
        assert allowed
        return result

    @rule(path=_paths)
    def mkdir(self, path: tuple[str, ...]) -> None:
        allowed = self.is_directory(path[:-1]) and path not in self.model
        self.attempt(lambda: self.client.mkdir("/".join(path)), allowed)
        if allowed:
            self.model[path] = None

    @rule(path=_paths, data=_data, append=st.booleans())
    def write(self, path: tuple[str, ...], data: bytes, append: bool) -> None:
        allowed = self.is_directory(path[:-1]) and not self.is_directory(path)
        self.attempt(lambda: self.client.write_file("/".join(path), data, append, perm=0o644), allowed)
        if allowed:
            self.model[path] = (self.model.get(path) or b"") + data if append else data

    @rule(path=_paths)
    def read(self, path: tuple[str, ...]) -> None:
        contents = self.model.get(path)
        readable = path in self.model and (contents is not None or self.version != "9P2000.L")
        read = self.attempt(lambda: self.client.read_file("/".join(path)), readable)
        if contents is not None:
            assert read == contents

    @rule(path=_paths, length=st.integers(0, 600))
    def truncate(self, path: tuple[str, ...], length: int) -> None:
        contents = self.model.get(path)
        self.attempt(
            lambda: self.client.set_stat("/".join(path), SetStat(length=length)), contents is not None
        )
        if contents is not None:
            self.model[path] = contents[:length].ljust(length, b"\0")

    @rule(path=_paths)
    def remove(self, path: tuple[str, ...]) -> None:
        allowed = path in self.model and not self.children(path)
        self.attempt(lambda: self.client.remove("/".join(path)), allowed)
        if allowed:
            del self.model[path]

    @rule(old=_paths, new=_paths)
    def rename(self, old: tuple[str, ...], new: tuple[str, ...]) -> None:
        allowed = old in self.model and self.is_directory(new[:-1])
        allowed = allowed and (old[:-1] == new[:-1] or self.version == "9P2000.L")
        allowed = allowed and new[: len(old)] != old
        if new in self.model:
            allowed = allowed and self.is_directory(old) == self.is_directory(new) and not self.children(new)
        if old == new and old in self.model:
            allowed = True
        self.attempt(lambda: self.client.rename("/".join(old), "/".join(new)), allowed)
        if allowed and old != new:
            self.model.pop(new, None)
            for path in [path for path in self.model if path[: len(old)] == old]:
                self.model[new + path[len(old) :]] = self.model.pop(path)

    @invariant()
    def same(self) -> None:
        for path, contents in self.model.items():
            stat = _result(self.client.stat("/".join(path)))
            assert bool(stat.mode >> 31) == (contents is None)
            assert stat.length == len(contents or b"")
            if contents is None:
                assert sorted(_result(self.client.listdir("/".join(path)))) == sorted(self.children(path))


class MachineTests(SynchronousTestCase):
    def run_machine(self, version: str) -> None:
        machine = type("Machine", (RamMachine,), {"version": version})
        run_state_machine_as_test(
            machine, settings=settings(deadline=None, max_examples=15, stateful_step_count=20)
        )

    def test_plain(self) -> None:
        """In 9P2000 the tree equals a dict after any operations."""
        self.run_machine("9P2000")

    def test_unix(self) -> None:
        """In 9P2000.u the tree equals a dict after any operations."""
        self.run_machine("9P2000.u")

    def test_linux(self) -> None:
        """In 9P2000.L the tree equals a dict after any operations."""
        self.run_machine("9P2000.L")

    def test_rename_across(self) -> None:
        """Only 9P2000.L moves between directories: in the others that is EXDEV, as for rename(2)."""
        client = _result(connect(Filesystem(RamDirectory(None, "/", 0o777)), "9P2000.u"))
        _result(client.mkdir("d"))
        _result(client.write_file("f", b"", perm=0o644))
        self.assertEqual(self.failureResultOf(client.rename("f", "d/f"), NinepError).value.errno, errno.EXDEV)
