"""`open_bare_nursery`: the exceptions that it raises."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio

from trio_smtp.server.nurseries import open_bare_nursery

Task = Callable[[], Awaitable[object]]


def raising(error: BaseException) -> Task:
    async def task() -> None:
        raise error

    return task


async def helped(block: Task, helper: Task) -> None:
    async with open_bare_nursery() as nursery:
        nursery.start_soon(helper)
        await block()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("error", [KeyError("a"), KeyboardInterrupt(), ExceptionGroup("of its own", [KeyError("a")])])
async def test_what_alone_goes_wrong_comes_out_as_it_was_raised(error: BaseException) -> None:
    error.__context__ = context = ValueError("before")
    for tasks in ((raising(error), trio.sleep_forever), (trio.sleep_forever, raising(error))):
        with pytest.raises(BaseException) as raised:  # noqa: PT011 - it is compared
            await helped(*tasks)
        assert repr(raised.value) == repr(error)  # not `is`: trio makes a new group of a group
        assert error.__context__ is context


async def test_nothing_takes_the_place_of_something_else() -> None:
    with pytest.RaisesGroup(KeyError, ValueError):
        await helped(raising(KeyError()), raising(ValueError()))


async def test_a_cancellation_passes_through() -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await helped(trio.sleep_forever, trio.sleep_forever)
    assert scope.cancelled_caught
    await helped(trio.lowlevel.checkpoint, trio.sleep_forever)
