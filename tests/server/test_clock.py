"""What happens when a client takes too long. Time is a mock clock, so no test waits and the times are exact."""

from __future__ import annotations

import math

import pytest
import trio
from trio.testing import MockClock, lockstep_stream_pair, memory_stream_pair

from tests.server.tools import (
    ACCEPTED,
    CONTENT,
    DATA,
    HELLO,
    RCPT,
    TRANSACTION,
    TRANSACTION_ACCEPTED,
    Recorder,
    begin,
    deliver,
    handler_with,
    late_reader,
    serving,
    session_over,
    take,
)
from trio_smtp.handler import Body
from trio_smtp.protocol import Config, Envelope
from trio_smtp.server import Timeouts
from trio_smtp.server.clock import Clock
from trio_smtp.testing.client import ScriptedClient, open_session

TIMED_OUT = "421 4.4.2 Timed out"
LOGIN = Config(auth_requires_tls=False)


async def anybody(username: str, password: str) -> str:
    return username


async def expect_at(client: ScriptedClient, seconds: float, *beginnings: str) -> None:
    """Expect these replies and the end of the connection at this time of the clock, to within about 1 %."""
    await client.expect(*beginnings)
    assert trio.current_time() == pytest.approx(seconds, rel=0.011)
    await client.send_eof()
    await client.expect_close()


# --- waiting for the client


IDLE = {
    "greeting": (b"", 1, 300),
    "hello": (HELLO, 2, 300),
    "half-a-command": (b"EHL", 1, 300),
    "transaction": (HELLO + TRANSACTION, 4, 300),
    "auth": (HELLO + b"AUTH LOGIN\r\n", 3, 300),
    "data": (HELLO + TRANSACTION + b"DATA\r\n", 5, 180),
    "half-of-the-data": (HELLO + TRANSACTION + b"DATA\r\nabc\r\n.\r", 5, 180),
    "chunk": (HELLO + TRANSACTION + b"BDAT 5 LAST\r\nab", 4, 180),
    "between-chunks": (HELLO + TRANSACTION + b"BDAT 2\r\nab", 5, 300),
    "refused-data": (HELLO + TRANSACTION + b"DATA\r\na\nb", 5, 180),
    "chunk-out-of-sequence": (HELLO + b"BDAT 5 LAST\r\nab", 2, 180),
}


@pytest.mark.parametrize(("sent", "answered", "seconds"), IDLE.values(), ids=IDLE)
async def test_a_silent_client_hears_421(
    autojump_clock: MockClock, sent: bytes, answered: int, seconds: float, log: pytest.LogCaptureFixture
) -> None:
    """In every state of the session. The transaction is reset and the handler closed."""
    recorder = Recorder()
    async with open_session(recorder.factory, config=LOGIN, authenticator=anybody) as client:
        await client.send(sent)
        await client.expect(*[""] * answered)
        await expect_at(client, seconds, TIMED_OUT)
    assert recorder.calls[-1] == "close"
    if TRANSACTION in sent and b"\na\nb" not in sent:
        assert recorder.calls[-2] == "reset CLOSING"
    assert [record.levelname for record in log.records if "timed out" in record.getMessage()] == ["INFO"]


@pytest.mark.parametrize(
    ("sent", "answers"),
    [(TRANSACTION + b"DATA\r\na\nb", (*TRANSACTION_ACCEPTED, "354")), (b"BDAT 5 LAST\r\nab", ())],
    ids=["refused-data", "chunk-out-of-sequence"],
)
async def test_who_was_silent_before_has_no_more_time_for_a_refused_message(
    autojump_clock: MockClock, sent: bytes, answers: tuple[str, ...]
) -> None:
    """Although the deadline of a command, which comes first, is not moved for it."""
    async with open_session(take, timeouts=Timeouts(command=100, data=180)) as client:
        await begin(client)
        await trio.sleep(50)
        await client.send(sent)
        await expect_at(client, 50 + 180, *answers, TIMED_OUT)


async def test_every_command_starts_the_clock_anew(autojump_clock: MockClock) -> None:
    async with open_session(take, timeouts=Timeouts(command=100)) as client:
        await begin(client)
        for _ in range(5):
            await trio.sleep(90)
            assert (await client.command("NOOP")).code == 250
        await expect_at(client, 450 + 100, TIMED_OUT)


