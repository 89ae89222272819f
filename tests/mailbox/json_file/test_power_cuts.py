"""The power fails: what is on the disk then is what was synced, and of the rest anything or nothing.

Killing a process shows little of this, for the kernel keeps what it wrote. So the calls of a run are recorded, and after
each of them the disk is made as it may be found; there the store is opened, and must hold all that was accepted.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.mailbox.json_file.system import System
from trio_smtp.mailbox.json_file import JSONFileStore, writer
from trio_smtp.mailbox.store import INBOX, Target

LARGE = b"large " * 50_000


class File:
    """What is in a file, and what of it is on the disk."""

    def __init__(self) -> None:
        self.now = b""
        self.synced = b""


class Folder:
    """What is in a directory, and what of it is on the disk."""

    def __init__(self) -> None:
        self.now: dict[str, File | Folder] = {}
        self.synced: dict[str, File | Folder] = {}


class Choice(NamedTuple):
    """What of all that was not synced has reached the disk nevertheless."""

    data: bool
    names: bool


class Disk:
    """A model of the disk, fed with the calls of the store."""

    def __init__(self, path: Path) -> None:
        self.root = Folder()
        self._known: dict[int, File | Folder] = {path.stat().st_ino: self.root}

    def _at(self, fd: int) -> Any:
        return self._known[os.fstat(fd).st_ino]

    def record(self, call: str, result: Any, args: Any, keywords: Any) -> bool:
        """Follow a call that has been made; False if it has changed nothing."""
        match call, args:
            case "open", [str(name), int(flags), *_] if flags & os.O_CREAT:
                self._at(keywords["dir_fd"]).now[name] = self._known[os.fstat(result).st_ino] = File()
            case "mkdir", [str(name), *_]:
                made = self._known[os.stat(name, dir_fd=keywords["dir_fd"]).st_ino] = Folder()
                self._at(keywords["dir_fd"]).now[name] = made
            case "pwrite", [int(fd), view, int(offset)]:
                file = self._at(fd)
                file.now = file.now[:offset].ljust(offset, b"\0") + view[:result] + file.now[offset + result :]
            case "ftruncate", [int(fd), int(length)]:
                self._at(fd).now = self._at(fd).now[:length]
            case ("fsync" | "fdatasync"), [int(fd)]:
                if os.fstat(fd).st_ino in self._known:  # not the directory that holds the store
                    self._at(fd).synced = self._at(fd).now if isinstance(self._at(fd), File) else dict(self._at(fd).now)
            case "rename", [str(old), str(new)]:
                file = self._at(keywords["src_dir_fd"]).now.pop(old)
                self._at(keywords["dst_dir_fd"]).now[new] = file
            case "unlink", [str(name)]:
                del self._at(keywords["dir_fd"]).now[name]
            case _:
                return False
        return True

    def write_to(self, path: Path, choice: Choice) -> None:
        """Make a directory as it may be found."""
        _write(self.root, path, choice)


def _write(folder: Folder, path: Path, choice: Choice) -> None:
    path.mkdir(mode=0o700)
    for name, what in (folder.now if choice.names else folder.synced).items():
        if isinstance(what, Folder):
            _write(what, path / name, choice)
        else:
            (path / name).write_bytes(what.now if choice.data else what.synced)


class Recorder(System):
    """Records every call of the store on a disk, and has a look after each that has changed something."""

    def __init__(self, path: Path, look: Callable[[Disk], None]) -> None:
        super().__init__()
        self.disk = Disk(path)
        self._look = look

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name) if hasattr(os, name) else super().__getattr__(name)
        if not callable(real):
            return real

        def function(*args: Any, **keywords: Any) -> Any:
            result = real(*args, **keywords)
            if self.disk.record(name, result, args, keywords):
                self._look(self.disk)
            return result

        return function
