"""What happens when a hook takes too long, and when its clock runs or stands still. Time is a mock clock."""

from __future__ import annotations

import contextlib
import logging
import socket
from contextlib import AsyncExitStack

import pytest
import trio
from trio.testing import MockClock, lockstep_stream_pair, wait_all_tasks_blocked

from tests.server.tools import (
    ACCEPTED,
    CONTENT,
    DATA,
    HELLO,
    MAIL,
    RCPT,
    TRANSACTION,
    TRANSACTION_ACCEPTED,
    Recorder,
    begin,
    connected,
    deliver,
    handler_with,
    session_over,
    take,
)
from trio_smtp.handler import Body, Handler, MessageAborted
from trio_smtp.protocol import Config, Envelope, MailFrom, RcptTo, Verify
from trio_smtp.server import Timeouts, open_server
from trio_smtp.testing.client import open_session

TIMED_OUT = "421 4.4.2 Timed out"
LOGIN = Config(auth_requires_tls=False)


@pytest.mark.parametrize(
    ("hook", "answer", "refused"),
    [
        ("connect", "421", "greeting"),
        ("hello", "451", "EHLO client.example"),
        ("mail", "451 4.3.0", "from=<>"),
        ("rcpt", "451 4.3.0", "to=<bob@example.com>"),
        ("message", "451 4.3.0", "from=<> to=<bob@example.com> size=0"),
    ],
)
async def test_a_hook_that_takes_too_long(
    autojump_clock: MockClock, hook: str, answer: str, refused: str, log: pytest.LogCaptureFixture
) -> None:
    """It is cancelled, the command gets 451, and the session goes on. The log tells what was refused."""
    slow = True

    async def wait(*arguments: object) -> None:
        if slow:
            await trio.sleep(1000)

    commands = {"hello": HELLO, "mail": b"MAIL FROM:<>\r\n", "rcpt": RCPT, "message": b"DATA\r\n"}
    async with open_session(handler_with(**{hook: wait}), timeouts=Timeouts(hook=50)) as client:
        for name, command in ({"connect": b""} | commands).items():
            await client.send(command)
            if name == hook:
                break
            await client.expect("2")
        await client.expect(answer)
        assert trio.current_time() == pytest.approx(50, rel=0.011)
        if hook == "connect":
            await client.send_eof()
            await client.expect_close()
        else:
            slow = False
            assert (await client.command("RSET")).code == 250
    assert [record.levelname for record in log.records if record.levelno > logging.INFO] == ["ERROR"]
    assert [line[17:].partition(" peer=")[0] for line in log.messages] == ["a hook took too long", f"refused {refused}"]


async def test_it_counts_as_an_error_of_a_hook(patient_clock: MockClock) -> None:
    async def rcpt(event: RcptTo) -> None:
        await trio.sleep(1000)

    async with open_server(handler_with(rcpt=rcpt), timeouts=Timeouts(hook=50)) as server, connected(server) as client:
        await begin(client)
        await client.send(TRANSACTION)
        await client.expect("250", "451")
        assert server.stats.hook_errors == 1


@pytest.mark.parametrize("hook", ["reset", "close"])
async def test_hooks_that_answer_nothing_are_cut_off_too(autojump_clock: MockClock, hook: str) -> None:
    async def wait(*arguments: object) -> None:
        await trio.sleep(1000)

    async with open_session(handler_with(**{hook: wait}), timeouts=Timeouts(hook=50)) as client:
        await begin(client)
        await client.send(TRANSACTION + b"RSET\r\nQUIT\r\n")
        await client.expect_close(*TRANSACTION_ACCEPTED, "250", "221")
    assert trio.current_time() <= 51


