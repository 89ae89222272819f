"""A message as text for people: header fields, text, attachments, notes, safe for a terminal."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trio_smtp.cli.readable import readable
from trio_smtp.mailbox.store import Message, MessageInfo

HEAD = b"""Received: from a\r
From: Ann <ann@example.com>\r
To: demo@example.com\r
Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r
"""
SHOWN = ["From: Ann <ann@example.com>", "To: demo@example.com", "Subject: Grüße"]

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
SIGNED = b"""Content-Type: multipart/mixed; boundary=x\r
\r
--x\r
Content-Type: text/html\r
\r
<p>Hello <b>you</b></p>\r
--x\r
\r
-- \r
the list\r
--x--\r
"""
RELATED = b"""Content-Type: multipart/related; boundary=x\r
\r
--x\r
Content-Type: text/html\r
\r
<img src="cid:1">\r
--x\r
Content-Type: image/gif\r
Content-ID: <1>\r
\r
GIF\r
--x--\r
"""

BODIES = [
    ("plain", b"\r\nHello,\r\nworld\r\n", ["", "Hello,", "world"]),
    ("empty", b"\r\n", []),
    ("lone line feeds", b"\nHello,\nworld", ["", "Hello,", "world"]),
    ("what a terminal acts on", b"\r\n\x1b[2J\x07\r\nC:\\x\ty\r\n", ["", r"\x1b[2J\x07", r"C:\\x    y"]),
    ("base64", b"Content-Transfer-Encoding: base64\r\n\r\nSGVsbG8=\r\n", ["", "Hello"]),
    ("charset", b"Content-Type: text/plain; charset=iso-8859-1\r\n\r\ncaf\xe9\r\n", ["", "café"]),
    (
        "a codec that is no charset",
        b"Content-Type: text/plain; charset=punycode\r\n\r\nab-c\r\n",
        ["", "ab-c", "", "Note: part 1: the charset 'punycode' is unknown"],
    ),
    ("parts", TWO_PARTS, ["", "café", "", "Attachments:", "  1. p.png (image/png, 3 octets, part 2)"]),
    ("HTML alone", b"Content-Type: text/html\r\n\r\n<p>Hello &amp; you</p>\r\n", ["", "Hello & you"]),
    (
        "blanks of other kinds, and what is not seen",
        b"Content-Type: text/html\r\n\r\n5&nbsp;&euro;&#x202f;so&shy;lid&#x3000;&#65279;x<p>y" + b"&zwnj;&nbsp;" * 99,
        ["", "5 € solid  x", "", "y"],
    ),
    (
        "HTML and no text beside it",  # as Django sends it where the body is ""
        SIGNED.replace(b"mixed", b"alternative").replace(b"-- \r\nthe list\r\n", b" \r\n"),
        ["", "Hello you"],
    ),
    ("HTML and a footer", SIGNED, ["", "Hello you", "", "--", "the list"]),
    ("a picture", RELATED, ["", "Attachments:", "  1. attachment-1.gif in the text (image/gif, 3 octets, part 2)"]),
    (
        "no text",
        b"Content-Type: a/b\r\n\r\n\x1b",
        ["", "Attachments:", "  1. attachment-1.bin (a/b, 1 octets, part 1)"],
    ),
]


def message(content: bytes) -> Message:
    return Message(MessageInfo(1, frozenset(), len(content), datetime(2026, 11, 23, tzinfo=UTC)), content)


@pytest.mark.parametrize(("body", "lines"), [case[1:] for case in BODIES], ids=[case[0] for case in BODIES])
def test_readable(body: bytes, lines: list[str]) -> None:
    assert list(readable(message(HEAD + body))) == [*SHOWN, *lines]


def test_the_envelope_that_the_server_has_noted() -> None:
    noted = b"Return-Path: <app@example.com>\r\nDelivered-To: demo@example.com\r\nDelivered-To: bcc@example.com\r\n"
    content = message(noted + HEAD)
    shown = ["Return-Path: <app@example.com>", "Delivered-To: demo@example.com", "Delivered-To: bcc@example.com"]
    assert list(readable(content)) == [*shown, *SHOWN]
    assert list(readable(content, with_envelope=False)) == SHOWN


def test_blanks_in_a_header() -> None:
    content = "From: 山田\u3000太\u200b郎 <a@example.com>\r\nSubject: Déjà\xa0! 👨\u200d👩\u202e\r\n\r\n".encode()
    assert list(readable(message(content))) == [
        r"From: 山田  太\u200b郎 <a@example.com>",
        r"Subject: Déjà ! 👨👩\u202e",
    ]


def test_colours() -> None:
    content = b"Subject: \x1b[1m\r\nContent-Type: a/b\r\nContent-Transfer-Encoding: x\r\n\r\n"
    assert list(readable(message(content), coloured=True)) == [
        "\x1b[1mSubject:\x1b[m \\x1b[1m",
        "",
        "\x1b[1mAttachments:\x1b[m",
        "  1. attachment-1.bin (a/b, 0 octets, part 1)",
        "",
        "\x1b[33mNote:\x1b[m part 1: the transfer encoding 'x' is unknown",
    ]


@given(st.binary(max_size=200))
@example(b"")
@example(b"Content-Type: text/plain; charset=\xff\r\n\r\nx")
@example(b"Content-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\nx")
@example(b"Content-Disposition: attachment; filename*=x'y'%ff%1b\r\nContent-Type: a/b\r\n\r\nx")
@example(b"Content-Type: text/html\r\n\r\n&#27;&#x202e;<b>&#155;")
def test_every_message_is_shown_safely(content: bytes) -> None:
    assert all(line.isprintable() for line in readable(message(content)))
