"""Stores whose files were changed from outside: a journal cut short between two records, and a backup by hard links.

In such a journal no record is torn and every checksum is right. The loss must be noticed all the same: a UID that was
assigned must not be assigned again, and the damage must be reported.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.mailbox.json_file.writing import contents, deliver
from trio_smtp.mailbox.json_file import JSONFileStore
from trio_smtp.mailbox.json_file.maintenance import check_store, repair_store
from trio_smtp.mailbox.store import INBOX

LIVE = "journal/000001.jsonl"


def line_ends(path: Path) -> list[int]:
    octets = path.read_bytes()
    return [end for end in range(1, len(octets) + 1) if octets[end - 1 : end] == b"\n"]


async def uid_next(store: JSONFileStore, mailbox: str) -> int:
    [box] = [box for box in await store.list_mailboxes("ann") if box.name == mailbox]
    return box.uid_next


@pytest.fixture
async def ends(path: Path) -> list[int]:
    """Create a store with ann and three messages in each of her two mailboxes; return where its records end."""
    async with JSONFileStore(path) as store:
        await store.create_account("ann")
        await store.create_mailbox("ann", "Sent")
        for _ in range(3):
            await deliver(store)
            await store.append_message("ann", "Sent", b"x")
    return line_ends(path / LIVE)


@pytest.mark.parametrize("left", range(3, 9))
async def test_records_are_lost(path: Path, ends: list[int], left: int) -> None:
    os.truncate(path / LIVE, ends[left - 1])
    lost = ends[-1] - ends[left - 1]
    async with JSONFileStore(path) as store:
        await store.list_accounts()
        [damage] = store.damage
        assert (damage.segment, damage.offset, damage.length) == (1, ends[left - 1], lost)
        assert await deliver(store) > 3
    for _ in range(2):
        async with JSONFileStore(path) as store:
            await store.list_accounts()
            assert list(store.damage) == [damage]
            assert await uid_next(store, "Sent") > 3, "nothing has come there since"
    [fault] = check_store(path).faults
    assert (fault.file, fault.offset, fault.octets) == (LIVE, ends[left - 1], lost)
    repair_store(path, [fault])
    assert check_store(path).faults == []
    async with JSONFileStore(path) as store:
        assert await uid_next(store, "Sent") > 3


async def test_nothing_is_lost(path: Path, ends: list[int]) -> None:
    async with JSONFileStore(path) as store:
        assert await deliver(store) == 4
        assert store.damage == ()


async def test_while_a_process_has_it_open(path: Path, ends: list[int]) -> None:
    """That process goes on and knows which UIDs it has assigned; others learn it from the records that it writes."""
    async with JSONFileStore(path) as store, JSONFileStore(path) as other:
        await store.list_accounts()
        os.truncate(path / LIVE, ends[-5])
        assert await store.count_messages("ann", INBOX) == 3
        assert len(store.damage) == 1
        assert await deliver(store) > 3
        assert await deliver(other) > 4
    async with JSONFileStore(path) as store:
        await store.list_accounts()
        assert len(store.damage) == 1


async def test_back_to_where_another_process_is(path: Path, ends: list[int]) -> None:
    """The size of the segment reveals nothing: it is the same as when this process last read it."""
    async with JSONFileStore(path) as store, JSONFileStore(path) as other:
        assert await deliver(store) == 4
        seen = (path / LIVE).stat().st_size
        assert await deliver(other) == 5
        os.truncate(path / LIVE, seen)
        assert await deliver(store) > 5
        assert len(store.damage) == 1


async def test_what_was_missing_is_back(path: Path, ends: list[int]) -> None:
    whole = (path / LIVE).read_bytes()
    os.truncate(path / LIVE, ends[-3])
    async with JSONFileStore(path) as store:
        await deliver(store)
    (path / LIVE).write_bytes(whole)
    async with JSONFileStore(path) as store:
        assert len(await contents(store)) == 4
        assert store.damage == ()


async def test_a_backup_by_hard_links(path: Path, ends: list[int], tmp_path: Path) -> None:
    """Later changes to the store leave the backup's files unchanged, and the other way round, except for the lock."""
    backup = tmp_path / "backup"

    def octets(top: Path) -> dict[Path, bytes]:
        return {file: file.read_bytes() for file in (top / "journal").iterdir()}

    async with JSONFileStore(path) as store:
        await deliver(store)
        shutil.copytree(path, backup, copy_function=os.link)
        before = octets(backup)
        assert await deliver(store) == 5
        assert await deliver(store) == 6
        assert octets(backup) == before
        now = octets(path)
        assert len(now) == 2
        async with JSONFileStore(backup) as copy:
            assert await deliver(copy) == 5
        assert octets(path) == now
        assert await deliver(store) == 7
        assert len(await contents(store)) == 7
