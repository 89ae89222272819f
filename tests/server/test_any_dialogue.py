"""Property test: whatever a client sends and the hooks answer, a session ends, calling its hooks in order."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.server.tools import DATA, HELLO, RCPT, TRANSACTION
from trio_smtp.handler import Body, Handler, HandlerFactory, Refuse
from trio_smtp.protocol import AbortReason, Config, Envelope, Hello, Limits, MailFrom, RcptTo, Reply
from trio_smtp.server import Timeouts
from trio_smtp.testing import ClientReply, open_session

PIECES = st.sampled_from(
    [
        HELLO,
        HELLO + TRANSACTION,
        TRANSACTION,
        TRANSACTION + DATA,
        TRANSACTION + b"BDAT 3\r\nabc",
        b"HELO x\r\n",
        b"MAIL FROM:<> SIZE=999999\r\n",
        RCPT,
        b"DATA\r\n",
        b"x\r\n.\r\n",
        b".\r\n",
        b"a\nb\r\n",
        b"x" * 300,
        b"BDAT 3\r\nabc",
        b"BDAT 3 LAST\r\nabc",
        b"BDAT 400 LAST\r\n",
        b"RSET\r\n",
        b"NOOP\r\n",
        b"VRFY x\r\n",
        b"AUTH LOGIN\r\n",
        b"AUTH PLAIN AGEAYg==\r\n",
        b"*\r\n",
        b"QUIT\r\n",
        b"\r\n",
        b"\r",
        b"\0\xff\r\n",
    ]
)


class Fault(Exception):
    """Raised by the hooks of these tests."""


OUTCOMES = st.sampled_from(["yes"] * 8 + ["refuse", "closing", "fault", "too long", "half"])


class Moody(Handler):
    """Takes the outcome of each hook from the test."""

    def __init__(self, next_outcome: Callable[[], str], calls: list[str]) -> None:
        self._next_outcome = next_outcome
        self._calls = calls

    async def _act(self, name: str) -> Reply | None:
        self._calls.append(name)
        outcome = self._next_outcome()
        if outcome == "refuse":
            raise Refuse(450, "Not now")
        if outcome == "closing":
            raise Refuse(421, "Go away")
        if outcome == "fault":
            raise Fault
        if outcome == "too long":
            await trio.sleep_forever()
        return None

    async def connect(self) -> Reply | None:
        return await self._act("connect")

    async def hello(self, event: Hello) -> Reply | None:
        return await self._act("hello")

    async def mail(self, event: MailFrom) -> Reply | None:
        return await self._act("mail")

    async def rcpt(self, event: RcptTo) -> Reply | None:
        return await self._act("rcpt")

    async def message(self, envelope: Envelope, body: Body) -> Reply | None:
        if self._next_outcome() != "half":
            async for _ in body:
                await self._act("chunk")
        return await self._act("message")

    async def reset(self, reason: AbortReason) -> None:
        await self._act("reset")

    async def close(self) -> None:
        await self._act("close")


async def converse(pieces: list[bytes], handler: HandlerFactory, lmtp: bool) -> list[ClientReply]:
    async def authenticator(username: str, password: str) -> str | None:
        return None

    config = Config(limits=Limits(message_size=500, errors=8), auth_requires_tls=False)
    timeouts = Timeouts(hook=10, commit=10)
    replies: list[ClientReply] = []
    async with (
        open_session(handler, config=config, authenticator=authenticator, timeouts=timeouts, lmtp=lmtp) as client,
        trio.open_nursery() as nursery,
    ):

        async def read() -> None:
            replies.extend(await client.rest())
            nursery.cancel_scope.cancel()

        nursery.start_soon(read)
        with contextlib.suppress(trio.BrokenResourceError):  # the server has closed the connection
            for piece in pieces:
                await client.send(piece)
                await wait_all_tasks_blocked()
            await client.send_eof()
    return replies


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(PIECES, max_size=30), outcomes=st.lists(OUTCOMES, max_size=30), lmtp=st.booleans())
def test_any_dialogue(caplog: pytest.LogCaptureFixture, pieces: list[bytes], outcomes: list[str], lmtp: bool) -> None:
    caplog.clear()
    calls: list[str] = []

    def next_outcome() -> str:
        return outcomes.pop() if outcomes else "yes"

    if lmtp:
        pieces = [piece.replace(b"EHLO", b"LHLO") for piece in pieces]
    handler = HandlerFactory(lambda: Moody(next_outcome, calls))
    replies = trio.run(converse, pieces, handler, lmtp, clock=MockClock(autojump_threshold=0))
    assert replies
    assert calls[0] == "connect"
    assert calls.count("connect") == calls.count("close") == 1
    assert calls[-1] == "close"
    for record in caplog.records:
        if record.levelno >= logging.ERROR and record.exc_info:
            assert record.exc_info[0] is Fault
