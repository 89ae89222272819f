"""A corpus of messages in the forms of real senders, written for these tests, each with its expected result as JSON."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.mime.shape import shape
from trio_smtp.mime import parse

CORPUS = Path(__file__).parent / "corpus"
MESSAGES = sorted(CORPUS.glob("*.eml"))


@pytest.mark.parametrize("path", MESSAGES, ids=lambda path: path.stem)
def test_what_is_found(path: Path) -> None:
    assert shape(parse(path.read_bytes())) == json.loads(path.with_suffix(".json").read_text("utf-8"))


@pytest.mark.parametrize("path", MESSAGES, ids=lambda path: path.stem)
def test_line_ends_make_no_difference(path: Path) -> None:
    content = path.read_bytes()
    one, other = (shape(parse(each)) for each in (content, content.replace(b"\r\n", b"\n")))
    for found in (one, other):  # sizes depend on the line ends
        found["tree"] = [re.sub(r" \([0-9]+\)", "", line) for line in found["tree"]]
    assert one == other


@pytest.mark.parametrize("path", MESSAGES, ids=lambda path: path.stem)
def test_wherever_it_breaks_off(path: Path) -> None:
    content = path.read_bytes()
    for end in range(0, len(content), 37):
        parsed = parse(content[:end])
        assert sum(part.size for part in parsed.tree.walk() if not part.children) <= end
