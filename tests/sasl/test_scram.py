"""SCRAM-SHA-256 with the example of RFC 7677, with scramp as the client, and with clients that cheat."""

from __future__ import annotations

import hashlib
import hmac
import string
from base64 import b64decode, b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scramp import ScramClient, ScramException, ScramMechanism  # type: ignore[import-untyped]  # it has no types

from trio_smtp.sasl import (
    Challenge,
    Failed,
    FetchKeys,
    Proved,
    Scram,
    ScramKeys,
    ScramPlus,
    Step,
    derive_keys,
    keys_of_nobody,
)

KEYS = derive_keys(b"pencil", b"salt and more", 4096)
END_POINT = b"the hash of a certificate"
BINDING = ("tls-server-end-point", END_POINT)


def ask(mechanism: Scram, response: bytes, keys: ScramKeys = KEYS) -> Step:
    """Make a step of the mechanism, with these keys as the result of the lookup if it asks for them."""
    step = mechanism.step(response)
    return step.resume(keys) if isinstance(step, FetchKeys) else step


def converse(mechanism: Scram, client: ScramClient, keys: ScramKeys = KEYS) -> Step:
    """Run the exchange with scramp and return the last step.

    Raises:
        ScramException: if the client does not accept what the server sends.
    """
    first = ask(mechanism, client.get_client_first().encode(), keys)
    if not isinstance(first, Challenge):
        return first
    client.set_server_first(first.data.decode())
    final = mechanism.step(client.get_client_final().encode())
    if not isinstance(final, Challenge):
        return final
    client.set_server_final(final.data.decode())
    return mechanism.step(b"")


