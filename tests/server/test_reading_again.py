"""Message hooks that stop reading and go on later, and bodies that are read after their hook has returned."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.server.tools import (
    ACCEPTED,
    CONTENT,
    TRANSACTION,
    TRANSACTION_ACCEPTED,
    Choked,
    begin,
    connected,
    deliver,
    handler_with,
)
from trio_smtp.handler import Body, Refuse
from trio_smtp.protocol import Envelope, Reply, Verify
from trio_smtp.server import open_server
from trio_smtp.testing.client import open_session


async def test_no_octet_is_lost_when_a_reader_gives_up_and_goes_on() -> None:
    """Cancelled at every one of its reads, the reader still gets the whole message."""
    received: list[bytes] = []

    async def message(envelope: Envelope, body: Body) -> None:
        chunks, chunk = aiter(body), b""
        while True:
            with trio.CancelScope() as scope:
                scope.cancel()
                chunk = await anext(chunks, b"")
            if scope.cancelled_caught:
                chunk = await anext(chunks, b"")
            if not chunk:
                return
            received.append(chunk)

    pieces = [b"%02d" % number for number in range(20)]
    async with open_server(handler_with(message=message)) as server, connected(server) as client:
        await begin(client)
        await client.send(TRANSACTION + b"".join(b"BDAT 2\r\n" + piece for piece in pieces) + b"BDAT 0 LAST\r\n")
        await client.expect(*TRANSACTION_ACCEPTED, *["250 2.0.0"] * len(pieces), ACCEPTED)
    assert received == pieces


async def test_nor_is_a_connection_of_which_only_a_stream_is_known() -> None:
    """The cancelled read has left the 354 unsent; it must still be sent, although the transport is only a stream."""

    async def message(envelope: Envelope, body: Body) -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            await body.read()
        await body.read()

    async with open_session(handler_with(message=message)) as client:
        await begin(client)
        await client.send(TRANSACTION + b"DATA\r\n")
        await client.expect(*TRANSACTION_ACCEPTED, "354")
        await client.send(CONTENT + b".\r\n")
        await client.expect(ACCEPTED)


async def test_nor_one_whose_client_takes_no_replies_meanwhile(
    patient_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def message(envelope: Envelope, body: Body) -> None:
        with trio.move_on_after(5):
            await body.read()
        Choked.taken.set()
        await body.read()

    monkeypatch.setattr("trio_smtp.server.server.SocketTransport", Choked)
    Choked.taken.set()
    async with open_server(handler_with(message=message)) as server, connected(server) as client:
        await begin(client)
        Choked.taken = trio.Event()
        await client.send(TRANSACTION + b"DATA\r\n")
        await client.expect(*TRANSACTION_ACCEPTED, "354")
        await client.send(CONTENT + b".\r\n")
        await client.expect(ACCEPTED)


@pytest.mark.parametrize("at_once", [False, True])
async def test_what_had_come_before_a_reader_gave_up_is_there_when_it_goes_on(
    autojump_clock: MockClock, at_once: bool
) -> None:
    async def message(envelope: Envelope, body: Body) -> Reply:
        with trio.move_on_after(5):
            await body.read()
        content = await body.read() if at_once else b"".join([chunk async for chunk in body])
        return Reply(250, content.decode())

    async with open_session(handler_with(message=message)) as client:
        await begin(client)
        await client.send(TRANSACTION + b"BDAT 5\r\nfirst")
        await client.expect(*TRANSACTION_ACCEPTED, "250 2.0.0")
        await trio.sleep(10)
        await client.send(b"BDAT 5 LAST\r\n last")
        await client.expect("250 2.0.0 first last")


async def test_a_command_between_chunks_is_answered_though_the_reader_gave_up_meanwhile(
    autojump_clock: MockClock,
) -> None:
    async def verify(event: Verify) -> None:
        await trio.sleep(10)

    async def message(envelope: Envelope, body: Body) -> None:
        with trio.move_on_after(5):
            await body.read()
        await body.read()

    async with open_session(handler_with(verify=verify, message=message)) as client:
        await begin(client)
        await client.send(TRANSACTION + b"BDAT 1\r\naVRFY bob\r\nBDAT 1 LAST\r\nb")
        await client.expect(*TRANSACTION_ACCEPTED, "250 2.0.0", "252", ACCEPTED)


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("refused", [False, True])
async def test_a_body_that_was_kept_reads_nothing_of_what_follows(
    nursery: trio.Nursery, refused: bool, at_once: bool
) -> None:
    faults: list[str] = []
    over = trio.Event()

    async def read_late(body: Body) -> None:
        await over.wait()
        try:
            await (body.read() if at_once else anext(aiter(body)))
        except RuntimeError as error:
            faults.append(str(error))

    async def message(envelope: Envelope, body: Body) -> None:
        await (anext(aiter(body)) if refused else body.read())
        nursery.start_soon(read_late, body)
        if refused:
            raise Refuse(452, "Too busy", "4.3.1")

    async with open_server(handler_with(message=message)) as server, connected(server) as client:
        await begin(client)
        await client.send(TRANSACTION + b"DATA\r\n" + CONTENT + b".\r\n")
        await client.expect(*TRANSACTION_ACCEPTED, "354", "452" if refused else ACCEPTED)
        over.set()
        await wait_all_tasks_blocked()
        assert faults == ["the message can no longer be read, because the hook that received it has returned"]
        await client.send(TRANSACTION)
        await client.expect(*TRANSACTION_ACCEPTED)


@pytest.mark.parametrize("alone", [False, True])
async def test_a_reader_that_outlives_its_hook_ends_with_its_connection_and_harms_no_other(
    nursery: trio.Nursery, patient_clock: MockClock, alone: bool
) -> None:
    """The task still waits for a socket whose descriptor the next connection will get."""
    faults: list[str] = []

    async def read(body: Body) -> None:
        try:
            await body.read()
        except RuntimeError as error:
            faults.append(str(error))

    async def message(envelope: Envelope, body: Body) -> None:
        if faults:
            await body.read()
            return
        nursery.start_soon(read, body)
        await trio.sleep(1)
        raise Refuse(452, "Too busy", "4.3.1")

    async with open_server(handler_with(message=message)) as server, AsyncExitStack() as others:
        if not alone:
            await begin(await others.enter_async_context(connected(server)))
        async with connected(server) as client:
            await begin(client)
            await client.send(TRANSACTION + b"DATA\r\n")
            await client.expect_close(*TRANSACTION_ACCEPTED, "354", "421")
        assert faults == ["the message can no longer be read, because the hook that received it has returned"]
        for _ in range(3):
            async with connected(server) as client:
                await begin(client)
                await deliver(client)
