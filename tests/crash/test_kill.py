"""Real servers that share a store are killed while clients deliver and a reader reads (`kills`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.kills import run

pytestmark = pytest.mark.hypothesis  # see test_crash


async def test_kill(folder: Path, thorough: bool) -> None:
    kills, messages = (80, 2000) if thorough else (6, 60)
    done = await run(folder, kills, messages)
    assert done.killed >= kills
    assert len(done.acknowledged) >= messages
    assert done.seen
