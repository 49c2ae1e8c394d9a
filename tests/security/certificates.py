"""Certificates for tests: an authority, and what it signs."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SIGNS = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)
CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH


class Authority:
    """Signs certificates, each into a file of DIRECTORY with its key."""

    def __init__(self, directory: Path, name: str = "ca") -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = _subject([(NameOID.COMMON_NAME, name)])
        self.path = directory / f"{name}.pem"
        """Its own certificate."""
        builder = _builder(self._subject, self._subject, self._key, (-1, 30), authority=True)
        self._write(self.path, builder.sign(self._key, hashes.SHA256()))

    def sign(
        self,
        file: str,
        *,
        subject: Sequence[tuple[Any, str]] = (),
        names: Sequence[x509.GeneralName] = (),
        days: tuple[float, float] = (-1, 1),
        purpose: Any = CLIENT,
        authority: bool = False,
    ) -> Path:
        """A certificate with its key in FILE, valid from DAYS[0] to DAYS[1] from now, for PURPOSE."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_subject(subject), self._subject, key, days, authority)
        signed_by = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = builder.add_extension(signed_by, critical=False)
        if purpose is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=not subject)
        path = self._directory / file
        self._write(path, builder.sign(self._key, hashes.SHA256()), key)
        return path

    def server(self, file: str = "server.pem") -> Path:
        """A certificate of localhost."""
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        return self.sign(file, names=names, purpose=SERVER)

    def trusting(self, certificate: Path | None = None, **versions: ssl.TLSVersion) -> ssl.SSLContext:
        """A client that trusts it, and shows CERTIFICATE."""
        context = ssl.create_default_context(cafile=str(self.path))
        for name, version in versions.items():
            setattr(context, name, version)
        if certificate is not None:
            context.load_cert_chain(certificate)
        return context

    @staticmethod
    def _write(path: Path, certificate: x509.Certificate, key: Any = None) -> None:
        data = certificate.public_bytes(serialization.Encoding.PEM)
        if key is not None:
            data += key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        # Whole at once, as whoever renews certificates should.
        new = path.with_suffix(".new")
        new.write_bytes(data)
        new.replace(path)


def common_name(name: str) -> list[tuple[Any, str]]:
    """A subject that is only a common name."""
    return [(NameOID.COMMON_NAME, name)]


def dns(*names: str) -> list[x509.GeneralName]:
    """Names of hosts."""
    return [x509.DNSName(name) for name in names]


def _subject(attributes: Sequence[tuple[Any, str]]) -> x509.Name:
    return x509.Name([x509.NameAttribute(kind, value) for kind, value in attributes])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: Any, days: tuple[float, float], authority: bool
) -> x509.CertificateBuilder:
    """With all that RFC 5280 asks for: Python 3.13 and later insist on it."""
    now = datetime.datetime.now(datetime.timezone.utc)
    begin, end = (now + datetime.timedelta(days=day) for day in days)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return builder.add_extension(SIGNS, critical=True) if authority else builder
