"""Sessions: one send per read, fairness, the greeting, the lines in the log, and the counters."""

from __future__ import annotations

import itertools
import socket
import ssl
from collections.abc import Sequence
from typing import Any

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

from tests.server.tools import (
    ACCEPTED,
    CONTENT,
    DATA,
    HELLO,
    MAIL,
    RCPT,
    TRANSACTION,
    TRANSACTION_ACCEPTED,
    begin,
    connected,
    deliver,
    handler_with,
    no_connections,
    session_over,
    take,
)
from trio_smtp.handler import Body, Handler, Peer, Refuse
from trio_smtp.protocol import AbortReason, Config, Envelope, Hello, Limits, MailFrom, RcptTo, Reply
from trio_smtp.server import Timeouts, open_server
from trio_smtp.server.login import resolve_authenticator
from trio_smtp.server.proxy import parse_networks
from trio_smtp.server.session import ServerSession
from trio_smtp.server.settings import Settings, resolve_handler
from trio_smtp.server.transport import StreamTransport
from trio_smtp.testing.client import open_session

# --- one send per read


class Noted(trio.abc.Stream):
    """A stream that records its calls: "read" for each receive, the octets for each send."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self.deeds: list[str | bytes] = []

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self.deeds.append(bytes(data))
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        self.deeds.append("read")
        return await self._stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self._stream.aclose()


async def test_a_pipelined_burst_is_answered_in_one_send() -> None:
    ours, theirs = memory_stream_pair()
    noted = Noted(theirs)
    burst = HELLO + MAIL + b"RCPT TO:<bob@example.com>\r\n" * 15 + b"NOOP\r\nVRFY x\r\nDATA\r\n"
    async with session_over((ours, noted), take) as client:
        await client.expect("220")
        await client.send(burst)
        await client.expect(*["250"] * 18, "252", "354")
        await client.send(CONTENT + b".\r\nNOOP\r\nQUIT\r\n")
        await client.expect_close(ACCEPTED, "250", "221")
    kinds = [deed if isinstance(deed, str) else deed.count(b"\r\n") for deed in noted.deeds]
    hello_lines = 10
    assert kinds == [1, "read", hello_lines + 17 + 2, "read", 3]


@pytest.mark.parametrize("secure", [False, True], ids=["in clear", "in TLS"])
@pytest.mark.parametrize(
    ("hook", "behind", "answers"),
    [
        ("mail", MAIL, ["250 2.1.0"]),
        ("rcpt", TRANSACTION, TRANSACTION_ACCEPTED),
        ("message", TRANSACTION + DATA, [*TRANSACTION_ACCEPTED, "354", ACCEPTED]),
    ],
)
async def test_the_reply_to_a_message_does_not_wait_for_a_hook_of_what_comes_behind_it(
    server_tls: ssl.SSLContext,
    client_tls: ssl.SSLContext,
    hook: str,
    behind: bytes,
    answers: Sequence[str],
    secure: bool,
) -> None:
    """RFC 2920 §3.2 lets a server hold back the replies to MAIL and RCPT, but not the one to DATA."""
    go_on = trio.Event()
    calls = itertools.count()

    async def wait(_: object, body: Body | None = None) -> None:
        if body is not None:
            await body.read()
        if next(calls):
            await go_on.wait()

    context = server_tls if secure else None
    async with (
        open_server(handler_with(**{hook: wait}), ssl_context=context, implicit_tls=secure) as server,
        connected(server) as client,
    ):
        if secure:
            await client.start_tls(client_tls, "mx.example.com")
        await begin(client)
        await client.send(TRANSACTION + DATA + behind)
        with trio.fail_after(30):
            await client.expect(*TRANSACTION_ACCEPTED, "354", ACCEPTED)
        go_on.set()
        await client.expect(*answers)


async def test_every_reply_is_out_before_the_client_is_waited_for() -> None:
    ours, theirs = memory_stream_pair()
    noted = Noted(theirs)
    async with session_over((ours, noted), take) as client:
        await begin(client)
        await deliver(client)
        assert (await client.command("QUIT")).code == 221
    for deed, following in itertools.pairwise(noted.deeds):
        if deed == "read":
            assert following != "read"


async def test_nothing_is_sent_while_a_command_is_incomplete() -> None:
    ours, theirs = memory_stream_pair()
    noted = Noted(theirs)
    async with session_over((ours, noted), take) as client:
        await client.expect("220")
        for octet in b"NOOP\r\n":
            await client.send(bytes([octet]))
            await wait_all_tasks_blocked()
        await client.expect("250")
    assert [deed for deed in noted.deeds[:-1] if deed != "read"] == [noted.deeds[0], b"250 2.0.0 OK\r\n"]


async def test_one_send_over_tcp_too() -> None:
    """Each `send` would be a segment of its own, because the server turns Nagle's algorithm off."""
    async with open_server(take) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as sock:
            sock.setblocking(False)
            await trio.lowlevel.wait_readable(sock)
            assert sock.recv(65536).startswith(b"220")
            sock.send(HELLO + (TRANSACTION + b"RSET\r\n") * 6)
            await trio.lowlevel.wait_readable(sock)
            assert sock.recv(65536).count(b"\r\n") == 10 + 18


