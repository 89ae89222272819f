"""SASLprep: RFC 4013."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_smtp.sasl import saslprep

TABLE = [
    ("I\u00adX", "IX"),  # the examples of RFC 4013 §3
    ("user", "user"),
    ("USER", "USER"),
    ("\u00aa", "a"),
    ("\u2168", "IX"),
    ("\u0007", None),
    ("\u06271", None),
    ("1\u0627", None),
    ("", ""),
    ("\u00ad", ""),
    ("a\u00a0b", "a b"),
    ("a\u1680b", "a b"),
    ("se\u0301cret", "s\u00e9cret"),
    ("\u0627a\u0628", None),  # a left-to-right letter between two right-to-left ones
    ("\u0627\u0628", "\u0627\u0628"),
    ("\x7f\u00e9", None),
    ("\u0085", None),
    ("\ue000", None),
    ("\ufdd0", None),
    ("\udcff", None),
    ("\ufffd", None),
    ("\u2ff0", None),
    ("\u200e", None),
    ("\U000e0001", None),
    ("\U0001f600", "\U0001f600"),  # unassigned in the Unicode version of stringprep
    ("\u00e9\0", None),
]


@pytest.mark.parametrize(("text", "prepared"), TABLE, ids=[ascii(text) for text, _ in TABLE])
def test_saslprep(text: str, prepared: str | None) -> None:
    assert saslprep(text) == prepared


@given(st.text())
def test_no_text_is_prepared_into_what_is_prohibited(text: str) -> None:
    prepared = saslprep(text)
    if prepared is not None:
        assert not any(character < " " or character == "\x7f" for character in prepared)
        prepared.encode()
