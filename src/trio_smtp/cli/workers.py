"""``trio-smtp serve --workers N``: the parent of the workers.

It has bound the sockets, and each worker accepts from the same ones. (With SO_REUSEPORT each would have its own, and a
worker that dies would take the connections in its queue with it.) The parent takes no mail. It starts another worker
for each that ends, sooner or later: who dies young waits, each time twice as long as the last time.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, Protocol

import trio

from trio_smtp.cli.control import CUT_OFF, DRAIN, Assignment, Control, unpacked_stats
from trio_smtp.cli.errors import reason
from trio_smtp.server import Stats

__all__ = ["Supervisor", "Worker", "started_worker"]

log = logging.getLogger("trio_smtp")

_FIRST_PAUSE: Final = 0.1  # seconds before a worker is started again
_LONGEST_PAUSE: Final = 30
_LONG_LIFE: Final = 60  # seconds after which the pauses begin anew


class Worker(Protocol):
    """A worker that has been started."""

    @property
    def pid(self) -> int:
        """Its process."""
        ...

    def reports(self) -> AsyncIterator[Stats]:
        """What it has counted, from when it takes mail until it ends."""
        ...

    async def wait(self) -> int:
        """Its exit code, when it has ended; negative for a signal."""
        ...

    def tell(self, order: bytes) -> None:
        """Give it an order."""
        ...

    def kill(self) -> None:
        """End it."""
        ...


class Supervisor:
    """Keeps so many workers at work.

    Args:
        count: how many.
        start: starts the one with this number, from 0 on; what fails for want of resources is tried again.
        forget: is told the number of one that has ended.
    """

    def __init__(
        self, count: int, start: Callable[[int], Awaitable[Worker]], forget: Callable[[int], None] = lambda _: None
    ) -> None:
        self._numbers = range(count)
        self._start = start
        self._forget = forget
        self._starting = trio.Lock()
        self._draining = trio.Event()
        self._workers: dict[int, Worker] = {}
        self._stats: dict[int, Stats] = {}  # of those at work
        self._ended = Stats()  # of those before them
        self._unsettled = set(self._numbers)
        self.settled: Final = trio.Event()
        """Set when each has taken mail, or has failed for the first time."""

    @property
    def stats(self) -> Stats:
        """What all workers have counted, as far as they have told."""
        return sum(self._stats.values(), self._ended)

    async def run(self) -> None:
        """Returns when `drain` was called and all have ended."""
        async with trio.open_nursery() as nursery:
            for number in self._numbers:
                nursery.start_soon(self._keep, number)

    def tell(self, order: bytes) -> None:
        """Give an order to all."""
        for worker in self._workers.values():
            worker.tell(order)

    async def drain(self) -> None:
        """Let all finish, and start no more. Returns when their sockets are needed here no longer."""
        self._draining.set()
        self.tell(DRAIN)
        async with self._starting:
            pass

    def cut_off(self) -> None:
        """After `drain`: let them finish no more than what is being committed."""
        self.tell(CUT_OFF)

    def kill(self) -> None:
        """After `drain`: let them finish nothing."""
        for worker in self._workers.values():
            worker.kill()

    async def _keep(self, number: int) -> None:
        pause = _FIRST_PAUSE
        while not self._draining.is_set():
            began = trio.current_time()
            how = await self._run_one(number)
            self._settle(number)
            if self._draining.is_set():
                return
            if trio.current_time() - began >= _LONG_LIFE:
                pause = _FIRST_PAUSE
            log.warning("worker %d %s; another one starts in %g s", number + 1, how, pause)
            with trio.move_on_after(pause):
                await self._draining.wait()
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _run_one(self, number: int) -> str:
        """Start a worker and be with it to its end; how it came to that."""
        async with self._starting:
            if self._draining.is_set():
                return "is not needed"
            try:
                worker = await self._start(number)
            except (OSError, RuntimeError, MemoryError) as error:  # the second if there is no thread to be had
                return f"cannot be started: {reason(error)}"
            self._workers[number] = worker
        if self._draining.is_set():  # since it was asked for
            worker.tell(DRAIN)
        try:
            async for stats in worker.reports():
                if number not in self._stats:
                    log.info("worker %d takes mail (process %d)", number + 1, worker.pid)
                    self._settle(number)
                self._stats[number] = stats
            return _ending(await worker.wait())
        finally:
            del self._workers[number]
            self._ended += self._stats.pop(number, Stats())
            self._forget(number)

    def _settle(self, number: int) -> None:
        self._unsettled.discard(number)
        if not self._unsettled:
            self.settled.set()


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    return f"was ended by signal {-code} ({signal.strsignal(-code)})"


async def started_worker(assignment: Assignment) -> Worker:
    """Start a worker in a process of its own, in a process group of its own, so that Ctrl-C is for the parent.

    It finds its modules where this process does.

    Raises:
        OSError: if the system does not let us.
    """
    ours, theirs = socket.socketpair()
    control = Control(ours)
    with theirs:
        try:
            process = await trio.lowlevel.open_process(
                [sys.executable, "-P", *(f"-W{each}" for each in sys.warnoptions), "-m", "trio_smtp.cli.worker"],
                stdin=theirs,
                pass_fds=assignment.descriptors,
                process_group=0,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )
        except BaseException:
            control.close()
            raise
    await control.send(assignment.packed())
    return _Process(process, control)


class _Process:
    def __init__(self, process: trio.Process, control: Control) -> None:
        self._process = process
        self._control = control
        self.pid: Final = process.pid
        self.tell: Final = control.tell
        self.kill: Final = process.kill

    async def reports(self) -> AsyncIterator[Stats]:
        async for line in self._control:
            yield unpacked_stats(line)

    async def wait(self) -> int:
        code = await self._process.wait()
        self._control.close()
        return code
