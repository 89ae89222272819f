"""Sessions behind a proxy (PROXY protocol): the session's peer, early talk, refused connections, and counting."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TypeAlias

import pytest
import trio
from trio.testing import MemoryReceiveStream, MemorySendStream, MockClock, memory_stream_pair, wait_all_tasks_blocked

from tests.server.test_proxy import BAD, GOOD, binary
from tests.server.tools import (
    HELLO,
    TRANSACTION,
    begin,
    connected,
    deliver,
    handler_with,
    no_connections,
    reset,
    take,
    until,
)
from trio_smtp.handler import Handler, HandlerFactory, Mail, Peer
from trio_smtp.mailbox import MemoryStore
from trio_smtp.mailbox_handler import MailboxHandler
from trio_smtp.server import Server, Timeouts, open_server, serve_sockets, serve_stream
from trio_smtp.server.proxy import parse_networks
from trio_smtp.server.session import ServerSession
from trio_smtp.server.settings import Settings
from trio_smtp.server.transport import StreamTransport
from trio_smtp.testing.client import ScriptedClient

MemoryStream: TypeAlias = trio.StapledStream[MemorySendStream, MemoryReceiveStream]

LOOPBACK = ("127.0.0.0/8", "::1")
PROXY = Peer("10.0.0.9", 40000)
TURNED_AWAY = "421 Too many connections, try again later"
TCP4, TCP6 = GOOD["TCP4"][0], GOOD["TCP6"][0]
CLIENT = Peer("192.0.2.1", 50000)


@asynccontextmanager
async def announced(server: Server, header: bytes = TCP4, host: str = "127.0.0.1") -> AsyncIterator[ScriptedClient]:
    """A client whose proxy has just sent the header."""
    async with connected(server, host) as client:
        await client.send(header)
        yield client


class Peers:
    """A handler that records the peer of each message."""

    def __init__(self) -> None:
        self.seen: list[Peer] = []

    async def __call__(self, mail: Mail) -> None:
        self.seen.append(mail.session.peer)


@asynccontextmanager
async def session_behind(timeouts: Timeouts | None = None) -> AsyncIterator[MemoryStream]:
    """A session in memory, whose other end is a listed proxy."""
    settings = Settings(Handler, timeouts=timeouts or Timeouts(), proxy_networks=parse_networks(["10.0.0.0/8"]))
    ours, theirs = memory_stream_pair()
    session = ServerSession(settings, StreamTransport(theirs), PROXY)
    async with trio.open_nursery() as nursery, ours:
        nursery.start_soon(converse, session)
        yield ours


async def converse(session: ServerSession) -> None:
    await session.run()


def refusals(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The log lines of connections that were closed without a reply, from the peer on."""
    messages = [record.getMessage() for record in caplog.records]
    return [message.partition(" refused peer=")[2] for message in messages]


# --- the peer


@pytest.mark.parametrize("name", GOOD)
async def test_the_announced_peer_is_the_peer(name: str) -> None:
    header, peer = GOOD[name]
    peers = Peers()
    async with open_server(peers, proxy_networks=LOOPBACK) as server, announced(server, header) as client:
        await begin(client)
        await deliver(client)
        assert isinstance(client.stream, trio.SocketStream)
        _, port = client.stream.socket.getsockname()
    assert peers.seen == [peer or Peer("127.0.0.1", port)]


async def test_by_ipv6() -> None:
    peers = Peers()
    async with (
        open_server(peers, host="::1", proxy_networks=["::1"]) as server,
        announced(server, TCP6, "::1") as client,
    ):
        await begin(client)
        await deliver(client)
    assert peers.seen == [Peer("2001:db8::1", 50000)]


async def test_the_trace_and_the_log_name_the_client(log: pytest.LogCaptureFixture) -> None:
    async with MemoryStore() as store:
        await store.create_account("bob", addresses=["bob@example.com"])
        handler = MailboxHandler.factory(store)
        async with open_server(handler, proxy_networks=LOOPBACK) as server, announced(server, TCP6) as client:
            await begin(client)
            await deliver(client)
        content = (await store.get_message("bob", "INBOX", 1)).content
    assert b"\r\nReceived: from client.example ([IPv6:2001:db8::1])\r\n" in content
    assert [record.getMessage().partition("peer=")[2] for record in log.records] == [
        "[2001:db8::1]:50000 reply=250 2.6.0 Message accepted"
    ]


