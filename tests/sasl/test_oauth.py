"""OAUTHBEARER and XOAUTH2: RFC 7628."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_smtp.sasl import Challenge, CheckToken, Failed, OAuthBearer, XOAuth2

TOKEN = "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="

Row = tuple[str, bytes, tuple[str | None, str] | None]

BEARER: list[Row] = [
    (
        "RFC 7628 §4.1",
        b"n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=Bearer %b\x01\x01" % TOKEN.encode(),
        ("user@example.com", TOKEN),
    ),
    ("no name", b"n,,\x01auth=Bearer t\x01\x01", (None, "t")),
    ("binding possible", b"y,,\x01auth=Bearer t\x01\x01", (None, "t")),
    ("any case", b"n,,\x01auth=bEARER t\x01host=h\x01\x01", (None, "t")),
    ("no value", b"n,,\x01host=\x01auth=Bearer t\x01port=\x01\x01", (None, "t")),
    ("no key", b"n,,\x01=x\x01auth=Bearer t\x01\x01", None),
    ("no key behind the token", b"n,,\x01auth=Bearer t\x01=x\x01\x01", None),
    ("escaped name", b"n,a=a=2Cb=3D,\x01auth=Bearer t\x01\x01", ("a,b=", "t")),
    ("unknown escape", b"n,a=a=2,\x01auth=Bearer t\x01\x01", None),
    ("prohibited name", b"n,a=\x07,\x01auth=Bearer t\x01\x01", None),
    ("RFC 7628 §4.3, no token", b"n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=\x01\x01", None),
    ("channel binding", b"p=tls-unique,,\x01auth=Bearer t\x01\x01", None),
    ("two tokens", b"n,,\x01auth=Bearer t\x01auth=Bearer u\x01\x01", None),
    ("another scheme", b"n,,\x01auth=Basic t\x01\x01", None),
    ("not a token", b"n,,\x01auth=Bearer t t\x01\x01", None),
    ("no end", b"n,,\x01auth=Bearer t\x01", None),
    ("empty", b"", None),
]
XOAUTH2: list[Row] = [
    (
        "name and token",
        b"user=someuser@example.com\x01auth=Bearer ya29.vF9dft4\x01\x01",
        ("someuser@example.com", "ya29.vF9dft4"),
    ),
    ("no escapes", b"user=a=2Cb\x01auth=Bearer t\x01\x01", ("a=2Cb", "t")),
    ("no name", b"user=\x01auth=Bearer t\x01\x01", None),
    ("prohibited name", b"user=\x07\x01auth=Bearer t\x01\x01", None),
    ("no end", b"user=ann\x01auth=Bearer t\x01", None),
    ("empty", b"", None),
]
ROWS = [(OAuthBearer, *row) for row in BEARER] + [(XOAuth2, *row) for row in XOAUTH2]


@pytest.mark.parametrize(
    ("kind", "response", "claim"),
    [(kind, response, claim) for kind, _, response, claim in ROWS],
    ids=[f"{kind.name} {name}" for kind, name, *_ in ROWS],
)
def test_response(kind: type[OAuthBearer | XOAuth2], response: bytes, claim: tuple[str | None, str] | None) -> None:
    mechanism = kind()
    assert mechanism.step(None) == Challenge(b"")
    step = mechanism.step(response)
    assert isinstance(step, CheckToken | Failed)
    assert ((step.username, step.token) if isinstance(step, CheckToken) else None) == claim


LETTERS = string.ascii_letters.encode()
PRINTABLE = bytes(range(32, 127))
VALUE = bytes(range(256)).translate(None, b"\x00\x01")


@pytest.mark.parametrize(
    ("kind", "before", "behind", "octets"),
    [
        (OAuthBearer, b"n,a=a", b",\x01auth=Bearer t\x01\x01", PRINTABLE.translate(None, b",=")),
        (OAuthBearer, b"n,,\x01", b"=v\x01auth=Bearer t\x01\x01", LETTERS),
        (OAuthBearer, b"n,,\x01k=", b"\x01auth=Bearer t\x01\x01", VALUE),
        (OAuthBearer, b"n,,\x01auth=Bearer ", b"\x01\x01", LETTERS + b"0123456789-._~+/"),
        (OAuthBearer, b"n,,\x01auth=Bearer t\x01", b"=v\x01\x01", LETTERS),
        (OAuthBearer, b"n,,\x01auth=Bearer t\x01k=", b"\x01\x01", VALUE),
        (XOAuth2, b"user=", b"\x01auth=Bearer t\x01\x01", PRINTABLE),
    ],
)
def test_which_octets_may_stand_there(
    kind: type[OAuthBearer | XOAuth2], before: bytes, behind: bytes, octets: bytes
) -> None:
    """RFC 7628 §3.1."""
    there = [o for o in range(256) if isinstance(kind().step(before + bytes([o]) + behind), CheckToken)]
    assert bytes(there) == bytes(sorted(octets))


@pytest.mark.parametrize(("kind", "response"), [(OAuthBearer, BEARER[1][1]), (XOAuth2, XOAUTH2[0][1])])
def test_refused_token(kind: type[OAuthBearer | XOAuth2], response: bytes) -> None:
    """The exchange fails whatever the client sends after the refusal (an octet 0x01 by RFC 7628 §3.2.3)."""
    for answer in (b"\x01", b"", response):
        mechanism = kind()
        step = mechanism.step(response)
        assert isinstance(step, CheckToken)
        assert step.refusal.data.startswith(b'{"status":')
        assert mechanism.step(answer) == Failed()


def test_token_is_not_shown() -> None:
    step = XOAuth2().step(XOAUTH2[0][1])
    assert "ya29" not in repr(step)


@given(
    st.binary()
    | st.from_regex(rb"\An,,\x01(auth=Bearer [a-z]+\x01|[a-z]=[a-z]*\x01)*\x01\Z")
    | st.from_regex(rb"\Auser=[a-z]+\x01(auth=Bearer [a-z]+\x01){1,2}\x01\Z")
)
def test_any_octets(response: bytes) -> None:
    for kind in (OAuthBearer, XOAuth2):
        step = kind().step(response)
        if isinstance(step, CheckToken):
            fields = [field for field in response.split(b"\x01") if field.startswith(b"auth=")]
            assert fields == [f"auth=Bearer {step.token}".encode()]
        else:
            assert step == Failed()
