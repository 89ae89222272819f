"""Transports: directly on a socket, alone or polled, and over any stream. All behave alike."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from functools import partial

import pytest
import trio
from trio.testing import MockClock, lockstep_stream_pair, memory_stream_pair, wait_all_tasks_blocked

from tests.server.tools import connection, hear, reset
from trio_smtp.server.polled import open_poller
from trio_smtp.server.transport import SocketTransport, StreamTransport, Transport, Unsent


@pytest.fixture(params=["alone", "polled"])
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[tuple[SocketTransport, socket.socket]]:
    """A transport, and the other end of its TCP connection."""
    ours, theirs = connection()
    async with open_poller() as poller:
        with ours:
            transport = poller(theirs) if request.param == "polled" else SocketTransport(theirs)
            yield transport, ours
            if theirs.fileno() >= 0:
                await transport.aclose(linger=False, seconds=5)


async def test_receive(pair: tuple[SocketTransport, socket.socket]) -> None:
    transport, peer = pair
    peer.sendall(b"0123456789")
    assert [await transport.receive(4) for _ in range(3)] == [b"0123", b"4567", b"89"]
    peer.close()
    assert await transport.receive(4) == b""


async def test_receive_waits(pair: tuple[SocketTransport, socket.socket]) -> None:
    """Even if the last receive filled its buffer exactly."""
    transport, peer = pair
    peer.sendall(b"0123")
    assert await transport.receive(4) == b"0123"
    async with trio.open_nursery() as nursery:

        async def receive() -> None:
            assert await transport.receive(4) == b"abc"

        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        peer.sendall(b"abc")


async def test_every_receive_is_a_checkpoint(pair: tuple[SocketTransport, socket.socket]) -> None:
    transport, peer = pair
    peer.sendall(b"x" * 100)
    for _ in range(3):
        with trio.testing.assert_checkpoints():
            assert await transport.receive(10) == b"x" * 10


async def test_send_now_sends_what_goes_out_and_flush_the_rest(pair: tuple[SocketTransport, socket.socket]) -> None:
    transport, peer = pair
    data = b"0123456789abcdef" * 1_000_000
    assert not transport.send_now(data)
    received = bytearray()
    peer.setblocking(False)

    async def receive() -> None:
        while len(received) < len(data):
            await trio.lowlevel.wait_readable(peer)
            received.extend(peer.recv(1 << 20))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(transport.flush)
        await wait_all_tasks_blocked()
        nursery.start_soon(receive)
    assert received == data
    await transport.flush()  # does nothing: all has been sent
    assert transport.send_now(b"end")
    assert peer.recv(10) == b"end"


async def test_what_a_cancelled_flush_has_left_goes_first(pair: tuple[SocketTransport, socket.socket]) -> None:
    transport, peer = pair
    data = b"0123456789abcdef" * 1_000_000
    assert not transport.send_now(data)
    with trio.CancelScope() as scope:
        scope.cancel()
        await transport.flush()
    assert scope.cancelled_caught
    assert not transport.send_now(b"end")
    received = bytearray()
    peer.setblocking(False)

    async def receive() -> None:
        while len(received) < len(data) + 3:
            await trio.lowlevel.wait_readable(peer)
            received.extend(peer.recv(1 << 20))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        nursery.start_soon(transport.flush)
    assert received == data + b"end"


async def test_send_now_of_all(pair: tuple[SocketTransport, socket.socket]) -> None:
    transport, peer = pair
    assert transport.send_now(b"abc")
    assert peer.recv(10) == b"abc"


async def test_what_is_said_soon_is_out_before_the_peer_is_waited_for(
    pair: tuple[SocketTransport, socket.socket],
) -> None:
    """In order with output of `send_now`, before or after it."""
    transport, peer = pair
    assert transport.send_now(b"1")
    assert transport.send_soon(b"2")
    assert transport.send_now(b"3")
    assert transport.send_soon(b"4")
    assert transport.send_soon(b"5")
    assert transport.send_soon(b"6")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(transport.receive, 10)
        await wait_all_tasks_blocked()
        assert peer.recv(10) == b"123456"
        peer.sendall(b"x")


async def test_nothing_is_received_before_what_is_said_soon_is_out(pair: tuple[SocketTransport, socket.socket]) -> None:
    """Whether `send_soon` reports the rest at once, or it is found only at the end of the turn. A cancelled `flush`
    loses none of it.
    """
    transport, peer = pair
    data = b"0123456789abcdef" * 1_000_000
    peer.sendall(b"early")
    await wait_all_tasks_blocked()
    transport.send_soon(data)
    received = bytearray()
    peer.setblocking(False)

    async def take() -> None:
        while len(received) < len(data) + 3:
            await trio.lowlevel.wait_readable(peer)
            received.extend(peer.recv(1 << 20))

    for _ in range(2):
        with pytest.raises(Unsent):
            await transport.receive(10)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(transport.flush)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert nursery.cancel_scope.cancelled_caught
    assert not transport.send_soon(b"end")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(take)
        assert await hear(transport, 10) == b"early"
    assert received == data + b"end"
    assert transport.send_soon(b".")
    await wait_all_tasks_blocked()
    assert peer.recv(10) == b"."


async def test_who_waits_already_is_told_of_a_rest(pair: tuple[SocketTransport, socket.socket]) -> None:
    """The peer sends nothing more before it has received all output."""
    transport, peer = pair
    data = b"0123456789abcdef" * 1_000_000
    received = bytearray()
    peer.setblocking(False)

    async def converse() -> None:
        if not transport.send_soon(data):
            await transport.flush()
        assert await hear(transport, 10) == b"thanks"

    async with trio.open_nursery() as nursery:
        nursery.start_soon(converse)
        await wait_all_tasks_blocked()
        while len(received) < len(data):
            await trio.lowlevel.wait_readable(peer)
            received.extend(peer.recv(1 << 20))
        peer.sendall(b"thanks")
    assert received == data


@pytest.mark.parametrize("linger", [False, True])
async def test_closing_sends_what_was_to_go_out_soon(linger: bool, pair: tuple[SocketTransport, socket.socket]) -> None:
    transport, peer = pair
    peer.shutdown(socket.SHUT_WR)
    assert transport.send_soon(b"221 Bye\r\n")
    await transport.aclose(linger=linger, seconds=5)
    assert peer.recv(100) == b"221 Bye\r\n"


async def test_has_input(pair: tuple[SocketTransport, socket.socket]) -> None:
    transport, peer = pair
    assert not transport.has_input()
    peer.sendall(b"x")
    assert transport.has_input()
    assert await transport.receive(4) == b"x"  # has_input() took nothing
    peer.close()
    assert not transport.has_input()


async def test_a_reset_breaks_every_operation(pair: tuple[SocketTransport, socket.socket]) -> None:
    transport, peer = pair
    reset(peer)
    with pytest.raises(trio.BrokenResourceError):
        await transport.receive(4)
    with pytest.raises(trio.BrokenResourceError):
        transport.send_now(b"x")
    with pytest.raises(trio.BrokenResourceError):
        transport.send_soon(b"x")
        await hear(transport, 4)
    assert not transport.has_input()
    await transport.aclose(linger=True, seconds=5)


@pytest.mark.parametrize("waits_for", ["input", "room"])
async def test_closing_breaks_what_another_task_waits_for(
    waits_for: str, pair: tuple[SocketTransport, socket.socket]
) -> None:
    transport, _ = pair
    if waits_for == "room":
        assert not transport.send_now(b"0123456789abcdef" * 1_000_000)

    async def wait() -> None:
        with pytest.raises(trio.BrokenResourceError):
            await (transport.flush() if waits_for == "room" else transport.receive(10))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        await transport.aclose(linger=False, seconds=5)


async def test_closing_with_unread_input_resets(pair: tuple[SocketTransport, socket.socket]) -> None:
    transport, peer = pair
    transport.send_now(b"221 Bye\r\n")
    peer.sendall(b"more")
    await transport.aclose(linger=False, seconds=5)
    with pytest.raises(ConnectionResetError):
        while peer.recv(100):
            pass


async def test_lingering_lets_the_peer_read(pair: tuple[SocketTransport, socket.socket]) -> None:
    """The last reply arrives even if the client goes on sending."""
    transport, peer = pair
    transport.send_now(b"421 Bye\r\n")
    peer.sendall(b"x" * 100_000)

    async def close() -> None:
        await transport.aclose(linger=True, seconds=5)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(close)
        await wait_all_tasks_blocked()
        peer.sendall(b"x" * 100_000)
        assert peer.recv(100) == b"421 Bye\r\n"
        assert peer.recv(100) == b""
        peer.close()


@pytest.mark.parametrize("kind", ["socket", "stream"])
async def test_closing_does_not_linger_for_ever(
    kind: str, pair: tuple[SocketTransport, socket.socket], autojump_clock: MockClock
) -> None:
    transport: Transport
    transport, peer = pair
    if kind == "stream":
        transport = StreamTransport(trio.SocketStream(trio.socket.from_stdlib_socket(transport._socket)))
    await transport.aclose(linger=True, seconds=5)
    assert trio.current_time() == 5
    peer.sendall(b"x")
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        for _ in range(2):
            peer.sendall(b"x")


@pytest.mark.parametrize("kind", ["socket", "stream"])
async def test_who_is_cancelled_does_not_linger(
    kind: str, pair: tuple[SocketTransport, socket.socket], autojump_clock: MockClock
) -> None:
    """The last reply still goes out."""
    transport: Transport
    transport, peer = pair
    if kind == "stream":
        transport = StreamTransport(trio.SocketStream(trio.socket.from_stdlib_socket(transport._socket)))
    transport.send_now(b"421 Bye\r\n")
    await transport.flush()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(transport.aclose, linger=True, seconds=5))
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert trio.current_time() == 0
    assert peer.recv(100) == b"421 Bye\r\n"
    assert peer.recv(100) == b""


async def test_over_a_stream() -> None:
    ours, theirs = memory_stream_pair()
    transport = StreamTransport(theirs)
    assert not transport.has_input()
    assert not transport.send_now(b"abc")
    await transport.flush()
    assert await ours.receive_some() == b"abc"
    await ours.send_all(b"def")
    data = await transport.receive(2)
    assert data == b"de"
    assert type(data) is bytes
    assert await transport.receive(2) == b"f"
    await ours.aclose()
    assert await transport.receive(2) == b""
    with pytest.raises(trio.BrokenResourceError):
        transport.send_now(b"x")
        await transport.flush()
    await transport.aclose(linger=True, seconds=5)


async def test_what_a_stream_was_not_even_told_is_sent_later() -> None:
    ours, theirs = memory_stream_pair()
    transport = StreamTransport(theirs)
    transport.send_now(b"abc")
    with trio.CancelScope() as scope:
        scope.cancel()
        await transport.flush()
    transport.send_now(b"def")
    await transport.flush()
    assert await ours.receive_some() == b"abcdef"


async def test_a_stream_is_of_no_use_when_nobody_knows_how_much_has_gone_out(autojump_clock: MockClock) -> None:
    _, theirs = lockstep_stream_pair()
    transport = StreamTransport(theirs)
    transport.send_now(b"abc")
    with trio.move_on_after(1):
        await transport.flush()
    transport.send_now(b"def")
    with pytest.raises(trio.BrokenResourceError, match="cut off"):
        await transport.flush()


async def test_lingering_over_a_stream() -> None:
    ours, theirs = memory_stream_pair()
    await ours.send_all(b"x" * 1000)
    async with trio.open_nursery() as nursery:

        async def close() -> None:
            await StreamTransport(theirs).aclose(linger=True, seconds=5)

        nursery.start_soon(close)
        await wait_all_tasks_blocked()
        await ours.send_all(b"x" * 1000)
        assert await ours.receive_some() == b""
        await ours.send_eof()


class Tunnel(trio.abc.HalfCloseableStream):
    """A stream whose `aclose` never returns, as if its other end did not answer the goodbye."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, float]] = []

    async def send_all(self, data: object) -> None:
        raise NotImplementedError

    async def wait_send_all_might_not_block(self) -> None:
        raise NotImplementedError

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.sleep_forever()
        raise AssertionError

    async def send_eof(self) -> None:
        self.calls.append(("send_eof", trio.current_time()))
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        self.calls.append(("aclose", trio.current_time()))
        await trio.sleep_forever()


@pytest.mark.parametrize(
    ("linger", "cancelled", "calls"),
    [
        (False, False, [("aclose", 0)]),
        (False, True, [("aclose", 0)]),
        (True, False, [("send_eof", 0), ("aclose", 5)]),
        (True, True, [("send_eof", 0), ("aclose", 0)]),
    ],
)
async def test_closing_a_stream_takes_its_time_and_no_more(
    autojump_clock: MockClock, linger: bool, cancelled: bool, calls: list[tuple[str, float]]
) -> None:
    tunnel = Tunnel()
    with trio.CancelScope() as scope:
        if cancelled:
            scope.cancel()
        await StreamTransport(tunnel).aclose(linger=linger, seconds=5)
    assert tunnel.calls == calls
    assert trio.current_time() == 5
