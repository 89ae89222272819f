"""Wait for input on many sockets at a lower cost than trio does, on Linux, which has epoll.

`trio.lowlevel.wait_readable` makes a system call to arm its epoll for each wait, and holds four objects during the
wait. This module registers each socket once, edge-triggered, with an epoll instance of its own, so no wait has to arm
anything. One system task waits through trio until that epoll has events; under load it does not block at all. A task
that waits for one of the sockets runs in the same turn of the event loop. For a single connection this costs more than
trio's way. With ten connections, a message in lockstep takes a tenth fewer instructions (``python -m bench.whole``) and
one system call less per wait, and an idle connection takes a KiB less memory.

The replies that sessions make in one turn of the loop are sent together at its end. A client process on the same
machine is woken by the first of them; waking it for each reply took a seventh of the time of a small message.

Epoll reports an edge only once. If no task is waiting then, the transport remembers it for the next wait. The end of
input may be reported together with the last octets, so the transport remembers it for all later waits.
"""

from __future__ import annotations

import contextlib
import select
import socket
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator
from typing import TypeVar

import trio
from outcome import Outcome

from trio_smtp.server.transport import SocketTransport

__all__ = ["open_poller"]

_Y = TypeVar("_Y")
_R = TypeVar("_R")


if sys.platform == "linux":
    _NEWS = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET
    _END = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
    # If so many sockets were ready in one turn, `wake_up` keeps the loop from blocking: that saves 3 % of a message in
    # lockstep, with ten sessions.
    _MANY = 4
    _TOGETHER = 8  # replies sent together at most: the first of them waits until the last one is made

    class _Woken(Outcome[None]):
        """Resumes a waiting task with None. Unlike an `outcome.Value` it can be used again: making a new one for each
        wait would cost a twentieth of a message in lockstep.
        """

        def unwrap(self) -> None:
            return None

        def send(self, gen: Generator[_Y, None, _R]) -> _Y:
            return gen.send(None)

        async def asend(self, agen: AsyncGenerator[_Y, None]) -> _Y:
            return await agen.asend(None)

    _WOKEN = _Woken()

    class _Poller(trio.abc.Instrument):
        """The epoll instance of a server; a trio instrument while it watches any sockets."""

        def __init__(self) -> None:
            self._epoll = select.epoll()
            self._watched: dict[int, _PolledTransport] = {}  # by descriptor
            self._told = 0  # sockets that had events in this turn of the loop
            self.outgoing: list[_PolledTransport] = []
            """Transports with output for the end of this turn of the loop, unless they have sent it by then."""
            self.token = trio.lowlevel.current_trio_token()
            self._waking = trio.CancelScope()
            self._closed = trio.Event()

        async def wake_up(self) -> None:
            """Make trio's loop wake up whenever a watched socket has an event."""
            try:
                with self._waking, self._epoll:
                    while True:
                        await trio.lowlevel.wait_readable(self._epoll.fileno())
                        while self._told >= _MANY:  # busy: more events come soon, so keep the loop from blocking
                            await trio.lowlevel.cancel_shielded_checkpoint()
            finally:
                self._closed.set()

        async def aclose(self) -> None:
            self._stand_by()
            self._waking.cancel()
            with trio.CancelScope(shield=True):
                await self._closed.wait()

        def transport(self, sock: socket.socket) -> SocketTransport:
            """A transport for this socket, watched until it is closed; an unwatched one if the epoll has no room."""
            descriptor = sock.fileno()
            try:
                self._epoll.register(descriptor, _NEWS)
            except OSError:
                return SocketTransport(sock)
            if not self._watched:
                trio.lowlevel.add_instrument(self)
            transport = self._watched[descriptor] = _PolledTransport(sock, self)
            return transport

        def forget(self, descriptor: int) -> None:
            """Stop watching a socket that is about to be closed."""
            del self._watched[descriptor]
            self._epoll.unregister(descriptor)  # closing would not do it if a child process has the socket too

        def send_all(self) -> None:
            """Send the kept output of all transports. If the turn goes on, some may keep more output afterwards."""
            try:
                for transport in self.outgoing:
                    transport.send_kept()
            except MemoryError:  # must not escape, see `after_io_wait`; try again in the next turn, which comes at once
                with contextlib.suppress(MemoryError):
                    self.token.run_sync_soon(self.send_all, idempotent=True)
                return
            self.outgoing.clear()

        def before_io_wait(self, timeout: float) -> None:
            """Send the kept output at the end of a turn of the loop."""
            if self.outgoing:
                self.send_all()
            if timeout and not self._watched:  # not busy: the next connection may be far away
                self._stand_by()

        def _stand_by(self) -> None:
            """Cease to be an instrument of trio, as long as no socket is watched."""
            with contextlib.suppress(KeyError):
                trio.lowlevel.remove_instrument(self)
            self._told = 0

        def after_io_wait(self, timeout: float) -> None:
            """Wake the tasks whose sockets have events, so that they run in this turn of the loop.

            `wake_up` cannot do that: it runs in this turn itself, so the tasks would run in the next one.
            """
            try:
                there = self._epoll.poll(0)
                self._told = len(there)
                for descriptor, news in there:
                    if transport := self._watched.get(descriptor):
                        transport.has_ended = bool(news & _END)
                        transport.wake()
            except MemoryError:  # must not escape: trio removes an instrument that raises
                for descriptor in self._watched:
                    self._epoll.modify(descriptor, _NEWS)  # makes epoll report pending input once more

    class _PolledTransport(SocketTransport):
        """The transport of a socket that a `_Poller` watches."""

        __slots__ = ("_has_news", "_poller", "_task", "has_ended")

        def __init__(self, sock: socket.socket, poller: _Poller) -> None:
            super().__init__(sock)
            self._poller = poller
            self._task: trio.lowlevel.Task | None = None  # the one that waits for input
            self._has_news = False
            self.has_ended = False
            """No input will arrive beyond what can be read already."""

        def wake(self) -> None:
            """Resume the waiting task, or the next one to wait: there is input, or an end or error for it to read."""
            task = self._task
            if task is None:
                self._has_news = True
            else:
                self._task = None
                trio.lowlevel.reschedule(task, _WOKEN)

        def send_soon(self, data: bytes) -> bool:
            if self._rest:  # kept earlier in this turn, or the send buffer was full: send both, in order
                return self.send_now(data)
            self._rest = data
            poller = self._poller
            poller.outgoing.append(self)
            if len(poller.outgoing) >= _TOGETHER:
                poller.send_all()
            return True

        def send_kept(self) -> None:
            """Send what `send_soon` kept, if anything is left. If some cannot be sent, `receive` raises `Unsent`."""
            kept = self._rest
            if not kept:
                return
            try:
                sent = self._socket.send(kept)
            except OSError:
                sent = 0
            self._rest = kept[sent:]
            if self._rest:  # wake the reader in the next turn: in this one trio may already have decided to block
                self._poller.token.run_sync_soon(self.wake)

        def _readable(self) -> Awaitable[object]:
            if self._has_news or self.has_ended:
                return self._take_news()
            if self._task is not None:
                raise trio.BusyResourceError("another task is already reading from this socket")
            self._task = trio.lowlevel.current_task()
            return trio.lowlevel.wait_task_rescheduled(self._stop_waiting)  # noqa: ASYNC105 - `receive` awaits it

        async def _take_news(self) -> None:
            await trio.lowlevel.checkpoint()
            self._has_news = False  # not earlier: a task cancelled above reads nothing, and epoll reports it only once

        def _stop_waiting(self, _: object) -> trio.lowlevel.Abort:
            self._task = None
            return trio.lowlevel.Abort.SUCCEEDED

        async def aclose(self, *, linger: bool, seconds: float) -> None:
            self.send_kept()
            await super().aclose(linger=linger, seconds=seconds)

        def _close(self) -> None:
            self._poller.forget(self._socket.fileno())
            super()._close()
            self.has_ended = True
            self.wake()

    @contextlib.asynccontextmanager
    async def open_poller() -> AsyncIterator[Callable[[socket.socket], SocketTransport]]:
        """Yield a function that makes transports for many sockets; they must be closed inside the block.

        Raises:
            OSError: if the system provides no epoll instance.
        """
        poller = _Poller()
        trio.lowlevel.spawn_system_task(poller.wake_up)  # no cancellation reaches it while sessions still read
        try:
            yield poller.transport
        finally:
            await poller.aclose()  # noqa: ASYNC102 - it is shielded

else:

    @contextlib.asynccontextmanager
    async def open_poller() -> AsyncIterator[Callable[[socket.socket], SocketTransport]]:
        """Yield `SocketTransport`, which waits through trio."""
        yield SocketTransport
