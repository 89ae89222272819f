"""`texts`, the texts of a message that a search looks at: which parts, decoding, limits."""

from __future__ import annotations

import base64

import pytest

from tests.mime.multiparts import body
from trio_smtp.mime import MimeLimits, texts


def test_texts() -> None:
    """All text parts are found in their order, also attached ones and those of messages within; no other parts."""
    inner = b"Content-Type: message/rfc822\r\n\r\nContent-Type: text/html\r\n\r\n<b>5 &lt; &euro;6</b>"
    content = body(
        "multipart/mixed",
        b"Content-Type: text/plain; charset=iso-8859-15\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        + base64.b64encode("10\u20ac\r\n".encode("iso-8859-15")),
        b"Content-Type: image/png\r\n\r\nno text",
        b"Content-Type: text/csv\r\nContent-Disposition: attachment\r\n\r\na,b &lt;",
        inner,
    )
    assert list(texts(content)) == ["10\u20ac\n", "a,b &lt;", "<b>5 < \u20ac6</b>"]


@pytest.mark.parametrize(
    ("reference", "text"),
    [
        (b"&#65;&#x41;&#0000000000065;", "AAA"),
        (b"&#%b;" % (b"9" * 5_000), "\ufffd"),  # more digits than int() accepts
        (b"&#%b65;" % (b"0" * 5_000), "A"),
        (b"&#x%b;" % (b"f" * 5_000), "\ufffd"),
        (b"&#12345678", "\ufffd"),
        (b"&#%b;" % (b"0" * 5_000), "&#;"),
    ],
)
def test_numbers_of_characters_are_bounded(reference: bytes, text: str) -> None:
    assert list(texts(b"Content-Type: text/html\r\n\r\n" + reference)) == [text]


def test_texts_are_bounded() -> None:
    content = body("multipart/mixed", b"\r\n1234", b"\r\n5678")
    assert list(texts(content, MimeLimits(text=6))) == ["1234", "56"]
    assert list(texts(content, MimeLimits(parts=2))) == ["1234"]
    assert list(texts(b"\r\n1234", MimeLimits(octets=4))) == ["12"]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", ""),
        (b"\xff" * 100, "\xff" * 100),
        (b"Content-Type: multipart/mixed", ""),
        (b"Content-Type: text/\r\n\r\n", ""),
    ],
)
def test_texts_of_garbage(content: bytes, text: str) -> None:
    assert list(texts(content)) == [text]
