"""Property test: many sessions at once, whose replies are sent together, each get the replies of a session alone."""

from __future__ import annotations

from contextlib import AsyncExitStack, suppress
from functools import partial

import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from tests.server.tools import DATA, HELLO, MAIL, RCPT, TRANSACTION
from trio_smtp.handler import Body, Handler, Refuse
from trio_smtp.protocol import Envelope, RcptTo, Verify
from trio_smtp.server import open_server, serve_stream

PIECES = st.sampled_from(
    [
        HELLO,
        MAIL,
        RCPT,
        RCPT * 30,
        b"RCPT TO:<nobody@example.com>\r\n",
        TRANSACTION,
        TRANSACTION + DATA,
        (TRANSACTION + DATA) * 9,
        b"MAIL FROM:<waits@example.com>\r\n" + RCPT + DATA,
        b"MAIL FROM:<nobody@example.com>\r\n" + RCPT + DATA,
        DATA[:11],
        b"x\r\n.\r\n",
        b"BDAT 3\r\nabc",
        b"BDAT 3 LAST\r\nabc",
        b"VRFY bob\r\n",
        b"RSET\r\n",
        b"NOOP\r\n",
        b"\r",
    ]
)
DIALOGUES = st.builds(
    lambda pieces, end: [HELLO, *pieces, end], st.lists(PIECES, max_size=8), st.sampled_from([b"QUIT\r\n", b"NOOP\r\n"])
)


class Answering(Handler):
    """Gives equal answers to equal events, some at once and some after a checkpoint."""

    async def verify(self, event: Verify) -> None:
        await trio.lowlevel.checkpoint()

    async def rcpt(self, event: RcptTo) -> None:
        if event.recipient.local_part == "nobody":
            raise Refuse(550, "Nobody")

    async def message(self, envelope: Envelope, body: Body) -> None:
        sender = str(envelope.sender)
        if sender.startswith("nobody"):
            raise Refuse(554, "From nobody")
        async for _ in body:
            if sender.startswith("waits"):
                await trio.lowlevel.checkpoint()


async def heard(stream: trio.abc.ReceiveStream) -> bytes:
    return b"".join([data async for data in stream])


async def alone(dialogue: list[bytes]) -> bytes:
    ours, theirs = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(serve_stream, Answering, theirs))
        answers = [bytes(await ours.receive_some())]
        await ours.send_all(b"".join(dialogue))
        await ours.send_eof()
        answers.append(await heard(ours))
    return b"".join(answers)


async def together(dialogues: list[list[bytes]], turns: list[set[int]]) -> list[bytes]:
    """Hold the dialogues at the same time and return what each client receives. A turn is the set of the clients that
    send their next piece in it; the server runs after all of them have sent.
    """
    answers = [b""] * len(dialogues)

    async def listen(number: int, stream: trio.SocketStream) -> None:
        answers[number] += await heard(stream)

    async with open_server(Answering) as server, AsyncExitStack() as stack, trio.open_nursery() as nursery:
        streams: list[trio.SocketStream] = []
        for number in range(len(dialogues)):
            stream = await stack.enter_async_context(await trio.open_tcp_stream("127.0.0.1", server.port))
            answers[number] = bytes(await stream.receive_some())
            nursery.start_soon(listen, number, stream)
            streams.append(stream)
        left = [list(dialogue) for dialogue in dialogues]
        for turn in [*turns, *[set(range(len(dialogues)))] * 10]:
            for number in turn & {number for number, pieces in enumerate(left) if pieces}:
                await streams[number].send_all(left[number].pop(0))
            await wait_all_tasks_blocked()
        for stream in streams:
            with suppress(trio.BrokenResourceError):  # the server has closed it already
                await stream.send_eof()
    return answers


@settings(max_examples=settings().max_examples // 5)
@given(dialogues=st.lists(DIALOGUES, min_size=2, max_size=10), turns=st.lists(st.sets(st.integers(0, 11)), max_size=12))
def test_each_hears_what_it_hears_alone(dialogues: list[list[bytes]], turns: list[set[int]]) -> None:
    async def both() -> None:
        with trio.fail_after(30):
            answers = await together(dialogues, turns)
        assert answers == [await alone(dialogue) for dialogue in dialogues]

    trio.run(both)
