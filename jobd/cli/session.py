"""Where the daemon is, and how a coroutine is run against it."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from jobd.cli.address import DEFAULT, NO_FILES, AddressError, TlsFiles, endpoint, tls_trouble
from jobd.cli.statuses import INTERRUPTED, NO_DAEMON, Failed, Lost

if TYPE_CHECKING:
    from jobd.cli.daemon import Daemon

_T = TypeVar("_T")

_RETRY = 1
"""Seconds between two looks for a daemon that went away."""


def run_reactor(main: Callable[[Any], Coroutine[Any, Any, _T]]) -> _T:
    """What MAIN comes to, while a reactor of its own runs. An interrupt ends jobctl with status 130.

    The installed reactor would run once in a process; `edit` asks the daemon before and after.
    """
    from twisted.internet.defer import Deferred
    from twisted.internet.selectreactor import SelectReactor
    from twisted.python.failure import Failure

    reactor: Any = SelectReactor()
    results: list[Any] = []

    def begin() -> None:
        Deferred.fromCoroutine(main(reactor)).addBoth(end)

    def end(result: Any) -> None:
        # A stop that a signal asked for ends connections too: what comes of that doesn't count.
        results.append(result)
        if reactor.running:
            reactor.stop()

    def interrupted() -> None:
        if not results:
            results.append(Failure(SystemExit(INTERRUPTED)))

    reactor.callWhenRunning(begin)
    reactor.addSystemEventTrigger("before", "shutdown", interrupted)
    reactor.run()
    result = results[0]
    if isinstance(result, Failure):
        result.raiseException()
    return result  # type: ignore[no-any-return]


class Session:
    """One use of jobctl: an address, and how coroutines are run (`run_reactor`, or a test's own way)."""

    def __init__(
        self, address: str, run: Callable[[Any], Any] = run_reactor, files: TlsFiles = NO_FILES
    ) -> None:
        self.address = address
        self._files = files
        self._run = run

    def call(self, work: Callable[[Daemon], Coroutine[Any, Any, _T]]) -> _T:
        """Connect, and give what WORK comes to with the daemon. Raises `Failed` where that fails."""
        from twisted.internet.error import ConnectError, ConnectionClosed, DNSLookupError

        from jobd.ninep.errors import ProtocolError

        async def main(reactor: Any) -> _T:
            daemon = await self._connect(reactor)
            try:
                return await work(daemon)
            finally:
                daemon.client.disconnect()

        try:
            result: _T = self._run(main)
        except AddressError as error:
            raise Failed(str(error), 2) from None
        except (ConnectError, DNSLookupError) as error:
            raise Lost(f"no jobd can be reached at {self.address}: {_reason(error)}") from None
        except ConnectionClosed:
            raise Lost(f"the connection to jobd at {self.address} was lost") from None
        except ProtocolError as error:
            raise Failed(f"what listens at {self.address} is no jobd: {error}", NO_DAEMON) from None
        except Exception as error:
            if not (why := tls_trouble(error)):
                raise
            raise Failed(f"no TLS with jobd at {self.address}: {why}", NO_DAEMON) from None
        return result

    def insist(
        self, work: Callable[[Daemon], Coroutine[Any, Any, _T]], begun: Callable[[], bool] = lambda: True
    ) -> _T:
        """`call` WORK; again, where the connection is lost once it has BEGUN, when there is a daemon."""
        from twisted.internet.task import deferLater

        said = False

        async def again(daemon: Daemon) -> _T:
            nonlocal said
            said = False
            return await work(daemon)

        async def pause(reactor: Any) -> None:
            await deferLater(reactor, _RETRY)

        while True:
            try:
                return self.call(again)
            except Lost as lost:
                if not begun():
                    raise
                if not said:
                    click.echo(f"jobctl: {lost.message}; waiting for it to come back", err=True)
                said = True
            self._run(pause)

    async def _connect(self, reactor: Any) -> Daemon:
        from jobd.cli.daemon import Daemon
        from jobd.ninep.client import connect
        from jobd.ninep.errors import NinepError

        try:
            # In 9P2000.u a refusal comes in words, and stat has the names of owners.
            client = await connect(endpoint(self.address, self._files, reactor), version="9P2000.u")
        except NinepError as error:
            raise Failed(f"jobd at {self.address} lets you not in: {error}", NO_DAEMON) from None
        assert client.root is not None
        return Daemon(client, client.root, reactor)


def _reason(error: Exception) -> str:
    """Why a connection could not be made, without Twisted's words around it."""
    number = getattr(error, "osError", None)
    why = os.strerror(number) if isinstance(number, int) else str(error).rstrip(".")
    return why if why[:2].isupper() else why[:1].lower() + why[1:]


TLS_OPTIONS = ("tls_ca", "tls_cert", "tls_key")


def session_of(params: Mapping[str, Any]) -> Session:
    """Where the options before the subcommand say that jobd is."""
    files = TlsFiles(*(params.get(name) or "" for name in TLS_OPTIONS))
    address = params.get("addr")
    return Session(DEFAULT if address is None else address, files=files)
