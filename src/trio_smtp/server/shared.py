"""Counts that several processes share, so that a limit holds for all of them together.

Each process writes a part of the memory of its own and reads the parts of all, so nobody waits for a lock, and whoever
is killed leaves nothing locked. A count is one word, 40 bits of a hash of its key beside a number of 24, which is read
and written as a whole. The hash is keyed, or else clients could choose addresses that share a count. It also says in
which bucket of eight words a count is; when that is full, the lowest number in it is forgotten.

Two processes that count at the very same instant do not see each other: of N processes, N - 1 may pass a limit by one.

A window (see `trio_smtp.policy.windows`) has two tables a process, for spans of time with even numbers and for those
with odd ones. Each begins with the number of its span, so it is out of date by itself; its process empties it when the
next span of its kind begins.
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
"""Of a key: what tells the bucket, and what stands beside the number."""


@dataclass(frozen=True, slots=True)
class SharedMemory:
    """The memory, as one process tells another of it; the descriptor must be the same in both.

    Args:
        descriptor: of a file that has no name.
        processes: how many share it.
        listeners: how many servers each of them has.
        windows: the names of what is counted over time.
        secret: the key of the hash.
    """

    descriptor: int
    processes: int
    listeners: int
    windows: tuple[str, ...]
    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    @property
    def connection_words(self) -> int:
        """What a process has for its connections, at the beginning of its part: all of them, then by listener."""
        return 1 + self.listeners * (1 + _PEERS)

    @property
    def part_words(self) -> int:
        """What a process has for itself."""
        return self.connection_words + len(self.windows) * 2 * (1 + _KEYS)

    def forget_connections(self, process: int) -> None:
        """Count the connections of a process that has died no more. What it did in the last minutes still counts."""
        nothing = bytes(self.connection_words * _WORD)
        os.pwrite(self.descriptor, nothing, process * self.part_words * _WORD)


@contextmanager
def shared_memory(processes: int, listeners: int, windows: Sequence[str]) -> Generator[SharedMemory]:
    """Make it, with the arguments of `SharedMemory`, and close its descriptor at the end of the block.

    It is sparse: what nothing is counted in takes no room.
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
    """What one process counts, and sees of the others.

    Args:
        memory: what all of them share.
        process: the number of this one, from 0 on; no other has it at the same time.
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
        """What is counted over time under this name, by all processes."""
        size = 1 + _KEYS
        start = self._memory.connection_words + self._memory.windows.index(name) * 2 * size
        return SharedWindow(self, seconds, (self._tables(start, size), self._tables(start + size, size)))

    def retire(self) -> None:
        """Let the others have the connections to come."""
        self._takes_more = False
        self._tell()

    def change(self, by: int) -> None:
        """So many more connections to this process."""
        self._open += by
        self._tell()

    @property
    def is_ahead(self) -> bool:
        """Whether another process that takes more has fewer connections."""
        return any(0 < part[0] <= self._open for part in self._parts)

    def _tell(self) -> None:
        self._parts[self._process][0] = self._open + 1 if self._takes_more else 0

    def _tables(self, start: int, size: int) -> _Tables:
        """The same piece of each part, the own one first."""
        own = self._parts[self._process]
        others = [part[start : start + size] for part in self._parts if part is not own]
        return _Table(own[start : start + size]), [_Table(words) for words in others]

    def _hash(self, key: str) -> _Place:
        digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8, key=self._memory.secret).digest()
        number = int.from_bytes(digest)
        return (number & _MOST) * _WAYS, number >> _BITS or 1  # 0 is an empty word


class _Table:
    """A number by key, behind a word for whatever it is that all of them have in common."""

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
        """Set it; 0 takes it out."""
        start, tag = place[0] & self._mask, place[1]
        bucket = self.words[start : start + _WAYS].tolist()
        at = next((at for at, word in enumerate(bucket) if word >> _BITS == tag), None)
        if at is None:
            if not number:
                return
            at = min(range(_WAYS), key=lambda at: bucket[at] & _MOST)
        self.words[start + at] = number and tag << _BITS | min(number, _MOST)

    def clear(self) -> None:
        """Take all numbers out."""
        self.words[:] = memoryview(bytes(self.words.nbytes)).cast("Q")


_Tables: TypeAlias = tuple[_Table, Sequence[_Table]]
"""That of this process, and those of the others."""


class SharedWindow:
    """As `trio_smtp.policy.SlidingWindow`, over all processes. Their clocks must show the same, as `time.monotonic`."""

    __slots__ = ("_place", "_seconds", "_tables")

    def __init__(self, counts: SharedCounts, seconds: float, tables: tuple[_Tables, _Tables]) -> None:
        self._place: Final[Callable[[str], _Place]] = counts.place
        self._seconds: Final = seconds
        self._tables: Final = tables  # of even spans, and of odd ones

    def count(self, key: str, now: float) -> float:
        """What `key` has done in the window that ends at `now`."""
        span, part = divmod(now, self._seconds)
        place, number = self._place(key), int(span)
        return self._sum(place, number) + self._sum(place, number - 1) * (1 - part / self._seconds)

    def take(self, key: str, now: float, most: float) -> bool:
        """Count one more, unless that makes more than `most`; whether it was counted."""
        if self.count(key, now) + 1 > most:
            return False
        self.add(key, now)
        return True

    def add(self, key: str, now: float) -> None:
        """Count what `key` does at `now`."""
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
    """Counts its own as ever, shows them to the others, and adds theirs."""

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
