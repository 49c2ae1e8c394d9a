"""The options of `twistd jobd`, and the service they make."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Any, NamedTuple

from twisted.python import usage

import jobd
from jobd.access import User
from jobd.daemon import Daemon
from jobd.endpoints import endpoint_description
from jobd.jobs.options import parse_size
from jobd.logs import parse_log_level
from jobd.ninep.limits import Limits
from jobd.schedule.durations import parse_duration
from jobd.service import default_max_runs
from jobd.systemd import inherited_addresses

ADDRESS = "0.0.0.0:5640"
TRUST_TCP = ("all", "users", "none")


def default_directory() -> str:
    """Where the database lives: /var/lib/jobd, or an ordinary user's state directory, which is made."""
    if os.geteuid() == 0:
        return "/var/lib/jobd"
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    with contextlib.suppress(OSError):  # the store says what is wrong
        os.makedirs(state, 0o700, exist_ok=True)
    return os.path.join(state, "jobd")


class _Limit(NamedTuple):
    """An option that is a field of `Limits`."""

    option: str
    field: str
    default: str
    parse: Callable[[str], Any]
    help: str


def _number(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 10) or not least <= int(text) <= most:
            raise ValueError(f"a number from {least} to {most} is expected")
        return int(text)

    return parse


def _bytes(least: str, most: str) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            size = parse_size(text)
        except ValueError:
            size = -1
        if not parse_size(least) <= size <= parse_size(most):
            raise ValueError(f"a number of bytes from {least} to {most} is expected, such as 64K")
        return size

    return parse


def _timeout(text: str) -> float | None:
    if text == "none":
        return None
    seconds = parse_duration(text)
    if not seconds:
        raise ValueError("a time above 0 is expected, or none")
    return seconds


_count = _number(1, 1_000_000)
_LIMITS = (
    _Limit("max-connections", "connections", "512", _count, "Connections at a time."),
    _Limit("attach-timeout", "greeting", "60s", _timeout, "How long a client may take until it attaches."),
    _Limit(
        "idle-timeout", "idle", "none", _timeout, "How long a client may say nothing before it is dropped."
    ),
    _Limit("max-msize", "msize", "1M", _bytes("4K", "16M"), "Bytes of the largest 9P message."),
    _Limit("max-fids", "fids", "65536", _count, "Files that one connection may hold."),
    _Limit("max-requests", "requests", "1024", _number(1, 65535), "Requests of one connection that wait."),
    _Limit(
        "max-waiting-bytes",
        "waiting_bytes",
        "64M",
        _bytes("4K", "4G"),
        "Bytes that the reads of one connection that wait may ask for, together.",
    ),
    _Limit(
        "max-reply-bytes",
        "reply_bytes",
        "64K",
        _bytes("1", "64M"),
        "Bytes of replies made at once, before the client must read some.",
    ),
)


class Options(usage.Options):
    """What `twistd jobd` takes."""

    synopsis = "[options]"
    longdesc = "Serves a 9P file system in which every scheduled job is a directory. See jobd(8)."
    optFlags = [["debug", None, "Say every 9P message on stderr, a line each."]]  # noqa: RUF012, N815
    optParameters = [  # noqa: RUF012, N815
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
        [
            "trust-tcp",
            None,
            "all",
            "Whether the owner of a local TCP peer's socket is believed: all, users (all but root) or none.",
        ],
        ["tls-ca", None, None, "Who signs the certificates of TLS clients: a PEM file."],
        ["tls-users", None, None, "Which certificate is which user: a file of lines NAME = USER."],
        ["jobs-mode", None, "0711", "The mode of a new job's directory."],
        ["max-jobs-per-user", None, "1000", "Jobs that a user other than root may have."],
        ["max-runs", None, None, "Runs at a time; due ones wait in order (8 a core, at least 64)."],
        ["stop-wait", None, "0s", "How long a stop waits for runs before it leaves them running and goes."],
        *([limit.option, None, limit.default, limit.help] for limit in _LIMITS),
    ]

    def __init__(self) -> None:
        super().__init__()
        self["fsaddr"] = []

    def opt_fsaddr(self, address: str) -> None:
        """Where the file service listens: host:port, :port, [::1]:port or a Twisted endpoint such as
        unix:/run/jobd.sock; may be given more than once. [default: the sockets that systemd hands over,
        else 0.0.0.0:5640]
        """
        _checked("fsaddr", address, endpoint_description)
        self["fsaddr"].append(address)

    def opt_version(self) -> None:
        """Say which jobd this is, and end."""
        print(f"jobd {jobd.__version__}")
        raise SystemExit(0)

    def postOptions(self) -> None:
        """Check what can be checked before anything starts."""
        self["fsaddr"] = self["fsaddr"] or _inherited() or [ADDRESS]
        self["dbdir"] = os.path.abspath(self["dbdir"] or default_directory())
        self["log-level"] = _checked("log-level", self["log-level"], parse_log_level)
        self["stop-wait"] = _checked("stop-wait", self["stop-wait"], parse_duration)
        self["jobs-mode"] = _checked("jobs-mode", self["jobs-mode"], _mode)
        self["max-runs"] = (
            default_max_runs() if self["max-runs"] is None else _checked("max-runs", self["max-runs"], _count)
        )
        self["trust-tcp"] = _checked("trust-tcp", self["trust-tcp"], _trust)
        self["max-jobs-per-user"] = _checked("max-jobs-per-user", self["max-jobs-per-user"], _count)
        self["limits"] = self._limits()
        self._check_tls()
        if self["anonymous"] is not None:
            self["anonymous"] = _checked("anonymous", self["anonymous"], _user)

    def _limits(self) -> Limits:
        limits = Limits(
            **{limit.field: _checked(limit.option, self[limit.option], limit.parse) for limit in _LIMITS}
        )
        if limits.waiting_bytes < limits.msize:
            raise usage.UsageError(
                f"--max-waiting-bytes {self['max-waiting-bytes']}: that is less than --max-msize"
                f" {self['max-msize']}, the largest read: none could wait"
            )
        return limits

    def _check_tls(self) -> None:
        """The two options of TLS go together, and with an address that speaks it."""
        for option, other in (("tls-ca", "tls-users"), ("tls-users", "tls-ca")):
            if self[option] is None:
                continue
            if self[other] is None:
                raise usage.UsageError(f"--{option} {self[option]}: --{other} FILE is needed too")
            if not any(address.startswith("ssl:") for address in self["fsaddr"]):
                raise usage.UsageError(f"--{option} {self[option]}: no --fsaddr is ssl:")
            self[option] = os.path.abspath(self[option])


def _inherited() -> list[str]:
    try:
        return inherited_addresses()
    except (ValueError, OSError) as error:
        raise usage.UsageError(f"LISTEN_FDS: {error}") from None


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


def _trust(text: str) -> str:
    if text not in TRUST_TCP:
        raise ValueError(f"one of {', '.join(TRUST_TCP)} is expected")
    return text


def makeService(options: Options) -> Daemon:
    """What `twistd jobd` runs."""
    from twisted.internet import reactor

    parent = options.parent
    return Daemon(options, reactor, in_background=parent is not None and not parent.get("nodaemon", True))
