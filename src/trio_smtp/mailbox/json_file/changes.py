"""What tasks ask the writer to do: changes, which plan an operation and encode it when their turn comes."""

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

    @abc.abstractmethod
    def prepare(self, index: Index[Place], segment: int, offset: int) -> tuple[Operation[Place], bytes, R]:
        """Plan it: the operation, the line to write at this place (b"" for nothing), the result."""


class OperationChange(Change[R]):
    """Anything but new messages."""

    def __init__(self, plan: Callable[[Index[Place]], tuple[Operation[Place], R]]) -> None:
        self._plan = plan

    def prepare(self, index: Index[Place], segment: int, offset: int) -> tuple[Operation[Place], bytes, R]:
        operation, result = self._plan(index)
        line = encode(operation)
        try:  # a float, say: once it is written, whoever reads it takes it for damage
            decode(line, segment, offset)
        except RecordError as error:
            raise TypeError(f"the store cannot keep this: {error}") from None
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
        """The body, which goes into the record."""
        self._size = len(body)
        self._content = encode_body(body)

    def put_blob(self, blob: BlobInfo) -> None:
        """The file that has the body."""
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
            return _UNKNOWN  # before the line has its length

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