# --- fairness


async def test_after_five_commands_others_have_their_turn() -> None:
    """In each turn of the loop about five commands are served. Two steps of another task may be two turns apart, so up
    to twelve.
    """
    served = 0
    seen: list[int] = []

    async def rcpt(event: RcptTo) -> None:
        nonlocal served
        served += 1

    async def witness() -> None:
        while served < 400:
            seen.append(served)
            await trio.lowlevel.checkpoint()

    async with open_session(handler_with(rcpt=rcpt)) as client, trio.open_nursery() as nursery:
        await begin(client)
        nursery.start_soon(witness)
        await client.send(MAIL + b"RCPT TO:<b@c>\r\n" * 400)
        await client.expect(*["250"] * 401)
    steps = [later - earlier for earlier, later in zip(seen, [*seen[1:], served], strict=True)]
    assert 4 < max(steps) < 13


@pytest.mark.parametrize(
    "burst",
    [
        MAIL + b"RCPT TO:<b@c>\r\n" * 600,
        (TRANSACTION + DATA) * 100,
        (TRANSACTION + b"BDAT 1 LAST\r\nx") * 150,
        TRANSACTION + b"BDAT 1\r\nx" * 1000 + b"BDAT 0 LAST\r\n",
    ],
    ids=["recipients", "messages", "chunked-messages", "chunks"],
)
async def test_a_flood_does_not_keep_a_witness_waiting(burst: bytes) -> None:
    """While one client's burst of a thousand commands is served, the others get at least a dozen turns."""
    turns = 0

    async def witness() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    class Reading(Handler):
        async def message(self, envelope: Envelope, body: Body) -> None:
            async for _ in body:
                pass

    async with open_session(Reading, config=Config(limits=Limits(recipients=1000))) as client:
        await begin(client)
        await client.send(burst)
        async with trio.open_nursery() as nursery:
            await client.send_eof()
            nursery.start_soon(witness)
            await client.rest()
            nursery.cancel_scope.cancel()
    assert turns >= 12


# --- the greeting


async def test_early_talkers_are_turned_away() -> None:
    """RFC 5321 §4.3.1: a client waits for the greeting. The session looks for input just before it greets."""
    async with open_server(take) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as sock:
            sock.sendall(HELLO)
            sock.setblocking(False)
            await trio.lowlevel.wait_readable(sock)
            assert sock.recv(100) == b"554 You spoke before the greeting\r\n"
            sock.sendall(TRANSACTION)  # causes no reset: the server reads on, so that the client can read the 554
            await trio.lowlevel.wait_readable(sock)
            assert sock.recv(100) == b""
        await no_connections(server)
    assert server.stats.rules == {"early-talker": 1}


async def test_who_talks_while_the_handler_thinks_is_early_too() -> None:
    talked = trio.Event()
    async with open_server(handler_with(connect=talked.wait)) as server, connected(server) as client:
        await wait_all_tasks_blocked()
        await client.send(HELLO)
        talked.set()
        await client.expect("554 You spoke before the greeting")


