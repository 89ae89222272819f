"""The settings of the garbage collector in a process that serves."""

from __future__ import annotations

import gc
from functools import partial

import trio

from trio_smtp.cli import serving
from trio_smtp.handler import Handler
from trio_smtp.server import serve_smtp


async def test_the_garbage_collector_is_left_as_it_was() -> None:
    before, frozen = gc.get_threshold(), gc.get_freeze_count()  # Python 3.12 starts with some frozen objects
    meanwhile = list[tuple[int, bool]]()

    async def look() -> None:
        await trio.lowlevel.checkpoint()
        meanwhile.append((gc.get_threshold()[0], gc.get_freeze_count() > frozen))

    with trio.fail_after(5):
        await serving.run([partial(serve_smtp, Handler, 0)], look, trio.sleep_forever)
    assert meanwhile == [(10_000, True)]
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0
