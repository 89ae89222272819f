"""The body as the message hook reads it: streaming, backpressure, refusals, aborted messages, BDAT and LMTP."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import pytest
import trio
from trio.testing import MockClock, lockstep_stream_pair, wait_all_tasks_blocked

from tests.server.tools import (
    ACCEPTED,
    CONTENT,
    DATA,
    HELLO,
    INTERNAL_ERROR,
    RCPT,
    TRANSACTION,
    TRANSACTION_ACCEPTED,
    begin,
    connected,
    deliver,
    handler_with,
    session_over,
    take,
)
from trio_smtp.handler import Body, Handler, MessageAborted, Refuse
from trio_smtp.protocol import AbortReason, Config, Envelope, Limits, Reply, Verify
from trio_smtp.server import Timeouts, open_server
from trio_smtp.testing.client import ScriptedClient, open_session

LARGEST_CHUNK = 64 * 1024  # octets, of one read from the socket


async def open_message(client: ScriptedClient) -> None:
    await begin(client)
    await client.send(TRANSACTION + b"DATA\r\n")
    await client.expect(*TRANSACTION_ACCEPTED, "354")


# --- streaming


async def test_a_large_message_comes_in_pieces() -> None:
    sizes: list[int] = []
    content = b"0123456789abcdef" * 4095 + b"\r\n" + b".dot\r\n" * 50_000

    async def message(envelope: Envelope, body: Body) -> Reply:
        digest = b""
        async for chunk in body:
            sizes.append(len(chunk))
            digest += chunk
        return Reply(250, "exact" if digest == content else "different")

    async with open_server(handler_with(message=message)) as server, connected(server) as client:
        await begin(client)
        reply = await client.send_mail("ann@example.com", ["bob@example.com"], content)
    assert str(reply) == "250 2.0.0 exact"
    assert len(sizes) >= len(content) // LARGEST_CHUNK
    assert 0 < min(sizes) <= max(sizes) <= LARGEST_CHUNK + 2  # octets that were held back before


@pytest.mark.parametrize("chunking", [False, True])
async def test_a_slow_reader_slows_the_client_down(chunking: bool) -> None:
    taken: list[int] = []
    more = trio.Event()
    content = b"x" * 1_000_000

    async def message(envelope: Envelope, body: Body) -> None:
        async for chunk in body:
            taken.append(len(chunk))
            if len(taken) == 1:
                await more.wait()

    sent = 0

    async def send() -> None:
        nonlocal sent
        await client.send(b"BDAT 1000000 LAST\r\n" if chunking else b"DATA\r\n")
        for start in range(0, len(content), 10_000):
            await client.send(content[start : start + 10_000])
            sent += 10_000
        if not chunking:
            await client.send(b"\r\n.\r\n")

    async with session_over(lockstep_stream_pair(), handler_with(message=message)) as client:
        await begin(client)
        await client.send(TRANSACTION)
        await client.expect(*TRANSACTION_ACCEPTED)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            if not chunking:
                await client.expect("354")
            await wait_all_tasks_blocked()
            assert len(taken) == 1
            assert sent <= LARGEST_CHUNK + 20_000
            more.set()
        await client.expect(ACCEPTED)
    assert sum(taken) == len(content) + (0 if chunking else 2)


async def test_read_gives_all_at_once() -> None:
    contents: list[bytes] = []

    async def message(envelope: Envelope, body: Body) -> None:
        contents.append(await body.read())
        contents.append(await body.read())
        contents.extend([chunk async for chunk in body])

    async with open_session(handler_with(message=message)) as client:
        await begin(client)
        await deliver(client)
        await deliver(client, b"")
    assert contents == [CONTENT, b"", b"", b""]


async def test_the_354_waits_for_the_reader() -> None:
    ready = trio.Event()

    async def message(envelope: Envelope, body: Body) -> None:
        await ready.wait()
        await body.read()

    async with open_session(handler_with(message=message)) as client, trio.open_nursery() as nursery:
        await begin(client)
        await client.send(TRANSACTION)
        await client.expect(*TRANSACTION_ACCEPTED)
        await client.send(b"DATA\r\n")
        replies: list[str] = []

        async def read_reply() -> None:
            replies.append(str(await client.read_reply()))

        nursery.start_soon(read_reply)
        await wait_all_tasks_blocked()
        assert not replies
        ready.set()
        await wait_all_tasks_blocked()
        assert replies[0].startswith("354")


async def test_another_task_of_the_hook_may_read() -> None:
    async def message(envelope: Envelope, body: Body) -> Reply:
        contents: list[bytes] = []

        async def read() -> None:
            contents.append(await body.read())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            nursery.start_soon(trio.lowlevel.checkpoint)
        return Reply(250, str(len(contents[0])))

    async with open_session(handler_with(message=message)) as client:
        await begin(client)
        assert str(await client.send_mail("a@b.example", ["c@d.example"], CONTENT)) == f"250 2.0.0 {len(CONTENT)}"


# --- a hook that does not read to the end


async def read_nothing(envelope: Envelope, body: Body) -> None:
    pass


async def read_one(envelope: Envelope, body: Body) -> None:
    async for _ in body:
        break


@pytest.mark.parametrize("chunking", [False, True])
async def test_a_message_that_was_not_read_is_never_accepted(chunking: bool, caplog: pytest.LogCaptureFixture) -> None:
    async with open_session(handler_with(message=read_nothing)) as client:
        await begin(client)
        if chunking:
            await client.send(TRANSACTION + b"BDAT 3 LAST\r\nabc")
            await client.expect(*TRANSACTION_ACCEPTED, "451 4.3.0")
        else:
            assert (await client.send_mail("ann@example.com", ["bob@example.com"], CONTENT)).code == 451
        assert (await client.command("NOOP")).code == 250
    assert "without reading it to its end" in caplog.text


async def test_nor_is_one_that_was_read_in_part(caplog: pytest.LogCaptureFixture) -> None:
    async with open_session(handler_with(message=read_one)) as client:
        await open_message(client)
        await client.send(b"one\r\n")
        await wait_all_tasks_blocked()
        await client.send(b"two\r\n.\r\n")
        await client.expect("451 4.3.0")
        assert (await client.command("NOOP")).code == 250
        await client.send(TRANSACTION)
        await client.expect(*TRANSACTION_ACCEPTED)
    assert "without reading it to its end" in caplog.text


async def test_nor_in_lmtp_by_some_of_its_recipients(log: pytest.LogCaptureFixture) -> None:
    async def message(envelope: Envelope, body: Body) -> Sequence[Reply]:
        return [Reply(550, "No"), Reply(250, "Yes")]

    async with open_session(handler_with(message=message), lmtp=True) as client:
        await client.expect("220")
        await client.command("LHLO client.example")
        assert (await client.send_mail("a@b.example", ["c@d.example", "e@d.example"], CONTENT)).code == 451
        assert (await client.command("NOOP")).code == 250
    assert "without reading it to its end" in log.text
    assert " accepted from=" not in log.text


# --- refusals


async def test_a_refusal_before_the_first_read_takes_the_place_of_354() -> None:
    async def message(envelope: Envelope, body: Body) -> None:
        raise Refuse(452, "Full", "4.2.2")

    async with open_session(handler_with(message=message)) as client:
        await begin(client)
        await client.send(TRANSACTION + b"DATA\r\n")
        await client.expect(*TRANSACTION_ACCEPTED, "452 4.2.2 Full")
        assert (await client.command("NOOP")).code == 250


async def test_of_a_chunk_too() -> None:
    async def message(envelope: Envelope, body: Body) -> None:
        raise Refuse(452, "Full", "4.2.2")

    async with open_session(handler_with(message=message)) as client:
        await begin(client)
        await client.send(TRANSACTION + b"BDAT 6\r\nQUIT\r\nBDAT 6 LAST\r\nRSET\r\n")
        await client.expect(*TRANSACTION_ACCEPTED, "452 4.2.2 Full", "503")
        await client.send(b"RSET\r\n" + TRANSACTION)
        await client.expect("250", *TRANSACTION_ACCEPTED)


async def test_a_refusal_in_the_middle_waits_for_the_end() -> None:
    async def message(envelope: Envelope, body: Body) -> None:
        async for _ in body:
            raise Refuse(554, "Spam", "5.7.1")

    async with open_session(handler_with(message=message)) as client:
        await open_message(client)
        await client.send(b"one\r\n")
        await wait_all_tasks_blocked()
        await client.send(b"NOOP\r\nQUIT\r\n.\r\nNOOP\r\n")
        await client.expect("554 5.7.1 Spam", "250 2.0.0")


async def test_a_refusal_between_chunks() -> None:
    async def message(envelope: Envelope, body: Body) -> None:
        async for _ in body:
            raise Refuse(554, "Spam", "5.7.1")

    async with open_session(handler_with(message=message)) as client:
        await begin(client)
        await client.send(TRANSACTION + b"BDAT 3\r\nabc")
        await client.expect(*TRANSACTION_ACCEPTED, "554 5.7.1 Spam")
        await client.send(b"BDAT 3 LAST\r\nabcRSET\r\n")
        await client.expect("503", "250")


async def test_a_refusal_at_the_end() -> None:
    async def message(envelope: Envelope, body: Body) -> None:
        await body.read()
        raise Refuse(554, "Spam", "5.7.1")

    async with open_session(handler_with(message=message)) as client:
        await begin(client)
        assert str(await client.send_mail("a@b.example", ["c@d.example"], CONTENT)) == "554 5.7.1 Spam"
        assert (await client.command("RCPT TO:<bob@example.com>")).code == 503  # the envelope is gone


# --- messages that are broken off


ABORTS = {
    "eof": (b"DATA\r\nabc", AbortReason.EOF, []),
    "half-of-the-end": (b"DATA\r\nabc\r\n.", AbortReason.EOF, []),
    "size": (b"DATA\r\n" + b"x" * 2000 + b"\r\n.\r\n", AbortReason.SIZE, ["552 5.3.4"]),
    "size-of-a-chunk": (b"BDAT 2000 LAST\r\n" + b"x" * 2000, None, ["552 5.3.4"]),
    "size-of-chunks": (
        b"BDAT 600\r\n" + b"x" * 600 + b"BDAT 600 LAST\r\n" + b"x" * 600,
        AbortReason.SIZE,
        ["250 2.0.0", "552 5.3.4"],
    ),
    "bare-newline": (b"DATA\r\na\nb\r\n.\r\n", AbortReason.BARE_NEWLINE, ["550 5.6.0"]),
    "rset": (b"BDAT 3\r\nabcRSET\r\n", AbortReason.RSET, ["250 2.0.0", "250 2.0.0"]),
    "hello": (b"BDAT 3\r\nabcEHLO x\r\n", AbortReason.HELLO, ["250 2.0.0", "250 localhost"]),
    "quit": (b"BDAT 3\r\nabcQUIT\r\n", AbortReason.QUIT, ["250 2.0.0", "221"]),
    "framing": (b"BDAT 3\r\nabcBDAT x\r\n", AbortReason.CLOSING, ["250 2.0.0", "501"]),
}


@pytest.mark.parametrize("in_a_nursery", [False, True])
@pytest.mark.parametrize(("sent", "reason", "replies"), ABORTS.values(), ids=ABORTS)
async def test_the_reader_hears_why_a_message_ends(
    sent: bytes, reason: AbortReason | None, replies: list[str], in_a_nursery: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """`MessageAborted` is raised where the hook reads, in a child task too, and again if it reads on. It is not logged
    as a fault of the hook.
    """
    reasons: list[AbortReason] = []

    async def read(body: Body) -> None:
        try:
            await body.read()
        except MessageAborted as error:
            reasons.append(error.reason)
        await body.read()

    async def message(envelope: Envelope, body: Body) -> None:
        if in_a_nursery:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(read, body)
                await trio.sleep_forever()
        else:
            await read(body)

    config = Config(limits=Limits(message_size=1000))
    async with open_session(handler_with(message=message), config=config) as client:
        await begin(client)
        await client.send(TRANSACTION + sent)
        await client.send_eof()
        await client.expect(*TRANSACTION_ACCEPTED)
        if sent.startswith(b"DATA"):
            await client.expect("354")
        await client.expect_close(*replies)
    assert reasons == ([] if reason is None else [reason])
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_hook_may_ignore_that_a_message_was_broken_off() -> None:
    """The message is still not accepted."""

    async def message(envelope: Envelope, body: Body) -> None:
        try:
            await body.read()
        except MessageAborted:
            return

    async with open_session(handler_with(message=message)) as client:
        await begin(client)
        await client.send(TRANSACTION + b"BDAT 3\r\nabcRSET\r\n" + TRANSACTION)
        await client.expect(*TRANSACTION_ACCEPTED, "250 2.0.0", "250 2.0.0", *TRANSACTION_ACCEPTED)


async def test_a_fault_while_a_broken_off_message_is_cleaned_up_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def message(envelope: Envelope, body: Body) -> None:
        try:
            await body.read()
        finally:
            raise ValueError("cannot clean up")

    async with open_session(handler_with(message=message)) as client:
        await begin(client)
        await client.send(TRANSACTION + b"BDAT 3\r\nabcRSET\r\nNOOP\r\n")
        await client.expect(*TRANSACTION_ACCEPTED, "250", "250", "250")
    [record] = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.exc_info is not None
    assert "cannot clean up" in str(record.exc_info[1])


async def test_messageaborted_of_the_hook_itself_is_a_fault() -> None:
    async def message(envelope: Envelope, body: Body) -> None:
        await body.read()
        raise MessageAborted(AbortReason.EOF)

    async with open_session(handler_with(message=message)) as client:
        await begin(client)
        reply = await client.send_mail("a@b.example", ["c@d.example"], CONTENT)
        assert str(reply).startswith(INTERNAL_ERROR)


# --- BDAT


async def test_chunks_come_as_one_message_and_other_commands_in_between() -> None:
    chunks: list[bytes] = []

    async def message(envelope: Envelope, body: Body) -> None:
        chunks.extend([chunk async for chunk in body])

    async with open_session(handler_with(message=message)) as client:
        await begin(client)
        await client.send(TRANSACTION + b"BDAT 2\r\nab" + b"NOOP\r\nHELP\r\nVRFY x\r\nDATA\r\n" + b"BDAT 0\r\n")
        await client.expect(*TRANSACTION_ACCEPTED, "250 2.0.0", "250 2.0.0", "214", "252", "503", "250 2.0.0")
        await client.send(b"BDAT 4\r\n\r\n.\r")
        await client.expect("250 2.0.0")
        await client.send(b"BDAT 0 LAST\r\n")
        await client.expect(ACCEPTED)
    assert b"".join(chunks) == b"ab\r\n.\r"


@pytest.mark.parametrize("command", ["EHLO again.example", "VRFY bob"])
async def test_a_message_that_is_given_up_while_a_command_between_its_chunks_is_asked_about(
    command: str, autojump_clock: MockClock
) -> None:
    asked: list[object] = []

    async def ask(event: object) -> None:
        asked.append(event)
        if isinstance(event, Verify) or len(asked) == 2:
            await trio.sleep_forever()

    async def message(envelope: Envelope, body: Body) -> None:
        with trio.move_on_after(1):
            await body.read()
        raise Refuse(452, "Too slow", "4.4.2")

    async with open_session(handler_with(hello=ask, verify=ask, message=message)) as client:
        await begin(client)
        await client.send(TRANSACTION + b"BDAT 2\r\nab" + f"{command}\r\n".encode() + b"BDAT 2 LAST\r\nabNOOP\r\n")
        await client.expect(*TRANSACTION_ACCEPTED, "250 2.0.0", "451 ", "452 4.4.2 Too slow", "250 2.0.0 OK")


async def test_a_chunk_is_answered_before_the_next_one_is_waited_for() -> None:
    """A client that does not pipeline gets its 250 while the hook goes on reading."""
    async with open_session(take) as client:
        await begin(client)
        await client.send(TRANSACTION)
        await client.expect(*TRANSACTION_ACCEPTED)
        for _ in range(3):
            assert (await client.command("BDAT 0")).code == 250
        assert str(await client.command("BDAT 0 LAST")).startswith(ACCEPTED)


async def test_many_tiny_chunks() -> None:
    async with open_session(take) as client:
        await begin(client)
        await client.send(TRANSACTION + b"BDAT 1\r\nx" * 3000 + b"BDAT 0 LAST\r\n")
        await client.expect(*TRANSACTION_ACCEPTED, *["250 2.0.0"] * 3000, ACCEPTED)


# --- LMTP


async def lmtp_replies(verdict: Sequence[Reply | None] | Reply | Exception | None) -> list[str]:
    """The replies for three recipients; the session must go on afterwards."""

    async def message(envelope: Envelope, body: Body) -> Sequence[Reply | None] | Reply | None:
        await body.read()
        if isinstance(verdict, Exception):
            raise verdict
        return verdict

    async with open_session(handler_with(message=message), lmtp=True) as client:
        await client.expect("220 localhost LMTP")
        assert (await client.command("LHLO client.example")).code == 250
        first = await client.send_mail("a@b.example", ["c@d.example"] * 3, CONTENT)
        replies = [str(first), str(await client.read_reply()), str(await client.read_reply())]
        assert (await client.command("NOOP")).code == 250
        return replies


async def test_lmtp_standard_replies() -> None:
    assert await lmtp_replies(None) == ["250 2.6.0 Message accepted"] * 3


async def test_lmtp_one_reply_stands_for_all() -> None:
    assert await lmtp_replies(Reply(250, "Thanks")) == ["250 2.0.0 Thanks"] * 3
    assert await lmtp_replies(Refuse(452, "Full")) == ["452 4.0.0 Full"] * 3


async def test_lmtp_a_reply_for_each() -> None:
    verdicts = [Reply(250, "first"), Reply(452, "second"), Reply(550, "third")]
    assert await lmtp_replies(verdicts) == ["250 2.0.0 first", "452 4.0.0 second", "550 5.0.0 third"]
    assert await lmtp_replies(tuple(verdicts[::-1])) == ["550 5.0.0 third", "452 4.0.0 second", "250 2.0.0 first"]
    assert await lmtp_replies([None, *verdicts[1:]]) == [
        "250 2.6.0 Message accepted",
        "452 4.0.0 second",
        "550 5.0.0 third",
    ]


@pytest.mark.parametrize(
    "verdict",
    [[], [Reply(250, "x")], [Reply(250, "x")] * 4, ValueError(), "abc", [Reply(300, "x")] * 3, 7],
    ids=str,
)
async def test_lmtp_faults_are_everybodys(
    verdict: Sequence[Reply] | Exception, caplog: pytest.LogCaptureFixture
) -> None:
    replies = await lmtp_replies(verdict)
    assert len(set(replies)) == 1
    assert replies[0].startswith(INTERNAL_ERROR)
    assert "internal error" in caplog.text


@pytest.mark.parametrize("refused", [False, True])
@pytest.mark.parametrize("lmtp", [False, True])
async def test_a_hook_may_change_its_envelope(lmtp: bool, refused: bool) -> None:
    """For example to resolve aliases in place. There is still one reply for each recipient that the client named."""

    async def message(envelope: Envelope, body: Body) -> None:
        await body.read()
        envelope.recipients.clear()
        if refused:
            raise Refuse(452, "Full")

    replies = ["452 4.0.0" if refused else ACCEPTED] * (2 if lmtp else 1)
    async with open_session(handler_with(message=message), lmtp=lmtp) as client:
        await client.expect("220")
        assert (await client.command("LHLO client.example" if lmtp else "EHLO client.example")).code == 250
        await client.send(TRANSACTION + RCPT + DATA + b"NOOP\r\n")
        await client.expect(*TRANSACTION_ACCEPTED, "250 2.1.5", "354", *replies, "250 2.0.0 OK")


async def test_a_sequence_is_an_answer_in_smtp_if_it_has_one_reply() -> None:
    verdicts = [[Reply(250, "one")], [Reply(250, "one"), Reply(250, "two")]]

    async def message(envelope: Envelope, body: Body) -> Sequence[Reply]:
        await body.read()
        return verdicts.pop(0)

    async with open_session(handler_with(message=message)) as client:
        await begin(client)
        assert str(await client.send_mail("a@b.example", ["c@d.example"] * 2, CONTENT)) == "250 2.0.0 one"
        assert (await client.send_mail("a@b.example", ["c@d.example"] * 2, CONTENT)).code == 451


# --- the end of input


async def test_a_client_that_half_closes_after_the_final_dot_is_answered() -> None:
    async with open_session(take) as client:
        await client.send(HELLO + TRANSACTION + b"DATA\r\n" + CONTENT + b".\r\n")
        await client.send_eof()
        await client.expect_close("220", "250", *TRANSACTION_ACCEPTED, "354", ACCEPTED)


async def test_the_same_while_the_hook_is_busy_and_over_tcp() -> None:
    ready = trio.Event()

    class Slow(Handler):
        async def message(self, envelope: Envelope, body: Body) -> None:
            await body.read()
            await ready.wait()

    async with open_server(Slow) as server, connected(server) as client:
        await open_message(client)
        await client.send(CONTENT + b".\r\n")
        await client.send_eof()
        await wait_all_tasks_blocked()
        ready.set()
        await client.expect_close(ACCEPTED)


async def test_a_hook_that_gives_up_reading_still_has_its_own_time(autojump_clock: trio.testing.MockClock) -> None:
    async def message(envelope: Envelope, body: Body) -> None:
        with trio.move_on_after(100):  # longer than the hook timeout, which does not run while the client is waited for
            await body.read()
        await trio.sleep(pauses.pop(0))
        raise Refuse(452, "I gave up", "4.4.2")

    pauses = [40, 60]
    async with open_session(handler_with(message=message), timeouts=Timeouts(hook=50)) as client:
        await begin(client)
        for answer in ("452 4.4.2 I gave up", "451 4.3.0 Local error"):
            await client.send(TRANSACTION + b"DATA\r\n")
            await client.expect(*TRANSACTION_ACCEPTED, "354")
            await trio.sleep(160)
            await client.send(b"late\r\n.\r\n")
            await client.expect(answer)
