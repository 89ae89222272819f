"""The signals that stop a server, and the one that may: SIGHUP.

To a daemon that says "read your files again", to everything else "your terminal is gone". It is the second if the
terminal that the server was started from is no longer there. Who wants a server to outlive its terminal starts it by
nohup(1), as any other program.
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
"""Called with what to do at a SIGHUP that does not stop the server; the signals that do."""


@contextmanager
def stop_signals() -> Generator[Stops]:
    """Receive SIGINT, SIGTERM and SIGHUP for the length of the block."""
    by_terminal = signal.getsignal(signal.SIGHUP) != signal.SIG_IGN and _has_terminal()
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        yield partial(_to_stop, signals, by_terminal)


async def unless_stopped(stops: Stops, task: Callable[[], Awaitable[_T]]) -> _T | None:
    """What the task returns; None if a signal that stops the server came before, which cancels it."""
    result: _T | None = None
    stopped = trio.Event()
    async with open_bare_nursery() as nursery:
        nursery.start_soon(_cancel_at, stops, nursery.cancel_scope, stopped)
        result = await task()
        nursery.cancel_scope.cancel()
    return None if stopped.is_set() else result


async def _cancel_at(stops: Stops, scope: trio.CancelScope, stopped: trio.Event) -> None:
    async for _ in stops(lambda: None):  # there are no files yet that could be read again
        stopped.set()  # though the task may be through in the same moment
        scope.cancel()


async def _to_stop(signals: AsyncIterator[int], by_terminal: bool, reload: Callable[[], None]) -> AsyncIterator[int]:
    told = False
    async for number in signals:
        if number != signal.SIGHUP:
            yield number
        elif not by_terminal or _has_terminal():
            reload()
        elif not told:
            told = True  # the kernel says it, and perhaps the shell as well
            yield number


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
