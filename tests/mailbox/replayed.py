"""Memory stores that persist like a store with a journal: opening one again applies the saved operations."""

from __future__ import annotations

import pickle
from pathlib import Path

from trio_smtp.mailbox.index import Index
from trio_smtp.mailbox.memory import MemoryStore
from trio_smtp.mailbox.operations import Operation

Body = tuple[bytes, bytes]
Log = list[Operation[Body]]


class LoggedIndex(Index[Body]):
    def __init__(self, log: Log) -> None:
        super().__init__()
        for operation in log:
            super().apply(operation)
        self.log = log

    def apply(self, operation: Operation[Body]) -> None:
        super().apply(operation)
        self.log.append(operation)


class ReplayedStore(MemoryStore):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._file = folder / "log"
        log: Log = pickle.loads(self._file.read_bytes()) if self._file.exists() else []
        self._index: LoggedIndex = LoggedIndex(log)

    async def aclose(self) -> None:
        await super().aclose()
        self._file.write_bytes(pickle.dumps(self._index.log))


class CompactedStore(ReplayedStore):
    """Saves a dump of the index instead of all operations."""

    async def aclose(self) -> None:
        await MemoryStore.aclose(self)
        self._file.write_bytes(pickle.dumps(list(self._index.dump())))
