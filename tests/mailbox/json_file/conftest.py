from __future__ import annotations

from pathlib import Path

import pytest

from tests.mailbox.json_file.system import System
from trio_smtp.mailbox.json_file import files


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> System:
    """The system that the store calls."""
    system = System()
    monkeypatch.setattr(files, "os", system)
    monkeypatch.setattr(files, "fcntl", system)
    return system


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a store can be made; nothing is there yet."""
    return tmp_path / "mail"
