"""`JSONFileStore`: opening, closing, look-ups, bodies, and deliveries while each call fails once."""

from __future__ import annotations

import errno
import fcntl
import itertools
import math
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from tests.mailbox.json_file.bodies import LARGE, add, blobs, contents
from tests.mailbox.json_file.system import System
from trio_smtp.mailbox.json_file import JSONFileStore
from trio_smtp.mailbox.json_file.store import INLINE, _Engine, _JSONDelivery
from trio_smtp.mailbox.store import (
    INBOX,
    Delivered,
    NoSuchAccount,
    StoreUnavailable,
    Target,
)

# --- opening and closing


async def test_nothing_happens_before_the_first_use(path: Path) -> None:
    store = JSONFileStore(path)
    assert store.damage == ()
    assert not path.exists()
    await store.aclose()
    assert not path.exists()


async def test_the_first_use_opens(path: Path) -> None:
    store = JSONFileStore(str(path))
    async with trio.open_nursery() as nursery:
        for name in ("ann", "bob", "carl"):
            nursery.start_soon(store.create_account, name)
    assert len(await store.list_accounts()) == 3
    await store.aclose()


async def test_entering_opens(path: Path) -> None:
    async with JSONFileStore(path):
        assert path.exists()


async def test_entering_an_open_store_opens_nothing(path: Path, system: System) -> None:
    store = JSONFileStore(path)
    await store.create_account("ann")
    opened = system.count("open")
    async with store:
        assert system.count("open") == opened
        assert [account.name for account in await store.list_accounts()] == ["ann"]
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.list_accounts()


async def test_what_cannot_be_opened(path: Path, tmp_path: Path) -> None:
    for store, match in (
        (JSONFileStore(path, create=False), "No such file or directory"),
        (JSONFileStore(path / "deeper"), "No such file or directory"),
        (JSONFileStore(Path(__file__)), "Not a directory"),
        (JSONFileStore(Path(__file__).parent), "not empty and contains no store"),
    ):
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match=match):
                await store.list_accounts()
        await store.aclose()
    assert list(tmp_path.iterdir()) == []


async def test_a_store_that_is_closed(path: Path) -> None:
    descriptors, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    async with JSONFileStore(path) as store:
        await store.create_account("ann")
        delivery = store.deliver([Target("ann")])
        await delivery.write(b"x")
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert "mail store writer" not in {thread.name for thread in threading.enumerate()}
    assert threading.active_count() >= threads
    for attempt in (store.list_accounts(), store.create_account("bob"), store.compact(), delivery.commit()):
        with pytest.raises(StoreUnavailable, match="closed"):
            await attempt


async def test_closing_finishes_what_waits(path: Path) -> None:
    store = JSONFileStore(path)
    await store.create_account("ann")
    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(add, store, b"%d" % number)
        await trio.testing.wait_all_tasks_blocked()
        await store.aclose()
    async with JSONFileStore(path) as again:
        assert len(await contents(again)) == 20


async def test_closing_while_a_compaction_waits_for_a_thread(path: Path) -> None:
    async with JSONFileStore(path) as store, trio.open_nursery() as nursery:
        await store.create_account("ann")
        store._bodies.total_tokens = 1
        owner = object()
        store._bodies.acquire_on_behalf_of_nowait(owner)

        async def compact() -> None:
            with pytest.raises(StoreUnavailable, match="closed"):
                await store.compact()

        nursery.start_soon(compact)
        await trio.testing.wait_all_tasks_blocked()
        await store.aclose()
        store._bodies.release_on_behalf_of(owner)


