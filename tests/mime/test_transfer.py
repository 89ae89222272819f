"""Decoding of base64 and quoted-printable, and what is reported as wrong."""

from __future__ import annotations

import base64
import string
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_smtp.mime.transfer import decode_content

CUT = "its base64 is cut short"
MORE = "there is data after the end of its base64"
PIECES = "its base64 was encoded in several pieces"
JUNK = "it contains characters that are not base64"
STRAY = "its quoted-printable has a stray '='"


@pytest.mark.parametrize(
    ("octets", "encoding", "content", "wrong"),
    [
        (b"a=3D\r\n", "", b"a=3D\r\n", None),
        (b"a=3D\0", "7bit", b"a=3D\0", None),
        (b"\xff", "8bit", b"\xff", None),
        (b"\xff", "binary", b"\xff", None),
        (b"", "base64", b"", None),
        (b"SGVs\r\nbG8=\r\n", "base64", b"Hello", None),
        (b"SGVsbG8", "base64", b"Hello", CUT),
        (b"SGVsbA=", "base64", b"Hell", CUT),
        (b"SGVsb", "base64", b"Hel", CUT),
        (b"S", "base64", b"", CUT),
        (b"SGVsbG8=\r\nSGV", "base64", b"Hello", MORE),
        (b"SGVsbG8=\r\n--\r\nSGVs", "base64", b"Hello", MORE),
        (b"SGVsbG8=\r\nS===", "base64", b"Hello", MORE),
        (b"SGVsbG8=\r\nIQ==\r\nSGVs", "base64", b"Hello!Hel", PIECES),
        (b"SGVsbG8=SGVsbG8=", "base64", b"HelloHello", PIECES),
        pytest.param(b"SGVsbG8=" * 10_000, "base64", b"Hello" * 10_000, PIECES, id="tiny pieces"),
        pytest.param(b"SGVsbG8=" * 10_001, "base64", b"Hello", MORE, id="too many tiny pieces"),
        (b"SGVsbG8===", "base64", b"Hello", None),
        (b"SG*Vs\0bG8=", "base64", b"Hello", JUNK),
        (b"====", "base64", b"", None),
        (b"a=3D=\r\nb=\nc =20\r\n", "quoted-printable", b"a=bc  \r\n", None),
        (b"=3d=C3=A4", "quoted-printable", "=ä".encode(), None),
        (b"100% =", "quoted-printable", b"100% ", None),
        (b"a=b =zz", "quoted-printable", b"a=b =zz", STRAY),
        (b"a == =3D=", "quoted-printable", b"a == =", STRAY),
        (b"==41", "quoted-printable", b"=A", STRAY),
        (b"a=\rb\nc", "quoted-printable", b"a=\rb\nc", STRAY),
        (b"a= \r \nb", "quoted-printable", b"a= \r\nb", STRAY),
        (b"a \r\nb", "quoted-printable", b"a\r\nb", None),
        (b"a\t\r\nb", "quoted-printable", b"a\r\nb", None),
        (b"a \nb", "quoted-printable", b"a\nb", None),
        (b"a\t\nb", "quoted-printable", b"a\nb", None),
        (b"a= \t\r\nb=  ", "quoted-printable", b"ab", None),
        (b"a \t\r\n  \n b  c\t", "quoted-printable", b"a\r\n\n b  c", None),
        (b"begin 644 a\n", "x-uuencode", b"begin 644 a\n", "the transfer encoding 'x-uuencode' is unknown"),
    ],
)
def test_decode_content(octets: bytes, encoding: str, content: bytes, wrong: str | None) -> None:
    assert decode_content(octets, encoding) == (content, wrong)


@pytest.mark.parametrize("escape", [b"=%c1x", b"=1%cx"])
def test_what_an_escape_is_made_of(escape: bytes) -> None:
    for octet in range(256):
        octets = escape % octet
        content, wrong = decode_content(octets, "quoted-printable")
        if chr(octet) in string.hexdigits:
            assert (content, wrong) == (bytes.fromhex(octets[1:3].decode()) + b"x", None)
        elif octets.startswith(b"=\n"):
            assert (content, wrong) == (octets[2:], None)
        else:
            assert wrong == STRAY, octets


@given(st.binary(max_size=100))
def test_what_was_encoded(content: bytes) -> None:
    assert decode_content(base64.encodebytes(content), "base64") == (content, None)


@given(st.binary(max_size=40), st.sampled_from(["base64", "quoted-printable"]))
def test_any_octets(octets: bytes, encoding: str) -> None:
    assert len(decode_content(octets, encoding)[0]) <= len(octets)


@pytest.mark.parametrize("piece", [b"=", b"=\r", b" \n", b"\t\r\n", b"a \n ="])
def test_quoted_printable_takes_little_memory(piece: bytes) -> None:
    octets = piece * (3_000_000 // len(piece))
    tracemalloc.start()
    try:
        decode_content(octets, "quoted-printable")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20 * len(octets)


@pytest.mark.parametrize("at", [999_998, 999_999, 1_000_000, 1_000_001, 1_000_002])
def test_trailing_blanks_in_a_long_text(at: int) -> None:
    octets = (b"a" * 20 + b"\n") * (at // 21) + b"b" * (at % 21)
    for blanks, without in ((b" \t\r\n c\n", b"\r\n c\n"), (b"  \n", b"\n"), (b" ", b"")):
        assert decode_content(octets + blanks, "quoted-printable") == (octets + without, None)
