"""The store in memory: gone with the process, shared by nobody. For tests, for development, for `catch`.

No method waits for anything, so each is one step to other tasks; a search through a large mailbox and the
hashing of a password hold them up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from io import BytesIO
from types import TracebackType
from typing import TypeVar

from trio_smtp.mailbox.index import Index
from trio_smtp.mailbox.indexed import IndexedStore, now
from trio_smtp.mailbox.operations import Operation
from trio_smtp.mailbox.store import Delivered, Delivery, StoreError, Target

__all__ = ["MemoryStore"]

R = TypeVar("R")

_Body = tuple[bytes, bytes]  # prefix, and the body that all copies share


class MemoryStore(IndexedStore[_Body]):
    """A `MailStore` that forgets."""

    def __init__(self) -> None:
        super().__init__()
        self._index = Index[_Body]()

    async def _look(self, look: Callable[[Index[_Body]], R]) -> R:
        return look(self._index)

    async def _commit(self, plan: Callable[[Index[_Body]], tuple[Operation[_Body], R]]) -> R:
        operation, result = plan(self._index)
        self._apply(operation)
        return result

    def _apply(self, operation: Operation[_Body]) -> None:
        self._index.apply(operation)
        self.watchers.tell(operation)

    def _delivery(
        self, targets: Sequence[Target], *, partial: bool, flags: frozenset[str], date: int | None
    ) -> Delivery:
        return _MemoryDelivery(self._index, self._apply, targets, partial, flags, date)

    def _read(self, body: _Body, limit: int | None) -> bytes:
        prefix, content = body
        return prefix + content if limit is None else (prefix + content[:limit])[:limit]

    async def _run(self, function: Callable[[], R]) -> R:
        return function()


class _MemoryDelivery(Delivery):
    def __init__(
        self,
        index: Index[_Body],
        apply: Callable[[Operation[_Body]], None],
        targets: Sequence[Target],
        partial: bool,
        flags: frozenset[str],
        date: int | None,
    ) -> None:
        self._index = index
        self._apply = apply
        self._targets = targets
        self._partial = partial
        self._flags = flags
        self._date = date
        self._body: BytesIO | None = BytesIO()  # None when committed

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._body = None

    async def write(self, chunk: bytes) -> None:
        self._open().write(chunk)

    async def commit(self) -> list[Delivered | StoreError]:
        body = self._open().getvalue()  # no copy: BytesIO hands its buffer over
        operation, results = self._index.add_messages(
            self._targets,
            len(body),
            lambda target: (target.prefix, body),
            date=now() if self._date is None else self._date,
            flags=self._flags,
            partial=self._partial,
        )
        self._apply(operation)
        self._body = None
        return results

    def _open(self) -> BytesIO:
        if self._body is None:
            raise RuntimeError("this delivery has ended")
        return self._body
