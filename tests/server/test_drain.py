"""Shutting down, by a drain or a cancellation: which clients may finish, which get 421, and complete messages."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import pytest
import trio
from trio.testing import MockClock, assert_checkpoints, memory_stream_pair, wait_all_tasks_blocked

from tests.server.tools import (
    ACCEPTED,
    CONTENT,
    DATA,
    HELLO,
    RCPT,
    TRANSACTION,
    TRANSACTION_ACCEPTED,
    begin,
    connected,
    deliver,
    handler_with,
    hosts,
    late_reader,
    take,
)
from trio_smtp.handler import Body, Handler, HandlerFactory, Mail, Peer, Refuse
from trio_smtp.protocol import AbortReason, Envelope, Reply
from trio_smtp.server import (
    AnyHandler,
    Server,
    ServerOptions,
    Timeouts,
    open_server,
    serve_smtp,
    serve_sockets,
    serve_stream,
)
from trio_smtp.server.proxy import parse_networks
from trio_smtp.server.session import ServerSession
from trio_smtp.server.settings import Settings
from trio_smtp.server.transport import StreamTransport
from trio_smtp.testing.client import ScriptedClient

CLOSING = "421 4.3.2"


class Committing(Handler):
    """Commits when the test sets the event, and records its calls."""

    def __init__(self, events: list[str], ready: trio.Event) -> None:
        self._events = events
        self._ready = ready

    async def message(self, envelope: Envelope, body: Body) -> None:
        await body.read()
        self._events.append("begun")
        await self._ready.wait()
        self._events.append("committed")

    async def reset(self, reason: AbortReason) -> None:
        self._events.append(f"reset {reason.name}")

    async def close(self) -> None:
        self._events.append("close")


@asynccontextmanager
async def running(
    handler: AnyHandler, **options: Unpack[ServerOptions]
) -> AsyncIterator[tuple[Server, trio.Nursery, ScriptedClient]]:
    """A server in a nursery that the test may cancel, and a client."""
    async with trio.open_nursery() as nursery:
        server = await nursery.start(partial(serve_smtp, handler, 0, **options))
        async with connected(server) as client:
            yield server, nursery, client


# --- drain


async def test_an_idle_client_hears_421_at_once(patient_clock: MockClock) -> None:
    """The server does not wait for it, although it keeps its connection open."""
    async with open_server(take) as server, connected(server) as client, connected(server) as silent:
        await begin(client)
        await silent.expect("220")
        await server.aclose()
        assert (server.connections, trio.current_time()) == (0, 0)
        await client.expect_close(CLOSING)
        await silent.expect_close(CLOSING)


async def test_nobody_gets_in_any_more() -> None:
    """From the first moment, however long the drain takes."""
    async with running(take) as (server, nursery, client):
        await begin(client)
        await client.send(TRANSACTION)
        await client.expect(*TRANSACTION_ACCEPTED)
        nursery.start_soon(server.aclose)
        await wait_all_tasks_blocked()
        for host in hosts(server):
            with pytest.raises(OSError):  # noqa: PT011 - refused
                await trio.open_tcp_stream(host, server.port)
        await client.send(DATA)
        await client.expect_close("354", ACCEPTED, CLOSING)


@pytest.mark.parametrize(
    ("begun", "answered", "rest", "replies"),
    [
        (b"MAIL FROM:<>\r\n", 1, b"RCPT TO:<bob@example.com>\r\n" + DATA, ["250", "354"]),
        (TRANSACTION, 2, DATA, ["354"]),
        (TRANSACTION + b"DATA\r\nx", 3, b"\r\n.\r\n", []),
        (TRANSACTION + b"BDAT 1\r\nx", 3, b"BDAT 0 LAST\r\n", []),
    ],
)
async def test_a_transaction_may_be_finished(begun: bytes, answered: int, rest: bytes, replies: list[str]) -> None:
    """No other transaction may be begun, even if it arrives together with the end of the first."""
    async with running(take) as (server, nursery, client):
        await begin(client)
        await client.send(begun)
        await client.expect(*[""] * answered)
        await wait_all_tasks_blocked()
        nursery.start_soon(server.aclose)
        await wait_all_tasks_blocked()
        await client.send(rest + TRANSACTION + DATA)
        await client.expect(*replies, ACCEPTED, CLOSING)
        await client.send_eof()
        await client.expect_close()


async def test_it_may_be_finished_step_by_step() -> None:
    async with running(take) as (server, nursery, client):
        await begin(client)
        await client.send(b"MAIL FROM:<>\r\n")
        await client.expect("250")
        nursery.start_soon(server.aclose)
        for sent, reply in ((RCPT, "250"), (RCPT, "250"), (b"DATA\r\n", "354"), (CONTENT, ""), (b".\r\n", ACCEPTED)):
            await wait_all_tasks_blocked()
            await client.send(sent)
            await client.expect(*filter(None, [reply]))
        await client.expect_close(CLOSING)


async def test_a_pipelined_rest_is_served() -> None:
    """Commands that had arrived when the drain began are still answered."""
    ready = trio.Event()
    events: list[str] = []
    async with running(HandlerFactory(lambda: Committing(events, ready))) as (server, nursery, client):
        await begin(client)
        await client.send(TRANSACTION + b"DATA\r\n")
        await client.expect(*TRANSACTION_ACCEPTED, "354")
        await client.send(CONTENT + b".\r\nQUIT\r\n")
        await wait_all_tasks_blocked()
        nursery.start_soon(server.aclose)
        await wait_all_tasks_blocked()
        ready.set()
        await client.expect_close(ACCEPTED, "221")
    assert events == ["begun", "committed", "close"]


async def test_a_client_that_reads_late_has_all_its_answers(patient_clock: MockClock) -> None:
    """Its replies are not cut off before the deadline of the drain; it would send its messages again otherwise."""
    async with late_reader() as (server, client, nursery):
        nursery.start_soon(server.aclose)
        await trio.sleep(20)
        received = b"".join([data async for data in client])
    assert received.count(b"\r\n" + ACCEPTED.encode()) == server.stats.messages_accepted
    assert received.splitlines()[-1].startswith(CLOSING.encode())


async def test_after_its_deadline_the_rest_is_cut_off(patient_clock: MockClock) -> None:
    async with running(take, timeouts=Timeouts(drain=20)) as (server, nursery, client):
        await begin(client)
        await client.send(TRANSACTION + b"DATA\r\nx")
        await client.expect(*TRANSACTION_ACCEPTED, "354")
        nursery.start_soon(server.aclose)
        await client.expect(CLOSING)
        assert trio.current_time() == 20
        await client.send_eof()
        await client.expect_close()


async def test_a_busy_hook_is_cut_off_after_the_deadline(patient_clock: MockClock) -> None:
    async def rcpt(event: object) -> None:
        await trio.sleep_forever()

    async with running(handler_with(rcpt=rcpt), timeouts=Timeouts(drain=20)) as (server, nursery, client):
        await begin(client)
        await client.send(TRANSACTION)
        nursery.start_soon(server.aclose)
        await client.expect("250", CLOSING)
        assert trio.current_time() == 20
        await client.send_eof()
        await client.expect_close()


async def test_a_commit_is_not_cut_off(patient_clock: MockClock) -> None:
    """Not by the deadline of the drain; the commit timeout still applies."""
    for seconds, answer in ((60, ACCEPTED), (1000, CLOSING)):

        async def on_mail(mail: Mail, seconds: float = seconds) -> None:
            await trio.sleep(seconds)

        async with running(on_mail, timeouts=Timeouts(drain=20, commit=100)) as (server, nursery, client):
            await begin(client)
            await client.send(TRANSACTION + b"DATA\r\n")
            await client.expect(*TRANSACTION_ACCEPTED, "354")
            await client.send(CONTENT + b".\r\n")
            nursery.start_soon(server.aclose)
            await client.expect(answer)
            await client.send_eof()
            await client.rest()


async def test_a_handshake_that_stalls_holds_the_drain_up_no_longer_than_others(
    server_tls: ssl.SSLContext, patient_clock: MockClock
) -> None:
    timeouts = Timeouts(drain=5)
    async with running(take, ssl_context=server_tls, implicit_tls=True, timeouts=timeouts) as (server, _, client):
        await wait_all_tasks_blocked()
        await server.aclose()
        await client.expect_close()
    assert trio.current_time() <= 5


async def test_an_idle_client_inside_tls_hears_421(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    async with open_server(take, ssl_context=server_tls, implicit_tls=True) as server, connected(server) as client:
        await client.start_tls(client_tls, "mx.example.com")
        await begin(client)
        await server.aclose()
        await client.expect_close(CLOSING)


async def test_a_command_that_came_just_before_is_answered(autojump_clock: MockClock) -> None:
    """Its octets have been received, but the session has not gone on yet."""

    class Draining(StreamTransport):
        async def receive(self, size: int) -> bytes:
            data = await super().receive(size)
            session.drain()
            return data

    async def hello(event: object) -> None:
        await trio.lowlevel.checkpoint()

    ours, theirs = memory_stream_pair()
    session = ServerSession(Settings(handler_with(hello=hello)), Draining(theirs), Peer("", 0))
    async with ScriptedClient(ours) as client, trio.open_nursery() as nursery:
        nursery.start_soon(session.run)
        await begin(client)
        await client.expect_close(CLOSING)


async def test_draining_twice_and_from_several_tasks() -> None:
    async with open_server(take) as server, connected(server) as client:
        await begin(client)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.aclose)
            nursery.start_soon(server.aclose)
        await server.aclose()
        await client.expect_close(CLOSING)


@pytest.mark.parametrize("in_a_task", [False, True])
async def test_from_a_hook_it_only_starts(in_a_task: bool) -> None:
    """`aclose` does not wait if a hook calls it, or a child task of one: it would wait for itself."""
    servers: list[Server] = []

    async def on_mail(mail: Mail) -> None:
        if in_a_task:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.lowlevel.checkpoint)
                nursery.start_soon(servers[0].aclose)
        else:
            with assert_checkpoints():
                await servers[0].aclose()

    async with running(on_mail) as (server, _, client), connected(server) as idle:
        servers.append(server)
        await begin(idle)
        await begin(client)
        await client.send(TRANSACTION + DATA)
        await client.expect_close(*TRANSACTION_ACCEPTED, "354", ACCEPTED, CLOSING)
        await idle.expect_close(CLOSING)


async def test_a_client_that_connects_at_the_last_moment() -> None:
    """It may be greeted or not, but it is not left hanging."""
    async with open_server(take) as server, connected(server) as client:
        await server.aclose()
        try:
            replies = await client.rest()
        except trio.BrokenResourceError:
            replies = []
    assert [reply.code for reply in replies] in ([], [421], [220, 421])


# --- cancellation


@pytest.fixture(params=["plain", "tls", "stream"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@asynccontextmanager
async def serving(
    kind: str, handler: HandlerFactory, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> AsyncIterator[tuple[ScriptedClient, Callable[[], None]]]:
    """A client of a server or of a single stream, and how to cancel the other end."""
    async with trio.open_nursery() as nursery:
        if kind == "stream":
            ours, theirs = memory_stream_pair()
            nursery.start_soon(serve_stream, handler, theirs)
            client = ScriptedClient(ours)
        else:
            options: ServerOptions = {"ssl_context": server_tls, "implicit_tls": True} if kind == "tls" else {}
            server = await nursery.start(partial(serve_smtp, handler, 0, **options))
            client = ScriptedClient(await trio.open_tcp_stream("127.0.0.1", server.port))
            if kind == "tls":
                await client.start_tls(client_tls, "mx.example.com")
        with trio.CancelScope(shield=True):
            yield client, nursery.cancel_scope.cancel
            await client.aclose()


async def test_a_cancelled_server_says_goodbye(
    kind: str, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    events: list[str] = []
    handler = HandlerFactory(lambda: Committing(events, trio.Event()))
    async with serving(kind, handler, server_tls, client_tls) as (client, cancel):
        await begin(client)
        await client.send(TRANSACTION)
        await client.expect(*TRANSACTION_ACCEPTED)
        cancel()
        await client.expect(CLOSING)
        if kind != "tls":
            await client.send_eof()
        await client.expect_close()
    assert events == ["reset CLOSING", "close"]


@pytest.mark.parametrize("silence", [0, 200], ids=["at-once", "after-a-silence"])
async def test_a_message_that_is_here_is_committed_and_answered(
    kind: str, silence: float, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext, patient_clock: MockClock
) -> None:
    """Even if the server is cancelled: otherwise the client would send it again, and it would be stored twice."""
    events: list[str] = []
    ready = trio.Event()
    handler = HandlerFactory(lambda: Committing(events, ready))
    async with serving(kind, handler, server_tls, client_tls) as (client, cancel):
        await begin(client)
        await trio.sleep(silence)
        await client.send(TRANSACTION + b"DATA\r\n")
        await client.expect(*TRANSACTION_ACCEPTED, "354")
        await client.send(CONTENT + b".\r\n" + TRANSACTION + DATA)
        await wait_all_tasks_blocked()
        cancel()
        await wait_all_tasks_blocked()
        assert events == ["begun"]
        ready.set()
        await client.expect(ACCEPTED, CLOSING)
    assert events == ["begun", "committed", "close"]


async def test_a_commit_in_a_thread_is_waited_for() -> None:
    """The thread ends, then the 250 goes out."""
    events: list[str] = []
    started, go_on = trio.Event(), trio.Event()

    def write() -> None:
        trio.from_thread.run_sync(started.set)
        trio.from_thread.run(go_on.wait)
        events.append("written")

    async def on_mail(mail: Mail) -> None:
        await trio.to_thread.run_sync(write)

    async with running(on_mail) as (_, nursery, client):
        await begin(client)
        await client.send(TRANSACTION + b"DATA\r\n")
        await client.expect(*TRANSACTION_ACCEPTED, "354")
        await client.send(CONTENT + b".\r\n")
        await started.wait()
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await wait_all_tasks_blocked()
            go_on.set()
            await client.expect(ACCEPTED, CLOSING)
    assert events == ["written"]


class Sluggish(trio.abc.Stream):
    """A stream whose `send_all` waits for an event, if there is one, before the octets go out."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self.hold: trio.Event | None = None

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self.hold is not None:
            await self.hold.wait()
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self._stream.aclose()


