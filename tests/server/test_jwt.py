"""`JWTValidator`: the tokens it accepts and those it does not."""

from __future__ import annotations

import json
import subprocess
import sys
from base64 import urlsafe_b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import KeySet, OctKey, RSAKey

from trio_smtp.server.jwt import JWTValidator

KEY = RSAKey.generate_key(2048, auto_kid=True)
OTHER = RSAKey.generate_key(2048, auto_kid=True)
FAR = 4_000_000_000  # seconds, in the year 2096
GOOD: dict[str, Any] = {"iss": "https://id.example.com", "aud": "smtp", "exp": FAR, "email": "ann@example.com"}


def token(key: RSAKey | OctKey = KEY, algorithm: str = "RS256", **claims: Any) -> str:
    contents = {name: value for name, value in {**GOOD, **claims}.items() if value is not None}
    return jwt.encode({"alg": algorithm}, contents, key, algorithms=[algorithm])


@pytest.fixture
def validate() -> JWTValidator:
    return JWTValidator(KEY, algorithms=["RS256"], issuer="https://id.example.com", audience="smtp")


@pytest.mark.parametrize("username", [None, "ann@example.com"])
def test_good_token(validate: JWTValidator, username: str | None) -> None:
    assert validate(token(), username) == "ann@example.com"
    assert validate(token(aud=["imap", "smtp"]), username) == "ann@example.com"


@pytest.mark.parametrize(
    ("wrong", "error", "complaint"),
    [
        ({"key": "secret"}, TypeError, "key must be of type .*KeySet, not 'secret'"),
        ({"algorithms": "RS256"}, TypeError, r"algorithms must be a list such as \['RS256'\], not a string"),
        ({"algorithms": []}, ValueError, "must not be empty"),  # joserfc would trust its own
        ({"issuer": None}, TypeError, "issuer must be of type str, not None"),  # it would trust everyone
        ({"issuer": ""}, ValueError, "must not be empty"),
        ({"audience": None}, TypeError, "audience must be of type str, not None"),
        ({"audience": ["smtp"]}, TypeError, r"audience must be of type str, not \['smtp'\]"),
        ({"claim": None}, TypeError, "claim must be of type str, not None"),
        ({"leeway": None}, TypeError, "leeway must be of type int, not None"),
    ],
)
def test_settings_that_would_trust_everyone_or_nobody(
    wrong: dict[str, Any], error: type[Exception], complaint: str
) -> None:
    good: dict[str, Any] = {"key": KEY, "algorithms": ["RS256"], "issuer": "https://id.example.com", "audience": "smtp"}
    with pytest.raises(error, match=complaint):
        JWTValidator(**{**good, **wrong})


def test_several_keys_and_another_claim() -> None:
    validate = JWTValidator(
        KeySet([OTHER, KEY]), algorithms=["RS256"], issuer=GOOD["iss"], audience="smtp", claim="sub"
    )
    signed = jwt.encode({"alg": "RS256", "kid": KEY.kid}, {**GOOD, "sub": "ann"}, KEY)
    assert validate(signed, None) == "ann"
    assert validate(token(), None) is None


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://id.example.net"},
        {"iss": None},
        {"aud": "imap"},
        {"aud": None},
        {"exp": 1},
        {"exp": None},
        {"exp": "never"},
        {"nbf": FAR},
        {"email": None},
        {"email": 7},
        {"email": ""},
        {"email": ["ann@example.com"]},
    ],
    ids=str,
)
def test_bad_claim(validate: JWTValidator, claims: dict[str, Any]) -> None:
    assert validate(token(**claims), None) is None


def test_somebody_elses_token(validate: JWTValidator) -> None:
    assert validate(token(), "bob@example.com") is None


def test_bad_signature(validate: JWTValidator) -> None:
    header, claims, signature = token().split(".")
    assert validate(token(OTHER), None) is None
    assert validate(f"{header}.{claims}.", None) is None
    assert validate(f"{header}.{token(email='bob@example.com').split('.')[1]}.{signature}", None) is None


def test_another_algorithm(validate: JWTValidator) -> None:
    assert validate(token(KEY, "RS512"), None) is None
    assert validate(token(OctKey.generate_key(256), "HS256"), None) is None
    unsigned = token().split(".")
    unsigned[0] = "eyJhbGciOiJub25lIn0"
    assert validate(".".join(unsigned[:2]) + ".", None) is None


@pytest.mark.parametrize(
    "text", ["", "x", "a.b", "a.b.c", "....", "eyJhbGciOiJSUzI1NiJ9.W10.AA", "e30.e30.e30", "W1tb" * 2000 + ".e30.AA"]
)
def test_not_a_token(validate: JWTValidator, text: str) -> None:
    assert validate(text, None) is None


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=8), st.lists, max_leaves=4)


@given(st.dictionaries(st.sampled_from(["alg", "kid", "crit", "b64", "typ", "enc", "zip"]), JSON), st.binary())
def test_any_header(header: dict[str, Any], rest: bytes) -> None:
    validate = JWTValidator(KEY, algorithms=["RS256"], issuer=GOOD["iss"], audience="smtp")
    for alg in ({}, {"alg": "RS256"}):
        parts = (json.dumps({**header, **alg}).encode(), b"{}", rest)
        text = ".".join(urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)
        assert validate(text, None) is None


def test_without_joserfc() -> None:
    script = "import sys; sys.modules['joserfc'] = None; import trio_smtp.server.jwt"
    failed = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert "ImportError: JWTValidator needs the package joserfc; install trio-smtp[auth]" in failed.stderr
