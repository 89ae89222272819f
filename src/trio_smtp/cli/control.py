"""What the parent and a worker say to each other, over a pair of sockets that nobody else has.

Lines both ways. The parent says first what there is to do, an `Assignment`; later orders. The worker says what it has
counted: as soon as it takes mail, and then whenever that has changed. When the parent is gone, in whatever way, its end
closes, and that is an order to drain.
"""

from __future__ import annotations

import base64
import contextlib
import json
import pickle
import socket
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

import trio

from trio_smtp.cli.listen import ListenSpec
from trio_smtp.cli.settings import ServeSettings
from trio_smtp.server import SharedMemory, Stats

__all__ = ["CUT_OFF", "DRAIN", "RELOAD", "Assignment", "Control", "packed_stats", "unpacked_stats"]

DRAIN: Final = b"drain"
CUT_OFF: Final = b"cut off"
RELOAD: Final = b"reload"
"""The orders: let connections finish; let nothing finish but what is being committed; read certificates again."""


@dataclass(frozen=True)
class Assignment:
    """What a worker has to do. Descriptors are the same in both processes."""

    number: int
    """From 0 on."""
    settings: ServeSettings
    listeners: Sequence[tuple[ListenSpec, Sequence[int]]]
    """With the descriptors of their sockets."""
    memory: SharedMemory
    certificate: Path | None
    """That of ``--tls self-signed``."""

    @property
    def descriptors(self) -> list[int]:
        """All that the worker has to have."""
        return [self.memory.descriptor, *(number for _, sockets in self.listeners for number in sockets)]

    def packed(self) -> bytes:
        """The assignment as a line, for `unpacked`."""
        return base64.b64encode(pickle.dumps(self))

    @staticmethod
    def unpacked(line: bytes) -> Assignment:
        """Read a line from the parent, and from nobody else: whoever writes it can have anything done here."""
        assignment = pickle.loads(base64.b64decode(line))  # noqa: S301 - see above
        assert isinstance(assignment, Assignment)
        return assignment


def packed_stats(stats: Stats) -> bytes:
    """Counters as a line, for `unpacked_stats`."""
    return json.dumps({each.name: getattr(stats, each.name) for each in fields(Stats)}).encode()


def unpacked_stats(line: bytes) -> Stats:
    """Read a line of `packed_stats`."""
    counted = json.loads(line)
    return Stats(**{**counted, "rules": Counter(counted["rules"])})


class Control:
    """One end: an async iterator of the lines of the other, until that is closed.

    Args:
        sock: a stream socket; closed by `close`.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
        self._received = bytearray()

    async def send(self, line: bytes) -> None:
        """Send a line; if the other is gone it is lost. Not to be called by two tasks at once."""
        with contextlib.suppress(trio.BrokenResourceError):
            await self._stream.send_all(line + b"\n")

    def tell(self, order: bytes) -> None:
        """Send an order at once. It is lost if thousands wait that nobody reads."""
        with contextlib.suppress(OSError):
            self._socket.send(order + b"\n")

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def __aiter__(self) -> Control:
        return self

    async def __anext__(self) -> bytes:
        while (end := self._received.find(b"\n")) < 0:
            try:
                received = await self._stream.receive_some()
            except trio.BrokenResourceError:  # killed with something unread
                received = b""
            if not received:
                raise StopAsyncIteration
            self._received += received
        line = bytes(self._received[:end])
        del self._received[: end + 1]
        return line
