"""Fixtures of the tests of `JSONFileStore`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.mailbox.json_file.journals import Place, numbers, record
from tests.mailbox.json_file.system import System
from tests.mailbox.json_file.writing import Gate
from trio_smtp.mailbox.json_file import JSONFileStore, files
from trio_smtp.mailbox.json_file.journal import Journal


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> System:
    """Stands in for `os` and `fcntl` in the store."""
    system = System()
    monkeypatch.setattr(files, "os", system)
    monkeypatch.setattr(files, "fcntl", system)
    return system


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where to create a store; nothing exists there yet."""
    return tmp_path / "mail"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[JSONFileStore]:
    """A store with the account ann. Its writer thread runs, and has removed leftovers, as after its first group."""
    async with JSONFileStore(path) as store:
        await store.create_account("ann")
        await store.set_password("ann", None)
        yield store


@pytest.fixture
def gate(store: JSONFileStore, system: System) -> Iterator[Gate]:
    """Stops the writer thread at its next sync."""
    system.hooks["fdatasync"] = gate = Gate()
    yield gate
    gate.open()


@pytest.fixture
def place(path: Path) -> Iterator[Place]:
    place = Place(path)
    journal = Journal(place.root, place.folder)
    journal.create()
    journal.close()
    yield place
    place.close()


@pytest.fixture
def journal(place: Place) -> Journal:
    """A journal with the records 1 and 2, and its cursor at the end."""
    journal = place.journal()
    assert numbers(journal) == []
    journal.append([record(1), record(2)])
    return journal
