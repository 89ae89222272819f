"""The lock of the store: one writer or several readers among processes; one thread at a time within each process.

flock is unfair: a process that releases it and asks again at once may get it again and again. So every process
first takes the lock `gate`, waits for `lock` while it holds the gate, and then releases the gate: the one that waits
for `lock` is next. Each of the two goes with a mutex, because the threads of a process share its descriptors and with
them the flocks.

The two files are never replaced or removed: a lock on a file that has lost its name excludes nobody. After a fork, a
process opens them anew, because an inherited descriptor shares the lock of the parent. Waiting may take long, so only
threads may do it. A process that may not write the files, as on a read-only disk, can lock them and read all the same.
There may be a writer even so, because what is read-only in one place may be writable in another.

The content of `lock` tells each writer about the last one. It begins with a mark while a writer is at work. If that
process dies, its flock is free at once, and the next one sees by the mark that what it wrote may never have been
synced. After the mark comes a note, which each writer may replace when its work is done. The note is never synced, so
after a power cut it may be an older one. There is no note while the file has two names: somebody has copied the store
with hard links, and two stores share the file.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from trio_smtp.mailbox.json_file import files

if TYPE_CHECKING:
    from collections.abc import Iterator

_AT_WORK, _IDLE = b"w", b"-"
_LENGTH = 160  # octets of mark and note


class Held:
    """The lock while it is held.

    Attributes:
        writer_died: whether the last writer died or failed while it held the lock.
        note: the note of the last writer; the holder of the exclusive lock may replace it.
    """

    def __init__(self, content: bytes) -> None:
        self.writer_died = content[:1] == _AT_WORK
        self.note = content[1:].rstrip(b" ")


class StoreLock:
    """Gate and lock of one store, opened by this process.

    Args:
        root: the directory of the store; stays open as long as this is used.
        to_read: accept files that may not be written; the first `hold` that is exclusive opens the lock anew.
    """

    def __init__(self, root: files.Directory, *, to_read: bool = False) -> None:
        self._root = root
        self._gate, _ = _open(root, "gate", to_read)
        try:
            self._lock, self._is_writable = _open(root, "lock", to_read)
        except OSError:
            files.close(self._gate)
            raise
        self._gate_mutex = threading.Lock()
        self._mutex = threading.Lock()

    @contextmanager
    def hold(self, *, exclusive: bool) -> Iterator[Held]:
        """Wait for the lock and hold it. Raises OSError."""
        with ExitStack() as held:
            with self._gate_mutex, _flock(self._gate, exclusive=True):
                held.enter_context(self._mutex)
                if exclusive and not self._is_writable:
                    self._make_writable()
                held.enter_context(_flock(self._lock, exclusive=exclusive))
            length = _LENGTH if files.names(self._lock) < 2 else len(_AT_WORK)
            lock = Held(files.read_at(self._lock, 0, length))
            if exclusive:
                files.write_at(self._lock, 0, _AT_WORK)
            yield lock
            if exclusive:
                files.write_at(self._lock, 0, (_IDLE + lock.note).ljust(length)[:length])

    def _make_writable(self) -> None:
        """Open the lock again, to write it, as that may be possible by now. No thread may hold the old one."""
        fd = self._root.open("lock", writable=True)
        files.close(self._lock)
        self._lock, self._is_writable = fd, True

    def close(self) -> None:
        """Close the files once no thread holds the lock; no thread can take it any more."""
        with self._gate_mutex, self._mutex:
            files.close(self._gate)
            files.close(self._lock)
            self._gate = -1  # another file may get its number, even the gate of another `StoreLock`


def _open(root: files.Directory, name: str, to_read: bool) -> tuple[int, bool]:
    """Open a file, creating it if it is missing; return its descriptor and whether it can be written."""
    try:
        return root.open_or_create(name), True
    except OSError:
        with suppress(OSError):
            if to_read:
                return root.open(name), False
        raise


@contextmanager
def _flock(fd: int, *, exclusive: bool) -> Iterator[None]:
    try:
        files.lock(fd, exclusive=exclusive)
        yield
    finally:
        files.unlock(fd)