async def test_closing_while_somebody_opens(path: Path, system: System) -> None:
    store = JSONFileStore(path)
    reached, resumed = threading.Event(), threading.Event()

    async def look() -> None:
        with pytest.raises(StoreUnavailable, match="closed"):
            await store.list_accounts()

    def mkdir(call: Callable[[], None], *_: object) -> None:
        reached.set()
        resumed.wait()
        call()

    system.hooks["mkdir"] = mkdir
    descriptors = len(os.listdir("/proc/self/fd"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(look)
        await trio.to_thread.run_sync(reached.wait)
        await store.aclose()
        nursery.start_soon(look)
        await trio.testing.wait_all_tasks_blocked()
        resumed.set()
    assert len(os.listdir("/proc/self/fd")) == descriptors


@pytest.mark.parametrize("uses", [1, 2])
@pytest.mark.parametrize("closes", [False, True])
async def test_opening_can_be_cancelled(
    path: Path, system: System, monkeypatch: pytest.MonkeyPatch, uses: int, closes: bool
) -> None:
    """Another process holds the lock. What is opened too late, or a second time, is closed again."""
    arrived, stopped = threading.Semaphore(0), threading.Semaphore(0)
    released = threading.Event()
    stop = _Engine.stop

    def flock(call: Callable[[], Any], *_: object) -> None:
        arrived.release()
        released.wait()
        call()

    def stop_and_say_so(engine: _Engine) -> None:
        stop(engine)
        stopped.release()

    system.hooks["flock"] = flock
    monkeypatch.setattr(_Engine, "stop", stop_and_say_so)
    descriptors = len(os.listdir("/proc/self/fd"))
    store = JSONFileStore(path)
    for _ in range(uses):
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(store.list_accounts)
                await trio.to_thread.run_sync(arrived.acquire)
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        assert scope.cancelled_caught
    if closes:
        await store.aclose()
    released.set()
    if not closes:
        assert await store.list_accounts() == []
        await store.aclose()
    while len(os.listdir("/proc/self/fd")) > descriptors:
        await trio.to_thread.run_sync(stopped.acquire)


async def test_a_block_that_is_cancelled_before_it_begins_leaves_nothing_open(path: Path, system: System) -> None:
    """Another process holds the lock."""
    arrived, released, finished = threading.Event(), threading.Event(), threading.Event()

    def flock(call: Callable[[], Any], *_: object) -> None:
        arrived.set()
        released.wait()
        call()

    class Store(JSONFileStore):
        def _start_engine(self) -> None:
            super()._start_engine()
            finished.set()

    system.hooks["flock"] = flock
    descriptors = len(os.listdir("/proc/self/fd"))
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Store(path).__aenter__)
            await trio.to_thread.run_sync(arrived.wait)
            scope.cancel()
    assert scope.cancelled_caught
    released.set()
    await trio.to_thread.run_sync(finished.wait)
    assert len(os.listdir("/proc/self/fd")) == descriptors


async def test_closing_when_cancelled(path: Path) -> None:
    store = JSONFileStore(path)
    await store.create_account("ann")
    with trio.CancelScope() as scope:
        scope.cancel()
        await store.aclose()
    assert "mail store writer" not in {thread.name for thread in threading.enumerate()}


async def test_closing_does_not_wait_for_ever(
    store: JSONFileStore, path: Path, system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process holds the lock."""
    monkeypatch.setattr("trio_smtp.mailbox.json_file.store._CLOSING", 0)
    released = threading.Event()

    def flock(call: Callable[[], Any], *_: object) -> None:
        released.wait()
        call()

    system.hooks["flock"] = flock
    async with trio.open_nursery() as nursery:
        nursery.start_soon(add, store, b"x")
        await trio.testing.wait_all_tasks_blocked()
        await store.aclose()
        released.set()
    async with JSONFileStore(path) as again:
        assert await contents(again) == [b"x"]


async def test_closing_without_a_thread(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run_sync(*_: object, **__: object) -> None:
        raise RuntimeError("can't start new thread")

    descriptors = len(os.listdir("/proc/self/fd"))
    store = JSONFileStore(path)
    await store.create_account("ann")
    monkeypatch.setattr(trio.to_thread, "run_sync", run_sync)
    await store.aclose()
    assert len(os.listdir("/proc/self/fd")) == descriptors


async def test_use_after_a_fork(store: JSONFileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(RuntimeError, match="fork"):
        await store.list_accounts()
    assert store._engine is not None
    await store.aclose()
    assert not store._engine.writer.closing, "its thread is in the parent, and so are those who would let go of locks"
    monkeypatch.undo()
    store._engine.stop()


# --- look-ups


async def test_a_look_needs_no_thread(store: JSONFileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.delattr(trio.to_thread, "run_sync")
        assert await store.count_messages("ann", INBOX) == 0
        assert await store.find_account("ann@x") is None


@pytest.mark.parametrize("moment", [0, math.inf])
async def test_recipients_may_be_those_of_a_moment_ago(
    store: JSONFileStore, path: Path, monkeypatch: pytest.MonkeyPatch, moment: float
) -> None:
    """A recipient that another process has deleted may still be found, until the commit; one that it has added is found
    at once.
    """
    monkeypatch.setattr("trio_smtp.mailbox.json_file.store._A_MOMENT", moment)
    await store.create_account("bob", addresses=["bob@x"])
    async with JSONFileStore(path) as other:
        await other.delete_account("bob")
        await other.create_account("carl", addresses=["carl@x"])
        found = await store.find_recipient("bob@x")
        assert (found is not None) == (moment > 0)
        with pytest.raises(NoSuchAccount):
            async with store.deliver([Target("bob")]) as delivery:
                await delivery.commit()
        assert await store.find_recipient("bob@x") is None
        await other.create_account("dora", addresses=["dora@x"])
        for name in ("carl", "dora"):
            found = await store.find_recipient(f"{name}@x")
            assert found is not None
            assert found.name == name


async def test_other_processes(store: JSONFileStore, path: Path) -> None:
    async with JSONFileStore(path) as other:
        for number in range(5):
            writer, reader = (store, other) if number % 2 else (other, store)
            uid = await add(writer, b"%d" % number)
            assert await reader.count_messages("ann", INBOX) == uid == number + 1
            assert (await reader.get_message("ann", INBOX, uid)).content == b"%d" % number


async def test_a_look_that_waits_can_be_cancelled(store: JSONFileStore, path: Path, system: System) -> None:
    async with JSONFileStore(path) as other:
        await add(other, b"x")
        released = threading.Event()
        system.hooks["flock"] = lambda call, *_: (released.wait(), call())
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(store.list_accounts)
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        released.set()
        assert await store.count_messages("ann", INBOX) == 1


async def test_many_looks_wait_for_one(store: JSONFileStore, path: Path, system: System) -> None:
    """A look-up shows what other processes wrote before it. Look-ups that wait together take the lock only once."""
    counts: list[int] = []
    read_locks = 0
    released = threading.Event()

    def flock(call: Callable[[], None], _: int, operation: int) -> None:
        nonlocal read_locks
        read_locks += operation == fcntl.LOCK_SH
        released.wait()
        call()

    async def look() -> None:
        counts.append(await store.count_messages("ann", INBOX))

    async with JSONFileStore(path) as other:
        await add(other, b"x")
        system.hooks["flock"] = flock
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(look)
            await trio.testing.wait_all_tasks_blocked()
            released.set()
        assert counts == [1] * 50
        assert read_locks == 1
        await add(other, b"y")
        assert await store.count_messages("ann", INBOX) == 2


async def test_header_fields_are_remembered(store: JSONFileStore, system: System) -> None:
    await add(store, b"Subject: one\r\n\r\n")
    before = await store.list_messages("ann", INBOX)
    read: list[int] = []

    def pread(call: Callable[[], bytes], _: int, length: int, *__: object) -> bytes:
        read.append(length)
        return call()

    system.hooks["pread"] = pread
    await store.set_flags("ann", INBOX, 1, ["a"])
    [listed] = await store.list_messages("ann", INBOX)
    assert listed.subject == "one"
    assert listed.flags == {"a"}
    assert listed != before[0]
    assert read == [160], "what is written beside the lock, and nothing else"


# --- bodies


@pytest.mark.parametrize(("size", "in_a_blob"), [(INLINE, False), (INLINE + 1, True), (3 * INLINE, True)])
async def test_where_a_body_goes(store: JSONFileStore, path: Path, size: int, in_a_blob: bool) -> None:
    body = os.urandom(size)
    for step in (size, 10_000):
        async with store.deliver([Target("ann", INBOX, b"pre")]) as delivery:
            for start in range(0, size, step):
                await delivery.write(body[start : start + step])
            await delivery.commit()
    assert await contents(store) == [b"pre" + body] * 2
    assert len(blobs(path)) == (2 if in_a_blob else 0)


async def test_a_large_body_is_not_kept_in_memory(store: JSONFileStore) -> None:
    async with store.deliver([Target("ann")]) as delivery:
        assert isinstance(delivery, _JSONDelivery)
        for _ in range(100):
            await delivery.write(bytes(10_000))
            assert len(delivery._body) <= INLINE


async def test_a_blob_that_nobody_wants(store: JSONFileStore, path: Path) -> None:
    for targets, partial in (([], False), ([Target("nobody")], True)):
        async with store.deliver(targets, partial=partial) as delivery:
            await delivery.write(LARGE)
            assert len(blobs(path)) == 1
            await delivery.commit()
        assert blobs(path) == []
    with pytest.raises(NoSuchAccount):
        async with store.deliver([Target("nobody")]) as delivery:
            await delivery.write(LARGE)
            await delivery.commit()
    assert blobs(path) == []
    with trio.CancelScope() as scope:
        async with store.deliver([Target("ann")]) as delivery:
            await delivery.write(LARGE)
            scope.cancel()
            await trio.lowlevel.checkpoint()
    assert blobs(path) == []


async def test_a_commit_that_was_refused_can_be_tried_again(store: JSONFileStore, system: System, path: Path) -> None:
    for body in (b"small", LARGE):
        async with store.deliver([Target("ann")]) as delivery:
            await delivery.write(body)
            system.fail("fdatasync", errno.EIO)
            with pytest.raises(StoreUnavailable):
                await delivery.commit()
            [result] = await delivery.commit()
            assert isinstance(result, Delivered)
            for attempt in (delivery.commit(), delivery.write(b"x")):
                with pytest.raises(RuntimeError, match="ended"):
                    await attempt
    assert await contents(store) == [b"small", LARGE]
    async with JSONFileStore(path) as again:
        assert await contents(again) == [b"small", LARGE]


async def test_a_blob_that_was_not_synced_is_not_believed(store: JSONFileStore, system: System, path: Path) -> None:
    async with store.deliver([Target("ann")]) as delivery:
        await delivery.write(LARGE)
        system.fail("fsync", errno.EIO)
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                await delivery.commit()
    assert await contents(store) == []
    assert blobs(path) == []


async def test_a_write_that_was_refused_can_be_tried_again(store: JSONFileStore, system: System) -> None:
    async with store.deliver([Target("ann")]) as delivery:
        for call in ("open", "pwrite"):
            system.fail(call, errno.ENOSPC)
            with pytest.raises(StoreUnavailable):
                await delivery.write(LARGE)
        await delivery.commit()
    assert await contents(store) == [LARGE * 2]


# --- every fault once


async def attempt(store: JSONFileStore, number: int, expected: list[bytes]) -> None:
    """Deliver a small and a large message; add the accepted ones to `expected`."""
    for content in (b"small %d" % number, LARGE + b"%d" % number):
        try:
            async with store.deliver([Target("ann"), Target("bob")]) as delivery:
                await delivery.write(content)
                await delivery.commit()
        except StoreUnavailable:
            pass
        else:
            expected.append(content)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("segment_octets", [64 * 1024 * 1024, 1], ids=["one segment", "many segments"])
async def test_every_call_fails_once(
    store: JSONFileStore,
    path: Path,
    system: System,
    monkeypatch: pytest.MonkeyPatch,
    after: bool,
    segment_octets: int,
) -> None:
    """Whichever call fails, accepted messages are there, refused ones are not, and the next message is accepted."""
    await store.create_account("bob")
    monkeypatch.setattr("trio_smtp.mailbox.json_file.writer.SEGMENT_OCTETS", segment_octets)
    expected: list[bytes] = []
    for number in itertools.count(1):
        failure = system.fail_once(number, errno.ENOSPC, after=after)
        await attempt(store, number, expected)
        has_failed = failure.has_failed
        system.work()
        assert await store.count_messages("ann", INBOX) == len(expected)
        await attempt(store, 1000 + number, expected)
        assert expected[-2] == b"small %d" % (1000 + number)
        if not has_failed:
            break
    assert await contents(store) == expected
    async with JSONFileStore(path) as again:
        assert await contents(again) == expected
        await again.set_password("ann", None)
        await again.set_password("ann", None)  # the writer removed leftovers after the first one
        assert len(blobs(path)) == sum(len(content) > INLINE for content in expected)


@pytest.mark.parametrize("failing", [("pwrite",), ("fdatasync", "ftruncate"), ("fdatasync", "fsync"), ("open",)])
async def test_the_same_calls_fail_until_cured(
    store: JSONFileStore, path: Path, system: System, failing: tuple[str, ...]
) -> None:
    await store.create_account("bob")
    expected: list[bytes] = []
    for number in range(5):
        for call in failing:
            system.fail(call, errno.EIO, times=10_000)
        await attempt(store, number, expected)
        await attempt(store, 100 + number, expected)
        system.work()
        await attempt(store, 1000 + number, expected)
        assert expected[-2] == b"small %d" % (1000 + number)
    assert len(expected) == 10
    assert await contents(store) == expected
    async with JSONFileStore(path) as again:
        assert await contents(again) == expected
