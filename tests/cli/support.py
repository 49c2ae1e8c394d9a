"""jobctl against a jobd in this process: both on one reactor, which turns while jobctl waits."""

from __future__ import annotations

import os
import tempfile
import time
import unittest
from collections.abc import Callable, Coroutine
from typing import Any

from click.testing import CliRunner, Result
from twisted.internet.defer import Deferred
from twisted.internet.selectreactor import SelectReactor
from twisted.python.failure import Failure

from jobd.access import Peer, identify
from jobd.cli.main import jobctl
from jobd.cli.session import Session
from jobd.ninep.protocol import NinepFactory
from jobd.testing import MemoryJobd

PATIENCE = 30


class Here:
    """A jobd that listens on a unix socket until the end of a test, and jobctl for it."""

    def __init__(self, test: unittest.TestCase, who: Callable[[Any], Peer] = identify) -> None:
        """WHO says who is at the other end of a transport."""
        self.jobd = MemoryJobd()
        self.reactor: Any = SelectReactor()
        directory = tempfile.TemporaryDirectory(prefix="jobctl")
        self.address = "unix:" + os.path.join(directory.name, "socket")
        factory = NinepFactory(self.jobd.tree, identify=who)
        port = self.reactor.listenUNIX(self.address.removeprefix("unix:"), factory)
        test.addCleanup(directory.cleanup)
        test.addCleanup(self.jobd.close)
        test.addCleanup(lambda: self.drive(lambda _: _waited(port.stopListening())))

    def drive(self, main: Callable[[Any], Coroutine[Any, Any, Any]]) -> Any:
        """What MAIN comes to, while the reactor of both turns."""
        results: list[Any] = []
        Deferred.fromCoroutine(main(self.reactor)).addBoth(results.append)
        deadline = time.monotonic() + PATIENCE
        while not results and time.monotonic() < deadline:
            self.reactor.iterate(0.01)
        if not results:
            raise AssertionError("jobctl waits for something that doesn't come")
        if isinstance(results[0], Failure):
            results[0].raiseException()
        return results[0]

    def __call__(self, *arguments: str, input: str | bytes | None = None, **more: Any) -> Result:
        """What `jobctl ARGUMENTS` did."""
        session = Session(self.address, self.drive)
        return run(*arguments, input=input, obj=session, **more)


async def _waited(deferred: Any) -> Any:
    return await deferred if isinstance(deferred, Deferred) else deferred


def run(*arguments: str, **more: Any) -> Result:
    """What `jobctl ARGUMENTS` did, in this process; what it raises but its own errors is raised."""
    result = CliRunner().invoke(jobctl, list(arguments), **more)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result
