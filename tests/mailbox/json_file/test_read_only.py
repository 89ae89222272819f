"""A store on a simulated read-only disk: it can be read. `tests.crash.test_disks` uses a real one."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import trio

from tests.mailbox.json_file.system import System
from trio_smtp.mailbox.json_file import JSONFileStore, housekeeping
from trio_smtp.mailbox.json_file.maintenance import check_store, compact_store, get_info
from trio_smtp.mailbox.store import INBOX, StoreError, StoreUnavailable

LARGE = b"Subject: large\r\n\r\n" + b"x" * 300_000


async def fill(path: Path) -> None:
    async with JSONFileStore(path) as store:
        await store.create_account("ann")
        await store.append_message("ann", INBOX, LARGE)


@pytest.fixture
def full(path: Path) -> Path:
    """A store whose last writer died while it was writing, as a snapshot of a file system may have it."""
    trio.run(fill, path)
    with (path / "lock").open("r+b") as lock:
        lock.write(b"w")
    return path


def make_read_only(path: Path, system: System, *, knows_sync: bool = True) -> None:
    def open_(call: Callable[[], int], name: str, flags: int, *_: int) -> int:
        if flags & os.O_RDWR and not (flags & os.O_CREAT and (path / name).exists()):  # that fails with EEXIST
            raise OSError(errno.EROFS, "Read-only file system", name)
        return call()

    def sync(_: Callable[[], None], fd: int) -> None:
        if not knows_sync:
            raise OSError(errno.EINVAL, "Invalid argument")

    system.hooks.update(
        open=open_,
        access=lambda *_: False,
        fsync=sync,
        fdatasync=sync,
        fstatvfs=lambda *_: SimpleNamespace(f_flag=os.ST_RDONLY),
    )


def files(path: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.mark.parametrize("knows_sync", [True, False], ids=["ext4", "squashfs"])
async def test_it_is_read_and_not_changed(
    full: Path,
    system: System,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    knows_sync: bool,
) -> None:
    before = files(full)
    make_read_only(full, system, knows_sync=knows_sync)
    monkeypatch.setattr(housekeeping, "SAVE_ON_CLOSE", 1)
    async with JSONFileStore(full, create=False) as store:
        [listed] = await store.list_messages("ann", INBOX)
        assert listed.subject == "large"
        assert (await store.get_message("ann", INBOX, 1)).content == LARGE
        for change in (
            store.delete_message("ann", INBOX, 1),
            store.append_message("ann", INBOX, b"small"),
            store.append_message("ann", INBOX, LARGE),
            store.create_account("bob"),
            store.compact(),
        ):
            with pytest.raises(StoreUnavailable, match="Read-only file system"):
                await change
        assert await store.count_messages("ann", INBOX) == 1
    assert files(full) == before
    assert caplog.records == []


async def test_it_is_written_when_that_is_over(full: Path, system: System) -> None:
    make_read_only(full, system)
    async with JSONFileStore(full, create=False) as store, JSONFileStore(full, create=False) as other:
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                await store.append_message("ann", INBOX, b"small")
        system.work()
        assert (await store.append_message("ann", INBOX, b"small")).uid == 2
        assert await other.count_messages("ann", INBOX) == 2
        assert (await other.append_message("ann", INBOX, b"small")).uid == 3
        await store.delete_message("ann", INBOX, 3)


def test_it_is_looked_after(full: Path, system: System) -> None:
    make_read_only(full, system)
    assert get_info(full).messages == 1
    assert check_store(full).faults == []
    with pytest.raises((OSError, StoreError), match="Read-only file system"):
        compact_store(full)


@pytest.mark.parametrize("lost", ["gate", "lock", None])
async def test_who_could_make_a_store_wants_to_write(full: Path, system: System, lost: str | None) -> None:
    """A caller that could create the store, such as a server, needs to write, so opening fails."""
    if lost is not None:
        (full / lost).unlink()
    make_read_only(full, system)
    descriptors = len(os.listdir("/proc/self/fd"))
    for create in (True, False) if lost else (True,):
        with pytest.raises(StoreUnavailable, match=r"(gate|lock): Read-only file system"):
            await JSONFileStore(full, create=create).list_accounts()
    assert len(os.listdir("/proc/self/fd")) == descriptors
