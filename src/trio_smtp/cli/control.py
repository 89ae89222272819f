"""The protocol between the parent and a worker, over a private pair of sockets.

Both send lines. The parent first sends an `Assignment`, later orders. The worker sends its counters as soon as it
accepts mail, and then whenever they have changed. When the parent ends, for whatever reason, its socket closes, which
the worker treats as an order to drain.
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
"""The orders. DRAIN: let connections finish. CUT_OFF: only finish commits in progress. RELOAD: reload certificates."""


@dataclass(frozen=True)
class Assignment:
    """What a worker needs to know. The worker inherits the parent's descriptors under the same numbers."""

    number: int
    """The number of the worker, from 0 on."""
    settings: ServeSettings
    listeners: Sequence[tuple[ListenSpec, Sequence[int]]]
    """The listeners with the descriptors of their sockets."""
    memory: SharedMemory
    certificate: Path | None
    """The certificate of ``--tls self-signed``."""

    @property
    def descriptors(self) -> list[int]:
        """All descriptors that the worker must inherit."""
        return [self.memory.descriptor, *(number for _, sockets in self.listeners for number in sockets)]

    def packed(self) -> bytes:
        """The assignment as a line, for `unpacked`."""
        return base64.b64encode(pickle.dumps(self))

    @staticmethod
    def unpacked(line: bytes) -> Assignment:
        """Read a line from the parent. It must not come from anybody else, because unpickling can run any code."""
        assignment = pickle.loads(base64.b64decode(line))  # noqa: S301 - see above
        assert isinstance(assignment, Assignment)
        return assignment


def packed_stats(stats: Stats) -> bytes:
    """The counters as a line, for `unpacked_stats`."""
    return json.dumps({each.name: getattr(stats, each.name) for each in fields(Stats)}).encode()


def unpacked_stats(line: bytes) -> Stats:
    """Read a line of `packed_stats`."""
    counted = json.loads(line)
    return Stats(**{**counted, "rules": Counter(counted["rules"])})


class Control:
    """One end of the connection: an async iterator over the lines that the other end sends, until it closes.

    Args:
        sock: a stream socket, which `close` closes.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
        self._received = bytearray()

    async def send(self, line: bytes) -> None:
        """Send a line, which is lost if the other end is gone. Two tasks must not call this at the same time."""
        with contextlib.suppress(trio.BrokenResourceError):
            await self._stream.send_all(line + b"\n")

    def tell(self, order: bytes) -> None:
        """Send an order without waiting. It is lost if the other end is gone or has thousands of orders unread."""
        with contextlib.suppress(OSError):
            self._socket.send(order + b"\n")

    def close(self) -> None:
        """Close this end."""
        self._socket.close()

    def __aiter__(self) -> Control:
        return self

    async def __anext__(self) -> bytes:
        while (end := self._received.find(b"\n")) < 0:
            try:
                received = await self._stream.receive_some()
            except trio.BrokenResourceError:  # the other end was killed with unread data
                received = b""
            if not received:
                raise StopAsyncIteration
            self._received += received
        line = bytes(self._received[:end])
        del self._received[: end + 1]
        return line
