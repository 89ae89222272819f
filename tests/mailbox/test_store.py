from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

import pytest

from trio_smtp.mailbox import store as interface
from trio_smtp.mailbox.memory import MemoryStore
from trio_smtp.mailbox.store import SEEN, Credentials, MailStore, Message, MessageInfo, Search, StoreError

DATE = datetime(2001, 2, 3, tzinfo=UTC)


@pytest.mark.parametrize("field", ["since", "before"])
def test_search_needs_a_time_zone(field: str) -> None:
    with pytest.raises(ValueError, match="time zone"):
        Search(**{field: DATE.replace(tzinfo=None)})  # type: ignore[arg-type]  # a date, whichever field
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


def test_every_refusal_is_a_store_error() -> None:
    errors = [each for each in vars(interface).values() if isinstance(each, type) and issubclass(each, Exception)]
    assert len(errors) > 10
    assert all(issubclass(each, StoreError) for each in errors)


def test_values_cannot_change_and_have_no_dict() -> None:
    values = [each for each in vars(interface).values() if isinstance(each, type) and dataclasses.is_dataclass(each)]
    assert len(values) > 7
    for value in values:
        assert value.__dataclass_params__.frozen  # type: ignore[attr-defined]  # of every dataclass, but not typed
        assert "__slots__" in vars(value) or value is interface.Message  # which keeps what was found in it


async def test_what_a_store_need_not_define() -> None:
    class Brief(MemoryStore):
        find_recipient = MailStore.find_recipient
        has_domain = MailStore.has_domain
        first_account = MailStore.first_account

    store = Brief()
    assert await store.first_account() is None
    ann = await store.create_account("ann", addresses=["ann@Bücher.example"])
    await store.create_account("bob")
    assert await store.find_recipient("ann+tag@bücher.example") == await store.first_account() == ann
    assert await store.has_domain("bu\u0308cher.example")
    assert not await store.has_domain("example")


async def test_a_store_is_closed_at_the_end_of_its_block() -> None:
    class Recording(MemoryStore):
        closed = 0

        async def aclose(self) -> None:
            self.closed += 1

    async with Recording() as store:
        assert isinstance(store, MailStore)
        assert store.closed == 0
    assert store.closed == 1
