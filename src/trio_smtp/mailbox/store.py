"""The interface between mail and what keeps it.

A store holds accounts. An account has addresses and mailboxes, INBOX always among them; a mailbox holds
messages. The words are those of RFC 9051, and so are the promises, which every store keeps
(`trio_smtp.testing.store_contract` is their test):

- **Content is byte-exact**: every octet value, no line end changed, the empty message too.
- **UIDs strictly grow** within (mailbox, uid_validity) and are never given twice, not even after a deletion
  or a restart. A mailbox that is deleted and made again gets a greater uid_validity, from one counter of the
  store.
- **A change is whole and lasting** when its method returns, and has not happened when it raises.
- **An address belongs to one account at most.** The case of its letters does not matter, nor whether its domain is
  written in Unicode or in ASCII (``xn--``), and mail for `user+tag@domain` goes to `user@domain` unless somebody has
  the longer address itself.
- **Names are text, never paths**: 1 to 255 octets of UTF-8 without control characters or surrogates. They are
  compared exactly, except that INBOX is INBOX in any case (RFC 9051 §5.1). There is no hierarchy: "/" is a
  letter like others.
- **A read-only mailbox** takes no message, loses none, changes no flag, and is neither renamed nor deleted.
- **Flags are a set**, compared without regard to case; the spelling that was set first stays.
- Dates are aware, in UTC, and kept to the second. Sizes are octets of the content.

`MailStore` is the interface, with `Delivery` and `Watch`, which it hands out. What it takes and gives is in `values`,
how it refuses in `errors`; programs import all of that from here. This module knows neither trio nor SMTP.

All methods are async, raise a `StoreError` where they refuse, and may be called by many tasks at once. One text where
a list of addresses or flags belongs is a TypeError. A store of your own will want `names`, `headers` and `search`,
which hold the rules in detail; one that keeps its index in memory is an `indexed.BufferedStore`.
"""

from __future__ import annotations

import abc
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import PurePath
from types import TracebackType
from typing import Self

from trio_smtp.mailbox.errors import (
    AccountExists,
    AddressTaken,
    InvalidFlag,
    InvalidName,
    MailboxExists,
    MailboxReadOnly,
    MessageTooBig,
    MessageUnreadable,
    NoSuchAccount,
    NoSuchMailbox,
    NoSuchMessage,
    QuotaExceeded,
    StoreError,
    StoreUnavailable,
)
from trio_smtp.mailbox.names import INBOX, FlagMode, address_key
from trio_smtp.mailbox.values import (
    SEEN,
    Account,
    Changed,
    Credentials,
    Delivered,
    Mailbox,
    Message,
    MessageInfo,
    MessageSummary,
    Search,
    Target,
    What,
)

__all__ = [
    "INBOX",
    "SEEN",
    "Account",
    "AccountExists",
    "AddressTaken",
    "Changed",
    "Credentials",
    "Delivered",
    "Delivery",
    "FlagMode",
    "InvalidFlag",
    "InvalidName",
    "MailStore",
    "Mailbox",
    "MailboxExists",
    "MailboxReadOnly",
    "Message",
    "MessageInfo",
    "MessageSummary",
    "MessageTooBig",
    "MessageUnreadable",
    "NoSuchAccount",
    "NoSuchMailbox",
    "NoSuchMessage",
    "QuotaExceeded",
    "Search",
    "StoreError",
    "StoreUnavailable",
    "Target",
    "Watch",
    "What",
    "require_store",
]


class Delivery(abc.ABC):
    """One message on its way into its targets; use it in `async with`.

    Leaving the block without `commit`, by an exception or a cancellation too, stores nothing. After a `commit` that
    did not raise, and outside the block, `write` and `commit` raise RuntimeError.
    """

    async def __aenter__(self) -> Self:
        return self

    @abc.abstractmethod
    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Forget what was not committed."""

    @abc.abstractmethod
    async def write(self, chunk: bytes) -> None:
        """Add octets to the body."""

    @abc.abstractmethod
    async def commit(self) -> list[Delivered | StoreError]:
        """Store the message; it is durable when this returns.

        Returns:
            One result per target, in their order; with `partial=True` it may be a refusal. A mailbox that
            is named twice gets one copy, with the prefix of the first, and both results name it.

        Raises:
            StoreError: with `partial=False`, the first refusal of a target (NoSuchAccount, NoSuchMailbox,
                MailboxReadOnly, QuotaExceeded or its MessageTooBig); StoreUnavailable in either case. Nothing
                is stored.
        """


class Watch(abc.ABC):
    """An async iterator over what changes in an account, which may also be used in `async with`.

    It begins when it is made: nothing is lost before the first step. A change is told after it can be seen; what was
    changed just before the watch began may be told too. It ends with the account, the store, or its `async with` block.

    Raises:
        NoSuchAccount: at the first step, or on entering the block.
        StoreUnavailable: it cannot be seen now whether there are changes.
    """

    @abc.abstractmethod
    async def __aenter__(self) -> Self:
        """Begin, if the account exists."""

    @abc.abstractmethod
    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Watch no longer."""

    def __aiter__(self) -> Self:
        return self

    @abc.abstractmethod
    async def __anext__(self) -> Changed:
        """Wait for the next change."""


