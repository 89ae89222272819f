"""Snapshots: when one is used on opening, and when the journal is read instead."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from trio_smtp.mailbox.json_file.database import Database
from trio_smtp.mailbox.json_file.journal import Journal
from trio_smtp.mailbox.json_file.records import Place, encode, encode_mark, parse
from trio_smtp.mailbox.json_file.replica import Damage
from trio_smtp.mailbox.json_file.snapshot import SNAPSHOT, Snapshot, load_snapshot, position
from trio_smtp.mailbox.operations import (
    AddMessages,
    CreateAccount,
    CreateMailbox,
    NewMessage,
    Operation,
    SetReadOnly,
    SpendUids,
)
from trio_smtp.mailbox.store import INBOX

MARK = 10**9  # dead octets that only the snapshot claims, so that the tests see whether it was used

HISTORY: list[Operation[Place]] = [
    CreateAccount("ann", "Ann", ("ann@x",), "hash", 1000, 1),
    CreateAccount("bob", "", (), None, None, 2),
    CreateMailbox("ann", "Sent", 3),
    AddMessages(
        [NewMessage("ann", INBOX, uid, frozenset({"a"}), uid, 10, Place(1, uid, 3, 4, None)) for uid in (1, 5)]
    ),
    AddMessages([NewMessage("ann", "Sent", 2, frozenset(), 0, 10, Place(1, 2, 3, 4, "blob"))]),
    SpendUids("bob", INBOX, 9),
    SetReadOnly("ann", "Sent", True),
]


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    """A store with some history and a snapshot of it."""
    with closing(Database(str(path), create=True)) as database:
        write(database, *HISTORY)
        database.replica.dead = MARK
        database.replica.damage = [Damage(1, 2, 3, "reason")]
        Snapshot.take(database.replica, database.journal).write(database.root)
        yield database


def write(database: Database, *operations: Operation[Place]) -> None:
    with database.exclusive():
        for operation in operations:
            line = encode(operation)
            database.journal.append([line])
            database.replica.apply(operation, len(line))


def dump(database: Database) -> list[Operation[Place]]:
    return list(database.replica.index.dump())


@pytest.fixture
def reopen(path: Path) -> Iterator[Callable[[], Database]]:
    opened: list[Database] = []

    def reopen() -> Database:
        opened.append(Database(str(path), create=False))
        return opened[-1]

    yield reopen
    for database in opened:
        database.close()


def was_used(database: Database) -> bool:
    return database.replica.dead >= MARK


def test_a_snapshot_is_used(database: Database, reopen: Callable[[], Database]) -> None:
    again = reopen()
    assert was_used(again)
    assert dump(again) == dump(database)
    assert again.replica.damage == [Damage(1, 2, 3, "reason")]
    assert again.replica.unsaved == 0
    assert again.is_current()


def test_what_came_after_it(database: Database, reopen: Callable[[], Database]) -> None:
    write(database, CreateMailbox("bob", "Sent", 4))
    again = reopen()
    assert was_used(again)
    assert dump(again) == dump(database)
    with database.exclusive():
        database.begin_segment()
    write(database, CreateMailbox("bob", "More", 5))
    again = reopen()
    assert was_used(again)
    assert dump(again) == dump(database)


def test_a_position_with_records_behind_it(database: Database) -> None:
    before = position(database.journal)
    write(database, CreateMailbox("bob", "Sent", 4))
    with closing(Journal(database.root, database.segments)) as journal:
        journal.seek(before.segment, before.last, before.end)
        assert position(journal) == before


def change_head(path: Path, **changes: object) -> None:
    head, newline, rest = (path / SNAPSHOT).read_bytes().partition(b"\n")
    members = {**parse(head + newline), **changes}
    del members["v"], members["crc"], members["type"]
    (path / SNAPSHOT).write_bytes(encode_mark("snapshot", **members) + rest)


@pytest.mark.parametrize(
    "changes",
    [
        {"store": "other"},
        {"segments": [2]},
        {"segments": [1, 2]},
        {"segments": []},
        {"segments": "1"},
        {"position": [1, 0]},
        {"position": [1, 0, 0, 0]},
        {"position": [9, 0, 10, 0]},
        {"dead": -1},
        {"damage": [[1]]},
        {"damage": [[1, 2, 3, 4]]},
    ],
    ids=repr,
)
def test_a_snapshot_that_does_not_fit(
    database: Database, path: Path, reopen: Callable[[], Database], changes: dict[str, object]
) -> None:
    change_head(path, **changes)
    again = reopen()
    assert not was_used(again)
    assert dump(again) == dump(database)


def test_the_checksum_of_the_last_record(database: Database, path: Path, reopen: Callable[[], Database]) -> None:
    """The journal was restored from an older copy: other records are at the position that the snapshot names."""
    segment = path / "journal/000001.jsonl"
    whole = segment.read_bytes()
    line = encode(HISTORY[-1])
    segment.write_bytes(whole.replace(line, encode(SetReadOnly("ann", "Tnes", True))))
    assert not was_used(reopen())


def test_any_part_of_a_snapshot(database: Database, path: Path, reopen: Callable[[], Database]) -> None:
    whole = (path / SNAPSHOT).read_bytes()
    for end in range(0, len(whole), 7):
        (path / SNAPSHOT).write_bytes(whole[:end])
        again = reopen()
        assert not was_used(again)
        assert dump(again) == dump(database)


@pytest.mark.parametrize("text", [b"\n", b"[" * 100_000, b"\xff\n", encode_mark("snapshot")])
def test_garbage(
    database: Database, path: Path, reopen: Callable[[], Database], caplog: pytest.LogCaptureFixture, text: bytes
) -> None:
    (path / SNAPSHOT).write_bytes(text)
    assert not was_used(reopen())
    assert "of no use" in caplog.text


@pytest.mark.parametrize("extra", [encode(HISTORY[0]), encode_mark("segment"), encode_mark("unknown")])
def test_operations_that_do_not_fit(
    database: Database, path: Path, reopen: Callable[[], Database], extra: bytes
) -> None:
    whole, end = (path / SNAPSHOT).read_bytes(), encode_mark("end")
    (path / SNAPSHOT).write_bytes(whole + extra)
    assert was_used(reopen()), "what follows is not looked at"
    (path / SNAPSHOT).write_bytes(whole.removesuffix(end) + extra + end)
    assert was_used(reopen()) is (extra == encode_mark("segment"))


def test_no_snapshot(database: Database, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (path / SNAPSHOT).unlink()
    assert load_snapshot(database.root, database.journal) is None
    assert not caplog.records


def test_a_planted_snapshot(database: Database, path: Path, reopen: Callable[[], Database]) -> None:
    (path / SNAPSHOT).rename(path / "elsewhere")
    (path / SNAPSHOT).symlink_to(path / "elsewhere")
    assert not was_used(reopen())
