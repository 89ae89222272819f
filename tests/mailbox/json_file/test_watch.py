"""Watching what other processes do to a store. A second `JSONFileStore` stands for another process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
import trio.testing

from trio_smtp.mailbox.json_file import JSONFileStore
from trio_smtp.mailbox.json_file.database import Database
from trio_smtp.mailbox.store import INBOX, Changed, StoreUnavailable, Watch

HALF_A_SECOND = 0.5


@pytest.fixture
async def store(path: Path) -> AsyncIterator[JSONFileStore]:
    async with JSONFileStore(path) as store:
        await store.create_account("ann")
        yield store


@pytest.fixture
async def other(store: JSONFileStore, path: Path) -> AsyncIterator[JSONFileStore]:
    async with JSONFileStore(path) as other:
        yield other


async def next_change(watch: Watch, clock: trio.testing.MockClock) -> Changed:
    """The change that is reported within half a second of the mock clock; waits for ever if it comes later."""
    told: list[Changed] = []

    async def wait() -> None:
        told.append(await anext(watch))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        assert not told
        clock.jump(HALF_A_SECOND)
    return told[0]


async def test_a_change_by_another_process(
    store: JSONFileStore, other: JSONFileStore, mock_clock: trio.testing.MockClock
) -> None:
    async with store.watch("ann") as watch:
        uid = (await other.append_message("ann", INBOX, b"hello")).uid
        assert await next_change(watch, mock_clock) == Changed("message-added", INBOX, uid)
        await other.delete_message("ann", INBOX, uid)
        assert await next_change(watch, mock_clock) == Changed("message-removed", INBOX, uid)


async def test_the_end_of_an_account_by_another_process(
    store: JSONFileStore, other: JSONFileStore, mock_clock: trio.testing.MockClock
) -> None:
    async with store.watch("ann") as watch:
        await other.delete_account("ann")
        assert await next_change(watch, mock_clock) == Changed("account-deleted")


async def test_whoever_looks_finds_the_changes_for_all(store: JSONFileStore, other: JSONFileStore) -> None:
    watch = store.watch("ann")
    uid = (await other.append_message("ann", INBOX, b"hello")).uid
    await store.get_account("ann")
    assert await anext(watch) == Changed("message-added", INBOX, uid)


async def test_a_change_before_the_store_was_opened(store: JSONFileStore, path: Path) -> None:
    """A watch covers all changes since it was made, but the store is opened only by its first step: earlier changes
    are "missed".
    """
    async with JSONFileStore(path) as other:
        unopened = JSONFileStore(path)
        watch = unopened.watch("ann")
        await other.append_message("ann", INBOX, b"hello")
        assert await anext(watch) == Changed("missed")
        await unopened.aclose()
        assert [changed async for changed in watch] == []


async def test_a_compaction_by_another_process(
    store: JSONFileStore, other: JSONFileStore, mock_clock: trio.testing.MockClock
) -> None:
    """The changes are no longer in the journal."""
    async with store.watch("ann") as watch:
        await other.append_message("ann", INBOX, b"hello")
        await other.compact()
        assert await next_change(watch, mock_clock) == Changed("missed")
        uid = (await other.append_message("ann", INBOX, b"hello")).uid
        assert await next_change(watch, mock_clock) == Changed("message-added", INBOX, uid)


async def test_the_end_of_an_account_that_was_missed(
    store: JSONFileStore, other: JSONFileStore, mock_clock: trio.testing.MockClock
) -> None:
    async with store.watch("ann") as watch:
        await other.delete_account("ann")
        await other.compact()
        assert await next_change(watch, mock_clock) == Changed("missed")
        assert [changed async for changed in watch] == [Changed("account-deleted")]


async def test_a_compaction_of_its_own(store: JSONFileStore) -> None:
    """The watch misses no change by it."""
    async with store.watch("ann") as watch:
        first = (await store.append_message("ann", INBOX, b"hello")).uid
        await store.compact()
        second = (await store.append_message("ann", INBOX, b"hello")).uid
        assert [await anext(watch), await anext(watch)] == [
            Changed("message-added", INBOX, uid) for uid in (first, second)
        ]


async def test_what_was_there_is_no_change(store: JSONFileStore, path: Path) -> None:
    await store.append_message("ann", INBOX, b"old")
    async with JSONFileStore(path) as again:
        watch = again.watch("ann")
        uid = (await again.append_message("ann", INBOX, b"new")).uid
        assert await anext(watch) == Changed("message-added", INBOX, uid)


async def test_nobody_looks_while_nobody_waits(
    store: JSONFileStore, mock_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[Database] = []
    is_current = Database.is_current

    def look(database: Database) -> bool:
        looks.append(database)
        return is_current(database)

    monkeypatch.setattr(Database, "is_current", look)
    async with store.watch("ann") as watch, trio.open_nursery() as nursery:
        looks.clear()
        for _ in range(10):
            mock_clock.jump(1)
            await trio.testing.wait_all_tasks_blocked()
        assert not looks
        nursery.start_soon(anext, watch)
        for looked in range(1, 6):
            await trio.testing.wait_all_tasks_blocked()
            mock_clock.jump(0.2)
            await trio.testing.wait_all_tasks_blocked()
            assert len(looks) == looked
        nursery.cancel_scope.cancel()


async def test_a_closed_store_cannot_be_watched(store: JSONFileStore) -> None:
    await store.aclose()
    with pytest.raises(StoreUnavailable):
        await anext(store.watch("ann"))
