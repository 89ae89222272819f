"""Counts that processes share. Two mappings of the same memory, in one process, stand for two processes."""

from __future__ import annotations

import os
from array import array
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from tests.policy.tools import MAIL, session
from tests.server.tools import begin, deliver, take, until
from trio_smtp.cli.limits import WINDOWS as LIMITS
from trio_smtp.handler import Refuse
from trio_smtp.policy import Rate, RateLimits, SlidingWindow
from trio_smtp.server import Server, ServerOptions, bind_sockets, serve_sockets, shared
from trio_smtp.server.shared import SharedCounts, SharedMemory, SharedWindow, shared_memory
from trio_smtp.testing.client import ScriptedClient

KEYS = 256


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[SharedMemory]:
    """Shared memory with small tables, which few keys fill."""
    monkeypatch.setattr(shared, "_KEYS", KEYS)
    monkeypatch.setattr(shared, "_PEERS", KEYS)
    with shared_memory(3, 2, ["one", "two"]) as memory:
        yield memory


@pytest.fixture
def both(memory: SharedMemory) -> list[SharedCounts]:
    return [SharedCounts(memory, number) for number in range(2)]


def windows(both: Sequence[SharedCounts], name: str = "one", seconds: float = 60) -> list[SharedWindow]:
    return [counts.window(name, seconds) for counts in both]


# --- windows


STEPS = st.tuples(
    st.integers(0, 1),
    st.sampled_from(["192.0.2.1", "192.0.2.2", "2001:db8::/64", "\udcff"]),
    st.floats(0, 100),
    st.booleans(),
)


@given(st.lists(STEPS, max_size=30))
def test_two_processes_in_turn_count_what_one_would(steps: list[tuple[int, str, float, bool]]) -> None:
    alone, now = SlidingWindow(60), 0.0
    with shared_memory(2, 1, ["one"]) as memory:
        shared = windows([SharedCounts(memory, number) for number in range(2)])
        for process, key, gap, limited in steps:
            now += gap
            if limited:
                assert shared[process].take(key, now, 2) == alone.take(key, now, 2)
            else:
                alone.add(key, now)
                shared[process].add(key, now)
            for window in shared:
                assert window.count(key, now) == alone.count(key, now)


def test_windows_of_other_names_count_other_things(both: list[SharedCounts]) -> None:
    windows(both)[0].add("ann", 0)
    assert [window.count("ann", 0) for window in windows(both)] == [1, 1]
    assert [window.count("ann", 0) for window in windows(both, "two")] == [0, 0]


def test_a_process_that_is_started_again_goes_on_with_what_the_last_one_counted(memory: SharedMemory) -> None:
    SharedCounts(memory, 0).window("one", 60).add("ann", 130)
    memory.forget_connections(0)
    again = SharedCounts(memory, 0).window("one", 60)
    again.add("ann", 131)
    assert again.count("ann", 131) == 2


def test_when_there_is_no_room_who_did_least_is_forgotten(both: list[SharedCounts]) -> None:
    window, other = windows(both)
    for _ in range(3):
        window.add("often", 0)
    crowd = [f"once {number}" for number in range(20 * KEYS)]
    for key in crowd:
        window.add(key, 0)
    assert sum(other.count(key, 0) for key in crowd) == KEYS - 1
    assert other.count("often", 0) == 3
    window.add("late", 0)
    window.add("late", 0)
    assert other.count("late", 0) == 2


def test_what_nothing_is_counted_in_takes_no_room() -> None:
    with shared_memory(20, 10, LIMITS) as memory:
        counts = SharedCounts(memory, 19)
        counts.connections(0).enter_as("192.0.2.1")
        status = os.fstat(memory.descriptor)
    assert status.st_blocks * 512 < 100_000
    assert status.st_size > 100_000_000


