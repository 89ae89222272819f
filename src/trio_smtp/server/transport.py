"""How a session reads and writes: straight on a TCP or Unix socket, or over any other trio stream.

Both have the same methods, and TLS (tls.py) goes on top of either. The direct one exists for speed: `trio.SocketStream`
first tries a receive that is bound to fail after each reply and makes an extra checkpoint a turn, 80 us of CPU a
message against 57 for waiting until the socket is readable.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Awaitable, Iterator
from typing import Protocol

import trio

from trio_smtp.handler import Peer

__all__ = ["SocketTransport", "StreamTransport", "Transport", "Unsent", "peer_at"]


class Unsent(Exception):
    """Something that was said has not gone out: `Transport.flush` comes first."""


class Transport(Protocol):
    """What a session needs of a connection. Faults of the connection raise `trio.BrokenResourceError`."""

    async def receive(self, size: int) -> bytes:
        """At most `size` octets; ``b""`` is the end of input. A checkpoint.

        Raises:
            Unsent: if the peer has not taken what it was told by `send_soon`. Nothing is lost by that.
        """
        ...

    def send_now(self, data: bytes) -> bool:
        """Send what goes out without waiting, and keep the rest for `flush`; whether there is no rest.

        What was kept before, since a `flush` was cancelled, goes first.
        """
        ...

    def send_soon(self, data: bytes) -> bool:
        """As `send_now`, for who goes on to `receive`. It may be put off to the end of the turn of the loop, so that
        what many sessions say goes out together; if some of it does not go out then, `receive` says so.
        """
        ...

    async def flush(self) -> None:
        """Send the rest."""
        ...

    def has_input(self) -> bool:
        """Whether the peer has sent something already, where that can be told without reading."""
        ...

    async def aclose(self, *, linger: bool, seconds: float) -> None:
        """Close, in so many seconds at most, whoever is cancelled. With `linger` the peer gets the time to read the
        last reply before what it still sends is refused, unless the caller is cancelled.
        """
        ...


class SocketTransport:
    """A connected, non-blocking stream socket of the standard library."""

    __slots__ = ("_is_known_to_trio", "_may_have_more", "_rest", "_socket")

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._rest = b""
        self._may_have_more = False  # there may be something to read: the last receive filled its buffer, say
        self._is_known_to_trio = False  # a task has waited for it by trio

    async def receive(self, size: int) -> bytes:
        sock = self._socket
        try:
            if self._may_have_more:
                await trio.lowlevel.checkpoint()
            else:
                await self._readable()
            while True:
                if self._rest:
                    self._may_have_more = True  # for the next call: that there is something to read is told once
                    raise Unsent
                try:
                    data = sock.recv(size)
                except (BlockingIOError, InterruptedError):
                    await self._readable()
                else:
                    self._may_have_more = len(data) == size
                    return data
        except (OSError, trio.ClosedResourceError) as error:
            raise trio.BrokenResourceError(str(error)) from error

    def _readable(self) -> Awaitable[object]:
        """Waits until there is something to read, or to learn by reading."""
        self._is_known_to_trio = True
        return trio.lowlevel.wait_readable(self._socket)  # noqa: ASYNC105 - `receive` awaits it, with no coroutine between

    def send_now(self, data: bytes) -> bool:
        if self._rest:
            data, self._rest = self._rest + data, b""
        try:
            sent = self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            raise trio.BrokenResourceError(str(error)) from error
        if sent == len(data):
            return True
        self._rest = data[sent:]
        return False

    def send_soon(self, data: bytes) -> bool:
        return self.send_now(data)

    async def flush(self) -> None:
        rest, self._rest = self._rest, b""
        while rest and not self.send_now(rest):
            self._is_known_to_trio = True
            await trio.lowlevel.wait_writable(self._socket)
            rest, self._rest = self._rest, b""

    def has_input(self) -> bool:
        try:
            return bool(self._socket.recv(1, socket.MSG_PEEK))
        except OSError:
            return False

    async def aclose(self, *, linger: bool, seconds: float) -> None:
        sock = self._socket
        try:
            if linger:
                # Octets that nobody has read turn close() into a reset, which can overtake the last reply.
                faults = OSError, trio.BrokenResourceError, trio.BusyResourceError, Unsent
                with contextlib.suppress(*faults), trio.move_on_after(seconds):
                    sock.shutdown(socket.SHUT_WR)
                    while await self.receive(65536):
                        pass
        finally:
            self._close()

    def _close(self) -> None:
        # A task that has outlived its hook may wait here still, and would for the next connection with this descriptor.
        if self._is_known_to_trio:  # to ask needlessly would be 1 % of what a short connection costs
            trio.lowlevel.notify_closing(self._socket)
        self._socket.close()


class StreamTransport:
    """Any trio stream: a tunnel, memory streams in tests."""

    __slots__ = ("_is_cut_off", "_rest", "_stream")

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._rest = b""
        self._is_cut_off = False  # a send was cancelled, and how much of it went out no stream tells

    async def receive(self, size: int) -> bytes:
        with _closed_is_broken():
            return bytes(await self._stream.receive_some(size))

    def send_now(self, data: bytes) -> bool:
        self._rest += data
        return False

    def send_soon(self, data: bytes) -> bool:
        return self.send_now(data)

    async def flush(self) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()  # while nothing has gone out
        if self._is_cut_off:
            raise trio.BrokenResourceError("cut off in the middle of what was sent")
        rest, self._rest = self._rest, b""
        self._is_cut_off = True
        with _closed_is_broken():
            await self._stream.send_all(rest)
        self._is_cut_off = False

    def has_input(self) -> bool:
        return False

    async def aclose(self, *, linger: bool, seconds: float) -> None:
        stream = self._stream
        deadline = trio.current_time() + seconds
        try:
            if linger and isinstance(stream, trio.abc.HalfCloseableStream):
                faults = trio.BrokenResourceError, trio.ClosedResourceError
                with contextlib.suppress(*faults), trio.move_on_at(deadline):
                    await stream.send_eof()
                    while await stream.receive_some(65536):
                        pass
        finally:
            with trio.CancelScope(deadline=deadline, shield=True):
                await stream.aclose()


@contextlib.contextmanager
def _closed_is_broken() -> Iterator[None]:
    """An application may close a stream that it has handed in, to end the session."""
    try:
        yield
    except trio.ClosedResourceError as error:
        raise trio.BrokenResourceError("closed on this side") from error


def peer_at(address: object) -> Peer:
    """Who that is, by a socket's address; an IPv4 address that came in over IPv6 is the IPv4 address that it is."""
    if not isinstance(address, tuple):  # that of a Unix socket
        return Peer("", 0)
    host, port, *_ = address
    return Peer(host.removeprefix("::ffff:") if "." in host else host, port)
