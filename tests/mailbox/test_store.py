"""`MailStore`: its exceptions, the methods that it implements itself, and `async with`."""

from __future__ import annotations

from trio_smtp.mailbox import store as interface
from trio_smtp.mailbox.memory import MemoryStore
from trio_smtp.mailbox.store import MailStore, StoreError


def test_every_refusal_is_a_store_error() -> None:
    errors = [each for each in vars(interface).values() if isinstance(each, type) and issubclass(each, Exception)]
    assert len(errors) > 10
    assert all(issubclass(each, StoreError) for each in errors)


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
