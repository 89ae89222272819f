"""`serve_smtp`, `open_server`, `serve_sockets` and `serve_stream`: their arguments, results and exceptions."""

from __future__ import annotations

import asyncio
import socket
import ssl
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import pytest
import trio
import trio.testing

from tests.server.tools import TRANSACTION, Recorder, begin, connected, deliver, handler_with, hosts, take
from trio_smtp.handler import Handler, Peer, Session
from trio_smtp.policy import RateLimits
from trio_smtp.protocol import Config
from trio_smtp.server import (
    Server,
    ServerOptions,
    SessionOptions,
    bind_sockets,
    open_server,
    serve_smtp,
    serve_sockets,
    serve_stream,
)
from trio_smtp.testing.client import ScriptedClient, open_session


async def let_in(username: str, password: str) -> str:
    return username


class Noting(Handler):
    """Records its session."""

    sessions: list[Session] = []  # noqa: RUF012 - emptied by the fixture

    async def connect(self) -> None:
        self.sessions.append(self.session)


@pytest.fixture
def sessions() -> list[Session]:
    Noting.sessions.clear()
    return Noting.sessions


# --- serve_smtp


async def test_start_gives_the_server() -> None:
    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve_smtp, take, 0)
        assert isinstance(server, Server)
        assert server.port > 0
        assert ("127.0.0.1", server.port) in server.addresses
        assert server.addresses == [(host, server.port) for host in hosts(server)]
        for host in hosts(server):
            async with connected(server, host) as client:
                await begin(client)
                await deliver(client)
        nursery.cancel_scope.cancel()


async def test_it_returns_after_a_drain() -> None:
    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve_smtp, take, 0)
        await server.aclose()
    with pytest.raises(OSError, match="all attempts to connect"):
        await trio.open_tcp_stream("127.0.0.1", server.port)


async def test_a_given_port() -> None:
    with socket.socket() as holder:  # it does not listen, but keeps the port from all who ask for any port
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
        async with trio.open_nursery() as nursery:
            server = await nursery.start(partial(serve_smtp, take, port, host="127.0.0.1"))
            assert server.addresses == [("127.0.0.1", port)]
            nursery.cancel_scope.cancel()


async def test_a_port_in_use() -> None:
    async with open_server(take) as server:
        with pytest.raises(OSError, match=rf"in use.*127\.0\.0\.1 port {server.port}"):
            await serve_smtp(take, server.port)


class NoBinding(Exception):
    """Raised where a socket would be bound."""