@pytest.mark.parametrize("also_raises", [False, True])
async def test_close_is_called_even_if_reset_hangs(
    autojump_clock: MockClock, log: pytest.LogCaptureFixture, also_raises: bool
) -> None:
    recorder = Recorder()

    async def clean_up() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("dirty")

    class Hanging(Handler):
        async def reset(self, reason: object) -> None:
            recorder.calls.append("reset")
            async with trio.open_nursery() as nursery:
                if also_raises:
                    nursery.start_soon(clean_up)
                await trio.sleep_forever()

        async def close(self) -> None:
            recorder.calls.append("close")
            await trio.sleep_forever()

    async with open_session(Hanging) as client:
        await begin(client)
        await client.send(TRANSACTION)
        await client.expect(*TRANSACTION_ACCEPTED, TIMED_OUT)
        await client.expect_close()
    assert recorder.calls == ["reset", "close"]
    assert log.text.count("a hook took too long") == 2
    assert ("dirty" in log.text) == also_raises


async def test_close_is_called_even_if_the_goodbye_cannot_be_sent(autojump_clock: MockClock) -> None:
    recorder = Recorder()
    async with session_over(lockstep_stream_pair(), recorder.factory) as client:
        await begin(client)
        await trio.sleep(400)
        assert recorder.calls[-1] == "close"


async def test_the_hooks_clock_stands_still_while_the_client_is_waited_for(autojump_clock: MockClock) -> None:
    reasons: list[str] = []

    async def message(envelope: Envelope, body: Body) -> None:
        try:
            async for _ in body:
                await trio.sleep(9)
        except trio.Cancelled:
            reasons.append("cancelled")
            raise

    timeouts = Timeouts(hook=50, minimum_rate=1)
    async with open_session(handler_with(message=message), timeouts=timeouts) as client:
        await begin(client)
        for pieces, answer in ((5, ACCEPTED), (6, "451 4.3.0")):
            await client.send(TRANSACTION + b"DATA\r\n")
            await client.expect(*TRANSACTION_ACCEPTED, "354")
            for _ in range(pieces):
                await trio.sleep(100)
                await client.send(b"x" * 1000 + b"\r\n")
            await trio.sleep(100)
            await client.send(b".\r\n")
            await client.expect(answer)
        assert (await client.command("NOOP")).code == 250
    assert reasons == ["cancelled"]


@pytest.mark.parametrize(("seconds", "answer"), [(1, "250"), (50, "451 4.3.0")])
async def test_after_a_hook_that_has_waited_each_command_has_its_time_and_no_more(
    mock_clock: MockClock, seconds: float, answer: str
) -> None:
    """The minimum rate of a message does not apply between commands. The test runs over TCP, where each reply can be
    sent at once; waiting to send one would set a deadline of its own.
    """

    async def rcpt(event: RcptTo) -> None:
        await trio.sleep(seconds)

    timeouts = Timeouts(command=300, data=300, hook=50)
    async with open_server(handler_with(rcpt=rcpt), timeouts=timeouts) as server, connected(server) as client:
        await begin(client)
        await client.send(MAIL)
        await client.expect("250")
        for _ in range(5):
            mock_clock.jump(290)
            await client.send(RCPT)
            await wait_all_tasks_blocked()
            mock_clock.jump(seconds)
            await client.expect(answer)
        mock_clock.jump(304)
        await client.expect_close(TIMED_OUT)


async def test_a_hook_in_the_middle_of_a_message_may_take_longer_than_the_client(autojump_clock: MockClock) -> None:
    """The client's clock stands still while the hook works."""

    async def message(envelope: Envelope, body: Body) -> None:
        async for _ in body:
            await trio.sleep(90)

    timeouts = Timeouts(hook=100, data=20, command=20)
    async with open_session(handler_with(message=message), timeouts=timeouts) as client:
        await begin(client)
        await client.send(TRANSACTION + b"DATA\r\n")
        await client.expect(*TRANSACTION_ACCEPTED, "354")
        await client.send(CONTENT + b".\r\n")
        await client.expect(ACCEPTED)
        await trio.sleep(15)
        await deliver(client)


