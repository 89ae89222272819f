"""TLS: the server's context and the handshake."""

from __future__ import annotations

import ssl
from pathlib import Path

import trio

from trio_smtp.handler import TLSInfo
from trio_smtp.server.channel_binding import remember_certificate

__all__ = ["server_context", "shake_hands"]


def server_context(certificate: Path | str, key: Path | str | None = None) -> ssl.SSLContext:
    """A context for a mail server: TLS 1.2 at least, no renegotiation.

    Args:
        certificate: a PEM file with the certificate and what leads to its root.
        key: a PEM file with the private key, if it is not in the same file.

    Raises:
        OSError, ssl.SSLError: if they cannot be read or do not belong together.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION  # a client's cheap way to keep the server busy: CVE-2011-1473
    context.load_cert_chain(certificate, key)
    remember_certificate(context, certificate)
    return context


async def shake_hands(
    stream: trio.abc.Stream, context: ssl.SSLContext, timeout: float
) -> tuple[trio.SSLStream[trio.abc.Stream], TLSInfo]:
    """Put TLS on a stream, as the server.

    Raises:
        trio.BrokenResourceError: if the handshake fails.
        trio.TooSlowError: if it takes more than `timeout` seconds.
    """
    tls = trio.SSLStream(stream, context, server_side=True)
    with trio.fail_after(timeout):
        await tls.do_handshake()
    cipher = tls.cipher()
    return tls, TLSInfo(tls.version() or "TLS", cipher[0] if cipher else "", _verified_name(tls.getpeercert()))


def _verified_name(certificate: object) -> str | None:
    """The first DNS name or mail address, else the common name, of a certificate that was checked."""
    if not isinstance(certificate, dict):
        return None
    for kind, name in certificate.get("subjectAltName", ()):
        if kind in ("DNS", "email"):
            return str(name)
    for attributes in certificate.get("subject", ()):
        for kind, name in attributes:
            if kind == "commonName":
                return str(name)
    return None
