"""Housekeeping: removing leftovers, and when a snapshot or a compaction is due."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from tests.mailbox.json_file.system import System
from trio_smtp.mailbox.json_file import JSONFileStore, housekeeping
from trio_smtp.mailbox.json_file.housekeeping import Housekeeper
from trio_smtp.mailbox.json_file.snapshot import Snapshot
from trio_smtp.mailbox.store import INBOX, Target

SNAPSHOT = "index.jsonl"
LARGE = b"x" * 300_000


@pytest.fixture
async def store(path: Path) -> AsyncIterator[JSONFileStore]:
    async with JSONFileStore(path) as store:
        await store.create_account("ann")
        yield store


def housekeeper(store: JSONFileStore) -> Housekeeper:
    assert store._engine is not None
    return store._engine.housekeeper


async def add(store: JSONFileStore, content: bytes = b"x" * 100) -> int:
    return (await store.append_message("ann", INBOX, content)).uid


async def settle(store: JSONFileStore) -> None:
    """Wait until the writer has finished its work after a group, and the housekeeper's thread has ended."""
    await store.set_password("ann", None)
    await store.set_password("ann", None)  # the writer takes it when its work after the first one is done
    thread = housekeeper(store)._thread
    if thread is not None:
        await trio.to_thread.run_sync(thread.join)


# --- leftovers


async def test_leftovers_are_removed_with_the_first_change(path: Path) -> None:
    async with JSONFileStore(path) as store:
        await store.create_account("ann")
        await add(store, LARGE)
    for name in ("000009.jsonl", "notes.txt"):
        (path / "journal" / name).write_bytes(b"x")
    (path / "blobs/orphan").write_bytes(b"x")
    (path / f"{SNAPSHOT}.new").write_bytes(b"x")
    async with JSONFileStore(path) as store:
        await store.list_messages("ann", INBOX)
        assert len(os.listdir(path / "blobs")) == 2, "who only reads removes nothing"
        await settle(store)
        assert sorted(os.listdir(path / "journal")) == ["000001.jsonl", "notes.txt"]
        assert len(os.listdir(path / "blobs")) == 1
        assert not (path / f"{SNAPSHOT}.new").exists()
        (path / "blobs/orphan").write_bytes(b"x")
        await settle(store)
        assert len(os.listdir(path / "blobs")) == 2, "once is enough"


async def test_a_delivery_under_way_elsewhere_is_no_leftover(store: JSONFileStore, path: Path) -> None:
    async with JSONFileStore(path) as other, other.deliver([Target("ann")]) as delivery:
        await delivery.write(LARGE)
        await settle(store)
        await delivery.commit()
    [listed] = await store.list_messages("ann", INBOX)
    assert (await store.get_message("ann", INBOX, listed.uid)).content == LARGE


async def test_what_cannot_be_removed_hurts_nobody(
    store: JSONFileStore, path: Path, system: System, caplog: pytest.LogCaptureFixture
) -> None:
    await settle(store)
    async with JSONFileStore(path) as other:
        system.fail("listdir", errno.EIO)
        await add(other)
        await settle(other)
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert "housekeeping" in record.getMessage()


