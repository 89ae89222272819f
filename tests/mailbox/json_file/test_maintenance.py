"""Maintenance: information about a store, compaction, checks, repairs after all kinds of damage, and quarantine."""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial as bind
from pathlib import Path

import pytest
import trio

from tests.mailbox.json_file.system import Nth, System
from trio_smtp.mailbox.json_file import JSONFileStore, housekeeping
from trio_smtp.mailbox.json_file.blobs import NewBlob
from trio_smtp.mailbox.json_file.files import Directory
from trio_smtp.mailbox.json_file.maintenance import (
    Quarantined,
    check_store,
    compact_store,
    export_quarantine,
    get_info,
    list_quarantine,
    repair_store,
)
from trio_smtp.mailbox.store import INBOX, StoreUnavailable, Target

LARGE = b"x" * 300_000
SEGMENT = "journal/000001.jsonl"


async def add(store: JSONFileStore, content: bytes) -> int:
    return (await store.append_message("ann", INBOX, content)).uid


async def filled(path: Path) -> None:
    """Create a store: ann has messages 1 to 4 (small, large, small, large), bob the last one too; 5 is deleted."""
    async with JSONFileStore(path) as store:
        await store.create_account("ann")
        await store.create_account("bob")
        for content in (b"number 1", LARGE + b"2", b"number 3"):
            await add(store, content)
        async with store.deliver([Target("ann"), Target("bob")]) as delivery:
            await delivery.write(LARGE + b"4")
            await delivery.commit()
        await store.delete_message("ann", INBOX, await add(store, b"number 5" + b"x" * 9000))


@pytest.fixture(autouse=True)
def store(path: Path) -> None:
    trio.run(filled, path)


def contents(path: Path, account: str = "ann") -> dict[int, bytes]:
    async def read() -> dict[int, bytes]:
        async with JSONFileStore(path, create=False) as store:
            return {
                each.uid: (await store.get_message(account, INBOX, each.uid)).content
                for each in await store.list_messages(account, INBOX)
            }

    return trio.run(read)


def spoil(path: Path, before: bytes, after: bytes) -> None:
    """Replace octets in the journal by the same number of others."""
    assert len(before) == len(after)
    [segment] = [file for file in (path / "journal").iterdir() if before in file.read_bytes()]
    octets = segment.read_bytes().replace(before, after)
    segment.write_bytes(octets)


def blob(path: Path, end: bytes) -> Path:
    """The blob that ends with these octets."""
    [found] = [file for file in (path / "blobs").iterdir() if file.read_bytes().endswith(end)]
    return found


def snapshot(path: Path) -> None:
    """Compact, which leaves a snapshot: later damage to the journal does not change the index."""
    compact_store(path)
    [segment, live] = sorted((path / "journal").iterdir())
    assert segment.name == "000002.jsonl"
    assert live.name == "000003.jsonl"


