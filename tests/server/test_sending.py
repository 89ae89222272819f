"""Replies that cannot go out at once: none is lost, sent in clear or waited for too long; each fault is told once."""

from __future__ import annotations

import socket
import ssl
from functools import partial

import pytest
import trio
from trio.testing import MockClock, lockstep_stream_pair, wait_all_tasks_blocked

from tests.server.tools import (
    ACCEPTED,
    CONTENT,
    HELLO,
    MAIL,
    RCPT,
    TRANSACTION,
    TRANSACTION_ACCEPTED,
    Choked,
    begin,
    connected,
    handler_with,
    no_connections,
    reset,
    session_over,
    take,
)
from trio_smtp.handler import Body, Peer, Refuse
from trio_smtp.protocol import AbortReason, Config, Envelope, Limits, MailFrom, Verify
from trio_smtp.server import Timeouts, open_server, serve_smtp
from trio_smtp.server.session import ServerSession
from trio_smtp.server.settings import Settings, resolve_handler
from trio_smtp.server.transport import SocketTransport, StreamTransport
from trio_smtp.testing.client import ScriptedClient, open_session

CLOSING = "421 4.3.2"


@pytest.mark.parametrize("in_tls", [False, True])
async def test_an_idle_client_that_reads_late_has_all_its_replies_when_it_is_drained(
    in_tls: bool, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext, nursery: trio.Nursery
) -> None:
    """Although it sends something more behind the last reply, which would reset a connection that is closed."""
    with socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        async with open_server(take, ssl_context=server_tls, implicit_tls=in_tls) as server:
            peer.connect(("127.0.0.1", server.port))
            client: trio.abc.Stream = trio.SocketStream(trio.socket.from_stdlib_socket(peer))
            if in_tls:
                client = trio.SSLStream(client, client_tls, server_hostname="mx.example.com")
            await client.receive_some()
            await client.send_all(HELLO + (TRANSACTION + b"BDAT 1 LAST\r\nx") * 50)
            await wait_all_tasks_blocked()
            assert server.stats.messages_accepted == 50
            nursery.start_soon(server.aclose)
            await wait_all_tasks_blocked()
            await client.send_all(b"NOOP\r\n")
            received = b"".join([data async for data in client]).decode()
            await client.aclose()
    assert received.count("\r\n" + ACCEPTED) == 50
    assert received.splitlines()[-1].startswith(CLOSING)