async def test_one_process_at_a_time(store: JSONFileStore, path: Path) -> None:
    await settle(store)
    (path / "journal/000009.jsonl").touch()
    fd = os.open(path / "journal", os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    async with JSONFileStore(path) as other:
        await settle(other)
        assert "000009.jsonl" in os.listdir(path / "journal")
    os.close(fd)


async def test_one_thread_at_a_time(store: JSONFileStore, path: Path) -> None:
    await settle(store)
    (path / "journal/000009.jsonl").touch()
    async with JSONFileStore(path) as other:
        with housekeeper(other)._busy:
            await settle(other)
        assert "000009.jsonl" in os.listdir(path / "journal")


# --- snapshots


async def test_much_that_has_come_leads_to_a_snapshot(
    store: JSONFileStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "DUE", 2000)
    await add(store)
    await settle(store)
    assert not (path / SNAPSHOT).exists()
    for _ in range(10):
        await add(store)
    await settle(store)
    assert (path / SNAPSHOT).exists()
    assert os.listdir(path / "journal") == ["000001.jsonl"]


@pytest.mark.parametrize(("octets", "leaves"), [(1, True), (10**6, False)])
async def test_closing(path: Path, monkeypatch: pytest.MonkeyPatch, octets: int, leaves: bool) -> None:
    monkeypatch.setattr(housekeeping, "SAVE_ON_CLOSE", octets)
    async with JSONFileStore(path) as store:
        await store.create_account("ann")
    assert (path / SNAPSHOT).exists() is leaves


async def test_a_reader_that_had_much_to_read_leaves_a_snapshot_too(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with JSONFileStore(path) as store:
        await store.create_account("ann")
    monkeypatch.setattr(housekeeping, "SAVE_ON_CLOSE", 1)
    for _ in range(2):
        async with JSONFileStore(path) as store:
            assert len(await store.list_accounts()) == 1
        assert (path / SNAPSHOT).exists()


async def test_closing_without_room_for_a_snapshot(
    path: Path, system: System, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(housekeeping, "SAVE_ON_CLOSE", 1)
    async with JSONFileStore(path) as store:
        await store.create_account("ann")
        await settle(store)
        system.fail("pwrite", errno.ENOSPC)
    assert "made to fail" in caplog.text
    async with JSONFileStore(path) as store:
        assert len(await store.list_accounts()) == 1


async def test_closing_without_memory_for_a_snapshot(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def take(*_: object) -> None:
        raise MemoryError

    descriptors = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(housekeeping, "SAVE_ON_CLOSE", 1)
    monkeypatch.setattr(Snapshot, "take", take)
    async with JSONFileStore(path) as store:
        await store.create_account("ann")
    assert "MemoryError" in caplog.text
    assert len(os.listdir("/proc/self/fd")) == descriptors


# --- compaction


async def test_much_that_has_died_leads_to_a_compaction(
    store: JSONFileStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "DUE", 3000)
    kept = await add(store, b"kept")
    for _ in range(3):
        await store.delete_message("ann", INBOX, await add(store, b"x" * 800))
    await settle(store)
    assert os.listdir(path / "journal") == ["000001.jsonl"]
    for _ in range(3):
        await store.delete_message("ann", INBOX, await add(store, b"x" * 800))
    await settle(store)
    assert os.listdir(path / "journal") != ["000001.jsonl"]
    assert sum(file.stat().st_size for file in (path / "journal").iterdir()) < 3000
    assert (await store.get_message("ann", INBOX, kept)).content == b"kept"


async def test_what_has_died_is_little_beside_what_lives(
    store: JSONFileStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add(store, b"x" * 100_000)
    monkeypatch.setattr(housekeeping, "DUE", 3000)
    for _ in range(5):
        await store.delete_message("ann", INBOX, await add(store, b"x" * 800))
    await settle(store)
    assert os.listdir(path / "journal") == ["000001.jsonl"]


async def test_blobs_of_the_dead_do_not_wait_for_a_compaction(
    store: JSONFileStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "DUE", 100_000)
    await add(store, LARGE)
    await add(store, LARGE)
    uid = await add(store, LARGE)
    await store.delete_message("ann", INBOX, uid)
    await settle(store)
    assert len(os.listdir(path / "blobs")) == 2


async def test_it_is_not_tried_again_and_again(
    store: JSONFileStore, system: System, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await settle(store)
    monkeypatch.setattr(housekeeping, "DUE", 10_000)
    system.fail("rename", errno.EIO, times=1000)
    for _ in range(13):  # it is due after 9, and would be again after 18
        await store.delete_message("ann", INBOX, await add(store, b"x" * 800))
        await settle(store)
    assert len(caplog.records) == 1


async def test_no_thread_to_be_had(store: JSONFileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "mail store housekeeper":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(housekeeping, "DUE", 1)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    await add(store)
    await settle(store)
    assert housekeeper(store)._thread is None
