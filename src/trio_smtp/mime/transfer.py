"""Decode a Content-Transfer-Encoding (RFC 2045 §6), as far as possible if it is damaged."""

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
_PIECE = re.compile(rb"[^=]++={0,2}")  # of base64, with padding of its own
_MOST_TINY_PIECES: Final = 10_000
_BAD_ESCAPE = re.compile(rb"=(?![0-9A-Fa-f]{2}|\r?\n|\Z)")  # after trailing white space was removed
_BLANKS_AT_END: Final = (b" \r\n", b"\t\r\n", b" \n", b"\t\n")
_LINES = re.compile(rb"(?s:.{1,1000000}+)[^\n]*+\n?")  # at least a million octets, except the last ones


def decode_content(octets: bytes, encoding: str) -> tuple[bytes, str | None]:
    """The decoded content of a part, and what was wrong with its encoding, None if nothing.

    Args:
        encoding: in lower case. If it is unknown, the octets are returned as they are.
    """
    if encoding in IDENTITY:
        return octets, None
    if encoding == "base64":
        return _decode_base64(octets)
    if encoding == "quoted-printable":
        return _decode_quoted_printable(octets)
    return octets, f"the transfer encoding {encoding[:40]!a} is unknown"


def _decode_quoted_printable(octets: bytes) -> tuple[bytes, str | None]:
    if octets.endswith((b" ", b"\t")) or any(blank in octets for blank in _BLANKS_AT_END):  # rare
        # They were added by a host in transit: RFC 2045 §6.7 (3). Not all at once, because each line takes memory.
        octets = b"".join(_without_trailing_blanks(lines[0]) for lines in _LINES.finditer(octets))
    wrong = None
    if _BAD_ESCAPE.search(octets):
        wrong = "its quoted-printable has a stray '='"
        # The standard library decodes "==" as one "=", and drops everything from "=" and a CR up to the next LF.
        octets = octets.replace(b"=\r\n", b"=\n").replace(b"=\r", b"=3D\r")
        octets = octets.replace(b"==", b"=3D=").replace(b"==", b"=3D=")  # again for every second "=" of a run
    return binascii.a2b_qp(octets), wrong


def _without_trailing_blanks(lines: bytes) -> bytes:
    for end in (b"\r\n", b"\n"):
        lines = end.join([line.rstrip(b" \t") for line in lines.split(end)])
    return lines


def _decode_base64(octets: bytes) -> tuple[bytes, str | None]:
    letters = octets.translate(None, _JUNK)
    has_junk = len(octets) - sum(map(octets.count, _BLANKS)) > len(letters)
    data, padding, rest = letters.partition(b"=")
    over = len(data) % 4
    wrong = None
    if rest.strip(b"="):
        if not has_junk and (content := _decode_pieces(letters)) is not None:
            return content, "its base64 was encoded in several pieces"
        wrong = "there is data after the end of its base64"  # perhaps a text that a mailing list has added
    elif over and len(padding + rest) < 4 - over:
        wrong = "its base64 is cut short"
    elif has_junk:
        wrong = "it contains characters that are not base64"
    if over == 1:  # six bits do not make an octet
        data = data[:-1]
    return binascii.a2b_base64(data + b"=" * (-len(data) % 4)), wrong


def _decode_pieces(letters: bytes) -> bytes | None:
    """The content of base64 that a sender has encoded piece by piece, None if one of the pieces is not complete."""
    if letters.count(b"=") > max(_MOST_TINY_PIECES, len(letters) // 16):
        return None  # no sender does this, and 32 MiB of it would take seconds
    content = bytearray()
    for piece in _PIECE.finditer(letters):
        if len(piece[0]) % 4:
            return None
        content += binascii.a2b_base64(piece[0])
    return bytes(content)