async def test_the_last_replies_are_not_lost_because_the_client_took_the_ones_before_them_late(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Closing a socket with unread input resets the connection; then a client can lose the reply to its message."""
    waits, go_on = trio.Event(), trio.Event()

    async def mail(event: MailFrom) -> None:
        if event.sender is None:
            waits.set()
            await go_on.wait()

    monkeypatch.setattr("trio_smtp.server.server.SocketTransport", Choked)
    Choked.taken.set()
    async with open_server(handler_with(mail=mail)) as server, connected(server) as client:
        await begin(client)
        Choked.taken = trio.Event()
        await client.send(TRANSACTION + b"BDAT 1 LAST\r\nxMAIL FROM:<>\r\nGET / HTTP/1.1\r\n")
        await waits.wait()  # the replies to the message were to go out before that, and did not
        Choked.taken.set()
        await client.send(b"Host: mx.example.com\r\n")  # which the server does not read
        go_on.set()
        await client.expect(*TRANSACTION_ACCEPTED, ACCEPTED, "250 2.1.0", "421")
        await client.send_eof()
        await client.expect_close()


async def test_the_last_replies_are_sent_though_a_hook_has_waited_since_they_were_made() -> None:
    async def reset(reason: AbortReason) -> None:
        await trio.lowlevel.checkpoint()

    async with open_session(handler_with(reset=reset)) as client:
        await begin(client)
        await client.send(TRANSACTION + b"BDAT 1 LAST\r\nx" + MAIL + b"QUIT\r\n")
        await client.expect_close(*TRANSACTION_ACCEPTED, ACCEPTED, "250 2.1.0", "221")


async def test_a_client_that_resets_instead_of_taking_the_last_reply_is_no_fault(
    log: pytest.LogCaptureFixture,
) -> None:
    async with session_over(lockstep_stream_pair(), take) as client:
        await client.expect("220")
        await client.send(b"GET / HTTP/1.1\r\n")
        await wait_all_tasks_blocked()
    assert [record.levelname for record in log.records] == ["INFO", "INFO"]
    assert "lost the connection" in log.messages[0]


async def test_a_lost_connection_is_told(log: pytest.LogCaptureFixture) -> None:
    async with open_server(take) as server:
        client = await trio.open_tcp_stream("127.0.0.1", server.port)
        await client.receive_some()
        reset(client.socket)
        await no_connections(server)
    assert [line.partition(" lost")[1] for line in log.messages] == [" lost"]


async def test_it_is_told_once(log: pytest.LogCaptureFixture) -> None:
    """However many replies there still are for the client."""
    reads, go_on = trio.Event(), trio.Event()

    async def message(envelope: Envelope, body: Body) -> None:
        await body.read()
        reads.set()
        await go_on.wait()

    async def mail(event: MailFrom) -> None:
        if event.sender is None:
            await trio.lowlevel.checkpoint()  # before that, the reply to the message is sent

    async with open_server(handler_with(message=message, mail=mail)) as server:
        client = await trio.open_tcp_stream("127.0.0.1", server.port)
        await client.send_all(HELLO + TRANSACTION + b"BDAT 1 LAST\r\nxMAIL FROM:<>\r\n" + RCPT)
        await reads.wait()
        reset(client.socket)
        go_on.set()
        await no_connections(server)
    assert [line.partition(" lost")[1] for line in log.messages] == ["", " lost", ""]
    assert " accepted from=" in log.messages[0]
    assert " unfinished from=<>" in log.messages[2]


async def test_a_refused_message_is_answered_though_the_server_drains_meanwhile() -> None:
    config = Config(limits=Limits(message_size=100))
    async with open_server(take, config=config) as server, connected(server) as client, trio.open_nursery() as nursery:
        await begin(client)
        await client.send(TRANSACTION + b"DATA\r\n")
        await client.expect(*TRANSACTION_ACCEPTED, "354")
        await client.send(CONTENT * 5)
        await wait_all_tasks_blocked()
        nursery.start_soon(server.aclose)
        await wait_all_tasks_blocked()
        await client.send(b".\r\n")
        await client.expect("552", CLOSING)
        await client.send_eof()
        await client.expect_close()


async def test_an_aborted_session_waits_for_a_reply_to_go_and_for_nothing_else(autojump_clock: MockClock) -> None:
    ours, theirs = lockstep_stream_pair()
    session = ServerSession(Settings(resolve_handler(take)), StreamTransport(theirs), Peer("", 0))
    async with trio.open_nursery() as nursery, ScriptedClient(ours) as client:
        nursery.start_soon(session.run)
        await begin(client)
        await client.send(MAIL)
        await wait_all_tasks_blocked()
        session.abort()
        await client.expect_close("250 2.1.0", CLOSING)
        assert trio.current_time() == 0


async def test_nothing_is_sent_in_clear_into_a_handshake(server_tls: ssl.SSLContext) -> None:
    async with trio.open_nursery() as nursery:
        server = await nursery.start(partial(serve_smtp, take, 0, ssl_context=server_tls))
        with trio.CancelScope(shield=True):
            async with connected(server) as client:
                await begin(client)
                assert (await client.command("STARTTLS")).code == 220
                await wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()
                await client.expect_close()


class Late(SocketTransport):
    """Finds out in `receive` that nothing could be sent."""

    def send_soon(self, data: bytes) -> bool:
        self._rest += data
        self._may_have_more = True
        return True


async def test_a_hook_has_its_time_though_a_reply_could_not_be_sent_at_once(
    patient_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def message(envelope: Envelope, body: Body) -> None:
        async for _ in body:
            await trio.sleep(60)

    monkeypatch.setattr("trio_smtp.server.server.SocketTransport", Late)
    async with (
        open_server(handler_with(message=message), timeouts=Timeouts(hook=50)) as server,
        connected(server) as client,
    ):
        await begin(client)
        await client.send(TRANSACTION + b"DATA\r\n")
        await client.expect(*TRANSACTION_ACCEPTED, "354")
        await client.send(CONTENT + b".\r\n")
        await client.expect("451 4.3.0 Local error")


async def test_a_hook_has_its_time_though_it_gave_up_while_a_command_was_answered(autojump_clock: MockClock) -> None:
    async def verify(event: Verify) -> None:
        await trio.sleep(20)

    async def message(envelope: Envelope, body: Body) -> None:
        with trio.move_on_after(10):  # it may take 50 seconds, not counting these
            await body.read()
        await trio.sleep(45)
        raise Refuse(452, "I gave up", "4.4.2")

    async with open_session(handler_with(verify=verify, message=message), timeouts=Timeouts(hook=50)) as client:
        await begin(client)
        await client.send(TRANSACTION + b"BDAT 1\r\naVRFY bob\r\nBDAT 0 LAST\r\n")
        await client.expect(*TRANSACTION_ACCEPTED, "250 2.0.0", "451 4.3.0", "452 4.4.2 I gave up")
