from __future__ import annotations

import base64
import hashlib
from unittest import mock

import pytest

from trio_smtp.mailbox.passwords import MAX_PASSWORD, hash_password, verify_password
from trio_smtp.mailbox.store import Credentials

SECRET = hash_password("s\u00e9cret")


def stored(salt: bytes, key: bytes, parameters: str = "ln=4,r=8,p=1") -> Credentials:
    return Credentials(f"$scrypt${parameters}${base64.b64encode(salt).decode()}${base64.b64encode(key).decode()}")


@pytest.mark.parametrize(
    ("password", "right"),
    [
        ("s\u00e9cret", True),
        ("se\u0301cret", True),  # composed otherwise: the same to SASLprep
        ("secret", False),
        ("S\u00e9cret", False),
        ("s\u00e9cret\0", False),
        ("s\u00e9cret ", False),
    ],
)
def test_verify(password: str, right: bool) -> None:
    assert verify_password(SECRET, password) is right


def test_any_text_within_the_limit_is_a_password() -> None:
    password = "\x01\u20ac " + "x" * (MAX_PASSWORD - 5)
    assert verify_password(hash_password(password), password)


def test_parameters_are_those_of_the_stored_text() -> None:
    key = hashlib.scrypt(b"old", salt=b"salt", n=16, r=8, p=1, dklen=32)
    assert verify_password(stored(b"salt", key), "old")
    assert not verify_password(stored(b"salt", key, "ln=5,r=8,p=1"), "old")
    assert not verify_password(stored(b"pepper", key), "old")


def test_every_password_has_its_salt() -> None:
    assert hash_password("s\u00e9cret") != SECRET


@pytest.mark.parametrize(
    "password",
    ["", "x" * (MAX_PASSWORD + 1), "\u00e9" * MAX_PASSWORD, "\udcff", "s\u00e9cret\0"],
    ids=["empty", "long", "long in UTF-8", "surrogate", "NUL"],
)
def test_what_cannot_be_a_password_is_refused_without_hashing(password: str) -> None:
    with mock.patch("hashlib.scrypt", side_effect=AssertionError):
        with pytest.raises(ValueError, match="octets"):
            hash_password(password)
        assert verify_password(SECRET, password) is False
        assert verify_password(None, password) is False


def test_nobody_costs_as_much_as_somebody() -> None:
    with mock.patch("hashlib.scrypt", wraps=hashlib.scrypt) as scrypt:
        assert verify_password(None, "s\u00e9cret") is False
        assert verify_password(SECRET, "s\u00e9cret") is True
    nobody, somebody = (dict(call.kwargs) for call in scrypt.call_args_list)
    assert len(nobody.pop("salt")) == len(somebody.pop("salt"))
    assert nobody == somebody


@pytest.mark.parametrize("text", ["", "secret", "$argon2id$v=19$m=1,t=1,p=1$c2FsdA$aGFzaA", "$scrypt$ln=4,r=8,p=1$!$!"])
def test_credentials_of_another_kind(text: str) -> None:
    with pytest.raises(ValueError, match=r"unknown form|base64"):
        verify_password(Credentials(text), "secret")
