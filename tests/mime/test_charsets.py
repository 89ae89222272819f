from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.mime.charsets import CHARSETS, NO_CODECS
from trio_smtp.mime.charsets import decode_octets, decode_text

NO_CHARSETS = (
    "", "8bit", "base64", "bz2", "hex", "idna", "mbcs", "oem", "palmos", "punycode", "quopri", "raw_unicode_escape",
    "rot13", "undefined", "unicode_escape", "utf-8-sig", "uu", "zlib", "../utf-8", "utf-8\0", "utf\u20118",
)  # fmt: skip
WINDOWS = "it holds 8-bit octets and does not say of which charset; they were read as windows-1252"
UTF_8 = "it holds 8-bit octets and does not say of which charset; they were read as UTF-8"


@pytest.mark.parametrize("charset", NO_CHARSETS)
def test_other_codecs_are_not_used(charset: str) -> None:
    assert decode_octets(b"abc", charset) is None


@pytest.mark.parametrize(
    ("octets", "charset", "text", "wrong"),
    [
        (b"abc", None, "abc", None),
        (b"abc", "us-ascii", "abc", None),
        ("grün".encode(), None, "grün", UTF_8),
        ("grün".encode(), "US-ASCII", "grün", UTF_8),
        (b"gr\xfcn \x80", None, "grün €", WINDOWS),
        (b"gr\xfcn", "utf-8", "gr\ufffdn", "it holds octets that utf-8 does not have"),
        (b"gr\xfcn \x93q\x94", "iso-8859-1", "grün “q”", None),  # what Outlook means by it
        (b"gr\xfcn \xa4", "iso-8859-15", "grün €", None),
        ("日本".encode("iso-2022-jp"), "ISO-2022-JP", "日本", None),
        ("①".encode("cp932"), "shift_jis", "①", None),
        ("镕".encode("gb18030"), "gb2312", "镕", None),
        ("똠".encode("cp949"), "euc-kr", "똠", None),
        ("привет".encode("koi8-r"), "koi8-r", "привет", None),
        ("שלום".encode("iso-8859-8"), "iso-8859-8-i", "שלום", None),
        ("ไทย".encode("cp874"), "windows-874", "ไทย", None),
        ("①".encode("cp932"), "x-sjis", "①", None),
        ("grün".encode("mac-roman"), "macintosh", "grün", None),
        (b"abc", "ANSI_X3.4-1968", "abc", None),
        ("grün".encode(), "ANSI_X3.4-1968", "grün", UTF_8),
        (b"+2AA-", "utf-7", "?", None),
        ("\ufeffx".encode(), "utf-8", "x", None),
        (b"a\r\nb\rc\nd", None, "a\nb\nc\nd", None),
        (b"abc", "rot13", "abc", "the charset 'rot13' is unknown"),
        ("ü".encode(), "x\n" * 99, "ü", r"the charset '" + r"x\n" * 20 + "' is unknown"),
    ],
)
def test_decode_text(octets: bytes, charset: str | None, text: str, wrong: str | None) -> None:
    assert decode_text(octets, charset) == (text, wrong)


@given(st.sampled_from(CHARSETS + NO_CODECS), st.binary(max_size=20))
def test_octets_in_any_charset(charset: str, octets: bytes) -> None:
    text = decode_octets(octets, charset)
    assert text is not None
    assert text.encode().decode() == text
