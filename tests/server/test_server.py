"""Accepting connections: limits, descriptors, errors of accept(); and that sessions leave nothing behind."""

from __future__ import annotations

import errno
import itertools
import logging
import os
import resource
import socket
import ssl
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.server.tools import (
    DATA,
    TRANSACTION,
    begin,
    connected,
    deliver,
    handler_with,
    no_connections,
    open_files,
    reset,
    take,
    until,
)
from trio_smtp.handler import Handler, Peer
from trio_smtp.protocol import Config
from trio_smtp.server import Server, open_server, serve_sockets
from trio_smtp.server.counting import Connections
from trio_smtp.server.settings import Settings
from trio_smtp.server.transport import SocketTransport
from trio_smtp.testing.client import ScriptedClient

TURNED_AWAY = "421 Too many connections, try again later"


async def connect_from(host: str, server: Server) -> ScriptedClient:
    """A client with another local address; Linux has all of 127.0.0.0/8."""
    return ScriptedClient(await trio.open_tcp_stream("127.0.0.1", server.port, local_address=host))


# --- limits


async def test_more_than_so_many_connections_are_turned_away() -> None:
    async with open_server(take, max_connections=2) as server, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(server)) for _ in range(2)]
        for client in clients:
            await begin(client)
        async with connected(server) as third:
            await third.expect_close(TURNED_AWAY)
        assert (server.stats.connections, server.stats.connections_refused) == (2, 1)
        for client in clients:
            await deliver(client)
        assert (await clients[0].command("QUIT")).code == 221
        await clients[0].expect_close()
        await until(lambda: server.connections == 1)
        async with connected(server) as fourth:
            await begin(fourth)
            await deliver(fourth)


async def test_inside_tls_they_are_turned_away_without_a_word(server_tls: object) -> None:
    options = {"ssl_context": server_tls, "implicit_tls": True, "max_connections": 1}
    async with open_server(take, **options) as server:  # type: ignore[arg-type]  # options of several types
        async with connected(server), connected(server) as second:
            await second.expect_close()
        await no_connections(server)


async def test_more_than_so_many_from_one_address() -> None:
    """Other addresses are not affected, and a closed connection makes room for another."""
    async with open_server(take, max_connections_per_peer=2) as server, AsyncExitStack() as stack:
        first, _ = [await stack.enter_async_context(connected(server)) for _ in range(2)]
        async with connected(server) as third:
            await third.expect_close(TURNED_AWAY)
        async with await connect_from("127.0.0.2", server) as other:
            await begin(other)
            await deliver(other)
        await begin(first)
        assert (await first.command("QUIT")).code == 221
        await first.expect_close()
        await until(lambda: server.connections == 1)
        async with connected(server) as fourth:
            await begin(fourth)


async def test_loopback_is_not_counted_by_default() -> None:
    async with open_server(take) as server, AsyncExitStack() as stack:
        for _ in range(60):
            client = await stack.enter_async_context(connected(server))
            await client.expect("220")
        assert server.connections == 60


async def test_nobody_at_all() -> None:
    async with open_server(take, max_connections_per_peer=0) as server, connected(server) as client:
        await client.expect_close(TURNED_AWAY)


