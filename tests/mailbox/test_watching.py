"""Watches: operations that change nothing for a watcher, several runs of trio, failures, and forgotten watches."""

from __future__ import annotations

import gc
import weakref

import pytest
import trio
import trio.testing

from trio_smtp.mailbox.memory import MemoryStore
from trio_smtp.mailbox.operations import CreateAccount, SpendUids, SpendUidValidities
from trio_smtp.mailbox.store import INBOX, Changed, StoreUnavailable
from trio_smtp.mailbox.watching import Watchers, changes

# The contract tests, for every store, what a watcher gets for each change.


def test_what_changes_nothing_for_a_watcher() -> None:
    for operation in (
        CreateAccount("ann", "", (), None, None, 1),
        SpendUids("ann", INBOX, 9),
        SpendUidValidities(9),
    ):
        assert list(changes(operation)) == []


def test_a_watch_outlives_the_run_of_trio_in_which_somebody_waited() -> None:
    store = MemoryStore()
    trio.run(store.create_account, "ann")
    watch = store.watch("ann")

    async def wait_in_vain() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(anext, watch)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()

    async def add_while_somebody_waits() -> Changed:
        told: list[Changed] = []

        async def wait() -> None:
            told.append(await anext(watch))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            await store.append_message("ann", INBOX, b"")
        return told[0]

    trio.run(wait_in_vain)
    assert trio.run(add_while_somebody_waits) == Changed("message-added", INBOX, 1)
    trio.run(wait_in_vain)
    trio.run(store.append_message, "ann", INBOX, b"")
    assert trio.run(anext, watch) == Changed("message-added", INBOX, 2)


@pytest.mark.parametrize("closed", [False, True])
async def test_a_look_that_fails(closed: bool, autojump_clock: trio.testing.MockClock) -> None:
    """The watcher gets the exception, unless the watch has been closed."""
    watchers = Watchers()
    looks: list[bool] = []

    async def look() -> None:
        looks.append(closed)
        if len(looks) == 2:
            if closed:
                watchers.close()
            raise StoreUnavailable

    watch = watchers.watch("ann", look, seconds=1)
    with pytest.raises(StopAsyncIteration if closed else StoreUnavailable):
        await anext(watch)
    assert len(looks) == 2


async def test_a_watch_that_nobody_has_is_forgotten() -> None:
    store = MemoryStore()
    await store.create_account("ann")
    forgotten = weakref.ref(store.watch("ann"))
    gc.collect()
    assert forgotten() is None
    await store.append_message("ann", INBOX, b"")
    for _ in range(10):
        store.watch("ann")
        gc.collect()
    assert len(store.watchers._watches) <= 1