async def test_early_talkers_can_be_allowed() -> None:
    async with open_server(take, early_talkers="allow") as server:
        with socket.create_connection(("127.0.0.1", server.port)) as sock:
            sock.sendall(HELLO + b"QUIT\r\n")
            received = b""
            sock.setblocking(False)
            while True:
                await trio.lowlevel.wait_readable(sock)
                if not (piece := sock.recv(65536)):
                    break
                received += piece
    lines = received.splitlines()
    assert [lines[0][:3], lines[1][:3], lines[-1][:3]] == [b"220", b"250", b"221"]


async def test_a_client_that_is_gone_before_the_greeting() -> None:
    async with open_server(take) as server:
        socket.create_connection(("127.0.0.1", server.port)).close()
        async with connected(server) as client:
            await begin(client)
            await deliver(client)


# --- the log


ACCEPTANCE = "peer=local reply=250 2.6.0 Message accepted"


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The log lines, without the session's id in front."""
    return [record.getMessage().partition(" ")[2] for record in caplog.records if record.name == "trio_smtp"]


async def test_one_line_for_each_message(log: pytest.LogCaptureFixture) -> None:
    async def message(envelope: Envelope, body: Body) -> None:
        if len(await body.read()) > 100:
            raise Refuse(554, "Not\tthis", "5.7.1")

    async with open_session(handler_with(message=message)) as client:
        await begin(client)
        await deliver(client)
        await client.send_mail("", ["bob@example.com", "eve@example.com"], b"x" * 200)
    assert lines(log) == [
        f"accepted from=<ann@example.com> to=<bob@example.com> size={len(CONTENT)} {ACCEPTANCE}",
        r"refused from=<> to=<bob@example.com>,<eve@example.com> size=202 peer=local reply=554 5.7.1 Not\tthis",
    ]
    ids = {record.getMessage().partition(" ")[0] for record in log.records}
    assert len(ids) == 1


async def test_in_lmtp_a_message_is_accepted_if_any_recipient_gets_it(log: pytest.LogCaptureFixture) -> None:
    async def message(envelope: Envelope, body: Body) -> list[Reply]:
        await body.read()
        return [Reply(452, "Full"), Reply(250, "Thanks")]

    async with open_session(handler_with(message=message), lmtp=True) as client:
        await client.expect("220")
        assert (await client.command("LHLO client.example")).code == 250
        await client.send_mail("ann@example.com", ["bob@example.com", "eve@example.com"], CONTENT)
        await client.expect("250")
    (line,) = lines(log)
    assert line.startswith("accepted from=<ann@example.com> to=<bob@example.com>,<eve@example.com> ")
    assert line.endswith(" reply=452 4.0.0 Full / 250 2.0.0 Thanks")


async def test_messages_that_the_core_refuses_have_a_line_too(log: pytest.LogCaptureFixture) -> None:
    async with open_session(take, config=Config(limits=Limits(message_size=100))) as client:
        await begin(client)
        assert (await client.send_mail("ann@example.com", ["bob@example.com"], b"x" * 200)).code == 552
        assert (await client.send_mail("ann@example.com", ["bob@example.com"], b"a\nb\r\n")).code == 550
        assert (await client.command("MAIL FROM:<ann@example.com>")).code == 250
        assert (await client.command("RCPT TO:<bob@example.com>")).code == 250
        await client.send(b"BDAT 200 LAST\r\n" + b"x" * 200)
        await client.expect("552")
    who = "refused from=<ann@example.com> to=<bob@example.com>"
    assert lines(log) == [
        f"{who} size=100 peer=local reply=552 5.3.4 Message too big",
        f"{who} size=1 peer=local reply=550 5.6.0 Bare CR or LF in the message (RFC 5321 section 2.3.8)",
        f"{who} size=0 peer=local reply=552 5.3.4 Message too big",
    ]


async def test_the_line_of_a_message_that_is_refused_early_has_the_octets_that_came(
    log: pytest.LogCaptureFixture,
) -> None:
    async def message(envelope: Envelope, body: Body) -> None:
        async for _ in body:
            raise Refuse(554, "No")

    async with open_session(handler_with(message=message)) as client:
        await begin(client)
        assert (await client.send_mail("ann@example.com", ["bob@example.com"], b"x" * 200)).code == 554
    (line,) = lines(log)
    assert " size=202 " in line


