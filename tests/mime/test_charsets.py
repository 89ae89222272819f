"""The charsets that are decoded: their names, and 8-bit text without a charset or with a wrong one."""

from __future__ import annotations

from encodings.aliases import aliases

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.mime.charsets import CHARSETS, NO_CODECS
from trio_smtp.mime.charsets import decode_octets, decode_text

NO_CHARSETS = (
    "", "8bit", "base64", "bz2", "hex", "idna", "mbcs", "oem", "palmos", "punycode", "quopri", "raw_unicode_escape",
    "rot13", "undefined", "unicode_escape", "utf-8-sig", "uu", "zlib", "../utf-8", "utf-8\0", "utf\u20118",
)  # fmt: skip
WINDOWS = "it contains 8-bit octets without a declared charset; they were read as windows-1252"
UTF_8 = "it contains 8-bit octets without a declared charset; they were read as UTF-8"


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
        (b"gr\xfcn", "utf-8", "gr\ufffdn", "it contains octets that are not valid in utf-8"),
        (b"gr\xfcn \x93q\x94", "iso-8859-1", "grün “q”", None),  # Outlook declares iso-8859-1 for windows-1252
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
        (b"gr\xfcn", "unknown-8bit", "grün", WINDOWS),
        ("grün".encode(), "X-UNKNOWN", "grün", UTF_8),
        (b"+2AA-", "utf-7", "?", None),
        ("\ufeffx".encode(), "utf-8", "x", None),
        ("\ufeffgrün".encode(), "iso-8859-1", "grün", None),  # a file from Windows, sent by a script
        ("\ufeffgrün".encode(), "us-ascii", "grün", None),
        ("\ufeffgrün".encode(), None, "grün", UTF_8),
        (b"a\r\nb\rc\nd", None, "a\nb\nc\nd", None),
        (b"abc", "rot13", "abc", "the charset 'rot13' is unknown"),
        (b"\x81", "rot13", "\ufffd", "the charset 'rot13' is unknown"),
        ("ü".encode(), "x\n" * 99, "ü", r"the charset '" + r"x\n" * 20 + "' is unknown"),
    ],
)
def test_decode_text(octets: bytes, charset: str | None, text: str, wrong: str | None) -> None:
    assert decode_text(octets, charset) == (text, wrong)


RUSSIAN = "it contains 8-bit octets without a declared charset; they were read as windows-1251"
FAR = b" " * (1024 - len("<meta charset=koi8-r"))


@pytest.mark.parametrize(
    ("octets", "charset", "text", "wrong"),
    [
        (b"<meta charset=windows-1251>\xc4\xe0", None, "Да", RUSSIAN),
        (b"<META HTTP-EQUIV=a CONTENT='text/html; Charset = Windows-1251'>\xc4\xe0", "us-ascii", "Да", RUSSIAN),
        (b'<meta\ncharset="windows-1251">\xc4\xe0', "x-other", "Да", "the charset 'x-other' is unknown"),
        (b"<meta charset=iso-2022-jp>\x1b$BF|\x1b(B", None, "日", None),
        (b"<meta charset=koi8-r>\xf7", "windows-1251", "ч", None),
        (b"<meta charset=rot13>\xfc", None, "ü", WINDOWS),
        (b"<meta charset=utf-16>\xfc", None, "ü", WINDOWS),
        (b"<meta charset=x-utf_16>\xfc", None, "ü", WINDOWS),
        (b"<meta charset=utf-7>+", None, "+", None),
        (b"<metal charset=koi8-r>\xfc", None, "ü", WINDOWS),
        (b"<meta><a charset=koi8-r>\xfc", None, "ü", WINDOWS),
        (FAR + b"<meta charset=koi8-r>\xf7", None, "В", RUSSIAN.replace("windows-1251", "koi8-r")),
        (FAR + b" <meta charset=koi8-u>\xfc", None, "ü", WINDOWS),
    ],
)
def test_charset_that_html_names(octets: bytes, charset: str | None, text: str, wrong: str | None) -> None:
    decoded, defect = decode_text(octets, charset, is_html=True)
    assert (decoded.rpartition(">")[2], defect) == (text, wrong)


