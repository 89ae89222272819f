"""The writer: groups of changes, cancellation, and failures of each kind. test_writer_end.py has its closing."""

from __future__ import annotations

import errno
import fcntl
import itertools
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from tests.mailbox.json_file.system import Nth, System
from tests.mailbox.json_file.writing import Gate, contents, deliver, kept
from trio_smtp.mailbox.json_file import JSONFileStore, writer
from trio_smtp.mailbox.json_file.changes import OperationChange
from trio_smtp.mailbox.operations import KeepNote, SpendUidValidities
from trio_smtp.mailbox.store import (
    MailboxExists,
    NoSuchAccount,
    StoreUnavailable,
    Target,
)

# --- groups


async def test_all_that_waits_is_one_sync(store: JSONFileStore, gate: Gate, path: Path) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(deliver, store)
        await gate.entered()
        for number in range(50):
            nursery.start_soon(deliver, store, b"%d" % number)
        await trio.testing.wait_all_tasks_blocked()
        gate.open()
    assert gate.calls == 2
    assert len(await kept(path)) == 51


async def test_who_comes_alone_is_not_kept_waiting(store: JSONFileStore, system: System) -> None:
    for _ in range(3):
        before = system.count("fdatasync")
        await deliver(store)
        assert system.count("fdatasync") == before + 1


async def test_a_message_is_not_seen_before_it_is_on_disk(store: JSONFileStore, gate: Gate) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(deliver, store)
        await gate.entered()
        [inbox] = await store.list_mailboxes("ann")
        assert (inbox.messages, inbox.uid_next) == (0, 1)
        gate.open()
    [inbox] = await store.list_mailboxes("ann")
    assert (inbox.messages, inbox.uid_next) == (1, 2)


async def test_a_group_ends_with_the_first_other_change(store: JSONFileStore, gate: Gate, path: Path) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(deliver, store)
        await gate.entered()
        for name in ("a", "b"):
            nursery.start_soon(deliver, store, name.encode())
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(store.create_mailbox, "ann", name)
            await trio.testing.wait_all_tasks_blocked()
        gate.open()
    assert gate.calls == 3
    assert [box.uid_validity for box in await store.list_mailboxes("ann")] == [1, 2, 3]
    assert len(await kept(path)) == 3


async def test_notes_go_with_a_group(store: JSONFileStore, gate: Gate, path: Path) -> None:
    async def note(text: str) -> None:
        await store.put_note("key", text, expires=2**40)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(deliver, store)
        await gate.entered()
        for name in ("a", "b"):
            nursery.start_soon(note, name)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(deliver, store, name.encode())
            await trio.testing.wait_all_tasks_blocked()
        gate.open()
    assert gate.calls == 2
    assert len(await kept(path)) == 3
    async with JSONFileStore(path) as again:
        assert await again.get_note("key") == "b"


async def test_the_octets_of_a_group_are_bounded(
    store: JSONFileStore, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "GROUP_OCTETS", 1000)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(deliver, store)
        await gate.entered()
        for _ in range(6):
            nursery.start_soon(deliver, store, bytes(b"x" * 400))
        await trio.testing.wait_all_tasks_blocked()
        gate.open()
    assert gate.calls == 4


async def test_who_is_refused_does_not_keep_others_back(store: JSONFileStore, gate: Gate, path: Path) -> None:
    async def refused() -> None:
        with pytest.raises(NoSuchAccount):
            await deliver(store, account="nobody")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(deliver, store)
        await gate.entered()
        for _ in range(3):
            nursery.start_soon(refused)
            nursery.start_soon(deliver, store)
        await trio.testing.wait_all_tasks_blocked()
        gate.open()
    assert gate.calls == 2
    assert sorted(await kept(path)) == [1, 2, 3, 4]


async def test_nothing_to_store_is_not_written(store: JSONFileStore, system: System) -> None:
    before = system.count("fdatasync")
    async with store.deliver([Target("nobody"), Target("none")], partial=True) as delivery:
        results = await delivery.commit()
    assert [type(result) for result in results] == [NoSuchAccount, NoSuchAccount]
    assert system.count("fdatasync") == before


async def test_a_change_is_planned_on_top_of_the_one_before(store: JSONFileStore) -> None:
    refused = 0

    async def create() -> None:
        nonlocal refused
        try:
            await store.create_mailbox("ann", "Sent")
        except MailboxExists:
            refused += 1

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(create)
    assert refused == 4


