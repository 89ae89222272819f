"""Remembers which certificate a TLS context shows, for SCRAM-SHA-256-PLUS: the ssl module cannot tell."""

from __future__ import annotations

import ssl
from typing import Final
from weakref import WeakKeyDictionary

from trio_smtp.sasl import tls_server_end_point

__all__ = ["end_point_of", "remember_certificate"]

_END_POINTS: Final[WeakKeyDictionary[ssl.SSLContext, bytes | None]] = WeakKeyDictionary()


def remember_certificate(context: ssl.SSLContext, certificate: bytes) -> None:
    """Note that this context shows this certificate, in DER."""
    _END_POINTS[context] = tls_server_end_point(certificate)


def end_point_of(context: ssl.SSLContext) -> bytes | None:
    """The channel binding of a context; None if it was not wanted, or is not defined for the certificate."""
    return _END_POINTS.get(context)
