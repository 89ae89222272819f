"""Decode the octets of mail, in the charsets that mail uses and no other codec.

The sender chooses the name of the charset. Python would accept codecs that are not charsets (``idna``,
``unicode_escape``, ``rot13``, ``zlib``), and it caches every unknown name for ever. So a name is looked up only if it
is on the list here. Octets that are invalid in the charset become U+FFFD.
"""

from __future__ import annotations

import codecs
import re
from functools import cache
from typing import Final

__all__ = ["decode_octets", "decode_text"]

_CHARSET = re.compile(
    r"utf-?8|utf-7|utf-16(?:be|le)?|(?:us-)?ascii|ansi-x3\.4-1968|iso-?8859-(?:[1-9]|1[013-6])|iso-8859-[68]-[ei]"
    r"|latin-?1|windows-(?:125[0-8]|31j|874|949)|cp(?:125[0-8]|437|850|866|874|932|936|949|950)|koi8-[ru]|macintosh"
    r"|gb2312|gbk|gb18030|hz-gb-2312|big5(?:-hkscs)?|shift-jis|sjis|euc-(?:jp|kr)|iso-2022-(?:jp(?:-[12])?|kr)"
    r"|csiso2022jp|ks-c-5601-1987|tis-620|unknown(?:-8bit)?"
)

# Senders often name a charset but use the superset of their system. The last entries are names unknown to Python.
_LARGER: Final = {
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "cp936": "gb18030",
    "shift-jis": "cp932",
    "sjis": "cp932",
    "euc-kr": "cp949",
    "ks-c-5601-1987": "cp949",
    "iso-8859-1": "cp1252",
    "iso8859-1": "cp1252",
    "latin-1": "cp1252",
    "latin1": "cp1252",
    "iso-8859-9": "cp1254",
    "iso8859-9": "cp1254",
    "iso-8859-11": "cp874",
    "iso8859-11": "cp874",
    "tis-620": "cp874",
    "big5": "big5-hkscs",
    "iso-2022-jp": "iso2022_jp_ext",
    "csiso2022jp": "iso2022_jp_ext",
    "iso-8859-6-e": "iso-8859-6",  # RFC 1556: -e and -i tell how the text direction is encoded
    "iso-8859-6-i": "iso-8859-6",
    "iso-8859-8-e": "iso-8859-8",
    "iso-8859-8-i": "iso-8859-8",
    "windows-31j": "cp932",
    "windows-874": "cp874",
    "windows-949": "cp949",
    "unknown-8bit": "ascii",  # RFC 1428: whoever labelled the text did not know its charset
    "unknown": "ascii",
}

_META = re.compile(rb"<meta\b[^<>]*\bcharset\s*=[\s\"']*(?!(?:x-)?utf[-_](?:7|16))([a-z0-9_.-]+)", re.IGNORECASE)
_ASCII: Final = frozenset({"ascii", "us-ascii", "ansi-x3.4-1968"})

_JAPANESE: Final = frozenset({"iso2022_jp_ext", "iso-2022-jp-1", "iso-2022-jp-2", "euc-jp"})


def decode_octets(octets: bytes, charset: str) -> str | None:
    """The decoded octets, with U+FFFD for invalid ones; None if `charset` is not a charset of mail.

    If it is ASCII or says that it is unknown, 8-bit octets are decoded as in `decode_text`.
    """
    codec = _codec(charset)
    if codec in _ASCII:
        codec, _ = _guess(octets, None)
    return None if codec is None else _replace(octets, codec)


def decode_text(octets: bytes, charset: str | None, *, is_html: bool = False) -> tuple[str, str | None]:
    """The text of a body, with LF line ends and without a byte order mark, and what was wrong with it, None if nothing.

    Args:
        charset: as the part declares it. If it is missing, unknown or ASCII, HTML is decoded as its first ``<meta>``
            tag with a charset says. Other 8-bit octets are decoded as UTF-8 if they are valid UTF-8, else as
            windows-1252. What begins with the byte order mark of UTF-8 is UTF-8, whatever is declared.
    """
    codec = None if charset is None else _codec(charset)
    wrong = None if codec or charset is None else f"the charset {charset[:40]!a} is unknown"
    if codec is not None and octets.startswith(codecs.BOM_UTF8):  # as browsers do: HTML §13.2.3.2
        codec = "utf-8"
    elif codec is None or codec in _ASCII:
        codec, guessed = _guess(octets, _codec_of_html(octets) if is_html else None)
        wrong = wrong or guessed
    text = _replace(octets, codec)
    if "\ufffd" in text:
        wrong = wrong or f"it contains octets that are not valid in {codec}"
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n"), wrong


def _codec(charset: str) -> str | None:
    charset = charset.lower().removeprefix("x-").replace("_", "-")  # senders do not agree on these
    return _LARGER.get(charset, charset) if _CHARSET.fullmatch(charset) else None


def _codec_of_html(octets: bytes) -> str | None:
    named = _META.search(octets, 0, 1024)  # as far as browsers look: HTML §13.2.3.2
    return _codec(named[1].decode("ascii")) if named else None


def _guess(octets: bytes, codec: str | None) -> tuple[str, str | None]:
    if codec is None:
        try:
            octets.decode()
            codec = "UTF-8"
        except UnicodeDecodeError:
            codec = "windows-1252"
    if octets.isascii():
        return codec, None
    return codec, f"it contains 8-bit octets without a declared charset; they were read as {codec}"


@cache
def _characters_of_windows() -> dict[bytes, str]:
    """Characters such as ① ㈱ 髙, which Windows has in rows that JIS X 0208 leaves empty, by their octets."""
    found = {}
    for row in (0x2D, 0x79, 0x7A, 0x7B, 0x7C):
        for cell in range(0x21, 0x7F):
            first = (row + 1) // 2 + (0x70 if row < 0x5F else 0xB0)  # in Shift_JIS two rows share the first octet
            second = cell + (0x7E if row % 2 == 0 else 0x1F if cell < 0x60 else 0x20)
            character = bytes([first, second]).decode("cp932", "replace")[0]
            found[bytes([row, cell])] = found[bytes([row | 0x80, cell | 0x80])] = character
    return found


def _instead(error: UnicodeError) -> tuple[str, int]:
    """What to decode in place of an error in Japanese text, and where to go on."""
    assert isinstance(error, UnicodeDecodeError)
    character = _characters_of_windows().get(error.object[error.start : error.start + 2])
    return (character, error.start + 2) if character else ("\ufffd", error.end)


codecs.register_error("trio_smtp.japanese", _instead)


def _replace(octets: bytes, codec: str) -> str:
    text = octets.decode(codec, "trio_smtp.japanese" if codec in _JAPANESE else "replace")
    return text.encode(errors="replace").decode() if codec == "utf-7" else text  # UTF-7 can encode a lone surrogate
