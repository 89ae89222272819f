"""A store that is compacted whenever it is closed, against the contract and the model."""

from __future__ import annotations

from pathlib import Path

from trio_smtp.mailbox.json_file import JSONFileStore
from trio_smtp.testing.store_contract import PersistentStoreContract
from trio_smtp.testing.store_model import StoreMachine


class CompactedStore(JSONFileStore):
    async def aclose(self) -> None:
        if self._engine is not None and not self._closed:
            await self.compact()
        await super().aclose()


class TestContract(PersistentStoreContract):
    def open_store(self, folder: Path) -> CompactedStore:
        return CompactedStore(folder / "mail")


class CompactedMachine(StoreMachine):
    persistent = True

    def open_store(self, folder: Path) -> CompactedStore:
        return CompactedStore(folder / "mail")


TestModel = CompactedMachine.TestCase
