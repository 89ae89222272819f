"""`MemoryStore`: it needs no event loop, and copies share their body. The contract and the model test the rest."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TypeVar

from trio_smtp.mailbox.memory import MemoryStore
from trio_smtp.mailbox.store import INBOX, Delivered, Target

R = TypeVar("R")


def finish(step: Coroutine[object, None, R]) -> R:
    """Run a coroutine that never waits, without an event loop."""
    try:
        step.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]  # what the coroutine returned
    raise AssertionError("it waits for something")


def test_no_event_loop_is_needed() -> None:
    async def life() -> bytes:
        async with MemoryStore() as store:
            await store.create_account("ann", addresses=["ann@example.com"])
            async with store.deliver([Target("ann", INBOX, b"prefix ")]) as delivery:
                await delivery.write(b"body")
                [result] = await delivery.commit()
            assert isinstance(result, Delivered)
            return (await store.get_message("ann", INBOX, result.uid)).content

    assert finish(life()) == b"prefix body"


async def test_copies_share_the_body() -> None:
    store = MemoryStore()
    await store.create_account("ann")
    await store.create_account("bob")
    async with store.deliver([Target("ann"), Target("bob", INBOX, b"prefix")]) as delivery:
        await delivery.write(b"x" * 1000)
        await delivery.commit()
    await store.copy_message("ann", INBOX, 1, INBOX)
    [(_, (_, ann)), (_, (_, copy))] = store._index.messages("ann", INBOX)
    [(_, (_, bob))] = store._index.messages("bob", INBOX)
    assert ann is bob is copy


def test_the_head_of_a_content() -> None:
    store = MemoryStore()
    heads = [store._read((b"ab", b"cde"), limit) for limit in (0, 1, 2, 3, 5, 9, None)]
    assert heads == [b"", b"a", b"ab", b"abc", b"abcde", b"abcde", b"abcde"]


async def test_stores_have_nothing_in_common() -> None:
    one, other = MemoryStore(), MemoryStore()
    await one.create_account("ann")
    assert await other.list_accounts() == []
