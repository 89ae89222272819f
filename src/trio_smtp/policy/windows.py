"""Count the events of many keys in a sliding window, in bounded memory and constant time.

Time is divided into spans of the window's length. For each key two counts are kept, of the current span and of the one
before. The estimate is the current count plus the share of the earlier count that the window still covers, as if those
events had been spread evenly. Its error is never more than the earlier count.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, Protocol

from trio_smtp._checks import check_type

__all__ = ["SlidingWindow", "Window"]


class Window(Protocol):
    """Counts the events of each key in a sliding window. See `SlidingWindow` for the methods."""

    def count(self, key: str, now: float) -> float: ...
    def take(self, key: str, now: float, most: float) -> bool: ...
    def add(self, key: str, now: float) -> None: ...


class SlidingWindow:
    """Counts the events of each key in the last `seconds`.

    When there are more than `max_keys` keys, the one without an event for the longest time is forgotten.

    Args:
        seconds: the length of the window.
        max_keys: how many keys are remembered, at about 250 octets each.

    Raises:
        TypeError: if one of them is not a number.
        ValueError: if `seconds` is not positive, or `max_keys` is less than 1, so that nothing would be counted.
    """

    __slots__ = ("_counts", "_max_keys", "_seconds")

    def __init__(self, seconds: float, max_keys: int = 50_000) -> None:
        check_type("seconds", seconds, int, float)
        check_type("max_keys", max_keys, int)
        if max_keys < 1 or not seconds > 0:
            raise ValueError("seconds must be greater than 0, and max_keys at least 1")
        self._seconds: Final = seconds
        self._max_keys: Final = max_keys
        # For each key: the number of a span, the count in it, the count in the span before.
        self._counts: Final[OrderedDict[Hashable, tuple[int, int, int]]] = OrderedDict()

    def __len__(self) -> int:
        """The number of keys that are remembered."""
        return len(self._counts)

    def count(self, key: Hashable, now: float) -> float:
        """The estimated number of events of `key` in the window that ends at `now`."""
        span, part = divmod(now, self._seconds)
        current, previous = self._at(key, int(span))
        return current + previous * (1 - part / self._seconds)

    def take(self, key: Hashable, now: float, most: float) -> bool:
        """Count one event, unless that would make more than `most`. Return whether it was counted."""
        if self.count(key, now) + 1 > most:
            return False
        self.add(key, now)
        return True

    def add(self, key: Hashable, now: float) -> None:
        """Count one event of `key` at `now`, in seconds of a monotonic clock."""
        span = int(now // self._seconds)
        current, previous = self._at(key, span)
        counts = self._counts
        counts[key] = span, current + 1, previous
        counts.move_to_end(key)
        if len(counts) > self._max_keys:
            counts.popitem(last=False)

    def _at(self, key: Hashable, span: int) -> tuple[int, int]:
        known, current, previous = self._counts.get(key, (span, 0, 0))
        if known == span:
            return current, previous
        return 0, current if known == span - 1 else 0
