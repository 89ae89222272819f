"""A message that has to be kept whole: in memory while there is room, else in an unnamed file.

The memory has two halves. One is for messages that are being received, so that slow clients cannot use up the other,
which is for complete messages that are returned in one piece.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import IO, Final, TypeVar

import trio

from trio_smtp._escape import escape
from trio_smtp.handler import Refuse
from trio_smtp.server.log import log

__all__ = ["MessageMemory", "Spool"]

_T = TypeVar("_T")

_IN_MEMORY: Final = 8 << 20  # octets of one message that is being received
_PIECE: Final = 1 << 20  # octets that are written to or read from the disk at a time
_MANY: Final = 4096  # chunks, which are then joined because each has an overhead
_NO_ROOM: Final = (452, "Too many large messages at once, try again later", "4.3.1")


class MessageMemory:
    """The memory of a server for messages that are kept whole.

    Args:
        octets: the most at one time. A single complete message is let in whatever its size.
    """

    __slots__ = ("_half", "coming", "threads", "whole")

    def __init__(self, octets: int) -> None:
        self._half: Final = octets // 2
        self.coming = 0
        """Octets of messages that are being received."""
        self.whole = 0
        """Octets of messages that were on the disk and have been read back."""
        self.threads: Final = trio.CapacityLimiter(8)
        """The threads for disk access."""

    def take_for_coming(self, octets: int) -> bool:
        """Reserve so many octets for a message that is being received; return whether they were available."""
        if self.coming + octets > self._half:
            return False
        self.coming += octets
        return True

    def take_for_whole(self, octets: int) -> bool:
        """Reserve so many octets for a complete message; return whether they were available."""
        if self.whole and self.whole + octets > self._half:
            return False
        self.whole += octets
        return True


class Spool:
    """One message, written once, then read as often as needed; it is the `Content` that policies get.

    Args:
        memory: the server's memory for messages.
    """

    __slots__ = ("_chunks", "_coming", "_file", "_in_chunks", "_memory", "_whole", "size")

    def __init__(self, memory: MessageMemory) -> None:
        self._memory: Final = memory
        self._coming = self._whole = 0  # octets of `memory`
        self._chunks: list[bytes] = []  # not in the file yet
        self._in_chunks = 0  # octets
        self._file: IO[bytes] | None = None
        self.size = 0
        """Octets so far."""

    async def write(self, chunk: bytes) -> None:
        """Append a chunk.

        Raises:
            Refuse: if there is no room for it on the disk.
        """
        self._chunks.append(chunk)
        self.size += len(chunk)
        self._in_chunks += len(chunk)
        if self._file is None and self.size <= _IN_MEMORY and self._memory.take_for_coming(len(chunk)):
            self._coming += len(chunk)
        elif self._in_chunks >= _PIECE or self._file is None:
            await self._to_disk()
        if len(self._chunks) >= _MANY:
            self._chunks = [b"".join(self._chunks)]

    async def read(self, limit: int = -1) -> bytes:
        """The first `limit` octets, or all of them.

        Raises:
            Refuse: if there is not enough memory for all of them.
        """
        if self._file is None:
            content = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
            return content if limit < 0 else content[:limit]
        if limit < 0 and not self._whole:
            if not self._memory.take_for_whole(self.size):
                raise Refuse(*_NO_ROOM, rule="message-memory")
            self._whole = self.size
        await self._to_disk()
        return await self._in_thread(partial(_read, self._file, 0, limit))

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The octets, from the first on."""
        return _Chunks(self)

    async def read_from(self, position: int) -> bytes:
        """Some octets from `position` on; ``b""`` at the end."""
        if self._file is None:
            whole = await self.read()
            return whole[position:] if position else whole
        await self._to_disk()
        return await self._in_thread(partial(_read, self._file, position, _PIECE))

    async def aclose(self) -> None:
        """Release the memory and the file. Never fails, because the fate of the message is decided by now."""
        self._memory.coming -= self._coming
        self._memory.whole -= self._whole
        self._coming = self._whole = 0
        self._chunks = []
        if self._file is not None:
            try:
                with trio.CancelScope(shield=True):
                    await self._in_thread(self._file.close)
            except (OSError, RuntimeError, MemoryError):  # closing writes to a full disk; no thread can be started
                with contextlib.suppress(OSError):
                    self._file.close()

    async def _to_disk(self) -> None:
        if not self._chunks:
            return
        try:
            await self._in_thread(self._append)
        except OSError as error:
            log.error("no room to keep a large message: %s", escape(str(error)))
            raise Refuse(*_NO_ROOM, rule="message-memory") from error
        self._chunks = []
        self._in_chunks = 0
        self._memory.coming -= self._coming
        self._coming = 0

    def _append(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - `aclose` closes it, even if the writing below fails
        self._file.seek(0, io.SEEK_END)
        self._file.write(b"".join(self._chunks))
        self._file.flush()  # a disk that is full should show here, not when it is read

    async def _in_thread(self, function: Callable[[], _T]) -> _T:
        return await trio.to_thread.run_sync(function, limiter=self._memory.threads)


class _Chunks:
    __slots__ = ("_position", "_spool")

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._position = 0

    def __aiter__(self) -> _Chunks:
        return self

    async def __anext__(self) -> bytes:
        chunk = await self._spool.read_from(self._position)
        if not chunk:
            raise StopAsyncIteration
        self._position += len(chunk)
        return chunk


def _read(file: IO[bytes], position: int, limit: int) -> bytes:
    file.seek(position)
    return file.read(limit)
