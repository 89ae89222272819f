"""How a session reads and writes: directly on a TCP or Unix socket, or over any other trio stream.

Both transports have the same methods, and TLS (tls.py) runs on top of either. `SocketTransport` exists for speed: after
each reply `trio.SocketStream` first tries a receive that almost always fails, and it makes an extra checkpoint. That
takes 80 us of CPU per message, against 57 us for waiting until the socket is readable.
"""

from __future__ import annotations

import contextlib
import fcntl
import socket
from collections.abc import Awaitable, Iterator
from typing import Final, Protocol

import trio

from trio_smtp.handler import Peer

__all__ = ["SocketTransport", "StreamTransport", "Transport", "Unsent", "peer_at"]

_SIOCOUTQNSD: Final = 0x894B  # asks Linux how many octets it has not sent yet; the socket module has no name for it


class Unsent(Exception):
    """Some output has not been sent: call `Transport.flush` before `Transport.receive`."""


class Transport(Protocol):
    """What a session needs from a connection. A failed connection raises `trio.BrokenResourceError`."""

    async def receive(self, size: int) -> bytes:
        """Receive at most `size` octets; ``b""`` is the end of input. A checkpoint.

        Raises:
            Unsent: if the output given to `send_soon` could not all be sent. No input is lost.
        """
        ...

    def send_now(self, data: bytes) -> bool:
        """Send as much as possible without waiting and keep the rest for `flush`; return whether all of it was sent.

        Output kept by an earlier call, whose `flush` was cancelled, is sent first.
        """
        ...

    def send_soon(self, data: bytes) -> bool:
        """As `send_now`, for a caller that calls `receive` next. The output may be kept until the end of the turn of
        the loop, so that the replies of many sessions go out together. If it cannot all be sent then, `receive` raises
        `Unsent`.
        """
        ...

    async def flush(self) -> None:
        """Send what was kept, waiting until the peer takes it."""
        ...

    def has_input(self) -> bool:
        """Whether the peer has sent something already; False if that cannot be told without reading."""
        ...

    def has_output(self) -> bool:
        """Whether the kernel still keeps output, because the peer reads late; False if that cannot be told."""
        ...

    async def aclose(self, *, linger: bool, seconds: float) -> None:
        """Close within so many seconds, even if the caller is cancelled. With `linger`, unless the caller is cancelled,
        the peer first gets time to read the last reply: what it still sends is read and dropped meanwhile.
        """
        ...


class SocketTransport:
    """A connected, non-blocking stream socket of the standard library."""

    __slots__ = ("_is_known_to_trio", "_may_have_more", "_rest", "_socket")

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._rest = b""
        self._may_have_more = False  # there may be input to read, such as when the last receive filled its buffer
        self._is_known_to_trio = False  # whether a task has waited for the socket through trio

    async def receive(self, size: int) -> bytes:
        sock = self._socket
        try:
            if self._may_have_more:
                await trio.lowlevel.checkpoint()
            else:
                await self._readable()
            while True:
                if self._rest:
                    self._may_have_more = True  # for the next call: edge-triggered epoll reports this input only once
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
        """Wait until there is input, or an end or error that a read reports."""
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
            with _closed_is_broken():
                await trio.lowlevel.wait_writable(self._socket)
            rest, self._rest = self._rest, b""

    def has_input(self) -> bool:
        try:
            return bool(self._socket.recv(1, socket.MSG_PEEK))
        except OSError:
            return False

    def has_output(self) -> bool:
        try:
            return any(fcntl.ioctl(self._socket, _SIOCOUTQNSD, bytes(4)))
        except OSError:  # not Linux
            return False

    async def aclose(self, *, linger: bool, seconds: float) -> None:
        sock = self._socket
        try:
            if linger:
                # If received octets are unread, close() resets the connection, and the peer may lose the last reply.
                faults = OSError, trio.BrokenResourceError, trio.BusyResourceError, Unsent
                with contextlib.suppress(*faults), trio.move_on_after(seconds):
                    sock.shutdown(socket.SHUT_WR)
                    while await self.receive(65536):
                        pass
        finally:
            self._close()

    def _close(self) -> None:
        # A task that has outlived its hook may still wait for this socket. If it is not woken here, it goes on to wait
        # for the next connection that gets the same descriptor.
        if self._is_known_to_trio:  # a needless call takes 1 % of the time of a short connection
            trio.lowlevel.notify_closing(self._socket)
        self._socket.close()


class StreamTransport:
    """Any trio stream: a tunnel, memory streams in tests."""

    __slots__ = ("_is_cut_off", "_rest", "_stream")

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._rest = b""
        self._is_cut_off = False  # a send was cancelled; a stream does not tell how much of it went out

    async def receive(self, size: int) -> bytes:
        with _closed_is_broken():
            return bytes(await self._stream.receive_some(size))

    def send_now(self, data: bytes) -> bool:
        self._rest += data
        return False

    def send_soon(self, data: bytes) -> bool:
        return self.send_now(data)

    async def flush(self) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()  # before anything is sent
        if self._is_cut_off:
            raise trio.BrokenResourceError("cut off in the middle of what was sent")
        rest, self._rest = self._rest, b""
        self._is_cut_off = True
        with _closed_is_broken():
            await self._stream.send_all(rest)
        self._is_cut_off = False

    def has_input(self) -> bool:
        return False

    def has_output(self) -> bool:
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
    """Treat a closed stream as broken: an application may close the stream it has passed in, to end the session, and a
    task that has outlived its hook may still wait when the session closes its socket.
    """
    try:
        yield
    except trio.ClosedResourceError as error:
        raise trio.BrokenResourceError("closed on this side") from error


def peer_at(address: object) -> Peer:
    """The peer at a socket address; an IPv4-mapped IPv6 address (``::ffff:192.0.2.1``) becomes the IPv4 address."""
    if not isinstance(address, tuple):  # the address of a Unix socket
        return Peer("", 0)
    host, port, *_ = address
    return Peer(host.removeprefix("::ffff:") if "." in host else host, port)
