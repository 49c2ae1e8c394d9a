"""Where the daemon is: addresses as people write them, and what TLS needs beside."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from twisted.internet.interfaces import IStreamClientEndpoint

DEFAULT = "127.0.0.1:5640"
CONNECT_TIMEOUT = 15
"""Seconds."""

_TCP = re.compile(r"(?P<host>[^:\[\]/]*|\[[0-9A-Fa-f:.%\w]+\])(?::(?P<port>[0-9]{1,5}))?")


class AddressError(ValueError):
    """An address that can't be read, or files of TLS that don't do; the text is a sentence."""


class TlsFiles(NamedTuple):
    """Paths of PEM files for `tls:` addresses; empty where there is none."""

    ca: str = ""
    """Who may sign the server's certificate; without one, whom this machine trusts."""
    certificate: str = ""
    """Ours, and what stands between it and who signed it."""
    key: str = ""
    """That of our certificate; without one it is in the same file."""


NO_FILES = TlsFiles()


def is_tls(address: str) -> bool:
    """Whether ADDRESS is one that `TlsFiles` are for."""
    return address.startswith("tls:")


def endpoint(address: str, files: TlsFiles, reactor: Any) -> IStreamClientEndpoint:
    """The endpoint of ADDRESS; AddressError where it is none.

    It is `host:port`, `[::1]:port`, `:port`, a host alone, `unix:PATH` or a path with a `/`; or
    `tls:` before one of the first four.
    """
    from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint

    path = address.removeprefix("unix:")
    if path and not is_tls(address) and (path != address or "/" in path):
        return UNIXClientEndpoint(reactor, path, timeout=CONNECT_TIMEOUT)
    place = address.removeprefix("tls:")
    match = _TCP.fullmatch(place)
    port = int(match["port"] or 5640) if match else 0
    if not place or match is None or not 0 < port < 65536:
        raise AddressError(
            f"the address {address!r} can't be read: host:port, unix:PATH or tls:host:port is expected"
        )
    host = match["host"].strip("[]") or "127.0.0.1"
    tcp = HostnameEndpoint(reactor, host, port, timeout=CONNECT_TIMEOUT)
    return _over_tls(tcp, _tls(host, files), reactor) if is_tls(address) else tcp


def _over_tls(tcp: IStreamClientEndpoint, tls: Any, reactor: Any) -> IStreamClientEndpoint:
    """What Twisted's wrapClientTLS gives, which would wait by the clock of a reactor that doesn't run."""
    from twisted.internet.interfaces import IStreamClientEndpoint
    from twisted.protocols.tls import TLSMemoryBIOFactory
    from zope.interface import implementer

    @implementer(IStreamClientEndpoint)
    class OverTLS:
        def connect(self, protocolFactory: Any) -> Any:
            connected: Any = tcp.connect(TLSMemoryBIOFactory(tls, True, protocolFactory, reactor))
            return connected.addCallback(lambda protocol: protocol.wrappedProtocol)

    return OverTLS()


def _tls(host: str, files: TlsFiles) -> Any:
    """What begins TLS connections to HOST, which must have a certificate of that name."""
    try:
        import service_identity  # noqa: F401  # without it Twisted looks less closely at names
        from OpenSSL import SSL
        from twisted.internet.ssl import (
            Certificate,
            optionsForClientTLS,
            platformTrust,
            trustRootFromCertificates,
        )

        from jobd.tls import read_certificates, read_key
    except ImportError:
        raise AddressError("TLS is not installed: pip install 'jobd[tls]'") from None

    own: dict[str, Any] = {}
    trusted = platformTrust()
    try:
        if files.certificate:
            certificate, *chain = read_certificates(files.certificate)
            key = read_key(files.key or files.certificate)
            context = SSL.Context(SSL.TLS_CLIENT_METHOD)
            context.use_certificate(certificate)
            context.use_privatekey(key)
            own = {"privateKey": key, "certificate": certificate, "extraCertChain": chain}
        if files.ca:
            trusted = trustRootFromCertificates([Certificate(each) for each in read_certificates(files.ca)])
    except (ValueError, OSError) as error:
        raise AddressError(str(error.args[-1])) from None
    except SSL.Error:
        raise AddressError(
            f"{files.key or files.certificate} has not the key of the certificate {files.certificate}"
        ) from None
    return optionsForClientTLS(host, trusted, extraCertificateOptions=own)


def tls_trouble(error: BaseException) -> str:
    """What is wrong where a TLS connection ended with ERROR, as a clause; '' where that was not about TLS."""
    try:
        from OpenSSL import SSL
        from service_identity import VerificationError
    except ImportError:
        return ""
    if isinstance(error, VerificationError):
        return "its certificate has another name"
    if not isinstance(error, SSL.Error):
        return ""
    (*_, reason), *_ = error.args[0] or [("unknown",)]
    if reason == "certificate verify failed":
        return "its certificate is not signed by whom you trust (--tls-ca), or is not valid now"
    if "alert" in reason:
        return f"it ended the handshake: {reason.partition(' alert ')[2] or reason}"
    return f"it speaks no TLS, or not ours: {reason}"
