"""The trace fields that are put in front of a message: their exact form, and that no client can inject anything."""

from __future__ import annotations

import email
import email.policy
import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_smtp.handler import Peer, Session, TLSInfo
from trio_smtp.protocol import Address, Config, Hello, SMTPConnection
from trio_smtp.trace import delivered_to, received, return_path, separator_before, transmission_type

WHEN = int(datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC).timestamp())
ANN = Address("ann", "example.com")
BOB = Address("bob", "example.org")
TLS = TLSInfo("TLSv1.3", "TLS_AES_256_GCM_SHA384", None)
LINE_LIMIT = 998  # octets without CRLF: RFC 5322 §2.1.1


def session(
    *,
    hello: Hello | None = Hello("EHLO", "client.example"),  # noqa: B008 - a value
    peer: Peer = Peer("192.0.2.1", 40000),  # noqa: B008 - a value
    tls: TLSInfo | None = None,
    identity: str | None = None,
    lmtp: bool = False,
) -> Session:
    connection = SMTPConnection(Config(lmtp=lmtp))
    connection.hello = hello
    return Session("0a1b2c3d", peer, "mx.example.com", lmtp, tls, identity, _connection=connection)


@pytest.mark.parametrize("content", [b"", b"x", b"\r\n y", b"\n", b"Subject: x\r\n y"])
def test_most_messages_can_follow_our_fields(content: bytes) -> None:
    assert separator_before(content) == b""


@pytest.mark.parametrize("content", [b" ", b"\t", b" x: y\r\n", b" \r\n"])
def test_one_that_would_continue_them_cannot(content: bytes) -> None:
    assert separator_before(content) == b"\r\n"


@pytest.mark.parametrize(
    ("verb", "smtputf8", "tls", "identity", "lmtp", "name"),
    [  # RFC 3848, RFC 6531 §4.3
        (None, False, None, None, False, "SMTP"),
        ("HELO", False, None, None, False, "SMTP"),
        ("EHLO", False, None, None, False, "ESMTP"),
        ("EHLO", False, None, "ann", False, "ESMTPA"),
        ("EHLO", False, TLS, None, False, "ESMTPS"),
        ("EHLO", False, TLS, "ann", False, "ESMTPSA"),
        ("EHLO", True, None, None, False, "UTF8SMTP"),
        ("EHLO", True, None, "ann", False, "UTF8SMTPA"),
        ("EHLO", True, TLS, None, False, "UTF8SMTPS"),
        ("EHLO", True, TLS, "ann", False, "UTF8SMTPSA"),
        ("LHLO", False, None, None, True, "LMTP"),
        ("LHLO", False, TLS, "ann", True, "LMTPSA"),
        ("LHLO", True, None, None, True, "UTF8LMTP"),
        ("LHLO", True, TLS, "ann", True, "UTF8LMTPSA"),
    ],
)
def test_transmission_type(
    verb: str | None, smtputf8: bool, tls: TLSInfo | None, identity: str | None, lmtp: bool, name: str
) -> None:
    hello = None if verb is None else Hello(verb, "client.example")  # type: ignore[arg-type]  # one of the three
    assert transmission_type(session(hello=hello, tls=tls, identity=identity, lmtp=lmtp), smtputf8=smtputf8) == name


def test_received() -> None:
    assert received(session(), [ANN], smtputf8=False, when=WHEN) == (
        b"Received: from client.example ([192.0.2.1])\r\n"
        b"\tby mx.example.com (trio-smtp) with ESMTP id 0a1b2c3d\r\n"
        b"\tfor <ann@example.com>;\r\n"
        b"\tTue, 03 Feb 2026 04:05:06 +0000\r\n"
    )


def test_received_says_what_tls_agreed_on() -> None:
    assert received(session(tls=TLS), [ANN], smtputf8=False, when=WHEN) == (
        b"Received: from client.example ([192.0.2.1])\r\n"
        b"\tby mx.example.com (trio-smtp) with ESMTPS id 0a1b2c3d\r\n"
        b"\t(TLSv1.3 TLS_AES_256_GCM_SHA384)\r\n"
        b"\tfor <ann@example.com>;\r\n"
        b"\tTue, 03 Feb 2026 04:05:06 +0000\r\n"
    )


def test_received_keeps_recipients_from_each_other() -> None:
    line = received(session(), [ANN, BOB], smtputf8=False, when=WHEN)
    assert b"example.org" not in line
    assert b"for" not in line
    assert line.endswith(b"id 0a1b2c3d;\r\n\tTue, 03 Feb 2026 04:05:06 +0000\r\n")


