"""What a store raises when it refuses; `trio_smtp.mailbox.store` has these names too."""

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
    """A store refused; the base of all that follows. The text is for the operator, not for a mail client."""


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
    """The account would hold more octets than its quota; when some of them have gone it may have room."""


class MessageTooBig(QuotaExceeded):
    """The message alone has more octets than the quota, so there will never be room for it."""


class InvalidName(StoreError):
    """A name, address or description that cannot be used; or INBOX where it would have to go away."""


class InvalidFlag(StoreError):
    """Neither a system flag nor a keyword (RFC 9051 §2.3.2)."""


class StoreUnavailable(StoreError):
    """The store cannot do it now (disk full, closed, a fault of the machine); later it may."""


class MessageUnreadable(StoreUnavailable):
    """The content of this one message is damaged, or the disk does not read it; others can be read."""
