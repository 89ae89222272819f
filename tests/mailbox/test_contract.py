"""Our stores, tested with the contract that every store must keep."""

from __future__ import annotations

from pathlib import Path

from tests.mailbox.replayed import CompactedStore, ReplayedStore
from trio_smtp.mailbox.json_file import JSONFileStore
from trio_smtp.mailbox.memory import MemoryStore
from trio_smtp.testing.store_contract import PersistentStoreContract, StoreContract


class TestMemoryStore(StoreContract):
    def open_store(self, folder: Path) -> MemoryStore:
        return MemoryStore()


class TestJSONFileStore(PersistentStoreContract):
    def open_store(self, folder: Path) -> JSONFileStore:
        return JSONFileStore(folder / "mail")


class TestReplayedStore(PersistentStoreContract):
    def open_store(self, folder: Path) -> MemoryStore:
        return ReplayedStore(folder)


class TestCompactedStore(PersistentStoreContract):
    def open_store(self, folder: Path) -> MemoryStore:
        return CompactedStore(folder)
