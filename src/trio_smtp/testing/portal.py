"""Trio for code that is not async: a server for its tests, a state machine of Hypothesis that calls it step by step."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Self, TypeVar, TypeVarTuple

import trio
import trio.testing

__all__ = ["Portal"]

R = TypeVar("R")
Ts = TypeVarTuple("Ts")


class Portal:
    """One `trio.run` in a thread, for as long as the `with` block lasts.

    Args:
        main: runs there meanwhile; cancelled at the end of the block.
    """

    def __init__(self, main: Callable[[], Awaitable[object]] = trio.sleep_forever) -> None:
        self._main = main

    def __enter__(self) -> Self:
        self._scope = trio.CancelScope()
        started = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._run, started))
        self._thread.start()
        started.wait()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with suppress(trio.RunFinishedError):  # it has failed, as the thread has told
            self._token.run_sync_soon(self._scope.cancel)  # also from a thread in which another trio runs
        self._thread.join()

    async def _run(self, started: threading.Event) -> None:
        self._token = trio.lowlevel.current_trio_token()
        started.set()
        with self._scope:
            await self._main()

    def run(self, function: Callable[[*Ts], Awaitable[R]], *args: *Ts) -> R:
        """Call an async function and return when everything that it set in motion has come to rest."""

        async def step() -> R:
            try:
                return await function(*args)
            finally:
                await trio.testing.wait_all_tasks_blocked()  # noqa: ASYNC102 - nothing cancels a step

        return trio.from_thread.run(step, trio_token=self._token)
