"""The TLS handshake, as the server, and what it tells."""

from __future__ import annotations

import trio

from trio_smtp.handler import TLSInfo
from trio_smtp.server.certificates import AnyContext, current_context

__all__ = ["shake_hands"]


async def shake_hands(
    stream: trio.abc.Stream, context: AnyContext, timeout: float
) -> tuple[trio.SSLStream[trio.abc.Stream], TLSInfo]:
    """Put TLS on a stream, as the server.

    Raises:
        trio.BrokenResourceError: if the handshake fails.
        trio.TooSlowError: if it takes more than `timeout` seconds.
    """
    tls = trio.SSLStream(stream, current_context(context), server_side=True)
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