@pytest.mark.parametrize(
    ("handler", "options", "complaint"),
    [
        (None, {}, "not None"),
        (lambda mail: None, {}, "a handler must be an async function"),
        (Handler(), {}, "not an instance"),
        (take, {"implicit_tls": True}, "needs an ssl_context"),
        (take, {"max_conections": 5}, "there is no option max_conections; the options are .*, max_connections,"),
        (take, {"hostname": "mx.example.com"}, "there is no option hostname; it is an argument of Config"),
        (take, {"recipients": 5}, "there is no option recipients; it is an argument of Limits"),
        (take, {"config": {"hostname": "mx.example.com"}}, "config must be of type Config, not {.*}"),
        (take, {"timeouts": 30}, "timeouts must be of type Timeouts, not 30"),
        (take, {"ssl_context": "cert.pem"}, "ssl_context must be of type Certificates or SSLContext, not 'cert.pem'"),
        (take, {"ssl_context": ssl.create_default_context()}, "not for a client; use server_context"),
        (take, {"max_connections": "5"}, "max_connections must be of type int, not '5'"),
        (take, {"max_connections_per_peer": "5"}, "max_connections_per_peer must be of type int, not '5'"),
        (take, {"implicit_tls": "0"}, "implicit_tls must be of type bool, not '0'"),
        (take, {"lmtp": "no"}, "lmtp must be of type bool, not 'no'"),
        (take, {"connection_counts": 5}, "connection_counts must be of type Connections, not 5"),
        (take, {"message_memory": "256M"}, "message_memory must be of type int, not '256M'"),
        (take, {"max_connections": -1}, "max_connections must be at least 0, not -1"),
        (take, {"message_memory": -1}, "message_memory must be at least 0, not -1"),
        (take, {"on_error": "ignore"}, "on_error must be 'reply' or 'raise', not 'ignore'"),
        (take, {"early_talkers": "refused"}, "early_talkers must be 'refuse' or 'allow', not 'refused'"),
        (take, {"policy": RateLimits}, "an instance of a subclass of Policy"),
        (take, {"proxy_networks": "10.0.0.0/8"}, r"a list, such as \['10.0.0.0/8'\]"),
        (take, {"authenticator": lambda name, password: name}, "an authenticator must be an async function"),
    ],
)
async def test_mistakes_are_found_before_anything_is_bound(
    handler: Any, options: dict[str, Any], complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def bind(*arguments: object) -> None:
        raise NoBinding

    monkeypatch.setattr("trio_smtp.server.serve.bind_sockets", bind)
    with pytest.raises((TypeError, ValueError), match=complaint):
        await serve_smtp(handler, 0, **options)
    with pytest.raises((TypeError, ValueError), match=complaint):
        async with open_server(handler, **options):
            raise AssertionError
    with pytest.raises((TypeError, ValueError), match=complaint):
        await serve_sockets(handler, [], **options)


def test_it_runs_in_trio_only() -> None:
    with pytest.raises(RuntimeError, match=r"trio\.run"):
        asyncio.run(serve_smtp(take, 0))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"authenticator": let_in}, ["nobody can log in: it takes an ssl_context, or Config(auth_requires_tls=False)"]),
        (
            {"config": Config(auth_required=True)},
            ["all mail is refused: Config.auth_required is set, and there is no authenticator"],
        ),
        (
            {"config": Config(tls_required=True)},
            ["all mail is refused: Config.tls_required is set, and there is no ssl_context"],
        ),
        ({"authenticator": let_in, "config": Config(auth_required=True, auth_requires_tls=False)}, []),
        ({"authenticator": let_in, "ssl_context": ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)}, []),
    ],
)
async def test_a_warning_where_all_is_refused(
    options: ServerOptions, complaint: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    async with open_server(take, **options):
        pass
    assert caplog.messages == complaint


@pytest.mark.parametrize("options", [{"lmtp": True}, {"config": Config(lmtp=True)}])
async def test_lmtp_stays_off_the_port_of_smtp(options: SessionOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    async def bind(*arguments: object) -> list[socket.socket]:
        raise NoBinding

    monkeypatch.setattr("trio_smtp.server.serve.bind_sockets", bind)
    for lmtp, error in ((options, ValueError), (SessionOptions(), NoBinding)):
        with pytest.raises(error):
            await serve_smtp(take, 25, **lmtp)
        with pytest.raises(error):
            async with open_server(take, 25, **lmtp):
                raise AssertionError


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
async def test_nor_is_it_spoken_on_a_socket_that_is_bound_to_it(family: socket.AddressFamily) -> None:
    class Bound(socket.socket):
        def getsockname(self) -> tuple[str, int]:
            return "localhost", 25

    with Bound(family) as sock, pytest.raises(ValueError, match="port 25"):
        await serve_sockets(take, [sock], lmtp=True)


async def test_a_stream_has_no_listeners_options() -> None:
    _, stream = trio.testing.memory_stream_pair()
    with pytest.raises(TypeError, match="max_connections"):
        await serve_stream(take, stream, max_connections=5)  # type: ignore[call-arg]  # that is the test


async def test_a_stream_must_be_one_of_trio() -> None:
    ours, theirs = socket.socketpair()
    with (
        ours,
        theirs,
        pytest.raises(TypeError, match=r"must be a trio\.abc\.Stream, such as .*, not <socket"),
    ):
        await serve_stream(take, theirs)  # type: ignore[arg-type]  # that is the test


async def test_none_stands_for_the_default() -> None:
    async with (
        open_server(
            take,
            config=None,
            timeouts=None,
            ssl_context=None,
            authenticator=None,
            policy=None,
            max_connections=None,
            max_connections_per_peer=None,
        ) as server,
        connected(server) as client,
    ):
        await begin(client)
        await deliver(client)


@pytest.mark.parametrize("early_talkers", ["refuse", "allow"])
@pytest.mark.parametrize("on_error", ["reply", "raise"])
async def test_what_can_be_chosen(
    early_talkers: Literal["refuse", "allow"], on_error: Literal["reply", "raise"]
) -> None:
    async with open_session(take, early_talkers=early_talkers, on_error=on_error) as client:
        await begin(client)


# --- open_server


async def test_open_server_drains_on_the_way_out() -> None:
    async with open_server(take) as server, connected(server) as client:
        await begin(client)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.aclose)
            await client.expect_close("421 4.3.2")
    with pytest.raises(OSError):  # noqa: PT011 - refused
        await trio.open_tcp_stream("127.0.0.1", server.port)


async def test_exceptions_come_out_as_they_are() -> None:
    """An exception in the block is not put into a group, and does not wait for clients."""
    clients: list[ScriptedClient] = []
    with pytest.raises(ZeroDivisionError):
        async with open_server(take) as server:
            clients.append(ScriptedClient(await trio.open_tcp_stream("127.0.0.1", server.port)))
            await begin(clients[0])
            raise ZeroDivisionError
    async with clients[0] as client:
        await client.expect_close("421 4.3.2")


async def test_what_fails_in_the_server_meanwhile_takes_the_place_of_no_other_exception() -> None:
    async def close() -> None:
        raise ValueError("hook")

    with pytest.RaisesGroup(ZeroDivisionError, pytest.RaisesExc(ValueError, match="hook"), flatten_subgroups=True):
        async with open_server(handler_with(close=close), on_error="raise") as server, connected(server) as client:
            await begin(client)
            raise ZeroDivisionError


async def test_a_cancellation_passes_through() -> None:
    port = 0
    with trio.move_on_after(60) as scope:
        async with open_server(take) as server, connected(server) as client:
            port = server.port
            await begin(client)
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    with pytest.raises(OSError):  # noqa: PT011 - refused
        await trio.open_tcp_stream("127.0.0.1", port)


async def test_a_server_that_fails_ends_the_block() -> None:
    async def fail(mail: object) -> None:
        raise ValueError("mine")

    with pytest.RaisesGroup(pytest.RaisesExc(ValueError, match="mine"), flatten_subgroups=True):
        async with open_server(fail, on_error="raise") as server, connected(server) as client:
            await begin(client)
            assert (await client.send_mail("a@b.example", ["c@d.example"], b"")).code == 421
            await client.send_eof()
            await trio.sleep_forever()


async def test_two_servers_at_once() -> None:
    async with open_server(take) as one, open_server(take, lmtp=True) as other:
        async with connected(one) as client:
            await client.expect("220 localhost ESMTP")
        async with connected(other) as client:
            await client.expect("220 localhost LMTP")


# --- serve_sockets


async def test_a_unix_socket(tmp_path: Path, sessions: list[Session]) -> None:
    """Its clients have no address, so they are not counted as one peer."""
    path = str(tmp_path / "lmtp")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
        sock.listen()
        async with trio.open_nursery() as nursery:
            server = await nursery.start(partial(serve_sockets, Noting, [sock], lmtp=True, max_connections_per_peer=0))
            assert (server.addresses, server.port) == ([path], 0)
            async with ScriptedClient(await trio.open_unix_socket(path)) as client:
                await client.expect("220 localhost LMTP")
                assert (await client.command("LHLO client.example")).code == 250
            await server.aclose()
    assert [session.peer for session in sessions] == [Peer("", 0)]


async def test_sockets_that_are_bound_already() -> None:
    sockets = await bind_sockets(0, "127.0.0.1")
    sockets[0].setblocking(True)  # as sockets of another origin may be
    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve_sockets, take, sockets)
        async with connected(server) as client:
            await begin(client)
            await deliver(client)
        await server.aclose()
    assert sockets[0].fileno() == -1


