"""What a process that serves prepares: its accounts, and the settings of the garbage collector."""

from __future__ import annotations

import gc
from functools import partial

import pytest
import trio

from trio_smtp.cli import serving
from trio_smtp.cli.catcher import CAUGHT
from trio_smtp.cli.errors import CommandError
from trio_smtp.cli.settings import ServeSettings
from trio_smtp.handler import Handler
from trio_smtp.mailbox.memory import MemoryStore
from trio_smtp.mailbox.store import Account
from trio_smtp.server import serve_smtp


async def test_the_garbage_collector_is_left_as_it_was() -> None:
    before, frozen = gc.get_threshold(), gc.get_freeze_count()  # Python 3.12 starts with some frozen objects
    meanwhile = list[tuple[int, bool]]()

    async def look() -> None:
        await trio.lowlevel.checkpoint()
        meanwhile.append((gc.get_threshold()[0], gc.get_freeze_count() > frozen))

    with trio.fail_after(5):
        await serving.run([partial(serve_smtp, Handler, 0)], look, trio.sleep_forever)
    assert meanwhile == [(10_000, True)]
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0


class _Shared(MemoryStore):
    """A store in which another server creates these accounts after the first listing."""

    def __init__(self, **others: str) -> None:
        super().__init__()
        self._others = others

    async def list_accounts(self) -> list[Account]:
        listed = await super().list_accounts()
        while self._others:
            name, address = self._others.popitem()
            await self.create_account(name, addresses=[address])
        return listed


async def test_servers_that_start_at_the_same_time() -> None:
    """All of them find or create the accounts, whichever of them is faster."""
    for store in (_Shared(ann="a@example.com"), _Shared(bob="b@example.com"), _Shared(ann="a@example.com", bob="b@x")):
        wanted = ServeSettings(accounts=[("ann", "a@example.com")])
        await serving.prepare_accounts(store, wanted)
        assert await store.find_account("a@example.com") == await store.get_account("ann")
    caught = await serving.prepare_accounts(_Shared(**{CAUGHT: "c@example.com"}), ServeSettings(catching=True))
    assert [account.name for account in caught] == [CAUGHT]
    for other in ({"ann": "b@example.com"}, {"bob": "a@example.com"}):
        with pytest.raises(CommandError):
            await serving.prepare_accounts(_Shared(**other), ServeSettings(accounts=[("ann", "a@example.com")]))
