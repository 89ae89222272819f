"""A separate process that delivers into a store, and may kill itself at any call that the store makes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import trio

from tests.forked import FORKED
from trio_smtp.mailbox.json_file import JSONFileStore, files
from trio_smtp.mailbox.store import INBOX

_CHANGING = ("pwrite", "fdatasync", "fsync", "rename", "unlink", "mkdir")


def content(name: str, number: int) -> bytes:
    """The content of a message that a worker delivers; every third one is large."""
    return f"{name} {number}".encode() + b"x" * (300_000 if number % 3 == 2 else 0)


async def work(path: Path, name: str, messages: int, *, kill_at: int = 0) -> dict[int, bytes]:
    """Run a worker until it ends; return the accepted messages by UID.

    Args:
        path: of the store; the worker creates the account ann in it if there is no account.
        name: of the worker, part of the contents of its messages.
        messages: how many it delivers, all at once.
        kill_at: the number of the call at which it kills itself, a write half-way; 0 for never.
    """
    accepted, told = FORKED.Pipe(duplex=False)
    process = FORKED.Process(target=_main, args=(path, name, messages, kill_at, told))
    process.start()
    told.close()
    uids: dict[int, bytes] = {}
    with accepted:
        while True:
            try:
                uid, number = await trio.to_thread.run_sync(accepted.recv)
            except EOFError:
                break
            assert uid not in uids
            uids[uid] = content(name, number)
    await trio.to_thread.run_sync(process.join)
    assert process.exitcode == (-signal.SIGKILL if kill_at else 0)
    process.close()
    return uids


class _System:
    """Stands in for `os`; kills the process at the call with this number."""

    def __init__(self, kill_at: int) -> None:
        self._left = kill_at

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        return self._counted(name, real) if name in _CHANGING else real

    def _counted(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def function(*args: Any, **keywords: Any) -> Any:
            self._left -= 1
            if self._left == 0:
                if name == "pwrite":
                    os.pwrite(args[0], args[1][: len(args[1]) // 2], args[2])
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **keywords)

        return function


def _main(path: Path, name: str, messages: int, kill_at: int, accepted: Connection[tuple[int, int], None]) -> None:
    async def deliver(store: JSONFileStore, number: int) -> None:
        delivered = await store.append_message("ann", INBOX, content(name, number))
        accepted.send((delivered.uid, number))

    async def run() -> None:
        async with JSONFileStore(path) as store, trio.open_nursery() as nursery:
            if not await store.list_accounts():
                await store.create_account("ann")
            for number in range(messages):
                nursery.start_soon(deliver, store, number)

    files.os = _System(kill_at)  # type: ignore[attr-defined, assignment]  # it has all that the store uses of `os`
    trio.run(run)