async def test_an_answer_that_is_on_its_way_is_not_cut_off() -> None:
    ours, theirs = memory_stream_pair()
    sluggish = Sluggish(theirs)
    events: list[str] = []
    ready = trio.Event()
    ready.set()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_stream, HandlerFactory(lambda: Committing(events, ready)), sluggish)
        client = ScriptedClient(ours)
        await begin(client)
        await client.send(TRANSACTION + b"DATA\r\n")
        await client.expect(*TRANSACTION_ACCEPTED, "354")
        sluggish.hold = trio.Event()
        await client.send(CONTENT + b".\r\n")
        await wait_all_tasks_blocked()
        assert events == ["begun", "committed"]
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await wait_all_tasks_blocked()
            sluggish.hold.set()
            await client.expect(ACCEPTED, CLOSING)
            await client.aclose()


async def test_but_it_is_not_waited_for_long(autojump_clock: MockClock) -> None:
    ours, theirs = memory_stream_pair()
    sluggish = Sluggish(theirs)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_stream, take, sluggish)
        client = ScriptedClient(ours)
        await begin(client)
        await trio.sleep(100)
        sluggish.hold = trio.Event()
        await client.send(b"NOOP\r\n")
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert trio.current_time() == 100 + 5


@pytest.mark.parametrize(("before", "after"), [(0, 5), (3, 2), (60, 0)])
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
async def test_nor_is_it_for_long_in_all(
    before: float,
    after: float,
    secure: bool,
    tmp_path: Path,
    patient_clock: MockClock,
    server_tls: ssl.SSLContext,
    client_tls: ssl.SSLContext,
) -> None:
    """The time that a reply has waited already counts. A client that takes no reply is not sent the close_notify of TLS
    either.
    """

    async def mail(event: object) -> Reply:
        return Reply(250, ["x" * 400] * 2_000)  # more than the buffers of a Unix socket take

    path = str(tmp_path / "socket")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    options: ServerOptions = {"ssl_context": server_tls, "implicit_tls": True} if secure else {}
    async with ScriptedClient(await trio.open_unix_socket(path)) as client:
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(serve_sockets, handler_with(mail=mail), [listener], **options))
            if secure:
                await client.start_tls(client_tls, "mx.example.com")
            await begin(client)
            await client.send(b"MAIL FROM:<>\r\n")
            await wait_all_tasks_blocked()
            await trio.sleep(before)
            nursery.cancel_scope.cancel()
        assert trio.current_time() == pytest.approx(before + after)


