"""A stand-in for the module `os` in the store, which makes the calls and records those that change the disk.

Marks between the calls record what the user of the store was told, so that for every moment it is known what the store
had promised. Nothing is really synced: the model (`disk`) has the effect of syncs.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.crash.disk import TOP, Call, Create, Rename, Sync, Tree, Truncate, Unlink, Write
from tests.mailbox.json_file.system import is_beside_lock
from trio_smtp.mailbox.store import StoreError

Key = tuple[str | int, ...]
Facts = dict[Key, object]
"""What a store shows: accounts, mailboxes, messages."""


class Begun(NamedTuple):
    """A change was requested; `content` is that of a new message, or None."""

    number: int
    content: bytes | None


class Done(NamedTuple):
    """The store promised that a change has happened: its new facts, and None for each fact that is gone."""

    number: int
    effect: Mapping[Key, object]


class Refused(NamedTuple):
    """The store promised that a change has not happened."""

    number: int


class Seen(NamedTuple):
    """The store has shown all of this, so it must stay."""

    facts: Facts


Mark = Begun | Done | Refused | Seen


class Recorder:
    """The stand-in, for calls below one directory.

    Args:
        top: the directory.
        tree: what to create in it first.

    Attributes:
        history: calls and marks, in their order.
    """

    def __init__(self, top: Path, tree: Tree = Tree()) -> None:  # noqa: B008 - it is a tuple
        self.history: list[Call | Mark] = []
        self._mutex = threading.RLock()
        self._faults: dict[str, list[int]] = {}
        self._numbers = 0
        self._nodes = {top.stat().st_ino: TOP}
        for path, node, content in tree:
            place = top / path
            if content is None:
                place.mkdir(mode=0o700)
            else:
                place.write_bytes(content)
            self._nodes[place.stat().st_ino] = node
        self._last = max(self._nodes.values())

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    # --- marks

    @contextmanager
    def change(self, content: bytes | None = None) -> Iterator[dict[Key, object]]:
        """Record a change requested in the block. The caller puts its effect into the yielded dict, then or later."""
        self._numbers += 1
        number = self._numbers
        effect: dict[Key, object] = {}
        self._write_down(Begun(number, content))
        try:
            yield effect
        except StoreError:
            self._write_down(Refused(number))
            raise
        self._write_down(Done(number, effect))

    def seen(self, facts: Facts) -> None:
        """Record that the store has shown this."""
        self._write_down(Seen(facts))

    def _write_down(self, what: Call | Mark) -> None:
        with self._mutex:
            self.history.append(what)

    # --- faults

    def fail(self, faults: Mapping[str, Sequence[int]]) -> None:
        """Make the next calls of functions fail with these errors, a write half-way; 0 is for a call that works."""
        with self._mutex:
            for name, errors in faults.items():
                self._faults.setdefault(name, []).extend(errors)

    @property
    def faults_left(self) -> int:
        """The number of faults that have not happened yet."""
        return sum(map(len, self._faults.values()))

    def _error(self, name: str) -> OSError | None:
        left = self._faults.get(name)
        error = left.pop(0) if left else 0
        return OSError(error, f"{name} was made to fail") if error else None

    def _check(self, name: str) -> None:
        if error := self._error(name):
            raise error

    # --- calls

    def _node(self, fd: int | None, path: str = "") -> int:
        """The node of an open file, or of the parent directory of the path if there is no descriptor."""
        return self._nodes[(Path(path).parent.stat() if fd is None else os.fstat(fd)).st_ino]

    def _new(self, path: str, dir_fd: int | None, *, is_directory: bool) -> None:
        self._last += 1
        self._nodes[os.stat(path, dir_fd=dir_fd).st_ino] = self._last
        self.history.append(Create(self._node(dir_fd, path), Path(path).name, self._last, is_directory))

    def open(self, path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if not flags & os.O_CREAT:
            return os.open(path, flags, mode, dir_fd=dir_fd)
        with self._mutex:
            self._check("create")
            fd = os.open(path, flags, mode, dir_fd=dir_fd)
            self._new(path, dir_fd, is_directory=False)
            return fd

    def mkdir(self, path: str, mode: int, *, dir_fd: int | None) -> None:
        with self._mutex:
            os.mkdir(path, mode, dir_fd=dir_fd)
            self._new(path, dir_fd, is_directory=True)

    def pwrite(self, fd: int, data: memoryview, offset: int) -> int:
        with self._mutex:
            is_mark = is_beside_lock(data)  # its removal has no fixed place between other calls
            error = None if is_mark else self._error("pwrite")
            written = os.pwrite(fd, data[: len(data) // 2] if error else data, offset)
            self.history.append(Write(self._node(fd), offset, bytes(data[:written]), is_mark))
            if error:
                raise error
            return written

    def ftruncate(self, fd: int, length: int) -> None:
        with self._mutex:
            self._check("ftruncate")
            os.ftruncate(fd, length)
            self.history.append(Truncate(self._node(fd), length))

    def fsync(self, fd: int) -> None:
        self._sync("fsync", fd)

    def fdatasync(self, fd: int) -> None:
        self._sync("fdatasync", fd)

    def _sync(self, name: str, fd: int) -> None:
        with self._mutex:
            error = self._error(name)
            self.history.append(Sync(self._node(fd), name == "fdatasync", error is not None))
            if error:
                raise error

    def rename(self, name: str, to_name: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        with self._mutex:
            self._check("rename")
            os.rename(name, to_name, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
            self.history.append(Rename(self._node(src_dir_fd), name, self._node(dst_dir_fd), to_name))

    def unlink(self, name: str, *, dir_fd: int) -> None:
        with self._mutex:
            os.unlink(name, dir_fd=dir_fd)
            self.history.append(Unlink(self._node(dir_fd), name))
