"""A nursery for functions that hide their helper tasks from their callers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

__all__ = ["open_bare_nursery"]


@asynccontextmanager
async def open_bare_nursery() -> AsyncIterator[trio.Nursery]:
    """As `trio.open_nursery`, but a single exception is raised as it is, not in a group."""
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
            alone.__context__ = context  # the one it had before, instead of this group