async def test_a_hook_that_is_not_committing_is_cancelled() -> None:
    events: list[str] = []

    async def rcpt(event: object) -> None:
        try:
            await trio.sleep_forever()
        finally:
            events.append("cancelled")

    async with running(handler_with(rcpt=rcpt)) as (_, nursery, client):
        await begin(client)
        await client.send(TRANSACTION)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await client.expect("250", CLOSING)
    assert events == ["cancelled"]


async def test_a_connection_that_was_just_accepted_is_closed_properly() -> None:
    """Its task has not run yet when the server is cancelled."""
    async with running(take) as (_, nursery, client):
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            try:
                replies = await client.rest()
            except trio.BrokenResourceError:
                replies = []
            assert [reply.code for reply in replies] in ([], [421], [220, 421])


@pytest.mark.parametrize(
    ("options", "said"),
    [({}, b"421 "), ({"implicit_tls": True}, b""), ({"proxy_networks": parse_networks(["10.0.0.0/8"])}, b"")],
    ids=["plain", "tls", "proxy"],
)
async def test_and_told_what_may_be_said(
    options: dict[str, Any], said: bytes, server_tls: ssl.SSLContext, autojump_clock: MockClock
) -> None:
    """Nothing in clear on a port for TLS, and nothing at all to a peer not known to be a listed proxy."""
    ours, theirs = memory_stream_pair()
    session = ServerSession(Settings(Handler, ssl_context=server_tls, **options), StreamTransport(theirs), Peer("", 0))
    session.abort()
    await session.run()
    assert (await ours.receive_some())[:4] == said


