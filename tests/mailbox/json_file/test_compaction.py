"""Compaction: what it keeps, changes by others meanwhile, failures at each call, and damaged records."""

from __future__ import annotations

import errno
import itertools
import os
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing

from tests.mailbox.json_file.system import System
from trio_smtp.mailbox.json_file import JSONFileStore, compaction, housekeeping
from trio_smtp.mailbox.json_file.journal import MANIFEST, segment_number
from trio_smtp.mailbox.json_file.records import encode_mark, parse, to_content
from trio_smtp.mailbox.store import INBOX, SEEN, NoSuchMessage, StoreUnavailable, Target

LARGE = b"\r\n\r\n" + bytes(range(256)) * 1200  # no header: listings parse that


async def everything(store: JSONFileStore) -> list[object]:
    """All that a store shows, with the contents of the messages."""
    told: list[object] = [await store.get_note("key")]
    for account in await store.list_accounts():
        told += [account, await store.get_credentials(account.name)]
        for mailbox in await store.list_mailboxes(account.name):
            told.append(mailbox)
            for each in await store.list_messages(account.name, mailbox.name):
                told += [each, await store.get_message(account.name, mailbox.name, each.uid)]
    return told


async def reopened(path: Path) -> list[object]:
    async with JSONFileStore(path, create=False) as again:
        return await everything(again)


async def deliver(store: JSONFileStore, body: bytes, *targets: Target) -> None:
    async with store.deliver(targets or [Target("ann", INBOX, b"pre:")]) as delivery:
        await delivery.write(body)
        await delivery.commit()


def segments(path: Path) -> list[int]:
    return [number for number in map(segment_number, sorted(os.listdir(path / "journal"))) if number is not None]


def octets(path: Path) -> int:
    return sum(file.stat().st_size for file in (path / "journal").iterdir())


@pytest.fixture
async def store(path: Path) -> AsyncIterator[JSONFileStore]:
    """A store with a history: many messages and mailboxes have been deleted."""
    async with JSONFileStore(path) as store:
        await store.create_account("ann", addresses=["ann@x"], quota=10_000_000)
        await store.create_account("bob")
        await store.create_mailbox("ann", "Sent")
        for number in range(5):
            await deliver(store, b"Subject: %d\r\n\r\n" % number)
        await deliver(store, LARGE)
        await deliver(store, b"to both", Target("ann", INBOX, b"1"), Target("bob", INBOX, b"2"), Target("ann", "Sent"))
        await deliver(store, LARGE, Target("bob", INBOX, b"1"), Target("bob", INBOX, b"2"))
        await store.set_flags("ann", INBOX, 2, [SEEN, "a"])
        await store.copy_message("ann", INBOX, 2, "Sent")
        await store.move_message("ann", INBOX, 3, "Sent")
        await store.delete_message("ann", INBOX, 4)
        await store.delete_message("ann", INBOX, 7)
        await store.delete_message("bob", INBOX, 2)
        await store.create_mailbox("ann", "Gone")
        await store.delete_mailbox("ann", "Gone")
        await store.put_note("key", "text", expires=2**40)
        yield store


async def test_compaction_changes_nothing_that_can_be_seen(store: JSONFileStore, path: Path) -> None:
    await store.delete_message("ann", INBOX, (await store.append_message("ann", INBOX, b"x" * 1000)).uid)
    before, size = await everything(store), octets(path)
    await store.compact()
    assert await everything(store) == before
    assert await reopened(path) == before
    assert segments(path) == [2, 3]
    assert octets(path) < size
    (path / "index.jsonl").unlink()
    assert await reopened(path) == before, "the segments alone say it too"


async def test_numbers_are_not_given_again_after_damage(store: JSONFileStore, path: Path) -> None:
    """The damaged records say which UIDs and values of uid_validity deleted messages and mailboxes have used."""
    last_uid = last_validity = 0
    for _ in range(50):
        last_uid = (await store.append_message("bob", INBOX, b"")).uid
        await store.delete_message("bob", INBOX, last_uid)
        last_validity = (await store.create_mailbox("bob", "Gone")).uid_validity
        await store.delete_mailbox("bob", "Gone")
    await store.compact()
    compacted = path / "journal/000002.jsonl"
    compacted.write_bytes(compacted.read_bytes().replace(b'"type":"spend_', b'"type":"spent_'))
    (path / "index.jsonl").unlink()
    async with JSONFileStore(path, create=False) as again:
        assert (await again.append_message("bob", INBOX, b"")).uid > last_uid
        assert (await again.create_mailbox("bob", "Gone")).uid_validity > last_validity


