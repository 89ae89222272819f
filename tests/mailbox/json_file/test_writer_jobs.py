"""Jobs: functions that the writer runs in its thread, under the exclusive lock."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from tests.mailbox.json_file.system import System
from tests.mailbox.json_file.writing import Gate, contents, deliver
from trio_smtp.mailbox.json_file import JSONFileStore, writer
from trio_smtp.mailbox.operations import AddMessages, Operation
from trio_smtp.mailbox.store import (
    INBOX,
    NoSuchAccount,
    StoreUnavailable,
)


@pytest.fixture
def run(store: JSONFileStore) -> Callable[[Callable[[], Any]], Any]:
    assert store._engine is not None
    return store._engine.writer.run


@pytest.fixture
def queued(store: JSONFileStore, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set once a job is in the queue."""
    assert store._engine is not None
    queued = threading.Event()
    put = store._engine.writer.put

    def put_and_tell(requests: Iterable[writer._Request]) -> None:
        put(requests)
        if any(isinstance(request, writer._Job) for request in requests):
            queued.set()

    monkeypatch.setattr(store._engine.writer, "put", put_and_tell)
    return queued


async def in_one_group(
    store: JSONFileStore,
    gate: Gate,
    queued: threading.Event,
    job: Callable[[], Awaitable[None]],
    *behind: Callable[[], Awaitable[object]],
) -> None:
    """Let the writer take one group with a delivery, the job, and what follows it; another delivery goes first."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(deliver, store)
        await gate.entered()
        nursery.start_soon(deliver, store)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(job)
        await trio.to_thread.run_sync(queued.wait)
        for task in behind:
            nursery.start_soon(task)
        await trio.testing.wait_all_tasks_blocked()
        gate.open()


async def test_a_job(store: JSONFileStore, run: Callable[[Callable[[], Any]], Any], path: Path) -> None:
    def job() -> str:
        with pytest.raises(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return threading.current_thread().name

    fd = os.open(path / "lock", os.O_RDWR)
    assert await trio.to_thread.run_sync(run, job) == "mail store writer"
    os.close(fd)


async def test_a_job_comes_after_what_was_there_before(
    store: JSONFileStore, gate: Gate, run: Callable[[Callable[[], Any]], Any], queued: threading.Event
) -> None:
    assert store._engine is not None
    index = store._engine.database.replica.index
    seen: list[int] = []

    async def job() -> None:
        seen.append(await trio.to_thread.run_sync(run, lambda: index.mailbox("ann", INBOX).messages))

    await in_one_group(store, gate, queued, job, partial(deliver, store))
    assert seen == [2]


@pytest.mark.parametrize("error", [ZeroDivisionError("a bug"), NoSuchAccount("nobody")])
async def test_a_job_that_fails(
    store: JSONFileStore, run: Callable[[Callable[[], Any]], Any], error: Exception
) -> None:
    def job() -> None:
        raise error

    with pytest.raises(type(error)):
        await trio.to_thread.run_sync(run, job)
    assert await deliver(store) == 1


async def test_a_job_behind_a_bug(
    store: JSONFileStore,
    gate: Gate,
    run: Callable[[Callable[[], Any]], Any],
    queued: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Changes before the job in the same group are committed; the job is not done."""

    async def refused() -> None:
        with pytest.raises(StoreUnavailable, match="a bug"):
            await trio.to_thread.run_sync(run, list)

    def tell(operation: Operation[Any]) -> None:
        if isinstance(operation, AddMessages) and operation.messages[0].uid == 2:
            raise ZeroDivisionError("a bug")

    assert store._engine is not None
    monkeypatch.setattr(store._engine.database.replica, "watcher", tell)
    await in_one_group(store, gate, queued, refused)
    monkeypatch.undo()
    assert list(await contents(store)) == [1, 2]


async def test_a_job_that_the_machine_refuses(
    store: JSONFileStore, gate: Gate, run: Callable[[Callable[[], Any]], Any], queued: threading.Event
) -> None:
    """Changes before the job in the same group are committed."""

    def job() -> None:
        raise OSError(errno.EIO, "input/output error")

    async def refused() -> None:
        with pytest.raises(StoreUnavailable, match="input/output error"):
            await trio.to_thread.run_sync(run, job)

    await in_one_group(store, gate, queued, refused)
    assert list(await contents(store)) == [1, 2]


async def test_a_job_behind_a_failed_write_is_not_done(
    store: JSONFileStore,
    gate: Gate,
    run: Callable[[Callable[[], Any]], Any],
    queued: threading.Event,
    system: System,
) -> None:
    done: list[None] = []

    def sync(call: Callable[[], Any], *_: object) -> Any:
        if gate.calls:
            system.hooks["fdatasync"] = gate
            raise OSError(errno.EIO, "input/output error")
        return gate(call)

    async def refused() -> None:
        with pytest.raises(StoreUnavailable, match="input/output error"):
            await trio.to_thread.run_sync(run, partial(done.append, None))

    system.hooks["fdatasync"] = sync
    with pytest.RaisesGroup(StoreUnavailable):
        await in_one_group(store, gate, queued, refused)
    assert not done
    assert list(await contents(store)) == [1]
