"""The accounts and mailboxes of an `Index`.

A mailbox is stored in columns: one array or list for each attribute of a message, and a message is the same row in all
of them. So 100,000 messages are a few large blocks of memory instead of 100,000 objects: the garbage collector, which
stops the process while it scans objects, has next to none to scan here, and copying a mailbox means copying blocks.
The store provides the column of bodies, because only the store knows how to pack them into such a block.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from datetime import UTC, datetime, timedelta
from typing import Final, Generic, Protocol, Self, TypeVar

from trio_smtp.mailbox.names import mailbox_key
from trio_smtp.mailbox.operations import CreateAccount, NewMessage
from trio_smtp.mailbox.store import (
    INBOX,
    SEEN,
    Account,
    Mailbox,
    MailboxReadOnly,
    MessageInfo,
    MessageTooBig,
    NoSuchMailbox,
    NoSuchMessage,
    QuotaExceeded,
    StoreError,
)

__all__ = ["Box", "Column", "Owner", "to_datetime", "to_seconds"]

B = TypeVar("B")


class Column(Protocol[B]):
    """The bodies of the messages in a mailbox. A `list` can be one."""

    def append(self, body: B, /) -> None: ...

    def __getitem__(self, row: int, /) -> B: ...

    def __delitem__(self, row: int, /) -> None: ...

    def copy(self) -> Column[B]: ...


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def to_seconds(date: datetime) -> int:
    """A date as the index keeps it, in whole seconds since 1970.

    Raises:
        ValueError: if it has no time zone, or in UTC no year from 1 to 9999.
    """
    if date.tzinfo is None:
        raise ValueError(f"an internal date needs a time zone, and {date!r} has none")
    try:
        return (date.astimezone(UTC) - _EPOCH) // timedelta(seconds=1)
    except OverflowError:
        raise ValueError(f"the year of an internal date must be from 1 to 9999 in UTC, which {date!r} is not") from None


def to_datetime(seconds: int) -> datetime:
    """The inverse of `to_seconds`, in UTC."""
    return _EPOCH + timedelta(seconds=seconds)


class Box(Generic[B]):
    """A mailbox: one row per message in all columns, in ascending order of UID."""

    __slots__ = (
        "_dates",
        "_flags",
        "_sizes",
        "bodies",
        "name",
        "read_only",
        "uid_next",
        "uid_planned",
        "uid_validity",
        "uids",
        "unseen",
    )

    def __init__(self, name: str, uid_validity: int, bodies: Column[B]) -> None:
        self.name = name
        self.uid_validity = uid_validity
        self.uid_next = 1
        self.uid_planned = 0  # the last UID assigned by a plan
        self.read_only = False
        self.unseen = 0
        self.uids = array("Q")
        self._dates = array("q")
        self._sizes = array("Q")
        self._flags: list[frozenset[str]] = []
        self.bodies = bodies

    def copy(self) -> Self:
        """Return an independent copy."""
        box = type(self)(self.name, self.uid_validity, self.bodies.copy())
        box.uid_next = self.uid_next
        box.uid_planned = self.uid_planned
        box.read_only = self.read_only
        box.unseen = self.unseen
        box.uids = self.uids[:]
        box._dates = self._dates[:]
        box._sizes = self._sizes[:]
        box._flags = self._flags[:]
        return box

    # --- rows

    def row(self, uid: int) -> int:
        """Return the row of a message. Raises NoSuchMessage."""
        row = bisect_left(self.uids, uid)
        if row == len(self.uids) or self.uids[row] != uid:
            raise NoSuchMessage(f"{self.name!r} has no message {uid}")
        return row

    def info(self, row: int) -> MessageInfo:
        """Return the info of the message in a row."""
        return MessageInfo(self.uids[row], self._flags[row], self._sizes[row], to_datetime(self._dates[row]))

    def size(self, row: int) -> int:
        """Return the size of the message in a row, in octets."""
        return self._sizes[row]

    def octets(self) -> int:
        """Return the total size of all messages."""
        return sum(self._sizes)

    def messages(self, account: str, rows: range) -> list[NewMessage[B]]:
        """Return the messages in these rows in the form in which `AddMessages` adds them."""
        return [
            NewMessage(
                account,
                self.name,
                self.uids[row],
                self._flags[row],
                self._dates[row],
                self._sizes[row],
                self.bodies[row],
            )
            for row in rows
        ]

    def view(self) -> Mailbox:
        """Return the `Mailbox` that callers of the store get."""
        return Mailbox(self.name, self.uid_validity, self.uid_next, self.read_only, len(self.uids), self.unseen)

    # --- changes

    def writable(self) -> Self:
        """Return the mailbox itself. Raises MailboxReadOnly."""
        if self.read_only:
            raise MailboxReadOnly(f"mailbox {self.name!r} is read-only")
        return self

    def spend_uid(self) -> int:
        """Assign a UID to a planned message."""
        # `uid_next` grows only when the message is added: a client that saw it grow earlier would miss the message.
        self.uid_planned = max(self.uid_planned + 1, self.uid_next)
        return self.uid_planned

    def accepting(self, uid: int) -> Self:
        """Return the mailbox itself. Raises StoreError if it has a message with this UID or a greater one already."""
        if self.uids and uid <= self.uids[-1]:
            raise StoreError(f"{self.name!r} is past UID {uid} already")
        return self

    def add(self, uid: int, flags: frozenset[str], date: int, size: int, body: B) -> None:
        """Append a message. Equal flag sets should be one object, to save memory."""
        self.uids.append(uid)
        self._flags.append(flags)
        self._dates.append(date)
        self._sizes.append(size)
        self.bodies.append(body)
        self.uid_next = max(self.uid_next, uid + 1)
        self.unseen += SEEN not in flags

    def add_from(self, other: Box[B], row: int, uid: int) -> None:
        """Append a copy of a message."""
        self.add(uid, other._flags[row], other._dates[row], other._sizes[row], other.bodies[row])

    def remove(self, row: int) -> None:
        """Take a message out."""
        self.unseen -= SEEN not in self._flags[row]
        del self.uids[row], self._flags[row], self._dates[row], self._sizes[row], self.bodies[row]

    def set_flags(self, row: int, flags: frozenset[str]) -> None:
        """Give a message other flags."""
        self.unseen += (SEEN in self._flags[row]) - (SEEN in flags)
        self._flags[row] = flags


class Owner(Generic[B]):
    """An account with its mailboxes, INBOX first."""

    __slots__ = ("addresses", "boxes", "credentials", "description", "name", "quota", "used")

    def __init__(self, made: CreateAccount, bodies: Column[B]) -> None:
        self.name = made.name
        self.description = made.description
        self.addresses = made.addresses
        self.credentials = made.credentials
        self.quota = made.quota
        self.used = 0
        self.boxes: dict[str, Box[B]] = {INBOX: Box(INBOX, made.uid_validity, bodies)}

    def copy(self) -> Self:
        """Return an independent copy."""
        owner = type(self).__new__(type(self))
        owner.name = self.name
        owner.description = self.description
        owner.addresses = self.addresses
        owner.credentials = self.credentials
        owner.quota = self.quota
        owner.used = self.used
        owner.boxes = {name: box.copy() for name, box in self.boxes.items()}
        return owner

    def box(self, name: str) -> Box[B]:
        """The mailbox of this name. Raises NoSuchMailbox."""
        box = self.boxes.get(name) or self.boxes.get(mailbox_key(name))
        if box is None:
            raise NoSuchMailbox(f"{self.name!r} has no mailbox {name!r}")
        return box

    def check_quota(self, size: int, promised: int) -> None:
        """Raise QuotaExceeded if `size` octets do not fit besides the stored and the `promised` octets."""
        if self.quota is None:
            return
        if size > self.quota:
            raise MessageTooBig(
                f"the message has {size} octets, but the quota of account {self.name!r} is {self.quota}"
            )
        if self.used + promised + size > self.quota:
            used = self.used + promised
            raise QuotaExceeded(
                f"account {self.name!r} uses {used} of its quota of {self.quota} octets, which leaves too little room"
            )

    def view(self) -> Account:
        """Return the `Account` that callers of the store get."""
        return Account(self.name, self.description, self.addresses, self.quota, self.used)
