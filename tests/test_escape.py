"""`escape`, which makes the text of strangers safe for a log or a terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_smtp._escape import escape

HOSTILE = [
    ("line-feed", "a\nb", r"a\nb"),
    ("return", "a\r\nb", r"a\r\nb"),
    ("nul", "a\0b", r"a\x00b"),
    ("colour", "\x1b[31mred", r"\x1b[31mred"),
    ("c1-control", "\x9b31m", r"\x9b31m"),
    ("line-separator", "a\u2028b\u2029c\x85d", r"a\u2028b\u2029c\x85d"),
    ("bidirectional-override", "gpj\u202eexe", r"gpj\u202eexe"),
    ("zero-width", "a\u200bb", r"a\u200bb"),
    ("surrogate", "a\udcffb", r"a\udcffb"),
    ("forged-escape", r"a\nb", r"a\\nb"),
    ("tab", "a\tb", r"a\tb"),
    ("beyond-the-bmp", "\U000e0001", r"\U000e0001"),
]


@pytest.mark.parametrize(("text", "expected"), [row[1:] for row in HOSTILE], ids=[row[0] for row in HOSTILE])
def test_hostile_text(text: str, expected: str) -> None:
    assert escape(text) == expected


@pytest.mark.parametrize("text", ["", "ann@example.com", "grüße@例え.jp", 'a "b" <c>, d=e', "😀"])
def test_plain_text_stays(text: str) -> None:
    assert escape(text) == text


@given(st.text())
def test_every_text(text: str) -> None:
    assert escape(text).isprintable()


def test_every_character_has_its_own_form() -> None:
    escaped = {escape(chr(code)) for code in range(0x10000)}
    assert len(escaped) == 0x10000
