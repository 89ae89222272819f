"""A proxy that records what a client sends, and the message in it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


class Wire:
    """What one client sent, octet for octet."""

    def __init__(self) -> None:
        self.port = 0
        self._sent = bytearray()

    def message(self) -> bytes:
        """Return the message between DATA and the final dot, without dot-stuffing (RFC 5321 §4.5.2)."""
        sent = bytes(self._sent)
        command = re.search(rb"\r\nDATA(?=\r\n)", sent, re.IGNORECASE)
        assert command is not None
        end = sent.index(b"\r\n.\r\n", command.end())
        return sent[command.end() : end + 2].replace(b"\r\n.", b"\r\n")[2:]

    async def _note(self, client: trio.SocketStream, server: trio.SocketStream) -> None:
        async for octets in client:
            self._sent += octets
            await server.send_all(octets)
        await server.send_eof()

    async def _serve(self, client: trio.SocketStream, port: int) -> None:
        server = await trio.open_tcp_stream("127.0.0.1", port)
        async with client, server, trio.open_nursery() as nursery:
            nursery.start_soon(self._note, client, server)
            async for octets in server:
                await client.send_all(octets)
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def tapped(port: int) -> AsyncIterator[Wire]:
    """Listen on the port of the yielded `Wire` and forward connections to the server on `port`."""
    wire = Wire()

    async def serve(client: trio.SocketStream) -> None:
        try:
            await wire._serve(client, port)
        except* trio.BrokenResourceError:
            pass  # a client need not wait for the reply to QUIT

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        wire.port = listeners[0].socket.getsockname()[1]
        await nursery.start(trio.serve_listeners, serve, listeners)
        yield wire
        nursery.cancel_scope.cancel()
