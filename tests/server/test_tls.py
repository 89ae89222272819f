"""STARTTLS (RFC 3207) and implicit TLS (RFC 8314): the dialogue, injected commands, failing handshakes, the end."""

from __future__ import annotations

import logging
import socket
import ssl
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
import trustme
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

from tests.server.tools import (
    ACCEPTED,
    HELLO,
    TRANSACTION,
    TRANSACTION_ACCEPTED,
    Recorder,
    begin,
    connected,
    deliver,
    handler_with,
    no_connections,
    session_over,
    take,
)
from trio_smtp.handler import Body, Handler, HandlerFactory, Session, TLSInfo
from trio_smtp.protocol import Config, Envelope, Reply
from trio_smtp.server import Timeouts, open_server, serve_smtp, server_context
from trio_smtp.testing.client import ScriptedClient, open_session

NAME = "mx.example.com"
NO_GOODBYE = struct.pack("ii", 1, 0)  # for SO_LINGER: close() resets the connection


class Sessions:
    """The sessions of a server, recorded by its handlers."""

    def __init__(self) -> None:
        self.all: list[Session] = []
        self.factory = HandlerFactory(self._make)

    def _make(self) -> Handler:
        sessions = self.all

        class Noting(Handler):
            async def connect(self) -> None:
                sessions.append(self.session)

            async def message(self, envelope: Envelope, body: Body) -> None:
                await body.read()

        return Noting()


async def start_tls(client: ScriptedClient, context: ssl.SSLContext) -> None:
    assert str(await client.command("STARTTLS")) == "220 2.0.0 Ready to start TLS"
    await client.start_tls(context, NAME)


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# --- the dialogue


