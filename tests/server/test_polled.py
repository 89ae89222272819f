"""The poller, one epoll for many sockets. test_transport.py tests what both kinds of socket transport promise."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from types import MethodType
from typing import Any, TypeAlias

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.server.tools import connection, hear, open_files
from trio_smtp.server.polled import open_poller
from trio_smtp.server.transport import SocketTransport, Unsent

Poller: TypeAlias = Callable[[socket.socket], SocketTransport]


@pytest.fixture
async def poller() -> AsyncIterator[Poller]:
    async with open_poller() as poller:
        yield poller


def has_input(peer: socket.socket) -> bool:
    try:
        return bool(peer.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False


async def watched(poller: Poller, stack: AsyncExitStack) -> tuple[SocketTransport, socket.socket]:
    ours, theirs = connection()
    stack.enter_context(ours)
    transport = poller(theirs)
    assert type(transport) is not SocketTransport
    stack.push_async_callback(transport.aclose, linger=False, seconds=5)
    return transport, ours


async def test_each_gets_its_own(poller: Poller) -> None:
    """Both tasks that wait at the same time and those whose octets arrive before they wait."""
    received: dict[int, bytes] = {}

    async def receive(number: int, transport: SocketTransport) -> None:
        received[number] = await transport.receive(10)
        received[number] += await transport.receive(10)

    async with AsyncExitStack() as stack:
        pairs = [await watched(poller, stack) for _ in range(50)]
        async with trio.open_nursery() as nursery:
            for number, (transport, peer) in enumerate(pairs):
                if number % 2:
                    peer.sendall(b"a%d " % number)
                nursery.start_soon(receive, number, transport)
            await wait_all_tasks_blocked()
            for number, (_, peer) in enumerate(pairs):
                if not number % 2:
                    peer.sendall(b"a%d " % number)
            await wait_all_tasks_blocked()
            for number, (_, peer) in enumerate(pairs):
                peer.sendall(b"b%d" % number)
    assert received == {number: b"a%d b%d" % (number, number) for number in range(50)}


async def test_those_who_wait_go_on_in_the_same_turn(poller: Poller) -> None:
    """No task runs twice before every other task with input has run once."""
    steps: list[str] = []

    async def receive(name: str, transport: SocketTransport) -> None:
        for _ in range(2):
            await transport.receive(10)
            steps.append(name)

    async with AsyncExitStack() as stack:
        pairs = {name: await watched(poller, stack) for name in "abc"}
        async with trio.open_nursery() as nursery:
            for name, (transport, _) in pairs.items():
                nursery.start_soon(receive, name, transport)
            for _ in range(2):
                await wait_all_tasks_blocked()
                for _, peer in pairs.values():
                    peer.sendall(b"x")
    assert sorted(steps[:3]) == sorted(steps[3:]) == ["a", "b", "c"]


async def test_what_comes_after_a_wait_was_given_up_is_not_lost(poller: Poller, mock_clock: MockClock) -> None:
    async with AsyncExitStack() as stack:
        transport, peer = await watched(poller, stack)
        for data in (b"first", b"second"):
            with trio.move_on_after(1) as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(transport.receive, 10)
                    await wait_all_tasks_blocked()
                    mock_clock.jump(2)
            assert scope.cancelled_caught
            peer.sendall(data)
            await wait_all_tasks_blocked()  # epoll reports it while no task waits
            assert await transport.receive(10) == data


async def test_a_second_reader_is_told_and_the_first_one_goes_on(poller: Poller, nursery: trio.Nursery) -> None:
    received: list[bytes] = []

    async def receive() -> None:
        received.append(await transport.receive(10))

    async with AsyncExitStack() as stack:
        transport, peer = await watched(poller, stack)
        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await transport.receive(10)
        peer.sendall(b"x")
        with trio.fail_after(5):
            while not received:
                await wait_all_tasks_blocked()
        assert received == [b"x"]


async def test_news_is_not_lost_with_a_wait_that_is_cancelled_at_once(poller: Poller) -> None:
    """The input would be lost with it: epoll reports an edge only once."""
    async with AsyncExitStack() as stack:
        transport, peer = await watched(poller, stack)
        peer.sendall(b"first")
        await wait_all_tasks_blocked()  # epoll reports it while no task waits
        with trio.CancelScope() as scope:
            scope.cancel()
            await transport.receive(10)
        assert scope.cancelled_caught
        with trio.fail_after(5):
            assert await transport.receive(10) == b"first"


async def test_news_of_what_was_read_already_is_no_end_of_input(poller: Poller, mock_clock: MockClock) -> None:
    """Octets may be read together with earlier ones before epoll reports them. The report then leads to a receive that
    finds nothing; it must wait and not return b"".
    """
    async with AsyncExitStack() as stack:
        transport, peer = await watched(poller, stack)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(transport.receive, 10)
            await wait_all_tasks_blocked()
            peer.sendall(b"one")
            peer.sendall(b"two")
        peer.sendall(b"three")
        await wait_all_tasks_blocked()  # epoll has reported it
        theirs = transport._socket
        assert theirs.recv(100) == b"three"
        with trio.move_on_after(1) as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(transport.receive, 10)
                await wait_all_tasks_blocked()
                mock_clock.jump(2)
        assert scope.cancelled_caught  # it waited
        peer.close()
        assert await transport.receive(10) == b""


@pytest.mark.parametrize("waits", [True, False])
async def test_the_end_that_comes_with_the_last_octets_is_told(poller: Poller, waits: bool) -> None:
    async with AsyncExitStack() as stack:
        transport, peer = await watched(poller, stack)
        received: list[bytes] = []

        async def receive() -> None:
            while data := await transport.receive(10):
                received.append(data)

        async with trio.open_nursery() as nursery:
            if waits:
                nursery.start_soon(receive)
                await wait_all_tasks_blocked()
            peer.sendall(b"0123456789abcd")
            peer.close()
            if not waits:
                await wait_all_tasks_blocked()
                nursery.start_soon(receive)
        assert received == [b"0123456789", b"abcd"]


async def test_what_is_said_in_one_turn_goes_out_together(poller: Poller) -> None:
    """Output is sent at the end of the turn, or once eight transports have some, so that none waits for many others."""
    async with AsyncExitStack() as stack:
        pairs = [await watched(poller, stack) for _ in range(40)]
        for _, peer in pairs:
            peer.setblocking(False)
        answered: list[int] = []  # after each send_soon: how many peers have received something

        def heard() -> int:
            return sum(has_input(peer) for _, peer in pairs)

        for transport, _ in pairs:
            assert transport.send_soon(b"x")
            answered.append(heard())
        assert answered == [0] * 7 + [8] * 8 + [16] * 8 + [24] * 8 + [32] * 8 + [40]
        assert pairs[0][0].send_soon(b"y")
        assert pairs[0][1].recv(10) == b"x"
        await trio.lowlevel.checkpoint()
        assert pairs[0][1].recv(10) == b"y"


@pytest.mark.parametrize("closes", [False, True])
async def test_the_loop_comes_to_rest(closes: bool) -> None:
    """The loop does not block while many sockets have events each turn; it does again once they are idle or closed."""
    waits: list[float] = []

    class Waits(trio.abc.Instrument):
        def before_io_wait(self, timeout: float) -> None:
            waits.append(timeout)

    async def receive(transport: SocketTransport, own: AsyncExitStack) -> None:
        assert await transport.receive(10) == b"x"
        if closes:  # in the turn in which there were many events
            await own.aclose()

    async with AsyncExitStack() as stack:
        poller = await stack.enter_async_context(open_poller())
        owners = [await stack.enter_async_context(AsyncExitStack()) for _ in range(10)]
        pairs = [await watched(poller, own) for own in owners]
        async with trio.open_nursery() as nursery:
            for (transport, _), own in zip(pairs, owners, strict=True):
                nursery.start_soon(receive, transport, own)
            await wait_all_tasks_blocked()
            for _, peer in pairs:
                peer.sendall(b"x")
        for _ in range(5):
            await trio.lowlevel.checkpoint()
        trio.lowlevel.add_instrument(instrument := Waits())
        await trio.to_thread.run_sync(lambda: None)
        trio.lowlevel.remove_instrument(instrument)
    assert max(waits) > 0


async def test_a_reader_learns_at_once_that_its_output_has_no_room(poller: Poller) -> None:
    """The loop does not first wait for something else to happen."""
    async with AsyncExitStack() as stack:
        transport, _ = await watched(poller, stack)
        assert transport.send_soon(b"x" * 16_000_000)
        began = trio.current_time()
        with trio.move_on_after(5), pytest.raises(Unsent):
            await transport.receive(10)
        assert trio.current_time() - began < 5


async def test_who_cannot_be_told_hears_nothing_and_the_others_do(poller: Poller, nursery: trio.Nursery) -> None:
    async with AsyncExitStack() as stack:
        pairs = [await watched(poller, stack) for _ in range(3)]
        lost: list[int] = []

        async def converse(number: int) -> None:
            transport, _ = pairs[number]
            assert transport.send_soon(b"x")
            try:
                await hear(transport, 10)
            except trio.BrokenResourceError:
                lost.append(number)

        pairs[1][0]._socket.shutdown(socket.SHUT_WR)
        for number in range(3):
            nursery.start_soon(converse, number)
        await wait_all_tasks_blocked()
        assert lost == [1]
        assert [peer.recv(10) for _, peer in pairs] == [b"x", b"", b"x"]
        nursery.cancel_scope.cancel()


async def test_a_number_that_is_used_again(poller: Poller) -> None:
    """The kernel gives a new socket the descriptor number of a closed one."""
    numbers: list[int] = []
    for _ in range(3):
        async with AsyncExitStack() as stack:
            transport, peer = await watched(poller, stack)
            numbers.append(transport._socket.fileno())
            peer.sendall(b"old")  # and is never read
            await wait_all_tasks_blocked()
        async with AsyncExitStack() as stack:
            transport, peer = await watched(poller, stack)
            numbers.append(transport._socket.fileno())
            async with trio.open_nursery() as nursery:

                async def receive(transport: SocketTransport) -> None:
                    assert await transport.receive(10) == b"new"

                nursery.start_soon(receive, transport)
                await wait_all_tasks_blocked()
                peer.sendall(b"new")
    assert len(set(numbers)) < len(numbers)


async def test_a_number_that_is_used_again_while_a_child_process_has_the_old_socket(poller: Poller) -> None:
    """Epoll would go on to report the old socket, and the loop would spin for the end of the new one."""
    async with AsyncExitStack() as stack:
        ours, theirs = connection()
        stack.enter_context(ours)
        async with AsyncExitStack() as own:
            transport, peer = await watched(poller, own)
            number = transport._socket.fileno()
            stack.callback(os.close, os.dup(number))
            old_peer = stack.enter_context(peer.dup())
        os.dup2(theirs.fileno(), number)
        theirs.close()
        theirs = socket.socket(fileno=number)
        theirs.setblocking(False)
        transport = poller(theirs)
        stack.push_async_callback(transport.aclose, linger=False, seconds=5)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(transport.receive, 10)
            await wait_all_tasks_blocked()
            old_peer.shutdown(socket.SHUT_RDWR)
            with trio.fail_after(5):
                await wait_all_tasks_blocked()
            ours.sendall(b"x")


async def test_a_socket_that_cannot_be_watched_has_an_ordinary_transport(poller: Poller) -> None:
    async with AsyncExitStack() as stack:
        transport, peer = await watched(poller, stack)
        ordinary = poller(transport._socket)  # it is registered already, so epoll refuses it
        assert type(ordinary) is SocketTransport
        peer.sendall(b"x")
        assert await ordinary.receive(10) == b"x"


async def test_a_want_of_memory_leaves_nobody_waiting(poller: Poller, monkeypatch: pytest.MonkeyPatch) -> None:
    """Epoll reports each event only once, and trio removes an instrument that raises."""
    assert isinstance(poller, MethodType)
    hooks: Any = poller.__self__
    epoll = hooks._epoll
    fails = [True, True]

    class NoMemory:
        def __getattr__(self, name: str) -> object:
            return getattr(epoll, name)

        def poll(self, timeout: float) -> list[tuple[int, int]]:
            told: list[tuple[int, int]] = epoll.poll(timeout)
            if told and fails:
                fails.pop()
                raise MemoryError
            return told

    received: list[bytes] = []

    async def receive(transport: SocketTransport) -> None:
        while data := await transport.receive(10):
            received.append(data)

    async with AsyncExitStack() as stack:
        pairs = [await watched(poller, stack) for _ in range(3)]
        await wait_all_tasks_blocked()
        with monkeypatch.context() as patch:
            patch.setattr(hooks, "_epoll", NoMemory())
            async with trio.open_nursery() as nursery:
                for transport, peer in pairs:
                    nursery.start_soon(receive, transport)
                    peer.sendall(b"x")
                    peer.close()
    assert received == [b"x"] * 3
    assert not fails


async def test_a_want_of_memory_delays_what_is_to_go_out(poller: Poller, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next turn of the loop comes at once and tries again; no peer gets its output twice."""
    async with AsyncExitStack() as stack:
        pairs = [await watched(poller, stack) for _ in range(3)]
        fails = [True, True]
        send_kept = type(pairs[1][0]).send_kept  # type: ignore[attr-defined]  # the class exists on Linux only

        def send(transport: SocketTransport) -> None:
            if transport is pairs[1][0] and fails:
                fails.pop()
                raise MemoryError
            send_kept(transport)

        monkeypatch.setattr(type(pairs[1][0]), "send_kept", send)
        for number, (transport, _) in enumerate(pairs):
            assert transport.send_soon(b"%d" % number)
        with trio.fail_after(5):
            await trio.lowlevel.wait_readable(pairs[2][1])
        assert not fails
        assert [peer.recv(10) for _, peer in pairs] == [b"0", b"1", b"2"]