async def test_a_compacted_segment_that_is_too_short(store: JSONFileStore, path: Path) -> None:
    """It ends between two records; only the manifest says where it should end."""
    await store.compact()
    compacted = path / "journal/000002.jsonl"
    whole = compacted.read_bytes()
    ends = [end for end in range(1, len(whole)) if whole[end - 1 : end] == b"\n"]
    (path / "index.jsonl").unlink()
    for end in ends[len(ends) // 2 :: 3]:
        os.truncate(compacted, end)
        async with JSONFileStore(path, create=False) as again:
            await again.list_accounts()
            [damage] = again.damage
            assert (damage.segment, damage.offset, damage.length) == (2, end, len(whole) - end)
        compacted.write_bytes(whole)
    async with JSONFileStore(path, create=False) as again:
        await again.list_accounts()
        assert again.damage == ()


async def test_a_manifest_of_an_older_version(store: JSONFileStore, path: Path) -> None:
    """Such a manifest does not say where the compacted segment ends, and the mark of the next segment gives the end of
    another one.
    """
    await store.compact()
    before = await everything(store)
    manifest = parse((path / MANIFEST).read_bytes())
    (path / MANIFEST).write_bytes(encode_mark("manifest", store=manifest["store"], segments=manifest["segments"]))
    (path / "index.jsonl").unlink()
    async with JSONFileStore(path, create=False) as again:
        assert await everything(again) == before
        assert again.damage == ()


async def test_the_snapshot_that_it_leaves_is_used(store: JSONFileStore, path: Path) -> None:
    await store.compact()
    async with JSONFileStore(path) as again:
        await again.list_accounts()
        assert again._engine is not None
        assert again._engine.database.replica.unsaved == 0


async def test_blobs_that_nobody_needs_are_gone(store: JSONFileStore, path: Path) -> None:
    assert len(os.listdir(path / "blobs")) == 2
    await store.compact()
    assert len(os.listdir(path / "blobs")) == 1


async def test_many_blobs_that_nobody_needs(store: JSONFileStore, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "_BLOBS", 2)
    for _ in range(5):
        await store.delete_message("ann", INBOX, (await store.append_message("ann", INBOX, LARGE)).uid)
    assert len(os.listdir(path / "blobs")) == 7
    await store.compact()
    assert len(os.listdir(path / "blobs")) == 1


async def test_blobs_that_cannot_be_removed(
    store: JSONFileStore, path: Path, system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "_BLOBS", 1)

    def unlink(call: Callable[[], None], name: str) -> None:
        if len(name) == 32:
            raise OSError(errno.EACCES, "made to fail", name)
        call()

    system.hooks["unlink"] = unlink
    await store.compact()
    assert len(os.listdir(path / "blobs")) == 2
    system.work()
    await store.compact()
    assert len(os.listdir(path / "blobs")) == 1


async def test_again_and_again(store: JSONFileStore, path: Path) -> None:
    for _ in range(3):
        await store.compact()
        await deliver(store, b"more")
        await store.delete_message("ann", INBOX, (await store.list_messages("ann", INBOX))[0].uid)
        assert await reopened(path) == await everything(store)
    assert len(segments(path)) == 2


async def test_numbers_and_uids_are_not_used_again(store: JSONFileStore, path: Path) -> None:
    before = max(segments(path))
    [inbox] = [box for box in await store.list_mailboxes("ann") if box.name == INBOX]
    for each in await store.list_messages("ann", INBOX):
        await store.delete_message("ann", INBOX, each.uid)
    await store.delete_account("bob")
    await store.compact()
    assert min(segments(path)) > before
    async with JSONFileStore(path, create=False) as again:
        assert (await again.append_message("ann", INBOX, b"")).uid == inbox.uid_next
        await again.create_account("bob")
        assert [box.uid_validity for box in await again.list_mailboxes("bob")] == [5]


async def test_much_content(store: JSONFileStore, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "_BUFFER", 100)
    monkeypatch.setattr(compaction, "_UNSYNCED", 300)
    before = await everything(store)
    await store.compact()
    assert await everything(store) == await reopened(path) == before


# --- while other tasks and processes work


class Pause:
    """Stops a compaction once it has written its segment, so that the test can change the store meanwhile."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._reached = threading.Event()
        self._resumed = threading.Event()
        write = compaction.Compaction.write

        def write_and_wait(itself: compaction.Compaction) -> None:
            write(itself)
            self._reached.set()
            self._resumed.wait()

        monkeypatch.setattr(compaction.Compaction, "write", write_and_wait)

    async def reached(self) -> None:
        await trio.to_thread.run_sync(self._reached.wait)

    def resume(self) -> None:
        self._resumed.set()


@pytest.fixture
def pause(monkeypatch: pytest.MonkeyPatch) -> Pause:
    return Pause(monkeypatch)


@pytest.mark.parametrize("others", ["tasks", "processes"])
async def test_what_happens_meanwhile(store: JSONFileStore, path: Path, pause: Pause, others: str) -> None:
    async with JSONFileStore(path) as other, trio.open_nursery() as nursery:
        busy = store if others == "tasks" else other
        assert await everything(other) == await everything(store)
        nursery.start_soon(store.compact)
        await pause.reached()
        await busy.delete_message("ann", INBOX, 1)
        await busy.delete_message("bob", INBOX, 1)
        await busy.set_flags("ann", INBOX, 2, ["b"])
        await busy.move_message("ann", INBOX, 5, "Sent")
        await deliver(busy, b"new")
        await deliver(busy, LARGE)
        before = await everything(busy)
        assert await everything(store) == await everything(other) == before
        pause.resume()
    assert await everything(store) == await reopened(path) == before
    await deliver(store, b"more")
    assert await everything(store) == await reopened(path)


async def test_a_compaction_that_does_not_catch_up(
    store: JSONFileStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stops catching up after a while, and replays the rest under the lock."""
    follow, rounds = compaction.Compaction.follow, 0

    def count(self: compaction.Compaction, end: tuple[int, int]) -> int:
        nonlocal rounds
        rounds += 1
        return follow(self, end)

    monkeypatch.setattr(housekeeping, "_FEW", 0)
    monkeypatch.setattr(compaction.Compaction, "follow", count)
    before = await everything(store)
    await store.compact()
    assert rounds == 2 * housekeeping._ROUNDS + 1
    assert await everything(store) == await reopened(path) == before


async def test_who_has_looked_before_reads_after(
    store: JSONFileStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compactions happen between the look-up in the index and the read, of a message and of each page of a listing."""
    async with JSONFileStore(path) as other:
        before = await everything(other)
        run = other._run
        compactions = 3

        async def compact_first(function: Callable[[], Any]) -> Any:
            nonlocal compactions
            if compactions:
                compactions -= 1
                await store.compact()
            return await run(function)

        monkeypatch.setattr(other, "_run", compact_first)
        message = await other.get_message("ann", INBOX, 2)
        assert message.content == b"pre:Subject: 1\r\n\r\n"
        assert compactions == 0
        compactions = 2
        assert len(await other.list_messages("ann", INBOX)) == 4
        assert compactions == 0
        assert await everything(other) == before


async def test_a_message_that_goes_before_it_is_read(
    store: JSONFileStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with JSONFileStore(path) as other:
        listed = await other.list_messages("ann", INBOX)
        run = other._run

        async def delete_first(function: Callable[[], Any]) -> Any:
            monkeypatch.undo()
            await store.delete_message("ann", INBOX, 6)
            await store.compact()
            return await run(function)

        monkeypatch.setattr(other, "_run", delete_first)
        with pytest.raises(NoSuchMessage):
            await other.get_message("ann", INBOX, 6)
        assert await other.list_messages("ann", INBOX) == listed[:-1]


async def test_two_processes_do_not_compact_at_once(store: JSONFileStore, path: Path, pause: Pause) -> None:
    before = await everything(store)
    async with JSONFileStore(path) as other, trio.open_nursery() as nursery:
        nursery.start_soon(store.compact)
        await pause.reached()
        nursery.start_soon(other.compact)
        await trio.testing.wait_all_tasks_blocked()
        pause.resume()
    assert await everything(store) == await reopened(path) == before


async def test_closing_ends_a_compaction(store: JSONFileStore, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = await everything(store)
    reached, resumed = threading.Event(), threading.Event()

    def wait(line: bytes) -> bytes:
        reached.set()
        resumed.wait()
        return to_content(line)

    async def compact() -> None:
        with pytest.raises(StoreUnavailable, match="being closed"):
            await store.compact()

    assert store._engine is not None
    # `close` tells the compaction to stop, then joins this stand-in for a thread, which lets the compaction go on.
    monkeypatch.setattr(store._engine.housekeeper, "_thread", SimpleNamespace(join=resumed.set))
    monkeypatch.setattr(compaction, "to_content", wait)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(compact)
        await trio.to_thread.run_sync(reached.wait)
        nursery.start_soon(store.aclose)
    assert segments(path) == [1, 3], "what it had written is removed"
    assert await reopened(path) == before


async def test_a_compaction_that_is_cancelled_goes_on(store: JSONFileStore, path: Path, pause: Pause) -> None:
    before = await everything(store)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.compact)
        await pause.reached()
        nursery.cancel_scope.cancel()
    pause.resume()
    await store.aclose()
    assert segments(path) == [2, 3]
    assert await reopened(path) == before


# --- failures


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_every_call_fails_once(store: JSONFileStore, path: Path, system: System, after: bool) -> None:
    """Whichever call of a compaction fails, before or after its effect, the store shows the same mail."""
    before = await everything(store)
    for number in itertools.count(1):
        failure = system.fail_once(number, errno.EIO, after=after)
        try:
            await store.compact()
        except StoreUnavailable:
            assert failure.has_failed
        has_failed = failure.has_failed
        system.work()
        assert await everything(store) == before
        assert await reopened(path) == before
        await store.set_flags("ann", INBOX, 2, [f"f{number}"])
        before = await everything(store)
        if not has_failed:
            break
    await store.compact()
    assert len(segments(path)) == 2, "nothing is left of the attempts"


async def test_no_room_for_a_copy(store: JSONFileStore, path: Path, system: System) -> None:
    written = 0

    def pwrite(call: Callable[[], int], fd: int, view: memoryview, offset: int) -> int:
        nonlocal written
        written += len(view)
        if written > 1500:
            raise OSError(errno.ENOSPC, "no space")
        return call()

    system.hooks["pwrite"] = pwrite
    with pytest.raises(StoreUnavailable, match="no space"):
        await store.compact()
    system.work()
    assert segments(path) == [1, 3], "the room that it took is free again"
    assert await reopened(path) == await everything(store)


# --- damage


def damage(path: Path, old: bytes, new: bytes) -> None:
    [segment] = (path / "journal").iterdir()
    text = segment.read_bytes()
    assert text.count(old) == 1
    segment.write_bytes(text.replace(old, new))


async def test_a_damaged_message_is_left_out_and_kept(store: JSONFileStore, path: Path) -> None:
    damage(path, b'"body":"Subject: 1', b'"body":"Subject: 9')
    listed = await store.list_messages("ann", INBOX)
    await store.compact()
    assert await store.list_messages("ann", INBOX) == [each for each in listed if each.uid != 2]
    assert segments(path) == [2, 3]
    assert os.listdir(path / "quarantine") == ["000001.jsonl"]
    assert [(each.segment, each.reason) for each in store.damage] == [(1, "the checksum is wrong")]
    await store.aclose()
    async with JSONFileStore(path) as again:
        assert again.damage == store.damage, "the snapshot remembers"
        assert (await again.append_message("ann", INBOX, b"")).uid == 8


async def test_the_blob_of_a_damaged_record_is_kept(store: JSONFileStore, path: Path) -> None:
    damage(path, b'"uid":6', b'"uid":9')
    [blob] = [name for name in os.listdir(path / "blobs") if f'"name":"{name}"' in _text(path, '"uid":9')]
    await store.compact()
    assert sorted(os.listdir(path / "quarantine")) == sorted(["000001.jsonl", blob])


def _text(path: Path, word: str) -> str:
    [line] = [line for line in (path / "journal/000001.jsonl").read_text().splitlines() if word in line]
    return line


async def test_damage_that_was_found_before_is_kept(store: JSONFileStore, path: Path) -> None:
    await store.aclose()
    damage(path, b'"flags":["\\\\Seen","a"]', b'"flags":["\\\\Seem","a"]')
    async with JSONFileStore(path) as again:
        assert len(again.damage) == 1
        before = await everything(again)
        await again.compact()
        assert await everything(again) == before
    assert os.listdir(path / "quarantine") == ["000001.jsonl"]
