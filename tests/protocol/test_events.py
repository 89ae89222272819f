"""Events: their representations hide secrets, they compare by value, and they have no other attributes."""

from __future__ import annotations

import pytest

from tests.protocol.dialogue import RCPT
from trio_smtp.protocol import (
    Auth,
    AuthResponse,
    CloseReason,
    ConnectionClosed,
    Hello,
    MessageChunk,
    MessageEnd,
    RcptTo,
)

SECRET = b"open sesame"


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (Auth("PLAIN", SECRET), "Auth(mechanism='PLAIN', initial_response=...)"),
        (Auth("PLAIN", b""), "Auth(mechanism='PLAIN', initial_response=...)"),
        (Auth("PLAIN", None), "Auth(mechanism='PLAIN', initial_response=None)"),
        (AuthResponse(SECRET), "AuthResponse(data=...)"),
        (MessageChunk(SECRET), "MessageChunk(<11 octets>)"),
        (Hello("EHLO", "c.example"), "Hello(verb='EHLO', domain='c.example')"),
    ],
)
def test_representations_keep_secrets(event: object, text: str) -> None:
    assert repr(event) == str(event) == text


def test_events_are_values() -> None:
    assert Auth("PLAIN", SECRET) == Auth("PLAIN", SECRET) != Auth("PLAIN", b"")
    assert MessageEnd(5) != MessageEnd(6)
    assert len({RCPT, RcptTo(RCPT.recipient, RCPT.params)}) == 1
    assert ConnectionClosed(CloseReason.QUIT) == ConnectionClosed(CloseReason.QUIT)


def test_events_are_slotted() -> None:
    with pytest.raises(AttributeError):
        MessageEnd(5).other = 1  # type: ignore[attr-defined]  # the assignment must fail
