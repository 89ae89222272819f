"""Clients that vanish, by RST or FIN, at every step of a session: no other session is affected, nothing is left."""

from __future__ import annotations

import logging

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.server.tools import (
    CONTENT,
    HELLO,
    MAIL,
    TRANSACTION,
    Recorder,
    begin,
    connected,
    deliver,
    no_connections,
    reset,
    take,
    until,
)
from trio_smtp.handler import Body, HandlerFactory
from trio_smtp.protocol import Config, Envelope
from trio_smtp.server import open_server

ENVELOPE = ["connect", "EHLO", "mail ann@example.com", "rcpt bob@example.com"]
STEPS = {
    "connected": (b"", ["connect"]),
    "half-a-command": (b"EHL", ["connect"]),
    "greeted": (HELLO, ["connect", "EHLO"]),
    "mail": (HELLO + MAIL, ENVELOPE[:3]),
    "rcpt": (HELLO + TRANSACTION, ENVELOPE),
    "data": (HELLO + TRANSACTION + b"DATA\r\n", [*ENVELOPE, "message"]),
    "half-the-message": (HELLO + TRANSACTION + b"DATA\r\nabc", [*ENVELOPE, "message"]),
    "half-the-end": (HELLO + TRANSACTION + b"DATA\r\nabc\r\n.\r", [*ENVELOPE, "message"]),
    "a-refused-message": (HELLO + TRANSACTION + b"DATA\r\na\nb", [*ENVELOPE, "message", "reset BARE_NEWLINE"]),
    "half-a-chunk": (HELLO + TRANSACTION + b"BDAT 9 LAST\r\nabc", [*ENVELOPE, "message"]),
    "between-chunks": (HELLO + TRANSACTION + b"BDAT 3\r\nabc", [*ENVELOPE, "message"]),
    "delivered": (
        HELLO + TRANSACTION + b"DATA\r\n" + CONTENT + b".\r\n",
        [*ENVELOPE, "message", f"read {len(CONTENT)}"],
    ),
    "auth": (HELLO + b"AUTH LOGIN\r\n", ["connect", "EHLO"]),
}
IN_A_TRANSACTION = {"mail", "rcpt", "data", "half-the-message", "half-the-end", "half-a-chunk", "between-chunks"}

every_step = pytest.mark.parametrize(
    ("step", "sent", "calls"), [(name, *row) for name, row in STEPS.items()], ids=STEPS
)


async def anybody(username: str, password: str) -> str:
    return username


def faults(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.exc_info or record.levelno >= logging.WARNING]


@every_step
@pytest.mark.parametrize("how", ["reset", "end"])
async def test_at_every_step(
    step: str, sent: bytes, calls: list[str], how: str, caplog: pytest.LogCaptureFixture
) -> None:
    witness, victim = Recorder(), Recorder()
    recorders = [witness, victim]
    config = Config(auth_requires_tls=False)
    async with (
        open_server(HandlerFactory(lambda: recorders.pop(0)), config=config, authenticator=anybody) as server,
        connected(server) as other,
    ):
        await begin(other)
        async with connected(server) as client:
            await client.expect("220")
            await client.send(sent)
            await until(lambda: victim.calls == calls)
            await wait_all_tasks_blocked()
            if how == "reset":
                assert isinstance(client.stream, trio.SocketStream)
                reset(client.stream.socket)
        await until(lambda: server.connections == 1)
        await deliver(other)
    assert victim.calls == [*calls, *(["reset EOF"] if step in IN_A_TRANSACTION else []), "close"]
    assert not faults(caplog)


async def test_while_a_hook_is_busy(caplog: pytest.LogCaptureFixture) -> None:
    """The message is complete, so it is committed, although no client is left to get the reply."""
    ready = trio.Event()
    recorder = Recorder()

    class Busy(Recorder):
        async def message(self, envelope: Envelope, body: Body) -> None:
            await super().message(envelope, body)
            await ready.wait()
            self.calls.append("committed")

    busy = Busy()
    busy.calls = recorder.calls
    async with open_server(busy.factory) as server:
        async with connected(server) as client:
            await client.expect("220")
            await client.send(HELLO + TRANSACTION + b"DATA\r\n" + CONTENT + b".\r\n")
            await wait_all_tasks_blocked()
            assert isinstance(client.stream, trio.SocketStream)
            reset(client.stream.socket)
        await wait_all_tasks_blocked()
        ready.set()
        await no_connections(server)
    assert recorder.calls[-2:] == ["committed", "close"]
    assert not faults(caplog)


async def test_while_the_hook_takes_its_time_over_the_body(caplog: pytest.LogCaptureFixture) -> None:
    """The hook gets the exception when it reads on."""
    ready = trio.Event()

    class Slow(Recorder):
        async def message(self, envelope: Envelope, body: Body) -> None:
            async for _ in body:
                self.calls.append("chunk")
                await ready.wait()

    slow = Slow()
    async with open_server(slow.factory) as server:
        async with connected(server) as client:
            await client.expect("220")
            await client.send(HELLO + TRANSACTION + b"DATA\r\nabc")
            await until(lambda: "chunk" in slow.calls)
            assert isinstance(client.stream, trio.SocketStream)
            reset(client.stream.socket)
        await wait_all_tasks_blocked()
        ready.set()
        await no_connections(server)
    assert slow.calls[-3:] == ["chunk", "reset EOF", "close"]
    assert not faults(caplog)


async def test_a_hundred_at_once(caplog: pytest.LogCaptureFixture) -> None:
    async with open_server(take) as server, connected(server) as witness:
        await begin(witness)
        clients = [await trio.open_tcp_stream("127.0.0.1", server.port) for _ in range(100)]
        for number, client in enumerate(clients):
            if number % 3:
                await client.receive_some()
                await client.send_all(HELLO + TRANSACTION + b"DATA\r\nabc")
            reset(client.socket)
        await until(lambda: server.connections == 1)
        await deliver(witness)
    assert not faults(caplog)
