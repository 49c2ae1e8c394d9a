"""Addresses as people write them, and the Twisted endpoints that they mean."""

from __future__ import annotations

from twisted.internet.interfaces import IStreamServerEndpointStringParser
from twisted.plugin import getPlugins

BUILT_IN = ("tcp", "unix", "ssl")


def endpoint_description(address: str) -> str:
    """The Twisted endpoint string of ADDRESS: `host:port`, `:port`, `[::1]:port`, or one already.

    ValueError where it is none of these, as far as its form tells.
    """
    host, colon, port = address.rpartition(":")
    kind = address.partition(":")[0]
    if not colon:
        raise ValueError("HOST:PORT, :PORT or a Twisted endpoint such as unix:/run/jobd.sock is expected")
    if kind in BUILT_IN or (kind.isalnum() and kind in plugged_in()):
        return address
    if not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ValueError(f"port {port!r} is not in 0 to 65535")
    if host.startswith("[") and host.endswith("]"):
        interface = host[1:-1].replace(":", "\\:")
        return f"tcp6:port={port}:interface={interface}"
    if ":" in host:
        raise ValueError("an IPv6 address stands in brackets, such as [::1]:5640")
    return f"tcp:port={port}" + (f":interface={host}" if host else "")


def plugged_in() -> set[str]:
    """What else an endpoint string may begin with, as Twisted's plugins say.

    Asked for plugins, Twisted writes a cache of them, and complains in the log where it may not: so this is
    for addresses that need one.
    """
    return {plugin.prefix for plugin in getPlugins(IStreamServerEndpointStringParser)}