async def test_a_commit_has_a_deadline_of_its_own(autojump_clock: MockClock, log: pytest.LogCaptureFixture) -> None:
    pauses = [90, 110]

    async def message(envelope: Envelope, body: Body) -> None:
        await body.read()
        await trio.sleep(pauses.pop(0))

    timeouts = Timeouts(hook=5, data=5, command=5, commit=100)
    async with open_session(handler_with(message=message), timeouts=timeouts) as client:
        await begin(client)
        await deliver(client)
        assert trio.current_time() == 90
        reply = await client.send_mail("ann@example.com", ["bob@example.com"], CONTENT)
        assert reply.code == 451
        assert trio.current_time() == pytest.approx(190, rel=0.011)
        assert (await client.command("NOOP")).code == 250
    assert f"refused from=<ann@example.com> to=<bob@example.com> size={len(CONTENT)} " in log.text


@pytest.mark.parametrize("chunk", [b"BDAT 4\r\nstop", b"BDAT 4 LAST\r\nlast"])
async def test_a_hook_that_waits_for_a_task_of_its_own(autojump_clock: MockClock, chunk: bytes) -> None:
    """When its child stops reading, its own clock runs again, also after the hook of a command between two chunks has
    waited. After the last chunk it is the commit clock.
    """

    async def wait(event: Verify) -> None:
        await trio.sleep(1)

    async def message(envelope: Envelope, body: Body) -> None:
        async def read() -> None:
            async for piece in body:
                if piece == b"stop":
                    break

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            nursery.start_soon(trio.sleep_forever)

    timeouts = Timeouts(hook=50, commit=1000, command=500)
    async with open_session(handler_with(message=message, verify=wait), timeouts=timeouts) as client:
        await begin(client)
        await client.send(TRANSACTION + b"BDAT 1\r\n1")
        await client.expect(*TRANSACTION_ACCEPTED, "250")
        assert (await client.command("VRFY bob")).code == 252
        began = trio.current_time()
        await client.send(chunk)
        await client.expect("451 4.3.0")
        assert trio.current_time() - began == pytest.approx(1000 if b"LAST" in chunk else 50, rel=0.03)


async def test_a_commit_that_cannot_be_stopped_counts(autojump_clock: MockClock) -> None:
    """It completes in the end, perhaps in a thread, so the client gets the 250, and the session goes on."""

    async def message(envelope: Envelope, body: Body) -> None:
        await body.read()
        with trio.CancelScope(shield=True):
            await trio.sleep(150)

    async with open_session(handler_with(message=message), timeouts=Timeouts(commit=100)) as client:
        await begin(client)
        for _ in range(2):
            await deliver(client)
        assert trio.current_time() == 300


async def test_a_client_that_is_busy_all_the_time_is_not_cut_off(mock_clock: MockClock) -> None:
    """The deadline of the scope is seldom moved, so it may pass too early; here that happens while a hook computes,
    before anything checks it.
    """

    async def message(envelope: Envelope, body: Body) -> None:
        await body.read()
        mock_clock.jump(100)

    async with open_server(handler_with(message=message)) as server, connected(server) as client:
        await begin(client)
        for _ in range(7):
            await client.send(TRANSACTION + DATA)
            await client.expect(*TRANSACTION_ACCEPTED, "354", ACCEPTED)
        assert (await client.command("NOOP")).code == 250


@pytest.mark.parametrize("alone", [True, False])
async def test_a_command_that_comes_when_the_scope_expires_too_early_has_all_its_time(
    mock_clock: MockClock, alone: bool
) -> None:
    """The command arrives in the turn of the loop in which the scope expires: the scope is cancelled already when the
    hook begins to wait.
    """

    async def rcpt(event: RcptTo) -> None:
        await trio.lowlevel.checkpoint()

    async with open_server(handler_with(rcpt=rcpt)) as server, AsyncExitStack() as stack:
        if not alone:
            await stack.enter_async_context(connected(server))
        client = await stack.enter_async_context(connected(server))
        await begin(client)
        mock_clock.jump(200)
        assert (await client.command("MAIL FROM:<>")).code == 250
        await wait_all_tasks_blocked()
        assert isinstance(client.stream, trio.SocketStream)
        with client.stream.socket.dup() as sock, socket.socket(fileno=sock.detach()) as ours:
            ours.send(RCPT)  # without a checkpoint
        mock_clock.jump(101)
        await client.expect("250 2.1.5")
    assert server.stats.hook_errors == 0


