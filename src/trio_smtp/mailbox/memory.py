"""The store in memory: lost when its process ends, and not shared with others. For tests, development and `catch`.

No method waits for anything, so other tasks see each call as one step; a search through a large mailbox and the
hashing of a password block them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from trio_smtp.mailbox.index import Index
from trio_smtp.mailbox.indexed import BufferedStore
from trio_smtp.mailbox.operations import Operation

__all__ = ["MemoryStore"]

R = TypeVar("R")

_Body = tuple[bytes, bytes]  # prefix, and the body that all copies share


class MemoryStore(BufferedStore[_Body]):
    """A `MailStore` in memory."""

    def __init__(self) -> None:
        super().__init__()
        self._index = Index[_Body]()

    async def _look(self, look: Callable[[Index[_Body]], R]) -> R:
        return look(self._index)

    async def _commit(self, plan: Callable[[Index[_Body]], tuple[Operation[_Body], R]]) -> R:
        operation, result = plan(self._index)
        self._index.apply(operation)
        self.watchers.tell(operation)
        return result

    def _place(self, prefix: bytes, body: bytes) -> _Body:
        return prefix, body

    def _read(self, body: _Body, limit: int | None) -> bytes:
        prefix, content = body
        return prefix + content if limit is None else (prefix + content[:limit])[:limit]

    async def _run(self, function: Callable[[], R]) -> R:
        return function()
