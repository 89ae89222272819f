"""The load generator does what its options say, and counts what the server counted."""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio

import trio_smtp
from bench.build import load_generator
from tests.interop.clients import Need, require
from trio_smtp.protocol import replies

BRIEF = ("--seconds=0.03", "--sessions=3")


class Counter(trio_smtp.Handler):
    """Takes every message and notes what it was."""

    messages: list[tuple[int, int]]  # recipients and octets of each
    hellos = 0

    async def hello(self, event: trio_smtp.Hello) -> None:
        type(self).hellos += 1

    async def message(self, envelope: trio_smtp.Envelope, body: trio_smtp.Body) -> None:
        size = 0
        async for chunk in body:
            size += len(chunk)
        self.messages.append((len(envelope.recipients), size))


@asynccontextmanager
async def counting() -> AsyncIterator[tuple[trio_smtp.Server, type[Counter]]]:
    counter = type("Counter", (Counter,), {"messages": []})
    async with trio_smtp.open_server(counter) as server:
        yield server, counter


async def run_load(port: int, *options: str) -> subprocess.CompletedProcess[bytes]:
    require(Need("cc", "gcc"))
    load, _ = load_generator()
    command = [str(load), f"--port={port}", *options]
    return await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)


@pytest.mark.parametrize("mode", ["lockstep", "pipelined", "bdat"])
@pytest.mark.parametrize(("size", "recipients"), [(512, 1), (1000, 3), (200_000, 1)])
async def test_a_message_is_what_was_asked_for(mode: str, size: int, recipients: int) -> None:
    async with counting() as (server, counter):
        options = (f"--mode={mode}", f"--size={size}", f"--recipients={recipients}", "--warm=0")
        done = await run_load(server.port, *BRIEF, *options)
        report = json.loads(done.stdout)
        assert counter.messages == [(recipients, size)] * report["messages"]
        assert report["messages"] >= 3
        assert 0 < report["p50"] <= report["p99"] <= report["most"] <= report["seconds"]
        assert counter.hellos == 3


async def test_what_is_done_to_warm_up_is_not_counted() -> None:
    async with counting() as (server, counter):
        done = await run_load(server.port, *BRIEF, "--warm=0.5")  # long enough to connect on a busy machine
        report = json.loads(done.stdout)
        assert 3 <= report["messages"] <= len(counter.messages) - 3


async def test_a_connection_for_each_message() -> None:
    async with counting() as (server, counter):
        report = json.loads((await run_load(server.port, *BRIEF, "--warm=0", "--reconnect")).stdout)
        assert report["messages"] == len(counter.messages) == counter.hellos == server.stats.connections


async def test_a_schedule() -> None:
    async with counting() as (server, counter):
        options = ("--seconds=0.1", "--warm=0", "--rate=100", "--sessions=100")
        report = json.loads((await run_load(server.port, *options)).stdout)
        assert report["messages"] == len(counter.messages) == counter.hellos <= 11


async def test_slow_clients() -> None:
    async with counting() as (server, counter):
        done = await run_load(server.port, *BRIEF, "--warm=0", "--piece=100", "--pause=0.001")
        report = json.loads(done.stdout)
        assert report["messages"] == len(counter.messages)
        assert report["p50"] >= 0.010  # at least ten pauses of 1 ms


async def test_connections_that_are_held() -> None:
    require(Need("cc", "gcc"))
    async with counting() as (server, counter), trio.open_nursery() as nursery:
        command = [str(load_generator()[0]), f"--port={server.port}", "--hold", "--sessions=60"]
        run = partial(trio.run_process, command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        process = await nursery.start(run)
        assert await process.stdout.receive_some() == b"ready\n"
        assert counter.hellos == 60
        await process.stdin.aclose()
    assert counter.messages == []


async def test_an_unexpected_reply_ends_it() -> None:
    async def refuse(_: trio_smtp.Mail) -> trio_smtp.Reply:
        return replies.LOCAL_ERROR

    async with trio_smtp.open_server(refuse) as server:
        done = await run_load(server.port, *BRIEF)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr == b"load: 451 where 250 was expected\n"
