"""How a session reads and writes: straight on a TCP or Unix socket, or over any other trio stream.

Both have the same methods. The direct one exists for speed: `trio.SocketStream` first tries a receive that is bound to
fail after each reply and makes an extra checkpoint a turn, 80 us of CPU a message against 57 for waiting until the
socket is readable.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from typing import Protocol

import trio

__all__ = ["SocketTransport", "StreamTransport", "Transport"]


class Transport(Protocol):
    """What a session needs of a connection. Faults of the connection raise `trio.BrokenResourceError`."""

    async def receive(self, size: int) -> bytes:
        """At most `size` octets; ``b""`` is the end of input. A checkpoint."""
        ...

    def send_now(self, data: bytes) -> bytes:
        """Send what goes out without waiting and return the rest."""
        ...

    async def send(self, data: bytes) -> None:
        """Send all of it."""
        ...

    def has_input(self) -> bool:
        """Whether the peer has sent something already, where that can be told without reading."""
        ...

    def stream(self) -> trio.abc.Stream:
        """The connection as a trio stream, to put TLS on it; the transport is not used any more then."""
        ...

    async def aclose(self, *, linger: bool) -> None:
        """Close. With `linger` the peer gets the time to read the last reply before what it still sends is refused;
        the caller sets a deadline.
        """
        ...


class SocketTransport:
    """A connected, non-blocking stream socket of the standard library."""

    __slots__ = ("_full", "_socket")

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._full = False  # the last receive filled its buffer, so there may be more

    async def receive(self, size: int) -> bytes:
        sock = self._socket
        try:
            if self._full:
                await trio.lowlevel.checkpoint()
            else:
                await trio.lowlevel.wait_readable(sock)
            while True:
                try:
                    data = sock.recv(size)
                except (BlockingIOError, InterruptedError):
                    await trio.lowlevel.wait_readable(sock)
                else:
                    self._full = len(data) == size
                    return data
        except OSError as error:
            raise trio.BrokenResourceError(str(error)) from error

    def send_now(self, data: bytes) -> bytes:
        try:
            sent = self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            return data
        except OSError as error:
            raise trio.BrokenResourceError(str(error)) from error
        return b"" if sent == len(data) else data[sent:]

    async def send(self, data: bytes) -> None:
        while data := self.send_now(data):
            await trio.lowlevel.wait_writable(self._socket)

    def has_input(self) -> bool:
        try:
            return bool(self._socket.recv(1, socket.MSG_PEEK))
        except OSError:
            return False

    def stream(self) -> trio.abc.Stream:
        return trio.SocketStream(trio.socket.from_stdlib_socket(self._socket))

    async def aclose(self, *, linger: bool) -> None:
        sock = self._socket
        try:
            if linger:
                # Octets that nobody has read turn close() into a reset, which can overtake the last reply.
                with contextlib.suppress(OSError, trio.BrokenResourceError):
                    sock.shutdown(socket.SHUT_WR)
                    while await self.receive(65536):
                        pass
        finally:
            sock.close()


class StreamTransport:
    """Any trio stream: TLS, memory streams in tests."""

    __slots__ = ("_stream",)

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream

    async def receive(self, size: int) -> bytes:
        try:
            return bytes(await self._stream.receive_some(size))
        except trio.BrokenResourceError as error:
            if _is_ragged_eof(error):
                return b""
            raise

    def send_now(self, data: bytes) -> bytes:
        return data

    async def send(self, data: bytes) -> None:
        await self._stream.send_all(data)

    def has_input(self) -> bool:
        return False

    def stream(self) -> trio.abc.Stream:
        return self._stream

    async def aclose(self, *, linger: bool) -> None:
        stream = self._stream
        try:
            if linger and isinstance(stream, trio.abc.HalfCloseableStream):
                with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                    await stream.send_eof()
                    while await stream.receive_some(65536):
                        pass
        finally:
            await stream.aclose()


def _is_ragged_eof(error: trio.BrokenResourceError) -> bool:
    """Whether a TLS peer closed its connection without saying so inside TLS, as many do."""
    return isinstance(error.__cause__, ssl.SSLEOFError)