def test_no_two_tables_have_a_word_in_common(memory: SharedMemory) -> None:
    """Tables of different processes, listeners, windows and spans of time do not overlap."""
    counts = [SharedCounts(memory, number) for number in range(memory.processes)]
    listeners: list[Any] = [each.connections(number) for each in counts for number in range(memory.listeners)]
    spans = [table for each in counts for name in memory.windows for table, _ in each.window(name, 60)._tables]
    tables = [*(connections._shown for connections in listeners), *spans]
    for number, table in enumerate(tables, start=100):
        table.head[0] = number
        table.words[:] = memoryview(array("Q", [number] * len(table.words)))
    for number, table in enumerate(tables, start=100):
        assert {*table.head, *table.words} == {number}
    assert [part[0] for part in counts[0]._parts] == [1, 1, 1]  # open connections plus one


def test_a_number_has_a_bound() -> None:
    """A larger number would overwrite the hash in the same word."""
    table = shared._Table(memoryview(bytearray(9 * 8)).cast("Q"))
    for number in (1, (1 << 24) - 1, 1 << 24):
        table.put((0, 7), number)
        assert table.get((0, 7)) == min(number, (1 << 24) - 1)


async def test_a_rate_holds_over_both() -> None:
    with shared_memory(2, 0, LIMITS) as memory:
        policies = [
            RateLimits(messages=Rate(3, 60), windows=SharedCounts(memory, number).window, clock=lambda: 1000.0)
            for number in range(2)
        ]
        for policy in (policies[0], policies[0], policies[1]):
            await policy.mail(session(), MAIL)
        for policy in policies:
            with pytest.raises(Refuse, match="Too much mail"):
                await policy.mail(session(), MAIL)
            await policy.mail(session("192.0.2.99"), MAIL)


