"""Passwords: how they are stored and checked.

Hashing or checking a password takes a tenth of a second of CPU and tens of MiB on purpose, so that a stolen store does
not give the passwords away. Both release the GIL; a server calls them in threads, few at a time.

What is stored is one line of two words, the second of which may be missing:

- the hash with all its parameters, so that those for new passwords can be raised while old hashes still verify:
  ``$argon2id$v=19$m=47104,t=1,p=1$SALT$HASH`` where argon2-cffi is installed (the extra ``auth``), else
  ``$scrypt$ln=14,r=8,p=5$SALT$HASH``;
- the keys of SCRAM-SHA-256, ``SCRAM-SHA-256$65536:SALT$STOREDKEY:SERVERKEY`` (RFC 5803 §2). A thief can test guesses
  against them, too, so the iterations are as many as common clients accept; RFC 7677 §4 asks for at least 4,096.

A password is prepared with SASLprep before anything else, as SCRAM clients do with theirs.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import importlib.util
import re
import secrets
from typing import Final, NamedTuple

from trio_smtp.mailbox.store import Credentials
from trio_smtp.sasl.keys import ScramKeys, derive_keys
from trio_smtp.sasl.saslprep import saslprep

__all__ = [
    "MAX_PASSWORD",
    "SCRAM_ITERATIONS",
    "decoy",
    "hash_password",
    "needs_rehash",
    "scram_keys",
    "verify_password",
]

MAX_PASSWORD: Final = 1024  # octets; a client that sends more wants to keep the CPU busy
SCRAM_ITERATIONS: Final = 65_536  # clients that use Cyrus SASL, such as Postfix, refuse more
HAS_ARGON2: Final = importlib.util.find_spec("argon2") is not None

_MAX_MEMORY: Final = 64 * 1024 * 1024  # for scrypt: OpenSSL's default limit allows only the lowest costs
_SALT, _HASH = 16, 32  # octets

_BASE64 = "[A-Za-z0-9+/]+=*"
_FORM = re.compile(
    rf"\$(?P<scheme>scrypt\$ln|argon2id\$v=19\$m)=([0-9]{{1,7}}),[rt]=([0-9]{{1,2}}),p=([0-9]{{1,2}})"
    rf"\$(?P<salt>{_BASE64})\$(?P<key>{_BASE64})"
    rf"( SCRAM-SHA-256\$(?P<iterations>[0-9]{{1,8}}):(?P<scram_salt>{_BASE64})"
    rf"\$(?P<stored>{_BASE64}):(?P<server>{_BASE64}))?"
)


class _Method(NamedTuple):
    """A hash function with its three costs: ln, r, p of scrypt; memory in KiB, passes and lanes of Argon2id."""

    scheme: str
    cost: tuple[int, int, int]


# Two of the settings that OWASP considers sufficient and equivalent. They need little memory, as two run at a time.
_SCRYPT: Final = _Method("scrypt", (14, 8, 5))
_ARGON2: Final = _Method("argon2id", (47104, 1, 1))


def hash_password(password: str) -> Credentials:
    """Return the credentials to store instead of the password.

    Raises:
        ValueError: if it is empty, longer than 1,024 octets of UTF-8, or has a character that SASLprep prohibits
            (RFC 4013 §2.3), such as a control character.
    """
    octets = _octets(password)
    if octets is None:
        raise ValueError(f"a password must have 1 to {MAX_PASSWORD} octets of UTF-8 and no control characters")
    method, salt = _preferred(), secrets.token_bytes(_SALT)
    key = _hash(octets, method, salt, _HASH)
    form = "$scrypt$ln={},r={},p={}" if method.scheme == "scrypt" else "$argon2id$v=19$m={},t={},p={}"
    keys = derive_keys(octets, secrets.token_bytes(_SALT), SCRAM_ITERATIONS)
    return Credentials(
        f"{form.format(*method.cost)}${_encode(salt).rstrip('=')}${_encode(key).rstrip('=')} "
        f"SCRAM-SHA-256${keys.iterations}:{_encode(keys.salt)}${_encode(keys.stored_key)}:{_encode(keys.server_key)}"
    )


def verify_password(credentials: Credentials | None, password: str) -> bool:
    """Whether this is the password.

    Args:
        credentials: from `MailStore.get_credentials`; None for an unknown user or an account without a password.
            Then the result is False after the same work, so that timing does not reveal which accounts exist.

    Raises:
        ValueError: if the credentials are not of a form that `hash_password` makes.
        RuntimeError: if they need argon2-cffi, and it is not installed.
    """
    octets = _octets(password)
    if octets is None:
        return False
    method, salt, key = (_preferred(), bytes(_SALT), bytes(_HASH)) if credentials is None else _parse(credentials)
    return hmac.compare_digest(_hash(octets, method, salt, len(key)), key) and credentials is not None


def decoy(credentials: Credentials) -> Credentials:
    """Return credentials that match no password, the same for all credentials of this form and these costs.

    Raises:
        ValueError: as in `verify_password`.
    """
    form = _match(credentials)
    text = credentials.text
    for group in ("server", "stored", "scram_salt", "key", "salt"):  # from the end, to keep earlier offsets
        if form[group] is not None:
            text = text[: form.start(group)] + re.sub("[^=]", "A", form[group]) + text[form.end(group) :]
    return Credentials(text)


def needs_rehash(credentials: Credentials) -> bool:
    """Whether `hash_password` would now make different credentials: with other costs, or with keys missing here.

    Raises:
        ValueError: as in `verify_password`.
    """
    keys = scram_keys(credentials)
    return _parse(credentials)[0] != _preferred() or keys is None or keys.iterations != SCRAM_ITERATIONS


def scram_keys(credentials: Credentials) -> ScramKeys | None:
    """Return the keys for SCRAM-SHA-256, or None if the credentials have none.

    Raises:
        ValueError: as in `verify_password`.
    """
    form = _match(credentials)
    if form["iterations"] is None:
        return None
    salt, stored_key, server_key = map(_decode, form.group("scram_salt", "stored", "server"))
    return ScramKeys(salt, int(form["iterations"]), stored_key, server_key)


def _preferred() -> _Method:
    return _ARGON2 if HAS_ARGON2 else _SCRYPT


def _match(credentials: Credentials) -> re.Match[str]:
    form = _FORM.fullmatch(credentials.text)
    if form is None:
        raise ValueError("the stored credentials have an unknown format")
    return form


def _parse(credentials: Credentials) -> tuple[_Method, bytes, bytes]:
    form = _match(credentials)
    first, second, third = map(int, form.group(2, 3, 4))
    method = _Method(form["scheme"].partition("$")[0], (first, second, third))
    return method, _decode(form["salt"]), _decode(form["key"])


def _octets(password: str) -> bytes | None:
    """The octets to hash, or None if this cannot be a password."""
    # len first, so that a huge text is not processed at all. SASLprep refuses NUL, too, as it must: HMAC inside scrypt
    # pads its key with NULs, so "x" and "x\0" would be the same password.
    if not 0 < len(password) <= MAX_PASSWORD:
        return None
    prepared = saslprep(password)
    if not prepared or len(password.encode()) > MAX_PASSWORD:
        return None
    return prepared.encode()


def _hash(password: bytes, method: _Method, salt: bytes, length: int) -> bytes:
    first, second, third = method.cost
    if method.scheme == "scrypt":
        n = 1 << min(first, 63)  # more does not fit into a C integer; this much is beyond _MAX_MEMORY, too
        return hashlib.scrypt(password, salt=salt, n=n, r=second, p=third, maxmem=_MAX_MEMORY, dklen=length)
    if not HAS_ARGON2:
        raise RuntimeError("it was hashed with Argon2; install trio-smtp[auth] to check it")
    from argon2 import exceptions, low_level  # noqa: PLC0415 - an extra

    try:
        return low_level.hash_secret_raw(password, salt, second, first, third, length, low_level.Type.ID)
    except exceptions.HashingError as error:
        raise ValueError(f"the stored credentials cannot be used: {error}") from error


def _encode(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