@pytest.mark.parametrize(
    ("host", "default", "everyone"),
    [
        ("192.0.2.1", "192.0.2.1", "192.0.2.1"),
        ("192.0.2.2", "192.0.2.2", "192.0.2.2"),
        ("127.0.0.1", "", "127.0.0.1"),
        ("127.1.2.3", "", "127.1.2.3"),
        ("::1", "", "::/64"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64", "fe80::/64"),
        ("", "", ""),
    ],
)
def test_who_counts_as_one(host: str, default: str, everyone: str) -> None:
    settings = Settings(Handler)
    peer = Peer(host, 40000)
    assert Server(settings, [], 10, None, Connections())._peer_key(peer) == default
    assert Server(settings, [], 10, 5, Connections())._peer_key(peer) == everyone


def test_without_limits_of_ones_own() -> None:
    server = Server(Settings(Handler), [], None, None, Connections())
    assert (server._max_connections, server._max_per_peer) == (1000, 50)


def test_where_it_listens_if_its_unix_socket_is_abstract() -> None:
    class Abstract(socket.socket):
        def getsockname(self) -> bytes:
            return b"\0smtp"

    with Abstract() as sock:
        assert Server(Settings(Handler), [sock], None, None, Connections()).addresses == ["\0smtp"]


# --- errors of accept(), and too few descriptors


class Accepting(socket.socket):
    """A listening socket whose accept() first fails with the given errors."""

    def fail(self, *errors: int | MemoryError) -> None:
        self.errors = list(errors)

    def accept(self) -> tuple[socket.socket, object]:
        if self.errors:
            error = self.errors.pop(0)
            raise OSError(error, os.strerror(error)) if isinstance(error, int) else error
        return super().accept()


def listening(*errors: int | MemoryError) -> Accepting:
    sock = Accepting()
    sock.fail(*errors)
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    return sock


async def test_a_client_that_gives_up_before_it_is_accepted_is_no_fault(caplog: pytest.LogCaptureFixture) -> None:
    kinds = "ECONNABORTED EINTR ENETDOWN EPROTO ENOPROTOOPT EHOSTDOWN EHOSTUNREACH EOPNOTSUPP ENETUNREACH EPERM"
    errors = [getattr(errno, kind) for kind in kinds.split()]
    async with trio.open_nursery() as nursery:
        server = await nursery.start(partial(serve_sockets, take, [listening(*errors)]))
        async with connected(server) as client:
            await begin(client)
            await deliver(client)
        await server.aclose()
    assert not caplog.records


async def test_a_client_that_gives_up_before_it_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """The greeting cannot be sent or, if the server is full, the 421."""
    async with open_server(take) as server:
        reset(socket.create_connection(("127.0.0.1", server.port)))
        await wait_all_tasks_blocked()
        assert (server.stats.connections, server.stats.connections_refused, server.connections) == (1, 0, 0)
        monkeypatch.setattr(server, "_descriptor_limit", 0)
        reset(socket.create_connection(("127.0.0.1", server.port)))
        await wait_all_tasks_blocked()
        assert (server.stats.connections, server.stats.connections_refused) == (1, 1)


async def test_a_client_that_is_gone_when_its_socket_is_set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some systems report it only then. Other connections are not affected."""
    async with open_server(take) as server:
        with monkeypatch.context() as patch:
            patch.setattr(socket, "TCP_NODELAY", 999)  # no such option: setsockopt() fails
            async with connected(server) as client:
                assert await client.rest() == []
        assert (server.stats.connections, server.connections) == (0, 0)
        async with connected(server) as client:
            await begin(client)


async def test_a_crowd_that_comes_all_at_once() -> None:
    async with open_server(take) as server, AsyncExitStack() as stack:
        crowd = [stack.enter_context(socket.create_connection(("127.0.0.1", server.port))) for _ in range(150)]
        for sock in crowd:
            sock.setblocking(False)
            await trio.lowlevel.wait_readable(sock)
            assert sock.recv(100).startswith(b"220")
        assert server.connections == 150


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (errno.EMFILE, "too many open files"),
        (errno.ENFILE, "too many open files in system"),
        (errno.ENOBUFS, "no buffer space available"),
        (errno.ENOMEM, "cannot allocate memory"),
        (errno.EACCES, "permission denied"),
        (errno.EINVAL, "invalid argument"),  # somebody has called shutdown
        (MemoryError(), "out of memory"),
    ],
)
async def test_what_would_fail_again_at_once_pauses_the_listener(
    error: int | MemoryError, why: str, caplog: pytest.LogCaptureFixture, patient_clock: MockClock
) -> None:
    """accept() is tried again once a second; the waiting clients are served once it succeeds."""
    async with trio.open_nursery() as nursery:
        server = await nursery.start(partial(serve_sockets, take, [listening(*[error] * 5)]))
        async with connected(server) as client:
            await client.expect("220")
            assert trio.current_time() == 5
            await begin_again(client)
        await server.aclose()
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [why] * 5


async def test_a_shortage_is_told_once_a_second(mock_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    """However often sessions end meanwhile, after each of which accept() is tried again."""
    listener = listening()
    async with trio.open_nursery() as nursery:
        server = await nursery.start(partial(serve_sockets, take, [listener]))
        async with connected(server) as first, connected(server) as second:
            await begin(first)
            await begin(second)
            listener.fail(errno.EMFILE, errno.EMFILE)
            async with connected(server) as third:
                await until(lambda: len(listener.errors) == 1)
                await first.aclose()
                await until(lambda: not listener.errors)
                await second.aclose()
                await begin(third)
        await server.aclose()
    assert [record.getMessage() for record in caplog.records] == [
        "too many open files: no new connections for a moment (2 open)"
    ]


async def test_no_memory_for_a_connection_costs_that_one_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_server(take) as server:
        with monkeypatch.context() as patch:

            def no_memory(*_: object) -> None:
                raise MemoryError

            patch.setattr("trio_smtp.server.server._PAUSE", 0)
            patch.setattr("trio_smtp.server.server.ServerSession", no_memory)
            async with connected(server) as client:
                await client.expect_close()
        async with connected(server) as client:
            await begin(client)
            await deliver(client)


async def test_what_fails_while_a_connection_ends_costs_that_one_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Even in its last step: a MemoryError may be raised anywhere."""
    close = SocketTransport.aclose

    async def no_memory(self: SocketTransport, **options: Any) -> None:
        await close(self, **options)
        raise MemoryError

    async with open_server(take) as server:
        with monkeypatch.context() as patch:
            patch.setattr(SocketTransport, "aclose", no_memory)
            async with connected(server) as client:
                await begin(client)
                assert (await client.command("QUIT")).code == 221
                await client.expect_close()
            await no_connections(server)
        async with connected(server) as client:
            await begin(client)
            await deliver(client)
    assert [record.getMessage()[16:] for record in caplog.records] == [" internal error"]


class BrokenLog(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise OSError("no log")


async def test_a_log_that_fails_does_not_end_the_accept_loop(patient_clock: MockClock) -> None:
    """`logging.WatchedFileHandler` raises if it has to open its file again, and there are too many open files."""
    broken, log = BrokenLog(), logging.getLogger("trio_smtp")
    log.addHandler(broken)
    try:
        async with trio.open_nursery() as nursery:
            server = await nursery.start(partial(serve_sockets, take, [listening(errno.EMFILE)]))
            async with connected(server) as client:
                await begin(client)
            await server.aclose()
    finally:
        log.removeHandler(broken)


@pytest.mark.parametrize(("sent", "answers"), [(b"MAIL FROM:<>\r\n", []), (b"WHAT\r\n", ["500"])])
async def test_a_log_that_fails_costs_the_connection_alone_that_had_something_to_say(
    sent: bytes, answers: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "trio_smtp")

    async def fail(event: object) -> None:
        raise RuntimeError

    broken, log = BrokenLog(), logging.getLogger("trio_smtp")
    async with open_server(handler_with(mail=fail)) as server:
        log.addHandler(broken)
        try:
            async with connected(server) as client:
                await begin(client)
                await client.send(sent)
                await client.expect_close(*answers, "421")
            await no_connections(server)
        finally:
            log.removeHandler(broken)
        async with connected(server) as client:
            await begin(client)
            assert (await client.command("MAIL FROM:<>")).code == 451


async def begin_again(client: ScriptedClient) -> None:
    assert (await client.command("EHLO client.example")).code == 250
    await deliver(client)


async def test_a_reserve_is_kept_for_the_store(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A connection that would take the last descriptors is turned away; later ones wait until another has ended."""
    async with open_server(take) as server, connected(server) as first:
        await begin(first)
        monkeypatch.setattr(server, "_descriptor_limit", 0)
        async with connected(server) as second:
            await second.expect_close(TURNED_AWAY)
            async with connected(server) as third:
                await deliver(first)
                monkeypatch.setattr(server, "_descriptor_limit", 1 << 20)
                assert server.connections == 1
                assert (await first.command("QUIT")).code == 221
                await third.expect("220")
    assert ["too many open files" in record.getMessage() for record in caplog.records] == [True]
    assert server.stats.rules == {"open-files": 1}


@pytest.mark.parametrize(("soft", "first_in_reserve"), [(1024, 960), (64, 48), (resource.RLIM_INFINITY, 1 << 30)])
def test_how_large_the_reserve_is(soft: int, first_in_reserve: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, resource.RLIM_INFINITY))
    assert Server(Settings(Handler), [], None, None, Connections())._descriptor_limit == first_in_reserve


SERVER = """
import logging, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
import trio, trio_smtp
logging.basicConfig(format="%(created)f %(levelname)s %(message)s")

async def on_mail(mail):
    with open("/dev/null", "wb") as store:
        store.write(mail.content)

async def main():
    async with trio_smtp.open_server(on_mail, host="127.0.0.1") as server:
        print(server.port, flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)

trio.run(main)
"""


def talk(sock: socket.socket, *commands: bytes) -> list[bytes]:
    """Send each command and read its reply, blocking; return the codes of the replies."""
    replies = []
    for command in commands:
        sock.sendall(command)
        reply = sock.recv(4096)
        while not reply.endswith(b"\r\n") or reply[-len(reply.splitlines()[-1]) - 2 :][3:4] != b" ":
            reply += sock.recv(4096)
        replies.append(reply[:3])
    return replies


MESSAGE = (b"MAIL FROM:<a@b.example>\r\n", b"RCPT TO:<c@d.example>\r\n", b"DATA\r\n", b"x\r\n.\r\n")


@pytest.fixture
def a_thousand_files() -> Iterator[None]:
    """Allow this process a thousand open files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1000), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("a_thousand_files")
def test_five_hundred_clients_and_sixty_four_descriptors() -> None:
    """Sessions that are open go on, and so does the store. The log stays short. When the flood is over, new clients get
    in.
    """
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        address = ("127.0.0.1", int(process.stdout.readline()))
        crowd: list[socket.socket] = []
        try:
            with socket.create_connection(address) as early:
                assert early.recv(100).startswith(b"220")
                assert talk(early, b"EHLO x\r\n") == [b"250"]
                for _ in range(500):
                    sock = socket.create_connection(address)
                    crowd.append(sock)
                for _ in range(20):
                    assert talk(early, *MESSAGE) == [b"250", b"250", b"354", b"250"]
                for sock in crowd:
                    sock.close()
                for _ in range(100_000):
                    with socket.create_connection(address) as late:
                        if late.recv(100).startswith(b"421"):
                            continue  # the server has not closed all of the crowd yet
                        assert talk(late, b"EHLO x\r\n", *MESSAGE) == [b"250", b"250", b"250", b"354", b"250"]
                        break
                else:
                    raise AssertionError("no new client gets in")
            process.stdin.close()
            process.wait()
            complaints = process.stderr.read().decode().splitlines()
        finally:
            process.kill()
            for sock in crowd:
                sock.close()
    assert process.returncode == 0
    assert complaints
    times = []
    for line in complaints:
        time, level, message = line.split(" ", 2)
        assert (level, message.startswith("too many open files")) == ("WARNING", True), line
        times.append(float(time))
    assert all(later - earlier > 0.99 for earlier, later in itertools.pairwise(times))


# --- nothing is left behind


async def test_two_hundred_sessions_leave_nothing_behind() -> None:
    async with open_server(take) as server:
        async with connected(server) as client:  # the first connection creates what is created only once
            await begin(client)
        await no_connections(server)
        files, tasks = open_files(), trio.lowlevel.current_statistics().tasks_living
        for number in range(20):
            async with AsyncExitStack() as stack:
                clients = [await stack.enter_async_context(connected(server)) for _ in range(10)]
                for client in clients:
                    await begin(client)
                    await deliver(client)
                    if number % 2:
                        assert (await client.command("QUIT")).code == 221
        await no_connections(server)
        await wait_all_tasks_blocked()
        assert server.stats.connections == 201
        assert open_files() <= files
        assert trio.lowlevel.current_statistics().tasks_living == tasks
    assert not server._counts._peers


async def resets(client: ScriptedClient) -> None:
    await client.send(TRANSACTION)
    assert isinstance(client.stream, trio.SocketStream)
    reset(client.stream.socket)


async def half_closes(client: ScriptedClient) -> None:
    await client.send(TRANSACTION + DATA[:-1])
    await client.send_eof()
    with pytest.raises(EOFError):
        while await client.read_reply():
            pass


async def breaks_off(client: ScriptedClient) -> None:
    await client.send(TRANSACTION + DATA[:-1])
    await client.expect("250", "250", "354")


async def fails_in_tls(client: ScriptedClient) -> None:
    assert (await client.command("STARTTLS")).code == 220
    await client.send(b"this is no TLS\r\n")
    with suppress(trio.BrokenResourceError):
        while await client.stream.receive_some():
            pass


async def fails_to_log_in(client: ScriptedClient) -> None:
    assert (await client.command("AUTH PLAIN AGJvYgBndWVzcw==")).code == 535


async def nobody(username: str, password: str) -> str | None:
    return None


async def test_nor_do_fifty_that_are_broken(
    server_tls: ssl.SSLContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    ways = (resets, half_closes, breaks_off, fails_in_tls, fails_to_log_in)

    async with open_server(
        take,
        message_memory=0,  # so that every message goes to a file
        ssl_context=server_tls,
        authenticator=nobody,
        config=Config(auth_requires_tls=False),
    ) as server:
        found: list[tuple[Counter[str], int]] = []
        for times in (1, 10):  # the first round creates what is created only once
            for way in ways * times:
                async with connected(server) as client:
                    await begin(client)
                    await way(client)
            await no_connections(server)
            await wait_all_tasks_blocked()
            found.append((open_files(), trio.lowlevel.current_statistics().tasks_living))
            assert os.listdir(tmp_path) == []
        assert server.stats.connections == 55
    (files, tasks), (files_after, tasks_after) = found
    assert files_after <= files
    assert tasks_after == tasks
