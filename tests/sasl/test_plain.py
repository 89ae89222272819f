"""PLAIN: RFC 4616."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_smtp.sasl import Challenge, Failed, Plain, Verify


@pytest.mark.parametrize(
    ("response", "username", "password"),
    [
        (b"\0tim\0tanstaaftanstaaf", "tim", "tanstaaftanstaaf"),  # RFC 4616 §4
        (b"Kurt\0Kurt\0xipj3plmq", "Kurt", "xipj3plmq"),
        ("\0ünï\0pässwörd".encode(), "ünï", "pässwörd"),
        (b"\0ann@a.example\0a b", "ann@a.example", "a b"),
        (b"\0ann\0 ", "ann", " "),
        (b"\0I\xc2\xadX\0I\xc2\xadX", "IX", "I\u00adX"),  # SASLprep (RFC 4013) for the name, not for the password
        (b"\0" + b"x" * 1024 + b"\0" + b"y" * 1024, "x" * 1024, "y" * 1024),
    ],
)
def test_claims(response: bytes, username: str, password: str) -> None:
    assert Plain().step(response) == Verify(username, password)


@pytest.mark.parametrize(
    "response",
    [
        b"",
        b"ann",
        b"ann\0pass",
        b"\0ann\0pass\0",
        b"\0ann\0pa\0ss",
        b"\0\0\0\0",
        b"\0\0",
        b"\0\0pass",
        b"\0ann\0",
        b"\0\xff\0pass",
        b"\0a\x07\0pass",
        b"\0\xc2\xad\0pass",  # a name that is empty after SASLprep
        b"\0ann\0\xff",
        b"\xff\0ann\0pass",
        b"Ursel\0Kurt\0xipj3plmq",  # RFC 4616 §4: an authorization identity of another user
        b"Kurt \0Kurt\0xipj3plmq",
        b"\0" + b"x" * 1025 + b"\0pass",
        b"\0ann\0" + b"x" * 1025,
        b"\0ann\0" + "é".encode() * 513,  # the limit counts octets
    ],
)
def test_failures(response: bytes) -> None:
    assert Plain().step(response) == Failed()


def test_without_an_initial_response() -> None:
    mechanism = Plain()
    assert mechanism.step(None) == Challenge(b"")  # RFC 4954 §4
    assert mechanism.step(b"\0ann\0pass") == Verify("ann", "pass")


def test_the_password_is_not_shown() -> None:
    step = Plain().step(b"\0ann\0open sesame")
    assert repr(step) == "Verify(username='ann')"


PIECES = st.sampled_from([b"", b"ann", b"bob", b"\xff"])


@given(st.binary() | st.tuples(PIECES, PIECES, PIECES).map(b"\0".join))
def test_any_octets(response: bytes) -> None:
    step = Plain().step(response)
    if isinstance(step, Verify):
        authzid, authcid, _ = response.split(b"\0")
        assert authzid in (b"", authcid)
    else:
        assert step == Failed()
