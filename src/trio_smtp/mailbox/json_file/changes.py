"""The changes that tasks ask the writer to make. Each plans its operation, and encodes it, when its turn comes."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Generic, TypeVar

from trio_smtp.mailbox.indexed import now
from trio_smtp.mailbox.json_file.records import Place, decode, encode, encode_blob, encode_body, encode_delivery
from trio_smtp.mailbox.json_file.values import RecordError
from trio_smtp.mailbox.store import Delivered, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trio_smtp.mailbox.index import Index
    from trio_smtp.mailbox.json_file.records import BlobInfo
    from trio_smtp.mailbox.operations import Operation
    from trio_smtp.mailbox.store import Target

R = TypeVar("R")


_UNKNOWN = Place(0, 0, 0, 0, None)


class Change(abc.ABC, Generic[R]):
    """A change with a result."""

    __slots__ = ()

    @abc.abstractmethod
    def prepare(self, index: Index[Place], segment: int, offset: int) -> tuple[Operation[Place], bytes, R]:
        """Plan the change; return the operation, the line to write at this place (b"" for nothing), the result."""


class OperationChange(Change[R]):
    """Anything but new messages."""

    def __init__(self, plan: Callable[[Index[Place]], tuple[Operation[Place], R]]) -> None:
        self._plan = plan

    def prepare(self, index: Index[Place], segment: int, offset: int) -> tuple[Operation[Place], bytes, R]:
        operation, result = self._plan(index)
        line = encode(operation)
        try:  # refuse a float, for example, which would be read as damage
            decode(line, segment, offset)
        except RecordError as error:
            raise TypeError(f"the store cannot save a value of this type: {error}") from None
        return operation, line, result


class NewMail(Change["list[Delivered | StoreError]"]):
    """A message for its targets.

    Args:
        date: None for the time of the commit.
    """

    __slots__ = ("_blob", "_content", "_date", "_flags", "_partial", "_size", "_targets")

    def __init__(self, targets: Sequence[Target], *, partial: bool, flags: frozenset[str], date: int | None) -> None:
        self._targets = targets
        self._partial = partial
        self._flags = flags
        self._date = date
        self._size = 0
        self._content = b""
        self._blob: str | None = None

    def put_body(self, body: bytes | bytearray) -> None:
        """Add the body, which goes into the record."""
        self._size = len(body)
        self._content = encode_body(body)

    def put_blob(self, blob: BlobInfo) -> None:
        """Add the blob that holds the body."""
        self._size = blob.size
        self._content = encode_blob(blob)
        self._blob = blob.name

    def prepare(
        self, index: Index[Place], segment: int, offset: int
    ) -> tuple[Operation[Place], bytes, list[Delivered | StoreError]]:
        """See `Change`."""
        prefixes: list[bytes] = []

        def place(target: Target) -> Place:
            prefixes.append(target.prefix)
            return _UNKNOWN  # the line has no length yet

        operation, results = index.add_messages(
            self._targets,
            self._size,
            place,
            date=now() if self._date is None else self._date,
            flags=self._flags,
            partial=self._partial,
        )
        if not operation.messages:
            return operation, b"", results
        line = encode_delivery(operation.messages, prefixes, self._content)
        for copy, message in enumerate(operation.messages):
            message.body = Place(segment, offset, len(line), copy, self._blob)
        return operation, line, results
