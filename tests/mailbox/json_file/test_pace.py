"""`Pace`: background work rests after each millisecond of work."""

from __future__ import annotations

import itertools
import time

import pytest

from trio_smtp.mailbox.json_file.pace import Pace


def test_it_rests_after_a_millisecond(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    events: list[object] = []

    def sleep(seconds: float) -> None:
        nonlocal now
        events.append("rest")
        now += seconds

    monkeypatch.setattr(time, "perf_counter", lambda: now)
    monkeypatch.setattr(time, "sleep", sleep)
    work = Pace()
    for items in ([1, 2, 3, 4, 5], [6, 7]):  # two calls count as one piece of work
        for item in work.over(items):
            events.append(item)
            now += 0.0004
    assert events == [1, 2, 3, "rest", 4, 5, 6, "rest", 7]


def test_it_waits_for_no_item_in_advance() -> None:
    assert list(itertools.islice(Pace().over(itertools.count()), 3)) == [0, 1, 2]
