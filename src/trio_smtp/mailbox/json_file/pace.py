"""How background work leaves the GIL to the event loop.

CPython takes the GIL from a thread only after 5 ms. An event loop asks for it after every system call, and may have to
wait that long each time, so a busy loop loses 5 ms several times in a turn. It is not enough that the background thread
releases the GIL now and then: it gets it back before another thread is awake. So work that may take long has to sleep.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Pace"]

T = TypeVar("T")

_WORK = _REST = 0.001  # seconds


class Pace:
    """One piece of work, by one thread."""

    def __init__(self) -> None:
        self._rested = time.perf_counter()

    def over(self, items: Iterable[T]) -> Iterator[T]:
        """Yield the items, each of which causes little work, and sleep now and then."""
        for item in items:
            if time.perf_counter() - self._rested > _WORK:
                time.sleep(_REST)
                self._rested = time.perf_counter()
            yield item
