"""A nursery for a block that people see as one task, though others help it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

__all__ = ["open_bare_nursery"]


@asynccontextmanager
async def open_bare_nursery() -> AsyncIterator[trio.Nursery]:
    """As `trio.open_nursery`; but what alone goes wrong in it comes out as it was raised, not in a group."""
    try:
        async with trio.open_nursery() as nursery:
            yield nursery
    except BaseExceptionGroup as group:
        alone, *others = group.exceptions
        if others:
            raise
        context = alone.__context__
        try:
            raise alone
        finally:
            alone.__context__ = context  # that which it had, and neither this group nor what was cancelled for it
