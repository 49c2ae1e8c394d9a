"""The options of `twistd jobd`, and the service they make."""

from __future__ import annotations

import os
from typing import Any

import tzlocal
from twisted.application.service import IService, MultiService
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort
from twisted.python import usage

from jobd.access import Access, User, identify
from jobd.jobs import processes
from jobd.jobs.errors import JobError
from jobd.logs import parse_log_level, trace_to_stderr, use_log_level
from jobd.ninep.protocol import NinepFactory
from jobd.schedule.durations import parse_duration
from jobd.service import JobService, default_max_runs

ADDRESS = "0.0.0.0:5640"


def endpoint_description(address: str) -> str:
    """The Twisted endpoint string of ADDRESS: `host:port`, `:port`, `[::1]:port`, or one already.

    UsageError where it is none of these.
    """
    host, colon, port = address.rpartition(":")
    if (
        colon
        and port.isascii()
        and port.isdigit()
        and (":" not in host or host.startswith("["))
        and "=" not in host
    ):
        if int(port) > 65535:
            raise usage.UsageError(f"--fsaddr {address}: port {port} is not in 0 to 65535")
        if host.startswith("[") and host.endswith("]"):
            interface = host[1:-1].replace(":", "\\:")
            return f"tcp6:port={port}:interface={interface}"
        return f"tcp:port={port}" + (f":interface={host}" if host else "")
    return address


def default_directory() -> str:
    """Where the database lives: /var/lib/jobd, or an ordinary user's own state directory."""
    if os.geteuid() == 0:
        return "/var/lib/jobd"
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return os.path.join(state, "jobd")


class Options(usage.Options):
    """What `twistd jobd` takes."""

    synopsis = "[options]"
    longdesc = "Serves a 9P file system in which every scheduled job is a directory. See jobd(8)."
    optFlags = [["debug", None, "Say every 9P message on stderr, a line each."]]  # noqa: RUF012
    optParameters = [  # noqa: RUF012
        [
            "dbdir",
            None,
            None,
            "Where the database lives (/var/lib/jobd; an ordinary user's $XDG_STATE_HOME/jobd).",
        ],
        [
            "log-level",
            None,
            "info",
            "What is logged: debug, info, warn, error or critical; or by part: warn,jobd.jobs=debug.",
        ],
        ["anonymous", None, None, "Whom a peer without a proved identity acts as (refused)."],
        ["jobs-mode", None, "0711", "The mode of a new job's directory."],
        ["max-runs", None, None, "Runs at a time; due ones wait in order (8 a core, at least 64)."],
        ["stop-wait", None, "0s", "How long a stop waits for runs before it leaves them running and goes."],
    ]

    def __init__(self) -> None:
        super().__init__()
        self["fsaddr"] = []

    def opt_fsaddr(self, address: str) -> None:
        """Where the file service listens: host:port, :port, [::1]:port or a Twisted endpoint such as
        unix:/run/jobd.sock; may be given more than once. [default: 0.0.0.0:5640]
        """
        self["fsaddr"].append(endpoint_description(address))

    def postOptions(self) -> None:
        """Check what can be checked before anything starts."""
        self["fsaddr"] = self["fsaddr"] or [endpoint_description(ADDRESS)]
        self["dbdir"] = os.path.abspath(self["dbdir"] or default_directory())
        self["log-level"] = _checked("log-level", self["log-level"], parse_log_level)
        self["stop-wait"] = _checked("stop-wait", self["stop-wait"], parse_duration)
        self["jobs-mode"] = _checked("jobs-mode", self["jobs-mode"], _mode)
        self["max-runs"] = (
            default_max_runs() if self["max-runs"] is None else _checked("max-runs", self["max-runs"], _count)
        )
        if self["anonymous"] is not None:
            self["anonymous"] = _checked("anonymous", self["anonymous"], _user)


def _checked(option: str, text: str, parse: Any) -> Any:
    try:
        return parse(text)
    except ValueError as error:
        raise usage.UsageError(f"--{option} {text}: {error}") from None


def _mode(text: str) -> int:
    if not 3 <= len(text) <= 4 or any(digit not in "01234567" for digit in text) or int(text, 8) > 0o777:
        raise ValueError("three octal digits are expected, such as 0711")
    return int(text, 8)


def _user(name: str) -> User:
    user = User.by_name(name)
    if user is None:
        raise ValueError("there is no such user on this machine")
    return user


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text) <= 1_000_000:
        raise ValueError("a number from 1 to 1000000 is expected")
    return int(text)


class Daemon(MultiService):
    """All of it: the jobs, and the file service on each address. What can't start ends the program with
    one line.
    """

    def __init__(self, options: Options, reactor: Any) -> None:
        super().__init__()
        self._options = options
        self._reactor = reactor
        self._ports: list[IListeningPort] = []

    def startService(self) -> None:
        """Open the store, load the jobs, then listen."""
        options = self._options
        use_log_level(options["log-level"])
        processes.seal_inherited()
        jobs = JobService(
            self._reactor,
            options["dbdir"],
            access=Access(anonymous=options["anonymous"]),
            spawner=processes.PosixSpawner(self._reactor)
            if processes.available()
            else processes.SetsidSpawner(self._reactor),
            zone=tzlocal.get_localzone_name(),
            max_runs=options["max-runs"],
            stop_wait=options["stop-wait"],
            jobs_mode=options["jobs-mode"],
        )
        self.addService(jobs)
        try:
            super().startService()
        except JobError as error:
            raise SystemExit(f"jobd: --dbdir {error}") from None
        trace = trace_to_stderr if options["debug"] else None
        factory = NinepFactory(jobs.filesystem, identify=identify, trace=trace)
        for description in options["fsaddr"]:
            self._listen(description, factory)

    def stopService(self) -> Deferred[Any]:
        """Listen no more, then stop the jobs."""
        closed = gatherResults([maybeDeferred(port.stopListening) for port in self._ports])
        return closed.addCallback(lambda _: maybeDeferred(super(Daemon, self).stopService))

    def _listen(self, description: str, factory: NinepFactory) -> None:
        try:
            listening = serverFromString(self._reactor, description).listen(factory)
        except (ValueError, LookupError, TypeError, OSError) as error:
            raise SystemExit(f"jobd: --fsaddr {description}: {error}") from None
        # An endpoint listens at once, or fails at once.
        refused: list[str] = []
        listening.addCallbacks(self._ports.append, lambda failure: refused.append(failure.getErrorMessage()))
        if refused:
            raise SystemExit(f"jobd: --fsaddr {description}: {refused[0]}")


def makeService(options: Options) -> IService:
    """What `twistd jobd` runs."""
    from twisted.internet import reactor

    return Daemon(options, reactor)