async def test_segments(store: JSONFileStore, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "SEGMENT_OCTETS", 1000)
    for number in range(20):
        assert await deliver(store, b"x" * 100) == number + 1
    assert len(os.listdir(path / "journal")) > 3
    assert len(await kept(path)) == 20
    assert len(await contents(store)) == 20


async def test_what_is_changed_in_one_turn_of_the_loop_is_one_sync(store: JSONFileStore, system: System) -> None:
    before = system.count("fdatasync")
    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(deliver, store)
    assert system.count("fdatasync") == before + 1


# --- cancellation


async def test_who_has_only_just_come_can_withdraw(store: JSONFileStore, system: System) -> None:
    before = system.count("fdatasync")
    with trio.CancelScope() as scope:
        scope.cancel()
        await deliver(store)
    assert scope.cancelled_caught
    assert system.count("fdatasync") == before
    assert await deliver(store) == 1


async def test_who_waits_can_withdraw(store: JSONFileStore, gate: Gate, path: Path) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(deliver, store, b"first")
        await gate.entered()
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as waiting:
                waiting.start_soon(deliver, store, b"withdrawn")
                waiting.start_soon(deliver, store, b"withdrawn too")
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        assert scope.cancelled_caught
        nursery.start_soon(deliver, store, b"second")
        await trio.testing.wait_all_tasks_blocked()
        gate.open()
    assert list((await contents(store)).values()) == [b"first", b"second"]
    assert await kept(path) == await contents(store)


async def test_what_is_taken_is_waited_for(store: JSONFileStore, gate: Gate) -> None:
    delivered: list[int] = []
    scope = trio.CancelScope()

    async def cancelled() -> None:
        with scope:
            delivered.append(await deliver(store))
        assert not scope.cancelled_caught

    async with trio.open_nursery() as nursery:
        nursery.start_soon(cancelled)
        await gate.entered()
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert delivered == []
        gate.open()
    assert delivered == [1]
    assert list(await contents(store)) == [1]


async def test_all_withdraw_before_the_lock_is_there(store: JSONFileStore, system: System) -> None:
    system.hooks["flock"] = gate = Gate()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(deliver, store)
            await gate.entered()
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
    gate.open()
    assert await deliver(store) == 1


async def test_some_withdraw_while_others_are_planned(store: JSONFileStore, gate: Gate) -> None:
    """The writer reads the number of waiting changes before it takes them one by one."""
    withdraw = threading.Event()
    withdrawn = threading.Event()

    def plan(_: object) -> tuple[KeepNote, None]:
        withdraw.set()
        withdrawn.wait()
        return KeepNote("key", "text", 1, 0), None

    async with trio.open_nursery() as nursery:
        nursery.start_soon(deliver, store)
        await gate.entered()
        nursery.start_soon(store._commit, plan)
        await trio.testing.wait_all_tasks_blocked()
        async with trio.open_nursery() as waiting:
            for _ in range(3):
                waiting.start_soon(deliver, store)
            await trio.testing.wait_all_tasks_blocked()
            gate.open()
            await trio.to_thread.run_sync(withdraw.wait)
            waiting.cancel_scope.cancel()
        withdrawn.set()
    assert list(await contents(store)) == [1], "the last three are gone from the queue"


def test_a_store_outlives_the_run_that_opened_it(path: Path) -> None:
    store = JSONFileStore(path)
    trio.run(store.create_account, "ann")
    assert [trio.run(deliver, store) for _ in range(3)] == [1, 2, 3]
    trio.run(store.aclose)


def test_a_run_that_is_over_is_not_woken(path: Path) -> None:
    async def request() -> writer._Commit[None]:
        async with JSONFileStore(path) as store:
            assert store._engine is not None
            change = OperationChange(lambda _: (SpendUidValidities(1), None))
            return writer._Commit(change, store._engine.writer._turn())

    writer._wake([trio.run(request)])


# --- failures


async def test_each_of_a_failed_group_gets_its_own_exception(
    store: JSONFileStore, gate: Gate, system: System, path: Path
) -> None:
    errors: list[StoreUnavailable] = []

    async def refused() -> None:
        with pytest.raises(StoreUnavailable, match="no space") as caught:
            await deliver(store)
        errors.append(caught.value)

    async def nobody() -> None:
        with pytest.raises(NoSuchAccount):
            await deliver(store, account="nobody")

    def full(call: Callable[[], Any], fd: int, view: memoryview, offset: int) -> int:
        os.pwrite(fd, view[:100], offset)
        raise OSError(errno.ENOSPC, "no space")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(deliver, store)
        await gate.entered()
        for _ in range(3):
            nursery.start_soon(refused)
        nursery.start_soon(nobody)
        await trio.testing.wait_all_tasks_blocked()
        system.hooks["pwrite"] = full
        gate.open()
    assert len({id(error) for error in errors}) == 3
    assert {type(error.__cause__) for error in errors} == {OSError}
    system.work()
    assert await deliver(store) == 5, "the UIDs of the refused stay burnt"
    assert sorted(await kept(path)) == sorted(await contents(store)) == [1, 5]


