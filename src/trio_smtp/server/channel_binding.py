"""Which certificate a TLS context shows, to bind SCRAM-SHA-256-PLUS to it: the ssl module does not tell."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final
from weakref import WeakKeyDictionary

from trio_smtp.sasl import tls_server_end_point

__all__ = ["end_point_of", "remember_certificate"]

_END_POINTS: Final[WeakKeyDictionary[ssl.SSLContext, bytes]] = WeakKeyDictionary()
_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


def remember_certificate(context: ssl.SSLContext, certificate: Path | str) -> None:
    """Note that this context shows the first certificate of this PEM file, which it has loaded."""
    _, begin, rest = Path(certificate).read_text("ascii", "replace").partition(_BEGIN)
    body, end, _ = rest.partition(_END)
    end_point = tls_server_end_point(ssl.PEM_cert_to_DER_cert(begin + body + end))
    if end_point is not None:
        _END_POINTS[context] = end_point


def end_point_of(context: ssl.SSLContext) -> bytes | None:
    """The channel binding; None where it is not known (a context that `server_context` did not make) or not defined."""
    return _END_POINTS.get(context)