async def test_so_does_every_burst_however_long(autojump_clock: MockClock) -> None:
    """The replies to about fifty commands or more go out in several sends, with no read between them."""
    for commands in range(45, 56):
        async with open_session(take, timeouts=Timeouts(command=100)) as client:
            await begin(client)
            await trio.sleep(90)
            await client.send(TRANSACTION + RCPT * (commands - 2))
            await client.expect(*["250"] * commands)
            await trio.sleep(90)
            assert (await client.command("NOOP")).code == 250


@pytest.mark.parametrize(("command", "data"), [(100, 180), (180, 100)])
async def test_over_tcp_too(patient_clock: MockClock, command: float, data: float) -> None:
    """Where sending an answer takes no time, so that it does not move the deadline."""
    async with serving(take, timeouts=Timeouts(command=command, data=data)) as (server, client):
        await begin(client)
        for _ in range(3):
            await trio.sleep(90)
            assert (await client.command("NOOP")).code == 250
        await deliver(client)
        await expect_at(client, 270 + command, TIMED_OUT)
    assert server.stats.rules == {"command-timeout": 1}


async def test_so_does_an_answer_that_is_read_late(patient_clock: MockClock) -> None:
    async with late_reader() as (server, client, _):
        answers, received = server.stats.messages_accepted, b""
        for patience, message in (200, b""), (250, TRANSACTION + b"BDAT 1 LAST\r\nx"):
            await trio.sleep(patience)
            await client.send_all(message)
            answers += message.count(b"MAIL")
            while received.count(ACCEPTED.encode()) < answers and (data := await client.receive_some()):
                received += data
        assert received.count(ACCEPTED.encode()) == answers
        assert b"421" not in received


