from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trio_smtp.cli.readable import readable

HEAD = b"""Received: from a\r
From: Ann <ann@example.com>\r
To: demo@example.com\r
Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r
"""
SHOWN = ["From: Ann <ann@example.com>", "To: demo@example.com", "Subject: Grüße", ""]

TWO_PARTS = b"""MIME-Version: 1.0\r
Content-Type: multipart/mixed; boundary=x\r
\r
--x\r
Content-Type: text/plain; charset=iso-8859-1\r
Content-Transfer-Encoding: quoted-printable\r
\r
caf=E9\r
--x\r
Content-Type: image/png; name="p\x1b.png"\r
Content-Transfer-Encoding: base64\r
\r
AAAA\r
--x--\r
"""

BODIES = [
    ("plain", b"\r\nHello,\r\nworld\r\n", ["Hello,", "world"]),
    ("empty", b"\r\n", [""]),
    ("lone line feeds", b"\nHello,\nworld", ["Hello,", "world"]),
    ("raw UTF-8", "\r\nGrüße\r\n".encode(), ["Grüße"]),
    ("neither UTF-8 nor declared", b"\r\ncaf\xe9\r\n", ["caf\ufffd"]),
    ("what a terminal acts on", b"\r\n\x1b[2J\x07\r\nC:\\x\ty\r\n", [r"\x1b[2J\x07", r"C:\\x    y"]),
    ("base64", b"Content-Transfer-Encoding: base64\r\n\r\nSGVsbG8=\r\n", ["Hello"]),
    ("declared charset", b"Content-Type: text/plain; charset=iso-8859-1\r\n\r\ncaf\xe9\r\n", ["café"]),
    ("a codec that is no charset", b"Content-Type: text/plain; charset=punycode\r\n\r\nab-c\r\n", ["ab-c"]),
    ("parts", TWO_PARTS, ["café", "", r"[image/png p\x1b.png, 3 octets]"]),
    ("HTML alone", b"Content-Type: text/html\r\n\r\n<p>Hello</p>\r\n", ["<p>Hello</p>"]),
]


@pytest.mark.parametrize(("body", "lines"), [case[1:] for case in BODIES], ids=[case[0] for case in BODIES])
def test_readable(body: bytes, lines: list[str]) -> None:
    assert list(readable(HEAD + body)) == SHOWN + lines


def test_html_beside_plain_text_is_mentioned() -> None:
    parts = b"--x\r\nContent-Type: text/html\r\n\r\n<p>\r\n--x\r\n\r\nHello\r\n--x--\r\n"
    content = b"Content-Type: multipart/alternative; boundary=x\r\n\r\n" + parts
    assert list(readable(content)) == ["", "[text/html, 3 octets]", "", "Hello"]


def test_what_the_parser_cannot_take_is_shown_as_it_stands() -> None:
    depth = 2000
    nested = b"".join(b"Content-Type: multipart/mixed; boundary=%d\r\n\r\n--%d\r\n" % (n, n) for n in range(depth))
    lines = list(readable(b"Subject: deep\r\n" + nested))
    assert lines[:3] == ["Subject: deep", "", "--0"]
    assert len(lines) > depth


@given(st.binary(max_size=200))
@example(b"")
@example(b"Content-Type: text/plain; charset=\xff\r\n\r\nx")
@example(b"Content-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\nx")
@example(b"Content-Transfer-Encoding: uuencode\r\n\r\nbegin 666 x\nZZ\nend")
@example(b"Content-Disposition: attachment; filename*=x'y'%ff\r\nContent-Type: a/b\r\n\r\nx")
def test_every_message_is_shown_safely(content: bytes) -> None:
    assert all(line.isprintable() for line in readable(content))
