"""Counts that several processes share, so that a limit holds for all of them together.

Each process writes only its own part of the memory and reads the parts of all. So no process waits for a lock, and a
killed process leaves nothing locked. A count is one word, read and written as a whole: 40 bits of a hash of its key
beside a number of 24 bits. The rest of the hash selects the bucket of eight words that holds the count; in a full
bucket, a new count replaces the lowest one. The hash is keyed, as clients could otherwise choose addresses that share a
count.

Two processes that count at the same instant do not see each other's count: of N processes, N - 1 may exceed a limit by
one.

A window (see `trio_smtp.policy.windows`) has two tables per process, one for time spans with an even number and one for
those with an odd number. Each table begins with the number of its span, so readers see when it is out of date; its
process clears it when it first counts in the next span of that parity.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import secrets
import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, TypeAlias

from trio_smtp.server.counting import Connections

__all__ = ["SharedCounts", "SharedMemory", "shared_memory"]

_WORD: Final = 8  # octets
_BITS: Final = 24  # of a word, for the number
_MOST: Final = (1 << _BITS) - 1
_WAYS: Final = 8  # words of a bucket
_PEERS: Final = 1 << 13  # words for the connections to one listener
_KEYS: Final = 1 << 16  # words for one span of a window

_Place: TypeAlias = tuple[int, int]
"""Where the count of a key is: the hash bits that select its bucket, and those that are stored with the number."""


@dataclass(frozen=True, slots=True)
class SharedMemory:
    """A description of the memory, to pass to another process; the descriptor must be the same in both.

    Args:
        descriptor: of the unnamed file that holds the memory.
        processes: how many share it.
        listeners: how many servers each of them has.
        windows: the names of the windows, the counts over time.
        secret: the key of the hash.
    """

    descriptor: int
    processes: int
    listeners: int
    windows: tuple[str, ...]
    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    @property
    def connection_words(self) -> int:
        """Words at the beginning of a part that count connections: one for their total, then a table per listener."""
        return 1 + self.listeners * (1 + _PEERS)

    @property
    def part_words(self) -> int:
        """Words in the part of one process."""
        return self.connection_words + len(self.windows) * 2 * (1 + _KEYS)

    def forget_connections(self, process: int) -> None:
        """Stop counting the connections of a process that has died. Its counts in windows remain."""
        nothing = bytes(self.connection_words * _WORD)
        os.pwrite(self.descriptor, nothing, process * self.part_words * _WORD)


@contextmanager
def shared_memory(processes: int, listeners: int, windows: Sequence[str]) -> Generator[SharedMemory]:
    """Create the memory, with the arguments of `SharedMemory`; close its descriptor at the end of the block.

    The file is sparse: words that were never written take no room.
    """
    with _file() as descriptor:
        memory = SharedMemory(descriptor, processes, listeners, tuple(windows))
        os.ftruncate(descriptor, processes * memory.part_words * _WORD)
        yield memory


@contextmanager
def _file() -> Generator[int]:
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("trio-smtp counts")
        try:
            yield descriptor
        finally:
            os.close(descriptor)
    else:
        with tempfile.TemporaryFile() as file:
            yield file.fileno()


class SharedCounts:
    """The counts of all processes, as one process reads and writes them.

    Args:
        memory: the memory that all processes share.
        process: the number of this process, from 0 on; no two processes have the same at one time.
    """

    def __init__(self, memory: SharedMemory, process: int) -> None:
        self._memory = memory
        self._process = process
        words = memoryview(mmap.mmap(memory.descriptor, 0)).cast("Q")
        size = memory.part_words
        self._parts = [words[start : start + size] for start in range(0, memory.processes * size, size)]
        self._open = 0
        self._takes_more = True
        self._tell()
        self.place: Final = lru_cache(4096)(self._hash)

    def connections(self, listener: int) -> Connections:
        """The connections to a listener, from 0 on, of all processes."""
        return _SharedConnections(self, self._tables(1 + listener * (1 + _PEERS), 1 + _PEERS))

    def window(self, name: str, seconds: float) -> SharedWindow:
        """The window of this name, over all processes."""
        size = 1 + _KEYS
        start = self._memory.connection_words + self._memory.windows.index(name) * 2 * size
        return SharedWindow(self, seconds, (self._tables(start, size), self._tables(start + size, size)))

    def retire(self) -> None:
        """Leave new connections to the other processes."""
        self._takes_more = False
        self._tell()

    def change(self, by: int) -> None:
        """Add to the number of connections to this process."""
        self._open += by
        self._tell()

    @property
    def is_ahead(self) -> bool:
        """Whether another process that still takes connections has fewer of them."""
        return any(0 < part[0] <= self._open for part in self._parts)

    def _tell(self) -> None:
        self._parts[self._process][0] = self._open + 1 if self._takes_more else 0

    def _tables(self, start: int, size: int) -> _Tables:
        """The table at this place in the part of each process, this one first."""
        own = self._parts[self._process]
        others = [part[start : start + size] for part in self._parts if part is not own]
        return _Table(own[start : start + size]), [_Table(words) for words in others]

    def _hash(self, key: str) -> _Place:
        digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8, key=self._memory.secret).digest()
        number = int.from_bytes(digest)
        return (number & _MOST) * _WAYS, number >> _BITS or 1  # 0 would be an empty word


class _Table:
    """Numbers by key, behind a head word whose meaning depends on the kind of table."""

    __slots__ = ("_mask", "head", "words")

    def __init__(self, words: memoryview[int]) -> None:
        self.head: Final = words[:1]
        self.words: Final = words[1:]
        self._mask: Final = len(self.words) - 1

    def get(self, place: _Place) -> int:
        """The number at this place, 0 if there is none."""
        start, tag = place[0] & self._mask, place[1]
        for word in self.words[start : start + _WAYS].tolist():
            if word >> _BITS == tag:
                return word & _MOST
        return 0

    def put(self, place: _Place, number: int) -> None:
        """Set the number at this place; 0 removes it."""
        start, tag = place[0] & self._mask, place[1]
        bucket = self.words[start : start + _WAYS].tolist()
        at = next((at for at, word in enumerate(bucket) if word >> _BITS == tag), None)
        if at is None:
            if not number:
                return
            at = min(range(_WAYS), key=lambda at: bucket[at] & _MOST)
        self.words[start + at] = number and tag << _BITS | min(number, _MOST)

    def clear(self) -> None:
        """Remove all numbers."""
        self.words[:] = memoryview(bytes(self.words.nbytes)).cast("Q")


_Tables: TypeAlias = tuple[_Table, Sequence[_Table]]
"""The table of this process, and those of the others."""


class SharedWindow:
    """As `trio_smtp.policy.SlidingWindow`, over all processes, which must use one clock, such as `time.monotonic`."""

    __slots__ = ("_place", "_seconds", "_tables")

    def __init__(self, counts: SharedCounts, seconds: float, tables: tuple[_Tables, _Tables]) -> None:
        self._place: Final[Callable[[str], _Place]] = counts.place
        self._seconds: Final = seconds
        self._tables: Final = tables  # of even spans, and of odd ones

    def count(self, key: str, now: float) -> float:
        """How often `key` was counted in the window that ends at `now`."""
        span, part = divmod(now, self._seconds)
        place, number = self._place(key), int(span)
        return self._sum(place, number) + self._sum(place, number - 1) * (1 - part / self._seconds)

    def take(self, key: str, now: float, most: float) -> bool:
        """Count one more, unless that makes more than `most`; return whether it was counted."""
        if self.count(key, now) + 1 > most:
            return False
        self.add(key, now)
        return True

    def add(self, key: str, now: float) -> None:
        """Count `key` once more, at `now`."""
        span = int(now // self._seconds)
        table, _ = self._tables[span & 1]
        if table.head[0] != span:
            table.clear()
            table.head[0] = span
        place = self._place(key)
        table.put(place, table.get(place) + 1)

    def _sum(self, place: _Place, span: int) -> int:
        own, others = self._tables[span & 1]
        return sum(table.get(place) for table in (own, *others) if table.head[0] == span)


class _SharedConnections(Connections):
    """Counts the connections of this process, shows them to the other processes, and adds theirs."""

    def __init__(self, counts: SharedCounts, tables: _Tables) -> None:
        super().__init__()
        self._counts = counts
        self._shown, self._others = tables

    @property
    def total(self) -> int:
        return self._open + sum(table.head[0] for table in self._others)

    @property
    def ahead(self) -> bool:
        return self._counts.is_ahead

    def of(self, peer: str) -> int:
        place = self._counts.place(peer)
        return super().of(peer) + sum(table.get(place) for table in self._others)

    def enter(self) -> None:
        super().enter()
        self._show(+1)

    def leave(self) -> None:
        super().leave()
        self._show(-1)

    def _show(self, change: int) -> None:
        self._shown.head[0] = self._open
        self._counts.change(change)

    def enter_as(self, peer: str) -> None:
        super().enter_as(peer)
        self._shown.put(self._counts.place(peer), self._peers[peer])

    def leave_as(self, peer: str) -> None:
        super().leave_as(peer)
        self._shown.put(self._counts.place(peer), self._peers[peer])
