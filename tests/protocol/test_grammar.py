"""The parts of the grammar that addresses and parameters do not cover."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import trio_smtp
from trio_smtp.protocol.grammar import HELLO_ARGUMENT, Fault, GrammarError, decode


def test_no_group_is_repeated_possessively() -> None:
    """Python before 3.11.5 takes half of a repetition for a whole one: ``(?:ab)*+`` matches all of ``aba``."""
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
        (b"my_computer", True),  # no name, but mail must not be refused for that
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
