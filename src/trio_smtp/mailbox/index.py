"""The state of a store without the message bodies: accounts, mailboxes, UIDs, flags, sizes, dates.

Every change of state is an operation (module `operations`) and passes through two steps:

    operation, mailbox = index.create_mailbox("ann", "Sent")
    index.apply(operation)

1. **plan**: a method of `Index` named after the change checks it against the present state. The method raises a
   `StoreError`, or returns (operation, result of the store's method). It changes nothing, except that it assigns
   UIDs (see below).
2. **apply**: `Index.apply(operation)` changes the state. It is deterministic and needs no clock, so replaying
   the operations of a journal on an empty index gives the same index. Applied to the state that it was planned
   against, an operation cannot fail. If it does not fit the state (an earlier record was lost), `apply` raises a
   `StoreError` and changes nothing.

A store that keeps a journal writes the operation to it between the two steps. The `body` of a message is whatever
the store needs to find its content again; the index never looks at it.

Several deliveries can be planned before the first of them is applied, as a group commit does: no two plans assign
the same UID, applied or not, and inside `group` each plan counts the octets of the earlier plans against the quotas.
Notes, which affect nothing else, can be planned among them. Any other operation must be the last of its group: it has
to be applied before anything else is planned.

`dump` returns operations that make an equal index from an empty one: for a snapshot or a compacted journal.

Few methods take time in proportion to the size of a mailbox: listing or deleting all of it, `copy` and `dump`, and the
deletion of a message, which moves 32 octets in memory for each later message, and the later bodies of the column.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
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
    UpdateAccount,
)
from trio_smtp.mailbox.state import Box, Column, Owner
from trio_smtp.mailbox.store import (
    INBOX,
    Account,
    AccountExists,
    AddressTaken,
    Credentials,
    Delivered,
    FlagMode,
    InvalidName,
    Mailbox,
    MailboxExists,
    MessageInfo,
    NoSuchAccount,
    StoreError,
    StoreUnavailable,
    Target,
)

__all__ = ["Index"]

B = TypeVar("B")

_DUMP_MESSAGES = 200  # per operation of a dump
_MOST_FLAG_SETS = 1000  # that are shared by the messages that have the same flags


def _text(credentials: Credentials | None) -> str | None:
    return None if credentials is None else credentials.text


def _spelled(addresses: Iterable[str]) -> dict[str, str]:
    """Check the addresses, and return each once, by its comparison key. Raises InvalidName."""
    return {address_key(address): check_address(address) for address in addresses}


def _keys(addresses: Iterable[str]) -> list[str]:
    """Return the comparison keys, each once: by today's rules, two addresses in an old journal may be equal."""
    return list(dict.fromkeys(map(address_key, addresses)))


def _domain(key: str) -> str:
    return key.rpartition("@")[2]


def _check_new_quota(quota: int | None) -> None:
    if quota is not None and not 0 <= quota < 2**63:
        raise ValueError(f"a quota must be from 0 to 2**63 - 1 octets, not {quota}")


