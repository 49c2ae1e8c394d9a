"""What a service manager hands to a service, and is told by it: sd_listen_fds(3) and sd_notify(3)."""

from __future__ import annotations

import itertools
import os
import socket
import time
from collections.abc import Mapping

from twisted.internet.endpoints import serverFromString

_FAMILIES = {socket.AF_UNIX: "UNIX", socket.AF_INET: "INET", socket.AF_INET6: "INET6"}


def inherited_addresses() -> list[str]:
    """The sockets that were handed over to this process, as Twisted endpoints; OSError for other things."""
    addresses = []
    for index in itertools.count():
        try:
            # Which family it is makes no difference until somebody listens.
            endpoint = serverFromString(None, f"systemd:domain=UNIX:index={index}")
        except IndexError:
            break
        with socket.socket(fileno=os.dup(endpoint.fileno)) as found:
            if found.family not in _FAMILIES or not found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                raise ValueError(f"file descriptor {endpoint.fileno} is no socket to accept connections from")
            addresses.append(f"systemd:domain={_FAMILIES[found.family]}:index={index}")
    return addresses


class Notifier:
    """Tells the service manager how the service stands. Where there is none, nobody hears it.

    `watchdog` is within how many seconds the manager wants to hear that we are alive, None where it
    does not.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        """ENVIRONMENT is that of a service: NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID."""
        self._address = environment.get("NOTIFY_SOCKET", "")
        watched = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        microseconds = environment.get("WATCHDOG_USEC", "") if watched else ""
        self.watchdog = int(microseconds) / 1e6 if microseconds.isdigit() else None
        self._status = ""
        self._alive = 0.0

    @property
    def heard(self) -> bool:
        """Whether there is anybody to tell."""
        return bool(self._address)

    def ready(self) -> None:
        """We serve."""
        self._alive = time.monotonic()
        self._tell("READY=1")

    def reloading(self) -> None:
        """We read our files anew; `ready` follows."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, seconds: float) -> None:
        """We stop, which takes SECONDS at most."""
        self._tell("STOPPING=1", f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def alive(self, status: str) -> None:
        """STATUS says how we stand.  To be called every second: what is no news is not told, except, each
        half of `watchdog`, that we are alive.
        """
        news = []
        if status != self._status:
            self._status = status
            news.append(f"STATUS={status}")
        now = time.monotonic()
        # By the next call it would be too late.
        if self.watchdog is not None and now - self._alive >= self.watchdog / 2 - 1:
            self._alive = now
            news.append("WATCHDOG=1")
        if news:
            self._tell(*news)

    def _tell(self, *news: str) -> None:
        if not self._address:
            return
        # A leading @ is the abstract name space of unix(7).
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as manager:
            try:
                manager.sendto("\n".join(news).encode(), address)
            except OSError:  # it went, or is too busy to listen: both are its affair
                pass
