"""Measure whether a large store is slower than a small one: ``python -m bench.store``, or ``nox -s bench -- store``.

One store with 1,000 accounts has 100,000 messages of 4 KB, half of them in one INBOX. Another one has 100 messages.

1. *Opening*, in a separate process: the seconds until the accounts are listed (limit: 3) and the peak resident memory
   (limit: 150 MiB). It is measured with the snapshot that closing the store writes, as for a server, and without one.
2. *The cost of an operation*: deliver a message, list the last 50, fetch one, delete one, in both stores in turn.
   Compared are the medians over all tries. The limit is a ratio of 1.5, which leaves room for the noise of a disk.
3. *Compaction in the background*: a tenth of the messages is deleted. During the compaction one task repeatedly sleeps
   for a millisecond, to measure how late it wakes up (limit for the maximum: 20 ms), and another one delivers messages,
   to measure the median and the maximum time. For comparison the same is measured without a compaction, because other
   processes and the disk also delay tasks, and beside a thread that only counts, because CPython switches threads every
   5 ms, whatever the background work is.

With ``--check`` the exit code is 1 if a limit is exceeded. ``--messages`` and ``--tries`` change the size.
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
    """The account for the message with this number: the first one if it is even, else the odd accounts in turn."""
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
    """The measured operations, on the largest mailbox of a store."""

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
                    if number >= 10:  # the first tries are for warming up
                        spent.append(seconds)
    for what, (of_small, of_large) in times.items():
        few, many = statistics.median(of_small), statistics.median(of_large)
        name = what.replace("_", " ")
        print(f"  {name:<22}{few * 1e3:.2f} ms, {many * 1e3:.2f} ms: ratio {many / few:.2f}")
        if many / few > LIMIT_RATIO:
            broken.append(f"{name}: {many / few:.2f} times the cost in a large store, the limit is {LIMIT_RATIO}")
    return broken


class Pauses:
    """Measures how late a task wakes up that sleeps for a millisecond, and how long a delivery takes."""

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
        """Print what was measured since the last call, and return the longest delay in seconds."""
        late, self._late = sorted(each * 1e3 for each in self._late), []
        delivered, self._delivered = sorted(each * 1e3 for each in self._delivered), []
        print(f"  {when:<22}the loop is late by {late[len(late) * 99 // 100]:.1f} ms (p99), {late[-1]:.1f} (most)")
        print(
            f"  {'':<22}a delivery takes {delivered[len(delivered) // 2]:.1f} ms (median), {delivered[-1]:.1f} (most)"
        )
        return late[-1] / 1e3


@contextmanager
def counting() -> Iterator[None]:
    """Run a thread that computes until the block ends."""
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