async def test_octet_by_octet() -> None:
    peers = Peers()
    async with open_server(peers, proxy_networks=LOOPBACK) as server, connected(server) as client:
        for octet in GOOD["v2 TCP4, TLVs"][0]:
            await client.send(bytes([octet]))
            await wait_all_tasks_blocked()
        await begin(client)
        await deliver(client)
    assert peers.seen == [CLIENT]


async def test_starttls(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    peers = Peers()
    async with (
        open_server(peers, proxy_networks=LOOPBACK, ssl_context=server_tls) as server,
        announced(server) as client,
    ):
        await begin(client)
        assert (await client.command("STARTTLS")).code == 220
        await client.start_tls(client_tls, "mx.example.com")
        assert (await client.command("EHLO client.example")).code == 250
        await deliver(client)
        await client.command("QUIT")
    assert peers.seen == [CLIENT]


@pytest.mark.parametrize("header", [TCP4, GOOD["v2 TCP4, TLVs"][0]], ids=["v1", "v2"])
async def test_the_handshake_may_come_with_the_header(
    header: bytes, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """The ClientHello may be in the same segment as the header; its octets are left for TLS."""
    peers = Peers()
    async with (
        open_server(peers, proxy_networks=LOOPBACK, ssl_context=server_tls, implicit_tls=True) as server,
        await trio.open_tcp_stream("127.0.0.1", server.port) as stream,
    ):
        client = ScriptedClient(Prefixed(stream, header))
        await client.start_tls(client_tls, "mx.example.com")
        await begin(client)
        await deliver(client)
        await client.command("QUIT")
    assert peers.seen == [CLIENT]


class Prefixed(trio.abc.Stream):
    """A stream that sends a prefix before the first octets."""

    def __init__(self, stream: trio.SocketStream, prefix: bytes) -> None:
        self.stream = stream
        self.prefix = prefix

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        prefix, self.prefix = self.prefix, b""
        await self.stream.send_all(prefix + bytes(data))

    async def wait_send_all_might_not_block(self) -> None:
        await self.stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return bytes(await self.stream.receive_some(max_bytes))

    async def aclose(self) -> None:
        await self.stream.aclose()


async def test_over_one_stream() -> None:
    """`serve_stream` finds out the proxy's address from the socket."""
    peers = Peers()
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener, trio.open_nursery() as nursery:
        ours = await trio.open_tcp_stream(*listener.socket.getsockname()[:2])
        nursery.start_soon(partial(serve_stream, peers, await listener.accept(), proxy_networks=LOOPBACK))
        async with ScriptedClient(ours) as client:
            await client.send(TCP4)
            await begin(client)
            await deliver(client)
    assert peers.seen == [CLIENT]


# --- early talk: not the header, but what follows it


async def test_the_header_is_no_early_talk() -> None:
    """Even if the server is slow to greet."""
    called = trio.Event()
    async with (
        open_server(handler_with(connect=called.wait), proxy_networks=LOOPBACK) as server,
        announced(server) as client,
    ):
        await wait_all_tasks_blocked()
        called.set()
        await client.expect("220")


async def test_what_follows_the_header_is_early_talk() -> None:
    async with open_server(take, proxy_networks=LOOPBACK) as server, announced(server, TCP4 + HELLO) as client:
        await client.expect_close("554 You spoke before the greeting")


async def test_early_talk_can_be_allowed_here_too() -> None:
    """The commands are answered then: no octet behind the header is lost."""
    async with (
        open_server(take, proxy_networks=LOOPBACK, early_talkers="allow") as server,
        announced(server, TCP4 + HELLO + TRANSACTION) as client,
    ):
        await client.expect("220", "250", "250", "250")


async def test_a_second_header_is_no_command() -> None:
    """A client behind the proxy that sends one of its own is not believed."""
    peers = Peers()
    async with open_server(peers, proxy_networks=LOOPBACK) as server, announced(server) as client:
        await client.expect("220")
        await client.send(b"PROXY TCP4 203.0.113.1 10.0.0.1 50000 25\r\n")
        await client.expect("500")
        assert (await client.command("EHLO client.example")).code == 250
        await deliver(client)
    assert peers.seen == [CLIENT]


async def test_without_proxies_a_header_is_no_header() -> None:
    peers = Peers()
    async with open_server(peers, early_talkers="allow") as server, announced(server) as client:
        await client.expect("220", "500")


# --- connections that are closed without a reply


@pytest.mark.parametrize("header", [b"", TCP4, binary(0x20, 0), HELLO], ids=["nothing", "v1", "LOCAL", "SMTP"])
async def test_others_are_closed_at_once(header: bytes, log: pytest.LogCaptureFixture) -> None:
    """Whatever they send."""
    async with open_server(take, proxy_networks=["127.0.0.2"]) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as sock:
            sock.sendall(header)
            sock.setblocking(False)
            await trio.lowlevel.wait_readable(sock)
            assert closed_without_a_word(sock)
            name = sock.getsockname()
        await no_connections(server)
    assert refusals(log) == [f"127.0.0.1:{name[1]}: PROXY protocol: not a listed proxy"]


def closed_without_a_word(sock: socket.socket) -> bool:
    """Whether the server has closed the connection; if it left octets unread, that was by a reset."""
    try:
        return sock.recv(100) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("name", BAD)
async def test_no_header(name: str, log: pytest.LogCaptureFixture) -> None:
    header, reason = BAD[name]
    async with session_behind() as client:
        await client.send_all(header)
        assert await client.receive_some() == b""
    [refusal] = refusals(log)
    assert refusal.startswith("10.0.0.9:40000: PROXY protocol: ")
    assert reason in refusal


@pytest.mark.parametrize("sent", [b"", b"PROXY TCP4 192.0.2.1"], ids=["nothing", "a-part"])
async def test_the_end_instead_of_a_header(sent: bytes, log: pytest.LogCaptureFixture) -> None:
    """Such as from a health check that does not speak the protocol."""
    async with session_behind() as client:
        await client.send_all(sent)
        await client.send_eof()
        assert await client.receive_some() == b""
    assert len(refusals(log)) == 1


async def test_a_reset_instead_of_a_header(log: pytest.LogCaptureFixture) -> None:
    async with open_server(take, proxy_networks=LOOPBACK) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as sock:
            await until(lambda: server.connections > 0)
            reset(sock)
        await no_connections(server)
    [refusal] = refusals(log)
    assert "PROXY protocol: " in refusal


async def test_a_unix_socket_has_no_proxy(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("unix") / "smtp.sock"
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    sock.listen()
    async with trio.open_nursery() as nursery:
        server = await nursery.start(partial(serve_sockets, take, [sock], proxy_networks=["0.0.0.0/0", "::/0"]))
        async with ScriptedClient(await trio.open_unix_socket(path)) as client:
            await client.expect_close()
        await server.aclose()


@pytest.mark.parametrize("pause", [0.0, 1.0], ids=["silence", "drip"])
async def test_too_slow(pause: float, log: pytest.LogCaptureFixture, autojump_clock: MockClock) -> None:
    async def drip(client: trio.abc.SendStream) -> None:
        for octet in TCP4:
            await client.send_all(bytes([octet]))
            await trio.sleep(pause)

    timeouts = Timeouts(handshake=10, command=4)  # the time for a command has not begun
    async with session_behind(timeouts=timeouts) as client, trio.open_nursery() as nursery:
        if pause:
            nursery.start_soon(drip, client)
        assert await client.receive_some() == b""
        assert trio.current_time() == 10
        nursery.cancel_scope.cancel()
    assert refusals(log) == ["10.0.0.9:40000: PROXY protocol: too slow"]


@pytest.mark.parametrize("seconds", [100, 5], ids=["longer", "shorter"])
async def test_the_time_for_a_command_begins_behind_the_header(seconds: int, autojump_clock: MockClock) -> None:
    async with session_behind(timeouts=Timeouts(handshake=10, command=seconds)) as client:
        await trio.sleep(9)
        await client.send_all(TCP4)
        assert (await client.receive_some()).startswith(b"220")
        assert (await client.receive_some()).startswith(b"421")
        assert trio.current_time() == 9 + seconds


async def test_a_header_may_take_longer_than_a_command(autojump_clock: MockClock) -> None:
    async with session_behind(timeouts=Timeouts(handshake=100, command=10)) as client:
        await client.send_all(TCP4[:20])
        await trio.sleep(50)
        await client.send_all(TCP4[20:])
        assert (await client.receive_some()).startswith(b"220")


async def test_a_drain_does_not_wait_for_a_header(autojump_clock: MockClock) -> None:
    async with open_server(take, proxy_networks=LOOPBACK) as server, connected(server) as client:
        await until(lambda: server.connections > 0)
        await server.aclose()
        assert trio.current_time() == 0
        await client.expect_close()


async def test_a_drain_that_comes_before_everything(autojump_clock: MockClock) -> None:
    settings = Settings(Handler, proxy_networks=parse_networks(["10.0.0.0/8"]))
    ours, theirs = memory_stream_pair()
    session = ServerSession(settings, StreamTransport(theirs), PROXY)
    session.drain()
    await session.run()
    assert await ours.receive_some() == b""
    assert trio.current_time() == 0


async def test_an_abort_says_nothing_before_the_header() -> None:
    async with trio.open_nursery() as nursery:
        server = await nursery.start(partial(serve_sockets, take, [listening()], proxy_networks=LOOPBACK))
        async with connected(server) as client:
            await until(lambda: server.connections > 0)
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                await client.expect_close()


def listening() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


# --- counting connections


def header_of(host: str) -> bytes:
    return f"PROXY TCP4 {host} 10.0.0.1 50000 25\r\n".encode()


async def test_the_client_is_counted_and_not_the_proxy() -> None:
    async with open_server(take, proxy_networks=LOOPBACK, max_connections_per_peer=2) as server:
        async with AsyncExitStack() as stack:
            ann = [await stack.enter_async_context(announced(server, header_of("192.0.2.1"))) for _ in range(2)]
            bob = [await stack.enter_async_context(announced(server, header_of("192.0.2.2"))) for _ in range(2)]
            for client in (*ann, *bob):
                await begin(client)
            async with announced(server, header_of("192.0.2.1")) as third:
                await third.expect_close(TURNED_AWAY)
            assert (server.stats.connections_refused, server.stats.rules) == (1, {"connections-per-peer": 1})
            assert (await ann[0].command("QUIT")).code == 221
            await ann[0].expect_close()
            await until(lambda: server.connections == 3)
            async with announced(server, header_of("192.0.2.1")) as fourth:
                await begin(fourth)
                await deliver(fourth)
        await no_connections(server)
        assert not server._counts._peers
        assert not server._counted


async def test_the_health_checks_of_a_proxy_are_not_counted() -> None:
    options = {"proxy_networks": LOOPBACK, "max_connections_per_peer": 1}
    async with open_server(take, **options) as server, AsyncExitStack() as stack:  # type: ignore[arg-type]
        for _ in range(3):
            client = await stack.enter_async_context(announced(server, binary(0x20, 0)))
            await begin(client)


async def test_loopback_behind_a_proxy_is_loopback() -> None:
    async with open_server(take, proxy_networks=LOOPBACK) as server, AsyncExitStack() as stack:
        for _ in range(60):
            client = await stack.enter_async_context(announced(server, header_of("127.0.0.5")))
            await client.expect("220")


async def test_inside_tls_they_are_turned_away_without_a_word(server_tls: ssl.SSLContext) -> None:
    async with (
        open_server(
            take, proxy_networks=LOOPBACK, max_connections_per_peer=0, ssl_context=server_tls, implicit_tls=True
        ) as server,
        announced(server) as client,
    ):
        await client.expect_close()


async def test_who_is_turned_away_meets_no_handler() -> None:
    made: list[Handler] = []

    def make() -> Handler:
        made.append(Handler())
        return made[-1]

    async with (
        open_server(HandlerFactory(make), proxy_networks=LOOPBACK, max_connections_per_peer=0) as server,
        announced(server) as client,
    ):
        await client.expect_close(TURNED_AWAY)
    assert not made


# --- the option


@pytest.mark.parametrize("networks", [["10.0.0.1/8"], ["lan"], "10.0.0.0/8"], ids=["host bits", "name", "text"])
async def test_no_networks(networks: list[str]) -> None:
    """The error is raised before anything is bound."""
    with pytest.raises(ValueError, match=r"network|host bits"):
        async with open_server(take, proxy_networks=networks):
            pass
