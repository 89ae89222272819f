"""A message that has to be kept whole: in memory while there is room, else in a file without a name.

Memory comes in two halves. One is for messages on their way in, so that clients who take their time cannot use up what
the other is for: messages that have come in whole and are handed over as one piece.
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

_IN_MEMORY: Final = 8 << 20  # octets of one message on its way in
_PIECE: Final = 1 << 20  # octets that go to or come from the disk at a time
_MANY: Final = 4096  # chunks, each of which takes memory of its own
_NO_ROOM: Final = (452, "Too many large messages at once, try again later", "4.3.1")


class MessageMemory:
    """How much memory the messages of a server may take that are kept whole.

    Args:
        octets: at one time. A single message is let in whatever its size.
    """

    __slots__ = ("_half", "coming", "threads", "whole")

    def __init__(self, octets: int) -> None:
        self._half: Final = octets // 2
        self.coming = 0
        """Octets of messages on their way in."""
        self.whole = 0
        """Octets of messages that were on the disk and have been read back."""
        self.threads: Final = trio.CapacityLimiter(8)
        """For what goes to the disk."""

    def take_for_coming(self, octets: int) -> bool:
        """Take so many octets for a message on its way in, if they are there."""
        if self.coming + octets > self._half:
            return False
        self.coming += octets
        return True

    def take_for_whole(self, octets: int) -> bool:
        """Take so many octets for a message that has come in, if they are there."""
        if self.whole and self.whole + octets > self._half:
            return False
        self.whole += octets
        return True


class Spool:
    """One message, written once, then read as often as needed; `Content` for a policy.

    Args:
        memory: what the server has for messages.
    """

    __slots__ = ("_chunks", "_coming", "_file", "_in_chunks", "_memory", "_whole", "size")

    def __init__(self, memory: MessageMemory) -> None:
        self._memory: Final = memory
        self._coming = self._whole = 0  # octets of `memory`
        self._chunks: list[bytes] = []  # what is not in the file
        self._in_chunks = 0  # octets
        self._file: IO[bytes] | None = None
        self.size = 0
        """Octets so far."""

    async def write(self, chunk: bytes) -> None:
        """Add this.

        Raises:
            Refuse: if it cannot be kept.
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
            Refuse: if the memory for all of them is not there.
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
        """Some octets from there on; ``b""`` at the end."""
        if self._file is None:
            whole = await self.read()
            return whole[position:] if position else whole
        await self._to_disk()
        return await self._in_thread(partial(_read, self._file, position, _PIECE))

    async def aclose(self) -> None:
        """Forget it. That never fails: what has become of the message is decided by now."""
        self._memory.coming -= self._coming
        self._memory.whole -= self._whole
        self._coming = self._whole = 0
        self._chunks = []
        if self._file is not None:
            try:
                with trio.CancelScope(shield=True):
                    await self._in_thread(self._file.close)
            except (OSError, RuntimeError, MemoryError):  # a full disk, for what was still to be written; no thread
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
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - `aclose` closes it, also if this is all that succeeds
        self._file.seek(0, io.SEEK_END)
        self._file.write(b"".join(self._chunks))

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
