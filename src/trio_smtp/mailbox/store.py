"""The interface of a mail store.

A store holds accounts. An account has addresses and mailboxes, INBOX always among them; a mailbox holds
messages. The terms are those of RFC 9051. Every store gives these guarantees, which
`trio_smtp.testing.store_contract` tests:

- **Content is byte-exact**: any octet value is allowed, no line end is changed, and a message may be empty.
- **UIDs strictly grow** within (mailbox, uid_validity) and are never assigned twice, not even after a deletion
  or a restart. A mailbox that is deleted and created again gets a greater uid_validity, from one counter of the
  store.
- **A change is complete and durable** when its method returns, and has not happened when the method raises.
- **An address belongs to one account at most.** The case of its letters does not matter, nor whether its domain is
  written in Unicode or in ASCII (``xn--``). Mail for `user+tag@domain` goes to `user@domain` unless an account has
  the longer address itself.
- **Names are text, never paths**: 1 to 255 octets of UTF-8 without control characters or surrogates. They are
  compared exactly, except that INBOX is INBOX in any case (RFC 9051 §5.1). There is no hierarchy: "/" is a
  character like any other.
- **A read-only mailbox** takes no message, loses none, changes no flag, and is neither renamed nor deleted.
- **Flags are a set**, compared without regard to case; the spelling that was set first stays.
- Dates are aware, in UTC, and kept to the second. Sizes are octets of the content.

`MailStore` is the interface; its methods return `Delivery` and `Watch` objects. The types of arguments and results are
in `values`, the exceptions in `errors`; programs import all of them from here. This module imports neither trio nor
anything of SMTP.

Methods raise a `StoreError` to refuse a request and may be called by many tasks at once; all but `deliver` and `watch`
are async. A single str in place of a list of addresses or flags raises TypeError. A store of your own will want
`names`, `headers` and `search`, which implement the rules; one that keeps its index in memory can derive from
`indexed.BufferedStore`.
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
    """A message that is being delivered to its targets; use it in `async with`.

    Leaving the block without `commit`, also by an exception or a cancellation, stores nothing. After a successful
    `commit`, and after the block, `write` and `commit` raise RuntimeError.
    """

    __slots__ = ()

    async def __aenter__(self) -> Self:
        return self

    @abc.abstractmethod
    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Discard the message if it was not committed."""

    @abc.abstractmethod
    async def write(self, chunk: bytes) -> None:
        """Add octets to the body."""

    @abc.abstractmethod
    async def commit(self) -> list[Delivered | StoreError]:
        """Store the message; it is durable when this returns.

        Returns:
            One result per target, in their order; with `partial=True`, it is a StoreError if the target refuses. A
            mailbox that two targets name gets one copy, with the prefix of the first, and both results name it.

        Raises:
            StoreError: if a target refuses and `partial` is False; the first refusal (NoSuchAccount, NoSuchMailbox,
                MailboxReadOnly, QuotaExceeded or its MessageTooBig). Nothing is stored.
            StoreUnavailable: with `partial=True`, too, if the store cannot store it now. Nothing is stored.
        """


