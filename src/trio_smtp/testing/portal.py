"""Run trio for code that is not async: a server in a synchronous test, or the steps of a Hypothesis state machine."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress
from types import TracebackType
from typing import Self, TypeVar, TypeVarTuple

import trio
import trio.testing

__all__ = ["Portal"]

R = TypeVar("R")
Ts = TypeVarTuple("Ts")


class Portal:
    """Runs `trio.run` in a thread for the length of the `with` block.

    Args:
        main: an async function that runs there; it is cancelled at the end of the block.

    Raises:
        OSError, RuntimeError: on entering the block, if trio or its thread cannot start.
    """

    def __init__(self, main: Callable[[], Awaitable[object]] = trio.sleep_forever) -> None:
        self._main = main

    def __enter__(self) -> Self:
        self._scope = trio.CancelScope()
        started: Future[trio.lowlevel.TrioToken] = Future()
        self._thread = threading.Thread(target=self._work, args=(started,))
        self._thread.start()
        self._token = started.result()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with suppress(trio.RunFinishedError):  # `main` has failed, and the thread has printed its traceback
            self._token.run_sync_soon(self._scope.cancel)  # this thread may itself be inside another `trio.run`
        self._thread.join()

    def _work(self, started: Future[trio.lowlevel.TrioToken]) -> None:
        try:
            trio.run(self._run, started)
        except Exception as error:
            if started.done():
                raise
            started.set_exception(error)  # trio could not start: the machine has no descriptors left, for example

    async def _run(self, started: Future[trio.lowlevel.TrioToken]) -> None:
        started.set_result(trio.lowlevel.current_trio_token())
        with self._scope:
            await self._main()

    def run(self, function: Callable[[*Ts], Awaitable[R]], *args: *Ts) -> R:
        """Call an async function in the thread. Return when it has returned and all tasks there are blocked."""

        async def step() -> R:
            try:
                return await function(*args)
            finally:
                await trio.testing.wait_all_tasks_blocked()  # noqa: ASYNC102 - nothing cancels a step

        return trio.from_thread.run(step, trio_token=self._token)
