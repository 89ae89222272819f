"""Messages that take other parsers minutes, or make them raise."""

from __future__ import annotations

from base64 import encodebytes

import pytest

from tests.mime.multiparts import body, nested
from trio_smtp.mime import MimeLimits, parse

HOSTILE = {
    "nested multiparts": nested(10_000),
    "nested multiparts and many lines": nested(30) + b"\r\n" + b"x\r\n" * 50_000,
    "nested messages": b"Content-Type: message/rfc822\r\n\r\n" * 10_000,
    "boundaries": b"Content-Type: multipart/mixed; boundary=x\r\n\r\n" + b"--x\r\n" * 100_000,
    "what is hardly a boundary": b"Content-Type: multipart/mixed; boundary=x\r\n\r\n" + b"--x \ty\r\n" * 50_000,
    "one line of base64": b"Content-Transfer-Encoding: base64\r\n\r\n" + b"A" * 4_000_001,
    "stray equal signs": b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + b"= " * 100_000,
    "comments": b"To: " + b"(" * 50_000,
    "quotes": b"To: " + b'"\\"' * 50_000,
    "brackets": b"To: " + b"<" * 100_000 + b"[" * 30_000,
    "groups": b"To: " + b"a:" * 100_000,
    "addresses": b"To: " + b"a@b, " * 20_000,
    "fields": b"To: a@b\r\n" * 50_000,
    "message IDs": b"References: " + b"<" * 100_000,
    "pieces of a name": b"Content-Disposition: x" + b"".join(b"; filename*%d*=x" % n for n in range(10_000)),
    "parameters": b"Content-Type: a/b" + b'; a="' * 20_000 + b"; " * 50_000,
    "encoded words": b"Subject: " + b"=?utf-8?q?a?= " * 15_000 + b"=?utf-8?q?" * 10_000,
    "folding": b"Subject: " + b"\r\n " * 150_000,
    "names": body("multipart/mixed", *[b"Content-Disposition: attachment; filename=a\r\n\r\n"] * 1000),
    "a long name": b"Content-Disposition: attachment; filename=" + b"a." * 100_000,
    "no charset": b"\r\n" + b"\x81" * 50_000,
    "line feeds": b"a\n" * 100_000,
    "NUL": b"\0" * 50_000 + b"\r\n\r\n" + b"\0" * 50_000,
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_hostile_messages(content: bytes) -> None:
    parsed = parse(content)
    assert sum(1 for _ in parsed.tree.walk()) <= 1000
    assert len(parsed.to) <= 1000
    assert len(parsed.defects) <= 100


def test_encoded_messages_in_each_other_are_decoded_up_to_the_limit() -> None:
    content = b"Subject: innermost\r\n\r\n" + b"x" * 3000
    for _ in range(3):
        content = b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n" + encodebytes(content)
    assert [part.content_type for part in parse(content).tree.walk()] == [*["message/rfc822"] * 3, "text/plain"]
    assert parse(content).defects == ()
    parsed = parse(content, MimeLimits(octets=2 * len(content)))  # enough for two of them
    parts = [*parsed.tree.walk()]
    assert parts[1].content.startswith(b"Content-Type: message/rfc822")
    assert parts[2].content.startswith(encodebytes(b"Subject: innermost")[:20])
    defect = "part 1.1.1: it was not decoded: with the messages around it, too much is encoded"
    assert defect in parsed.defects
    assert len(parsed.defects) == 2  # and it was read as a message without a header
