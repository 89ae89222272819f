"""The channel binding ``tls-server-end-point`` (RFC 5929 §4.1): the hash of the server's certificate.

The hash function is the one of the certificate's own signature. This module parses just enough DER to find it.
"""

from __future__ import annotations

import hashlib
from typing import Final

__all__ = ["tls_server_end_point"]

_HASHES: Final = {  # by the signature algorithm's object identifier in DER; SHA-256 replaces MD5 and SHA-1
    bytes.fromhex("2a864886f70d010104"): "sha256",  # md5WithRSAEncryption
    bytes.fromhex("2a864886f70d010105"): "sha256",  # sha1WithRSAEncryption
    bytes.fromhex("2a864886f70d01010b"): "sha256",  # sha256WithRSAEncryption
    bytes.fromhex("2a864886f70d01010c"): "sha384",  # sha384WithRSAEncryption
    bytes.fromhex("2a864886f70d01010d"): "sha512",  # sha512WithRSAEncryption
    bytes.fromhex("2a8648ce3d0401"): "sha256",  # ecdsa-with-SHA1
    bytes.fromhex("2a8648ce3d040302"): "sha256",  # ecdsa-with-SHA256
    bytes.fromhex("2a8648ce3d040303"): "sha384",  # ecdsa-with-SHA384
    bytes.fromhex("2a8648ce3d040304"): "sha512",  # ecdsa-with-SHA512
}


def tls_server_end_point(certificate: bytes) -> bytes | None:
    """The channel binding of a certificate in DER.

    None if it is undefined, as for signatures without a single hash function such as Ed25519, or if the signature
    algorithm is not known here.
    """
    try:
        outer, _ = _contents(certificate, 0x30)
        _, rest = _contents(outer, 0x30)  # tbsCertificate
        algorithm, _ = _contents(rest, 0x30)
        identifier, _ = _contents(algorithm, 0x06)
    except ValueError:
        return None
    name = _HASHES.get(identifier)
    return None if name is None else hashlib.new(name, certificate).digest()


def _contents(data: bytes, tag: int) -> tuple[bytes, bytes]:
    """The contents of the DER element at the start of `data`, and the rest of `data`.

    Raises:
        ValueError: if there is no complete element with this tag.
    """
    if len(data) < 2 or data[0] != tag:
        raise ValueError("not the element that belongs here")
    start, length = 2, data[1]
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(data[2:start])
    if len(data) < start + length:
        raise ValueError("cut off")
    return data[start : start + length], data[start + length :]
