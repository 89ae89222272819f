"""Bodies that are damaged, missing, no regular file, or unreadable for now: the error, and that it hides no other."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from tests.mailbox.json_file.bodies import LARGE, add, blobs, contents
from tests.mailbox.json_file.system import System
from trio_smtp.mailbox.json_file import JSONFileStore
from trio_smtp.mailbox.store import (
    INBOX,
    MessageUnreadable,
    Search,
    StoreUnavailable,
    Target,
)


async def test_a_damaged_message_hides_no_other(store: JSONFileStore, path: Path) -> None:
    for number in range(3):
        await add(store, b"Subject: number %d\r\n\r\nbody" % number)
    segment = path / "journal/000001.jsonl"
    segment.write_bytes(segment.read_bytes().replace(b"number 1", b"number 7"))
    assert [each.subject for each in await store.list_messages("ann", INBOX)] == ["number 0", "", "number 2"]
    assert [each.uid for each in await store.find_messages("ann", INBOX, Search(text="body"))] == [1, 3]
    with pytest.raises(
        MessageUnreadable, match="message 2 in mailbox 'INBOX' of account 'ann' cannot be read: the checksum is wrong"
    ):
        await store.get_message("ann", INBOX, 2)
    [damage] = store.damage
    assert (damage.segment, damage.reason) == (1, "the checksum is wrong")


async def test_a_blob_that_is_missing_hides_no_message(store: JSONFileStore, path: Path) -> None:
    for content in (b"Subject: one\r\n\r\n", LARGE, b"Subject: three\r\n\r\n"):
        await add(store, content)
    [blob] = blobs(path)
    (path / "blobs" / blob).unlink()
    assert [each.subject for each in await store.list_messages("ann", INBOX)] == ["one", "", "three"]
    with pytest.raises(MessageUnreadable, match="missing"):
        await store.get_message("ann", INBOX, 2)
    assert [damage.reason for damage in store.damage] == ["its file is missing"]


ODD: dict[str, Callable[[Path], object]] = {
    "FIFO": os.mkfifo,
    "folder": os.mkdir,
    "link": lambda path: path.symlink_to("/etc/passwd"),
}


@pytest.mark.parametrize("make", ODD.values(), ids=ODD)
async def test_what_is_no_file_hides_no_message(
    store: JSONFileStore, path: Path, make: Callable[[Path], object]
) -> None:
    for content in (b"Subject: one\r\n\r\n", LARGE, b"Subject: three\r\n\r\n"):
        await add(store, content)
    [blob] = blobs(path)
    (path / "blobs" / blob).unlink()
    make(path / "blobs" / blob)
    assert [each.subject for each in await store.list_messages("ann", INBOX)] == ["one", "", "three"]
    assert [each.uid for each in await store.find_messages("ann", INBOX, Search(text="three"))] == [3]
    with pytest.raises(MessageUnreadable, match=f"{blob}: (not a regular file|Too many levels)"):
        await store.get_message("ann", INBOX, 2)


async def test_many_blobs_that_are_missing(store: JSONFileStore, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The listing does not start again for each of them."""
    for _ in range(20):
        await add(store, LARGE)
    for blob in blobs(path):
        (path / "blobs" / blob).unlink()
    begun = 0
    look = store._look

    async def counted(*args: Any) -> Any:
        nonlocal begun
        begun += 1
        return await look(*args)

    monkeypatch.setattr(store, "_look", counted)
    assert [each.subject for each in await store.list_messages("ann", INBOX)] == [""] * 20
    assert begun == 3  # as often as for one missing blob


@pytest.mark.parametrize("error", [errno.EIO, errno.EMFILE])
async def test_a_body_that_cannot_be_read_now(store: JSONFileStore, system: System, error: int) -> None:
    await add(store, b"Subject: one\r\n\r\n")
    for call in ("open", "pread"):
        system.fail(call, error)
        with pytest.raises(StoreUnavailable, match="made to fail"):
            await store.get_message("ann", INBOX, 1)
    assert (await store.get_message("ann", INBOX, 1)).content == b"Subject: one\r\n\r\n"
    assert store.damage == ()


@pytest.mark.parametrize(
    ("call", "error"),
    [("pread", errno.EIO), ("pread", errno.EBADMSG), ("open", errno.EUCLEAN), ("open", errno.EACCES)],
)
async def test_what_a_disk_does_not_read_hides_no_message(
    store: JSONFileStore, system: System, call: str, error: int
) -> None:
    """File systems report EUCLEAN or EBADMSG for an inode that is damaged."""
    for content in (b"Subject: one\r\n\r\n", b"Subject: two\r\n\r\n"):
        await add(store, content)
    for _ in range(2):
        system.fail(call, error)
        assert [each.subject for each in await store.list_messages("ann", INBOX)] == ["", "two"]
        system.fail(call, error)
        assert [each.uid for each in await store.find_messages("ann", INBOX, Search(header=("Subject", "")))] == [2]
    assert [each.subject for each in await store.list_messages("ann", INBOX)] == ["one", "two"]
    assert store.damage == ()


@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), MemoryError()])
async def test_no_thread_and_no_memory(
    store: JSONFileStore, path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """The store is unavailable, not the message, and nothing is left of a delivery that had begun."""
    await add(store, b"small")
    descriptors = len(os.listdir("/proc/self/fd"))

    async def run_sync(*_: object, **__: object) -> None:
        raise error

    async with store.deliver([Target("ann")]) as delivery:
        await delivery.write(LARGE)
        assert len(blobs(path)) == 1
        monkeypatch.setattr(trio.to_thread, "run_sync", run_sync)
        with pytest.raises(StoreUnavailable, match=r"can't start new thread|out of memory"):
            await delivery.commit()
    assert blobs(path) == []
    assert len(os.listdir("/proc/self/fd")) == descriptors
    with pytest.raises(StoreUnavailable):
        await contents(store)
    monkeypatch.undo()
    assert await contents(store) == [b"small"]


async def test_what_could_not_be_read_back_is_not_written(store: JSONFileStore, path: Path) -> None:
    """Values of wrong types, from a caller that no type checker has checked."""
    await add(store, b"x")
    wrong: Any
    for wrong in (1.5, True):
        for refused in (
            store.create_account("bob", quota=wrong),
            store.set_quota("ann", wrong),
            store.put_note("key", "text", expires=wrong),
        ):
            with pytest.raises(TypeError, match="no integer"):
                await refused
    wrong = "yes"
    with pytest.raises(TypeError, match="neither true nor false"):
        await store.set_read_only("ann", INBOX, wrong)
    assert await store.get_note("key") is None
    async with JSONFileStore(path) as again:
        assert [account.name for account in await again.list_accounts()] == ["ann"]
        assert again.damage == ()