async def test_cancelling_again_changes_nothing() -> None:
    events: list[str] = []
    ready = trio.Event()
    async with running(HandlerFactory(lambda: Committing(events, ready))) as (server, nursery, client):
        await begin(client)
        await client.send(TRANSACTION + b"DATA\r\n")
        await client.expect(*TRANSACTION_ACCEPTED, "354")
        await client.send(CONTENT + b".\r\n")
        await wait_all_tasks_blocked()
        nursery.start_soon(server.aclose)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await wait_all_tasks_blocked()
            ready.set()
            await client.expect(ACCEPTED, CLOSING)
    assert events == ["begun", "committed", "close"]


async def test_refusals_during_a_drain_are_refusals() -> None:
    async def message(envelope: Envelope, body: Body) -> None:
        await body.read()
        raise Refuse(452, "Full", "4.2.2")

    async with running(handler_with(message=message)) as (server, nursery, client):
        await begin(client)
        await client.send(TRANSACTION + b"DATA\r\n")
        await client.expect(*TRANSACTION_ACCEPTED, "354")
        nursery.start_soon(server.aclose)
        await wait_all_tasks_blocked()
        await client.send(CONTENT + b".\r\n")
        await client.expect_close("452 4.2.2", CLOSING)


async def test_other_servers_go_on() -> None:
    async with open_server(take) as one, open_server(take) as other, connected(other) as client:
        await begin(client)
        await one.aclose()
        await deliver(client)
        async with connected(other) as second:
            await second.send(HELLO)
