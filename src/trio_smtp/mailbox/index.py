"""What a store knows of its mail without the bodies: accounts, mailboxes, UIDs, flags, sizes, dates.

Every change of state is an operation (module `operations`) and passes through two steps:

1. **plan**: a method of `Index` named after the change checks everything against the present state and raises
   the `StoreError`, or returns (operation, what the store's method returns). Nothing has changed but for
   UIDs, see below.
2. **apply**: `Index.apply(operation)` changes the state. It is deterministic and needs no clock, so applying
   the same operations to an empty index, on replay of a journal, gives the same index. Applied to the state
   it was planned against it cannot fail; where the state is another (a record before it was lost), it raises
   a `StoreError` and changes nothing.

A store that keeps a journal writes the operation down between the two. The `body` of a message is whatever
the store needs to find its content again; the index never looks at it.

A plan that gives out a UID spends it, whether it is applied or not. So several deliveries can be planned
before the first is applied, as a group commit does; inside `group` they leave each other room in the quotas.
Notes, which touch nothing else, can be planned among them. Any other operation may be planned on top of such
deliveries, and is applied before the next plan.

`dump` returns operations that make an equal index from an empty one: for a snapshot or a compacted journal.

Nothing takes time in proportion to the size of a mailbox but listing all of it and, as one memmove of 16
octets for each message behind it, a deletion.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar

from trio_smtp.mailbox.names import (
    address_key,
    address_keys,
    change_flags,
    check_address,
    check_description,
    check_name,
    check_note,
    mailbox_key,
)
from trio_smtp.mailbox.notes import Notes
from trio_smtp.mailbox.operations import (
    AddMessages,
    CopyMessage,
    CreateAccount,
    CreateMailbox,
    DeleteAccount,
    DeleteMailbox,
    DeleteMessage,
    KeepNote,
    KeepSecret,
    NewMessage,
    Operation,
    RenameMailbox,
    SetCredentials,
    SetFlags,
    SetQuota,
    SetReadOnly,
    SpendUids,
    SpendUidValidities,
)
from trio_smtp.mailbox.store import (
    INBOX,
    SEEN,
    Account,
    AccountExists,
    AddressTaken,
    Credentials,
    Delivered,
    FlagMode,
    InvalidName,
    Mailbox,
    MailboxExists,
    MailboxReadOnly,
    MessageInfo,
    MessageTooBig,
    NoSuchAccount,
    NoSuchMailbox,
    NoSuchMessage,
    QuotaExceeded,
    StoreError,
    StoreUnavailable,
    Target,
)

__all__ = ["Index", "to_datetime", "to_seconds"]

B = TypeVar("B")

_DUMP_MESSAGES = 1000  # in one operation of a dump
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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


def _text(credentials: Credentials | None) -> str | None:
    return None if credentials is None else credentials.text


def _check_new_quota(quota: int | None) -> None:
    if quota is not None and quota < 0:
        raise ValueError("a quota cannot be negative")


# --- state


class _Entry(Generic[B]):
    """A message; its UID is at the same place in `_Box.uids`. Equal flag sets are one object."""

    __slots__ = ("body", "date", "flags", "size")

    def __init__(self, flags: frozenset[str], date: int, size: int, body: B) -> None:
        self.flags = flags
        self.date = date
        self.size = size
        self.body = body


class _Box(Generic[B]):
    """A mailbox: UIDs in ascending order, and beside each its entry."""

    __slots__ = ("entries", "name", "read_only", "uid_next", "uid_planned", "uid_validity", "uids", "unseen")

    def __init__(self, name: str, uid_validity: int) -> None:
        self.name = name
        self.uid_validity = uid_validity
        self.uid_next = 1
        self.uid_planned = 0  # the last one
        self.read_only = False
        self.unseen = 0
        self.uids = array("Q")
        self.entries: list[_Entry[B]] = []

    def position(self, uid: int) -> int:
        position = bisect_left(self.uids, uid)
        if position == len(self.uids) or self.uids[position] != uid:
            raise NoSuchMessage(f"{self.name!r} has no message {uid}")
        return position

    def writable(self) -> _Box[B]:
        if self.read_only:
            raise MailboxReadOnly(f"{self.name!r} is read-only")
        return self

    def spend_uid(self) -> int:
        # `uid_next` grows with the message: who has seen it grow before would not look for the message any more.
        self.uid_planned = max(self.uid_planned + 1, self.uid_next)
        return self.uid_planned

    def accepting(self, uid: int) -> _Box[B]:
        if self.uids and uid <= self.uids[-1]:
            raise StoreError(f"{self.name!r} is past UID {uid} already")
        return self

    def add(self, uid: int, entry: _Entry[B]) -> None:
        self.uids.append(uid)
        self.entries.append(entry)
        self.uid_next = max(self.uid_next, uid + 1)
        self.unseen += SEEN not in entry.flags

    def remove(self, position: int) -> _Entry[B]:
        del self.uids[position]
        entry = self.entries.pop(position)
        self.unseen -= SEEN not in entry.flags
        return entry

    def set_flags(self, position: int, flags: frozenset[str]) -> None:
        entry = self.entries[position]
        self.unseen += (SEEN in entry.flags) - (SEEN in flags)
        entry.flags = flags

    def info(self, position: int) -> MessageInfo:
        entry = self.entries[position]
        return MessageInfo(self.uids[position], entry.flags, entry.size, to_datetime(entry.date))

    def messages(self, account: str, part: slice) -> list[NewMessage[B]]:
        return [
            NewMessage(account, self.name, uid, entry.flags, entry.date, entry.size, entry.body)
            for uid, entry in zip(self.uids[part], self.entries[part], strict=True)
        ]

    def view(self) -> Mailbox:
        return Mailbox(self.name, self.uid_validity, self.uid_next, self.read_only, len(self.entries), self.unseen)


class _Owner(Generic[B]):
    """An account with its mailboxes, INBOX first."""

    __slots__ = ("addresses", "boxes", "credentials", "description", "name", "quota", "used")

    def __init__(self, made: CreateAccount) -> None:
        self.name = made.name
        self.description = made.description
        self.addresses = made.addresses
        self.credentials = made.credentials
        self.quota = made.quota
        self.used = 0
        self.boxes: dict[str, _Box[B]] = {INBOX: _Box(INBOX, made.uid_validity)}

    def box(self, name: str) -> _Box[B]:
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
        return Account(self.name, self.description, self.addresses, self.quota, self.used)


class Index(Generic[B]):
    """The state, the plans and their application. Not safe for threads: its store sees to that."""

    def __init__(self) -> None:
        self._owners: dict[str, _Owner[B]] = {}  # in the order of creation
        self._addresses: dict[str, _Owner[B]] = {}  # by address_key
        self._uid_validity = 0  # the last one given
        self._secret: str | None = None
        self._notes = Notes()
        self._flag_sets: dict[frozenset[str], frozenset[str]] = {}  # one object for each combination in use

        self._in_group = False
        self._promised: dict[str, int] = {}  # octets that the group will add, by account
        self._promised_notes = 0

    @contextmanager
    def group(self) -> Generator[None]:
        """Inside the block, deliveries and notes leave each other room, though none of them is applied yet."""
        self._in_group = True
        try:
            yield
        finally:
            self._in_group = False
            self._promised = {}
            self._promised_notes = 0

    # --- look-ups

    def accounts(self) -> list[Account]:
        return [owner.view() for owner in self._owners.values()]

    def account(self, name: str) -> Account:
        return self._owner(name).view()

    def find_account(self, address: str) -> Account | None:
        for key in address_keys(address):
            owner = self._addresses.get(key)
            if owner is not None:
                return owner.view()
        return None

    def credentials(self, account: str) -> Credentials | None:
        text = self._owner(account).credentials
        return None if text is None else Credentials(text)

    def secret(self) -> str | None:
        return self._secret

    def note(self, key: str, now: int) -> str | None:
        return self._notes.get(key, now)

    def mailboxes(self, account: str) -> list[Mailbox]:
        inbox, *others = self._owner(account).boxes.values()
        return [inbox.view(), *(box.view() for box in sorted(others, key=lambda box: box.name))]

    def mailbox(self, account: str, mailbox: str) -> Mailbox:
        return self._box(account, mailbox).view()

    def messages(
        self, account: str, mailbox: str, after: int = 0, limit: int | None = None
    ) -> list[tuple[MessageInfo, B]]:
        """What is known of each message and where its content is, by UID ascending."""
        box = self._box(account, mailbox)
        start = bisect_right(box.uids, after)
        end = len(box.uids) if limit is None else min(start + max(limit, 0), len(box.uids))
        return [(box.info(position), box.entries[position].body) for position in range(start, end)]

    def message(self, account: str, mailbox: str, uid: int) -> tuple[MessageInfo, B]:
        box = self._box(account, mailbox)
        position = box.position(uid)
        return box.info(position), box.entries[position].body

    def _owner(self, name: str) -> _Owner[B]:
        owner = self._owners.get(name)
        if owner is None:
            raise NoSuchAccount(f"there is no account {name!r}")
        return owner

    def _box(self, account: str, mailbox: str) -> _Box[B]:
        return self._owner(account).box(mailbox)

    # --- plans

    def create_account(
        self,
        name: str,
        description: str = "",
        addresses: Iterable[str] = (),
        credentials: Credentials | None = None,
        quota: int | None = None,
    ) -> tuple[CreateAccount, Account]:
        check_name(name)
        check_description(description)
        spelled = {address_key(address): check_address(address) for address in addresses}
        _check_new_quota(quota)
        self._check_new_account(name, spelled)
        account = Account(name, description, tuple(spelled.values()), quota)
        uid_validity = self._uid_validity + 1
        return CreateAccount(name, description, account.addresses, _text(credentials), quota, uid_validity), account

    def delete_account(self, name: str) -> tuple[DeleteAccount, None]:
        return DeleteAccount(self._owner(name).name), None

    def set_credentials(
        self, account: str, credentials: Credentials | None, replacing: Credentials | None = None
    ) -> tuple[SetCredentials, None]:
        now = self.credentials(account)
        if replacing not in (None, now):
            credentials = now
        return SetCredentials(account, _text(credentials)), None

    def keep_secret(self, secret: str) -> tuple[KeepSecret, str]:
        secret = self._secret or secret  # somebody may have been faster
        return KeepSecret(secret), secret

    def keep_note(self, key: str, text: str, expires: int, date: int) -> tuple[KeepNote, None]:
        check_note(key, text, expires)
        if not self._notes.has_room(key, date, self._promised_notes):
            raise StoreUnavailable("there are as many notes as a store keeps")
        self._promised_notes += self._in_group
        return KeepNote(key, text, expires, date), None

    def set_quota(self, account: str, quota: int | None) -> tuple[SetQuota, Account]:
        _check_new_quota(quota)
        return SetQuota(account, quota), replace(self.account(account), quota=quota)

    def create_mailbox(self, account: str, name: str) -> tuple[CreateMailbox, Mailbox]:
        self._check_new_mailbox(self._owner(account), check_name(name))
        uid_validity = self._uid_validity + 1
        return CreateMailbox(account, name, uid_validity), _Box[B](name, uid_validity).view()

    def delete_mailbox(self, account: str, name: str) -> tuple[DeleteMailbox, None]:
        return DeleteMailbox(account, self._removable(account, name).name), None

    def rename_mailbox(self, account: str, name: str, new_name: str) -> tuple[RenameMailbox, None]:
        box = self._removable(account, name)
        self._check_new_mailbox(self._owner(account), check_name(new_name))
        return RenameMailbox(account, box.name, new_name), None

    def set_read_only(self, account: str, mailbox: str, read_only: bool) -> tuple[SetReadOnly, None]:
        return SetReadOnly(account, self._box(account, mailbox).name, read_only), None

    def add_messages(
        self,
        targets: Iterable[Target],
        size: int,
        place: Callable[[Target], B],
        *,
        date: int,
        flags: frozenset[str] = frozenset(),
        partial: bool = False,
    ) -> tuple[AddMessages[B], list[Delivered | StoreError]]:
        """Plan a delivery or, with one target, an append.

        Args:
            size: of the body that the targets share; a copy is longer by the length of its prefix.
            place: called once for each copy, in order: the `body` of the copy for this target.
            flags: checked by `check_flags` already.

        Returns:
            The operation, one message for each mailbox that takes one (with `partial` perhaps none); and the
            result of `Delivery.commit`.
        """
        homes: list[_Box[B] | StoreError] = []  # for each target
        copies: dict[_Box[B], Target] = {}
        added = self._promised.copy()
        for target in targets:
            try:
                owner = self._owner(target.account)
                box = owner.box(target.mailbox).writable()
                if box not in copies:
                    octets = len(target.prefix) + size
                    before = added.get(owner.name, 0)
                    owner.check_quota(octets, before)
                    added[owner.name] = before + octets
                    copies[box] = target
                homes.append(box)
            except StoreError as refusal:
                if not partial:
                    raise
                homes.append(refusal)
        if self._in_group:
            self._promised = added
        messages: list[NewMessage[B]] = []
        delivered: dict[_Box[B], Delivered] = {}
        for box, target in copies.items():
            uid = box.spend_uid()
            octets = len(target.prefix) + size
            messages.append(NewMessage(target.account, box.name, uid, flags, date, octets, place(target)))
            delivered[box] = Delivered(target.account, box.name, uid, box.uid_validity)
        results = [home if isinstance(home, StoreError) else delivered[home] for home in homes]
        return AddMessages(messages), results

    def copy_message(
        self, account: str, mailbox: str, uid: int, to: str, *, move: bool = False
    ) -> tuple[CopyMessage, Delivered]:
        owner = self._owner(account)
        source = owner.box(mailbox)
        entry = source.entries[source.position(uid)]
        target = owner.box(to).writable()
        if move:
            source.writable()
        else:
            owner.check_quota(entry.size, self._promised.get(owner.name, 0))
        new_uid = target.spend_uid()
        return (
            CopyMessage(account, source.name, uid, target.name, new_uid, move),
            Delivered(account, target.name, new_uid, target.uid_validity),
        )

    def set_flags(
        self, account: str, mailbox: str, uid: int, flags: Iterable[str], mode: FlagMode
    ) -> tuple[SetFlags, MessageInfo]:
        box = self._box(account, mailbox).writable()
        old = box.info(box.position(uid))
        new = replace(old, flags=change_flags(old.flags, flags, mode))
        return SetFlags(account, box.name, uid, new.flags), new

    def delete_message(self, account: str, mailbox: str, uid: int) -> tuple[DeleteMessage, None]:
        box = self._box(account, mailbox).writable()
        box.position(uid)
        return DeleteMessage(account, box.name, uid), None

    def _check_new_account(self, name: str, keys: Iterable[str]) -> None:
        if name in self._owners:
            raise AccountExists(f"there is an account {name!r} already")
        for key in keys:
            if key in self._addresses:
                raise AddressTaken(f"{key!r} belongs to account {self._addresses[key].name!r}")

    def _check_new_mailbox(self, owner: _Owner[B], name: str) -> None:
        if mailbox_key(name) in owner.boxes:
            raise MailboxExists(f"{owner.name!r} has a mailbox {name!r} already")

    def _removable(self, account: str, name: str) -> _Box[B]:
        box = self._box(account, name)
        if box.name == INBOX:
            raise InvalidName("INBOX can be neither deleted nor renamed")
        return box.writable()

    # --- application

    def apply(self, operation: Operation[B]) -> None:
        """Carry out an operation.

        Raises:
            StoreError: it does not fit the state, which stays as it is.
        """
        if isinstance(operation, AddMessages):
            self._add_messages(operation)
        elif isinstance(operation, SetFlags):
            box = self._box(operation.account, operation.mailbox)
            box.set_flags(box.position(operation.uid), self._shared(operation.flags))
        elif isinstance(operation, DeleteMessage):
            owner = self._owner(operation.account)
            box = owner.box(operation.mailbox)
            owner.used -= box.remove(box.position(operation.uid)).size
        elif isinstance(operation, CopyMessage):
            self._copy_message(operation)
        elif isinstance(operation, CreateAccount):
            keys = [address_key(address) for address in operation.addresses]
            self._check_new_account(operation.name, keys)
            owner = _Owner[B](operation)
            self._owners[operation.name] = owner
            self._addresses.update(dict.fromkeys(keys, owner))
            self._spend_uid_validity(operation.uid_validity)
        elif isinstance(operation, DeleteAccount):
            owner = self._owner(operation.name)
            del self._owners[operation.name]
            for address in owner.addresses:
                del self._addresses[address_key(address)]
        elif isinstance(operation, SetCredentials):
            self._owner(operation.account).credentials = operation.credentials
        elif isinstance(operation, KeepSecret):
            self._secret = operation.secret
        elif isinstance(operation, KeepNote):
            self._notes.keep(operation)
        elif isinstance(operation, SetQuota):
            self._owner(operation.account).quota = operation.quota
        elif isinstance(operation, CreateMailbox):
            owner = self._owner(operation.account)
            self._check_new_mailbox(owner, operation.name)
            owner.boxes[operation.name] = _Box(operation.name, operation.uid_validity)
            self._spend_uid_validity(operation.uid_validity)
        elif isinstance(operation, DeleteMailbox):
            owner = self._owner(operation.account)
            box = owner.box(operation.name)
            del owner.boxes[box.name]
            owner.used -= sum(entry.size for entry in box.entries)
        elif isinstance(operation, RenameMailbox):
            owner = self._owner(operation.account)
            box = owner.box(operation.name)
            self._check_new_mailbox(owner, operation.new_name)
            del owner.boxes[box.name]
            box.name = operation.new_name
            owner.boxes[box.name] = box
        elif isinstance(operation, SetReadOnly):
            self._box(operation.account, operation.mailbox).read_only = operation.read_only
        elif isinstance(operation, SpendUids):
            box = self._box(operation.account, operation.mailbox)
            box.uid_next = max(box.uid_next, operation.uid_next)
        else:
            self._spend_uid_validity(operation.uid_validity)

    def _add_messages(self, operation: AddMessages[B]) -> None:
        homes: list[tuple[_Owner[B], _Box[B]]] = []
        for message in operation.messages:
            owner = self._owner(message.account)
            homes.append((owner, owner.box(message.mailbox).accepting(message.uid)))
        for message, (owner, box) in zip(operation.messages, homes, strict=True):
            flags = self._shared(message.flags)
            box.add(message.uid, _Entry(flags, message.date, message.size, message.body))
            owner.used += message.size

    def _copy_message(self, operation: CopyMessage) -> None:
        owner = self._owner(operation.account)
        source = owner.box(operation.mailbox)
        position = source.position(operation.uid)
        target = owner.box(operation.to).accepting(operation.new_uid)
        entry = source.entries[position]
        target.add(operation.new_uid, _Entry(entry.flags, entry.date, entry.size, entry.body))
        if operation.move:
            source.remove(position)
        else:
            owner.used += entry.size

    def _shared(self, flags: frozenset[str]) -> frozenset[str]:
        return self._flag_sets.setdefault(flags, flags)

    def _spend_uid_validity(self, uid_validity: int) -> None:
        self._uid_validity = max(self._uid_validity, uid_validity)

    # --- the whole

    def dump(self) -> Iterator[Operation[B]]:
        """Operations that make an equal index from an empty one."""
        for owner in self._owners.values():
            inbox = owner.boxes[INBOX]
            yield CreateAccount(
                owner.name,
                owner.description,
                owner.addresses,
                owner.credentials,
                owner.quota,
                inbox.uid_validity,
            )
            for box in owner.boxes.values():
                if box is not inbox:
                    yield CreateMailbox(owner.name, box.name, box.uid_validity)
                for start in range(0, len(box.uids), _DUMP_MESSAGES):
                    yield AddMessages(box.messages(owner.name, slice(start, start + _DUMP_MESSAGES)))
                yield SpendUids(owner.name, box.name, box.uid_next)
                if box.read_only:
                    yield SetReadOnly(owner.name, box.name, True)
        yield SpendUidValidities(self._uid_validity)
        if self._secret is not None:
            yield KeepSecret(self._secret)
        yield from self._notes.dump()
