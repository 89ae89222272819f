from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_smtp.mailbox.headers import HEAD, decode, decode_octets, fields, summarise

CHARSETS = (
    "utf-8", "utf8", "UTF-8", "utf-7", "utf-16", "utf-16le", "us-ascii", "ascii", "iso-8859-1",
    "ISO-8859-15", "iso-8859-16", "iso8859-2", "latin-1", "latin1", "windows-1250", "windows-1258",
    "cp1252", "cp437", "cp850", "cp866", "cp874", "cp932", "cp949", "cp950", "koi8-r", "koi8-u", "gb2312",
    "gbk", "gb18030", "big5", "shift_jis", "euc-jp", "euc-kr", "iso-2022-jp", "iso-2022-kr",
    "ks_c_5601-1987", "tis-620",
)  # fmt: skip


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"", []),
        (b"\r\n", []),
        (b"\nSubject: body", []),
        (b"\r\nSubject: body", []),
        (b"Subject: a", [(b"subject", b" a")]),
        (b"Subject: a\r\nTo:b\r\n\r\nCc: body", [(b"subject", b" a"), (b"to", b"b")]),
        (b"Subject: a\nTo:b\n\nCc: body", [(b"subject", b" a"), (b"to", b"b")]),
        (b"Subject: a\r\n b\r\n\tc\r\nTo: d", [(b"subject", b" a\r\n b\r\n\tc"), (b"to", b" d")]),
        (b"Subject: a\r\n \r\nTo: d", [(b"subject", b" a\r\n "), (b"to", b" d")]),
        (b"SUBJECT \t: a", [(b"subject", b" a")]),
        (b"X:\r\nY: b", [(b"x", b""), (b"y", b" b")]),
        (b"no field\r\nSubject: a", [(b"subject", b" a")]),
        (b"From me at 12:00\r\nSubject: a", [(b"subject", b" a")]),
        (b": a\r\n:\r\nS\xc3\xbc: b\r\nSubject: a", [(b"subject", b" a")]),
        (b" continues nothing\r\nSubject: a", [(b"subject", b" a")]),
        (b"A: b\r\n\rC: d\r\n\r\nbody", [(b"a", b" b")]),
        (b"Subject: a\0\xff\r\x01", [(b"subject", b" a\0\xff\r\x01")]),
    ],
)
def test_fields(head: bytes, expected: list[tuple[bytes, bytes]]) -> None:
    assert list(fields(head)) == expected


def test_fields_of_the_head_only() -> None:
    assert list(fields(b"A: " + b"x" * HEAD + b"\r\nB: y")) == [(b"a", b" " + b"x" * (HEAD - 3))]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"", ""),
        (b" plain ", "plain"),
        (b"a\r\n b\n\tc  d", "a b c d"),
        (b"a\xa0b\xc2\xa0", "a\xa0bÂ\xa0"),  # not UTF-8, so it is Latin-1
        ("grüße \u2028".encode(), "grüße \u2028"),
        (b"=?utf-8?q?gr=C3=BC=C3=9Fe_an?= alle", "grüße an alle"),
        (b"=?UTF-8?B?Z3LDvMOfZQ==?=", "grüße"),
        (b"=?utf-8?b?Z3LDvMOfZQ?=", "grüße"),
        (b"=?iso-8859-1*de?q?gr=FC?=", "grü"),
        (b"=?us-ascii?q?two words?=", "two words"),
        (b"=?utf-8?q?a?= =?utf-8?q?b?=\r\n =?utf-8?q?c?= d", "abc d"),
        (b"=?utf-8?q?a?=b=?utf-8?q?c?=", "abc"),
        (b"=?utf-8?q?=FF?=", "\ufffd"),
        (b"=?utf-8?q??=", ""),
        (b"=?iso-2022-jp?b?GyRCRnxLXBsoQg==?=", "日本"),
        # what cannot be decoded is shown as it stands
        (b"=?utf-8?b?A?=", "=?utf-8?b?A?="),
        (b"=?utf-8?x?a?=", "=?utf-8?x?a?="),
        (b"=?unheard-of?q?a?=", "=?unheard-of?q?a?="),
        (b"=?rot13?q?a?=", "=?rot13?q?a?="),
        (b"=?unicode_escape?q?=5Cq?=", "=?unicode_escape?q?=5Cq?="),
        (b"=?idna?q?xn--?=", "=?idna?q?xn--?="),
        (b"=?utf-8?q?a", "=?utf-8?q?a"),
        (b"=? ?= =??q??=", "=? ?==??q??="),
    ],
)
def test_decode(value: bytes, text: str) -> None:
    assert decode(value) == text


@pytest.mark.parametrize("charset", CHARSETS)
def test_charset_is_known(charset: str) -> None:
    octets = "abc".encode(charset).hex("=").upper()
    assert decode(f"=?{charset}?q?={octets}?=".encode()) == "abc"


@pytest.mark.parametrize(
    ("head", "summary"),
    [
        (b"", ("", "", "")),
        (b"\xff\x00\x01", ("", "", "")),
        (b"Subject: s\r\nFrom: f\r\nTo: t\r\nCc: c\r\n\r\n", ("s", "f", "t, c")),
        (b"subject: one\r\nSubject: two", ("one", "", "")),
        (b"Cc: c\r\nTo:\r\n", ("", "", "c")),
        (b"Subject:\r\n\r\nSubject: body", ("", "", "")),
        (b"Subject: " + b"x" * 5000, ("x" * 1000, "", "")),
        (
            b"Subject:" + b" " * 7500 + "ü\u20ac\U0001f4e7".encode() * 1000,
            ("ü\u20ac\U0001f4e7" * 55 + "ü", "", ""),
        ),
        (b"To: " + b"t" * 900 + b"\r\nCc: " + b"c" * 900, ("", "", "t" * 900 + ", " + "c" * 98)),
    ],
)
def test_summarise(head: bytes, summary: tuple[str, str, str]) -> None:
    assert summarise(head) == summary


@pytest.mark.parametrize(
    "value",
    [
        b"(" * 500,
        b"<" * 3000,
        b"a@b, " * 8000,
        b"=?" * 50_000,
        b"=?utf-8?q?" * 10_000,
        b"?= " * 30_000,
        b"?=" + b" " * 90_000,
    ],
    ids=range(7),
)
def test_values_that_break_parsers(value: bytes) -> None:
    decode(value)
    for name in (b"Subject", b"From", b"To", b"Message-ID"):
        assert all(len(each) <= 1000 for each in summarise(name + b": " + value))


PIECES = st.sampled_from(
    [b"Subject", b"From", b":", b" ", b"\t", b"\r\n", b"\n", b"\r", b"=?utf-8?q?", b"=?big5?b?", b"=?x?B?", b"?=", b"=",
     b"\xff", b"\0", b"a", b"4pyT", b"*de"]
)  # fmt: skip


@given(st.sampled_from(CHARSETS), st.binary(max_size=20))
def test_octets_in_any_charset(charset: str, octets: bytes) -> None:
    assert isinstance(decode_octets(octets, charset), str)


@given(st.lists(st.one_of(PIECES, st.binary(max_size=4))).map(b"".join))
def test_nothing_raises(head: bytes) -> None:
    for name, value in fields(head):
        assert name == name.lower()
        assert isinstance(decode(value), str)
    assert all("\n" not in each for each in summarise(head))
