"""The lock of the store: one writer or several readers, among processes and among the threads of each.

flock hands over unfairly: who releases it and asks again at once may get it again and again. So everybody
first takes the lock `gate`, waits for `lock` while holding it, and then lets go of the gate: who waits is next.
A mutex goes with each, because threads of a process share its descriptors and with them the flocks.

The two files are never replaced or removed, for a lock on a file without a name excludes nobody. After a fork a
process opens its own, for an inherited descriptor shares the lock of its parent. To wait here may take long:
threads only. Who may not write them, as on a disk that is read-only, can wait for them and read all the same; there may
be a writer even so, for what is read-only in one place may be writable in another.

In the file `lock` a writer leaves word for the next. As long as it is at work there is a mark: the lock of the dead is
free at once, and who finds the mark knows that what the dead one wrote may never have been synced. Behind it is a note,
which each writer may replace when it has done its work; it is never synced, so after a power cut it may be older.
There is none while the file has two names: somebody has copied the store by hard links, and two stores share the file.
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
        writer_died: the last one who wrote died at work, or failed.
        note: what was left here by the last one who wrote; whoever has the lock to write may leave something else.
    """

    def __init__(self, content: bytes) -> None:
        self.writer_died = content[:1] == _AT_WORK
        self.note = content[1:].rstrip(b" ")


class StoreLock:
    """Gate and lock of one store, opened by this process.

    Args:
        root: the directory of the store; stays open as long as this is used.
        to_read: make do with files that may not be written; the lock is opened anew by who wants to write.
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
        """Open the lock, which nobody has, to write it: that may have become possible."""
        fd = self._root.open("lock", writable=True)
        files.close(self._lock)
        self._lock, self._is_writable = fd, True

    def close(self) -> None:
        """Let go of the files when no thread uses them."""
        with self._gate_mutex, self._mutex:
            files.close(self._gate)
            files.close(self._lock)


def _open(root: files.Directory, name: str, to_read: bool) -> tuple[int, bool]:
    """A file, which is made if it is not there; and whether it can be written."""
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