@pytest.mark.parametrize("name", ["rcpt", "message"])
async def test_a_hook_whose_children_fail_when_it_takes_too_long(
    autojump_clock: MockClock, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The hook then raises a group of `Cancelled` and a fault."""

    async def fail() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("in vain")

    async def hook(*_: object) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail)
            nursery.start_soon(trio.sleep_forever)

    async with open_session(handler_with(**{name: hook})) as client:
        await begin(client)
        await client.send(MAIL + RCPT)
        if name == "message":
            await client.expect(*TRANSACTION_ACCEPTED)
            await client.send(b"DATA\r\n")
        else:
            await client.expect("250")
        await client.expect("451 4.3.0")
        assert (await client.command("NOOP")).code == 250
    assert any(record.exc_info and "in vain" in str(record.exc_info[1]) for record in caplog.records)


@pytest.mark.parametrize("over_tcp", [False, True])
async def test_a_hook_that_swallows_its_cancellation_costs_the_next_nothing(
    patient_clock: MockClock, over_tcp: bool
) -> None:
    async def rcpt(event: RcptTo) -> None:
        with contextlib.suppress(trio.Cancelled):
            await trio.sleep_forever()

    async def mail(event: MailFrom) -> None:
        await trio.lowlevel.checkpoint()

    async with AsyncExitStack() as stack:
        handler = handler_with(mail=mail, rcpt=rcpt)
        if over_tcp:
            server = await stack.enter_async_context(open_server(handler))
            client = await stack.enter_async_context(connected(server))
        else:
            client = await stack.enter_async_context(open_session(handler))
        await begin(client)
        await client.send(TRANSACTION + b"RSET\r\n" + MAIL)
        await client.expect(*TRANSACTION_ACCEPTED, "250 2.0.0", "250 2.1.0")


async def test_a_commit_that_takes_too_long_in_lmtp(autojump_clock: MockClock) -> None:
    async def message(envelope: Envelope, body: Body) -> None:
        await body.read()
        await trio.sleep_forever()

    async with open_session(handler_with(message=message), lmtp=True) as client:
        await client.expect("220")
        assert (await client.command("LHLO x")).code == 250
        assert (await client.send_mail("a@b.example", ["c@d.example", "e@f.example"], CONTENT)).code == 451
        await client.expect("451")
        assert (await client.command("NOOP")).code == 250


async def test_a_hook_that_takes_too_long_over_a_message_that_was_broken_off(autojump_clock: MockClock) -> None:
    """The message has been answered already."""

    async def message(envelope: Envelope, body: Body) -> None:
        try:
            await body.read()
        except MessageAborted:
            await trio.sleep_forever()

    async with open_session(handler_with(message=message)) as client:
        await begin(client)
        await client.send(TRANSACTION + b"DATA\r\na\nb\r\n.\r\nNOOP\r\n")
        await client.expect(*TRANSACTION_ACCEPTED, "354", "550 5.6.0", "250")
        await client.send(TRANSACTION + b"BDAT 1\r\naRSET\r\nNOOP\r\n")
        await client.expect(*TRANSACTION_ACCEPTED, "250", "250", "250")


async def test_a_login_that_takes_too_long(autojump_clock: MockClock, log: pytest.LogCaptureFixture) -> None:
    async def authenticator(username: str, password: str) -> str | None:
        await trio.sleep_forever()
        raise AssertionError

    async with open_session(take, config=LOGIN, authenticator=authenticator, timeouts=Timeouts(hook=50)) as client:
        await begin(client)
        reply = await client.command("AUTH PLAIN AGFubgBzZWNyZXQ=")
        assert str(reply).startswith("454 4.7.0")
        assert f"refused login peer=local reply={reply}" in log.text
        assert trio.current_time() == pytest.approx(50, rel=0.011)
        assert (await client.command("NOOP")).code == 250