async def test_a_silent_session_wakes_up_once(patient_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A deadline that is early enough for a message may expire, but not again and again."""
    renewals: list[float] = []
    renew = Clock.renew

    def counted(clock: Clock) -> None:
        renewals.append(trio.current_time())
        renew(clock)

    monkeypatch.setattr(Clock, "renew", counted)
    async with serving(take, timeouts=Timeouts(command=100, data=10)) as (_, client):
        await expect_at(client, 100, "220", TIMED_OUT)
    assert renewals == [pytest.approx(10, rel=0.011)]


@pytest.mark.parametrize(
    ("inside", "seconds"), [(b"", 300), (TRANSACTION + b"BDAT 2\r\nab", 180)], ids=["command", "between-chunks"]
)
async def test_a_client_that_drips_gains_nothing(autojump_clock: MockClock, inside: bytes, seconds: float) -> None:
    """Between two chunks such octets do not count for the minimum rate of the message either, which strikes first."""
    async with open_session(take) as client:
        await begin(client)
        await client.send(inside)
        await client.expect(*["250"] * inside.count(b"\n"))
        async with trio.open_nursery() as nursery:

            async def drip() -> None:
                with pytest.raises(trio.BrokenResourceError):
                    while True:
                        await trio.sleep(59)
                        await client.send(b"X")

            nursery.start_soon(drip)
            await client.expect(TIMED_OUT)
            assert trio.current_time() == pytest.approx(seconds, rel=0.011)
            nursery.cancel_scope.cancel()


async def test_nor_by_dripping_the_response_to_a_challenge(autojump_clock: MockClock) -> None:
    async with open_session(take, config=LOGIN, authenticator=anybody) as client, trio.open_nursery() as nursery:
        await begin(client)
        await trio.sleep(100)
        assert (await client.command("AUTH PLAIN")).code == 334

        async def drip() -> None:
            while True:
                await trio.sleep(59)
                await client.send(b"A")

        nursery.start_soon(drip)
        await client.expect(TIMED_OUT)
        assert trio.current_time() == pytest.approx(400, rel=0.011)
        nursery.cancel_scope.cancel()


async def test_a_message_may_take_its_time_if_it_moves_on(autojump_clock: MockClock) -> None:
    async with open_session(take) as client:
        await begin(client)
        await client.send(TRANSACTION + b"DATA\r\n")
        await client.expect(*TRANSACTION_ACCEPTED, "354")
        for _ in range(20):
            await trio.sleep(170)
            await client.send(b"x" * 998 * 100 + b"\r\n")
        await client.send(b".\r\n")
        await client.expect(ACCEPTED)


@pytest.mark.parametrize("begun", [b"", b"a\nb"], ids=["good", "refused"])
async def test_a_message_makes_a_minimum_rate(autojump_clock: MockClock, begun: bytes) -> None:
    """100 octets every 10 s are 10 a second, where 50 are required: they earn 2 s of every 10 s, so the head start of
    180 s shrinks by 8 s each time.
    """
    async with open_session(take, timeouts=Timeouts(minimum_rate=50)) as client, trio.open_nursery() as nursery:
        await begin(client)
        await client.send(TRANSACTION + b"DATA\r\n" + begun)
        await client.expect(*TRANSACTION_ACCEPTED, "354")

        async def crawl() -> None:
            while True:
                await trio.sleep(10)
                await client.send(b"x" * 98 + b"\r\n")

        nursery.start_soon(crawl)
        await client.expect(TIMED_OUT)
        assert trio.current_time() == pytest.approx(180 * 10 / 8, rel=0.05)
        nursery.cancel_scope.cancel()


async def test_a_slow_message_costs_the_next_one_nothing(autojump_clock: MockClock) -> None:
    async with open_session(take, timeouts=Timeouts(minimum_rate=50)) as client:
        await begin(client)
        for _ in range(5):
            await client.send(TRANSACTION + b"DATA\r\n")
            await client.expect(*TRANSACTION_ACCEPTED, "354")
            await trio.sleep(150)
            await client.send(CONTENT + b".\r\n")
            await client.expect(ACCEPTED)


async def test_chunks_make_a_minimum_rate(autojump_clock: MockClock) -> None:
    """As above: the time between two chunks counts too."""
    async with open_session(take, timeouts=Timeouts(minimum_rate=50)) as client, trio.open_nursery() as nursery:
        await begin(client)
        await client.send(TRANSACTION)
        await client.expect(*TRANSACTION_ACCEPTED)

        async def crawl() -> None:
            while True:
                await trio.sleep(10)
                await client.send(b"BDAT 90\r\n" + b"x" * 90)

        nursery.start_soon(crawl)
        while (reply := await client.read_reply()).code == 250:
            pass
        assert reply.code == 421
        assert trio.current_time() == pytest.approx(180 * 10 / 8, rel=0.05)
        nursery.cancel_scope.cancel()


async def test_a_late_chunk_earns_no_time_for_the_next_command(autojump_clock: MockClock) -> None:
    async with open_session(take, timeouts=Timeouts(command=100, data=180, minimum_rate=50)) as client:
        await begin(client)
        await client.send(TRANSACTION + b"BDAT 90\r\n")
        await client.expect(*TRANSACTION_ACCEPTED)
        await trio.sleep(10)
        await client.send(b"x" * 90)
        await expect_at(client, 10 + 100, "250", TIMED_OUT)


async def test_the_time_of_a_slow_reader_is_not_the_clients(autojump_clock: MockClock) -> None:
    """The hook takes 400 s for each piece; the client, which always sends at once, must not be cut off for that."""

    async def message(envelope: Envelope, body: Body) -> None:
        async for _ in body:
            await trio.sleep(400)

    timeouts = Timeouts(hook=10_000, session=math.inf)
    async with session_over(lockstep_stream_pair(), handler_with(message=message), timeouts=timeouts) as client:
        await begin(client)
        await client.send(TRANSACTION)
        await client.expect(*TRANSACTION_ACCEPTED)
        await client.send(b"BDAT 200000 LAST\r\n" + b"x" * 200_000)
        await client.expect(ACCEPTED)


async def test_a_hook_that_gives_up_its_reader_has_its_own_time_again(autojump_clock: MockClock) -> None:
    """Here the hook gives up while the client does not even take the 354."""
    cut_off: list[float] = []

    async def message(envelope: Envelope, body: Body) -> None:
        with trio.move_on_after(10):
            await body.read()
        try:
            await trio.sleep_forever()
        finally:
            cut_off.append(trio.current_time())

    async with session_over(lockstep_stream_pair(), handler_with(message=message)) as client:
        await begin(client)
        began = trio.current_time()
        await client.send(TRANSACTION)
        await client.expect(*TRANSACTION_ACCEPTED)
        await client.send(b"DATA\r\n")
        await trio.sleep(200)
    assert [at - began for at in cut_off] == [pytest.approx(10 + 120, rel=0.02)]


@pytest.mark.parametrize(
    ("pause", "answer", "at"),
    [(50, ACCEPTED, 1 + 50 + 50), (70, "451 4.3.0", 1 + 70 + 60), (130, "451 4.3.0", 1 + 120)],
    ids=["in-time", "commit", "hook"],
)
async def test_a_child_that_reads_for_the_hook_has_the_time_of_the_hook(
    autojump_clock: MockClock, pause: float, answer: str, at: float
) -> None:
    """While the child works, the hook's timeout applies, not the client's: the hook itself only waits for the child."""

    async def read(body: Body) -> None:
        async for _ in body:
            await trio.sleep(pause)
        await trio.sleep(pause)

    async def message(envelope: Envelope, body: Body) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, body)
            nursery.start_soon(trio.sleep, 0)

    timeouts = Timeouts(data=10, hook=120, commit=60)
    async with open_session(handler_with(message=message), timeouts=timeouts) as client:
        await begin(client)
        await client.send(TRANSACTION + b"DATA\r\n")
        await client.expect(*TRANSACTION_ACCEPTED, "354")
        await trio.sleep(1)
        await client.send(CONTENT + b".\r\n")
        await client.expect(answer)
        assert trio.current_time() == pytest.approx(at, rel=0.011)


async def test_a_session_ends_at_last(autojump_clock: MockClock) -> None:
    async with open_session(take, timeouts=Timeouts(session=1000)) as client:
        await begin(client)
        for _ in range(9):
            await trio.sleep(100)
            await deliver(client)
        await expect_at(client, 1000, TIMED_OUT)


async def test_a_message_that_is_committed_after_that_is_answered_still(autojump_clock: MockClock) -> None:
    async def message(envelope: Envelope, body: Body) -> None:
        await body.read()
        await trio.sleep(100)

    timeouts = Timeouts(session=50)
    async with session_over(lockstep_stream_pair(), handler_with(message=message), timeouts=timeouts) as client:
        await begin(client)
        await client.send(TRANSACTION + DATA)
        await client.expect_close(*TRANSACTION_ACCEPTED, "354", ACCEPTED, TIMED_OUT)


async def test_a_client_that_never_reads(autojump_clock: MockClock) -> None:
    """The server does not read on while its replies cannot be sent, and gives up after the command timeout."""
    recorder = Recorder()
    ours, theirs = lockstep_stream_pair()
    async with session_over((ours, theirs), recorder.factory):
        with trio.move_on_after(1000):
            await trio.sleep(299)
            assert recorder.calls == ["connect"]
            await trio.sleep(10)
            assert recorder.calls == ["connect", "close"]


async def test_a_client_that_stops_reading(autojump_clock: MockClock) -> None:
    recorder = Recorder()
    async with session_over(lockstep_stream_pair(), recorder.factory) as client:
        await begin(client)
        await client.send(TRANSACTION)
        await trio.sleep(310)
        assert recorder.calls[-2:] == ["reset CLOSING", "close"]
        assert trio.current_time() < 320


# --- the end


async def test_a_client_that_stays_after_the_end_is_cut_off(autojump_clock: MockClock) -> None:
    """After a 421 the client gets `Timeouts.goodbye` to read it, no more."""
    ours, theirs = memory_stream_pair()
    async with session_over((ours, theirs), take, timeouts=Timeouts(goodbye=7)) as client:
        await client.send(b"GET / HTTP/1.1\r\n")
        await client.expect("220", "421")
        await trio.sleep(8)
        with pytest.raises(trio.BrokenResourceError):
            await client.send(b"x")
        assert trio.current_time() == 8
