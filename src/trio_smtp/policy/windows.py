"""Counting what many keys do in the last so many seconds, in bounded memory and constant time.

For each key two numbers are kept, of the current span of time and of the one before. What the last `seconds` saw is
taken to be the current number and that part of the earlier one that the window still covers, as if it had been spread
evenly. So the estimate can be off by what came unevenly, and is never off by more than one span's worth.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, Protocol

__all__ = ["SlidingWindow", "Window"]


class Window(Protocol):
    """What counts how much each key has done in the last so many seconds; `SlidingWindow` says what the methods do."""

    def count(self, key: str, now: float) -> float: ...
    def take(self, key: str, now: float, most: float) -> bool: ...
    def add(self, key: str, now: float) -> None: ...


class SlidingWindow:
    """How much each key has done in the last `seconds`.

    When there are more than `max_keys`, the one that has been quiet for longest is forgotten.

    Args:
        seconds: the length of the window.
        max_keys: how many are remembered, about 250 octets each.
    """

    __slots__ = ("_counts", "_max_keys", "_seconds")

    def __init__(self, seconds: float, max_keys: int = 50_000) -> None:
        self._seconds: Final = seconds
        self._max_keys: Final = max_keys
        self._counts: Final[OrderedDict[Hashable, tuple[int, int, int]]] = OrderedDict()  # span, in it, in the last

    def __len__(self) -> int:
        """How many keys are known."""
        return len(self._counts)

    def count(self, key: Hashable, now: float) -> float:
        """What `key` has done in the window that ends at `now`."""
        span, part = divmod(now, self._seconds)
        current, previous = self._at(key, int(span))
        return current + previous * (1 - part / self._seconds)

    def take(self, key: Hashable, now: float, most: float) -> bool:
        """Count one more, unless that makes more than `most`; whether it was counted."""
        span, part = divmod(now, self._seconds)
        current, previous = self._at(key, int(span))
        if current + previous * (1 - part / self._seconds) + 1 > most:
            return False
        self._keep(key, (int(span), current + 1, previous))
        return True

    def add(self, key: Hashable, now: float) -> None:
        """Count what `key` does at `now`, in seconds of a clock that does not go back."""
        span = int(now // self._seconds)
        current, previous = self._at(key, span)
        self._keep(key, (span, current + 1, previous))

    def _keep(self, key: Hashable, counts_of_key: tuple[int, int, int]) -> None:
        counts = self._counts
        counts[key] = counts_of_key
        counts.move_to_end(key)
        if len(counts) > self._max_keys:
            counts.popitem(last=False)

    def _at(self, key: Hashable, span: int) -> tuple[int, int]:
        known, current, previous = self._counts.get(key, (span, 0, 0))
        if known == span:
            return current, previous
        return 0, current if known == span - 1 else 0
