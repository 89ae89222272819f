"""What the tests of the trio layer share."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Unpack

import trio

from trio_smtp.handler import Body, Handler, HandlerFactory, Mail
from trio_smtp.protocol import AbortReason, Envelope, Hello, MailFrom, RcptTo
from trio_smtp.server import AnyHandler, Server, SessionOptions, serve_stream
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
    """The handler that takes everything."""


class Recorder(Handler):
    """Takes everything and notes each call, with what tells it from others."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    @property
    def factory(self) -> HandlerFactory:
        """For the one connection of a test."""
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
    """A handler that has these hooks (without `self`), and takes every message if `message` is none of them."""

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
    """As `open_session`, over the given streams, ours first."""
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


def hosts(server: Server) -> list[str]:
    """The IP addresses that it listens on."""
    return [address[0] for address in server.addresses if not isinstance(address, str)]


async def begin(client: ScriptedClient) -> None:
    """The greeting and EHLO."""
    await client.expect("220")
    assert (await client.command("EHLO client.example")).code == 250


async def deliver(client: ScriptedClient, content: bytes = CONTENT) -> None:
    """One message that must be accepted."""
    reply = await client.send_mail("ann@example.com", ["bob@example.com"], content)
    assert str(reply).startswith(ACCEPTED), reply


def connection() -> tuple[socket.socket, socket.socket]:
    """Both ends of a TCP connection: the client's, and the server's, which does not block."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    theirs.setblocking(False)
    return ours, theirs


def reset(sock: socket.socket | trio.socket.SocketType) -> None:
    """Close a connection by a reset (RST), without a goodbye."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


async def no_connections(server: Server) -> None:
    """Return when the last session has ended."""
    with trio.fail_after(30):
        while server.connections:
            await trio.testing.wait_all_tasks_blocked()
