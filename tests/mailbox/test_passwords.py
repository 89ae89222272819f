"""Password hashes and SCRAM keys: the stored form, verification, rehashing, and decoys for unknown users."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from unittest import mock

import argon2
import pytest
from argon2 import low_level

from tests.passwords import COSTS
from trio_smtp.mailbox import passwords
from trio_smtp.mailbox.passwords import (
    MAX_PASSWORD,
    decoy,
    hash_password,
    needs_rehash,
    scram_keys,
    verify_password,
)
from trio_smtp.mailbox.store import Credentials
from trio_smtp.sasl import derive_keys

SECRET = hash_password("s\u00e9cret")


@pytest.fixture(params=["scrypt", "argon2id"])
def method(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The hash method without and with argon2-cffi."""
    monkeypatch.setattr(passwords, "HAS_ARGON2", request.param == "argon2id")
    return str(request.param)


def encode(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


def stored(salt: bytes, key: bytes, parameters: str = "ln=4,r=8,p=1") -> Credentials:
    """Credentials as older versions stored them, without SCRAM keys."""
    return Credentials(f"$scrypt${parameters}${encode(salt)}${encode(key)}")


@pytest.mark.parametrize(
    ("password", "right"),
    [
        ("s\u00e9cret", True),
        ("se\u0301cret", True),  # decomposed: SASLprep treats both alike
        ("s\u00e9\u00adcret", True),  # a soft hyphen, which SASLprep removes
        ("secret", False),
        ("S\u00e9cret", False),
        ("s\u00e9cret\0", False),
        ("s\u00e9cret ", False),
    ],
)
def test_verify(password: str, right: bool) -> None:
    assert verify_password(SECRET, password) is right


def test_any_printable_text_within_the_limit_is_a_password() -> None:
    password = "\u20ac \U0001f600" + "x" * (MAX_PASSWORD - 8)
    assert verify_password(hash_password(password), password)


def test_clients_accept_the_iterations() -> None:
    """Cyrus SASL refuses more than 65,536, and then Postfix does not try another mechanism."""
    assert 4096 <= passwords.SCRAM_ITERATIONS <= 0x10000


def test_stored_line(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, cost in COSTS.items():
        monkeypatch.setattr(passwords, name, cost)
    credentials = hash_password("secret")
    hashed, _, scram = credentials.text.partition(" ")
    assert re.fullmatch(r"SCRAM-SHA-256\$65536:[^$:]{24}\$[^$:]{44}:[^$:]{44}", scram)
    assert re.match(r"\$argon2id\$v=19\$m=47104,t=1,p=1\$|\$scrypt\$ln=14,r=8,p=5\$", hashed)
    assert hashed.startswith(f"${method}$")
    assert verify_password(credentials, "secret")
    assert not verify_password(credentials, "Secret")
    assert not needs_rehash(credentials)


def test_argon2_cffi_reads_the_line() -> None:
    assert argon2.PasswordHasher().verify(hash_password("secret").text.partition(" ")[0], "secret")


def test_keys_are_those_of_the_password() -> None:
    keys = scram_keys(SECRET)
    assert keys is not None
    assert keys == derive_keys("s\u00e9cret".encode(), keys.salt, keys.iterations)


def test_parameters_are_those_of_the_stored_text(method: str) -> None:
    key = hashlib.scrypt(b"old", salt=b"salt", n=16, r=8, p=1, dklen=32)
    assert verify_password(stored(b"salt", key), "old")
    assert not verify_password(stored(b"salt", key, "ln=5,r=8,p=1"), "old")
    assert not verify_password(stored(b"pepper", key), "old")
    assert scram_keys(stored(b"salt", key)) is None


def test_parameters_of_argon2() -> None:
    key = low_level.hash_secret_raw(b"old", b"saltsalt", 2, 64, 1, 24, low_level.Type.ID)
    text = f"$argon2id$v=19$m=64,t=2,p=1${encode(b'saltsalt')}${encode(key)}"
    assert verify_password(Credentials(text), "old")
    assert not verify_password(Credentials(text.replace("t=2", "t=3")), "old")


OUTDATED: list[tuple[str, Callable[[str], str]]] = [
    ("no keys", lambda text: text.partition(" ")[0]),
    ("fewer iterations", lambda text: text.replace(f"${passwords.SCRAM_ITERATIONS}:", "$4096:")),
    ("other costs", lambda text: text.replace("p=", "p=1")),
    ("another method", lambda text: stored(b"salt", b"key").text + " " + text.partition(" ")[2]),
]


@pytest.mark.parametrize("change", [change for _, change in OUTDATED], ids=[name for name, _ in OUTDATED])
def test_what_is_hashed_anew(change: Callable[[str], str]) -> None:
    assert not needs_rehash(SECRET)
    assert needs_rehash(Credentials(change(SECRET.text)))


def test_every_password_has_its_salts() -> None:
    keys, others = scram_keys(SECRET), scram_keys(hash_password("s\u00e9cret"))
    assert keys is not None
    assert others is not None
    assert keys.salt != others.salt
    assert hash_password("s\u00e9cret").text.split("$")[:6] != SECRET.text.split("$")[:6]


@pytest.mark.parametrize(
    "password",
    ["", "x" * (MAX_PASSWORD + 1), "\u00e9" * MAX_PASSWORD, "\udcff", "s\u00e9cret\0", "a\tb", "\u00ad"],
    ids=["empty", "long", "long in UTF-8", "surrogate", "NUL", "control character", "nothing"],
)
def test_what_cannot_be_a_password_is_refused_without_hashing(password: str) -> None:
    with mock.patch.object(passwords, "_hash", side_effect=AssertionError):
        with pytest.raises(ValueError, match="octets"):
            hash_password(password)
        assert verify_password(SECRET, password) is False
        assert verify_password(None, password) is False


def test_nobody_costs_as_much_as_somebody(method: str) -> None:
    secret = hash_password("secret")
    with mock.patch.object(passwords, "_hash", wraps=passwords._hash) as hashed:
        assert verify_password(None, "secret") is False
        assert verify_password(secret, "secret") is True
    nobody, somebody = (call.args for call in hashed.call_args_list)
    assert nobody[1].scheme == method
    assert nobody[:2] == somebody[:2]
    assert (len(nobody[2]), nobody[3]) == (len(somebody[2]), somebody[3])


@pytest.mark.parametrize(
    "change", [str, *(change for _, change in OUTDATED)], ids=["current", *(name for name, _ in OUTDATED)]
)
def test_decoys(change: Callable[[str], str]) -> None:
    """A decoy costs as much to check as the real credentials and looks like them, but not even their password fits."""
    real = Credentials(change(SECRET.text))
    fake = decoy(real)
    same_hash = real.text.partition(" ")[0] == SECRET.text.partition(" ")[0]
    assert re.sub("[A-Za-z0-9+/]", "x", fake.text) == re.sub("[A-Za-z0-9+/]", "x", real.text)
    assert needs_rehash(fake) == needs_rehash(real)
    assert decoy(fake) == fake == decoy(Credentials(change(hash_password("another").text)))
    keys, fake_keys = scram_keys(real), scram_keys(fake)
    assert (keys and keys.iterations) == (fake_keys and fake_keys.iterations)
    with mock.patch.object(passwords, "_hash", wraps=passwords._hash) as hashed:
        assert verify_password(fake, "s\u00e9cret") is False
        assert verify_password(real, "s\u00e9cret") is same_hash
    for_nobody, for_somebody = (call.args for call in hashed.call_args_list)
    assert for_nobody[:2] == for_somebody[:2]
    assert (len(for_nobody[2]), for_nobody[3]) == (len(for_somebody[2]), for_somebody[3])


def test_argon2_without_argon2_cffi(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "HAS_ARGON2", False)
    with pytest.raises(RuntimeError, match=r"install trio-smtp\[auth\]"):
        verify_password(SECRET, "secret")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "secret",
        "$argon2i$v=19$m=1,t=1,p=1$c2FsdA$aGFzaA",
        "$argon2id$v=18$m=1,t=1,p=1$c2FsdA$aGFzaA",
        "$scrypt$ln=4,r=8,p=1$!$!",
        "$scrypt$ln=4,r=8,p=1$c2FsdA$aGFzaA SCRAM-SHA-1$1:x$y:z",
    ],
)
def test_credentials_of_another_kind(text: str) -> None:
    with pytest.raises(ValueError, match="unknown form"):
        verify_password(Credentials(text), "secret")
    with pytest.raises(ValueError, match="unknown form"):
        scram_keys(Credentials(text))


@pytest.mark.parametrize("parameters", ["scrypt$ln=99", "scrypt$ln=63", "argon2id$v=19$m=1", "argon2id$v=19$m=0"])
def test_costs_that_cannot_be_computed(parameters: str) -> None:
    costs = "r=8,p=1" if parameters.startswith("scrypt") else "t=1,p=1"
    with pytest.raises(ValueError, match=r"memory|Memory"):
        verify_password(Credentials(f"${parameters},{costs}$c2FsdHNhbHQ$aGFzaGhhc2g"), "secret")
