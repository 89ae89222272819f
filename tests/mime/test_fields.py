"""Header fields: where the header ends, names and values, folding, encoded words, 8-bit values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.mime.charsets import CHARSETS
from trio_smtp.mime.fields import HEAD, body_start, decode, fields, header_end, one_line


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
        (b"X:\nY: b", [(b"x", b""), (b"y", b" b")]),
        (b"Subject: a\r\nno field\r\nTo: b", [(b"subject", b" a")]),
        (b"From me at 12:00\r\nSubject: a", [(b"subject", b" a")]),
        (b"Subject: a\r\n: b\r\nTo: c", [(b"subject", b" a")]),
        (b"Subject: a\r\nS\xc3\xbc: b\r\nTo: c", [(b"subject", b" a")]),
        (b"Subject: a\r\n>From me at 12:00\r\nTo: b", [(b"subject", b" a"), (b"to", b" b")]),
        (b"Subject: a\r\n>>From me at 12:00\r\nTo: b", [(b"subject", b" a")]),
        (b" continues nothing\r\nSubject: a", []),
        (b"A: b\r\n\rC: d\r\n\r\nbody", [(b"a", b" b")]),
        (b"A: b\r\r\nC: d\r\r\n\r\nbody", [(b"a", b" b\r"), (b"c", b" d\r")]),
        (b"\xef\xbb\xbfSubject: a\r\nTo: b", [(b"subject", b" a"), (b"to", b" b")]),
        (b"X: a\r\n\xef\xbb\xbfSubject: b\r\nTo: c", [(b"x", b" a"), (b"subject", b" b"), (b"to", b" c")]),
        (b"\xef\xbb\xbf\r\nSubject: body", []),
        (b"\xef\xbbSubject: body", []),
        (b"Subject: a\0\xff\r\x01", [(b"subject", b" a\0\xff\r\x01")]),
    ],
)
def test_fields(head: bytes, expected: list[tuple[bytes, bytes]]) -> None:
    assert list(fields(head)) == expected


@pytest.mark.parametrize("octet", range(256))
def test_what_a_name_is_made_of(octet: int) -> None:
    """RFC 5322 §3.6.8: visible ASCII characters; the colon ends it."""
    names = [name for name, _ in fields(b"A%cB: c" % octet)]
    if octet == ord(":"):
        assert names == [b"a"]
    else:
        assert names == ([b"a%cb" % chr(octet).lower().encode()] if 33 <= octet <= 126 else [])


@pytest.mark.parametrize(("end", "over"), [(9, (9, 9)), (10, (10, 10)), (12, (12, 14)), (14, (12, 14))])
def test_a_header_that_is_cut_off(end: int, over: tuple[int, int]) -> None:
    """If the limit cuts a line before its CRLF, that CRLF is not taken for an empty line."""
    assert header_end(b"A: b\r\nC: d\r\n\r\nbody", 0, end) == over


def test_fields_of_the_head_only() -> None:
    assert list(fields(b"A: " + b"x" * HEAD + b"\r\nB: y")) == [(b"a", b" " + b"x" * (HEAD - 3))]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"", ""),
        (b" plain ", "plain"),
        (b"a\r\n b\n\tc  d", "a b c d"),
        (b"a\xa0b\xc2\xa0", "a\xa0bÂ\xa0"),  # not UTF-8, so decoded as windows-1252, as in a body
        (b"L\x92\xe9t\xe9, 5 \x80 \x81", "L’été, 5 € \ufffd"),
        ("grüße \u2028".encode(), "grüße \u2028"),
        (b"=?utf-8?q?gr=C3=BC=C3=9Fe_an?= alle", "grüße an alle"),
        (b"=?UTF-8?B?Z3LDvMOfZQ==?=", "grüße"),
        (b"=?utf-8?b?Z3LDvMOfZQ?=", "grüße"),
        (b"=?iso-8859-1*de?q?gr=FC?=", "grü"),
        (b"=?iso-8859-1*az-09?q?gr=FC?=", "grü"),
        (b"=?us-ascii?q?two words?=", "two words"),
        (b"=?utf-8?q?a?= =?utf-8?q?b?=\r\n =?utf-8?q?c?= d", "abc d"),
        (b"=?utf-8?q?a?=b=?utf-8?q?c?=", "abc"),
        (b"=?utf-8?q?=FF?=", "\ufffd"),
        (b"=?utf-8?q??=", ""),
        (b"=?iso-2022-jp?b?GyRCRnxLXBsoQg==?=", "日本"),
        (b"=?us-ascii?q?gr=C3=BCn?= =?us-ascii?q?gr=FCn?=", "grÃ¼ngrün"),
        (b"=?unknown-8bit?q?gr=C3=BCn?=", "grün"),  # as the standard library of Python encodes an 8-bit header
        (b"=?X-UNKNOWN?b?Z3L8bg==?=", "grün"),
        # a question mark that is not encoded, as PHP's quoted_printable_encode leaves it
        (b"=?utf-8?q?Gr=C3=BC=C3=9Fe? Ja??=", "Grüße? Ja?"),
        (b"=?utf-8?q???=", "?"),
        (b"=?utf-8?q?a? =?utf-8?q?b?=", "=?utf-8?q?a? b"),
        (b"=?utf-8?q?a?b?= c?=", "a?b c?="),
        # what cannot be decoded stays as it is
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
    ("content", "body"),
    [
        (b"", b""),
        (b"hello", b"hello"),
        (b"\r\nhello", b"hello"),
        (b"\r\n\r\nhello", b"\r\nhello"),
        (b"A: b", b""),
        (b"A: b\r\n", b""),
        (b"A: b\r\n\r\n", b""),
        (b"A: b\r\n c\r\n\r\n d", b" d"),
        (b"A: b\n\nc", b"c"),
        (b" a: b\r\n\r\nc", b" a: b\r\n\r\nc"),
        (b"A: b\r\nhello\r\n\r\nC: d", b"hello\r\n\r\nC: d"),
        (b"\xef\xbb\xbfA: b\r\n\r\nhello", b"hello"),
        (b"\xef\xbb\xbfhello", b"\xef\xbb\xbfhello"),
        (b"From me at 12:00\r\nA: b\r\nhello", b"hello"),
        (b"A: b\r\n\r\r\nhello", b"\r\r\nhello"),
    ],
)
def test_body(content: bytes, body: bytes) -> None:
    assert content[body_start(content) :] == body


def test_one_line() -> None:
    assert one_line(" a\r\n\0b\x85\u2028c ") == "a b c"
    hidden = [code for code in range(0x3000) if one_line(f"a{chr(code)}b") == "a b"]
    assert hidden == [*range(0x21), *range(0x7F, 0xA0), 0x2028, 0x2029]


@pytest.mark.parametrize(
    "value",
    [
        b"=?" * 500_000,
        b"=?utf-8?q?" * 100_000,
        b"?= " * 300_000,
        b"?=" + b" " * 900_000,
        b"=?utf-8?q?a?=" * 100_000,
        b"=?utf-8?q?a? " * 200_000,
    ],
    ids=range(6),
)
def test_values_that_break_parsers(value: bytes) -> None:
    """If the time grows with the square of the length, the timeout of the test run ends this test."""
    assert len(decode(value)) <= len(value)


PIECES = st.sampled_from(
    [b"Subject", b"From", b":", b" ", b"\t", b"\r\n", b"\n", b"\r", b"=?utf-8?q?", b"=?big5?b?", b"=?x?B?", b"?=", b"=",
     b"\xff", b"\0", b"a", b"4pyT", b"*de"]
)  # fmt: skip


@given(st.lists(st.one_of(PIECES, st.binary(max_size=4))).map(b"".join))
def test_nothing_raises(head: bytes) -> None:
    for name, value in fields(head):
        assert name == name.lower()
        assert isinstance(decode(value), str)
