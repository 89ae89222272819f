"""Power cuts and kills at every call that the store makes."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.crash.checker import Checker
from tests.crash.workloads import WORKLOADS, Workload, record


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.__name__)
async def test_crash(workload: Workload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    t = time.time()
    history = await record(workload, tmp_path / "recorded", monkeypatch)
    checker = Checker(tmp_path, monkeypatch, limit=10, nested=20)
    try:
        await checker.check(history)
    finally:
        print(workload.__name__, len(history), checker.states, checker._made, time.time() - t)