@pytest.mark.parametrize(
    ("peer", "origin"),
    [
        (Peer("192.0.2.1", 1), b"([192.0.2.1])"),
        (Peer("2001:db8::1", 1), b"([IPv6:2001:db8::1])"),
        (Peer("", 0), b"(local)"),
    ],
)
def test_origin(peer: Peer, origin: bytes) -> None:
    assert received(session(peer=peer), [ANN], smtputf8=False, when=WHEN).startswith(
        b"Received: from client.example " + origin
    )


def test_before_any_hello() -> None:
    assert received(session(hello=None), [ANN], smtputf8=False, when=WHEN).startswith(
        b"Received: from unknown ([192.0.2.1])"
    )


def test_smtputf8_recipient() -> None:
    line = received(session(), [Address("grüße", "例え.jp")], smtputf8=True, when=WHEN)
    assert "for <grüße@例え.jp>".encode() in line


@pytest.mark.parametrize(
    ("domain", "shown"),
    [
        ("a\r\nX-Forged: yes", "a??X-Forged:?yes"),
        ("evil (comment", "evil??comment"),
        (")\\", "??"),
        ('open"quote', "open?quote"),
        ("x;Thu,", "x?Thu,"),
        ("<a@b>", "?a@b?"),
        ("ümlaut", "?mlaut"),
        ("a\u2028b\0c\x7fd", "a?b?c?d"),
        ("[192.0.2.7]", "[192.0.2.7]"),
        ("[IPv6:2001:db8::7]", "[IPv6:2001:db8::7]"),
        ("under_score.example", "under_score.example"),
        ("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", "!?#$%&'??*+,-./:??=??@[?]^_`{|}~"),
        ("019AZaz", "019AZaz"),
    ],
)
def test_hostile_hello(domain: str, shown: str) -> None:
    line = received(session(hello=Hello("EHLO", domain)), [ANN], smtputf8=False, when=WHEN)
    assert line.startswith(f"Received: from {shown} ([192.0.2.1])\r\n".encode())


@given(st.text(max_size=255))  # as much as the core takes
def test_no_hello_breaks_the_header(domain: str) -> None:
    line = received(session(hello=Hello("EHLO", domain), tls=TLS, identity="ann"), [ANN], smtputf8=False, when=WHEN)
    assert line.isascii()
    assert line.endswith(b"\r\n")
    for part in line.removesuffix(b"\r\n").split(b"\r\n"):
        assert len(part) <= LINE_LIMIT
        assert re.fullmatch(rb"(Received: |\t)[ -~]+", part)
    message = email.message_from_bytes(line + b"Subject: x\r\n\r\nbody", policy=email.policy.compat32)
    assert message.keys() == ["Received", "Subject"]
    assert not message.defects


@pytest.mark.parametrize(
    ("sender", "line"),
    [
        (None, b"Return-Path: <>\r\n"),
        (ANN, b"Return-Path: <ann@example.com>\r\n"),
        (Address('a "b"', "example.com"), b'Return-Path: <"a \\"b\\""@example.com>\r\n'),
        (Address("grüße", "example.com"), "Return-Path: <grüße@example.com>\r\n".encode()),
    ],
)
def test_return_path(sender: Address | None, line: bytes) -> None:
    assert return_path(sender) == line


@pytest.mark.parametrize(
    ("recipient", "line"),
    [
        (ANN, b"Delivered-To: ann@example.com\r\n"),
        (Address("Postmaster", ""), b"Delivered-To: Postmaster\r\n"),
        (Address("a b", "[192.0.2.1]"), b'Delivered-To: "a b"@[192.0.2.1]\r\n'),
    ],
)
def test_delivered_to(recipient: Address, line: bytes) -> None:
    assert delivered_to(recipient) == line


def test_the_longest_lines() -> None:
    """The longest paths (RFC 5321 §4.5.3.1.3) and names (§4.5.3.1.2) that are taken."""
    longest = Address("ü" * 32, "d" * 189)
    hello = Hello("EHLO", "h" * 255)
    for lines in (
        return_path(longest),
        delivered_to(longest),
        received(session(hello=hello, tls=TLS), [longest], smtputf8=True, when=WHEN),
    ):
        assert max(map(len, lines.split(b"\r\n"))) <= LINE_LIMIT