async def test_unavailable_until_cured(store: JSONFileStore, system: System, path: Path) -> None:
    """The refused record cannot be cut off, and no new segment can be started."""

    def doubtful(call: Callable[[], Any], *_: object) -> None:
        call()
        raise OSError(errno.EIO, "written, but who knows")

    system.hooks["pwrite"] = doubtful
    system.fail("ftruncate", errno.EIO, times=1000)
    for _ in range(3):
        with pytest.raises(StoreUnavailable, match=r"who knows|made to fail"):
            await deliver(store)
        assert await contents(store) == {}, "looking still works"
    system.work()
    uid = await deliver(store)
    assert list(await contents(store)) == list(await kept(path)) == [uid]


async def test_others_must_wait_until_cured(store: JSONFileStore, system: System, path: Path) -> None:
    """Other processes would read the refused record, and write behind it."""
    system.fail("fdatasync", errno.EIO, times=1000)
    system.fail("ftruncate", errno.EIO, times=1000)
    system.fail("rename", errno.EIO, times=1000)
    with pytest.raises(StoreUnavailable):
        await deliver(store)
    fd = os.open(path / "lock", os.O_RDWR)
    try:
        with pytest.raises(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        system.work()
        await deliver(store)
        fcntl.flock(fd, fcntl.LOCK_SH)
    finally:
        os.close(fd)


async def test_it_is_tried_again_without_being_asked(
    store: JSONFileStore, system: System, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "RETRY", 0.001)
    cured = threading.Event()
    system.fail("fdatasync", errno.EIO)
    system.fail("rename", errno.EIO, times=1000)
    failures = iter(range(5))

    def truncate(call: Callable[[], Any], *_: object) -> None:
        if next(failures, None) is not None:
            raise OSError(errno.EIO, "made to fail")
        call()
        cured.set()

    system.hooks["ftruncate"] = truncate
    with pytest.raises(StoreUnavailable):
        await deliver(store)
    await trio.to_thread.run_sync(cured.wait)
    assert await kept(path) == {}


async def test_closing_while_nothing_helps(path: Path, system: System, caplog: pytest.LogCaptureFixture) -> None:
    def after_group() -> None:
        raise AssertionError("what is in the journal is not known")

    async with JSONFileStore(path) as store:
        await store.create_account("ann")
        assert store._engine is not None
        store._engine.writer.after_group = after_group
        system.fail("pwrite", errno.EIO, times=1000)
        system.fail("ftruncate", errno.EIO, times=1000)
        with pytest.raises(StoreUnavailable):
            await deliver(store)
    system.work()
    assert await kept(path) == {}
    assert not caplog.records


async def test_who_comes_after_a_record_that_could_not_be_undone(path: Path, system: System) -> None:
    """The refused record is complete, so it counts for the next process, which must sync it before it shows it."""
    async with JSONFileStore(path) as store:
        await store.create_account("ann")
        system.fail("fdatasync", errno.EIO)
        system.fail("ftruncate", errno.EIO, times=1000)
        system.fail("fsync", errno.EIO, times=1000)
        with pytest.raises(StoreUnavailable):
            await deliver(store, b"refused")
    system.work()
    system.calls.clear()
    assert await kept(path) == {1: b"refused"}
    assert system.count("fdatasync") == 1


@pytest.mark.parametrize("error", [OSError(errno.ENOLCK, "made to fail"), ZeroDivisionError("made to fail")])
async def test_a_lock_that_cannot_be_had(store: JSONFileStore, system: System, error: Exception) -> None:
    failures = [error]

    def fail_once(call: Callable[[], Any], fd: int, operation: int) -> Any:
        if failures and operation != fcntl.LOCK_UN:  # the change before may still have to unlock
            raise failures.pop()
        return call()

    system.hooks["flock"] = fail_once
    with pytest.raises(StoreUnavailable, match="made to fail"):
        await deliver(store)
    assert await deliver(store) == 1


async def test_a_fault_behind_one_group_does_not_hurt_the_next(
    store: JSONFileStore, gate: Gate, system: System, path: Path
) -> None:
    """Removing the mark of a writer at work fails, while the next change waits already."""
    failures = [errno.EIO]

    def fail_once(call: Callable[[], Any], *args: Any) -> Any:
        match args:
            case (_, memoryview() as data, _) if failures and bytes(data[:1]) == b"-":
                raise OSError(failures.pop(), "made to fail")
        return call()

    system.default = fail_once
    async with trio.open_nursery() as nursery:
        nursery.start_soon(deliver, store)
        await gate.entered()
        nursery.start_soon(deliver, store)
        await trio.testing.wait_all_tasks_blocked()
        gate.open()
    assert not failures
    assert len(await kept(path)) == 2


async def test_a_segment_that_cannot_be_begun(
    store: JSONFileStore, system: System, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "SEGMENT_OCTETS", 1)
    system.hooks["rename"] = Nth(1, errno.EIO)
    with pytest.raises(StoreUnavailable, match="made to fail"):
        await deliver(store)
    assert await deliver(store) == 1
    assert list(await kept(path)) == [1]


@pytest.mark.parametrize("error", [RuntimeError, MemoryError])
async def test_no_thread_to_be_had(path: Path, error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_: threading.Thread) -> None:
        raise error("can't start new thread")

    async with JSONFileStore(path) as store:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", start)
            engine = store._engine
            assert engine is not None
            with pytest.raises(StoreUnavailable, match="can't start"):
                await store.create_account("ann")
        await store.create_account("ann")


async def test_no_memory_to_wait_with(store: JSONFileStore, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert store._engine is not None
    wait, waits = store._engine.writer._wait, itertools.count()

    def fail_at_first(seconds: float | None = None) -> bool:
        if next(waits) < 2:
            raise MemoryError
        return wait(seconds)

    monkeypatch.setattr(writer, "RETRY", 0)
    monkeypatch.setattr(store._engine.writer, "_wait", fail_at_first)
    assert [await deliver(store), await deliver(store)] == [1, 2]
    assert next(waits) > 2
    assert list(await kept(path)) == [1, 2]


async def test_what_is_in_the_journal_counts(
    store: JSONFileStore, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A bug, or a lack of memory, strikes when the record is on disk already."""

    def apply(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr("trio_smtp.mailbox.json_file.replica.Replica.apply", apply)
        assert await deliver(store) == 1
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert await contents(store) == await kept(path) == {1: b"x"}


async def test_memory_runs_out_behind_the_write(store: JSONFileStore, path: Path, system: System) -> None:
    def fdatasync(*_: object) -> None:
        raise MemoryError

    system.hooks["fdatasync"] = fdatasync
    with pytest.raises(StoreUnavailable, match="MemoryError"):
        await deliver(store)
    system.work()
    assert await contents(store) == await kept(path) == {}


async def test_memory_runs_out_behind_the_write_and_while_that_is_undone(
    store: JSONFileStore, path: Path, system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fdatasync(*_: object) -> None:
        raise MemoryError

    attempts = itertools.count()

    def ftruncate(call: Callable[[], None], *_: object) -> None:
        if next(attempts) < 3:
            raise MemoryError
        call()

    monkeypatch.setattr(writer, "RETRY", 0)
    system.hooks.update(fdatasync=fdatasync, ftruncate=ftruncate)
    with pytest.raises(StoreUnavailable, match="MemoryError"):
        await deliver(store)
    del system.hooks["fdatasync"]
    assert await contents(store) == await kept(path) == {}
    assert next(attempts) > 3


async def test_nobody_is_told_that_what_was_never_written_is_safe(
    store: JSONFileStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever prevents a planned group from being written."""

    def append(*_: object) -> None:
        raise StoreUnavailable("it is gone")

    with monkeypatch.context() as patch:
        patch.setattr("trio_smtp.mailbox.json_file.journal.Journal.append", append)
        with pytest.raises(StoreUnavailable, match="it is gone"):
            await deliver(store)
    assert await contents(store) == await kept(path) == {}
    await deliver(store)
    assert len(await kept(path)) == 1


async def test_a_bug_behind_a_group_changes_nothing_for_it(
    store: JSONFileStore, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def after_group() -> None:
        raise ZeroDivisionError("a bug")

    assert store._engine is not None
    monkeypatch.setattr(store._engine.writer, "after_group", after_group)
    assert [await deliver(store), await deliver(store)] == [1, 2]
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2
    assert list(await kept(path)) == [1, 2]


async def test_a_change_that_cannot_be_planned_hurts_nobody_else(store: JSONFileStore) -> None:
    def plan(_: object) -> tuple[SpendUidValidities, None]:
        raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError):
        await store._commit(plan)
    assert await deliver(store) == 1