class MailStore(abc.ABC):
    """What a store does. Each method says what it raises besides `StoreUnavailable`, which all may."""

    # --- accounts

    @abc.abstractmethod
    async def create_account(
        self,
        name: str,
        *,
        description: str = "",
        addresses: Iterable[str] = (),
        password: str | Credentials | None = None,
        quota: int | None = None,
    ) -> Account:
        """Make an account with an empty INBOX.

        Args:
            password: a text is hashed here, which takes about a tenth of a second of CPU; `Credentials`
                are kept as they are; without either nobody can log in.
            quota: octets that the account may hold; None is no limit.

        Raises:
            AccountExists, AddressTaken, InvalidName.
            ValueError: a password that `passwords.hash_password` refuses, or a quota that is negative or of more than
                63 bits.
        """

    @abc.abstractmethod
    async def update_account(
        self, name: str, *, description: str | None = None, addresses: Iterable[str] | None = None
    ) -> Account:
        """Give an account another description or other addresses, and return it as it is now.

        Args:
            description: None leaves it as it is.
            addresses: all that it has from now on; None leaves them as they are.

        Raises:
            NoSuchAccount, AddressTaken, InvalidName.
        """

    @abc.abstractmethod
    async def delete_account(self, name: str) -> None:
        """Remove the account, its mailboxes (read-only ones too) and messages. Raises NoSuchAccount."""

    @abc.abstractmethod
    async def list_accounts(self) -> list[Account]:
        """All accounts in the order in which they were made."""

    @abc.abstractmethod
    async def get_account(self, name: str) -> Account:
        """Raises NoSuchAccount."""

    @abc.abstractmethod
    async def find_account(self, address: str) -> Account | None:
        """Whose address this is, None if nobody's. Never raises on account of what the address looks like."""

    async def find_recipient(self, address: str) -> Account | None:
        """As `find_account`, for who is about to deliver, which will tell if the account is gone.

        So a store that other processes change too may name who had the address a moment ago.
        """
        return await self.find_account(address)

    async def has_domain(self, domain: str) -> bool:
        """Whether an account has an address in this domain.

        Strangers can have it asked with each RCPT, so a store with many accounts has something quicker than this.
        """
        addresses = [address for account in await self.list_accounts() for address in account.addresses]
        return address_key(domain) in (address_key(address).rpartition("@")[2] for address in addresses)

    async def first_account(self) -> Account | None:
        """The one that was made before all others, None if there is none. The same goes for this."""
        return next(iter(await self.list_accounts()), None)

    @abc.abstractmethod
    async def set_password(
        self, name: str, password: str | Credentials | None, *, replacing: Credentials | None = None
    ) -> None:
        """As in `create_account`; None takes the password away. With `replacing`, only if these are the account's
        credentials still, else nothing happens. Raises NoSuchAccount, ValueError.
        """

    @abc.abstractmethod
    async def set_quota(self, name: str, quota: int | None) -> Account:
        """Give an account another limit, in octets, and return it as it is now.

        One that holds more already keeps it, and takes nothing until it holds less.

        Raises:
            NoSuchAccount.
            ValueError: a negative quota, or one of more than 63 bits.
        """

    @abc.abstractmethod
    async def get_credentials(self, name: str) -> Credentials | None:
        """For `passwords.verify_password`; None if the account has no password. Raises NoSuchAccount."""

    @abc.abstractmethod
    async def get_secret(self) -> bytes:
        """At least 32 octets that nobody can guess: random, made when they are first asked for, and from then on the
        same for everybody who uses the store. Who shows something derived from them (RFC 5802 §9) never shows them.
        """

    # --- notes

    @abc.abstractmethod
    async def get_note(self, key: str) -> str | None:
        """What `put_note` has kept under this key, None if nothing or if its time has come."""

    @abc.abstractmethod
    async def put_note(self, key: str, text: str, *, expires: int) -> None:
        """Keep a small text for a while, in the place of what was under this key. Policies remember by notes.

        A store may keep a limited number, 100,000 or more, and drops none before its time to make room.

        Args:
            key: a name as that of a mailbox; begin it with what the note is about, so that others choose other keys.
            text: at most 255 octets of UTF-8 without control characters.
            expires: from when on it is gone, in seconds since 1970; a time that is past makes room.

        Raises:
            InvalidName: a key or text that cannot be used.
            ValueError: a negative time, or one of more than 63 bits.
            StoreUnavailable: there is no room for a note under a new key.
        """

    # --- mailboxes

    @abc.abstractmethod
    async def create_mailbox(self, account: str, name: str) -> Mailbox:
        """Raises NoSuchAccount, MailboxExists, InvalidName."""

    @abc.abstractmethod
    async def delete_mailbox(self, account: str, name: str) -> None:
        """Remove a mailbox and its messages.

        Raises:
            NoSuchAccount, NoSuchMailbox, MailboxReadOnly; InvalidName for INBOX.
        """

    @abc.abstractmethod
    async def rename_mailbox(self, account: str, name: str, new_name: str) -> None:
        """Give a mailbox another name; its messages, UIDs and uid_validity stay.

        Raises:
            NoSuchAccount, NoSuchMailbox, MailboxReadOnly, MailboxExists; InvalidName, for INBOX too.
        """

    @abc.abstractmethod
    async def set_read_only(self, account: str, mailbox: str, read_only: bool) -> None:
        """Close a mailbox to every change, or open it again. Raises NoSuchAccount, NoSuchMailbox."""

    @abc.abstractmethod
    async def list_mailboxes(self, account: str) -> list[Mailbox]:
        """INBOX, then the others by name (code points). Raises NoSuchAccount."""

    # --- messages

    @abc.abstractmethod
    async def list_messages(
        self, account: str, mailbox: str, *, after: int = 0, limit: int | None = None
    ) -> list[MessageSummary]:
        """The messages with UIDs above `after`, ascending, `limit` at most.

        Raises:
            NoSuchAccount, NoSuchMailbox.
        """

    @abc.abstractmethod
    async def find_messages(
        self, account: str, mailbox: str, search: Search, *, after: int = 0, limit: int | None = None
    ) -> list[MessageSummary]:
        """As `list_messages`, of the messages for which `search` holds."""

    @abc.abstractmethod
    async def count_messages(self, account: str, mailbox: str) -> int:
        """Raises NoSuchAccount, NoSuchMailbox."""

    @abc.abstractmethod
    async def get_message(self, account: str, mailbox: str, uid: int) -> Message:
        """Raises NoSuchAccount, NoSuchMailbox, NoSuchMessage, MessageUnreadable."""

    @abc.abstractmethod
    async def append_message(
        self,
        account: str,
        mailbox: str,
        content: bytes,
        *,
        flags: Iterable[str] = (),
        internal_date: datetime | None = None,
    ) -> Delivered:
        """Store a message as it is (RFC 9051 §6.3.12); without `internal_date` it came now.

        Raises:
            NoSuchAccount, NoSuchMailbox, MailboxReadOnly, QuotaExceeded (MessageTooBig), InvalidFlag.
            ValueError: a date without time zone, or outside the years 1 to 9999 in UTC.
        """

    @abc.abstractmethod
    async def set_flags(
        self, account: str, mailbox: str, uid: int, flags: Iterable[str], mode: FlagMode = "replace"
    ) -> MessageInfo:
        """Change the flags of a message and return it as it is now.

        Raises:
            NoSuchAccount, NoSuchMailbox, NoSuchMessage, MailboxReadOnly, InvalidFlag.
            ValueError: another mode.
        """

    @abc.abstractmethod
    async def copy_message(self, account: str, mailbox: str, uid: int, to: str) -> Delivered:
        """Put a copy, with its flags and date, into mailbox `to` of the same account.

        Raises:
            NoSuchAccount, NoSuchMailbox, NoSuchMessage, QuotaExceeded; MailboxReadOnly of `to`.
        """

    @abc.abstractmethod
    async def move_message(self, account: str, mailbox: str, uid: int, to: str) -> Delivered:
        """As `copy_message`, and the message leaves `mailbox` in the same instant.

        Raises:
            NoSuchAccount, NoSuchMailbox, NoSuchMessage; MailboxReadOnly of either.
        """

    @abc.abstractmethod
    async def delete_message(self, account: str, mailbox: str, uid: int) -> None:
        """Remove a message for good. Raises NoSuchAccount, NoSuchMailbox, NoSuchMessage, MailboxReadOnly."""

    @abc.abstractmethod
    def deliver(self, targets: Sequence[Target], *, partial: bool = False) -> Delivery:
        """Begin to store one message in several mailboxes.

        Args:
            partial: with False (SMTP) the message is stored in all targets or in none; with True (LMTP) in
                those that do not refuse, still in one step.
        """

    # --- the store itself

    @abc.abstractmethod
    def watch(self, account: str) -> Watch:
        """Watch an account: `async for changed in store.watch("ann")`.

        Changes by other processes, where they may use the store, come within half a second. For a watcher that does
        not keep up, many changes become one `missed`.
        """

    @abc.abstractmethod
    async def aclose(self) -> None:
        """Let go of files, threads and connections, and end watches; a second call does nothing."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()


def require_store(store: object) -> None:
    """For whoever is to use it later: a mistake must show at once, not when mail comes. What has the methods will do.

    Raises:
        TypeError: if it is no store, but its path or its class, say.
    """
    is_store = all(callable(getattr(store, name, None)) for name in MailStore.__abstractmethods__)
    if not is_store or isinstance(store, type):
        hint = f"; JSONFileStore({str(store)!r}) is one" if isinstance(store, str | PurePath) else ""
        raise TypeError(f"a store is an instance of a MailStore, not {store!r}{hint}")
