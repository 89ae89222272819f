"""Two processes deliver into one store while a third one reads, and those who deliver are killed at random moments."""

from __future__ import annotations

import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from random import Random

import pytest
import trio

from trio_smtp.mailbox.json_file import JSONFileStore
from trio_smtp.mailbox.store import INBOX

pytestmark = pytest.mark.hypothesis  # see test_crash

# Several at a time, without end. Of each that was accepted it says so.
WRITER = """
import sys
import trio
from trio_smtp.mailbox.json_file import JSONFileStore
from trio_smtp.mailbox.store import INBOX

async def deliver(store, task):
    number = task
    while True:
        number += 4
        content = f"{sys.argv[2]} {number} ".encode() + b"x" * (number * 37_000 % 400_000 if number % 5 == 0 else 9)
        delivered = await store.append_message("ann", INBOX, content)
        print(delivered.uid, sys.argv[2], number, flush=True)

async def main():
    async with JSONFileStore(sys.argv[1]) as store, trio.open_nursery() as nursery:
        for task in range(4):
            nursery.start_soon(deliver, store, task)

trio.run(main)
"""


class Victim:
    """A process that delivers until it is killed, and what it said was accepted: contents by UID."""

    def __init__(self, path: Path, name: str) -> None:
        self._command = [sys.executable, "-c", WRITER, str(path), name]
        self._name = name
        self.accepted: dict[int, bytes] = {}

    async def run(self, kill_after: int) -> None:
        """Kill it when it has said so much."""
        said = bytearray()
        async with trio.open_nursery() as nursery:
            run = partial(trio.run_process, self._command, stdout=subprocess.PIPE, check=False)
            process = await nursery.start(run)
            assert isinstance(process, trio.Process)
            assert process.stdout is not None
            async for chunk in process.stdout:
                said += chunk
                if said.count(b"\n") >= kill_after:
                    process.kill()
            assert await process.wait() == -signal.SIGKILL
        for line in said.splitlines(keepends=True):
            if line.endswith(b"\n"):  # he may have died while saying it
                uid, name, number = line.split()
                assert name == self._name.encode()
                assert int(uid) not in self.accepted
                self.accepted[int(uid)] = content(self._name, int(number))


def content(name: str, number: int) -> bytes:
    return f"{name} {number} ".encode() + b"x" * (number * 37_000 % 400_000 if number % 5 == 0 else 9)


async def read(store: JSONFileStore, seen: dict[int, bytes]) -> None:
    """Look for new messages again and again; what was seen must stay as it is."""
    while True:
        for each in await store.list_messages("ann", INBOX, after=max(seen, default=0)):
            seen[each.uid] = (await store.get_message("ann", INBOX, each.uid)).content
        assert await store.count_messages("ann", INBOX) >= len(seen)
        await trio.lowlevel.checkpoint()


async def test_kill(folder: Path, thorough: bool) -> None:
    random = Random(7)
    path = folder / "mail"
    accepted: dict[int, bytes] = {}
    seen: dict[int, bytes] = {}
    async with JSONFileStore(path) as store:
        await store.create_account("ann")
        async with trio.open_nursery() as reading:
            reading.start_soon(read, store, seen)
            for turn in range(40 if thorough else 5):
                victims = [Victim(path, f"{name}{turn}") for name in ("one", "two")]
                async with trio.open_nursery() as dying:
                    for victim in victims:
                        dying.start_soon(victim.run, random.randint(1, 40))
                for victim in victims:
                    assert not accepted.keys() & victim.accepted.keys()
                    accepted |= victim.accepted
            reading.cancel_scope.cancel()
        assert store.damage == ()
    async with JSONFileStore(path) as store:
        listed = await store.list_messages("ann", INBOX)
        stored = {each.uid: (await store.get_message("ann", INBOX, each.uid)).content for each in listed}
        assert stored.items() >= accepted.items()
        assert stored.items() >= seen.items()
        assert len(set(stored.values())) == len(stored)
        assert store.damage == ()
        last = await store.append_message("ann", INBOX, b"last")
        assert last.uid > max(stored)
