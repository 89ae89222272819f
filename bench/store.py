"""Measures whether a large store costs more than a small one: ``python -m bench.store``, or ``nox -s bench -- store``.

A store with 1,000 accounts is filled with 100,000 messages of 4 KB, half of them in one INBOX, and another with 100.

1. *Opening*, in a process of its own: the seconds until the accounts are listed (limit: 3) and the most memory that was
   resident (limit: 150 MiB); with the snapshot that closing leaves, which is what a server meets, and for comparison
   without one.
2. *What an operation costs*: to deliver a message, to list the last 50, to fetch one and to delete one, in either store
   in turns, the median over so many tries. The limit is a ratio of 1.5, which leaves room for the noise of a disk.
3. *Compaction in the background*: a tenth of the messages is deleted, and while the store is compacted a task sleeps a
   millisecond again and again: how late it wakes up (the most; limit: 20 ms); and another one delivers: how long that
   takes, at most and in the median. Beside it the same without a compaction, for other processes and the disk make
   tasks late, too; and beside a thread that does nothing but count, which is what CPython makes of any work in the
   background (it takes the interpreter from a thread after 5 ms).

With ``--check`` the exit code is 1 if a limit is not kept. ``--messages`` and ``--tries`` make it smaller or larger.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import trio

from bench.options import add_check, conclude, machine
from trio_smtp.mailbox.json_file import JSONFileStore
from trio_smtp.mailbox.json_file.snapshot import SNAPSHOT
from trio_smtp.mailbox.store import INBOX

ACCOUNTS, FEW = 1000, 100
AT_ONCE = 64  # deliveries while a store is filled
CONTENT = (b"From: ann@example.com\r\nTo: bob@example.com\r\nSubject: measured\r\n\r\n" + b"x" * 70 + b"\r\n").ljust(
    4096, b"y"
)
LAST = 50
LIMIT_OPEN, LIMIT_MEMORY, LIMIT_RATIO, LIMIT_PAUSE = 3.0, 150.0, 1.5, 0.020  # seconds, MiB, -, seconds

OPEN = f"""
import json, pathlib, re, sys, time, trio
from trio_smtp.mailbox.json_file import JSONFileStore
async def main():
    start = time.perf_counter()
    store = JSONFileStore(sys.argv[1], create=False)
    assert len(await store.list_accounts()) == {ACCOUNTS}
    seconds = time.perf_counter() - start
    peak = int(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1]) / 1024
    print(json.dumps([seconds, peak]))
