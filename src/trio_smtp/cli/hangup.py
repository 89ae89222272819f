"""The signals that stop a server: SIGINT, SIGTERM and in some cases SIGHUP.

For a daemon SIGHUP means "read your files again", for other programs "your terminal is gone". Here it has the second
meaning if the server was started from a terminal that no longer exists. To let a server outlive its terminal, start it
with nohup(1), as any other program.
"""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import TypeAlias, TypeVar

import trio

from trio_smtp.server.nurseries import open_bare_nursery

__all__ = ["Stops", "stop_signals", "unless_stopped"]

_T = TypeVar("_T")

Stops: TypeAlias = Callable[[Callable[[], None]], AsyncIterator[int]]
"""A function that returns the signals that stop the server. It calls its argument at a SIGHUP that does not stop it."""


@contextmanager
def stop_signals() -> Generator[Stops]:
    """Receive SIGINT, SIGTERM and SIGHUP for the length of the block."""
    by_terminal = signal.getsignal(signal.SIGHUP) != signal.SIG_IGN and _has_terminal()
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        yield partial(_to_stop, signals, by_terminal)


async def unless_stopped(stops: Stops, task: Callable[[], Awaitable[_T]]) -> _T | None:
    """The result of the task; None if a signal that stops the server arrives first and cancels the task."""
    result: _T | None = None
    stopped = trio.Event()
    async with open_bare_nursery() as nursery:
        nursery.start_soon(_cancel_at, stops, nursery.cancel_scope, stopped)
        result = await task()
        nursery.cancel_scope.cancel()
    return None if stopped.is_set() else result


async def _cancel_at(stops: Stops, scope: trio.CancelScope, stopped: trio.Event) -> None:
    async for _ in stops(lambda: None):  # no files have been read yet, so a SIGHUP need not reload any
        stopped.set()  # even if the task completes at the same moment
        scope.cancel()


async def _to_stop(signals: AsyncIterator[int], by_terminal: bool, reload: Callable[[], None]) -> AsyncIterator[int]:
    told = False
    async for number in signals:
        if number != signal.SIGHUP:
            yield number
        elif not by_terminal or _has_terminal():
            reload()
        elif not told:
            told = True  # the kernel and the shell may both send SIGHUP; only the first one counts
            yield number


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
