"""Addresses as people write them, and the Twisted endpoints that they mean."""

from __future__ import annotations

from twisted.internet.interfaces import IStreamServerEndpointStringParser
from twisted.plugin import getPlugins


def endpoint_description(address: str) -> str:
    """The Twisted endpoint string of ADDRESS: `host:port`, `:port`, `[::1]:port`, or one already.

    ValueError where it is none of these, as far as its form tells.
    """
    host, colon, port = address.rpartition(":")
    kind = address.partition(":")[0]
    if not colon:
        raise ValueError("HOST:PORT, :PORT or a Twisted endpoint such as unix:/run/jobd.sock is expected")
    if kind in endpoint_kinds():
        return address
    if not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ValueError(f"port {port!r} is not in 0 to 65535")
    if host.startswith("[") and host.endswith("]"):
        interface = host[1:-1].replace(":", "\\:")
        return f"tcp6:port={port}:interface={interface}"
    if ":" in host:
        raise ValueError("an IPv6 address stands in brackets, such as [::1]:5640")
    return f"tcp:port={port}" + (f":interface={host}" if host else "")


def endpoint_kinds() -> set[str]:
    """What an endpoint string may begin with."""
    plugins = getPlugins(IStreamServerEndpointStringParser)
    return {"tcp", "unix", "ssl"} | {plugin.prefix for plugin in plugins}