async def test_what_is_no_socket() -> None:
    with pytest.raises(TypeError, match=r"must be a listening socket\.socket, not '/run/lmtp'"):
        await serve_sockets(take, cast("Any", ["/run/lmtp"]))


async def test_a_socket_that_does_not_listen() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        with pytest.raises(ValueError, match=r"is not listening; call its listen\(\) first"):
            await serve_sockets(take, [sock])


async def test_an_ipv4_client_on_an_ipv6_socket_is_an_ipv4_client(sessions: list[Session]) -> None:
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as sock:
        async with trio.open_nursery() as nursery:
            server = await nursery.start(serve_sockets, Noting, [sock])
            async with connected(server) as client:
                await client.expect("220")
            async with connected(server, "::1") as client:
                await client.expect("220")
            await server.aclose()
    assert [session.peer.host for session in sessions] == ["127.0.0.1", "::1"]


# --- serve_stream


async def test_over_memory() -> None:
    async with open_session(take, config=Config(hostname="mx.example.com")) as client:
        await client.expect("220 mx.example.com ESMTP")
        await client.command("EHLO client.example")
        await deliver(client)
        assert (await client.command("QUIT")).code == 221
        await client.expect_close()


async def test_an_exception_of_a_hook_comes_out_as_it_is(autojump_clock: trio.testing.MockClock) -> None:
    class Failing(Handler):
        async def connect(self) -> None:
            raise ZeroDivisionError

    _, stream = trio.testing.memory_stream_pair()
    with pytest.raises(ZeroDivisionError):
        await serve_stream(Failing, stream, on_error="raise")


