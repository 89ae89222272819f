"""Tools of the server tests: commands and replies, handlers, clients and servers."""

from __future__ import annotations

import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import trio

from trio_smtp.handler import Body, Handler, HandlerFactory, Mail, Session
from trio_smtp.policy import Content, Policy
from trio_smtp.protocol import AbortReason, Envelope, Hello, MailFrom, RcptTo
from trio_smtp.server import (
    AnyHandler,
    Server,
    ServerOptions,
    SessionOptions,
    open_server,
    serve_sockets,
    serve_stream,
)
from trio_smtp.server.transport import SocketTransport, Transport, Unsent
from trio_smtp.testing.client import ScriptedClient

HELLO = b"EHLO client.example\r\n"
MAIL = b"MAIL FROM:<ann@example.com>\r\n"
RCPT = b"RCPT TO:<bob@example.com>\r\n"
TRANSACTION = MAIL + RCPT
CONTENT = b"Subject: hello\r\n\r\nThis is a test.\r\n"
DATA = b"DATA\r\n" + CONTENT + b".\r\n"

ACCEPTED = "250 2.6.0"
TRANSACTION_ACCEPTED = ("250 2.1.0", "250 2.1.5")
INTERNAL_ERROR = "451 4.3.0 Internal error, reference "


async def take(mail: Mail) -> None:
    """A handler that accepts every message."""


class Recorder(Handler):
    """Accepts everything and records each call, with its main argument."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    @property
    def factory(self) -> HandlerFactory:
        """For a test with one connection: every handler it makes is this one."""
        return HandlerFactory(lambda: self)

    async def connect(self) -> None:
        self.calls.append("connect")

    async def hello(self, event: Hello) -> None:
        self.calls.append(event.verb)

    async def mail(self, event: MailFrom) -> None:
        self.calls.append(f"mail {event.sender or '<>'}")

    async def rcpt(self, event: RcptTo) -> None:
        self.calls.append(f"rcpt {event.recipient}")

    async def message(self, envelope: Envelope, body: Body) -> None:
        self.calls.append("message")
        content = await body.read()
        self.calls.append(f"read {len(content)}")

    async def reset(self, reason: AbortReason) -> None:
        self.calls.append(f"reset {reason.name}")

    async def close(self) -> None:
        self.calls.append("close")


def handler_with(**hooks: Callable[..., Awaitable[Any]]) -> type[Handler]:
    """A handler with these hooks (without `self`); it accepts every message if `message` is not among them."""

    def method(hook: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(self: Handler, *arguments: Any) -> Any:
            return await hook(*arguments)

        return call

    async def read(envelope: Envelope, body: Body) -> None:
        await body.read()

    return type("Special", (Handler,), {name: method(hook) for name, hook in {"message": read, **hooks}.items()})


@asynccontextmanager
async def session_over(
    streams: tuple[trio.abc.Stream, trio.abc.Stream], handler: AnyHandler, **options: Unpack[SessionOptions]
) -> AsyncIterator[ScriptedClient]:
    """Like `open_session`, over the given streams: the client's, then the server's."""
    ours, theirs = streams
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(serve_stream, handler, theirs, **options))
        async with ScriptedClient(ours) as client:
            yield client


@asynccontextmanager
async def connected(server: Server, host: str = "127.0.0.1") -> AsyncIterator[ScriptedClient]:
    """A client over TCP."""
    async with ScriptedClient(await trio.open_tcp_stream(host, server.port)) as client:
        yield client


@asynccontextmanager
async def late_reader(
    **options: Unpack[ServerOptions],
) -> AsyncIterator[tuple[Server, trio.SocketStream, trio.Nursery]]:
    """A client that has sent more messages than its receive buffer holds replies, and has read no reply yet."""
    messages = 200
    with socket.socket() as listener, socket.socket() as peer:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        async with trio.open_nursery() as nursery:
            server = await nursery.start(partial(serve_sockets, take, [listener], **options))
            async with connected(server):  # a second connection: a single one is not polled
                peer.connect(("127.0.0.1", server.port))
                client = trio.SocketStream(trio.socket.from_stdlib_socket(peer))
                await client.receive_some()
                await client.send_all(HELLO + (TRANSACTION + b"BDAT 1 LAST\r\nx") * messages)
                await trio.testing.wait_all_tasks_blocked()
                assert server.stats.messages_accepted == messages
                yield server, client, nursery
            nursery.cancel_scope.cancel()


def hosts(server: Server) -> list[str]:
    """The IP addresses that the server listens on."""
    return [address[0] for address in server.addresses if not isinstance(address, str)]


async def begin(client: ScriptedClient) -> None:
    """Expect the greeting and say EHLO."""
    await client.expect("220")
    assert (await client.command("EHLO client.example")).code == 250


async def deliver(client: ScriptedClient, content: bytes = CONTENT) -> None:
    """Send one message, which must be accepted."""
    reply = await client.send_mail("ann@example.com", ["bob@example.com"], content)
    assert str(reply).startswith(ACCEPTED), reply


def connection() -> tuple[socket.socket, socket.socket]:
    """Both ends of a TCP connection: the client's, and the server's, which does not block."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    theirs.setblocking(False)
    return ours, theirs


async def hear(transport: Transport, size: int) -> bytes:
    """Receive as a session does: flush the pending output first if the transport asks for it."""
    while True:
        try:
            return await transport.receive(size)
        except Unsent:
            await transport.flush()


def reset(sock: socket.socket | trio.socket.SocketType) -> None:
    """Close a connection by a reset (RST)."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def open_files() -> Counter[str]:
    """What the descriptors of this process refer to, and how many refer to it.

    Each socket has a name of its own. So a new one is seen even if a thread that another test has left closes a file
    meanwhile.
    """
    files = Counter[str]()
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the descriptor with which they were listed
            files[str(descriptor.readlink())] += 1
    return files


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what happens in the tasks of the server, without regard to the clock, which may be a mock one."""
    for _ in range(100_000):
        if condition():
            return
        await trio.testing.wait_all_tasks_blocked()
    raise AssertionError("it does not happen")


async def no_connections(server: Server) -> None:
    """Wait until the last session has ended."""
    await until(lambda: not server.connections)


@asynccontextmanager
async def serving(handler: AnyHandler, *policy: Policy, **options: Any) -> AsyncIterator[tuple[Server, ScriptedClient]]:
    """A server on TCP and a client connected to it."""
    async with open_server(handler, policy=policy, **options) as server, connected(server) as client:
        yield server, client


class Choked(SocketTransport):
    """Sends nothing until the event is set."""

    taken = trio.Event()

    def send_now(self, data: bytes) -> bool:
        if self.taken.is_set():
            return super().send_now(data)
        self._rest += data
        return False

    async def flush(self) -> None:
        await self.taken.wait()
        await super().flush()


class Marking(Policy):
    """Adds header fields in front of each message."""

    def __init__(self, *fields: tuple[str, str]) -> None:
        self._fields = fields
        self.asked = 0  # times

    async def content(self, session: Session, envelope: Envelope, content: Content) -> Sequence[tuple[str, str]]:
        self.asked += 1
        return self._fields
