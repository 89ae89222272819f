"""LOGIN: draft-murchison-sasl-login."""

from __future__ import annotations

import pytest

from trio_smtp.sasl import Challenge, Failed, Login, Verify

USERNAME = Challenge(b"Username:")
PASSWORD = Challenge(b"Password:")


def test_both_are_asked_for() -> None:
    mechanism = Login()
    assert mechanism.step(None) == USERNAME
    assert mechanism.step("ünï".encode()) == PASSWORD
    assert mechanism.step(b"pass") == Verify("ünï", "pass")


def test_the_name_may_come_first() -> None:
    mechanism = Login()
    assert mechanism.step(b"ann") == PASSWORD
    assert mechanism.step(b"a b") == Verify("ann", "a b")


@pytest.mark.parametrize(
    ("username", "password"),
    [
        (b"", b"pass"),
        (b"ann", b""),
        (b"a\0nn", b"pass"),
        (b"ann", b"\0pass"),
        (b"\xff", b"pass"),
        (b"a\x07", b"pass"),
        (b"ann", b"\xff"),
        (b"x" * 1025, b"pass"),
        (b"ann", b"x" * 1025),
    ],
)
def test_failures(username: bytes, password: bytes) -> None:
    """The exchange fails only at its end, so that a client does not learn whether the name or the password is bad."""
    mechanism = Login()
    assert mechanism.step(username) == PASSWORD
    assert mechanism.step(password) == Failed()


def test_exchanges_share_nothing() -> None:
    first, second = Login(), Login()
    assert first.step(b"ann") == PASSWORD
    assert second.step(None) == USERNAME
