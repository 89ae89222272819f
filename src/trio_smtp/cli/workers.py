"""``trio-smtp serve --workers N``: the parent of the workers.

The parent binds the sockets, and all workers accept connections from them. (With SO_REUSEPORT each worker would have
its own sockets, and if it died, the connections in their queues would be lost.) The parent accepts no mail. It replaces
each worker that ends. If workers end soon after their start, the pause before the next start doubles each time.
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
_LONG_LIFE: Final = 60  # a worker that lived for so many seconds resets the pause


class Worker(Protocol):
    """A worker that has been started."""

    @property
    def pid(self) -> int:
        """The process ID of the worker."""
        ...

    def reports(self) -> AsyncIterator[Stats]:
        """The counters of the worker, from when it accepts mail until it ends."""
        ...

    async def wait(self) -> int:
        """Wait until the worker ends and return its exit code, or the negative number of the signal that ended it."""
        ...

    def tell(self, order: bytes) -> None:
        """Send an order to the worker."""
        ...

    def kill(self) -> None:
        """Kill the worker."""
        ...


class Supervisor:
    """Keeps `count` workers running.

    Args:
        count: the number of workers.
        start: starts the worker with this number, from 0 on. If it fails for lack of resources, it is tried again.
        forget: called with the number of a worker that has ended.
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
        self._stats: dict[int, Stats] = {}  # of the running workers
        self._ended = Stats()  # of the workers that have ended
        self._unsettled = set(self._numbers)
        self.settled: Final = trio.Event()
        """Set when each worker accepts mail, or has failed for the first time; not after `drain`."""

    @property
    def stats(self) -> Stats:
        """The sum of the counters that all workers have reported so far."""
        return sum(self._stats.values(), self._ended)

    async def run(self) -> None:
        """Run the workers until `drain` was called and all of them have ended."""
        async with trio.open_nursery() as nursery:
            for number in self._numbers:
                nursery.start_soon(self._keep, number)

    def tell(self, order: bytes) -> None:
        """Send an order to all workers."""
        for worker in self._workers.values():
            worker.tell(order)

    async def drain(self) -> None:
        """Drain all workers and start no more. Return when the parent no longer needs the sockets."""
        self._draining.set()
        self.tell(DRAIN)
        async with self._starting:
            pass

    def cut_off(self) -> None:
        """After `drain`: cut all workers off. They only finish commits in progress."""
        self.tell(CUT_OFF)

    def kill(self) -> None:
        """After `drain`: kill all workers."""
        for worker in self._workers.values():
            worker.kill()

    async def _keep(self, number: int) -> None:
        pause = _FIRST_PAUSE
        while not self._draining.is_set():
            began = trio.current_time()
            how = await self._run_one(number)
            if self._draining.is_set():
                return
            self._settle(number)
            if trio.current_time() - began >= _LONG_LIFE:
                pause = _FIRST_PAUSE
            log.warning("worker %d %s; another one starts in %g s", number + 1, how, pause)
            with trio.move_on_after(pause):
                await self._draining.wait()
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _run_one(self, number: int) -> str:
        """Start a worker, wait for its end, and return how it ended."""
        async with self._starting:
            if self._draining.is_set():
                return "is not needed"
            try:
                worker = await self._start(number)
            except (OSError, RuntimeError, MemoryError) as error:  # RuntimeError: no thread can be started
                return f"cannot be started: {reason(error)}"
            self._workers[number] = worker
        if self._draining.is_set():  # `drain` was called during the start, when `tell` could not reach this worker
            worker.tell(DRAIN)
        try:
            async for stats in worker.reports():
                if number not in self._stats and not self._draining.is_set():
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
    """Start a worker process in its own process group, so that Ctrl-C reaches only the parent.

    It has the same module search path as this process.

    Raises:
        OSError: if the process cannot be started.
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
