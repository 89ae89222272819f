"""Power cuts: what was synced is on the disk afterwards; what was only written may be there wholly, partly or not.

Killing a process would not show this, because the kernel keeps what the process has written. So a model of the disk
follows all calls of a run. For each moment of the run, the test creates the states that a power cut might have left
and opens the store in each: it must hold all messages accepted until then, and none that was never sent.
"""

from __future__ import annotations

import itertools
import os
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.mailbox.json_file.system import System
from trio_smtp.mailbox.json_file import JSONFileStore, files, housekeeping, writer
from trio_smtp.mailbox.json_file.database import Database
from trio_smtp.mailbox.json_file.records import encode
from trio_smtp.mailbox.operations import SpendUidValidities
from trio_smtp.mailbox.store import INBOX

LARGE = b"large" * 60_000

Found = dict[str, bytes | None]
"""A state that a power cut may leave, by path: the content of each file, None for each directory."""


class File:
    """A file: its content, and the synced content, which is certainly on the disk."""

    def __init__(self) -> None:
        self.now = b""
        self.synced = b""

    def found(self, data: str) -> bytes:
        start, end = len(self.synced), len(self.now)
        middle = (start + end) // 2
        match data:
            case "lost":
                return self.synced
            case "half":
                return self.now[:middle]
            case "hole":
                return self.now[:start] + bytes(max(0, middle - start)) + self.now[max(start, middle) :]
            case _:
                return self.now


class Folder:
    """A directory: its entries, and the synced ones, which are certainly on the disk."""

    def __init__(self) -> None:
        self.now: dict[str, File | Folder] = {}
        self.synced: dict[str, File | Folder] = {}

    def found(self, data: str, *, names: bool, path: str = "") -> Found:
        found: Found = {}
        for name, what in (self.now if names else self.synced).items():
            if isinstance(what, Folder):
                found[path + name] = None
                found |= what.found(data, names=names, path=f"{path}{name}/")
            else:
                found[path + name] = what.found(data)
        return found


class Recorder(System):
    """Follows the calls of the store; after each one that changes something, records the states a cut might leave."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._root = Folder()
        self._known: dict[int, Any] = {path.stat().st_ino: self._root}
        self.must: set[bytes] = set()  # contents that must be in the store
        self.may: set[bytes] = set()  # contents that may be in it
        self.moments: list[tuple[Found, set[bytes], set[bytes]]] = []

    def __getattr__(self, name: str) -> Any:
        real = super().__getattr__(name)
        if not callable(real):
            return real

        def function(*args: Any, **keywords: Any) -> Any:
            result = real(*args, **keywords)
            if self._follow(name, result, args, keywords):
                self._note()
            return result

        return function

    def _follow(self, call: str, result: Any, args: Any, keywords: Any) -> bool:
        match call:
            case "open" if args[1] & os.O_CREAT:
                file = self._known[os.fstat(result).st_ino] = File()
                self._at(keywords["dir_fd"]).now[args[0]] = file
            case "mkdir" if keywords["dir_fd"] is not None:
                folder = self._known[os.stat(args[0], dir_fd=keywords["dir_fd"]).st_ino] = Folder()
                self._at(keywords["dir_fd"]).now[args[0]] = folder
            case "pwrite":
                file, offset = self._at(args[0]), args[2]
                file.now = file.now[:offset].ljust(offset, b"\0") + args[1][:result] + file.now[offset + result :]
            case "ftruncate":
                self._at(args[0]).now = self._at(args[0]).now[: args[1]]
            case "fsync" | "fdatasync":
                what = self._known.get(os.fstat(args[0]).st_ino)
                if isinstance(what, File):
                    what.synced = what.now
                elif what is not None:  # None is the parent directory of the store
                    what.synced = dict(what.now)
            case "rename":
                file = self._at(keywords["src_dir_fd"]).now.pop(args[0])
                self._at(keywords["dst_dir_fd"]).now[args[1]] = file
            case "unlink":
                del self._at(keywords["dir_fd"]).now[args[0]]
            case _:
                return False
        return True

    def _at(self, fd: int) -> Any:
        return self._known[os.fstat(fd).st_ino]

    def _note(self) -> None:
        for data, names in itertools.product(("lost", "half", "hole", "all"), (False, True)):
            found = self._root.found(data, names=names)
            if not any(found == other for other, *_ in self.moments[-8:]):
                self.moments.append((found, set(self.must), set(self.may)))


async def run(path: Path, recorder: Recorder) -> None:
    """Create and use a store: deliveries, deletions and compactions."""

    async def add(content: bytes) -> int:
        recorder.may.add(content)
        uid = (await store.append_message("ann", INBOX, content)).uid
        recorder.must.add(content)
        return uid

    async def delete(uid: int, content: bytes) -> None:
        recorder.must.remove(content)
        await store.delete_message("ann", INBOX, uid)
        recorder.may.remove(content)

    async with JSONFileStore(path) as store:
        await store.create_account("ann")
        first = await add(b"first")
        second = await add(LARGE + b"second")
        for number in range(6):
            await add(b"%d" % number * 300)
        await delete(first, b"first")
        await add(LARGE + b"third")
        await store.compact()
        await delete(second, LARGE + b"second")
        await add(b"fourth")
        await store.compact()
        await add(b"last")


@pytest.fixture
def recorder(path: Path, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """The recording of a run."""
    path.mkdir(mode=0o700)
    recorder = Recorder(path)
    with monkeypatch.context() as patch:
        patch.setattr(files, "os", recorder)
        patch.setattr(writer, "SEGMENT_OCTETS", 1000)
        patch.setattr(housekeeping, "SAVE_ON_CLOSE", 1)
        trio.run(run, path, recorder)
    return recorder


def make(path: Path, found: Found) -> None:
    path.mkdir(mode=0o700)
    for name, content in found.items():
        if content is None:
            (path / name).mkdir()
        else:
            (path / name).write_bytes(content)


def test_the_power_fails(recorder: Recorder, tmp_path: Path) -> None:
    assert len(recorder.moments) > 300
    for number, (found, must, may) in enumerate(recorder.moments):
        path = tmp_path / "found"
        make(path, found)
        with closing(Database(str(path), create=not must)) as database:
            index = database.replica.index
            messages = index.messages("ann", INBOX) if index.accounts() else []
            contents = [database.read(body, None) for _, body in messages]
            assert must <= set(contents) <= may, number
            assert len(contents) == len(set(contents)), number
            with database.exclusive():
                database.journal.append([encode(SpendUidValidities(9))])
        shutil.rmtree(path)