@pytest.mark.parametrize("has_memfd", [True, False])
def test_the_memory_ends_with_its_block(has_memfd: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not has_memfd:  # as on systems other than Linux
        monkeypatch.delattr(os, "memfd_create", raising=False)
    with shared_memory(2, 1, ["one"]) as memory:
        ours, theirs = windows([SharedCounts(memory, number) for number in range(2)])
        ours.add("ann", 0)
        assert theirs.count("ann", 0) == 1
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(memory.descriptor)


def test_nobody_can_tell_which_keys_share_a_place() -> None:
    with shared_memory(1, 1, []) as one, shared_memory(1, 1, []) as other:
        assert SharedCounts(one, 0).place("192.0.2.1") != SharedCounts(other, 0).place("192.0.2.1")
        assert repr(one.secret) not in repr(one)


# --- connections


def test_connections_of_both(memory: SharedMemory, both: list[SharedCounts]) -> None:
    ours, theirs = (counts.connections(0) for counts in both)
    for connections in (ours, ours, theirs):
        connections.enter()
        connections.enter_as("192.0.2.1")
    theirs.enter()
    assert (ours.total, theirs.total) == (4, 4)
    assert (ours.of("192.0.2.1"), theirs.of("192.0.2.1"), ours.of("192.0.2.2")) == (3, 3, 0)
    ours.leave_as("192.0.2.1")
    ours.leave()
    assert (ours.total, theirs.total) == (3, 3)
    assert (ours.of("192.0.2.1"), theirs.of("192.0.2.1")) == (2, 2)
    memory.forget_connections(1)
    assert (ours.total, ours.of("192.0.2.1")) == (1, 1)
    memory.forget_connections(0)
    assert (theirs.total, theirs.of("192.0.2.1")) == (2, 1)  # a process never reads its own counts from the memory


def test_a_peer_that_has_left_takes_no_place(both: list[SharedCounts]) -> None:
    ours, theirs = (counts.connections(0) for counts in both)
    ours.enter_as("192.0.2.1")
    for number in range(20 * KEYS):
        ours.enter_as(str(number))
        ours.leave_as(str(number))
    assert theirs.of("192.0.2.1") == 1


def test_who_was_forgotten_takes_nobody_along(both: list[SharedCounts]) -> None:
    ours, theirs = (counts.connections(0) for counts in both)
    crowd = [str(number) for number in range(20 * KEYS)]
    for peer in crowd:
        ours.enter_as(peer)
    known = {peer for peer in crowd if theirs.of(peer)}
    assert len(known) == KEYS
    for peer in crowd:
        if peer not in known:
            ours.leave_as(peer)
    assert {peer for peer in crowd if theirs.of(peer)} == known


def test_who_has_more_lets_others_go_first(memory: SharedMemory, both: list[SharedCounts]) -> None:
    ours, theirs = (counts.connections(0) for counts in both)
    assert (ours.ahead, theirs.ahead) == (False, False)
    ours.enter()
    assert (ours.ahead, theirs.ahead) == (True, False)
    theirs.enter()
    theirs.enter()
    assert (ours.ahead, theirs.ahead) == (False, True)
    theirs.leave()
    assert (ours.ahead, theirs.ahead) == (False, False)
    theirs.enter()
    both[0].retire()  # it accepts no more connections
    assert (ours.ahead, theirs.ahead) == (False, False)
    theirs.leave()
    theirs.leave()
    ours.leave()
    assert (ours.ahead, theirs.ahead) == (False, False)


# --- servers


@asynccontextmanager
async def two_servers(options: ServerOptions) -> AsyncIterator[list[Server]]:
    """Two servers that listen on the same socket and share their counts."""
    [sock] = await bind_sockets(0, "127.0.0.1")
    with shared_memory(2, 1, []) as memory:
        async with trio.open_nursery() as nursery:

            async def start(number: int) -> Server:
                counts = SharedCounts(memory, number).connections(0)
                both: ServerOptions = {**options, "connection_counts": counts}
                server: Server = await nursery.start(partial(serve_sockets, take, [sock.dup()], **both))
                return server

            servers = [await start(0), await start(1)]
            sock.close()
            yield servers
            for server in servers:
                nursery.start_soon(server.aclose)


async def connect(stack: AsyncExitStack, server: Server) -> ScriptedClient:
    return await stack.enter_async_context(ScriptedClient(await trio.open_tcp_stream("127.0.0.1", server.port)))


@pytest.mark.parametrize(
    ("options", "rule"),
    [({"max_connections": 4}, "connections"), ({"max_connections_per_peer": 4}, "connections-per-peer")],
)
async def test_limits_of_connections_hold_over_both(options: ServerOptions, rule: str) -> None:
    async with two_servers(options) as servers, AsyncExitStack() as stack:
        clients = [await connect(stack, servers[0]) for _ in range(4)]
        for client in clients:
            await begin(client)
        assert [server.connections for server in servers] == [2, 2]
        for _ in range(3):
            await (await connect(stack, servers[0])).expect_close("421 Too many connections, try again later")
        assert sum((server.stats for server in servers[1:]), servers[0].stats).rules == {rule: 3}
        assert (await clients[0].command("QUIT")).code == 221
        await clients[0].expect_close()
        await until(lambda: sum(server.connections for server in servers) == 3)
        another = await connect(stack, servers[0])
        await begin(another)
        await deliver(another)


async def test_connections_that_come_at_once_are_shared_evenly() -> None:
    async with two_servers({}) as servers, AsyncExitStack() as stack:
        for client in [await connect(stack, servers[0]) for _ in range(20)]:
            await begin(client)
        assert [server.connections for server in servers] == [10, 10]


async def test_one_that_does_not_take_its_turn_keeps_nobody_waiting() -> None:
    """The idle process, with no connections, would be next but accepts none: the other one takes them all."""
    with shared_memory(2, 1, []) as memory:
        SharedCounts(memory, 1)
        sockets = await bind_sockets(0, "127.0.0.1")
        counts = SharedCounts(memory, 0).connections(0)
        async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
            server = await nursery.start(partial(serve_sockets, take, sockets, connection_counts=counts))
            for client in [await connect(stack, server) for _ in range(5)]:
                await begin(client)
            await server.aclose()
