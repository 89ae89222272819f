"""Tools for TLS tests: certificate files for a server, and handshakes in memory."""

from __future__ import annotations

import ssl
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

NAME = "mx.example.com"


class Issuer:
    """Writes certificate files for a server."""

    def __init__(self, authority: trustme.CA, folder: Path) -> None:
        self.authority = authority
        self.folder = folder

    def write(self, file: str, *names: str) -> Path:
        """Write a new certificate and its key into one file; return its path."""
        path = self.folder / file
        self.authority.issue_cert(*names).private_key_and_cert_chain_pem.write_to_path(path)
        return path

    def write_illegible(self, file: str) -> Path:
        """As `write`, with one DNS name whose octets are not ASCII, as the ssl module expects, and not UTF-8."""
        authority, issued = self.authority, self.authority.issue_cert("192.0.2.1")
        key = serialization.load_pem_private_key(authority.private_key_pem.bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        good = x509.load_pem_x509_certificate(issued.cert_chain_pems[0].bytes())
        builder = x509.CertificateBuilder(
            good.issuer, good.subject, good.public_key(), 1, good.not_valid_before_utc, good.not_valid_after_utc
        )
        for extension in good.extensions:
            names = x509.UnrecognizedExtension(extension.oid, b"\x30\x05\x82\x03m\xe4x")
            is_names = isinstance(extension.value, x509.SubjectAlternativeName)
            builder = builder.add_extension(names if is_names else extension.value, extension.critical)
        path = self.folder / file
        pem = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        path.write_bytes(issued.private_key_pem.bytes() + pem)
        return path


class Handshake(NamedTuple):
    """Both ends of a finished handshake in memory."""

    client: ssl.SSLObject
    server: ssl.SSLObject

    @property
    def shown(self) -> set[str]:
        """The names in the server's certificate."""
        certificate = self.client.getpeercert()
        assert certificate is not None
        names: tuple[tuple[str, str], ...] = certificate["subjectAltName"]  # type: ignore[assignment]  # always pairs
        return {name for _, name in names}


def shake_hands(
    server: ssl.SSLContext, client: ssl.SSLContext, name: str | None = NAME, session: ssl.SSLSession | None = None
) -> Handshake:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = Handshake(
        client.wrap_bio(to_client, to_server, server_hostname=name, session=session),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    for end in (*ends, *ends):
        with suppress(ssl.SSLWantReadError):
            end.do_handshake()
    ends.server.write(b"220")  # in TLS 1.3 the session tickets come with the first octets
    assert ends.client.read() == b"220"
    return ends