@pytest.mark.parametrize("end", [b"", b"DATA\r\n", b"DATA\r\nSubject: x\r\n"])
async def test_a_client_that_goes_away_in_a_transaction_leaves_a_line(
    end: bytes, log: pytest.LogCaptureFixture
) -> None:
    async with open_session(take) as client:
        await begin(client)
        await client.send(b"MAIL FROM:<>\r\nRCPT TO:<bob@example.com>\r\n" + end)
        await client.send_eof()
        await client.rest()
    assert lines(log) == ["unfinished from=<> to=<bob@example.com> peer=local: the client went away"]


@pytest.mark.parametrize("end", ["MAIL FROM:<>", "MAIL FROM:<>\r\nRCPT TO:<bob@example.com>\r\nRSET"])
async def test_a_transaction_that_came_to_nothing_leaves_no_line(end: str, log: pytest.LogCaptureFixture) -> None:
    """It has no recipient, so no mail is missing, or the client wanted it so."""
    async with open_session(take) as client:
        await begin(client)
        await client.send(end.encode() + b"\r\n")
        await client.send_eof()
        await client.rest()
    assert lines(log) == []


async def test_hooks_see_the_open_transaction() -> None:
    seen: list[str] = []

    class Onlooker(Handler):
        def _note(self, hook: str) -> None:
            envelope = self.session.envelope
            seen.append(hook if envelope is None else f"{hook} {envelope.sender} {len(envelope.recipients)}")

        async def connect(self) -> None:
            self._note("connect")

        async def mail(self, event: MailFrom) -> None:
            self._note("mail")

        async def rcpt(self, event: RcptTo) -> None:
            self._note("rcpt")
            if event.recipient.local_part == "eve":
                raise Refuse(550, "No such user", "5.1.1")

        async def message(self, envelope: Envelope, body: Body) -> None:
            assert envelope is self.session.envelope
            await body.read()
            self._note("message")

        async def reset(self, reason: AbortReason) -> None:
            self._note("reset")

        async def close(self) -> None:
            self._note("close")

    async with open_session(Onlooker) as client:
        await begin(client)
        await client.send(TRANSACTION + b"RCPT TO:<eve@example.com>\r\n" + RCPT + b"RSET\r\n" + TRANSACTION + DATA)
        await client.send(MAIL + b"QUIT\r\n")
        await client.expect("250", "250", "550", "250", "250", "250", "250", "354", "250", "250", "221")
    ann = "ann@example.com"
    first = ["connect", "mail", f"rcpt {ann} 0", f"rcpt {ann} 1", f"rcpt {ann} 1", "reset"]
    assert seen == [*first, "mail", f"rcpt {ann} 0", f"message {ann} 1", "mail", "reset", "close"]


async def test_refusals_of_the_hooks_have_a_line(log: pytest.LogCaptureFixture) -> None:
    class Strict(Handler):
        async def hello(self, event: Hello) -> None:
            if event.verb == "HELO":
                raise Refuse(550, "EHLO, please", "5.7.1")

        async def mail(self, event: MailFrom) -> None:
            if event.sender is None or event.sender.local_part == "eve":
                raise Refuse(550, "Not from you", "5.7.1")

        async def rcpt(self, event: RcptTo) -> None:
            raise Refuse(550, "No such user", "5.1.1")

    async with open_session(Strict) as client:
        await client.expect("220")
        await client.send("HELO \u202eevil\u2028x\r\n".encode() + HELLO + b"MAIL FROM:<>\r\n")
        await client.send(b"MAIL FROM:<eve@example.com>\r\n" + TRANSACTION)
        await client.expect("550", "250", "550", "550", "250", "550")
    assert lines(log) == [
        r"refused HELO \u202eevil\u2028x peer=local reply=550 5.7.1 EHLO, please",
        "refused from=<> peer=local reply=550 5.7.1 Not from you",
        "refused from=<eve@example.com> peer=local reply=550 5.7.1 Not from you",
        "refused to=<bob@example.com> peer=local reply=550 5.1.1 No such user",
    ]


