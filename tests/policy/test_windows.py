"""Sliding windows: what they count, and that they stay small."""

from __future__ import annotations

import math
import tracemalloc
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_smtp.policy import SlidingWindow


def test_what_was_done_is_counted_until_the_window_has_moved_on() -> None:
    window = SlidingWindow(60)
    for now in (1000.0, 1010.0, 1019.0):
        window.add("ann", now)
    assert window.count("ann", 1019) == 3
    assert window.count("bob", 1019) == 0
    assert window.count("ann", 1019 + 121) == 0


@pytest.mark.parametrize(("seconds", "max_keys"), [(0, 1), (-1, 1), (math.nan, 1), (60, 0), (60, -1)])
def test_a_window_has_a_length_and_room_for_a_key(seconds: float, max_keys: int) -> None:
    with pytest.raises(ValueError, match=r"^seconds must be greater than 0, and max_keys at least 1$"):
        SlidingWindow(seconds, max_keys)


def test_the_span_before_counts_as_far_as_the_window_covers_it() -> None:
    window = SlidingWindow(60)
    for _ in range(10):
        window.add("ann", 30)
    assert window.count("ann", 60) == 10
    assert window.count("ann", 75) == pytest.approx(7.5)
    assert window.count("ann", 119) == pytest.approx(10 / 60)
    assert window.count("ann", 120) == 0


@given(st.lists(st.floats(min_value=0, max_value=40), max_size=60))
def test_the_estimate_is_off_by_less_than_what_the_span_before_saw(gaps: list[float]) -> None:
    window, exact, now = SlidingWindow(60), deque[float](), 0.0
    for gap in gaps:
        now += gap
        window.add("ann", now)
        exact.append(now)
        in_window = sum(1 for when in exact if now - 60 < when <= now)
        span = now // 60
        in_span = sum(1 for when in exact if when // 60 == span)
        in_last = sum(1 for when in exact if when // 60 == span - 1)
        assert in_span <= window.count("ann", now) <= in_span + in_last
        assert in_span <= in_window <= in_span + in_last


def test_what_would_be_too_many_is_not_taken() -> None:
    window = SlidingWindow(60)
    assert [window.take("ann", 0, 2) for _ in range(4)] == [True, True, False, False]
    assert window.count("ann", 0) == 2
    assert [window.take("ann", 89, 2), window.take("ann", 90, 2)] == [False, True]  # half of the two are still in it
    assert window.count("ann", 90) == 2


def test_the_quietest_is_forgotten_first() -> None:
    window = SlidingWindow(60, max_keys=2)
    window.add("ann", 1)
    window.add("bob", 2)
    window.add("ann", 3)
    window.add("carl", 4)
    assert len(window) == 2
    assert [window.count(name, 5) for name in ("ann", "bob", "carl")] == [2, 0, 1]


def test_many_keys_take_no_more_memory_than_the_bound_allows() -> None:
    window = SlidingWindow(60, max_keys=1_000)
    tracemalloc.start()
    try:
        for number in range(20_000):
            window.add(number << 64, number / 1000)
        before = tracemalloc.get_traced_memory()[0]
        for number in range(20_000, 60_000):  # twice as many again, for which no memory must be added
            window.add(number << 64, number / 1000)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert len(window) == 1_000
    assert grown < 20_000
