"""TLS: who a client's certificate says it is, and `ssl:` addresses whose files may change while jobd runs.

A certificate counts that one of `--tls-ca` has signed for clients, that is valid today, and that a line of
`--tls-users` knows.  All files are looked at again at the next connection after they changed, the users at
the next attach; what can't be read then is logged, and what was there before stays.

Needs pyOpenSSL, which comes with `Twisted[tls]`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from OpenSSL.crypto import X509, PKey
from twisted.internet.endpoints import SSL4ServerEndpoint
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from jobd.accounts import User

_T = TypeVar("_T")

_COMMENT = re.compile(r"(^|\s)#.*")

ARGUMENTS = ("port", "privateKey", "certKey", "extraCertChain", "interface", "backlog")
"""What an `ssl:` endpoint takes here. The versions of TLS are ours to choose."""


class Watched(Generic[_T]):
    """A value that is made of files, and made anew when one of them has changed."""

    _log = Logger()

    def __init__(self, paths: Sequence[str], make: Callable[[], _T]) -> None:
        """MAKE raises ValueError or OSError where the files at PATHS are not what they should be."""
        self._paths = paths
        self._make = make
        self._stamps = self._look()
        self._value = make()

    def get(self) -> _T:
        """The value that the files give now; the last good one where they give none."""
        stamps = self._look()
        if stamps != self._stamps:
            self._stamps = stamps
            try:
                self._value = self._make()
            except (ValueError, OSError) as error:
                self._log.critical(
                    "{paths}: {error}; what was read before stays", paths=", ".join(self._paths), error=error
                )
            else:
                self._log.info("{paths}: read anew", paths=", ".join(self._paths))
        return self._value

    def _look(self) -> list[tuple[int, int, int] | None]:
        return [_stamp(path) for path in self._paths]


def _stamp(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


# ---- clients


def parse_users(text: str) -> dict[str, str]:
    """Which name in a certificate is which user, from lines such as `client.example = glenda`.

    ValueError with the number of the line that is wrong.
    """
    users: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        said = _COMMENT.sub("", line).strip()
        if not said:
            continue
        # The name may be a whole subject, such as CN=glenda,O=Example; a user has no `=`.
        name, equals, user = (part.strip() for part in said.rpartition("="))
        if not (equals and name and user):
            raise ValueError(f"line {number} is not NAME = USER, such as client.example = glenda")
        if User.by_name(user) is None:
            raise ValueError(f"line {number}: there is no user {user} on this machine")
        if users.setdefault(_folded(name), user) != user:
            raise ValueError(f"line {number}: {name} is another user already")
    return users


def read_users(path: str) -> Watched[Mapping[str, str]]:
    """The users of the file at PATH; ValueError or OSError says what is wrong with it."""

    def read() -> Mapping[str, str]:
        with open(path, encoding="utf-8") as file:
            return parse_users(file.read())

    return Watched([path], read)


def names_of(certificate: x509.Certificate) -> list[str]:
    """What CERTIFICATE calls its holder: alternative names, or else the common name; then all of the subject.

    A name with a `=` counts only as a whole subject: a common name may not look like one.
    """
    names: list[str] = []
    try:
        alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        for kind in (x509.DNSName, x509.RFC822Name, x509.UniformResourceIdentifier):
            names += alternatives.get_values_for_type(kind)
    except x509.ExtensionNotFound:
        common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        names += [str(attribute.value) for attribute in common]
    return [*(name for name in names if "=" not in name), certificate.subject.rfc4514_string()]


def _folded(name: str) -> str:
    """NAME as names are compared: those of DNS have no case."""
    return name if "=" in name else name.lower()


class CertifiedPeer:
    """The other end of a TLS connection: an `IPeer`.

    It is asked at an attach, when the handshake is done: no byte is handed on before.
    """

    speaks_for_others = False

    def __init__(self, transport: Any, place: str, users: Watched[Mapping[str, str]] | None) -> None:
        """PLACE is where it is, in words."""
        self._transport = transport
        self._place = place
        self._users = users

    @property
    def description(self) -> str:
        names = self._names()
        return f"{self._place} certificate {names[0]}" if names else f"{self._place} without certificate"

    @property
    def user(self) -> User | None:
        users = self._found()
        return User.by_name(users.pop()) if len(users) == 1 else None

    @property
    def unproved(self) -> str:
        names, users = self._names(), self._found()
        if not names:
            return (
                "nothing proves who you are; connect with a certificate that --tls-ca has signed and"
                " --tls-users knows"
            )
        if not users:
            return f"no line of --tls-users has a name of your certificate ({', '.join(names)[:200]})"
        if len(users) > 1:
            return f"your certificate has the names of several users: {', '.join(sorted(users))}"
        return f"the user {users.pop()} of your certificate has no account any more"

    def _found(self) -> set[str]:
        if self._users is None:
            return set()
        users = self._users.get()
        return {users[name] for name in map(_folded, self._names()) if name in users}

    def _names(self) -> list[str]:
        # Only our own contexts have verified what they hand out.
        if not isinstance(self._transport, TLSMemoryBIOProtocol):
            return []
        connection = self._transport.getHandle()
        certificate = connection.get_peer_certificate()
        if certificate is None or not isinstance(connection.get_context(), Context):
            return []
        try:
            return names_of(certificate.to_cryptography())
        except ValueError:  # signed, and malformed all the same
            return []


# ---- the server


class Context(SSL.Context):
    """What the TLS connections of an address share: keys, versions, and whose certificates are believed."""

    def __init__(self, key: PKey, chain: Sequence[X509], authorities: Sequence[X509]) -> None:
        """KEY is that of the first of CHAIN. ValueError where it is not.

        Without AUTHORITIES no client is asked for a certificate; with them none need have one, but
        whoever has a wrong one is not let in.
        """
        super().__init__(SSL.TLS_SERVER_METHOD)
        self.set_min_proto_version(SSL.TLS1_2_VERSION)
        # A session that is taken up again would bring its old certificate along, valid or not.
        self.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
        self.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        self.set_session_id(os.urandom(16))
        try:
            self.use_certificate(chain[0])
            for certificate in chain[1:]:
                self.add_extra_chain_cert(certificate)
            self.use_privatekey(key)
            self.check_privatekey()
        except SSL.Error:
            raise ValueError("the key is not that of the certificate") from None
        if authorities:
            store = self.get_cert_store()
            assert store is not None
            for authority in authorities:
                store.add_cert(authority)
                self.add_client_ca(authority)
            self.set_verify(SSL.VERIFY_PEER)


@implementer(IOpenSSLServerConnectionCreator)
class Server:
    """Begins the TLS connections of an address, with the files as they are then."""

    def __init__(self, key: str, certificate: str, chain: str | None, ca: str | None) -> None:
        """Paths of PEM files. ValueError or OSError says what is wrong with one."""

        def make() -> Context:
            return Context(
                read_key(key),
                [*read_certificates(certificate), *(read_certificates(chain) if chain else ())],
                read_certificates(ca) if ca else (),
            )

        self._context = Watched([path for path in (key, certificate, chain, ca) if path], make)

    def serverConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        return SSL.Connection(self._context.get(), None)


def read_key(path: str) -> PKey:
    """The private key in the PEM file at PATH; ValueError or OSError says what is wrong with it."""
    try:
        return PKey.from_cryptography_key(load_pem_private_key(_read(path), None))  # type: ignore[arg-type]
    except TypeError:
        raise ValueError(f"{path}: the key is encrypted, and nobody is there to type its password") from None
    except ValueError:
        raise ValueError(f"{path} has no private key in PEM form") from None


def read_certificates(path: str) -> list[X509]:
    """The certificates in the PEM file at PATH, one at least; ValueError or OSError says what is wrong."""
    try:
        return [X509.from_cryptography(each) for each in x509.load_pem_x509_certificates(_read(path))]
    except ValueError:
        raise ValueError(f"{path} has no certificate in PEM form") from None


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        # Which of an address's files it was.
        raise OSError(error.errno, f"{path}: {error.strerror}") from None


def tls_endpoint(reactor: Any, description: str, ca: str | None) -> SSL4ServerEndpoint:
    """The endpoint that DESCRIPTION, an `ssl:` string, means, for clients with certificates of CA.

    ValueError or OSError says what is wrong.
    """
    given = dict(_arguments(description))
    for name in given:
        if name not in ARGUMENTS:
            raise ValueError(f"ssl: has no {name}: {', '.join(ARGUMENTS)} are allowed")
    port, backlog = given.get("port", ""), given.get("backlog", "50")
    for number in (port, backlog):
        if not (number.isascii() and number.isdigit()) or int(number) > 65535:
            raise ValueError(f"{number!r} is not a number from 0 to 65535")
    if "privateKey" not in given:
        raise ValueError("ssl: needs privateKey=FILE and certKey=FILE")
    # A daemon may change its directory, and reads them again.
    key = os.path.abspath(given["privateKey"])
    certificate = os.path.abspath(given.get("certKey", key))
    chain = os.path.abspath(given["extraCertChain"]) if "extraCertChain" in given else None
    server = Server(key, certificate, chain, ca)
    return SSL4ServerEndpoint(reactor, int(port), server, int(backlog), given.get("interface", ""))


def _arguments(description: str) -> Iterator[tuple[str, str]]:
    r"""The arguments of an endpoint string, `kind:port:key=value:...`; `\` takes `:` and `=` as they are."""
    arguments: list[list[str]] = [[""]]
    characters = iter(description)
    for character in characters:
        if character == "\\":
            arguments[-1][-1] += next(characters, "")
        elif character == ":":
            arguments.append([""])
        elif character == "=" and len(arguments[-1]) == 1:
            arguments[-1].append("")
        else:
            arguments[-1][-1] += character
    for argument in arguments[1:]:
        # The only one without a name is the port.
        yield (argument[0], argument[1]) if len(argument) > 1 else ("port", argument[0])