async def test_the_lines_of_a_burst_are_in_its_order(log: pytest.LogCaptureFixture) -> None:
    async with open_session(take) as client:
        await begin(client)
        await client.send(b"WHAT\r\n" + TRANSACTION + b"BDAT 0 LAST\r\n")
        await client.expect("500", "250", "250", "250")
    assert [line.split()[0] for line in lines(log)] == ["refused", "accepted"]


@pytest.mark.parametrize("end", [b"", b"QUIT\r\n"])
async def test_commands_that_the_protocol_refuses_have_a_line(log: pytest.LogCaptureFixture, end: bytes) -> None:
    async with open_session(handler_with(), config=Config(limits=Limits(message_size=100))) as client:
        await client.send(b"HELO\r\n" + HELLO)
        await client.send(b"MAIL FROM: ann@example.com\r\nMAIL FROM:<a@b> SIZE=101\r\nWHAT\r\n" + end)
        await client.expect("220", "501", "250", "501", "552", "500")
        await client.send_eof()
        await client.rest()
    syntax = "Syntax: MAIL FROM:<address>, without a space after the colon"
    assert lines(log) == [
        "refused command HELO peer=local reply=501 A host name or address literal is needed",
        f"refused command MAIL FROM: ann@example.com peer=local reply=501 5.5.4 {syntax}",
        "refused command MAIL FROM:<a@b> SIZE=101 peer=local reply=552 5.3.4 Message too big",
        "refused command unknown peer=local reply=500 5.5.1 Command not recognized",
    ]


async def test_a_client_that_is_turned_away_has_a_line(log: pytest.LogCaptureFixture) -> None:
    async def connect() -> None:
        raise Refuse(554, "Not you", "5.7.1")

    async with open_session(handler_with(connect=connect)) as client:
        await client.expect_close("554 Not you")
    assert lines(log) == ["refused greeting peer=local reply=554 5.7.1 Not you"]


async def test_addresses_in_the_log_are_escaped(log: pytest.LogCaptureFixture) -> None:
    async with open_session(take) as client:
        await begin(client)
        await client.send("MAIL FROM:<\u202egpj.exe@example.com> SMTPUTF8\r\n".encode())
        await client.send("RCPT TO:<a\x85b\u2028@example.com>\r\n".encode())
        await client.send("RCPT TO:<bob\u2028accepted@example.com>\r\n".encode())
        await client.send(b'RCPT TO:<"x\\\\y"@example.com>\r\n' + DATA)
        await client.send_eof()
        assert len(await client.rest()) == 6
    assert [line.partition(" ")[0] for line in lines(log)] == ["refused", "accepted"]
    for record in log.records:
        assert record.getMessage().isprintable()


async def test_the_peer_is_in_the_log(log: pytest.LogCaptureFixture) -> None:
    async with open_server(take) as server, connected(server) as client:
        await begin(client)
        await deliver(client)
        assert isinstance(client.stream, trio.SocketStream)
        _, port = client.stream.socket.getsockname()
    assert f"peer=127.0.0.1:{port} " in log.text


async def test_ids_are_unique() -> None:
    ids: set[str] = set()

    class Identified(Handler):
        async def close(self) -> None:
            ids.add(self.session.id)

    for _ in range(50):
        async with open_session(Identified) as client:
            await client.expect("220")
    assert len(ids) == 50


# --- the counters


async def test_stats() -> None:
    async def message(envelope: Envelope, body: Body) -> None:
        if not await body.read():
            raise Refuse(554, "Empty")

    async with open_server(handler_with(message=message)) as server:
        async with connected(server) as client:
            await begin(client)
            await deliver(client)
            await deliver(client)
            await client.send_mail("ann@example.com", ["bob@example.com"], b"")
            await client.send_mail("ann@example.com", ["bob@example.com"], b"a\nb\r\n")
            assert server.connections == 1
        await no_connections(server)
        stats = server.stats
    assert (stats.connections, stats.connections_refused) == (1, 0)
    assert (stats.messages_accepted, stats.octets_accepted) == (2, 2 * len(CONTENT))
    assert stats.messages_refused == 2
    assert stats.hook_errors == 0


