"""`Portal`, which runs trio for synchronous code: results, exceptions, and a run that cannot start or has ended."""

from __future__ import annotations

import errno

import pytest
import trio

from trio_smtp.testing.portal import Portal


async def double(number: int) -> int:
    return 2 * number


async def fail() -> None:
    raise LookupError


def test_what_a_function_returns_and_raises_comes_back() -> None:
    with Portal() as portal:
        assert portal.run(double, 21) == 42
        with pytest.raises(LookupError):
            portal.run(fail)
    with pytest.raises(trio.RunFinishedError):
        portal.run(double, 21)


def test_trio_that_cannot_start_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(trio, "run", run)
    with pytest.raises(OSError, match="Too many open files"), Portal():
        pass


def test_a_call_returns_when_what_it_started_is_blocked_or_done() -> None:
    done = list[bool]()

    async def work() -> None:
        for _ in range(1000):
            await trio.lowlevel.checkpoint()
        done.append(True)

    async def start() -> None:
        trio.lowlevel.spawn_system_task(work)

    with Portal() as portal:
        portal.run(start)
        assert done == [True]
