"""The data types of a store: accounts, mailboxes, messages, deliveries, changes and searches.

All are immutable and are compared by value. Programs import them from `store`.
"""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Literal

from trio_smtp.mailbox.names import INBOX, several
from trio_smtp.mime import ParsedMessage, parse

__all__ = [
    "SEEN",
    "Account",
    "Changed",
    "Credentials",
    "Delivered",
    "Mailbox",
    "Message",
    "MessageInfo",
    "MessageSummary",
    "Search",
    "Target",
    "What",
]

SEEN = r"\Seen"

What = Literal[
    "message-added",
    "message-removed",
    "flags",
    "mailbox-created",
    "mailbox-renamed",
    "mailbox-deleted",
    "read-only",
    "account",
    "account-deleted",
    "missed",
]


@dataclass(frozen=True, slots=True)
class Account:
    """The account of a person or role. `quota` (None is no limit) and `used` are octets in all its mailboxes."""

    name: str
    description: str = ""
    addresses: tuple[str, ...] = ()
    quota: int | None = None
    used: int = 0


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a password is checked against. `passwords` makes and reads it; to a store it is just a line of ASCII."""

    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A mailbox and its counts; `unseen` messages lack the flag SEEN. New UIDs will be `uid_next` or more."""

    name: str
    uid_validity: int
    uid_next: int
    read_only: bool
    messages: int
    unseen: int


@dataclass(frozen=True, slots=True)
class MessageInfo:
    """What a store knows of a message without reading it."""

    uid: int
    flags: frozenset[str]
    size: int
    internal_date: datetime


@dataclass(frozen=True, slots=True)
class MessageSummary(MessageInfo):
    """A line of a listing: header fields decoded for display, "" if missing.

    `recipients` is To and Cc; the stores that come with trio-smtp use Delivered-To if both are empty.
    """

    subject: str
    sender: str
    recipients: str


@dataclass(frozen=True)
class Message:
    """A message as it was stored, byte for byte."""

    info: MessageInfo
    content: bytes

    @cached_property
    def parsed(self) -> ParsedMessage:
        """The message as `trio_smtp.mime.parse` parses it, computed on first access; never raises."""
        return parse(self.content)


@dataclass(frozen=True, slots=True)
class Target:
    """Where a delivery goes; `prefix` (trace header lines) is stored in front of the body that all targets share."""

    account: str
    mailbox: str = INBOX
    prefix: bytes = b""


@dataclass(frozen=True, slots=True)
class Delivered:
    """Where a message was stored."""

    account: str
    mailbox: str
    uid: int
    uid_validity: int


@dataclass(frozen=True, slots=True)
class Changed:
    """A change in a watched account.

    Attributes:
        what: `message-added` by a delivery, an append, a copy or a move; `message-removed` by a deletion or a move;
            `flags` of a message; `mailbox-created`, `-renamed`, `-deleted`; `read-only`, set or cleared; `account`: its
            description, addresses, password or quota; `account-deleted`, always the last change; `missed`: any number
            of changes, so read again all that matters.
        mailbox: name of the mailbox, the old name if it was renamed; "" if the change concerns no mailbox.
        uid: of the message; 0 if the change concerns no message.
        new_name: of a renamed mailbox; "" otherwise.
    """

    what: What
    mailbox: str = ""
    uid: int = 0
    new_name: str = ""


@dataclass(frozen=True, slots=True)
class Search:
    """A condition on messages: all given arguments must match, so `Search()` holds for every message.

    A text matches anywhere in the field, without regard to case (RFC 9051 §6.4.4). Conditions combine
    with `&`, `|` and `~`: unseen mail from Ann is `Search(sender="ann") & ~Search(flags={SEEN})`.

    Args:
        subject, sender, recipient: text in Subject; in From; in To, Cc or Bcc.
        header: (field name, text); with an empty text, the field only has to exist.
        body: text after the header, either in the raw content or in a text part whose charset and transfer encoding
            are decoded, within the default `MimeLimits`.
        text: text anywhere, in the header or the body.
        uids: the message has one of these UIDs; may be a range.
        flags: all of these are set.
        since, before: internal date, from `since` on, earlier than `before`; both aware.
        larger, smaller: size in octets, more than `larger` and less than `smaller`.
        all_of, any_of, none_of: the conditions that the operators combine. `any_of=()` is no condition.

    Raises:
        ValueError: if a date has no time zone.
    """

    subject: str | None = None
    sender: str | None = None
    recipient: str | None = None
    header: tuple[str, str] | None = None
    body: str | None = None
    text: str | None = None
    uids: Collection[int] | None = None
    flags: AbstractSet[str] = frozenset()
    since: datetime | None = None
    before: datetime | None = None
    larger: int | None = None
    smaller: int | None = None
    all_of: tuple[Search, ...] = ()
    any_of: tuple[Search, ...] = ()
    none_of: tuple[Search, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "flags", frozenset(several(self.flags)))
        if self.uids is not None and not isinstance(self.uids, range):  # a set: every UID is looked up
            object.__setattr__(self, "uids", frozenset(self.uids))
        for date in (self.since, self.before):
            if date is not None and date.tzinfo is None:
                raise ValueError(f"since and before need a time zone, and {date!r} has none")

    def __and__(self, other: Search) -> Search:
        return Search(all_of=(self, other))

    def __or__(self, other: Search) -> Search:
        return Search(any_of=(self, other))

    def __invert__(self) -> Search:
        return Search(none_of=(self,))
