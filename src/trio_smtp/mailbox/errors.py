"""The exceptions that stores raise; `trio_smtp.mailbox.store` has these names too."""

from __future__ import annotations

__all__ = [
    "AccountExists",
    "AddressTaken",
    "InvalidFlag",
    "InvalidName",
    "MailboxExists",
    "MailboxReadOnly",
    "MessageTooBig",
    "MessageUnreadable",
    "NoSuchAccount",
    "NoSuchMailbox",
    "NoSuchMessage",
    "QuotaExceeded",
    "StoreError",
    "StoreUnavailable",
]


class StoreError(Exception):
    """The store refused; base class of all others here. The text is for the operator, not for a mail client."""


class NoSuchAccount(StoreError):
    """There is no account of this name."""


class AccountExists(StoreError):
    """The name is taken by another account."""


class AddressTaken(StoreError):
    """The address belongs to another account."""


class NoSuchMailbox(StoreError):
    """The account has no mailbox of this name."""


class MailboxExists(StoreError):
    """The account has a mailbox of this name already."""


class MailboxReadOnly(StoreError):
    """The mailbox refuses every change."""


class NoSuchMessage(StoreError):
    """The mailbox has no message with this UID."""


class QuotaExceeded(StoreError):
    """The account would hold more octets than its quota; it may have room once messages are deleted."""


class MessageTooBig(QuotaExceeded):
    """The message alone has more octets than the quota, so deleting others makes no room for it."""


class InvalidName(StoreError):
    """A name, address, description or note cannot be used; or INBOX would be deleted or renamed."""


class InvalidFlag(StoreError):
    """A flag is neither a system flag nor a keyword (RFC 9051 §2.3.2), or a message would have too many flags."""


class StoreUnavailable(StoreError):
    """The store cannot carry out the request now (disk full, store closed, machine fault); later it may."""


class MessageUnreadable(StoreUnavailable):
    """The content of this one message is damaged, or the disk cannot read it; other messages are not affected."""