trio.run(main)
"""


def owner(number: int) -> str:
    """Who gets the message with this number: the first account every second one, the others take turns."""
    return f"user{number % ACCOUNTS if number % 2 else 0}"


async def fill(path: Path, messages: int) -> None:
    async with JSONFileStore(path) as store:
        for number in range(ACCOUNTS):
            await store.create_account(f"user{number}", addresses=[f"user{number}@example.com"])
        numbers = iter(range(messages))

        async def deliver() -> None:
            for number in numbers:
                await store.append_message(owner(number), INBOX, CONTENT)

        async with trio.open_nursery() as nursery:
            for _ in range(AT_ONCE):
                nursery.start_soon(deliver)


def measure_opening(path: Path, what: str) -> tuple[float, float]:
    output = subprocess.run([sys.executable, "-c", OPEN, str(path)], check=True, capture_output=True).stdout
    seconds, peak = json.loads(output)
    print(f"  {what:<22}{seconds:.2f} s, {peak:.0f} MiB")
    return seconds, peak


def check_opening(path: Path) -> Iterator[str]:
    seconds, peak = measure_opening(path, "open")
    if seconds > LIMIT_OPEN:
        yield f"opening takes {seconds:.2f} s, the limit is {LIMIT_OPEN:.0f}"
    if peak > LIMIT_MEMORY:
        yield f"opening takes {peak:.0f} MiB, the limit is {LIMIT_MEMORY:.0f}"
    (path / SNAPSHOT).rename(path / "set-aside")
    measure_opening(path, "open without snapshot")
    (path / "set-aside").rename(path / SNAPSHOT)


class Measured:
    """A store, and the operations on its largest mailbox that are measured."""

    def __init__(self, store: JSONFileStore) -> None:
        self._store = store
        self._uid = 0

    async def deliver(self) -> None:
        self._uid = (await self._store.append_message(owner(0), INBOX, CONTENT)).uid

    async def list_last(self) -> None:
        after = self._uid - LAST
        assert await self._store.list_messages(owner(0), INBOX, after=after, limit=LAST)

    async def fetch(self) -> None:
        await self._store.get_message(owner(0), INBOX, self._uid)

    async def delete(self) -> None:
        await self._store.delete_message(owner(0), INBOX, self._uid)


async def timed(function: Callable[[], Awaitable[object]]) -> float:
    start = time.perf_counter()
    await function()
    return time.perf_counter() - start


async def check_operations(small_path: Path, large_path: Path, tries: int) -> list[str]:
    broken: list[str] = []
    async with JSONFileStore(small_path) as small_store, JSONFileStore(large_path) as large_store:
        small, large = Measured(small_store), Measured(large_store)
        times: dict[str, tuple[list[float], list[float]]] = {
            what: ([], []) for what in ("deliver", "list_last", "fetch", "delete")
        }
        for number in range(tries + 10):
            for what, (of_small, of_large) in times.items():
                for store, spent in [(small, of_small), (large, of_large)][:: 1 if number % 2 else -1]:
                    seconds = await timed(getattr(store, what))
                    if number >= 10:  # warm by now
                        spent.append(seconds)
    for what, (of_small, of_large) in times.items():
        few, many = statistics.median(of_small), statistics.median(of_large)
        name = what.replace("_", " ")
        print(f"  {name:<22}{few * 1e3:.2f} ms, {many * 1e3:.2f} ms: ratio {many / few:.2f}")
        if many / few > LIMIT_RATIO:
            broken.append(f"{name}: {many / few:.2f} times the cost in a large store, the limit is {LIMIT_RATIO}")
    return broken


class Pauses:
    """How late a task wakes up that sleeps for a millisecond, and how long a delivery takes."""

    def __init__(self, store: JSONFileStore) -> None:
        self._store = store
        self._late: list[float] = []
        self._delivered: list[float] = []

    async def sleep(self) -> None:
        while True:
            self._late.append(await timed(partial(trio.sleep, 0.001)) - 0.001)

    async def deliver(self) -> None:
        while True:
            self._delivered.append(await timed(partial(self._store.append_message, owner(1), INBOX, CONTENT)))
            await trio.sleep(0.005)

    def take(self, when: str) -> float:
        """Print what was since the last time, and return how late the task was at most."""
        late, self._late = sorted(each * 1e3 for each in self._late), []
        delivered, self._delivered = sorted(each * 1e3 for each in self._delivered), []
        print(f"  {when:<22}the loop is late by {late[len(late) * 99 // 100]:.1f} ms (p99), {late[-1]:.1f} (most)")
        print(
            f"  {'':<22}a delivery takes {delivered[len(delivered) // 2]:.1f} ms (median), {delivered[-1]:.1f} (most)"
        )
        return late[-1] / 1e3


@contextmanager
def counting() -> Iterator[None]:
    """A thread computes for the length of the block."""
    ended = False

    def count() -> None:
        number = 0
        while not ended:
            number += 1

    thread = threading.Thread(target=count)
    thread.start()
    try:
        yield
    finally:
        ended = True
        thread.join()


async def check_compaction(path: Path, messages: int) -> list[str]:
    async with JSONFileStore(path) as store, trio.open_nursery() as nursery:
        for number, summary in enumerate(await store.list_messages(owner(0), INBOX)):
            if number >= messages // 10:
                break
            await store.delete_message(owner(0), INBOX, summary.uid)
        gc.collect()
        gc.freeze()  # as `trio-smtp serve` does
        pauses = Pauses(store)
        nursery.start_soon(pauses.sleep)
        nursery.start_soon(pauses.deliver)
        await trio.sleep(3)
        pauses.take("no compaction")
        with counting():
            await trio.sleep(3)
        pauses.take("a thread that counts")
        seconds = await timed(store.compact)
        most = pauses.take(f"compaction, {seconds:.0f} s")
        nursery.cancel_scope.cancel()
    if most > LIMIT_PAUSE:
        return [f"compaction: the loop is late by {most * 1e3:.1f} ms, the limit is {LIMIT_PAUSE * 1e3:.0f}"]
    return []


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.store", description="Measure large stores.")
    parser.add_argument("--messages", type=int, default=100_000, help="in the large store (default: %(default)s)")
    parser.add_argument("--tries", type=int, default=200, help="of each operation (default: %(default)s)")
    add_check(parser)
    arguments = parser.parse_args()

    print(f"{machine()}, {arguments.messages} messages against {FEW}")
    with tempfile.TemporaryDirectory() as folder:
        small, large = Path(folder, "small"), Path(folder, "large")
        trio.run(fill, small, FEW)
        start = time.perf_counter()
        trio.run(fill, large, arguments.messages)
        print(f"  {'fill':<22}{time.perf_counter() - start:.1f} s, {AT_ONCE} deliveries at once")
        broken = list(check_opening(large))
        broken += trio.run(check_operations, small, large, arguments.tries)
        broken += trio.run(check_compaction, large, arguments.messages)
    conclude(broken, check=arguments.check)


if __name__ == "__main__":
    main()