def test_example_of_the_rfc() -> None:
    """RFC 7677 §3."""
    keys = derive_keys(b"pencil", b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="), 4096)
    scram = Scram("%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0")
    assert scram.step(None) == Challenge(b"")
    step = scram.step(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO")
    assert isinstance(step, FetchKeys)
    assert step.username == "user"
    nonce = b"rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    assert step.resume(keys) == Challenge(b"r=" + nonce + b",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096")
    assert scram.step(b"c=biws,r=" + nonce + b",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=") == Challenge(
        b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
    )
    assert scram.step(b"") == Proved()
    assert scram.step(b"") == Failed()


def test_scramp_logs_in() -> None:
    assert converse(Scram("server"), ScramClient(["SCRAM-SHA-256"], "ann", "pencil")) == Proved()


def test_scramp_logs_in_with_channel_binding() -> None:
    client = ScramClient(["SCRAM-SHA-256-PLUS"], "ann", "pencil", channel_binding=BINDING)
    assert converse(ScramPlus("server", END_POINT), client) == Proved()


def test_keys_are_those_of_scramp() -> None:
    salt, stored_key, server_key, iterations = ScramMechanism("SCRAM-SHA-256").make_auth_info(
        "pencil", iteration_count=4096, salt=KEYS.salt
    )
    assert ScramKeys(salt, iterations, stored_key, server_key) == KEYS


def test_wrong_password() -> None:
    assert converse(Scram("server"), ScramClient(["SCRAM-SHA-256"], "ann", "pencils")) == Failed()


def test_another_channel() -> None:
    client = ScramClient(["SCRAM-SHA-256-PLUS"], "ann", "pencil", channel_binding=BINDING)
    assert converse(ScramPlus("server", b"of another certificate"), client) == Failed()


def test_a_server_without_the_keys_is_found_out() -> None:
    """Mutual authentication: the client detects a server that does not know the server key."""
    keys = ScramKeys(KEYS.salt, KEYS.iterations, KEYS.stored_key, b"made up" + bytes(25))
    with pytest.raises(ScramException):
        converse(Scram("server"), ScramClient(["SCRAM-SHA-256"], "ann", "pencil"), keys)


def test_a_client_that_would_have_bound_the_channel() -> None:
    """RFC 5802 §6: the flag y says that the client was offered no PLUS mechanism. It is refused if one was offered."""
    client = ScramClient(["SCRAM-SHA-256"], "ann", "pencil", channel_binding=BINDING)
    first = client.get_client_first().encode()
    assert first.startswith(b"y,,")
    assert isinstance(Scram("server").step(first), FetchKeys)
    assert Scram("server", plus_offered=True).step(first) == Failed()


FIRST = [
    ("name with comma and equals sign", b"n,,n=a=2Cb=3Dc,r=x", "a,b=c"),
    ("name to be prepared", b"n,,n=I\xc2\xadX,r=x", "IX"),
    ("to be oneself", b"n,a=ann,n=ann,r=x", "ann"),
    ("an extension", b"n,,n=ann,r=x,z=whatever", "ann"),
    ("long nonce", b"n,,n=ann,r=%b" % (b"x" * 256), "ann"),
    ("an extension without a value", b"n,,n=ann,r=x,z=", None),
    ("to be somebody else", b"n,a=bob,n=ann,r=x", None),
    ("unknown escape", b"n,,n=a=2c,r=x", None),
    ("a mandatory extension", b"n,,m=x,n=ann,r=x", None),
    ("channel binding", b"p=tls-server-end-point,,n=ann,r=x", None),
    ("no flag", b",,n=ann,r=x", None),
    ("no nonce", b"n,,n=ann,r=", None),
    ("nonce out of range", b"n,,n=ann,r=\xc3\xa9", None),
    ("no name", b"n,,n=,r=x", None),
    ("prohibited name", b"n,,n=\x07,r=x", None),
    ("not UTF-8", b"n,,n=\xff,r=x", None),
    ("long name", b"n,,n=%b,r=x" % (b"x" * 1025), None),
    ("longer nonce", b"n,,n=ann,r=%b" % (b"x" * 257), None),
    ("no header", b"n=ann,r=x", None),
    ("empty", b"", None),
]


@pytest.mark.parametrize(("first", "username"), [row[1:] for row in FIRST], ids=[row[0] for row in FIRST])
def test_first_message(first: bytes, username: str | None) -> None:
    step = Scram("server").step(first)
    if username is None:
        assert step == Failed()
    else:
        assert isinstance(step, FetchKeys)
        assert step.username == username


LETTERS = string.ascii_letters.encode()
VISIBLE = bytes(range(33, 127))


@pytest.mark.parametrize(
    ("before", "behind", "octets"),
    [
        (b"", b",,n=ann,r=x", b"ny"),
        (b"n,,n=a", b"n,r=x", b" " + VISIBLE.translate(None, b",=")),
        (b"n,,n=ann,r=x", b"", VISIBLE.translate(None, b",")),
        (b"n,,n=ann,r=x,", b"=v", LETTERS),
        (b"n,,n=ann,r=x,z=", b"", bytes(range(256)).translate(None, b",\0")),
    ],
)
def test_which_octets_may_stand_in_it(before: bytes, behind: bytes, octets: bytes) -> None:
    """RFC 5802 §7."""
    there = [o for o in range(256) if isinstance(Scram("server").step(before + bytes([o]) + behind), FetchKeys)]
    assert bytes(there) == bytes(sorted(octets))


@pytest.mark.parametrize("first", [b"n,,n=ann,r=x", b"y,,n=ann,r=x", b"p=tls-unique,,n=ann,r=x"])
def test_first_message_that_does_not_bind(first: bytes) -> None:
    assert ScramPlus("server", END_POINT).step(first) == Failed()


PROOF = b64encode(bytes(32))
FINAL = [
    ("wrong proof", b"c=biws,r=xserver,p=" + PROOF),
    ("short proof", b"c=biws,r=xserver,p=AAAA"),
    ("another nonce", b"c=biws,r=xother,p=" + PROOF),
    ("only its own nonce", b"c=biws,r=x,p=" + PROOF),
    ("another header", b"c=eSws,r=xserver,p=" + PROOF),
    ("header not base64", b"c=biw,r=xserver,p=" + PROOF),
    ("proof not base64", b"c=biws,r=xserver,p=" + PROOF[:-1]),
    ("no proof", b"c=biws,r=xserver"),
    ("empty", b""),
]


@pytest.mark.parametrize("final", [row[1] for row in FINAL], ids=[row[0] for row in FINAL])
def test_final_message(final: bytes) -> None:
    scram = Scram("server")
    assert isinstance(ask(scram, b"n,,n=ann,r=x"), Challenge)
    assert scram.step(final) == Failed()
    assert scram.step(b"") == Failed()


def test_there_is_one_attempt() -> None:
    scram, client = Scram("server"), ScramClient(["SCRAM-SHA-256"], "ann", "pencil")
    first = ask(scram, client.get_client_first().encode())
    assert isinstance(first, Challenge)
    client.set_server_first(first.data.decode())
    final = client.get_client_final().encode()
    assert scram.step(final.replace(b",p=", b",p=AAAA")) == Failed()
    assert scram.step(final) == Failed()


@pytest.mark.parametrize(
    ("channel", "nonce", "is_good"),
    [
        (b"biws", b"xserver", True),
        (b"biws", b"xother", False),
        (b"biws", b"x", False),
        (b"eSws", b"xserver", False),
        (b"biws", b"xserver,z=more,Y=,", False),
        (b"biws", b"xserver,z=more,Y=.", True),
        (b"biws", b"xserver,zz", False),
    ],
)
def test_a_proof_of_something_else(channel: bytes, nonce: bytes, is_good: bool) -> None:
    """The proof is made with the password, but over a nonce or a header of another exchange (RFC 5802 §5.1)."""
    scram = Scram("server")
    challenge = ask(scram, b"n,,n=ann,r=x")
    assert isinstance(challenge, Challenge)
    final = b"c=%b,r=%b" % (channel, nonce)
    client_key = hmac.digest(hashlib.pbkdf2_hmac("sha256", b"pencil", KEYS.salt, 4096), b"Client Key", "sha256")
    signature = hmac.digest(KEYS.stored_key, b"n=ann,r=x,%b,%b" % (challenge.data, final), "sha256")
    proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
    assert isinstance(scram.step(final + b",p=" + b64encode(proof)), Challenge) is is_good


def test_something_after_our_proof() -> None:
    scram = Scram("server")
    client = ScramClient(["SCRAM-SHA-256"], "ann", "pencil")
    first = ask(scram, client.get_client_first().encode())
    assert isinstance(first, Challenge)
    client.set_server_first(first.data.decode())
    assert isinstance(scram.step(client.get_client_final().encode()), Challenge)
    assert scram.step(b"more") == Failed()


def test_nobody() -> None:
    nobody = keys_of_nobody(b"secret", "ann", 4096)
    assert nobody == keys_of_nobody(b"secret", "ann", 4096)
    assert nobody.salt not in (keys_of_nobody(b"secret", "bob", 4096).salt, keys_of_nobody(b"other", "ann", 4096).salt)
    assert len(nobody.salt) == 16
    assert converse(Scram("server"), ScramClient(["SCRAM-SHA-256"], "ann", "pencil"), nobody) == Failed()


@given(st.lists(st.binary() | st.from_regex(rb"n,,n=[a-z=,]+,r=[a-z]+\Z"), max_size=4))
def test_nobody_gets_in_by_chance(responses: list[bytes]) -> None:
    scram = Scram("server")
    for response in responses:
        assert isinstance(ask(scram, response), Challenge | Failed)


def test_keys_are_not_shown() -> None:
    assert "stored_key" not in repr(KEYS)
    assert "server_key" not in repr(KEYS)
