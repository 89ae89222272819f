"""`JSONFileStore`, compacted before every close, tested with the contract for stores."""

from __future__ import annotations

from pathlib import Path

import pytest

from trio_smtp.mailbox.json_file import JSONFileStore
from trio_smtp.testing.store_contract import PersistentStoreContract


class CompactedStore(JSONFileStore):
    async def aclose(self) -> None:
        if self._engine is not None and not self._closed:
            await self.compact()
        await super().aclose()


@pytest.mark.usefixtures("system")
class TestCompactedStore(PersistentStoreContract):
    def open_store(self, folder: Path) -> CompactedStore:
        return CompactedStore(folder / "mail")
