"""The parts of the grammar that the tests of addresses and parameters do not cover."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import trio_smtp
from trio_smtp.protocol.grammar import (
    ATOM,
    COMMAND,
    EMBEDDED_CHAR,
    HELLO_ARGUMENT,
    HEXCHAR,
    PARAMETER,
    PATH,
    SIZE,
    UTF8_ADDRESS,
    XTEXT,
    Fault,
    GrammarError,
    decode,
)

UPPER_HEX = b"0123456789ABCDEF"
HEX = UPPER_HEX + b"abcdef"
LET_DIG = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
VISIBLE = bytes(range(33, 127))
UTF8 = bytes(range(0x80, 0x100))  # `decode` checks later that it is valid UTF-8
ATEXT = LET_DIG + b"!#$%&'*+/=?^_`{|}~-" + UTF8


def without(octets: bytes, others: bytes) -> bytes:
    return octets.translate(None, others)


@pytest.mark.parametrize(
    ("form", "before", "behind", "octets"),
    [
        (COMMAND, b"", b"\r\n", VISIBLE),
        (COMMAND, b"VRFY a", b"b\r\n", without(bytes(range(256)), b"\r\n")),
        (PATH, b"<", b"@d>", ATEXT),
        (PATH, b"<a", b"@d>", ATEXT),
        (PATH, b"<a.", b"@d>", ATEXT),
        (PATH, b'<"', b'"@d>', b" " + without(VISIBLE, b'"\\') + UTF8),
        (PATH, b'<"\\', b'"@d>', b" " + VISIBLE),
        (PATH, b"<a@", b">", LET_DIG + UTF8),
        (PATH, b"<a@d", b"d>", LET_DIG + UTF8 + b"-."),
        (PATH, b"<a@d-", b">", LET_DIG + UTF8),
        (PATH, b"<a@[", b":1]>", LET_DIG),
        (PATH, b"<a@[t", b"t:1]>", LET_DIG + b"-:"),
        (PATH, b"<a@[t-", b":1]>", LET_DIG),
        (PATH, b"<a@[t:", b"]>", without(VISIBLE, b"[\\]")),
        (PATH, b"<a@[IPv6:", b"::]>", HEX),
        (PATH, b"<a@[1.1.1.", b"]>", b"0123456789"),
        (PATH, b"<a@[1.1.1.2", b"5]>", b"012345"),
        (HELLO_ARGUMENT, b"", b"", VISIBLE + UTF8),
        (HELLO_ARGUMENT, b"d\xc2", b"", VISIBLE + UTF8[0x20:]),
        (PARAMETER, b" ", b"", LET_DIG),
        (PARAMETER, b" A", b"A", LET_DIG + b"-="),
        (PARAMETER, b" A=", b"", without(VISIBLE, b"=") + UTF8),
        (SIZE, b"", b"", b"0123456789"),
        (ATOM, b"", b"", ATEXT),
        (XTEXT, b"", b"", without(VISIBLE, b"+=") + UTF8),
        (XTEXT, b"+A", b"", UPPER_HEX),
        (HEXCHAR, b"+", b"A", UPPER_HEX),
        (UTF8_ADDRESS, b"", b"", without(bytes(range(256)), b"\\")),
        *(
            (UTF8_ADDRESS, b"\\x{" + b"A" * before, b"A" * (size - before - 1) + b"}", octets)
            for size, first in ((2, b""), (3, b"0"), (4, b"0D"), (5, b"0"))
            for before in range(size)
            # After two digits the closing brace may follow, too.
            for octets in (without(UPPER_HEX, first) if before == 0 else UPPER_HEX + b"}" * (before >= 2),)
        ),
        (EMBEDDED_CHAR, b"\\x{", b"}", UPPER_HEX),
    ],
)
def test_which_octets_may_stand_there(form: re.Pattern[bytes], before: bytes, behind: bytes, octets: bytes) -> None:
    there = [octet for octet in range(256) if form.fullmatch(before + bytes([octet]) + behind)]
    assert bytes(there) == bytes(sorted(octets))


@pytest.mark.parametrize("form", ["%d", "%02d", "%03d"])
def test_octets_of_ipv4(form: str) -> None:
    """RFC 5321 §4.1.3: up to three digits, up to 255."""
    for place in range(4):
        numbers = ["1"] * 4
        for number in range(1_000):
            numbers[place] = form % number
            is_one = PATH.fullmatch(f"<a@[{'.'.join(numbers)}]>".encode()) is not None
            assert is_one is (number <= 255), numbers


@pytest.mark.parametrize(
    ("first", "last", "valid"),
    [
        ("0", "F", False),
        ("00", "FF", True),
        ("000", "0FF", False),
        ("100", "FFF", True),
        ("0000", "0FFF", False),
        ("1000", "D7FF", True),
        ("D800", "DFFF", False),
        ("E000", "FFFF", True),
        ("00000", "0FFFF", False),
        ("10000", "FFFFF", True),
        ("000000", "0FFFFF", False),
        ("100000", "10FFFF", True),
        ("110000", "FFFFFF", False),
        ("0000000", "FFFFFFF", False),
    ],
)
def test_code_points_of_an_address(first: str, last: str, valid: bool) -> None:
    """RFC 6533 §3: no more digits than needed, two at least, and no surrogates."""
    low, high = int(first, 16), int(last, 16)
    for number in {*range(low, high, max(1, (high - low) // 300)), high}:
        escape = f"\\x{{{number:0{len(first)}X}}}"
        assert (UTF8_ADDRESS.fullmatch(escape.encode()) is not None) is valid, escape


def test_no_group_is_repeated_possessively() -> None:
    """Python before 3.11.5 counts a partial last repetition as a whole one: ``(?:ab)*+`` matches all of ``aba``."""
    source = "".join(path.read_text("utf-8") for path in Path(trio_smtp.__file__).parent.rglob("*.py"))
    assert "(?>" in source
    assert re.findall(r"\)(?:[*+?]|\{[0-9,]+\})\+.*", source) == []


@pytest.mark.parametrize(
    ("argument", "valid"),
    [
        (b"mail.example.com", True),
        (b"[127.0.0.1]", True),
        (b"[IPv6:::1]", True),
        (b"localhost", True),
        (b"my_computer", True),  # not a host name, but mail must not be refused for that
        (b"<!>", True),
        ("пример.рф".encode(), True),
        (b"d" * 255, True),
        (b"d" * 256, False),
        (b"", False),
        (b"two words", False),
        (b"tab\tbed", False),
        (b"nul\x00", False),
        (b"del\x7f", False),
        (b"newline\n", False),
        (b"c1\xc2\x85", False),
        (b"\xc2\x9b", False),
        (b"\xc2\xa0", True),
    ],
)
def test_hello_argument(argument: bytes, valid: bool) -> None:
    """RFC 5321 §4.1.4."""
    assert (HELLO_ARGUMENT.fullmatch(argument) is not None) is valid


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"", ""),
        (b"plain", "plain"),
        ("é\u00a0\u2028\u200d\ue000".encode(), "é\u00a0\u2028\u200d\ue000"),  # not printable, yet no controls
        (b"\x00", None),
        (b"\x1f", None),
        (b"\x7f", None),
        (b"\xc2\x80", None),
        (b"\xc2\x9f", None),
        (b"\xff", None),
        (b"\xc3", None),
        (b"\xc0\x80", None),
        (b"\xed\xa0\x80", None),
    ],
)
def test_decode(octets: bytes, text: str | None) -> None:
    if text is not None:
        assert decode(octets, "path_syntax") == text
    else:
        with pytest.raises(GrammarError) as caught:
            decode(octets, "parameter_syntax")
        assert caught.value.kind == "parameter_syntax"


@given(st.text(st.characters(exclude_categories=("Cc", "Cs"))))
def test_decode_keeps_all_other_text(text: str) -> None:
    assert decode(text.encode(), "path_syntax") == text


@pytest.mark.parametrize("kind", ["path_syntax", "path_too_long", "parameter_syntax", "parameter_unknown"])
def test_errors_are_sentences(kind: Fault) -> None:
    error = GrammarError(kind)
    assert error.kind == kind
    assert " " in str(error)