async def nobody(username: str, password: str) -> None:
    """Refuses every login."""


IN_CLEAR = Config(auth_requires_tls=False)
SMALL = Config(limits=Limits(message_size=9))
WRONG_LOGIN = b"AUTH PLAIN AGFubgB4\r\n"
IMPLICIT = {"ssl_context": ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), "implicit_tls": True}
# The rule that strikes, what the client sends, with a pause of 100 seconds after each piece, and the settings.
RULES: list[tuple[str, list[bytes], dict[str, Any]]] = [
    ("errors", [b"WHAT\r\n" * 20], {}),
    ("junk-commands", [b"NOOP\r\n" * 100], {}),
    ("transactions", [HELLO + MAIL + b"RSET\r\n" + MAIL], {"config": Config(limits=Limits(transactions=1))}),
    ("login-failures", [HELLO + WRONG_LOGIN * 3], {"config": IN_CLEAR, "authenticator": resolve_authenticator(nobody)}),
    ("not-smtp", [b"GET / HTTP/1.1\r\n"], {}),
    ("message-size", [HELLO + TRANSACTION + DATA + b"QUIT\r\n"], {"config": SMALL}),
    ("message-size", [HELLO + TRANSACTION + b"DATA\r\n" + b"x" * 91], {"config": SMALL}),
    ("message-size", [HELLO + TRANSACTION + b"BDAT 91\r\n"], {"config": SMALL}),
    ("bare-newline", [HELLO + TRANSACTION + b"DATA\r\na\nb\r\n.\r\nQUIT\r\n"], {}),
    ("command-timeout", [], {}),
    ("data-timeout", [HELLO + TRANSACTION + b"DATA\r\n"], {}),
    ("minimum-rate", [HELLO + TRANSACTION + b"DATA\r\n", b"x"], {}),
    ("session-time", [HELLO], {"timeouts": Timeouts(session=200)}),
    ("handshake-timeout", [], IMPLICIT),
    ("tls-handshake", [HELLO], IMPLICIT),
    ("proxy-header", [HELLO], {"proxy_networks": parse_networks(["192.0.2.1"])}),
]


@pytest.mark.parametrize(("rule", "sent", "options"), RULES)
async def test_a_rule_that_has_struck_is_counted_by_its_name(
    autojump_clock: MockClock, rule: str, sent: list[bytes], options: dict[str, Any]
) -> None:
    settings = Settings(resolve_handler(take), **options)
    ours, theirs = memory_stream_pair()
    session = ServerSession(settings, StreamTransport(theirs), Peer("192.0.2.1", 25))
    async with trio.open_nursery() as nursery, ours:
        nursery.start_soon(session.run)
        for piece in sent:
            await ours.send_all(piece)
            await trio.sleep(100)
        while await ours.receive_some():
            pass
    assert settings.stats.rules == {rule: 1}


async def test_replies_to_everything_that_is_no_transaction() -> None:
    async with open_session(take) as client:
        await begin(client)
        await client.send(
            b"VRFY bob\r\nEXPN list\r\nHELP\r\nNOOP x\r\nRSET\r\nWHAT\r\nDATA\r\nSTARTTLS\r\nAUTH PLAIN\r\n"
        )
        await client.expect("252", "502", "214", "250", "250", "500", "503", "502", "502")
        await client.send(TRANSACTION)
        await client.expect(*TRANSACTION_ACCEPTED)


async def test_what_ends_the_session_is_counted_besides_a_message_that_was_too_big() -> None:
    limits = Limits(message_size=100, errors=3)
    async with open_server(take, config=Config(limits=limits)) as server, connected(server) as client:
        await begin(client)
        await client.send(TRANSACTION + b"DATA\r\n" + CONTENT * 5 + b".\r\nWHAT\r\nWHAT\r\n")
        await client.expect(*TRANSACTION_ACCEPTED, "354", "552", "500", "421")
        await client.send_eof()
        await client.expect_close()
        assert server.stats.rules == {"message-size": 1, "errors": 1}