async def test_lmtp() -> None:
    async with open_session(take, lmtp=True) as client:
        await client.expect("220 localhost LMTP")
        assert (await client.command("EHLO client.example")).code == 500
        assert (await client.command("LHLO client.example")).code == 250
        assert (await client.send_mail("a@b.example", ["c@d.example"] * 2, b"")).code == 250
        await client.expect("250 2.6.0")


async def test_it_cooperates_with_trio_s_own_listeners(sessions: list[Session]) -> None:
    """It finds out the peer, and turns an IPv4-mapped IPv6 address into the IPv4 address."""
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as sock:
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(sock))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(trio.serve_listeners, partial(serve_stream, Noting), [listener]))
            async with ScriptedClient(await trio.open_tcp_stream("127.0.0.1", sock.getsockname()[1])) as client:
                await client.expect("220")
                assert isinstance(client.stream, trio.SocketStream)
                name = client.stream.socket.getsockname()
                assert (await client.command("QUIT")).code == 221
            nursery.cancel_scope.cancel()
    assert [session.peer for session in sessions] == [Peer(*name)]


async def test_a_client_that_is_gone_already() -> None:
    """getpeername() fails then. The exception must not escape: it would end the caller's listener."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        sock, _ = listener.accept()
        client.close()
        sock.shutdown(socket.SHUT_RDWR)
        with pytest.raises(OSError):  # noqa: PT011 - ENOTCONN
            sock.getpeername()
    await serve_stream(take, trio.SocketStream(trio.socket.from_stdlib_socket(sock)))
    assert sock.fileno() == -1


@pytest.mark.parametrize("in_the_middle", [False, True])
async def test_a_stream_that_is_closed_on_our_side(in_the_middle: bool, caplog: pytest.LogCaptureFixture) -> None:
    """An application may end a session that way. It ends like one whose client has gone away."""
    recorder = Recorder()
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery, ScriptedClient(ours) as client:
        nursery.start_soon(serve_stream, recorder.factory, theirs)
        await begin(client)
        if in_the_middle:
            await client.send(TRANSACTION + b"DATA\r\nhalf")
            await client.expect("250 2.1.0", "250 2.1.5", "354")
            await trio.testing.wait_all_tasks_blocked()
        await theirs.aclose()
    assert recorder.calls[-1] == "close"
    assert ("reset EOF" in recorder.calls) == in_the_middle
    assert "internal error" not in caplog.text


async def test_a_cancelled_session_says_goodbye() -> None:
    recorder = Recorder()
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_stream, recorder.factory, theirs)
        client = ScriptedClient(ours)
        await begin(client)
        nursery.cancel_scope.cancel()
    await client.expect_close("421 4.3.2")
    assert recorder.calls == ["connect", "EHLO", "close"]
