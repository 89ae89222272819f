"""Decode the octets of mail, in the charsets that mail uses and no other codec.

The sender chooses the name of the charset. Python would accept codecs that are not charsets (``idna``,
``unicode_escape``, ``rot13``, ``zlib``), and it caches every unknown name for ever. So a name is looked up only if it
is on the list here. Octets that are invalid in the charset become U+FFFD.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["decode_octets", "decode_text"]

_CHARSET = re.compile(
    r"utf-?8|utf-7|utf-16(?:be|le)?|(?:us-)?ascii|ansi_x3\.4-1968|iso[-_]?8859-(?:[1-9]|1[013-6])|iso-8859-[68]-[ei]"
    r"|latin-?1|windows-(?:125[0-8]|31j|874|949)|cp(?:125[0-8]|437|850|866|874|932|936|949|950)|koi8-[ru]|macintosh"
    r"|gb2312|gbk|gb18030|hz-gb-2312|big5(?:-hkscs)?|shift_jis|(?:x-)?sjis|euc-(?:jp|kr)|iso-2022-(?:jp(?:-[12])?|kr)"
    r"|ks_c_5601-1987|tis-620"
)

# Senders often name a charset but use the superset of their system. The last entries are names unknown to Python.
_LARGER: Final = {
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "cp936": "gb18030",
    "shift_jis": "cp932",
    "sjis": "cp932",
    "x-sjis": "cp932",
    "euc-kr": "cp949",
    "ks_c_5601-1987": "cp949",
    "iso-8859-1": "cp1252",
    "iso8859-1": "cp1252",
    "iso_8859-1": "cp1252",
    "latin-1": "cp1252",
    "latin1": "cp1252",
    "iso-8859-6-e": "iso-8859-6",  # RFC 1556: -e and -i tell how the text direction is encoded
    "iso-8859-6-i": "iso-8859-6",
    "iso-8859-8-e": "iso-8859-8",
    "iso-8859-8-i": "iso-8859-8",
    "windows-31j": "cp932",
    "windows-874": "cp874",
    "windows-949": "cp949",
}

_ASCII: Final = frozenset({"ascii", "us-ascii", "ansi_x3.4-1968"})


def decode_octets(octets: bytes, charset: str) -> str | None:
    """The decoded octets, with U+FFFD for invalid ones; None if `charset` is not a charset of mail."""
    codec = _codec(charset)
    return None if codec is None else _replace(octets, codec)


def decode_text(octets: bytes, charset: str | None) -> tuple[str, str | None]:
    """The text of a body, with LF line ends and without a byte order mark, and what was wrong with it, None if nothing.

    Args:
        charset: as the part declares it. If it is missing, unknown or ASCII, 8-bit octets are decoded as UTF-8 if they
            are valid UTF-8, else as windows-1252.
    """
    codec = None if charset is None else _codec(charset)
    wrong = None if codec or charset is None else f"the charset {charset[:40]!a} is unknown"
    if codec is None or codec in _ASCII:
        codec, guessed = _guess(octets)
        wrong = wrong or guessed
    text = _replace(octets, codec)
    if "\ufffd" in text:
        wrong = wrong or f"it contains octets that are not valid in {codec}"
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n"), wrong


def _codec(charset: str) -> str | None:
    charset = charset.lower()
    return _LARGER.get(charset, charset) if _CHARSET.fullmatch(charset) else None


def _guess(octets: bytes) -> tuple[str, str | None]:
    try:
        octets.decode()
    except UnicodeDecodeError:
        return "cp1252", "it contains 8-bit octets without a declared charset; they were read as windows-1252"
    if octets.isascii():
        return "ascii", None
    return "utf-8", "it contains 8-bit octets without a declared charset; they were read as UTF-8"


def _replace(octets: bytes, codec: str) -> str:
    text = octets.decode(codec, "replace")
    return text.encode(errors="replace").decode() if codec == "utf-7" else text  # UTF-7 can encode a lone surrogate
