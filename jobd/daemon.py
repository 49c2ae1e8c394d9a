"""The daemon: the jobs, and the file service on each address."""

from __future__ import annotations

import gc
import os
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.logger import Logger

from jobd.access import Access, IPeer, identify
from jobd.endpoints import endpoint_description
from jobd.jobs.adoption import Reaper, become_subreaper
from jobd.jobs.cgroups import Cgroups
from jobd.jobs.clock import SystemClock
from jobd.jobs.errors import JobError
from jobd.jobs.here import Here
from jobd.jobs.processes import seal_inherited
from jobd.logs import trace_to_stderr, use_log_level
from jobd.ninep.poller import poller_of
from jobd.ninep.protocol import NinepFactory
from jobd.service import JobService, default_spawner
from jobd.systemd import Notifier
from jobd.zone import ZoneError

GARBAGE = 20_000
"""Objects that are made, and not freed, between two looks for garbage. Python's 700 is for programs that
make many cycles."""

NO_TLS = "TLS is not installed: pip install 'jobd[tls]'"

STOP_SECONDS = 60.0
"""How long a stop may take beside the waiting for runs: its commits, on a slow disk."""


class StartError(Exception):
    """The daemon can't start; `str()` says why in one line."""


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
        self._inherited: list[Any] = []
        self._manager = Notifier(os.environ)
        self._ticking: list[Callable[[], object]] = []
        self.on_hangup: list[Callable[[], object]] = []
        """What else SIGHUP has read or opened anew."""

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
        seal_inherited()
        try:
            jobs = JobService(
                self._reactor,
                options["dbdir"],
                access=Access(anonymous=options["anonymous"]),
                spawner=default_spawner(self._reactor, Here.at_home()),
                max_runs=options["max-runs"],
                stop_wait=options["stop-wait"],
                jobs_mode=options["jobs-mode"],
                max_jobs=options["max-jobs-per-user"],
                cgroups=Cgroups.find(),
            )
        except ZoneError as error:
            raise StartError(str(error)) from None
        self.addService(jobs)
        if options["anonymous"] is not None and options["anonymous"].uid == 0:
            self.log.critical("--anonymous root: whoever reaches it runs commands as root")
        certified = self._certified()
        factory = jobs.factory(
            identify=lambda transport: identify(transport, options["trust-tcp"], certified),
            limits=options["limits"],
            trace=trace_to_stderr if options["debug"] else None,
            poller=poller_of(self._reactor),
        )
        for address in options["fsaddr"]:
            self._listen(address, factory)
        gc.set_threshold(GARBAGE)
        try:
            super().startService()
        except JobError as error:
            raise StartError(f"--dbdir {error}") from None
        # The jobs that were loaded stay; to look for garbage among a hundred thousand would stop all else.
        gc.freeze()
        self._adopt_orphans()
        self._heed_hangup(jobs)
        self._tell_manager(jobs)

    def _adopt_orphans(self) -> None:
        """Wait for whatever runs leave behind, as init would: no zombies, and a run can be ended whole."""
        if become_subreaper():
            self._every_second(Reaper().sweep)

    def _heed_hangup(self, jobs: JobService) -> None:
        """Have SIGHUP open files anew; where we were started on a terminal, whose end it tells, end too."""

        def reread() -> None:
            self._manager.reloading()
            for each in self.on_hangup:
                each()
            time.tzset()
            jobs.reread_zones()
            self.log.info("SIGHUP: the log and the rules of time zones are read anew")
            self._manager.ready()

        meaning = self._reactor.stop if any(map(os.isatty, range(3))) else reread
        signal.signal(signal.SIGHUP, lambda _number, _frame: self._reactor.callFromThread(meaning))

    def _tell_manager(self, jobs: JobService) -> None:
        """Tell the service manager, if there is one, that we serve, and every second how we stand."""
        if not self._manager.heard:
            return

        def tell() -> None:
            paused = ", paused" if jobs.table.paused else ""
            self._manager.alive(f"{len(jobs.table)} jobs, {len(jobs.runner.running)} runs{paused}")

        self._reactor.callWhenRunning(self._manager.ready)
        self._every_second(tell)

    def _every_second(self, function: Callable[[], object]) -> None:
        self._ticking.append(SystemClock(self._reactor).every_second(function))

    def stopService(self) -> Deferred[Any]:
        """Listen no more, then stop the jobs."""
        self._manager.stopping(self._options["stop-wait"] + STOP_SECONDS)
        for port in self._inherited:
            # It goes on listening: who comes now waits for the next daemon. Twisted would unlink its path.
            port.stopReading()
        closed = gatherResults([maybeDeferred(port.stopListening) for port in self._ports])
        stopped = closed.addCallback(lambda _: maybeDeferred(super(Daemon, self).stopService))
        # While we wait for runs, they leave orphans, and the manager wants to hear of us.
        return stopped.addBoth(self._stop_ticking)

    def _stop_ticking(self, result: object) -> object:
        for stop in self._ticking:
            stop()
        return result

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
        ports = self._inherited if address.startswith("systemd:") else self._ports
        listening.addCallbacks(ports.append, lambda failure: refused.append(failure.value))
        if refused:
            raise StartError(f"--fsaddr {address}: {_reason(refused[0])}")


def _reason(error: BaseException) -> str:
    """Why something can't be listened on: twistd tells of a start that failed in 100 bytes at most."""
    if isinstance(error, CannotListenError):
        error = error.socketError
    return (isinstance(error, OSError) and error.strerror) or str(error)
