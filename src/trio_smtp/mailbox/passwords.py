"""Passwords: how they are kept (hashed by scrypt) and checked.

Both functions take about a tenth of a second of CPU and 16 MiB on purpose, so that a stolen store does not
give the passwords away. They release the GIL; inside a server they belong into a thread, few at a time.

The stored text is `$scrypt$ln=14,r=8,p=5$SALT$HASH` (salt and hash in base64). It carries its parameters, so
that those for new passwords can rise while the old ones still verify.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import unicodedata

from trio_smtp.mailbox.store import Credentials

__all__ = ["MAX_PASSWORD", "hash_password", "verify_password"]

MAX_PASSWORD = 1024  # octets; who sends more wants to keep the CPU busy
_LOG_N, _R, _P = 14, 8, 5  # of the settings that OWASP calls equal, one with little memory
_MAX_MEMORY = 64 * 1024 * 1024  # OpenSSL's own limit is too small for more than the least
_SALT, _HASH = 16, 32  # octets

_FORM = re.compile(r"\$scrypt\$ln=([0-9]{1,2}),r=([0-9]{1,2}),p=([0-9]{1,2})\$([^$]+)\$([^$]+)")


def hash_password(password: str) -> Credentials:
    """Make what is stored instead of the password.

    Raises:
        ValueError: it is empty, longer than 1,024 octets of UTF-8, or holds a NUL or half a character.
    """
    octets = _octets(password)
    if octets is None:
        raise ValueError(f"a password is 1 to {MAX_PASSWORD} octets of UTF-8 without NUL")
    salt = secrets.token_bytes(_SALT)
    key = _scrypt(octets, salt, _LOG_N, _R, _P)
    return Credentials(
        f"$scrypt$ln={_LOG_N},r={_R},p={_P}${base64.b64encode(salt).decode()}${base64.b64encode(key).decode()}"
    )


def verify_password(credentials: Credentials | None, password: str) -> bool:
    """Whether this is the password.

    Args:
        credentials: from `MailStore.get_credentials`; None for an unknown user or an account without a
            password: the answer is False after the same work, so that the time does not tell who exists.

    Raises:
        ValueError: the credentials are not of the form that `hash_password` makes.
    """
    octets = _octets(password)
    if octets is None:
        return False
    if credentials is None:
        _scrypt(octets, bytes(_SALT), _LOG_N, _R, _P)
        return False
    form = _FORM.fullmatch(credentials.text)
    if form is None:
        raise ValueError("the stored credentials are of an unknown form")
    log_n, r, p, salt, key = form.groups()
    found = _scrypt(octets, base64.b64decode(salt, validate=True), int(log_n), int(r), int(p))
    return hmac.compare_digest(found, base64.b64decode(key, validate=True))


def _octets(password: str) -> bytes | None:
    """The octets to hash, or None if this cannot be a password."""
    # len first, so that a huge text is not even encoded. No NUL, which SASLprep forbids too (RFC 4013 §2.3): HMAC
    # inside scrypt fills up with NULs, so that "x" and "x\0" would be the same.
    if not 0 < len(password) <= MAX_PASSWORD or "\0" in password:
        return None
    try:
        octets = password.encode()
    except UnicodeEncodeError:
        return None
    # NFKC, as SASLprep has it (RFC 4013 §2.2): a password is the same however a keyboard composes its letters.
    return unicodedata.normalize("NFKC", password).encode() if len(octets) <= MAX_PASSWORD else None


def _scrypt(password: bytes, salt: bytes, log_n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(password, salt=salt, n=1 << log_n, r=r, p=p, maxmem=_MAX_MEMORY, dklen=_HASH)
