"""The keys that a server keeps for a SCRAM-SHA-256 password (RFC 5802 §3), and fake keys for unknown users."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field

__all__ = ["ScramKeys", "derive_keys", "hmac_sha256", "keys_of_nobody"]


@dataclass(frozen=True, slots=True)
class ScramKeys:
    """Keys with which the server checks the client's proof and makes its own. They are not enough to log in."""

    salt: bytes
    iterations: int
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)


def derive_keys(password: bytes, salt: bytes, iterations: int) -> ScramKeys:
    """The keys of a password that SASLprep has prepared. The time is proportional to `iterations`."""
    salted = hashlib.pbkdf2_hmac("sha256", password, salt, iterations)
    client_key = hmac_sha256(salted, b"Client Key")
    return ScramKeys(salt, iterations, hashlib.sha256(client_key).digest(), hmac_sha256(salted, b"Server Key"))


def keys_of_nobody(secret: bytes, username: str, iterations: int) -> ScramKeys:
    """Keys that match no password, for a user that does not exist. Like a real user, a name always has the same keys.

    Another `iterations` gives other keys, salt included, because real keys have to be derived again for it.

    Args:
        secret: known to the server alone.
        username: the name that the client gave.
        iterations: as in the keys of existing users.
    """
    name = b"%d %b" % (iterations, username.encode("utf-8", "surrogatepass"))
    salt, stored_key, server_key = (
        hmac_sha256(secret, use + name) for use in (b"salt ", b"stored key ", b"server key ")
    )
    return ScramKeys(salt[:16], iterations, stored_key, server_key)


def hmac_sha256(key: bytes, message: bytes) -> bytes:
    """The HMAC of RFC 5802 §2.2, with SHA-256."""
    return hmac.digest(key, message, "sha256")
