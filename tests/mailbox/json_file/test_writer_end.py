"""The end of the writer: what has begun is done, and nothing more begins."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

from tests.mailbox.json_file.writing import Gate, deliver, kept
from trio_smtp.mailbox.json_file import JSONFileStore
from trio_smtp.mailbox.store import StoreUnavailable


async def test_closing_waits_for_what_has_begun(store: JSONFileStore, gate: Gate, path: Path) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(deliver, store)
        await gate.entered()
        nursery.start_soon(deliver, store)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(store.aclose)
        await trio.testing.wait_all_tasks_blocked()
        gate.open()
    assert len(await kept(path)) == 2


async def test_closed(path: Path) -> None:
    async with JSONFileStore(path) as store:
        await store.create_account("ann")
        assert store._engine is not None
        run = store._engine.writer.run
    with pytest.raises(StoreUnavailable, match="closed"):
        run(lambda: None)


async def test_closed_before_the_turn_of_the_loop_has_ended(path: Path) -> None:
    async with JSONFileStore(path) as store:
        await store.create_account("ann")
        assert store._engine is not None
        closing = store._engine.writer

        class Close(trio.abc.Instrument):
            def after_task_step(self, task: trio.lowlevel.Task) -> None:
                closing.closing = True

        close = Close()
        trio.lowlevel.add_instrument(close)
        with pytest.raises(StoreUnavailable, match="closed"):
            await deliver(store)
        trio.lowlevel.remove_instrument(close)
        with pytest.raises(StoreUnavailable, match="closed"):
            await deliver(store)
    assert await kept(path) == {}


async def test_the_loop_does_not_call_a_store_that_is_closed(path: Path) -> None:
    async with JSONFileStore(path) as store:
        await store.create_account("ann")
        assert store._engine is not None
        turn = store._engine.writer._turn()
    await trio.testing.wait_all_tasks_blocked()
    with pytest.raises(KeyError):
        trio.lowlevel.remove_instrument(turn)
