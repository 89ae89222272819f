"""Our stores, compared with the model of a store in random sequences of calls."""

from __future__ import annotations

from pathlib import Path

from hypothesis import settings

from tests.mailbox.replayed import CompactedStore
from trio_smtp.mailbox.json_file import JSONFileStore
from trio_smtp.mailbox.memory import MemoryStore
from trio_smtp.testing.store_model import StoreMachine


class MemoryMachine(StoreMachine):
    def open_store(self, folder: Path) -> MemoryStore:
        return MemoryStore()


class JSONFileMachine(StoreMachine):
    persistent = True

    def open_store(self, folder: Path) -> JSONFileStore:
        return JSONFileStore(folder / "mail")


class CompactedMachine(StoreMachine):
    persistent = True

    def open_store(self, folder: Path) -> MemoryStore:
        return CompactedStore(folder)


TestMemoryStore = MemoryMachine.TestCase
TestJSONFileStore = JSONFileMachine.TestCase
TestCompactedStore = CompactedMachine.TestCase

# A step takes five times as long as with a memory store.
TestJSONFileStore.settings = settings(max_examples=settings().max_examples // 3)
