"""`HeaderSection`: where the header section of a message ends, however the message is cut up."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_smtp.header_section import HeaderSection

BOUND = 100_500
A = b"A: b\r\n"
CASES = {
    "nothing": (b"", b""),
    "no header": (b"\r\nbody\r\n", b""),
    "no body": (A, A),
    "an empty body": (A + b"\r\n", A),
    "a body": (A + b"C: d\r\n\r\nE: f\r\n\r\n", A + b"C: d\r\n"),
    "folded": (A + b" c\r\n\td\r\n\r\nbody", A + b" c\r\n\td\r\n"),
    "a body right away": (b"Hello, this is it:\r\n", b""),
    "a body without an empty line": (A + b"Hello there\r\nB: c\r\n", A),
    "a space before the colon": (b"A : b\r\n\r\n", b"A : b\r\n"),
    "no colon at the end": (A + b"Subject", A),
    "newlines alone": (b"A: b\nC: d\n\nE: f\n", b"A: b\nC: d\n"),
    "lines of an mbox file": (
        b"From me at 12\r\n" + A + b">From me at 12\r\n\r\n",
        b"From me at 12\r\n" + A + b">From me at 12\r\n",
    ),
    "a body that begins with From": (A + b"From\tme\r\n", A),
    "a body that begins with quoted quotes": (A + b">>From me\r\n", A),
    "an empty field": (b"A:\nB: c\n\nx", b"A:\nB: c\n"),
    "a field without the end of its line": (A + b"C: d", A + b"C: d"),
    "a byte order mark": (b"\xef\xbb\xbf" + A + b"\r\n", b"\xef\xbb\xbf" + A),
    "a byte order mark behind our fields": (A + b"\xef\xbb\xbfC: d\r\n\r\n", A + b"\xef\xbb\xbfC: d\r\n"),
    "a byte order mark before the body": (A + b"\xef\xbb\xbfbody\r\n", A),
    "half a byte order mark": (A + b"\xef\xbbC: d\r\n", A),
    "8-bit names": (A + b"\xc3\xa4: b\r\n", A),
}


def fed(pieces: list[bytes]) -> bytes:
    section = HeaderSection(BOUND)
    for piece in pieces:
        if piece and (header := section.feed(piece)) is not None:
            return header
    header = section.feed(b"")
    assert header is not None
    return header


@pytest.mark.parametrize(("content", "header"), CASES.values(), ids=[*CASES])
def test_the_header(content: bytes, header: bytes) -> None:
    assert fed([content]) == header
    assert fed([content[i : i + 1] for i in range(len(content))]) == header
    rng = random.Random(content)
    for _ in range(20):
        cuts = sorted(rng.choices(range(len(content) + 1), k=3))
        assert fed([content[a:b] for a, b in zip([0, *cuts], [*cuts, len(content)], strict=True)]) == header


@pytest.mark.parametrize("octet", range(256))
def test_what_a_name_is_made_of(octet: int) -> None:
    """RFC 5322 §3.6.8: visible ASCII characters; the colon ends it."""
    content = b"A%cB: c\r\n" % octet
    header = content if 33 <= octet <= 126 else b""
    assert fed([content]) == header
    assert fed([content[i : i + 1] for i in range(len(content))]) == header


@given(st.lists(st.sampled_from([b"A", b":", b" ", b"\r\n", b"\n", b"x\xff", b"--"])).map(b"".join))
def test_it_is_the_same_however_it_is_cut_up(content: bytes) -> None:
    whole = fed([content])
    assert content.startswith(whole)
    assert fed([content[i : i + 1] for i in range(len(content))]) == whole


def test_one_that_has_no_end_is_cut_off() -> None:
    section = HeaderSection(BOUND)
    line = b"A: " + b"b" * 995 + b"\r\n"
    fed = [section.feed(line) for _ in range(BOUND // len(line) + 1)]
    assert fed[:-1] == [None] * (len(fed) - 1)
    assert fed[-1] == (line * len(fed))[:BOUND]


def test_nothing_beyond_the_bound_is_waited_for() -> None:
    assert HeaderSection(len(A)).feed(A) == A


def test_the_end_of_a_line_that_is_no_field_is_not_waited_for() -> None:
    assert HeaderSection(BOUND).feed(A + b"Hello there") == A


@pytest.mark.parametrize("begin", [b"", A])
def test_a_long_line_without_a_colon_is_no_field(begin: bytes) -> None:
    section = HeaderSection(BOUND)
    assert section.feed(begin + b"x" * 998) is None
    assert section.feed(b"x") == begin


def test_a_long_field_goes_on() -> None:
    section = HeaderSection(BOUND)
    assert section.feed(b"A: ") is None
    for _ in range(50):
        assert section.feed(b"x" * 1000) is None
    assert section.feed(b"\r\n\r\n") == b"A: " + b"x" * 50_000 + b"\r\n"
