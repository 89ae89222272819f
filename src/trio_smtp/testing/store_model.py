"""Compare a `MailStore` with a model made of dicts, over random sequences of operations.

To test your own store, in a test module:

    class MyMachine(StoreMachine):
        persistent = True

        def open_store(self, folder: Path) -> MyStore:
            return MyStore(folder / "mail")

    TestMyStore = MyMachine.TestCase

The model is as simple as possible. Where the interface leaves a choice to the store, so does the model: which of
several possible errors it raises, and which UIDs and uid_validities it assigns, as long as they grow. After every step
the store must contain exactly what the model contains.
"""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from trio_smtp.mailbox.store import (
    INBOX,
    SEEN,
    AccountExists,
    AddressTaken,
    Delivered,
    FlagMode,
    InvalidName,
    MailboxExists,
    MailboxReadOnly,
    MailStore,
    MessageTooBig,
    NoSuchAccount,
    NoSuchMailbox,
    NoSuchMessage,
    QuotaExceeded,
    StoreError,
    Target,
)
from trio_smtp.testing.portal import Portal

__all__ = ["StoreMachine"]

R = TypeVar("R")

DATE = datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC)

# Few names, so that operations collide; among them names that differ only in case, a path, and INBOX in another case.
ACCOUNTS = st.sampled_from(["ann", "bob", "ann", "bob", "Ann"])
ADDRESSES = st.lists(st.sampled_from(["ann@x", "ANN@X", "ann+tag@x", "bob@x", "bob@y"]), max_size=2)
MAILBOXES = st.sampled_from([INBOX, "Sent", "inbox", "Sent", "sent", "../x"])
MESSAGES = st.integers(0, 20)  # selects one of the existing messages: see `pick`
CONTENTS = st.binary(max_size=20)
NOTES = st.sampled_from(["a", "b", "A"])
LATER = 2**40  # a time far in the future
FLAGS = st.lists(st.sampled_from([SEEN, r"\Flagged", "one", "two"]), max_size=3)
TARGETS = st.lists(st.builds(Target, ACCOUNTS, MAILBOXES, st.binary(max_size=5)), max_size=3)


@dataclass(frozen=True)
class _Message:
    content: bytes
    flags: frozenset[str] = frozenset()
    date: datetime | None = None  # None: the time of the delivery, which is not compared


@dataclass
class _Mailbox:
    uid_validity: int
    read_only: bool = False
    last_uid: int = 0
    messages: dict[int, _Message] = field(default_factory=dict[int, _Message])


@dataclass
class _Account:
    addresses: Sequence[str]
    quota: int | None
    mailboxes: dict[str, _Mailbox]

    @property
    def used(self) -> int:
        return sum(len(m.content) for box in self.mailboxes.values() for m in box.messages.values())


Refusals = set[type[StoreError]]


