"""The listeners, the admission of connections, and the drain.

There are two nested nurseries, connections outside and listeners inside, so that the listeners can stop while
connections finish. The accept loop is our own because it must pause: `trio.serve_listeners` accepts until the file
table is full, and then the store's `open` is the first to fail. Seeing that the table fills up costs nothing: the
kernel assigns the lowest free descriptor, so the number of the one just opened shows it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import socket
from collections.abc import Callable, Sequence
from typing import Final

import trio

from trio_smtp.handler import Peer
from trio_smtp.policy import is_loopback, peer_network
from trio_smtp.protocol import replies
from trio_smtp.server.counting import Connections
from trio_smtp.server.log import log
from trio_smtp.server.polled import open_poller
from trio_smtp.server.session import ServerSession
from trio_smtp.server.settings import Settings
from trio_smtp.server.stats import Stats
from trio_smtp.server.transport import SocketTransport, peer_at

__all__ = ["DEFAULT_MAX_CONNECTIONS", "DEFAULT_MAX_CONNECTIONS_PER_PEER", "Server"]

_BATCH: Final = 64  # connections accepted before other tasks have their turn
_RESERVE: Final = 64  # descriptors kept for the store, at most a quarter of all
_COURTESY: Final = 0.001  # seconds in which a process with fewer connections can accept first
_PAUSE: Final = 1.0  # seconds of a pause after a shortage, and between two log lines about shortages
_NO_CONNECTION: Final = frozenset(  # errors of accept(2) for one connection alone: the client has given up, for example
    {
        errno.ECONNABORTED,
        errno.EINTR,
        errno.ENETDOWN,
        errno.EPROTO,
        errno.ENOPROTOOPT,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.EOPNOTSUPP,
        errno.ENETUNREACH,
        errno.EPERM,
    }
)
_TURNED_AWAY: Final = replies.TOO_MANY_CONNECTIONS.without_enhanced_code().wire
DEFAULT_MAX_CONNECTIONS: Final = 1000
DEFAULT_MAX_CONNECTIONS_PER_PEER: Final = 50


class Server:
    """A running server, as `nursery.start(serve_smtp, ...)` and `open_server` return it.

    Args:
        settings: what its sessions share.
        listeners: bound, listening, non-blocking sockets; closed when the server stops.
        max_connections: connections at one time; more get 421. None stands for 1,000.
        max_connections_per_peer: the same from one address (IPv6: one /64 network). None stands for 50, with loopback
            addresses not counted; a number applies to loopback too. Unix sockets are never counted. Behind a proxy, the
            clients that it announces are counted, not the proxy itself.
        counts: where connections are counted.
    """

    def __init__(
        self,
        settings: Settings,
        listeners: Sequence[socket.socket],
        max_connections: int | None,
        max_connections_per_peer: int | None,
        counts: Connections,
    ) -> None:
        self._settings = settings
        self._listeners = listeners
        self._max_connections = DEFAULT_MAX_CONNECTIONS if max_connections is None else max_connections
        self._count_everyone = max_connections_per_peer is not None
        self._max_per_peer = (
            DEFAULT_MAX_CONNECTIONS_PER_PEER if max_connections_per_peer is None else max_connections_per_peer
        )
        self._sessions: set[ServerSession] = set()
        self._nursery: trio.Nursery | None = None  # of the sessions' tasks
        self._transport_for: Callable[[socket.socket], SocketTransport] = SocketTransport  # until there is a poller
        self._counts = counts
        self._counted: dict[ServerSession, str] = {}  # the peer key that each is counted under
        self._accepting = trio.CancelScope()
        self._until_one_ends = trio.lowlevel.ParkingLot()  # those who wait for a session to end
        self._finished = trio.Event()
        self._complained_at = float("-inf")
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._descriptor_limit = soft - min(_RESERVE, soft // 4) if soft != resource.RLIM_INFINITY else 1 << 30
        self.addresses: Final[Sequence[tuple[str, int] | str]] = [_address(sock) for sock in listeners]
        """Where it listens: (host, port) pairs, and paths of Unix sockets."""

    @property
    def port(self) -> int:
        """The TCP port, the same for IPv4 and IPv6; 0 where there is only a Unix socket."""
        return next((address[1] for address in self.addresses if not isinstance(address, str)), 0)

    @property
    def stats(self) -> Stats:
        """Counters since the start."""
        return self._settings.stats

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._sessions)

    async def aclose(self) -> None:
        """Drain: stop accepting, close idle connections with 421, and abort those still busy after `Timeouts.drain`.

        Returns when the server has stopped. Called from a hook, or from a task that a hook has started, it only starts
        the drain.
        """
        self._accepting.cancel()
        if self._is_inside_session(trio.lowlevel.current_task()):
            await trio.lowlevel.checkpoint()  # the session cannot end before this returns
        else:
            await self._finished.wait()

    def _is_inside_session(self, task: trio.lowlevel.Task | None) -> bool:
        while task is not None and task.parent_nursery is not None:
            if task.parent_nursery is self._nursery:
                return True
            task = task.parent_nursery.parent_task
        return False

    async def run(self, task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until `aclose` is called or the task is cancelled."""
        try:
            async with open_poller() as self._transport_for, trio.open_nursery() as connections:
                self._nursery = connections
                try:
                    with self._accepting:
                        async with trio.open_nursery() as listeners:
                            for listener in self._listeners:
                                listeners.start_soon(self._accept_forever, listener, connections)
                            task_status.started(self)
                    self._close_listeners()
                    await self._drain()
                finally:  # sessions are shielded from cancellation, so they have to be told
                    for session in self._sessions:
                        session.abort()
        finally:
            self._close_listeners()
            self._finished.set()

    def _close_listeners(self) -> None:
        for listener in self._listeners:
            listener.close()

    async def _drain(self) -> None:
        for session in tuple(self._sessions):
            session.drain()
        with trio.move_on_after(self._settings.timeouts.drain):
            while self._sessions:
                await self._until_one_ends.park()

    # Admission ------------------------------------------------------------------------------------------------------

    async def _accept_forever(self, listener: socket.socket, nursery: trio.Nursery) -> None:
        while True:
            await trio.lowlevel.wait_readable(listener)
            if self._counts.ahead:
                await trio.sleep(_COURTESY)
            for _ in range(_BATCH):
                try:
                    sock, address = listener.accept()
                except BlockingIOError:
                    break
                except OSError as error:
                    if error.errno not in _NO_CONNECTION:  # a full file table, or an error that would recur at once
                        await self._pause(str(error.strerror).lower())
                    break
                except MemoryError:  # it must not end the accept loop, here or below
                    await self._pause("out of memory")
                    break
                if sock.fileno() >= self._descriptor_limit:
                    self._turn_away(sock, "open-files")
                    await self._pause("too many open files")
                    break
                try:
                    self._admit(sock, address, nursery)
                except MemoryError:
                    sock.close()
                    await self._pause("out of memory")
                    break
                if self._counts.ahead:
                    break

    async def _pause(self, shortage: str) -> None:
        """Leave new connections in the kernel's queue until a session ends, or for `_PAUSE` seconds."""
        now = trio.current_time()
        if now - self._complained_at >= _PAUSE:
            self._complained_at = now
            with contextlib.suppress(Exception):  # the shortage may concern the log as well
                log.warning("%s: no new connections for a moment (%d open)", shortage, self.connections)
        with trio.move_on_after(_PAUSE):
            await self._until_one_ends.park()

    def _admit(self, sock: socket.socket, address: object, nursery: trio.Nursery) -> None:
        peer = peer_at(address)
        try:
            sock.setblocking(False)
            if peer.host:  # TCP, not a Unix socket
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:  # the client is gone already
            sock.close()
            return
        key = "" if self._settings.proxy_networks else self._peer_key(peer)
        if self._counts.total >= self._max_connections:
            self._turn_away(sock, "connections")
            return
        if self._has_enough(key):
            self._turn_away(sock, "connections-per-peer")
            return
        self.stats.connections += 1
        transport = self._transport_for(sock) if self._sessions else SocketTransport(sock)  # cheaper for one alone
        session = ServerSession(self._settings, transport, peer, self)
        nursery.start_soon(session.run, name="SMTP session")  # trio would make a new string for each
        self._sessions.add(session)
        self._counts.enter()
        self._count(session, key)

    def admit_announced(self, session: ServerSession, peer: Peer) -> bool:
        """Whether to admit the client that a proxy has announced on this connection; if so, count it."""
        key = self._peer_key(peer)
        if self._has_enough(key):
            self._count_refusal("connections-per-peer")
            return False
        self._count(session, key)
        return True

    def _has_enough(self, key: str) -> bool:
        return bool(key) and self._counts.of(key) >= self._max_per_peer

    def _count(self, session: ServerSession, key: str) -> None:
        if key:
            self._counts.enter_as(key)
            self._counted[session] = key

    def _count_refusal(self, rule: str) -> None:
        self.stats.connections_refused += 1
        self.stats.rules[rule] += 1

    def _turn_away(self, sock: socket.socket, rule: str) -> None:
        self._count_refusal(rule)
        sock.setblocking(False)
        try:
            if not self._settings.implicit_tls:
                sock.send(_TURNED_AWAY)
        except OSError:
            pass  # the client is gone already
        finally:
            sock.close()

    def forget(self, session: ServerSession) -> None:
        """Remove a session that has ended."""
        self._sessions.discard(session)
        self._counts.leave()
        if key := self._counted.pop(session, ""):
            self._counts.leave_as(key)
        if self._until_one_ends:
            self._until_one_ends.unpark_all()

    def _peer_key(self, peer: Peer) -> str:
        """The key that a peer is counted under; ``""`` if it is not counted."""
        return peer_network(peer.host) if self._count_everyone or not is_loopback(peer.host) else ""


def _address(sock: socket.socket) -> tuple[str, int] | str:
    name = sock.getsockname()
    return (name[0], name[1]) if isinstance(name, tuple) else os.fsdecode(name)  # bytes if it is abstract, on Linux
