"""Power cuts after every call that the store makes, and kills, in simulation: the store must recover (`checker`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.checker import Checker
from tests.crash.workloads import WORKLOADS, Workload, record

pytestmark = pytest.mark.hypothesis  # it uses none; the mark makes `nox -s property` run the long search


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.__name__)
async def test_crash(
    workload: Workload, folder: Path, checker: Checker, thorough: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    await checker.check(await record(workload, folder / "recorded", monkeypatch))
    assert checker.states >= (300 if thorough else 30)
