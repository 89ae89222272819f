"""The changes that can be applied to an `Index`, and that a journal records; each is a small value.

They hold only text, integers, tuples and sets, and the `body` of a `NewMessage`, whose type the store chooses.
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
    """Create an account with an empty INBOX."""

    name: str
    description: str
    addresses: tuple[str, ...]
    credentials: str | None = field(repr=False)
    quota: int | None
    uid_validity: int


@dataclass(frozen=True, slots=True)
class UpdateAccount:
    """Replace the description and all addresses of an account."""

    account: str
    description: str
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DeleteAccount:
    """Delete an account and all that is in it."""

    name: str


@dataclass(frozen=True, slots=True)
class SetCredentials:
    """Replace the credentials of an account; None removes them."""

    account: str
    credentials: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeepSecret:
    """Set the secret of the store."""

    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeepNote:
    """Keep a note under its key until `expires`; `date` is the time of the operation."""

    key: str
    text: str
    expires: int
    date: int


@dataclass(frozen=True, slots=True)
class SetQuota:
    """Replace the quota of an account; None removes it."""

    account: str
    quota: int | None


@dataclass(frozen=True, slots=True)
class CreateMailbox:
    """Create an empty mailbox."""

    account: str
    name: str
    uid_validity: int


@dataclass(frozen=True, slots=True)
class DeleteMailbox:
    """Delete a mailbox and all that is in it."""

    account: str
    name: str


@dataclass(frozen=True, slots=True)
class RenameMailbox:
    """Give a mailbox another name; all else stays as before."""

    account: str
    name: str
    new_name: str


@dataclass(frozen=True, slots=True)
class SetReadOnly:
    """Make a mailbox read-only, or writable again."""

    account: str
    mailbox: str
    read_only: bool


@dataclass(slots=True)  # not frozen: faster to make, and the store may set `body` before it applies the operation
class NewMessage(Generic[B]):
    """One copy of a message; `size` is the size of all its content, `body` says where to find the content."""

    account: str
    mailbox: str
    uid: int
    flags: frozenset[str]
    date: int
    size: int
    body: B


@dataclass(slots=True)  # not frozen: faster to make
class AddMessages(Generic[B]):
    """Add all copies of a delivery in one step; UIDs of one mailbox ascend."""

    messages: Sequence[NewMessage[B]]


@dataclass(frozen=True, slots=True)
class CopyMessage:
    """Copy message `uid` to mailbox `to` as `new_uid`; with `move`, remove the original."""

    account: str
    mailbox: str
    uid: int
    to: str
    new_uid: int
    move: bool


@dataclass(frozen=True, slots=True)
class SetFlags:
    """Replace all flags of a message."""

    account: str
    mailbox: str
    uid: int
    flags: frozenset[str]


@dataclass(frozen=True, slots=True)
class DeleteMessage:
    """Remove a message for good."""

    account: str
    mailbox: str
    uid: int


@dataclass(frozen=True, slots=True)
class SpendUids:
    """From now on, assign no UID below `uid_next` in this mailbox."""

    account: str
    mailbox: str
    uid_next: int


@dataclass(frozen=True, slots=True)
class SpendUidValidities:
    """From now on, assign no value up to `uid_validity` in this store."""

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
