"""The daemon: the jobs, and the file service on each address."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import tzlocal
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.internet.task import deferLater
from twisted.logger import Logger

from jobd.access import Access, IPeer, identify
from jobd.endpoints import endpoint_description
from jobd.jobs import processes
from jobd.jobs.adoption import Reaper, become_subreaper
from jobd.jobs.cgroups import Cgroups
from jobd.jobs.clock import SystemClock
from jobd.jobs.errors import JobError
from jobd.logs import trace_to_stderr, use_log_level
from jobd.metrics import ninep_metrics
from jobd.ninep.poller import poller_of
from jobd.ninep.protocol import NinepFactory
from jobd.service import JobService

NO_ZONE = "the local time zone has no IANA name: set TZ to one, such as TZ=Europe/Berlin"

NO_TLS = "TLS is not installed: pip install 'jobd[tls]'"


class StartError(Exception):
    """The daemon can't start; `str()` says why in one line."""


def local_zone() -> str:
    """The IANA name of this machine's time zone; `StartError` where it can't be found out."""
    try:
        name = tzlocal.get_localzone_name()
        zone = ZoneInfo(name)
    except (LookupError, ValueError, TypeError, OSError):
        raise StartError(NO_ZONE) from None
    now = time.time()
    for moment in (now, now + 182 * 86400):
        offset = datetime.fromtimestamp(moment, zone).utcoffset()
        if offset is None or offset.total_seconds() != time.localtime(moment).tm_gmtoff:
            raise StartError(NO_ZONE)
    return name


class Daemon(MultiService):
    """All of it: the jobs, and the file service on each address.  What can't start ends the program with
    one line.
    """

    log = Logger()

    def __init__(self, options: Mapping[str, Any], reactor: Any, *, in_background: bool = False) -> None:
        """OPTIONS are those of `jobd.tap`.  IN_BACKGROUND is whether twistd makes a daemon of this:
        its first process then waits for an exception, and tells of it.
        """
        super().__init__()
        self._in_background = in_background
        self._options = options
        self._reactor = reactor
        self._ports: list[IListeningPort] = []
        self._factory: NinepFactory | None = None
        self._stop_reaping: Callable[[], object] = lambda: None

    def startService(self) -> None:
        """Listen, then open the store and load the jobs: nothing runs in a daemon that can't be reached."""
        use_log_level(self._options["log-level"])
        self._reactor.callWhenRunning(use_log_level, self._options["log-level"])
        try:
            self._start()
        except StartError as error:
            if self._in_background:
                raise
            raise SystemExit(f"jobd: {error}") from None

    def _start(self) -> None:
        options = self._options
        if len(set(os.getresuid())) > 1:
            # What it starts could take back the user that it was.
            raise StartError(
                "it runs as two users at once: twistd's --euid keeps root at hand, --uid does not"
            )
        processes.seal_inherited()
        jobs = JobService(
            self._reactor,
            options["dbdir"],
            access=Access(anonymous=options["anonymous"]),
            spawner=processes.PosixSpawner(self._reactor)
            if processes.available()
            else processes.SetsidSpawner(self._reactor),
            zone=local_zone(),
            max_runs=options["max-runs"],
            stop_wait=options["stop-wait"],
            jobs_mode=options["jobs-mode"],
            max_jobs=options["max-jobs-per-user"],
            cgroups=Cgroups.find(),
        )
        self.addService(jobs)
        if options["anonymous"] is not None and options["anonymous"].uid == 0:
            self.log.critical("--anonymous root: whoever reaches it runs commands as root")
        certified = self._certified()
        self._factory = factory = NinepFactory(
            None,
            identify=lambda transport: identify(transport, options["trust-tcp"], certified),
            limits=options["limits"],
            trace=trace_to_stderr if options["debug"] else None,
            poller=poller_of(self._reactor),
        )
        jobs.metrics.append(lambda: ninep_metrics(factory))
        for address in options["fsaddr"]:
            self._listen(address, factory)
        try:
            super().startService()
        except JobError as error:
            raise StartError(f"--dbdir {error}") from None
        # No connection is accepted before the reactor has its turn.
        factory.filesystem = jobs.filesystem
        self._adopt_orphans()

    def _adopt_orphans(self) -> None:
        """Wait for whatever runs leave behind, as init would: no zombies, and a run can be ended whole."""
        if become_subreaper():
            self._stop_reaping = SystemClock(self._reactor).every_second(Reaper().sweep)

    def stopService(self) -> Deferred[Any]:
        """Listen no more and end the connections, then stop the jobs."""
        self._stop_reaping()
        closed = gatherResults([maybeDeferred(port.stopListening) for port in self._ports])
        for connection in tuple(self._factory.connections) if self._factory is not None else ():
            connection.transport.abortConnection()
        # Connections end in the reactor's next turn, and what they had open is closed then.
        closed.addCallback(lambda _: deferLater(self._reactor, 0))
        return closed.addCallback(lambda _: maybeDeferred(super(Daemon, self).stopService))

    def _certified(self) -> Callable[[Any, str], IPeer] | None:
        """What makes the peer of a TLS transport; None where nobody has said whom certificates are."""
        path = self._options["tls-users"]
        if path is None:
            return None
        try:
            from jobd import tls
        except ImportError:
            raise StartError(f"--tls-users {path}: {NO_TLS}") from None
        try:
            users = tls.read_users(path)
        except (ValueError, OSError) as error:
            raise StartError(f"--tls-users {path}: {_reason(error)}") from None
        return lambda transport, place: tls.CertifiedPeer(transport, place, users)

    def _endpoint(self, address: str) -> IStreamServerEndpoint:
        description = endpoint_description(address)
        if description.startswith("ssl:"):
            from jobd.tls import tls_endpoint

            return tls_endpoint(self._reactor, description, self._options["tls-ca"])
        endpoint: IStreamServerEndpoint = serverFromString(self._reactor, description)
        return endpoint

    def _listen(self, address: str, factory: NinepFactory) -> None:
        try:
            listening = self._endpoint(address).listen(factory)
        except ImportError:
            raise StartError(f"--fsaddr {address}: {NO_TLS}") from None
        except (ValueError, LookupError, TypeError, OSError) as error:
            raise StartError(f"--fsaddr {address}: {_reason(error)}") from None
        # An endpoint listens at once, or fails at once.
        refused: list[BaseException] = []
        listening.addCallbacks(self._ports.append, lambda failure: refused.append(failure.value))
        if refused:
            raise StartError(f"--fsaddr {address}: {_reason(refused[0])}")


def _reason(error: BaseException) -> str:
    """Why something can't be listened on: twistd tells of a start that failed in 100 bytes at most."""
    if isinstance(error, CannotListenError):
        error = error.socketError
    return (isinstance(error, OSError) and error.strerror) or str(error)
