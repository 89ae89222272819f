"""Content-Transfer-Encoding (RFC 2045 §6), undone as far as it goes."""

from __future__ import annotations

import binascii
import re
import string
from typing import Final

__all__ = ["IDENTITY", "decode_content"]

IDENTITY: Final = frozenset({"", "7bit", "8bit", "binary"})

_BASE64: Final = string.ascii_letters.encode() + string.digits.encode() + b"+/="
_JUNK: Final = bytes(set(range(256)) - set(_BASE64))
_BLANKS: Final = (b" ", b"\t", b"\r", b"\n")
_BAD_ESCAPE = re.compile(rb"=(?![0-9A-Fa-f]{2}|[ \t]*\r?\n|[ \t]*\Z)")


def decode_content(octets: bytes, encoding: str) -> tuple[bytes, str | None]:
    """The content of a part, and what was wrong with its encoding.

    Args:
        encoding: in lower case. What is unknown is left as it stands.
    """
    if encoding in IDENTITY:
        return octets, None
    if encoding == "base64":
        return _decode_base64(octets)
    if encoding == "quoted-printable":
        wrong = "its quoted-printable has a stray '='" if _BAD_ESCAPE.search(octets) else None
        return binascii.a2b_qp(octets), wrong
    return octets, f"the transfer encoding {encoding[:40]!a} is unknown"


def _decode_base64(octets: bytes) -> tuple[bytes, str | None]:
    letters = octets.translate(None, _JUNK)
    data, padding, rest = letters.partition(b"=")
    over = len(data) % 4
    wrong = None
    if rest.strip(b"="):
        wrong = "there is more after the end of its base64"
    elif over and len(padding + rest) < 4 - over:
        wrong = "its base64 is cut short"
    elif len(octets) - sum(map(octets.count, _BLANKS)) > len(letters):
        wrong = "it holds characters that are no base64"
    if over == 1:  # six bits are no octet
        data = data[:-1]
    return binascii.a2b_base64(data + b"=" * (-len(data) % 4)), wrong
