"""The changes that an `Index` can undergo, each one small value: what a journal records.

They hold only text, integers, tuples and sets, and the `body` of a `NewMessage`, which is the store's own.
Names are in the form in which they are kept, dates are whole seconds since 1970.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

__all__ = [
    "AddMessages",
    "CopyMessage",
    "CreateAccount",
    "CreateMailbox",
    "DeleteAccount",
    "DeleteMailbox",
    "DeleteMessage",
    "KeepNote",
    "KeepSecret",
    "NewMessage",
    "Operation",
    "RenameMailbox",
    "SetCredentials",
    "SetFlags",
    "SetQuota",
    "SetReadOnly",
    "SpendUidValidities",
    "SpendUids",
    "UpdateAccount",
]

B = TypeVar("B")


@dataclass(frozen=True, slots=True)
class CreateAccount:
    """An account with an empty INBOX."""

    name: str
    description: str
    addresses: tuple[str, ...]
    credentials: str | None = field(repr=False)
    quota: int | None
    uid_validity: int


@dataclass(frozen=True, slots=True)
class UpdateAccount:
    """The description and all addresses that an account has from now on."""

    account: str
    description: str
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DeleteAccount:
    """The account with all that is in it."""

    name: str


@dataclass(frozen=True, slots=True)
class SetCredentials:
    """Another password, or none."""

    account: str
    credentials: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeepSecret:
    """The secret of the store."""

    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeepNote:
    """A note under its key until `expires`; it was put there at `date`."""

    key: str
    text: str
    expires: int
    date: int


@dataclass(frozen=True, slots=True)
class SetQuota:
    """Another limit, or none."""

    account: str
    quota: int | None


@dataclass(frozen=True, slots=True)
class CreateMailbox:
    """An empty mailbox."""

    account: str
    name: str
    uid_validity: int


@dataclass(frozen=True, slots=True)
class DeleteMailbox:
    """The mailbox with all that is in it."""

    account: str
    name: str


@dataclass(frozen=True, slots=True)
class RenameMailbox:
    """Another name, all else as before."""

    account: str
    name: str
    new_name: str


@dataclass(frozen=True, slots=True)
class SetReadOnly:
    """Closed to changes, or open again."""

    account: str
    mailbox: str
    read_only: bool


@dataclass(slots=True)  # not frozen: faster to make, and the store may set `body` before it applies
class NewMessage(Generic[B]):
    """One copy of a message; `size` is that of all its content, `body` says where to find that."""

    account: str
    mailbox: str
    uid: int
    flags: frozenset[str]
    date: int
    size: int
    body: B


@dataclass(slots=True)  # not frozen: faster to make
class AddMessages(Generic[B]):
    """All copies of a delivery in one step; UIDs of one mailbox ascend."""

    messages: Sequence[NewMessage[B]]


@dataclass(frozen=True, slots=True)
class CopyMessage:
    """A copy of message `uid` as `new_uid` in mailbox `to`; with `move` the first one goes."""

    account: str
    mailbox: str
    uid: int
    to: str
    new_uid: int
    move: bool


@dataclass(frozen=True, slots=True)
class SetFlags:
    """All flags that the message has from now on."""

    account: str
    mailbox: str
    uid: int
    flags: frozenset[str]


@dataclass(frozen=True, slots=True)
class DeleteMessage:
    """The message, for good."""

    account: str
    mailbox: str
    uid: int


@dataclass(frozen=True, slots=True)
class SpendUids:
    """UIDs below `uid_next` are never given (again) in this mailbox."""

    account: str
    mailbox: str
    uid_next: int


@dataclass(frozen=True, slots=True)
class SpendUidValidities:
    """Values up to `uid_validity` are never given (again) in this store."""

    uid_validity: int


Operation = (
    CreateAccount
    | UpdateAccount
    | DeleteAccount
    | SetCredentials
    | KeepSecret
    | KeepNote
    | SetQuota
    | CreateMailbox
    | DeleteMailbox
    | RenameMailbox
    | SetReadOnly
    | AddMessages[B]
    | CopyMessage
    | SetFlags
    | DeleteMessage
    | SpendUids
    | SpendUidValidities
)
