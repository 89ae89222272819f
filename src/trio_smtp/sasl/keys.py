"""What a server keeps of a password for SCRAM-SHA-256 (RFC 5802 §3), and what it shows of one that does not exist."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field

__all__ = ["ScramKeys", "derive_keys", "hmac_sha256", "keys_of_nobody"]


@dataclass(frozen=True, slots=True)
class ScramKeys:
    """Enough to check a proof and to give our own, and not enough to log in."""

    salt: bytes
    iterations: int
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)


def derive_keys(password: bytes, salt: bytes, iterations: int) -> ScramKeys:
    """The keys of a password that SASLprep has prepared; takes time in proportion to `iterations`."""
    salted = hashlib.pbkdf2_hmac("sha256", password, salt, iterations)
    client_key = hmac_sha256(salted, b"Client Key")
    return ScramKeys(salt, iterations, hashlib.sha256(client_key).digest(), hmac_sha256(salted, b"Server Key"))


def keys_of_nobody(secret: bytes, username: str, iterations: int) -> ScramKeys:
    """Keys that no proof fits, for a user who does not exist: always the same for the same name, as real ones are.

    With other iterations they are others: real keys have to be made anew for that.

    Args:
        secret: known to the server alone.
        username: who was asked for.
        iterations: as in the keys of those who exist.
    """
    name = b"%d %b" % (iterations, username.encode("utf-8", "surrogatepass"))
    salt, stored_key, server_key = (
        hmac_sha256(secret, use + name) for use in (b"salt ", b"stored key ", b"server key ")
    )
    return ScramKeys(salt[:16], iterations, stored_key, server_key)


def hmac_sha256(key: bytes, message: bytes) -> bytes:
    """The HMAC of RFC 5802 §2.2, with SHA-256."""
    return hmac.digest(key, message, "sha256")