class Watch(abc.ABC):
    """An async iterator over the changes of an account, which may also be used in `async with`.

    A watch begins when it is created, so no change before the first iteration is lost. It reports a change once the
    change is visible, and may also report changes made just before it was created. It ends when the account is deleted,
    the store is closed, or its `async with` block is left.

    Raises:
        NoSuchAccount: at the first iteration or on entering the block, if there is no such account.
        StoreUnavailable: if the store cannot find out now whether there are changes.
    """

    @abc.abstractmethod
    async def __aenter__(self) -> Self:
        """Check that the account exists."""

    @abc.abstractmethod
    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the watch."""

    def __aiter__(self) -> Self:
        return self

    @abc.abstractmethod
    async def __anext__(self) -> Changed:
        """Wait for the next change."""


class MailStore(abc.ABC):
    """The interface of a store. Any method may raise `StoreUnavailable`, besides the exceptions that it documents."""

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
        """Create an account with an empty INBOX.

        Args:
            password: a str is hashed, which takes about a tenth of a second of CPU; `Credentials` are stored as they
                are; with None, nobody can log in.
            quota: octets that the account may hold; None is no limit.

        Raises:
            AccountExists: if the name is taken.
            AddressTaken: if another account has one of the addresses.
            InvalidName: if the name, the description or an address cannot be used.
            ValueError: if `passwords.hash_password` refuses the password, or the quota is negative or has more than
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
            NoSuchAccount: if there is no such account.
            AddressTaken: if another account has one of the addresses.
            InvalidName: if the description or an address cannot be used.
        """

    @abc.abstractmethod
    async def delete_account(self, name: str) -> None:
        """Remove the account, its mailboxes (read-only ones too) and messages.

        Raises:
            NoSuchAccount: if there is no such account.
        """

    @abc.abstractmethod
    async def list_accounts(self) -> list[Account]:
        """Return all accounts in the order in which they were created."""

    @abc.abstractmethod
    async def get_account(self, name: str) -> Account:
        """Return the account of this name.

        Raises:
            NoSuchAccount: if there is none.
        """

    @abc.abstractmethod
    async def find_account(self, address: str) -> Account | None:
        """Return the account that has this address, or None, also for a malformed address."""

    async def find_recipient(self, address: str) -> Account | None:
        """Find the account to deliver to, as `find_account` does.

        The delivery itself fails if the account is gone by then. So a store that other processes change, too, may
        return the account that had the address a moment ago.
        """
        return await self.find_account(address)

    async def has_domain(self, domain: str) -> bool:
        """Whether an account has an address in this domain.

        Any client can cause a call with each RCPT, so a store with many accounts should override this with a faster
        method.
        """
        addresses = [address for account in await self.list_accounts() for address in account.addresses]
        return address_key(domain) in (address_key(address).rpartition("@")[2] for address in addresses)

    async def first_account(self) -> Account | None:
        """Return the account that was created first, or None. A store with many accounts should override this, too."""
        return next(iter(await self.list_accounts()), None)

    @abc.abstractmethod
    async def set_password(
        self, name: str, password: str | Credentials | None, *, replacing: Credentials | None = None
    ) -> None:
        """Set the password of an account.

        Args:
            password: as in `create_account`; None removes the password.
            replacing: if given, change nothing unless these are still the account's credentials.

        Raises:
            NoSuchAccount: if there is no such account.
            ValueError: if `passwords.hash_password` refuses the password.
        """

    @abc.abstractmethod
    async def set_quota(self, name: str, quota: int | None) -> Account:
        """Give an account another limit, in octets, and return it as it is now.

        An account that holds more already keeps its messages, and accepts none until it holds less.

        Raises:
            NoSuchAccount: if there is no such account.
            ValueError: if the quota is negative or has more than 63 bits.
        """

    @abc.abstractmethod
    async def get_credentials(self, name: str) -> Credentials | None:
        """Return the credentials for `passwords.verify_password`, or None if the account has no password.

        Raises:
            NoSuchAccount: if there is no such account.
        """

    @abc.abstractmethod
    async def get_secret(self) -> bytes:
        """Return the secret of the store: at least 32 random octets, created by the first call and never changed.

        A caller may disclose values derived from the secret (RFC 5802 §9), but never the secret itself.
        """

    # --- notes

    @abc.abstractmethod
    async def get_note(self, key: str) -> str | None:
        """Return the text that `put_note` stored under this key, or None if there is none or it has expired."""

    @abc.abstractmethod
    async def put_note(self, key: str, text: str, *, expires: int) -> None:
        """Store a small text until it expires, in place of an older one under this key. Policies use notes as memory.

        A store may limit the number of notes, to 100,000 or more, and drops none before it expires to make room.

        Args:
            key: follows the rules for mailbox names; start it with the subject of the note, so that keys do not clash.
            text: at most 255 octets of UTF-8 without control characters.
            expires: when the note expires, in seconds since 1970; a time in the past removes the note.

        Raises:
            InvalidName: if the key or the text cannot be used.
            ValueError: if `expires` is negative or has more than 63 bits.
            StoreUnavailable: if there is no room for a note under a new key.
        """

    # --- mailboxes

    @abc.abstractmethod
    async def create_mailbox(self, account: str, name: str) -> Mailbox:
        """Create an empty mailbox.

        Raises:
            NoSuchAccount: if there is no such account.
            MailboxExists: if the account has a mailbox of this name.
            InvalidName: if the name cannot be used.
        """

    @abc.abstractmethod
    async def delete_mailbox(self, account: str, name: str) -> None:
        """Remove a mailbox and its messages.

        Raises:
            NoSuchAccount, NoSuchMailbox: if there is no such account or mailbox.
            MailboxReadOnly: if the mailbox is read-only.
            InvalidName: if it is INBOX.
        """

    @abc.abstractmethod
    async def rename_mailbox(self, account: str, name: str, new_name: str) -> None:
        """Give a mailbox another name; its messages, UIDs and uid_validity stay.

        Raises:
            NoSuchAccount, NoSuchMailbox: if there is no such account or mailbox.
            MailboxReadOnly: if the mailbox is read-only.
            MailboxExists: if the account has a mailbox of the new name.
            InvalidName: if the new name cannot be used, or the mailbox is INBOX.
        """

    @abc.abstractmethod
    async def set_read_only(self, account: str, mailbox: str, read_only: bool) -> None:
        """Make a mailbox read-only, or writable again.

        Raises:
            NoSuchAccount, NoSuchMailbox: if there is no such account or mailbox.
        """

    @abc.abstractmethod
    async def list_mailboxes(self, account: str) -> list[Mailbox]:
        """Return INBOX, then the other mailboxes sorted by name (code points).

        Raises:
            NoSuchAccount: if there is no such account.
        """

    # --- messages

    @abc.abstractmethod
    async def list_messages(
        self, account: str, mailbox: str, *, after: int = 0, limit: int | None = None
    ) -> list[MessageSummary]:
        """Return the messages with UIDs above `after`, at most `limit`, in ascending order of UID.

        Raises:
            NoSuchAccount, NoSuchMailbox: if there is no such account or mailbox.
        """

    @abc.abstractmethod
    async def find_messages(
        self, account: str, mailbox: str, search: Search, *, after: int = 0, limit: int | None = None
    ) -> list[MessageSummary]:
        """As `list_messages`, but only the messages for which `search` holds."""

    @abc.abstractmethod
    async def count_messages(self, account: str, mailbox: str) -> int:
        """Return the number of messages in a mailbox.

        Raises:
            NoSuchAccount, NoSuchMailbox: if there is no such account or mailbox.
        """

    @abc.abstractmethod
    async def get_message(self, account: str, mailbox: str, uid: int) -> Message:
        """Return a message with its content.

        Raises:
            NoSuchAccount, NoSuchMailbox, NoSuchMessage: if there is no such account, mailbox or message.
            MessageUnreadable: if its content is damaged or cannot be read.
        """

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
        """Store a message as it is (RFC 9051 §6.3.12); `internal_date` is the present time by default.

        Raises:
            NoSuchAccount, NoSuchMailbox: if there is no such account or mailbox.
            MailboxReadOnly: if the mailbox is read-only.
            QuotaExceeded: if the account has no room for the message; MessageTooBig if its quota is too small for it.
            InvalidFlag: if a flag cannot be used.
            ValueError: if the date has no time zone or is outside the years 1 to 9999 in UTC.
        """

    @abc.abstractmethod
    async def set_flags(
        self, account: str, mailbox: str, uid: int, flags: Iterable[str], mode: FlagMode = "replace"
    ) -> MessageInfo:
        """Change the flags of a message and return it as it is now.

        Raises:
            NoSuchAccount, NoSuchMailbox, NoSuchMessage: if there is no such account, mailbox or message.
            MailboxReadOnly: if the mailbox is read-only.
            InvalidFlag: if a flag cannot be used.
            ValueError: if there is no such mode.
        """

    @abc.abstractmethod
    async def copy_message(self, account: str, mailbox: str, uid: int, to: str) -> Delivered:
        """Copy a message, with its flags and date, to mailbox `to` of the same account.

        Raises:
            NoSuchAccount, NoSuchMailbox, NoSuchMessage: if there is no such account, mailbox or message.
            MailboxReadOnly: if `to` is read-only.
            QuotaExceeded: if the account has no room for the copy.
        """

    @abc.abstractmethod
    async def move_message(self, account: str, mailbox: str, uid: int, to: str) -> Delivered:
        """As `copy_message`, but the original leaves `mailbox` in the same step.

        Raises:
            NoSuchAccount, NoSuchMailbox, NoSuchMessage: if there is no such account, mailbox or message.
            MailboxReadOnly: if either mailbox is read-only.
        """

    @abc.abstractmethod
    async def delete_message(self, account: str, mailbox: str, uid: int) -> None:
        """Remove a message for good.

        Raises:
            NoSuchAccount, NoSuchMailbox, NoSuchMessage: if there is no such account, mailbox or message.
            MailboxReadOnly: if the mailbox is read-only.
        """

    @abc.abstractmethod
    def deliver(self, targets: Sequence[Target], *, partial: bool = False) -> Delivery:
        """Begin to store one message in several mailboxes.

        Args:
            partial: with False (SMTP), the message is stored in all targets or in none; with True (LMTP), in
                those that do not refuse it, still in one step.
        """

    # --- the store itself

    @abc.abstractmethod
    def watch(self, account: str) -> Watch:
        """Watch an account: `async for changed in store.watch("ann")`.

        If other processes can use the store, their changes are reported within half a second. If the watcher does not
        keep up, many changes become one `missed`.
        """

    @abc.abstractmethod
    async def aclose(self) -> None:
        """Release files, threads and connections, and end all watches; a second call does nothing."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()


def require_store(store: object) -> None:
    """Check that an object is a store, so that a mistake shows at once and not when mail arrives.

    Any object that has the methods of a `MailStore` is accepted.

    Raises:
        TypeError: if it is not a store, but for example its path or its class.
    """
    is_store = all(callable(getattr(store, name, None)) for name in MailStore.__abstractmethods__)
    if not is_store or isinstance(store, type):
        hint = f"; use JSONFileStore({str(store)!r})" if isinstance(store, str | PurePath) else ""
        raise TypeError(f"a store must be an instance of a MailStore, not {store!r}{hint}")
