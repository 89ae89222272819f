"""Trio for code that is not async: a state machine of Hypothesis calls it step by step."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self, TypeVar, TypeVarTuple

import trio
import trio.testing

__all__ = ["Portal"]

R = TypeVar("R")
Ts = TypeVarTuple("Ts")


class Portal:
    """One `trio.run` in a thread, for as long as the `with` block lasts."""

    def __enter__(self) -> Self:
        started = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._main, started))
        self._thread.start()
        started.wait()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        trio.from_thread.run_sync(self._stop.set, trio_token=self._token)
        self._thread.join()

    async def _main(self, started: threading.Event) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._stop = trio.Event()
        started.set()
        await self._stop.wait()

    def run(self, function: Callable[[*Ts], Awaitable[R]], *args: *Ts) -> R:
        """Call an async function and return when everything that it set in motion has come to rest."""

        async def step() -> R:
            try:
                return await function(*args)
            finally:
                await trio.testing.wait_all_tasks_blocked()  # noqa: ASYNC102 - nothing cancels a step

        return trio.from_thread.run(step, trio_token=self._token)
