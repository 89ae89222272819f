"""Several real processes on one store, some of which are killed."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest
import trio

from trio_smtp.mailbox.json_file import JSONFileStore
from trio_smtp.mailbox.store import INBOX

# Delivers messages, several at a time, and says of each with which UID it was accepted. With a number it kills itself
# at the call of that number, half a write included.
WORKER = """
import os, signal, sys
import trio
from trio_smtp.mailbox.json_file import JSONFileStore, files
from trio_smtp.mailbox.store import INBOX

path, name, messages, kill_at = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])

class System:
    calls = 0

    def __getattr__(self, call):
        real = getattr(os, call)
        if call not in ("pwrite", "fdatasync", "fsync", "rename", "unlink", "mkdir"):
            return real

        def function(*args, **keywords):
            self.calls += 1
            if self.calls == kill_at:
                if call == "pwrite":
                    os.pwrite(args[0], args[1][: len(args[1]) // 2], args[2])
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **keywords)

        return function

async def deliver(store, number):
    content = f"{name} {number}".encode() + b"x" * (300_000 if number % 3 == 2 else 0)
    delivered = await store.append_message("ann", INBOX, content)
    os.write(1, b"%d %d\\n" % (delivered.uid, number))

async def main():
    files.os = System()
    async with JSONFileStore(path) as store, trio.open_nursery() as nursery:
        if not await store.list_accounts():
            await store.create_account("ann")
        for number in range(messages):
            nursery.start_soon(deliver, store, number)

trio.run(main)
"""


async def work(path: Path, name: str, messages: int, *, kill_at: int = 0) -> dict[int, bytes]:
    """Run a worker to its end; what it was told was accepted."""
    command = [sys.executable, "-c", WORKER, str(path), name, str(messages), str(kill_at)]
    done = await trio.run_process(command, capture_stdout=True, check=False)
    assert done.returncode == (-signal.SIGKILL if kill_at else 0)
    accepted: dict[int, bytes] = {}
    for line in done.stdout.splitlines():
        uid, number = map(int, line.split())
        assert uid not in accepted
        accepted[uid] = content(name, number)
    return accepted


def content(name: str, number: int) -> bytes:
    return f"{name} {number}".encode() + b"x" * (300_000 if number % 3 == 2 else 0)


async def contents(store: JSONFileStore) -> dict[int, bytes]:
    listed = await store.list_messages("ann", INBOX)
    return {each.uid: (await store.get_message("ann", INBOX, each.uid)).content for each in listed}


async def test_two_at_once(path: Path) -> None:
    async with JSONFileStore(path) as store:
        await store.create_account("ann")
        accepted: list[dict[int, bytes]] = []

        async def run(name: str) -> None:
            accepted.append(await work(path, name, 30))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, "one")
            nursery.start_soon(run, "two")
            uid = (await store.append_message("ann", INBOX, b"three")).uid
        one, two = accepted
        assert len(one) == len(two) == 30
        assert await contents(store) == one | two | {uid: b"three"}


@pytest.mark.parametrize("kill_at", range(1, 14))
async def test_one_is_killed(path: Path, kill_at: int) -> None:
    """Nothing that was accepted is lost, no UID is given twice, and the others go on."""
    async with JSONFileStore(path) as store:
        await store.create_account("ann")
        first = (await store.append_message("ann", INBOX, b"first")).uid
        accepted = await work(path, "victim", 9, kill_at=kill_at) | {first: b"first"}
        seen = await contents(store)
        assert seen.items() >= accepted.items()
        last = (await store.append_message("ann", INBOX, b"last")).uid
        assert last not in seen
        now = await contents(store)
        assert now == seen | {last: b"last"}
        sent = [b"first", b"last", *(content("victim", number) for number in range(9))]
        assert all(body in sent for body in now.values())
        assert len(set(now.values())) == len(now)
    async with JSONFileStore(path) as again:
        assert await contents(again) == now
        assert again.damage == ()


@pytest.mark.parametrize("kill_at", range(1, 13))
async def test_one_is_killed_who_makes_the_store(path: Path, kill_at: int) -> None:
    """What is left is a store, or can become one."""
    assert await work(path, "victim", 1, kill_at=kill_at) == {}
    assert list(await work(path, "next", 1)) == [1]