def files(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


# --- info


def test_info(path: Path) -> None:
    info = get_info(path)
    assert (info.accounts, info.mailboxes, info.messages) == (2, 2, 5)
    assert info.live == 16 + 3 * 300_001
    assert (info.segments, info.blobs, info.snapshot, info.damage, info.quarantined) == (1, 2, 0, 0, 0)
    assert info.octets == sum(len(octets) for name, octets in files(path).items() if "/" in name)
    assert info.dead > 8
    compact_store(path)
    info = get_info(path)
    assert (info.segments, info.snapshot) == (2, (path / "index.jsonl").stat().st_size)
    assert info.octets == sum(len(octets) for name, octets in files(path).items() if "/" in name) + info.snapshot


@pytest.mark.parametrize("function", [get_info, check_store, compact_store, list_quarantine])
def test_no_store(tmp_path: Path, function: Callable[[Path], object]) -> None:
    with pytest.raises(FileNotFoundError):
        function(tmp_path / "nothing")
    (tmp_path / "empty").mkdir(mode=0o700)
    with pytest.raises(StoreUnavailable, match="there is no store"):
        function(tmp_path / "empty")
    assert os.listdir(tmp_path / "empty") == []


# --- compaction


def test_compact(path: Path) -> None:
    before = contents(path)
    shares: list[float] = []
    octets, fewer = compact_store(path, shares.append)
    assert octets > fewer == get_info(path).octets
    assert b"number 5" not in b"".join(files(path).values())
    assert (shares, shares[-1]) == (sorted(shares), 1)
    assert contents(path) == before


# --- checks


def test_a_store_that_is_whole(path: Path) -> None:
    before = files(path)
    shares: list[float] = []
    checked = check_store(path, shares.append)
    assert (checked.messages, checked.unneeded, checked.faults) == (5, 0, [])
    assert checked.records == before[SEGMENT].count(b"\n")
    assert shares == sorted(shares)
    assert 0.99 < shares[-1] <= 1
    assert files(path) == before


def test_where_the_damage_is(path: Path) -> None:
    spoil(path, b"number 5", b"number 6")
    fault, deletion = check_store(path).faults
    assert (fault.file, fault.reason, fault.messages) == (SEGMENT, "the checksum is wrong", [])
    assert (deletion.offset, deletion.messages) == (fault.offset + fault.octets, [])
    assert "no message 5" in deletion.reason
    assert b"number 6" in (path / SEGMENT).read_bytes()[fault.offset :][: fault.octets].removesuffix(b"\n")


def test_damage_that_was_repaired_by_hand(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blob of a message is found missing, and later restored from a backup."""
    monkeypatch.setattr(housekeeping, "SAVE_ON_CLOSE", 1)
    file = blob(path, b"2")
    file.rename(path / "backup")
    with pytest.raises(StoreUnavailable):
        contents(path)
    [fault] = check_store(path).faults
    assert (fault.messages, get_info(path).damage) == ([("ann", INBOX, 2)], 1)
    (path / "backup").rename(file)
    assert check_store(path).faults == []


def test_blobs_that_nobody_needs(path: Path) -> None:
    (path / "blobs/orphan").touch()
    with closing(Directory.at(str(path / "blobs"), create=False)) as folder:
        being_written = NewBlob(folder)
        assert (check_store(path).unneeded, check_store(path).faults) == (1, [])
        being_written.discard()


def test_mail_comes_during_a_check(path: Path) -> None:
    snapshot(path)

    async def come() -> None:
        async with JSONFileStore(path) as store:
            await add(store, LARGE + b"6")

    records = check_store(path).records
    numbers = itertools.count()
    checked = check_store(path, lambda _: next(numbers) or trio.run(come))
    assert (checked.records, checked.messages, checked.faults) == (records, 5, [])
    checked = check_store(path)
    assert (checked.records, checked.messages, checked.faults) == (records + 1, 6, [])


def test_nothing_is_removed_during_a_check(path: Path) -> None:
    def advance(_: float) -> None:
        fd = os.open(path / "journal", os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(fd)

    check_store(path, advance)


# --- repairs


def cut_blob(path: Path, end: bytes) -> None:
    file = blob(path, end)
    file.write_bytes(file.read_bytes()[:-2])


def spoil_seen(path: Path, before: bytes, after: bytes) -> None:
    """Damage a record that is in the snapshot already."""
    snapshot(path)
    spoil(path, before, after)


def remove_segment(path: Path) -> None:
    snapshot(path)
    (path / "journal/000002.jsonl").unlink()


def spoil_snapshot(path: Path) -> None:
    snapshot(path)
    file = path / "index.jsonl"
    file.write_bytes(file.read_bytes().replace(b"bob", b"eve"))


DAMAGE: dict[str, tuple[Callable[[Path], object], set[int], set[int]]] = {
    # how to damage the store, the UIDs of ann that are left after a repair, and those of hers that the check names
    "message": (bind(spoil, before=b"number 3", after=b"number 7"), {1, 2, 4}, set()),
    "message that was seen": (bind(spoil_seen, before=b"number 3", after=b"number 7"), {1, 2, 4}, {3}),
    "history": (bind(spoil, before=b"number 5", after=b"number 6"), {1, 2, 3, 4}, set()),
    "account": (bind(spoil, before=b'"name":"bob"', after=b'"name":"eve"'), {1, 2, 3, 4}, set()),
    "record of a blob for two": (bind(spoil_seen, before=b'"blob":', after=b'"blub":'), {1, 3}, {2, 4}),
    "changed blob": (lambda path: blob(path, b"4").write_bytes(LARGE + b"5"), {1, 2, 3}, {4}),
    "short blob": (bind(cut_blob, end=b"2"), {1, 3, 4}, {2}),
    "missing blob": (lambda path: blob(path, b"4").unlink(), {1, 2, 3}, {4}),
    "missing segment": (remove_segment, set(), {1, 2, 3, 4}),
    "snapshot": (spoil_snapshot, {1, 2, 3, 4}, set()),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_repair(path: Path, name: str) -> None:
    whole = contents(path)
    damage, left, named = DAMAGE[name]
    damage(path)
    spoilt = files(path)
    faults = check_store(path).faults
    assert faults
    assert {uid for fault in faults for account, _, uid in fault.messages if account == "ann"} == named
    assert files(path) == spoilt, "a check changes nothing"

    moved = repair_store(path, faults)
    assert contents(path) == {uid: whole[uid] for uid in left}
    assert check_store(path).faults == []
    assert (get_info(path).damage, get_info(path).quarantined) == (0, len(moved))
    for file in moved:
        [before] = [octets for path_, octets in spoilt.items() if Path(path_).name == file.name]
        assert (path / "quarantine" / file.name).read_bytes() == before
        assert (path / "quarantine" / file.name).stat().st_mode & 0o777 == 0o600
    for fault in faults:
        if (octets := spoilt.get(fault.file)) is not None and fault.file != "index.jsonl":
            assert octets in [(path / "quarantine" / file.name).read_bytes() for file in moved]

    assert repair_store(path, []) == []
    assert list_quarantine(path) == moved

    async def go_on() -> None:
        async with JSONFileStore(path) as store:
            assert store.damage == ()
            assert await add(store, b"next") > 5

    trio.run(go_on)


@pytest.mark.parametrize("lose", [Path.unlink, lambda file: os.truncate(file, 0)], ids=["missing", "empty"])
@pytest.mark.parametrize(("number", "left"), [(2, [1, 2, 3, 4, 7]), (3, [1, 2, 3, 4, 6])])
def test_a_segment_that_nobody_has_read(
    path: Path, number: int, left: list[int], lose: Callable[[Path], object]
) -> None:
    """A server does not open the store, as its accounts may be in the missing segment. A repair goes on with what is
    left.
    """

    async def go_on() -> None:
        async with JSONFileStore(path) as store:
            assert await add(store, b"next") > 7

    async def seal() -> None:
        async with JSONFileStore(path) as store:
            assert store._engine is not None
            store._engine.writer.run(store._engine.database.begin_segment)
            assert await add(store, b"number 6") == 6
            store._engine.writer.run(store._engine.database.begin_segment)
            assert await add(store, b"number 7") == 7

    trio.run(seal)
    lose(path / f"journal/00000{number}.jsonl")
    with pytest.raises(StoreUnavailable, match=rf"00000{number}\.jsonl is missing"):
        trio.run(go_on)
    with pytest.raises(StoreUnavailable, match=rf"00000{number}\.jsonl is missing"):
        compact_store(path)
    faults = check_store(path).faults
    assert [fault.file for fault in faults] == [f"journal/00000{number}.jsonl"]
    assert get_info(path).damage == 1
    moved = repair_store(path, faults)
    assert [file.octets for file in moved] == ([] if lose is Path.unlink else [0])
    assert list(contents(path)) == left
    assert check_store(path).faults == []
    trio.run(go_on)


@pytest.mark.parametrize(
    ("spot", "left", "named"), [(b"4", {1, 2, 3}, {4}), (b"number 3", {1, 2, 4}, {3})], ids=["blob", "journal"]
)
def test_a_bad_spot_of_the_disk(path: Path, system: System, spot: bytes, left: set[int], named: set[int]) -> None:
    """What the disk cannot read (EIO) counts as damaged; an error that may pass (ENOMEM) does not."""
    whole = contents(path)
    snapshot(path)
    segment = path / "journal/000002.jsonl"
    file = segment if spot == b"number 3" else blob(path, spot)
    inode, bad = file.stat().st_ino, file.read_bytes().index(spot)

    def pread(call: Callable[[], bytes], fd: int, length: int, offset: int) -> bytes:
        if os.fstat(fd).st_ino == inode and offset <= bad < offset + length:
            raise OSError(error, os.strerror(error))
        return call()

    system.hooks["pread"] = pread
    error = errno.ENOMEM
    with pytest.raises(OSError, match="memory"):
        check_store(path)
    error = errno.EIO
    faults = check_store(path).faults
    assert {uid for fault in faults for account, _, uid in fault.messages if account == "ann"} == named
    if file == segment:
        with pytest.raises(OSError, match="Input/output error"):
            compact_store(path)
    repair_store(path, faults)
    assert contents(path) == {uid: whole[uid] for uid in left}
    assert (path / "quarantine" / file.name).exists()
    assert check_store(path).faults == []


@pytest.mark.parametrize(
    "make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/etc/passwd")], ids=["FIFO", "folder", "link"]
)
def test_a_body_that_is_no_file(path: Path, make: Callable[[Path], object]) -> None:
    needed = blob(path, b"4")
    needed.unlink()
    for file in (needed, needed.with_name("0" * 32)):  # an unneeded one, too
        make(file)
    checked = check_store(path)
    [fault] = checked.faults
    assert fault.messages == [("ann", INBOX, 4), ("bob", INBOX, 1)]
    assert fault.reason.startswith(f"{needed.name}: ")
    assert checked.unneeded == 0
    moved = [file.name for file in repair_store(path, checked.faults)]
    assert moved == ["000001.jsonl", needed.name]
    assert check_store(path).faults == []


def test_a_body_that_may_not_be_read(path: Path, system: System) -> None:
    """An administrator can cure that, so no message is given up; the error names the file."""
    closed = blob(path, b"4").name

    def open_(call: Callable[[], int], name: str, *_: int) -> int:
        if name == closed:
            raise PermissionError(errno.EACCES, "Permission denied", name)
        return call()

    system.hooks["open"] = open_
    with pytest.raises(PermissionError, match=closed):
        check_store(path)


@pytest.mark.parametrize("call", ["rename", "unlink", "fsync", "pwrite"])
def test_a_repair_that_fails_can_be_done_again(path: Path, system: System, call: str) -> None:
    """Whichever call fails, intact messages are kept, and in the end all damaged files are in quarantine."""
    spoil(path, b"number 3", b"number 7")
    cut_blob(path, b"4")
    spoilt = files(path)
    for number in itertools.count(1):
        for name in files(path):
            (path / name).unlink()
        for name, octets in spoilt.items():
            (path / name).write_bytes(octets)
        faults = check_store(path).faults
        system.hooks[call] = failure = Nth(number, errno.EIO)
        with suppress(OSError, StoreUnavailable):
            repair_store(path, faults)
        has_failed = failure.has_failed
        system.work()
        repair_store(path, check_store(path).faults)
        checked = check_store(path)
        assert (checked.messages, checked.faults) == (2, [])
        kept = [(path / "quarantine" / file.name).read_bytes() for file in list_quarantine(path)]
        assert sorted(map(len, kept)) == sorted([len(spoilt[SEGMENT]), 300_000 - 1])
        if not has_failed:
            assert number > 1
            break


async def test_a_repair_beside_a_server(path: Path) -> None:
    async with JSONFileStore(path) as server:
        assert await server.count_messages("ann", INBOX) == 4
        await trio.to_thread.run_sync(cut_blob, path, b"4")
        faults = await trio.to_thread.run_sync(lambda: check_store(path).faults)
        moved = await trio.to_thread.run_sync(repair_store, path, faults)
        assert len(moved) == 2
        assert [each.uid for each in await server.list_messages("ann", INBOX)] == [1, 2, 3]
        assert await server.count_messages("bob", INBOX) == 0
        assert await add(server, b"next") == 6
        assert (await server.get_message("ann", INBOX, 6)).content == b"next"


# --- quarantine


def test_nothing_in_quarantine(path: Path, tmp_path: Path) -> None:
    assert list_quarantine(path) == []
    assert export_quarantine(path, tmp_path / "copies") == []
    assert os.listdir(tmp_path / "copies") == []
    assert "quarantine" not in os.listdir(path)


def test_export(path: Path, tmp_path: Path) -> None:
    cut_blob(path, b"4")
    moved = repair_store(path, check_store(path).faults)
    assert export_quarantine(path, tmp_path / "copies") == moved == list_quarantine(path)
    for file in moved:
        copy = tmp_path / "copies" / file.name
        assert copy.read_bytes() == (path / "quarantine" / file.name).read_bytes()
        assert Quarantined(copy.name, copy.stat().st_size) == file
        assert copy.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        export_quarantine(path, tmp_path / "copies")