class Index(Generic[B]):
    """The state, and methods to plan and apply changes. Not thread-safe: the store must lock it.

    Args:
        column: makes an empty column for the bodies of a new mailbox.
    """

    def __init__(self, column: Callable[[], Column[B]] = list) -> None:
        self._column = column
        self._owners: dict[str, Owner[B]] = {}  # in the order of creation
        self._addresses: dict[str, Owner[B]] = {}  # by address_key
        self._domains: Counter[str] = Counter()  # of those addresses
        self._uid_validity = 0  # the last one assigned
        self._secret: str | None = None
        self._notes = Notes()
        self._flag_sets: dict[frozenset[str], frozenset[str]] = {}  # one object for each combination in use

        self._in_group = False
        self._promised: dict[str, int] = {}  # octets that the group will add, by account that has a quota
        self._promised_notes = 0

    @contextmanager
    def group(self) -> Generator[None]:
        """Inside the block, count each planned delivery and note against the limits before it is applied."""
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

    def has_domain(self, domain: str) -> bool:
        return address_key(domain) in self._domains

    def first_account(self) -> Account | None:
        return next((owner.view() for owner in self._owners.values()), None)

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
        """Return info and body of the messages with UIDs above `after`, at most `limit`, in ascending order of UID."""
        box = self._box(account, mailbox)
        start = bisect_right(box.uids, after)
        end = len(box.uids) if limit is None else min(start + max(limit, 0), len(box.uids))
        return [(box.info(row), box.bodies[row]) for row in range(start, end)]

    def message(self, account: str, mailbox: str, uid: int) -> tuple[MessageInfo, B]:
        box = self._box(account, mailbox)
        row = box.row(uid)
        return box.info(row), box.bodies[row]

    def columns(self) -> Iterator[Column[B]]:
        """Return the column of bodies of each mailbox."""
        return (box.bodies for owner in self._owners.values() for box in owner.boxes.values())

    def uid_validity(self) -> int:
        """Return the last uid_validity that was assigned."""
        return self._uid_validity

    def count(self) -> int:
        """Return the number of messages in all mailboxes."""
        return sum(len(box.uids) for owner in self._owners.values() for box in owner.boxes.values())

    def _owner(self, name: str) -> Owner[B]:
        owner = self._owners.get(name)
        if owner is None:
            raise NoSuchAccount(f"there is no account {name!r}")
        return owner

    def _box(self, account: str, mailbox: str) -> Box[B]:
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
        spelled = _spelled(addresses)
        _check_new_quota(quota)
        self._check_new_account(name)
        self._check_addresses(name, spelled)
        account = Account(name, description, tuple(spelled.values()), quota)
        uid_validity = self._uid_validity + 1
        return CreateAccount(name, description, account.addresses, _text(credentials), quota, uid_validity), account

    def update_account(
        self, name: str, description: str | None, addresses: Iterable[str] | None
    ) -> tuple[UpdateAccount, Account]:
        account = self.account(name)
        if description is not None:
            account = replace(account, description=check_description(description))
        if addresses is not None:
            spelled = _spelled(addresses)
            self._check_addresses(name, spelled)
            account = replace(account, addresses=tuple(spelled.values()))
        return UpdateAccount(name, account.description, account.addresses), account

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
        secret = self._secret or secret  # another task or process may have been faster
        return KeepSecret(secret), secret

    def keep_note(self, key: str, text: str, expires: int, date: int) -> tuple[KeepNote, None]:
        check_note(key, text, expires)
        if not self._notes.has_room(key, date, self._promised_notes):
            raise StoreUnavailable("the store already has the maximum number of notes")
        self._promised_notes += self._in_group
        return KeepNote(key, text, expires, date), None

    def set_quota(self, account: str, quota: int | None) -> tuple[SetQuota, Account]:
        _check_new_quota(quota)
        return SetQuota(account, quota), replace(self.account(account), quota=quota)

    def create_mailbox(self, account: str, name: str) -> tuple[CreateMailbox, Mailbox]:
        self._check_new_mailbox(self._owner(account), check_name(name))
        uid_validity = self._uid_validity + 1
        return CreateMailbox(account, name, uid_validity), Mailbox(name, uid_validity, 1, False, 0, 0)

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
            place: called once for each copy, in order; returns the `body` of the copy for this target.
            flags: checked by `check_flags` already.

        Returns:
            The operation, with one message for each mailbox that accepts it (with `partial`, perhaps none), and the
            result for `Delivery.commit`.
        """
        homes: list[Box[B] | StoreError] = []  # for each target, its mailbox or the refusal
        copies: dict[Box[B], Target] = {}
        added: dict[str, int] = {}  # octets, by account that has a quota
        for target in targets:
            try:
                owner = self._owner(target.account)
                box = owner.box(target.mailbox).writable()
                if box not in copies:
                    if owner.quota is not None:
                        octets = len(target.prefix) + size
                        before = added.get(owner.name, 0)
                        owner.check_quota(octets, self._promised.get(owner.name, 0) + before)
                        added[owner.name] = before + octets
                    copies[box] = target
                homes.append(box)
            except StoreError as refusal:
                if not partial:
                    raise
                homes.append(refusal)
        if self._in_group:
            for name, octets in added.items():
                self._promised[name] = self._promised.get(name, 0) + octets
        messages: list[NewMessage[B]] = []
        delivered: dict[Box[B], Delivered] = {}
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
        row = source.row(uid)
        target = owner.box(to).writable()
        if move:
            source.writable()
        else:
            owner.check_quota(source.size(row), self._promised.get(owner.name, 0))
        new_uid = target.spend_uid()
        return (
            CopyMessage(account, source.name, uid, target.name, new_uid, move),
            Delivered(account, target.name, new_uid, target.uid_validity),
        )

    def set_flags(
        self, account: str, mailbox: str, uid: int, flags: Iterable[str], mode: FlagMode
    ) -> tuple[SetFlags, MessageInfo]:
        box = self._box(account, mailbox).writable()
        old = box.info(box.row(uid))
        new = replace(old, flags=change_flags(old.flags, flags, mode))
        return SetFlags(account, box.name, uid, new.flags), new

    def delete_message(self, account: str, mailbox: str, uid: int) -> tuple[DeleteMessage, None]:
        box = self._box(account, mailbox).writable()
        box.row(uid)
        return DeleteMessage(account, box.name, uid), None

    def _check_new_account(self, name: str) -> None:
        if name in self._owners:
            raise AccountExists(f"there is an account {name!r} already")

    def _check_addresses(self, account: str, keys: Iterable[str]) -> None:
        """Raise AddressTaken if another account has one of these addresses."""
        for key in keys:
            owner = self._addresses.get(key)
            if owner is not None and owner.name != account:
                raise AddressTaken(f"{key!r} belongs to account {owner.name!r}")

    def _check_new_mailbox(self, owner: Owner[B], name: str) -> None:
        if mailbox_key(name) in owner.boxes:
            raise MailboxExists(f"{owner.name!r} has a mailbox {name!r} already")

    def _removable(self, account: str, name: str) -> Box[B]:
        box = self._box(account, name)
        if box.name == INBOX:
            raise InvalidName("INBOX can be neither deleted nor renamed")
        return box.writable()

    # --- application

    def apply(self, operation: Operation[B]) -> None:
        """Carry out an operation.

        Raises:
            StoreError: if it does not fit the state, which then stays as it is.
        """
        # Frequent operations come first, and there is no `match`: a replay calls this for each record and must be fast.
        if isinstance(operation, AddMessages):
            self._add_messages(operation)
        elif isinstance(operation, SetFlags):
            box = self._box(operation.account, operation.mailbox)
            box.set_flags(box.row(operation.uid), self._shared(operation.flags))
        elif isinstance(operation, DeleteMessage):
            owner = self._owner(operation.account)
            box = owner.box(operation.mailbox)
            row = box.row(operation.uid)
            owner.used -= box.size(row)
            box.remove(row)
        elif isinstance(operation, CopyMessage):
            self._copy_message(operation)
        elif isinstance(operation, CreateAccount):
            keys = _keys(operation.addresses)
            self._check_new_account(operation.name)
            self._check_addresses(operation.name, keys)
            owner = Owner(operation, self._column())
            self._owners[operation.name] = owner
            self._remember_addresses(owner, keys)
            self._spend_uid_validity(operation.uid_validity)
        elif isinstance(operation, UpdateAccount):
            owner = self._owner(operation.account)
            keys = _keys(operation.addresses)
            self._check_addresses(operation.account, keys)
            self._forget_addresses(owner)
            owner.description, owner.addresses = operation.description, operation.addresses
            self._remember_addresses(owner, keys)
        elif isinstance(operation, DeleteAccount):
            owner = self._owner(operation.name)
            del self._owners[operation.name]
            self._forget_addresses(owner)
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
            owner.boxes[operation.name] = Box(operation.name, operation.uid_validity, self._column())
            self._spend_uid_validity(operation.uid_validity)
        elif isinstance(operation, DeleteMailbox):
            owner = self._owner(operation.account)
            box = owner.box(operation.name)
            del owner.boxes[box.name]
            owner.used -= box.octets()
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
        homes: list[tuple[Owner[B], Box[B]]] = []
        for message in operation.messages:
            owner = self._owner(message.account)
            homes.append((owner, owner.box(message.mailbox).accepting(message.uid)))
        for message, (owner, box) in zip(operation.messages, homes, strict=True):
            box.add(message.uid, self._shared(message.flags), message.date, message.size, message.body)
            owner.used += message.size

    def _copy_message(self, operation: CopyMessage) -> None:
        owner = self._owner(operation.account)
        source = owner.box(operation.mailbox)
        row = source.row(operation.uid)
        target = owner.box(operation.to).accepting(operation.new_uid)
        target.add_from(source, row, operation.new_uid)
        if operation.move:
            source.remove(row)
        else:
            owner.used += source.size(row)

    def _remember_addresses(self, owner: Owner[B], keys: Sequence[str]) -> None:
        self._addresses.update(dict.fromkeys(keys, owner))
        self._domains.update(map(_domain, keys))

    def _forget_addresses(self, owner: Owner[B]) -> None:
        for key in _keys(owner.addresses):
            del self._addresses[key]
            domain = _domain(key)
            self._domains[domain] -= 1
            if not self._domains[domain]:
                del self._domains[domain]

    def _shared(self, flags: frozenset[str]) -> frozenset[str]:
        if len(self._flag_sets) >= _MOST_FLAG_SETS:  # to share them saves memory, to remember all of them would not
            self._flag_sets.clear()
        return self._flag_sets.setdefault(flags, flags)

    def _spend_uid_validity(self, uid_validity: int) -> None:
        self._uid_validity = max(self._uid_validity, uid_validity)

    # --- the whole

    def copy(self) -> Index[B]:
        """Return an equal index, outside of any group, which can be dumped while this one changes."""
        index = Index[B](self._column)
        index._owners = {name: owner.copy() for name, owner in self._owners.items()}
        index._addresses = {key: index._owners[owner.name] for key, owner in self._addresses.items()}
        index._domains = self._domains.copy()
        index._uid_validity = self._uid_validity
        index._secret = self._secret
        index._notes = self._notes.copy()
        return index

    def dump(self) -> Iterator[Operation[B]]:
        """Yield operations that make an equal index from an empty one."""
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
                rows = range(len(box.uids))
                for start in rows[::_DUMP_MESSAGES]:
                    yield AddMessages(box.messages(owner.name, rows[start : start + _DUMP_MESSAGES]))
                yield SpendUids(owner.name, box.name, box.uid_next)
                if box.read_only:
                    yield SetReadOnly(owner.name, box.name, True)
        yield SpendUidValidities(self._uid_validity)
        if self._secret is not None:
            yield KeepSecret(self._secret)
        yield from self._notes.dump()
