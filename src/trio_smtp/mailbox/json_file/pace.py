"""How work in the background gives way to the event loop, which needs the interpreter that both share.

CPython takes it from a thread after 5 ms. That is how late a loop may be each time it asks for it, which is with every
call that it makes of the system, so a busy one loses that several times in a turn; and to let go of it in between is
not enough, for the thread that does so has it back before another one is awake. So work that may take long rests.
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
        """Give these one by one, each the cause of little work, and rest now and then."""
        for item in items:
            if time.perf_counter() - self._rested > _WORK:
                time.sleep(_REST)
                self._rested = time.perf_counter()
            yield item