async def test_nothing_comes_any_more_once_it_is_closed(poller: Poller, nursery: trio.Nursery) -> None:
    """`receive` raises for a task that already waits and for every later call: the descriptor may soon be that of
    another socket.
    """
    async with AsyncExitStack() as stack:
        transport, _ = await watched(poller, stack)

        async def receive() -> None:
            for _ in range(3):
                with pytest.raises(trio.BrokenResourceError):
                    await transport.receive(10)

        async with trio.open_nursery() as readers:
            readers.start_soon(receive)
            await wait_all_tasks_blocked()
            nursery.start_soon(stack.aclose)
            readers.cancel_scope.deadline = trio.current_time() + 5
        assert not readers.cancel_scope.cancelled_caught


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_nothing_is_left(is_cancelled: bool) -> None:
    """The poller leaves no descriptor and no task; once all sockets are closed, it is no longer an instrument of trio's
    loop.
    """

    files, tasks = open_files(), trio.lowlevel.current_statistics().tasks_living
    with trio.CancelScope() as scope:
        async with open_poller() as poller:
            assert isinstance(poller, MethodType)
            hooks = poller.__self__
            assert isinstance(hooks, trio.abc.Instrument)
            for _ in range(2):
                async with AsyncExitStack() as stack:
                    for _ in range(3):
                        transport, peer = await watched(poller, stack)
                        peer.sendall(b"x")
                        assert await transport.receive(10) == b"x"
                await wait_all_tasks_blocked(cushion=0.001)  # until trio's loop has waited
                with pytest.raises(KeyError):
                    trio.lowlevel.remove_instrument(hooks)
            if is_cancelled:
                scope.cancel()
    assert open_files() <= files
    assert trio.lowlevel.current_statistics().tasks_living == tasks


async def test_nothing_is_left_if_it_closes_in_the_turn_in_which_many_had_events(
    caplog: pytest.LogCaptureFixture,
) -> None:
    hooks: list[Any] = []

    async def close_early() -> None:
        async with open_poller() as poller, AsyncExitStack() as stack:
            assert isinstance(poller, MethodType)
            hooks.append(poller.__self__)
            pairs = [await watched(poller, stack) for _ in range(5)]
            await trio.lowlevel.checkpoint()  # its task waits for events from then on
            for _, peer in pairs:
                peer.sendall(b"x")
            assert await pairs[0][0].receive(10) == b"x"

    async with trio.open_nursery() as nursery:
        nursery.start_soon(close_early)
        for _ in range(20):
            await trio.lowlevel.checkpoint()
        is_closed = hooks[0]._closed.is_set()
        hooks[0]._told = 0  # else it would never close
    assert is_closed
    assert not caplog.records  # as of an instrument that raises
