"""`Database`: opening a store, several processes on one store, UIDs after damage, and reading contents."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from tests.mailbox.json_file.system import Nth, System
from trio_smtp.mailbox.json_file import database as database_module
from trio_smtp.mailbox.json_file.blobs import NewBlob
from trio_smtp.mailbox.json_file.database import Database
from trio_smtp.mailbox.json_file.files import Directory
from trio_smtp.mailbox.json_file.journal import MANIFEST, has_records
from trio_smtp.mailbox.json_file.records import (
    BlobInfo,
    Place,
    encode,
    encode_blob,
    encode_body,
    encode_delivery,
    encode_mark,
)
from trio_smtp.mailbox.json_file.replica import Replica
from trio_smtp.mailbox.json_file.snapshot import Snapshot, load_snapshot
from trio_smtp.mailbox.json_file.values import RecordError
from trio_smtp.mailbox.operations import CreateAccount, NewMessage, Operation
from trio_smtp.mailbox.state import Box
from trio_smtp.mailbox.store import INBOX, StoreUnavailable


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    with closing(Database(str(path), create=True)) as database:
        yield database


def write(database: Database, operation: Operation[Place]) -> None:
    line = encode(operation)
    with database.exclusive():
        database.journal.append([line])
        database.replica.apply(operation, len(line))


def account(name: str) -> CreateAccount:
    return CreateAccount(name, "", (), None, None, 1)


def names(database: Database) -> list[str]:
    return [account.name for account in database.replica.index.accounts()]


# --- opening


def test_a_new_store(database: Database, path: Path) -> None:
    assert sorted(os.listdir(path)) == ["blobs", "gate", "journal", "lock", MANIFEST]
    for folder, _, files in os.walk(path):
        assert Path(folder).stat().st_mode & 0o777 == 0o700
        assert all((Path(folder) / file).stat().st_mode & 0o777 == 0o600 for file in files)
    assert database.is_current()


def test_open_again(database: Database, path: Path) -> None:
    write(database, account("ann"))
    with closing(Database(str(path), create=False)) as again:
        assert names(again) == ["ann"]
        assert again.is_current()


def test_an_empty_directory_becomes_a_store(path: Path) -> None:
    path.mkdir(mode=0o700)
    Database(str(path), create=True).close()
    assert MANIFEST in os.listdir(path)


def test_a_store_that_was_not_finished(path: Path, system: System) -> None:
    system.fail("rename", errno.EIO)
    with pytest.raises(OSError, match="made to fail"):
        Database(str(path), create=True)
    assert MANIFEST not in os.listdir(path)
    with closing(Database(str(path), create=True)) as database:
        write(database, account("ann"))


def test_no_store_and_none_wanted(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Database(str(path), create=False)
    assert not path.exists()
    path.mkdir(mode=0o700)
    with pytest.raises(StoreUnavailable, match="there is no store"):
        Database(str(path), create=False)
    assert os.listdir(path) == []


@pytest.mark.parametrize("create", [False, True])
@pytest.mark.parametrize("has_journal", [True, False])
def test_a_store_that_has_lost_its_manifest(path: Path, has_journal: bool, create: bool) -> None:
    """No new store may be created over it, however little is left."""
    with closing(Database(str(path), create=True)) as database:
        write(database, account("ann"))
        NewBlob(database.blobs).release()
    (path / MANIFEST).unlink()
    left = [path / "blobs", path / "journal"][: 1 + has_journal]
    if not has_journal:
        shutil.rmtree(path / "journal")
    before = {file: file.read_bytes() for folder in left for file in folder.iterdir()}
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match=r"mail but no manifest\.json; restore the store from a backup"):
            Database(str(path), create=create)
    assert {file: file.read_bytes() for folder in left for file in folder.iterdir()} == before
    assert not (path / MANIFEST).exists()


def test_a_store_that_another_process_makes_meanwhile(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(Database(str(path), create=True)) as database:
        write(database, account("ann"))
    (path / MANIFEST).rename(path / "journal" / MANIFEST)

    def look(folder: Directory) -> bool:
        (path / "journal" / MANIFEST).rename(path / MANIFEST)
        return has_records(folder)

    monkeypatch.setattr(database_module, "has_records", look)
    with closing(Database(str(path), create=True)) as database:
        assert names(database) == ["ann"]


def test_a_store_that_was_begun_is_none(path: Path) -> None:
    (path / "journal").mkdir(0o700, parents=True)
    path.chmod(0o700)
    (path / "journal" / "000001.jsonl").write_bytes(encode_mark("segment", number=1, previous=0, previous_end=0))
    (path / "journal" / "notes").write_text("two\nlines\n")
    with pytest.raises(StoreUnavailable, match="there is no store"):
        Database(str(path), create=False)


def test_something_else_is_there(path: Path) -> None:
    path.mkdir(mode=0o700)
    (path / "letter.txt").touch()
    with pytest.raises(StoreUnavailable, match="not empty and contains no store"):
        Database(str(path), create=True)
    assert os.listdir(path) == ["letter.txt"]


def test_a_file_is_there(path: Path) -> None:
    path.touch()
    with pytest.raises(NotADirectoryError):
        Database(str(path), create=True)


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777])
def test_others_may_write(path: Path, mode: int) -> None:
    Database(str(path), create=True).close()
    path.chmod(mode)
    with pytest.raises(StoreUnavailable, match="other users"):
        Database(str(path), create=True)


@pytest.mark.parametrize("mode", [0o750, 0o755])
def test_others_may_read(path: Path, mode: int) -> None:
    path.mkdir()
    path.chmod(mode)
    with closing(Database(str(path), create=True)) as database:
        write(database, account("ann"))
    assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.parametrize("name", ["gate", "lock", "journal", "blobs"])
def test_what_is_planted(path: Path, tmp_path: Path, name: str) -> None:
    target = tmp_path / "target"
    target.mkdir()
    path.mkdir(mode=0o700)
    (path / name).symlink_to(target)
    with pytest.raises(OSError, match=name):
        Database(str(path), create=True)
    assert os.listdir(target) == []


def test_two_at_once_make_one_store(path: Path, system: System, opened: ExitStack) -> None:
    def listdir(call: Callable[[], list[str]], *_: object) -> list[str]:
        """A second process creates the store while the first one looks."""
        names = call()
        system.work()
        opened.enter_context(closing(Database(str(path), create=True)))
        return names

    path.mkdir(mode=0o700)
    system.hooks["listdir"] = listdir
    first = opened.enter_context(closing(Database(str(path), create=True)))
    assert first.journal.manifest.segments == (1,)
    write(first, account("ann"))


def test_every_call_of_opening_fails_once(path: Path, system: System) -> None:
    with closing(Database(str(path), create=True)) as database:
        write(database, account("ann"))
        Snapshot.take(database.replica, database.journal).write(database.root)
    descriptors = len(os.listdir("/proc/self/fd"))
    for number in itertools.count(1):
        system.default = failure = Nth(number, errno.EIO)
        try:
            with closing(Database(str(path), create=False)) as database:
                assert names(database) == ["ann"]
        except OSError:
            assert failure.has_failed
        assert len(os.listdir("/proc/self/fd")) == descriptors
        if not failure.has_failed:
            return


# --- several processes


@pytest.fixture
def other(database: Database, path: Path) -> Iterator[Database]:
    with closing(Database(str(path), create=False)) as other:
        yield other


def test_what_one_writes_the_other_sees(database: Database, other: Database) -> None:
    write(database, account("ann"))
    assert not other.is_current()
    assert names(other) == []
    other.refresh()
    assert other.is_current()
    assert names(other) == ["ann"]
    write(other, account("bob"))
    write(database, account("carl"))
    other.refresh()
    assert names(other) == names(database) == ["ann", "bob", "carl"]


def test_who_writes_is_current(database: Database) -> None:
    with database.exclusive():
        database.journal.append([encode(account("ann"))])
        assert database.is_current()


def test_no_lock_is_taken_when_nothing_has_changed(database: Database, system: System) -> None:
    database.refresh()
    assert system.calls == ["stat", "stat"]


def test_segments_of_others(database: Database, other: Database) -> None:
    write(database, account("ann"))
    with database.exclusive():
        database.begin_segment()
        assert database.is_current()
    write(database, account("bob"))
    write(other, account("carl"))
    assert names(other) == ["ann", "bob", "carl"]
    replica = other.replica
    database.refresh()
    assert names(database) == ["ann", "bob", "carl"]
    assert other.replica is replica, "nothing was read twice"


def replace_everything(database: Database) -> None:
    """Replace the segments by new ones with the same content, as a compaction does."""
    with database.exclusive():
        database.begin_segment()
        operations = list(database.replica.index.dump())
        database.journal.append([encode(operation) for operation in operations])
        database.journal.publish(database.journal.manifest._replace(segments=database.journal.manifest.segments[-1:]))


def test_a_journal_that_others_have_replaced(database: Database, other: Database) -> None:
    write(database, account("ann"))
    other.refresh()
    replica = other.replica
    replace_everything(database)
    other.refresh()
    assert other.replica is not replica
    assert names(other) == ["ann"]
    database.refresh()
    assert names(database) == ["ann"]


def test_nobody_waits_while_it_is_read(
    database: Database, other: Database, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writers need not wait while a process reads the journal to open a store, or after a compaction by another one."""
    write(database, account("ann"))
    replace_everything(database)
    database.refresh()
    begins: list[str] = []

    def load(*arguments: Any) -> Replica | None:
        write(database, account(f"new{len(begins)}"))  # needs the lock
        begins.append("read")
        return load_snapshot(*arguments)

    monkeypatch.setattr("trio_smtp.mailbox.json_file.database.load_snapshot", load)
    other.refresh()
    with closing(Database(str(path), create=False)) as third:
        assert names(third) == ["ann", "new0", "new1"]
    assert names(other) == ["ann", "new0"]
    assert len(begins) == 2


