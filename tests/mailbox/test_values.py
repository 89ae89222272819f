"""The value classes of the store interface: searches, credentials, messages."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

import pytest

from trio_smtp.mailbox import values
from trio_smtp.mailbox.values import SEEN, Credentials, Message, MessageInfo, Search

DATE = datetime(2001, 2, 3, tzinfo=UTC)


@pytest.mark.parametrize("field", ["since", "before"])
def test_search_needs_a_time_zone(field: str) -> None:
    with pytest.raises(ValueError, match="time zone"):
        Search(**{field: DATE.replace(tzinfo=None)})  # type: ignore[arg-type]  # both fields take a date
    Search(since=DATE, before=DATE)


def test_search_operators() -> None:
    one, two = Search(subject="one"), Search(flags={SEEN})
    assert one & two == Search(all_of=(one, two))
    assert one | two == Search(any_of=(one, two))
    assert ~one == Search(none_of=(one,))


def test_credentials_are_not_shown() -> None:
    assert "secret" not in repr(Credentials("secret"))
    assert "secret" not in str(Credentials("secret"))


def test_a_message_is_parsed_when_that_is_asked_for() -> None:
    message = Message(MessageInfo(1, frozenset(), 32, DATE), b"Subject: =?utf-8?q?h=C3=A9?=\r\n\r\nx\r\n")
    assert message.parsed.subject == "hé"
    assert message.parsed is message.parsed


def test_values_cannot_change_and_have_no_dict() -> None:
    found = [each for each in vars(values).values() if isinstance(each, type) and dataclasses.is_dataclass(each)]
    assert len(found) > 7
    for value in found:
        assert value.__dataclass_params__.frozen  # type: ignore[attr-defined]  # the stubs lack it
        assert "__slots__" in vars(value) or value is Message  # it caches the parsed message
