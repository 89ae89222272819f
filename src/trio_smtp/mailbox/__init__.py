"""Mailboxes: the interface `MailStore` with its values and errors, and the store in memory.

`json_file` holds the store on disk, which needs trio.
"""

from __future__ import annotations

from trio_smtp.mailbox.memory import MemoryStore
from trio_smtp.mailbox.store import (
    INBOX,
    SEEN,
    Account,
    AccountExists,
    AddressTaken,
    Credentials,
    Delivered,
    Delivery,
    FlagMode,
    InvalidFlag,
    InvalidName,
    Mailbox,
    MailboxExists,
    MailboxReadOnly,
    MailStore,
    Message,
    MessageInfo,
    MessageSummary,
    MessageTooBig,
    NoSuchAccount,
    NoSuchMailbox,
    NoSuchMessage,
    QuotaExceeded,
    Search,
    StoreError,
    StoreUnavailable,
    Target,
)

__all__ = [
    "INBOX",
    "SEEN",
    "Account",
    "AccountExists",
    "AddressTaken",
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
    "MemoryStore",
    "Message",
    "MessageInfo",
    "MessageSummary",
    "MessageTooBig",
    "NoSuchAccount",
    "NoSuchMailbox",
    "NoSuchMessage",
    "QuotaExceeded",
    "Search",
    "StoreError",
    "StoreUnavailable",
    "Target",
]