def test_a_compaction_comes_between(database: Database, other: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read before the lock was taken is out of date then."""
    write(database, account("ann"))
    replace_everything(database)

    def load(*arguments: Any) -> Replica | None:
        monkeypatch.undo()
        replica = load_snapshot(*arguments)
        replace_everything(database)
        return replica

    monkeypatch.setattr("trio_smtp.mailbox.json_file.database.load_snapshot", load)
    other.refresh()
    assert names(other) == ["ann"]
    write(other, account("bob"))
    database.refresh()
    assert names(database) == ["ann", "bob"]


def test_a_torn_record_behind_what_others_have_replaced(database: Database, other: Database, path: Path) -> None:
    write(database, account("ann"))
    replace_everything(database)
    with (path / "journal/000002.jsonl").open("ab") as file:
        file.write(encode(account("bob"))[:-1])
    other.refresh()
    assert names(other) == ["ann"]
    write(other, account("carl"))
    database.refresh()
    assert names(database) == ["ann", "carl"]


def test_a_journal_that_cannot_be_read_again(database: Database, other: Database, system: System) -> None:
    write(database, account("ann"))
    other.refresh()
    replica = other.replica
    replace_everything(database)
    for number in itertools.count(1):
        system.hooks["pread"] = failure = Nth(number, errno.EIO)
        try:
            other.refresh()
        except OSError:
            assert other.replica is replica, "nobody sees half of it"
            assert not other.is_current()
        if not failure.has_failed:
            break
    assert names(other) == ["ann"]


def test_who_has_caught_up_knows_when(database: Database, other: Database) -> None:
    """As a server does at each RCPT and each message while another process writes, too."""
    for catch_up, name in ((other.refresh, "ann"), (lambda: write(other, account("cid")), "bob")):
        before = other.caught_up
        write(database, account(name))
        catch_up()
        assert other.caught_up > before


def test_forget(database: Database) -> None:
    write(database, account("ann"))
    replica = database.replica
    database.forget()
    assert not database.is_current()
    assert database.caught_up < 0, "it has never been current"
    database.refresh()
    assert names(database) == ["ann"]
    assert database.replica is not replica


# --- UIDs that must not be given again


@pytest.fixture
def ann(database: Database) -> Database:
    """A store with ann, who has one message."""
    write(database, account("ann"))
    deliver(database, 1)
    return database


def deliver(database: Database, uid: int, content: bytes | None = None, prefix: bytes = b"") -> Place:
    """Write the record of a delivery, and return the place of its content."""
    with database.exclusive():
        line = delivery(uid, prefix, content)
        offset = database.journal.end
        database.journal.append([line])
        database.replica.replay(1, offset, line)
    return database.replica.index.message("ann", INBOX, uid)[1]


def delivery(uid: int, prefix: bytes = b"", content: bytes | None = None) -> bytes:
    message = NewMessage("ann", INBOX, uid, frozenset[str](), 0, 10, Place(0, 0, 0, 0, None))
    return encode_delivery([message], [prefix], encode_body(b"0123456789") if content is None else content)


def uid_next(database: Database) -> int:
    return database.replica.index.mailbox("ann", INBOX).uid_next


def test_a_torn_record(ann: Database, other: Database, path: Path) -> None:
    with (path / "journal/000001.jsonl").open("ab") as file:
        file.write(delivery(2)[:-1])
    other.refresh()
    assert uid_next(other) == 2
    with other.exclusive():
        assert uid_next(other) == 4
    with ann.exclusive():
        assert uid_next(ann) == 2, "nobody has ever seen it"


def test_damage(ann: Database, path: Path) -> None:
    deliver(ann, 2)
    segment = path / "journal/000001.jsonl"
    segment.write_bytes(segment.read_bytes().replace(b'"uid":2', b'"uid":9'))
    with closing(Database(str(path), create=False)) as again:
        [damage] = again.replica.damage
        assert (damage.segment, damage.reason) == (1, "the checksum is wrong")
        assert again.replica.index.mailbox("ann", INBOX).messages == 1
        assert uid_next(again) >= 3


@pytest.mark.parametrize("spare", [True, False], ids=["zeros", "nothing"])
def test_damage_in_many_records_at_once(ann: Database, path: Path, spare: bool) -> None:
    """A bad disk page destroys newlines, too; if a file is cut short, nothing tells how many records are missing."""
    end = ann.journal.end
    for uid in range(2, 50):
        deliver(ann, uid)
    last = ann.journal.last
    if not spare:
        with ann.exclusive():
            ann.begin_segment()
    segment = path / "journal/000001.jsonl"
    octets = segment.read_bytes()
    segment.write_bytes(octets[:end] + (bytes(last - end) + octets[last:] if spare else b""))
    with closing(Database(str(path), create=False)) as again:
        assert again.replica.index.mailbox("ann", INBOX).messages == 1
        assert uid_next(again) >= 50


def test_damage_in_front_of_what_cannot_be_read_now(ann: Database, other: Database, system: System) -> None:
    other.refresh()
    with ann.exclusive():
        ann.journal.append([delivery(2).replace(b'"uid":2', b'"uid":9')])
        ann.begin_segment()
    mark = ann.journal.end

    def pread(call: Callable[[], bytes], _: int, length: int, __: int) -> bytes:
        if length == mark:
            raise OSError(errno.EIO, "made to fail")
        return call()

    system.hooks["pread"] = pread
    with pytest.raises(OSError, match="made to fail"):
        other.refresh()
    system.work()
    other.refresh()
    assert uid_next(other) >= 3


def test_memory_runs_out_in_the_middle_of_a_change(
    ann: Database, other: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def add(box: Box[Place], uid: int, *_: object) -> None:
        box.uids.append(uid)
        raise MemoryError

    other.refresh()
    deliver(ann, 2)
    for use in (other.refresh, other.exclusive().__enter__):
        with monkeypatch.context() as patch, pytest.raises(MemoryError):
            patch.setattr(Box, "add", add)
            use()
        assert not other.is_current()
    other.refresh()
    assert [info.uid for info, _ in other.replica.index.messages("ann", INBOX)] == [1, 2]
    assert other.replica.damage == []


def test_closing_waits_for_the_lock_first(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread may hold it, for example to refresh, and close a manifest that another process has replaced."""
    database = Database(str(path), create=True)
    close_lock, was_current = database._lock.close, list[bool]()

    def close() -> None:
        was_current.append(database.is_current())  # which needs all other files
        close_lock()

    monkeypatch.setattr(database._lock, "close", close)
    database.close()
    assert was_current == [True]


# --- content


@pytest.mark.parametrize("limit", [None, 0, 3, 4, 9, 14, 99])
def test_read(ann: Database, limit: int | None) -> None:
    place = deliver(ann, 2, prefix=b"pre:")
    assert ann.read(place, limit) == b"pre:0123456789"[:limit]


@pytest.mark.parametrize("limit", [None, 0, 3, 4, 9, 14, 99])
def test_read_a_blob(ann: Database, limit: int | None) -> None:
    blob = NewBlob(ann.blobs)
    blob.write(b"0123456789")
    place = deliver(ann, 2, encode_blob(blob.seal()), b"pre:")
    blob.release()
    assert ann.read(place, limit) == b"pre:0123456789"[:limit]


def test_what_is_read_is_checked(ann: Database, path: Path) -> None:
    place = deliver(ann, 2)
    segment = path / "journal/000001.jsonl"
    segment.write_bytes(segment.read_bytes().replace(b"0123456789", b"0123456780"))
    with pytest.raises(RecordError):
        ann.read(place, None)
    with pytest.raises(RecordError):
        ann.read(place._replace(length=place.length + 100), None)


def test_what_is_not_there(ann: Database) -> None:
    with pytest.raises(FileNotFoundError):
        ann.read(Place(77, 0, 10, 0, None), None)
    place = deliver(ann, 2, encode_blob(BlobInfo("none", 10, "00000000")))
    with pytest.raises(FileNotFoundError):
        ann.read(place, None)


def test_quarantine(database: Database, path: Path) -> None:
    blob = NewBlob(database.blobs)
    blob.release()
    [name] = database.blobs.names()
    database.quarantine(database.blobs, name)
    assert database.blobs.names() == []
    assert os.listdir(path / "quarantine") == [name]
    for _ in range(2):  # the administrator has restored it, and it is damaged again
        (path / "blobs" / name).write_bytes(b"x")
        database.quarantine(database.blobs, name)
    assert sorted(os.listdir(path / "quarantine")) == [name, f"{name}.1", f"{name}.2"]