class StoreMachine(RuleBasedStateMachine):
    """The operations on a store and their expected results. Subclass it and override `open_store`.

    Attributes:
        persistent: whether the store keeps its mail when it is closed, so that it can be reopened.
    """

    persistent = False

    def open_store(self, folder: Path) -> AbstractAsyncContextManager[MailStore]:
        """The store to test. It keeps its files in `folder`, which exists."""
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.accounts: dict[str, _Account] = {}
        self.notes: dict[str, str] = {}
        self.last_uid_validity = 0
        self._resources = ExitStack()

    @initialize()
    def open(self) -> None:
        """Open the store and fill it with a few accounts, mailboxes and messages for the steps to work on."""
        self.portal = self._resources.enter_context(Portal())
        self.folder = Path(self._resources.enter_context(tempfile.TemporaryDirectory()))
        self._open()
        self.create_account("ann", ["ann@x"], None)
        self.create_account("bob", ["bob@x"], 60)
        for account in ("ann", "bob"):
            self.create_mailbox(account, "Sent")
            self.append_message(account, "Sent", b"1234567890", [SEEN])
            self.append_message(account, INBOX, b"12345", [])

    def _open(self) -> None:
        self._manager = self.open_store(self.folder)
        self.store = self.portal.run(self._manager.__aenter__)

    def _close(self) -> None:
        self.portal.run(self._manager.__aexit__, None, None, None)

    def teardown(self) -> None:
        """Close the store, end the trio run and remove the folder."""
        with self._resources:
            if hasattr(self, "store"):
                self._close()

    @precondition(lambda self: self.persistent)
    @rule()
    def reopen(self) -> None:
        """Close the store and open it again, which changes nothing."""
        secret = self.portal.run(self.store.get_secret)
        self._close()
        self._open()
        assert self.portal.run(self.store.get_secret) == secret

    # --- the model's side

    def box(self, account: str, mailbox: str, refusals: Refusals) -> _Mailbox | None:
        """The mailbox, or None if it does not exist; the error is then added to `refusals`."""
        if account not in self.accounts:
            refusals.add(NoSuchAccount)
            return None
        mailbox = _kept(mailbox)
        if mailbox not in self.accounts[account].mailboxes:
            refusals.add(NoSuchMailbox)
            return None
        return self.accounts[account].mailboxes[mailbox]

    def message(self, account: str, mailbox: str, uid: int, refusals: Refusals) -> _Message | None:
        """The message, or None if it does not exist; the error is then added to `refusals`."""
        box = self.box(account, mailbox, refusals)
        if box is not None and uid not in box.messages:
            refusals.add(NoSuchMessage)
            return None
        return box.messages[uid] if box else None

    def pick(self, number: int) -> tuple[str, str, int]:
        """Account, mailbox and UID of one of all messages, or of a message that does not exist."""
        there = [
            (account, mailbox, uid)
            for account in self.accounts
            for mailbox, box in self.accounts[account].mailboxes.items()
            for uid in box.messages
        ]
        return [*there, ("ann", INBOX, 999)][number % (len(there) + 1)]

    def writable(self, account: str, mailbox: str, refusals: Refusals) -> None:
        """Add `MailboxReadOnly` to `refusals` if the mailbox is read-only, or an error if it does not exist."""
        box = self.box(account, mailbox, refusals)
        if box is not None and box.read_only:
            refusals.add(MailboxReadOnly)

    def room(self, account: str, octets: int, refusals: Refusals, before: int = 0) -> None:
        """Add an error to `refusals` if a message exceeds the quota, of which its delivery has used `before` octets."""
        if account in self.accounts:
            quota = self.accounts[account].quota
            if quota is not None and octets > quota:
                refusals.add(MessageTooBig)
            elif quota is not None and self.accounts[account].used + before + octets > quota:
                refusals.add(QuotaExceeded)

    def attempt(self, refusals: Refusals, function: Callable[[], Awaitable[R]]) -> R | None:
        """Run an operation on the store. It must raise one of `refusals`, or succeed if there are none."""
        try:
            result = self.portal.run(function)
        except StoreError as refusal:
            assert type(refusal) in refusals  # noqa: PT017 - the assertion below checks that it was raised
            return None
        assert not refusals
        return result

    def new_validity(self, uid_validity: int) -> int:
        """Check that the uid_validity of a new mailbox is greater than all before, and return it."""
        assert uid_validity > self.last_uid_validity
        self.last_uid_validity = uid_validity
        return uid_validity

    def put(self, delivered: Delivered, account: str, mailbox: str, message: _Message) -> None:
        """Check where the store says that it put a message, and add the message to the model."""
        box = self.accounts[account].mailboxes[_kept(mailbox)]
        assert (delivered.account, delivered.mailbox) == (account, _kept(mailbox))
        assert delivered.uid_validity == box.uid_validity
        assert delivered.uid > box.last_uid
        box.last_uid = delivered.uid
        box.messages[delivered.uid] = message

    # --- steps

    @rule(name=ACCOUNTS, addresses=ADDRESSES, quota=st.sampled_from([None, None, 0, 30]))
    def create_account(self, name: str, addresses: list[str], quota: int | None) -> None:
        """`MailStore.create_account`."""
        refusals: Refusals = set()
        if name in self.accounts:
            refusals.add(AccountExists)
        if any(self._owner(address) is not None for address in addresses):
            refusals.add(AddressTaken)
        made = self.attempt(refusals, lambda: self.store.create_account(name, addresses=addresses, quota=quota))
        if made is not None:
            [inbox] = self.portal.run(self.store.list_mailboxes, name)
            mailboxes = {INBOX: _Mailbox(self.new_validity(inbox.uid_validity))}
            self.accounts[name] = _Account(addresses, quota, mailboxes)

    def _owner(self, address: str) -> str | None:
        for name, account in self.accounts.items():
            if address.lower() in (each.lower() for each in account.addresses):
                return name
        return None

    @rule(name=ACCOUNTS, addresses=ADDRESSES)
    def update_account(self, name: str, addresses: list[str]) -> None:
        """`MailStore.update_account`."""
        refusals: Refusals = set()
        if name not in self.accounts:
            refusals.add(NoSuchAccount)
        if any(self._owner(address) not in {None, name} for address in addresses):
            refusals.add(AddressTaken)
        if self.attempt(refusals, lambda: self.store.update_account(name, addresses=addresses)) is not None:
            self.accounts[name].addresses = addresses

    @rule(name=st.sampled_from(["bob", "Ann"]))
    def delete_account(self, name: str) -> None:
        """`MailStore.delete_account`."""
        refusals: Refusals = set() if name in self.accounts else {NoSuchAccount}
        self.attempt(refusals, lambda: self.store.delete_account(name))
        self.accounts.pop(name, None)

    @rule(name=ACCOUNTS, quota=st.sampled_from([None, 0, 10, 30]))
    def set_quota(self, name: str, quota: int | None) -> None:
        """`MailStore.set_quota`."""
        self.attempt(set() if name in self.accounts else {NoSuchAccount}, lambda: self.store.set_quota(name, quota))
        if name in self.accounts:
            self.accounts[name].quota = quota

    @rule(address=st.sampled_from(["Ann@x", "ann+tag@x", "ann+other@x", "bob+@X", "bob@y", "carl@x", "+@x", "ann"]))
    def find_account(self, address: str) -> None:
        """`MailStore.find_account`."""
        user = address.partition("+")[0] + "@" + address.rpartition("@")[2] if "+" in address else address
        expected = self._owner(address) or self._owner(user)
        found = self.portal.run(self.store.find_account, address)
        assert (found.name if found else None) == expected

    @rule(account=ACCOUNTS, name=MAILBOXES)
    def create_mailbox(self, account: str, name: str) -> None:
        """`MailStore.create_mailbox`."""
        refusals: Refusals = set()
        if self.box(account, name, refusals) is not None:
            refusals.add(MailboxExists)
        made = self.attempt(refusals - {NoSuchMailbox}, lambda: self.store.create_mailbox(account, name))
        if made is not None:
            self.accounts[account].mailboxes[name] = _Mailbox(self.new_validity(made.uid_validity))

    @rule(account=ACCOUNTS, name=MAILBOXES)
    def delete_mailbox(self, account: str, name: str) -> None:
        """`MailStore.delete_mailbox`."""
        refusals = self._removal(account, name)
        self.attempt(refusals, lambda: self.store.delete_mailbox(account, name))
        if not refusals:
            del self.accounts[account].mailboxes[name]

    @rule(account=ACCOUNTS, name=MAILBOXES, new_name=MAILBOXES)
    def rename_mailbox(self, account: str, name: str, new_name: str) -> None:
        """`MailStore.rename_mailbox`."""
        refusals = self._removal(account, name)
        if self.box(account, new_name, set()) is not None:
            refusals.add(MailboxExists)
        self.attempt(refusals, lambda: self.store.rename_mailbox(account, name, new_name))
        if not refusals:
            mailboxes = self.accounts[account].mailboxes
            mailboxes[new_name] = mailboxes.pop(name)

    def _removal(self, account: str, name: str) -> Refusals:
        refusals: Refusals = set()
        self.writable(account, name, refusals)
        if _kept(name) == INBOX:
            refusals.add(InvalidName)
        return refusals

    @rule(account=ACCOUNTS, name=MAILBOXES, read_only=st.sampled_from([False, False, True]))
    def set_read_only(self, account: str, name: str, read_only: bool) -> None:
        """`MailStore.set_read_only`."""
        refusals: Refusals = set()
        box = self.box(account, name, refusals)
        self.attempt(refusals, lambda: self.store.set_read_only(account, name, read_only))
        if box is not None:
            box.read_only = read_only

    @rule(to=TARGETS, body=CONTENTS, partial=st.booleans(), commit=st.sampled_from([True, True, False]))
    def deliver(self, to: list[Target], body: bytes, partial: bool, commit: bool) -> None:
        """`MailStore.deliver`. Without a commit the store must not change."""
        reasons: list[Refusals] = []
        copies: dict[tuple[str, str], int] = {}  # octets of each
        for target in to:
            refusals: Refusals = set()
            self.writable(target.account, target.mailbox, refusals)
            place = (target.account, _kept(target.mailbox))
            octets = len(target.prefix) + len(body)
            if place not in copies:
                before = sum(copies[other] for other in copies if other[0] == target.account)
                self.room(target.account, octets, refusals, before)
            if not refusals:
                copies.setdefault(place, octets)
            reasons.append(refusals)

        async def steps() -> list[Delivered | StoreError]:
            async with self.store.deliver(to, partial=partial) as delivery:
                for octet in body:
                    await delivery.write(bytes([octet]))
                return await delivery.commit() if commit else []

        refusals = {reason for refusals in reasons for reason in refusals}
        results = self.attempt(refusals if commit and not partial else set(), steps)
        if not results:
            return
        placed: dict[tuple[str, str], Delivered] = {}
        for target, result, refusals in zip(to, results, reasons, strict=True):
            if isinstance(result, StoreError):
                assert type(result) in refusals
                continue
            assert not refusals
            place = (target.account, _kept(target.mailbox))
            if place not in placed:
                placed[place] = result
                self.put(result, target.account, target.mailbox, _Message(target.prefix + body))
            assert result == placed[place]

    @rule(account=ACCOUNTS, mailbox=MAILBOXES, content=CONTENTS, flags=FLAGS)
    def append_message(self, account: str, mailbox: str, content: bytes, flags: list[str]) -> None:
        """`MailStore.append_message`."""
        refusals: Refusals = set()
        self.writable(account, mailbox, refusals)
        self.room(account, len(content), refusals)
        delivered = self.attempt(
            refusals,
            lambda: self.store.append_message(account, mailbox, content, flags=flags, internal_date=DATE),
        )
        if delivered is not None:
            self.put(delivered, account, mailbox, _Message(content, frozenset(flags), DATE))

    @rule(number=MESSAGES, flags=FLAGS, mode=st.sampled_from(["replace", "add", "remove"]))
    def set_flags(self, number: int, flags: list[str], mode: FlagMode) -> None:
        """`MailStore.set_flags`."""
        account, mailbox, uid = self.pick(number)
        refusals: Refusals = set()
        self.writable(account, mailbox, refusals)
        message = self.message(account, mailbox, uid, refusals)
        info = self.attempt(refusals, lambda: self.store.set_flags(account, mailbox, uid, flags, mode))
        if info is not None and message is not None:
            after = {
                "replace": frozenset(flags),
                "add": message.flags | set(flags),
                "remove": message.flags - set(flags),
            }[mode]
            assert (info.uid, info.flags) == (uid, after)
            self.accounts[account].mailboxes[_kept(mailbox)].messages[uid] = replace(message, flags=after)

    @rule(number=MESSAGES, to=MAILBOXES)
    def copy_message(self, number: int, to: str) -> None:
        """`MailStore.copy_message`."""
        account, mailbox, uid = self.pick(number)
        refusals: Refusals = set()
        message = self.message(account, mailbox, uid, refusals)
        self.writable(account, to, refusals)
        if message is not None:
            self.room(account, len(message.content), refusals)
        delivered = self.attempt(refusals, lambda: self.store.copy_message(account, mailbox, uid, to))
        if delivered is not None and message is not None:
            self.put(delivered, account, to, message)

    @rule(number=MESSAGES, to=MAILBOXES)
    def move_message(self, number: int, to: str) -> None:
        """`MailStore.move_message`."""
        account, mailbox, uid = self.pick(number)
        refusals: Refusals = set()
        message = self.message(account, mailbox, uid, refusals)
        self.writable(account, mailbox, refusals)
        self.writable(account, to, refusals)
        delivered = self.attempt(refusals, lambda: self.store.move_message(account, mailbox, uid, to))
        if delivered is not None and message is not None:
            self.put(delivered, account, to, message)
            del self.accounts[account].mailboxes[_kept(mailbox)].messages[uid]

    @rule(number=MESSAGES)
    def delete_message(self, number: int) -> None:
        """`MailStore.delete_message`."""
        account, mailbox, uid = self.pick(number)
        refusals: Refusals = set()
        self.writable(account, mailbox, refusals)
        self.message(account, mailbox, uid, refusals)
        self.attempt(refusals, lambda: self.store.delete_message(account, mailbox, uid))
        if not refusals:
            del self.accounts[account].mailboxes[_kept(mailbox)].messages[uid]

    @rule(
        key=NOTES,
        text=st.sampled_from(["", "one", "ü"]),
        expires=st.sampled_from([LATER, LATER + 1, 0]),
    )
    def put_note(self, key: str, text: str, expires: int) -> None:
        """`MailStore.put_note`."""
        self.attempt(set(), lambda: self.store.put_note(key, text, expires=expires))
        self.notes.pop(key, None)
        if expires:
            self.notes[key] = text

    # --- comparison

    @invariant()
    def same(self) -> None:
        """The store contains exactly what the model contains."""
        if hasattr(self, "store"):
            self.portal.run(self._compare)

    async def _compare(self) -> None:
        for key in ("a", "b", "A"):
            assert await self.store.get_note(key) == self.notes.get(key)
        accounts = await self.store.list_accounts()
        assert [account.name for account in accounts] == list(self.accounts)
        for account in accounts:
            expected = self.accounts[account.name]
            assert {each.lower() for each in account.addresses} == {each.lower() for each in expected.addresses}
            assert (account.quota, account.used) == (expected.quota, expected.used)
            mailboxes = await self.store.list_mailboxes(account.name)
            assert [each.name for each in mailboxes] == sorted(
                expected.mailboxes, key=lambda name: (name != INBOX, name)
            )
            for mailbox in mailboxes:
                box = expected.mailboxes[mailbox.name]
                assert (mailbox.uid_validity, mailbox.read_only) == (box.uid_validity, box.read_only)
                assert mailbox.uid_next > box.last_uid
                assert (mailbox.messages, mailbox.unseen) == (
                    len(box.messages),
                    sum(SEEN not in message.flags for message in box.messages.values()),
                )
                await self._compare_messages(account.name, mailbox.name, box)

    async def _compare_messages(self, account: str, mailbox: str, box: _Mailbox) -> None:
        listed = await self.store.list_messages(account, mailbox)
        assert [each.uid for each in listed] == sorted(box.messages)
        for each in listed:
            expected = box.messages[each.uid]
            message = await self.store.get_message(account, mailbox, each.uid)
            assert message.content == expected.content
            assert (each.flags, each.size) == (expected.flags, len(expected.content))
            assert expected.date in {None, each.internal_date}


def _kept(mailbox: str) -> str:
    """The name under which the store keeps a mailbox: INBOX in any case is INBOX."""
    return INBOX if mailbox == "inbox" else mailbox
