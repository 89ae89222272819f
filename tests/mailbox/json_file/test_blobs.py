"""Blobs: writing, reading and damage, removing those that no record names, and races for their locks."""

from __future__ import annotations

import errno
import os
import stat
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.mailbox.json_file.system import System
from trio_smtp.mailbox.json_file import files
from trio_smtp.mailbox.json_file.blobs import NewBlob, old_blobs, read_blob
from trio_smtp.mailbox.json_file.records import BlobInfo
from trio_smtp.mailbox.json_file.values import RecordError


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[files.Directory]:
    folder = files.Directory.at(str(tmp_path / "blobs"), create=True)
    yield folder
    folder.close()


def made(folder: files.Directory, *pieces: bytes) -> BlobInfo:
    blob = NewBlob(folder)
    for piece in pieces:
        blob.write(piece)
    info = blob.seal()
    blob.release()
    return info


def test_write_and_read(folder: files.Directory, tmp_path: Path) -> None:
    info = made(folder, b"one ", b"", b"two")
    assert info == BlobInfo(folder.names()[0], 7, f"{zlib.crc32(b'one two'):08x}")
    assert (tmp_path / "blobs" / info.name).read_bytes() == b"one two"
    assert stat.S_IMODE((tmp_path / "blobs" / info.name).stat().st_mode) == 0o600
    for limit, text in ((None, b"one two"), (0, b""), (3, b"one"), (99, b"one two")):
        assert read_blob(folder, info, limit) == text


def test_it_is_on_disk_before_it_is_named(folder: files.Directory, system: System) -> None:
    made(folder, b"x")
    assert [call for call in system.calls if call in ("pwrite", "fsync")] == ["pwrite", "fsync", "fsync"]


def test_a_write_that_failed_can_be_tried_again(folder: files.Directory, system: System) -> None:
    blob = NewBlob(folder)
    blob.write(b"one ")
    system.fail("pwrite", errno.ENOSPC)
    with pytest.raises(OSError, match="made to fail"):
        blob.write(b"two")
    blob.write(b"two")
    assert read_blob(folder, blob.seal(), None) == b"one two"
    blob.release()


def test_a_sync_that_failed_cannot_be_tried_again(folder: files.Directory, system: System) -> None:
    blob = NewBlob(folder)
    system.fail("fsync", errno.EIO)
    for _ in range(2):
        with pytest.raises(OSError, match=r"made to fail|an earlier sync failed"):
            blob.seal()
    assert system.count("fsync") == 1
    blob.discard()
    assert folder.names() == []


@pytest.mark.parametrize("change", [b"x", b"", b"one twp"])
def test_damage(folder: files.Directory, tmp_path: Path, change: bytes) -> None:
    info = made(folder, b"one two")
    (tmp_path / "blobs" / info.name).write_bytes(change)
    with pytest.raises(RecordError, match="damaged"):
        read_blob(folder, info, None)


def test_a_beginning_is_not_checked_but_for_its_length(folder: files.Directory, tmp_path: Path) -> None:
    info = made(folder, b"one two")
    (tmp_path / "blobs" / info.name).write_bytes(b"one")
    assert read_blob(folder, info, 3) == b"one"
    with pytest.raises(RecordError, match="damaged"):
        read_blob(folder, info, 4)


# --- removing blobs that no record names


def sweep(folder: files.Directory, named: Callable[[], set[str]]) -> None:
    for blob in old_blobs(folder, named, 10):
        blob.remove()


def test_not_all_at_once(folder: files.Directory) -> None:
    names = sorted(made(folder, b"old").name for _ in range(4))
    for blob in old_blobs(folder, set, 3):
        blob.remove()
    assert folder.names() == names[3:]


def test_an_old_one_is_held_until_it_is_removed(folder: files.Directory, system: System) -> None:
    made(folder, b"old")
    [blob] = old_blobs(folder, set, 3)
    assert old_blobs(folder, set, 3) == []
    system.fail("unlink", errno.EIO)
    assert not blob.remove()
    system.work()
    [again] = old_blobs(folder, set, 3)  # a later sweep may try again
    assert again.remove()


def test_sweep(folder: files.Directory) -> None:
    named, orphan = made(folder, b"named"), made(folder, b"orphan")
    held = NewBlob(folder)
    sweep(folder, lambda: {named.name})
    assert orphan.name not in folder.names()
    assert len(folder.names()) == 2
    info = held.seal()
    sweep(folder, lambda: {named.name})
    held.release()
    assert folder.names() == sorted([named.name, info.name])
    sweep(folder, set)
    assert folder.names() == []


def test_sweep_does_not_ask_when_there_is_nothing(folder: files.Directory) -> None:
    def ask() -> set[str]:
        raise AssertionError

    sweep(folder, ask)


def test_sweep_leaves_alone_what_is_no_blob(folder: files.Directory, tmp_path: Path) -> None:
    (tmp_path / "target").touch()
    (tmp_path / "blobs/link").symlink_to(tmp_path / "target")
    (tmp_path / "blobs/directory").mkdir()
    os.mkfifo(tmp_path / "blobs/fifo")
    orphan = made(folder, b"orphan")
    sweep(folder, set)
    assert folder.names() == ["directory", "fifo", "link"]
    assert orphan.name not in folder.names()
    assert (tmp_path / "target").exists()


def test_discard(folder: files.Directory, system: System) -> None:
    blob = NewBlob(folder)
    blob.discard()
    assert folder.names() == []
    other = NewBlob(folder)
    system.fail("unlink", errno.EIO)
    other.discard()
    assert len(folder.names()) == 1
    sweep(folder, set)
    assert folder.names() == []


@pytest.mark.parametrize("still_at_it", [True, False], ids=["holds the lock", "has removed it"])
def test_a_sweeper_that_is_faster_than_the_lock(folder: files.Directory, system: System, still_at_it: bool) -> None:
    """A new blob is unlocked for an instant. If another process removes it or locks it then, a new one is made."""
    held: list[int] = []

    def flock(call: Callable[[], Any], *_: int) -> None:
        system.work()
        [name] = folder.names()
        if still_at_it:
            held.append(folder.open(name))
            assert files.try_lock(held[0])
        else:
            folder.unlink(name)
        call()

    system.hooks["flock"] = flock
    blob = NewBlob(folder)
    for fd in held:
        files.close(fd)
    blob.write(b"kept")
    info = blob.seal()
    blob.release()
    assert folder.names() == [info.name]
    assert read_blob(folder, info, None) == b"kept"


def test_a_lock_that_cannot_be_had(folder: files.Directory, system: System) -> None:
    system.fail("flock", errno.ENOLCK)
    with pytest.raises(OSError, match="made to fail"):
        NewBlob(folder)
    assert folder.names() == []


def test_a_lock_on_an_old_one_that_cannot_be_had(folder: files.Directory, system: System) -> None:
    made(folder, b"old")
    before = len(os.listdir("/proc/self/fd"))
    system.fail("flock", errno.ENOLCK)
    assert old_blobs(folder, set, 3) == []
    assert len(os.listdir("/proc/self/fd")) == before


def test_planted_names_are_not_written_to(
    folder: files.Directory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "target").write_bytes(b"untouched")
    (tmp_path / "blobs/planted").symlink_to(tmp_path / "target")
    monkeypatch.setattr("secrets.token_hex", lambda _: "planted")
    with pytest.raises(FileExistsError):
        NewBlob(folder)
    assert (tmp_path / "target").read_bytes() == b"untouched"