async def test_starttls(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    sessions = Sessions()
    async with open_session(sessions.factory, ssl_context=server_tls) as client:
        await client.expect("220")
        assert "STARTTLS" in (await client.command("EHLO client.example")).lines
        [session] = sessions.all
        assert session.tls is None
        await start_tls(client, client_tls)
        hello = await client.command("EHLO client.example")
        assert "STARTTLS" not in hello.lines
        assert sessions.all[0].tls == TLSInfo("TLSv1.3", "TLS_AES_256_GCM_SHA384", None)
        await deliver(client)
        assert (await client.command("QUIT")).code == 221
        await client.expect_close()


async def test_implicit_tls(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    sessions = Sessions()
    async with open_session(sessions.factory, ssl_context=server_tls, implicit_tls=True) as client:
        await client.start_tls(client_tls, NAME)
        await client.expect("220")
        assert "STARTTLS" not in (await client.command("EHLO client.example")).lines
        assert str(await client.command("STARTTLS")) == "503 5.5.1 TLS is active already"
        await deliver(client)
    [session] = sessions.all
    assert session.tls is not None


@pytest.mark.parametrize("implicit", [False, True])
async def test_over_tcp(implicit: bool, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    async with (
        open_server(take, ssl_context=server_tls, implicit_tls=implicit) as server,
        connected(server) as client,
    ):
        if implicit:
            await client.start_tls(client_tls, NAME)
            await begin(client)
        else:
            await begin(client)
            await start_tls(client, client_tls)
            assert (await client.command("EHLO client.example")).code == 250
        await deliver(client)
        content = b"x" * 70 * 1000 + b"\r\n" + b"..\r\n" * 100_000
        await deliver(client, content)


async def test_all_that_was_said_before_is_forgotten(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    """RFC 3207 §4.2. Even a login in clear: a man in the middle may have made it."""
    sessions = Sessions()

    async def check(username: str, password: str) -> str | None:
        return username

    async with open_session(
        sessions.factory, ssl_context=server_tls, authenticator=check, config=Config(auth_requires_tls=False)
    ) as client:
        await begin(client)
        assert (await client.command("AUTH PLAIN AGV2ZQB4")).code == 235
        [session] = sessions.all
        assert (session.identity, session.hello is None) == ("eve", False)
        await start_tls(client, client_tls)
        assert (await client.command("MAIL FROM:<ann@example.com>")).code == 503
        assert (session.identity, session.hello) == (None, None)
        assert "AUTH PLAIN LOGIN" in (await client.command("EHLO client.example")).lines


async def test_only_outside_a_transaction_and_without_argument(server_tls: ssl.SSLContext) -> None:
    async with open_session(take, ssl_context=server_tls) as client:
        await begin(client)
        assert (await client.command("STARTTLS now")).code == 501
        await client.send(TRANSACTION)
        await client.expect(*TRANSACTION_ACCEPTED)
        assert (await client.command("STARTTLS")).code == 503


async def test_without_a_context_there_is_no_tls() -> None:
    async with open_session(take) as client:
        await client.expect("220")
        assert "STARTTLS" not in (await client.command("EHLO client.example")).lines
        assert (await client.command("STARTTLS")).code == 502


async def test_a_pipelined_burst_inside_tls(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    async with open_session(take, ssl_context=server_tls) as client:
        await begin(client)
        await start_tls(client, client_tls)
        await client.send(HELLO + TRANSACTION + b"DATA\r\n.\r\n" + TRANSACTION + b"BDAT 1 LAST\r\nxQUIT\r\n")
        await client.expect("250", *TRANSACTION_ACCEPTED, "354", ACCEPTED, *TRANSACTION_ACCEPTED, ACCEPTED)
        await client.expect_close("221")


async def test_a_client_certificate_and_the_name_in_it(
    authority: trustme.CA, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    authority.configure_trust(server_tls)
    server_tls.verify_mode = ssl.CERT_OPTIONAL
    for names, common_name, expected in (
        (["client.example"], None, "client.example"),
        (["ann@example.com"], None, "ann@example.com"),
        (["192.0.2.1"], "Ann", "Ann"),
        (["192.0.2.1"], None, None),
    ):
        certificate = authority.issue_cert(*names, common_name=common_name)
        certificate.configure_cert(client_tls)
        sessions = Sessions()
        async with open_session(sessions.factory, ssl_context=server_tls, implicit_tls=True) as client:
            await client.start_tls(client_tls, NAME)
            await client.expect("220")
        [session] = sessions.all
        assert session.tls is not None
        assert session.tls.client_name == expected
        pem = certificate.cert_chain_pems[0].bytes().decode()
        assert session.tls.client_certificate == ssl.PEM_cert_to_DER_cert(pem)


# --- commands injected by a man in the middle


async def test_what_came_in_clear_is_not_taken_for_tls(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    """CVE-2011-0411: commands in the same segment as STARTTLS are dropped."""
    recorder = Recorder()
    async with open_session(recorder.factory, ssl_context=server_tls) as client:
        await begin(client)
        await client.send(b"STARTTLS\r\n" + TRANSACTION + b"DATA\r\ninjected\r\n.\r\nRS")
        await client.expect("220")
        await client.start_tls(client_tls, NAME)
        assert (await client.command("EHLO client.example")).code == 250
        assert (await client.command("RSET")).code == 250
    assert recorder.calls == ["connect", "EHLO", "EHLO", "close"]


# --- handshakes that fail


GARBAGE = {
    "nothing": b"",
    "commands": HELLO + TRANSACTION,
    "zeros": bytes(100),
    "half-a-hello": b"\x16\x03\x01\x02\x00\x01\x00\x01",
    "alert": b"\x15\x03\x01\x00\x02\x02\x28",
    "long": b"x" * 100_000,
}


@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize("sent", GARBAGE.values(), ids=GARBAGE)
async def test_garbage_instead_of_a_handshake(
    sent: bytes, implicit: bool, server_tls: ssl.SSLContext, log: pytest.LogCaptureFixture
) -> None:
    """The connection ends, nothing more is said in clear, the log has one line, and others are served."""
    recorder = Recorder()
    async with open_session(recorder.factory, ssl_context=server_tls, implicit_tls=implicit) as client:
        if not implicit:
            await begin(client)
            assert (await client.command("STARTTLS")).code == 220
        await client.send(sent)
        await client.send_eof()
        received = b""
        while piece := await client.stream.receive_some():
            received += piece
    assert b"421" not in received
    assert b"250" not in received
    assert recorder.calls == ([] if implicit else ["connect", "EHLO", "close"])
    [record] = log.records
    assert record.levelname == "INFO"
    assert "TLS handshake failed: " in record.getMessage()
    assert record.getMessage().isprintable()


async def test_the_client_is_told_why_the_handshake_has_failed(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    server_tls.minimum_version = ssl.TLSVersion.TLSv1_3
    client_tls.maximum_version = ssl.TLSVersion.TLSv1_2
    async with open_session(take, ssl_context=server_tls, implicit_tls=True) as client:
        with pytest.raises(trio.BrokenResourceError) as failure:
            await client.start_tls(client_tls, "mx.example.com")
    assert "alert protocol version" in str(failure.value.__cause__)


@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize("drip", [False, True])
async def test_a_handshake_that_stalls(
    implicit: bool,
    drip: bool,
    server_tls: ssl.SSLContext,
    log: pytest.LogCaptureFixture,
    autojump_clock: MockClock,
) -> None:
    """The handshake has its own timeout, which may be longer than that of a command."""
    timeouts = Timeouts(command=5)
    async with open_session(take, ssl_context=server_tls, implicit_tls=implicit, timeouts=timeouts) as client:
        if not implicit:
            await begin(client)
            assert (await client.command("STARTTLS")).code == 220
        async with trio.open_nursery() as nursery:

            async def send() -> None:
                for octet in b"\x16\x03\x01\x02\x00\x01\x00\x01" if drip else b"":
                    await trio.sleep(10)
                    await client.send(bytes([octet]))

            nursery.start_soon(send)
            await client.expect_close()
            nursery.cancel_scope.cancel()
        assert trio.current_time() == 30
    assert "TLS handshake failed: too slow" in log.text


async def test_a_handshake_that_stalls_does_not_keep_others_waiting(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    async with open_server(take, ssl_context=server_tls, implicit_tls=True) as server:
        async with connected(server), connected(server) as client:
            await client.start_tls(client_tls, NAME)
            await begin(client)
            await deliver(client)
        await no_connections(server)


def old_client(context: ssl.SSLContext) -> None:
    """No version in common (RFC 8996)."""
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")


def weak_client(context: ssl.SSLContext) -> None:
    """No cipher in common."""
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AES128-SHA256")  # no forward secrecy


@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize(
    ("weaken", "reason"), [(old_client, "unsupported protocol"), (weak_client, "no shared cipher")]
)
async def test_nothing_in_common(
    weaken: Callable[[ssl.SSLContext], None],
    reason: str,
    implicit: bool,
    server_tls: ssl.SSLContext,
    client_tls: ssl.SSLContext,
    log: pytest.LogCaptureFixture,
) -> None:
    weaken(client_tls)
    async with open_session(take, ssl_context=server_tls, implicit_tls=implicit) as client:
        if not implicit:
            await begin(client)
            assert (await client.command("STARTTLS")).code == 220
        with pytest.raises(trio.BrokenResourceError):
            await client.start_tls(client_tls, NAME)
    [record] = log.records
    assert "TLS handshake failed: " in record.getMessage()
    assert reason in record.getMessage()


async def test_a_client_that_does_not_trust_us(server_tls: ssl.SSLContext, caplog: pytest.LogCaptureFixture) -> None:
    async with open_session(take, ssl_context=server_tls, implicit_tls=True) as client:
        with pytest.raises(trio.BrokenResourceError):
            await client.start_tls(ssl.create_default_context(), NAME)
    assert not complaints(caplog)


async def test_a_name_that_is_not_ours_is_served(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    """Checking the name is up to the client; the server does not refuse an unknown SNI name."""
    client_tls.check_hostname = False
    async with open_session(take, ssl_context=server_tls, implicit_tls=True) as client:
        await client.start_tls(client_tls, "no.such.name.example")
        await begin(client)


async def test_every_context_has_the_option_against_renegotiation(server_tls: ssl.SSLContext) -> None:
    """CVE-2011-1473. The option is also set on a context that the application has made.

    Python's ssl module cannot ask for a renegotiation; the interop tests do, by the openssl command.
    """
    assert server_tls.options & ssl.OP_NO_RENEGOTIATION
    bare = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    bare.options &= ~ssl.OP_NO_RENEGOTIATION
    async with open_session(take, ssl_context=bare):
        pass
    assert bare.options & ssl.OP_NO_RENEGOTIATION


# --- the end of a connection inside TLS


async def test_a_client_that_goes_away_without_close_notify(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder()
    async with open_session(recorder.factory, ssl_context=server_tls, implicit_tls=True) as client:
        await client.start_tls(client_tls, NAME)
        await begin(client)
        await client.send(TRANSACTION + b"DATA\r\nhalf")
        await client.expect(*TRANSACTION_ACCEPTED, "354")
        assert isinstance(client.stream, trio.SSLStream)
        client.stream = client.stream.transport_stream
    assert recorder.calls[-2:] == ["reset EOF", "close"]
    assert not complaints(caplog)


class Appending(trio.abc.Stream):
    """A stream that sends more octets after each piece."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self.more = b""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(bytes(data) + self.more)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self._stream.aclose()


async def test_what_follows_close_notify_in_clear_is_ignored(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext, caplog: pytest.LogCaptureFixture
) -> None:
    """CVE-2026-45185: in the middle of a chunk."""
    received = b""

    class Reading(Handler):
        async def message(self, envelope: Envelope, body: Body) -> None:
            nonlocal received
            async for chunk in body:
                received += chunk

    ours, theirs = memory_stream_pair()
    appending = Appending(ours)
    streams = (appending, theirs)
    async with session_over(streams, Reading, ssl_context=server_tls, implicit_tls=True) as client:
        await client.start_tls(client_tls, NAME)
        await begin(client)
        await client.send(TRANSACTION + b"BDAT 10 LAST\r\nab")
        await client.expect(*TRANSACTION_ACCEPTED)
        appending.more = b"in clear" + TRANSACTION
    assert received == b"ab"
    assert not complaints(caplog)


async def test_close_notify_right_behind_quit_does_not_reset_the_connection(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """A reset could overtake the last replies."""
    async with (
        open_server(take, ssl_context=server_tls, implicit_tls=True) as server,
        await trio.open_tcp_stream("127.0.0.1", server.port) as stream,
    ):
        await trio.SSLStream(stream, client_tls, server_hostname=NAME).send_all(HELLO + b"QUIT\r\n")
        await wait_all_tasks_blocked()
        await stream.send_all(b"\x15\x03\x03\x00\x13" + bytes(19))  # as long as close_notify; nobody decrypts it
        await wait_all_tasks_blocked()
        assert stream.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


async def test_a_reset_at_each_step_of_tls(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_server(take, ssl_context=server_tls) as server:
        for step in range(4):
            async with connected(server) as client:
                await begin(client)
                assert isinstance(client.stream, trio.SocketStream)
                sock = client.stream.socket
                if step >= 1:
                    assert (await client.command("STARTTLS")).code == 220
                if step == 2:
                    await client.send(b"\x16\x03\x01\x02\x00\x01\x00\x01")
                if step == 3:
                    await client.start_tls(client_tls, NAME)
                await wait_all_tasks_blocked()
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_GOODBYE)
                client.stream = trio.SocketStream(sock)  # so that it is closed without a close_notify
            await no_connections(server)
        async with connected(server) as client:
            await begin(client)
            await deliver(client)
    assert not complaints(caplog)


async def test_an_idle_client_hears_421_inside_tls(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext, autojump_clock: MockClock
) -> None:
    """The cancelled receive leaves the TLS stream usable."""
    async with open_session(take, ssl_context=server_tls, implicit_tls=True) as client:
        await client.start_tls(client_tls, NAME)
        await begin(client)
        await client.expect_close("421 4.4.2")


async def test_a_client_that_reads_nothing_inside_tls(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext, patient_clock: MockClock
) -> None:
    """When the buffers of the kernel are full, the server stops reading and gives up after the timeout."""
    async with open_server(take, ssl_context=server_tls, implicit_tls=True) as server:
        async with connected(server) as client:
            await client.start_tls(client_tls, NAME)
            await begin(client)
            with pytest.raises(trio.BrokenResourceError):
                while True:
                    await client.send(b"HELP\r\n" * 45 + TRANSACTION + b"DATA\r\n.\r\n")
            await no_connections(server)
        assert trio.current_time() >= 300


async def test_a_client_that_reads_no_goodbye_inside_tls(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext, patient_clock: MockClock
) -> None:
    """Once the time for that is over, it is not offered the goodbye of TLS either."""

    async def mail(event: object) -> Reply:
        return Reply(250, ["x" * 400] * 50_000)  # more than the buffers of the kernel take

    tls = open_server(handler_with(mail=mail), ssl_context=server_tls, implicit_tls=True)
    async with tls as server, connected(server) as client:
        await client.start_tls(client_tls, NAME)
        await begin(client)
        await client.send(b"MAIL FROM:<>\r\nQUIT\r\n")
        await trio.sleep(6)
        assert not server.connections


# --- the server's context


def test_server_context(certificate: Path, tmp_path: Path, authority: trustme.CA) -> None:
    context = server_context(str(certificate))
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.verify_mode is ssl.CERT_NONE
    other = authority.issue_cert("other.example")
    (tmp_path / "other.key").write_bytes(other.private_key_pem.bytes())
    with pytest.raises(ssl.SSLError, match="KEY_VALUES_MISMATCH"):
        server_context(certificate, tmp_path / "other.key")
    with pytest.raises(FileNotFoundError, match=r"missing\.pem"):
        server_context(tmp_path / "missing.pem")
    with pytest.raises(FileNotFoundError, match=r"missing\.key"):
        server_context(certificate, tmp_path / "missing.key")


async def test_implicit_tls_needs_a_context() -> None:
    with pytest.raises(ValueError, match="implicit_tls needs an ssl_context"):
        await serve_smtp(take, 0, implicit_tls=True)
