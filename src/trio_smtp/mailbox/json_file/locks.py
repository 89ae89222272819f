"""The lock of the store: one writer or several readers, among processes and among the threads of each.

flock hands over unfairly: who releases it and asks again at once may get it again and again. So everybody
first takes the lock `gate`, waits for `lock` while holding it, and then lets go of the gate: who waits is next.
A mutex goes with each, because threads of a process share its descriptors and with them the flocks.

The two files are never replaced or removed, for a lock on a file without a name excludes nobody. After a fork a
process opens its own, for an inherited descriptor shares the lock of its parent. To wait here may take long:
threads only.

The lock of the dead is free at once. So a writer leaves a mark in the file `lock` as long as it is at work: who finds
it knows that what the dead one wrote may never have been synced.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from trio_smtp.mailbox.json_file import files

if TYPE_CHECKING:
    from collections.abc import Iterator

_AT_WORK, _IDLE = b"w", b"-"


class StoreLock:
    """Gate and lock of one store, opened by this process."""

    def __init__(self, root: files.Directory) -> None:
        self._gate = root.open_or_create("gate")
        try:
            self._lock = root.open_or_create("lock")
        except OSError:
            files.close(self._gate)
            raise
        self._gate_mutex = threading.Lock()
        self._mutex = threading.Lock()

    @contextmanager
    def hold(self, *, exclusive: bool) -> Iterator[bool]:
        """Wait for the lock and hold it; gives whether the last one who wrote died at work, or failed."""
        with ExitStack() as held:
            with self._gate_mutex, _flock(self._gate, exclusive=True):
                held.enter_context(self._mutex)
                held.enter_context(_flock(self._lock, exclusive=exclusive))
            died = files.read_at(self._lock, 0, len(_AT_WORK)) == _AT_WORK
            if exclusive:
                files.write_at(self._lock, 0, _AT_WORK)
            yield died
            if exclusive:
                files.write_at(self._lock, 0, _IDLE)

    def close(self) -> None:
        """Let go of the files when no thread uses them."""
        with self._gate_mutex, self._mutex:
            files.close(self._gate)
            files.close(self._lock)


@contextmanager
def _flock(fd: int, *, exclusive: bool) -> Iterator[None]:
    try:
        files.lock(fd, exclusive=exclusive)
        yield
    finally:
        files.unlock(fd)
