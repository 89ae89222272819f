from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_smtp.sasl import Challenge, Failed, Login, Plain, Step, Verify

LONG = b"x" * 1025

PLAIN = [
    ("RFC 4616 §4", b"\0tim\0tanstaaftanstaaf", Verify("tim", "tanstaaftanstaaf")),
    ("nobody else", b"ann\0ann\0secret", Verify("ann", "secret")),
    ("somebody else", b"Ursel\0Kurt\0xipj3plmq", Failed()),  # RFC 4616 §4 again
    ("prepared name", b"\0I\xc2\xadX\0I\xc2\xadX", Verify("IX", "I\u00adX")),
    ("prohibited name", b"\0a\x07\0secret", Failed()),
    ("name of nothing", b"\0\xc2\xad\0secret", Failed()),
    ("no NUL", b"secret", Failed()),
    ("one NUL", b"ann\0secret", Failed()),
    ("three NULs", b"\0ann\0secret\0", Failed()),
    ("four NULs", b"\0\0ann\0\0", Failed()),
    ("no name", b"\0\0secret", Failed()),
    ("no password", b"\0ann\0", Failed()),
    ("name not UTF-8", b"\0\xff\0secret", Failed()),
    ("password not UTF-8", b"\0ann\0\xff", Failed()),
    ("long name", b"\0%b\0secret" % LONG, Failed()),
    ("long password", b"\0ann\0%b" % LONG, Failed()),
    ("empty", b"", Failed()),
]


@pytest.mark.parametrize(("response", "step"), [row[1:] for row in PLAIN], ids=[row[0] for row in PLAIN])
def test_plain(response: bytes, step: Step) -> None:
    assert Plain().step(response) == step


def test_plain_asks_for_the_response() -> None:
    assert Plain().step(None) == Challenge(b"")


LOGIN: list[tuple[str, list[bytes | None], Step]] = [
    ("asked for both", [None, b"ann", b"secret"], Verify("ann", "secret")),
    ("with an initial response", [b"ann", b"secret"], Verify("ann", "secret")),
    ("prepared name", [b"\xe2\x85\xa8", b"secret"], Verify("IX", "secret")),
    ("no name", [b"", b"secret"], Failed()),
    ("no password", [b"ann", b""], Failed()),
    ("NUL", [b"ann", b"a\0b"], Failed()),
    ("long", [b"ann", LONG], Failed()),
]


@pytest.mark.parametrize(("responses", "last"), [row[1:] for row in LOGIN], ids=[row[0] for row in LOGIN])
def test_login(responses: list[bytes | None], last: Step) -> None:
    login = Login()
    steps = [login.step(response) for response in responses]
    prompts = [Challenge(b"Username:"), Challenge(b"Password:")]
    assert steps == [*prompts[3 - len(responses) :], last]


@given(st.binary())
def test_plain_takes_any_octets(response: bytes) -> None:
    step = Plain().step(response)
    assert isinstance(step, Verify | Failed)
