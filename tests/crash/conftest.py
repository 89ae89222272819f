"""Fixtures of the crash tests: a directory, how thorough to be, and a checker."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.crash.checker import Checker

_IN_MEMORY = Path("/dev/shm")  # the tests create and remove many small files


@pytest.fixture
def folder() -> Iterator[Path]:
    """A directory in memory, if the system has one."""
    with tempfile.TemporaryDirectory(dir=_IN_MEMORY if _IN_MEMORY.is_dir() else None) as name:
        yield Path(name)


@pytest.fixture
def thorough() -> bool:
    """Whether this is the long search of the profile `property`."""
    return settings().max_examples > 1000


@pytest.fixture
def checker(folder: Path, monkeypatch: pytest.MonkeyPatch, thorough: bool) -> Checker:
    limit, nested, kills = (20, 10, 5) if thorough else (3, 60, 60)
    return Checker(folder, monkeypatch, limit=limit, nested=nested, kills=kills)
