"""Tools for tests of the writer: deliveries, contents, and a gate that stops its thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio
import trio.testing

from trio_smtp.mailbox.json_file import JSONFileStore
from trio_smtp.mailbox.store import (
    INBOX,
    Delivered,
    Target,
)


async def deliver(store: JSONFileStore, body: bytes = b"x", account: str = "ann") -> int:
    async with store.deliver([Target(account)]) as delivery:
        await delivery.write(body)
        [result] = await delivery.commit()
    assert isinstance(result, Delivered)
    return result.uid


async def contents(store: JSONFileStore) -> dict[int, bytes]:
    listed = await store.list_messages("ann", INBOX)
    return {each.uid: (await store.get_message("ann", INBOX, each.uid)).content for each in listed}


async def kept(path: Path) -> dict[int, bytes]:
    """The messages that a process which opens the store now finds."""
    async with JSONFileStore(path, create=False) as again:
        return await contents(again)


class Gate:
    """A hook that holds all calls until `open`, and then lets them pass."""

    def __init__(self) -> None:
        self._entered = threading.Event()
        self._opened = threading.Event()
        self.calls = 0

    def __call__(self, call: Callable[[], Any], *_: object) -> Any:
        self.calls += 1
        self._entered.set()
        self._opened.wait()
        return call()

    async def entered(self) -> None:
        await trio.to_thread.run_sync(self._entered.wait)

    def open(self) -> None:
        self._opened.set()
