"""Waits for one of many sockets at a lower cost than trio, where there is epoll: on Linux.

`trio.lowlevel.wait_readable` arms the system's poll anew for each wait, by a system call, and keeps four objects
meanwhile. Here a socket is made known once, to an epoll of our own, and edge-triggered, so that nothing has to be
armed. One task waits by trio until that epoll has something to tell, unless it always has; whoever waits for one of
its sockets goes on in the same turn of the loop. A lone connection would pay more for that; with ten a message in
lockstep takes a tenth fewer instructions (``python -m bench.whole``) and one system call less for each wait, and an
idle one a KiB less memory.

What sessions say in one turn of the loop goes out at its end, all together. A program on this machine that waits for
replies is woken by the first one; to wake it for each took a seventh of the time of a small message.

An edge is told once. One that comes while nobody waits is kept for the next wait; that of the end of input, which may
come with the last octets, for all of them.
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
    _MANY = 4  # who go on in one turn: not to wait then saves 3 % of a message in lockstep, with ten sessions
    _TOGETHER = 8  # replies that go out together at the most: the first of them waits for the last one to be made

    class _Woken(Outcome[None]):
        """Resumes a task that has waited, with None. Unlike an `outcome.Value` it can be used again: a new one for each
        wait would be a twentieth of a message in lockstep.
        """

        def unwrap(self) -> None:
            return None

        def send(self, gen: Generator[_Y, None, _R]) -> _Y:
            return gen.send(None)

        async def asend(self, agen: AsyncGenerator[_Y, None]) -> _Y:
            return await agen.asend(None)

    _WOKEN = _Woken()

    class _Poller(trio.abc.Instrument):
        """The epoll of a server; an instrument of trio's loop while there are sockets to watch."""

        def __init__(self) -> None:
            self._epoll = select.epoll()
            self._watched: dict[int, _PolledTransport] = {}  # by descriptor
            self._told = 0  # of how many there was something to tell in this turn of the loop
            self.outgoing: list[_PolledTransport] = []
            """Which have something to send before this turn of the loop is over, if they have not sent it by then."""
            self.token = trio.lowlevel.current_trio_token()
            self._waking = trio.CancelScope()
            self._closed = trio.Event()

        async def wake_up(self) -> None:
            """End trio's wait for I/O whenever there is something to tell."""
            try:
                with self._waking, self._epoll:
                    while True:
                        await trio.lowlevel.wait_readable(self._epoll.fileno())
                        while self._told >= _MANY:  # so there is soon more, and the next turn need not be waited for
                            await trio.lowlevel.cancel_shielded_checkpoint()
            finally:
                self._closed.set()

        async def aclose(self) -> None:
            self._waking.cancel()
            with trio.CancelScope(shield=True):
                await self._closed.wait()

        def transport(self, sock: socket.socket) -> SocketTransport:
            """For this socket, which is watched until it is closed; an ordinary one if there is no room for it."""
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
            """It is about to be closed, by which it leaves the epoll."""
            del self._watched[descriptor]
            if not self._watched:
                trio.lowlevel.remove_instrument(self)
                self._told = 0

        def send_all(self) -> None:
            """Let out what was kept. It may be in the middle of a turn: others may still keep something behind it."""
            try:
                for transport in self.outgoing:
                    transport.send_kept()
            except MemoryError:  # the next turn, which comes at once, goes back to all of them; see below
                with contextlib.suppress(MemoryError):
                    self.token.run_sync_soon(self.send_all, idempotent=True)
                return
            self.outgoing.clear()

        def before_io_wait(self, timeout: float) -> None:
            """The end of a turn of the loop."""
            if self.outgoing:
                self.send_all()

        def after_io_wait(self, timeout: float) -> None:
            """In time for this turn of the loop; `wake_up` has its own turn in it."""
            try:
                there = self._epoll.poll(0)
                self._told = len(there)
                for descriptor, news in there:
                    if transport := self._watched.get(descriptor):
                        transport.has_ended = bool(news & _END)
                        transport.wake()
            except MemoryError:  # trio never calls an instrument again that raises
                for descriptor in self._watched:
                    self._epoll.modify(descriptor, _NEWS)  # it is told once more of what there is

    class _PolledTransport(SocketTransport):
        """One of its sockets."""

        __slots__ = ("_has_news", "_poller", "_task", "has_ended")

        def __init__(self, sock: socket.socket, poller: _Poller) -> None:
            super().__init__(sock)
            self._poller = poller
            self._task: trio.lowlevel.Task | None = None  # that waits
            self._has_news = False
            self.has_ended = False
            """Nothing more comes than what there is to read."""

        def wake(self) -> None:
            """There is something to read, or to learn by reading: let who waits for it go on, or who comes next."""
            task = self._task
            if task is None:
                self._has_news = True
            else:
                self._task = None
                trio.lowlevel.reschedule(task, _WOKEN)

        def send_soon(self, data: bytes) -> bool:
            if self._rest:  # kept in this turn too, or by the system's want of room; both go out in their order
                return self.send_now(data)
            self._rest = data
            poller = self._poller
            poller.outgoing.append(self)
            if len(poller.outgoing) >= _TOGETHER:
                poller.send_all()
            return True

        def send_kept(self) -> None:
            """Send what was to go out soon, if it has not gone already. What does not go out, `receive` tells of."""
            kept = self._rest
            if not kept:
                return
            try:
                sent = self._socket.send(kept)
            except OSError:
                sent = 0
            self._rest = kept[sent:]
            if self._rest:  # it is too late in this turn: the loop may have made up its mind to wait
                self._poller.token.run_sync_soon(self.wake)

        def _readable(self) -> Awaitable[object]:
            if self._has_news or self.has_ended:
                return self._take_news()
            if self._task is not None:
                raise trio.BusyResourceError("another task is already reading from this socket")
            self._task = trio.lowlevel.current_task()
            return trio.lowlevel.wait_task_rescheduled(self._stop_waiting)  # noqa: ASYNC105 - the same

        async def _take_news(self) -> None:
            await trio.lowlevel.checkpoint()
            self._has_news = False  # not before: who is cancelled there has read nothing, and is told no second time

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
        """Makes transports for sockets of which there are many; they are to be closed inside the block.

        Raises:
            OSError: the system gives no epoll.
        """
        poller = _Poller()
        trio.lowlevel.spawn_system_task(poller.wake_up)  # which nobody cancels who has still to read
        try:
            yield poller.transport
        finally:
            await poller.aclose()  # noqa: ASYNC102 - it is shielded

else:

    @contextlib.asynccontextmanager
    async def open_poller() -> AsyncIterator[Callable[[socket.socket], SocketTransport]]:
        """Ordinary transports."""
        yield SocketTransport
