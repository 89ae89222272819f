"""What an `Index` holds of an account and of a mailbox.

A mailbox is columns: one array or list for each thing that is known of a message, and a message is the same row in all
of them. So 100,000 messages are a few large blocks of memory and no 100,000 objects: the garbage collector, which
stops everything while it looks at objects, finds next to none here, and to copy a mailbox is to copy blocks. The column
of the bodies is the store's own, for it alone knows how to put them into such a block.
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
    """The bodies of the messages in a mailbox. A `list` is one."""

    def append(self, body: B, /) -> None: ...

    def __getitem__(self, row: int, /) -> B: ...

    def __delitem__(self, row: int, /) -> None: ...

    def copy(self) -> Column[B]: ...


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def to_seconds(date: datetime) -> int:
    """A date as the index keeps it, in whole seconds since 1970.

    Raises:
        ValueError: it has no time zone, or in UTC no year from 1 to 9999.
    """
    if date.tzinfo is None:
        raise ValueError("an internal date needs a time zone")
    try:
        return (date.astimezone(UTC) - _EPOCH) // timedelta(seconds=1)
    except OverflowError:
        raise ValueError("an internal date must have a year from 1 to 9999 in UTC") from None


def to_datetime(seconds: int) -> datetime:
    """The inverse of `to_seconds`, in UTC."""
    return _EPOCH + timedelta(seconds=seconds)


class Box(Generic[B]):
    """A mailbox: its messages by UID ascending, one row each in all columns."""

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
        self.uid_planned = 0  # the last one
        self.read_only = False
        self.unseen = 0
        self.uids = array("Q")
        self._dates = array("q")
        self._sizes = array("Q")
        self._flags: list[frozenset[str]] = []
        self.bodies = bodies

    def copy(self) -> Self:
        """The same, to go its own way."""
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
        """Where a message is. Raises NoSuchMessage."""
        row = bisect_left(self.uids, uid)
        if row == len(self.uids) or self.uids[row] != uid:
            raise NoSuchMessage(f"{self.name!r} has no message {uid}")
        return row

    def info(self, row: int) -> MessageInfo:
        """What is known of a message."""
        return MessageInfo(self.uids[row], self._flags[row], self._sizes[row], to_datetime(self._dates[row]))

    def size(self, row: int) -> int:
        """Octets of its content."""
        return self._sizes[row]

    def octets(self) -> int:
        """The sizes of all messages together."""
        return sum(self._sizes)

    def messages(self, account: str, rows: range) -> list[NewMessage[B]]:
        """What adds these messages to an empty mailbox of this name."""
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
        """What others see of it."""
        return Mailbox(self.name, self.uid_validity, self.uid_next, self.read_only, len(self.uids), self.unseen)

    # --- changes

    def writable(self) -> Self:
        """Itself. Raises MailboxReadOnly."""
        if self.read_only:
            raise MailboxReadOnly(f"{self.name!r} is read-only")
        return self

    def spend_uid(self) -> int:
        """A UID for a message that is planned."""
        # `uid_next` grows with the message: who has seen it grow before would not look for the message any more.
        self.uid_planned = max(self.uid_planned + 1, self.uid_next)
        return self.uid_planned

    def accepting(self, uid: int) -> Self:
        """Itself. Raises a StoreError if a message with this UID cannot come any more."""
        if self.uids and uid <= self.uids[-1]:
            raise StoreError(f"{self.name!r} is past UID {uid} already")
        return self

    def add(self, uid: int, flags: frozenset[str], date: int, size: int, body: B) -> None:
        """Add a message behind the others. Equal flag sets should be one object."""
        self.uids.append(uid)
        self._flags.append(flags)
        self._dates.append(date)
        self._sizes.append(size)
        self.bodies.append(body)
        self.uid_next = max(self.uid_next, uid + 1)
        self.unseen += SEEN not in flags

    def add_from(self, other: Box[B], row: int, uid: int) -> None:
        """Add a copy of a message."""
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
        """The same, to go its own way."""
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
        """Whether a message of `size` octets fits beside what is there and what has been promised."""
        if self.quota is None:
            return
        if size > self.quota:
            raise MessageTooBig(f"{self.name!r} may hold {self.quota} octets, and the message has {size}")
        if self.used + promised + size > self.quota:
            raise QuotaExceeded(f"{self.name!r} may hold {self.quota} octets and holds {self.used + promised}")

    def view(self) -> Account:
        """What others see of it."""
        return Account(self.name, self.description, self.addresses, self.quota, self.used)
