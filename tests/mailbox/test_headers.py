"""`summarise`: subject, sender and recipients for listings, from any octets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_smtp.mailbox.headers import summarise


@pytest.mark.parametrize(
    ("head", "summary"),
    [
        (b"", ("", "", "")),
        (b"\xff\x00\x01", ("", "", "")),
        (b"Subject: s\r\nFrom: f\r\nTo: t\r\nCc: c\r\n\r\n", ("s", "f", "t, c")),
        (b"subject: one\r\nSubject: two", ("one", "", "")),
        (b"Cc: c\r\nTo:\r\n", ("", "", "c")),
        (b"Delivered-To: a@x\r\nDelivered-To: b@x\r\nTo:\r\n", ("", "", "a@x, b@x")),
        (b"Delivered-To: a@x\r\nCc: c\r\n", ("", "", "c")),
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
    for name in (b"Subject", b"From", b"To", b"Message-ID"):
        assert all(len(each) <= 1000 for each in summarise(name + b": " + value))


@given(st.binary(max_size=100))
def test_nothing_raises(head: bytes) -> None:
    assert all("\n" not in each for each in summarise(head))