@pytest.mark.parametrize(
    ("charsets", "octets", "text"),
    [
        ("gb2312 gbk x-gbk cp936 gb18030", "😀".encode("gb18030"), "😀"),
        ("shift_jis shift-jis sjis x-sjis windows-31j cp932", "①".encode("cp932"), "①"),
        ("euc-kr euc_kr ks_c_5601-1987 x-windows-949 windows-949 cp949", "똠".encode("cp949"), "똠"),
        ("iso-8859-1 iso8859-1 iso_8859-1 latin1 latin-1 windows-1252", b"\x80", "€"),
        ("iso-8859-6-e iso-8859-6-i iso-8859-6", b"\xc7", "\N{ARABIC LETTER ALEF}"),
        ("iso-8859-8-e iso-8859-8-i iso-8859-8", b"\xe0", "\N{HEBREW LETTER ALEF}"),
        ("windows-874 cp874 iso-8859-11 iso8859-11 iso_8859-11 tis-620", b"\x80\xa0", "€\xa0"),
        ("iso-8859-9 iso8859-9 iso_8859-9 windows-1254", b"\x93\xfd\x94", "“ı”"),
        ("big5 x-big5 big5-hkscs", b"\xf9\xda\xa5\xcd \x9d\xcf", "恒生 嘢"),  # as in Hang Seng
        ("iso-2022-jp csISO2022JP", b"\x1b(I1234\x1b(B", "ｱｲｳｴ"),
    ],
)
def test_names_that_are_used_for_a_larger_charset(charsets: str, octets: bytes, text: str) -> None:
    assert [decode_octets(octets, name) for name in charsets.split()] == [text] * len(charsets.split())


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"-!-j-~|b", "①㈱\ufffd髙"),
        (b"y!!!z!{!|~", "纊\u3000忞犾＂"),
        (b"-_-`-o", "㍻〝㍼"),  # both sides of the gap in Shift_JIS
    ],
)
def test_characters_that_windows_adds_to_japanese(octets: bytes, text: str) -> None:
    assert decode_octets(b"\x1b$B" + octets + b"\x1b(B!", "iso-2022-jp") == text + "!"
    assert decode_octets(b"\x1b$B" + octets + b"\x1b(B!", "iso-2022-jp-1") == text + "!"
    assert decode_octets(bytes(octet | 0x80 for octet in octets), "euc-jp") == text


def test_japanese_that_is_damaged() -> None:
    assert decode_octets(b"\x1b$Bx!-!\x1b(B\xff!\x1b$B-", "iso-2022-jp") == "\ufffd①\ufffd!\ufffd"


def test_which_names_are_charsets() -> None:
    names = {
        f"{prefix}{number}" for prefix in ("iso-8859-", "iso_8859-", "iso8859-", "iso8859") for number in range(20)
    }
    names |= {
        f"{prefix}{number}" for prefix in ("windows-", "cp", "utf-", "utf", "latin-", "latin") for number in range(2000)
    }
    names |= {name.replace("_", "-") for name in aliases} | set(aliases) | set(aliases.values())
    names |= {
        name + more
        for name in CHARSETS + NO_CODECS
        for more in ("", "-e", "-i", "-1", "-2", "-3", "be", "le", "x", "-")
    }
    assert {plain(name) for name in names if decode_octets(b"a", name) is not None} == {
        *(f"iso{dash}8859-{part}" for dash in ("-", "") for part in [*range(1, 12), *range(13, 17)]),
        *(f"{prefix}{number}" for prefix in ("windows-", "cp") for number in [*range(1250, 1259), 874, 949]),
        *(f"cp{number}" for number in (437, 850, 866, 932, 936, 950)),
        *(plain(name) for name in CHARSETS + NO_CODECS),
        *("iso-8859-6-e", "iso-8859-6-i", "utf-16be", "utf-16le", "latin-1"),
    }  # fmt: skip


def plain(charset: str) -> str:
    """The name without what makes no difference."""
    return charset.lower().removeprefix("x-").replace("_", "-")


@given(st.sampled_from(CHARSETS + NO_CODECS), st.binary(max_size=20))
def test_octets_in_any_charset(charset: str, octets: bytes) -> None:
    text = decode_octets(octets, charset)
    assert text is not None
    assert text.encode().decode() == text
