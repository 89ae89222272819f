"""What a store speaks of: accounts, mailboxes, messages, deliveries, changes and searches.

All are values: they cannot be changed, and two that say the same are equal. Programs take them from `store`.
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
    """One person or role. `quota` (None is no limit) and `used` are octets in all its mailboxes."""

    name: str
    description: str = ""
    addresses: tuple[str, ...] = ()
    quota: int | None = None
    used: int = 0


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a password is checked against: made and read by `passwords`, to a store one line of ASCII."""

    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A mailbox and its counts; `unseen` lack the flag SEEN. New UIDs will be `uid_next` or more."""

    name: str
    uid_validity: int
    uid_next: int
    read_only: bool
    messages: int
    unseen: int


@dataclass(frozen=True, slots=True)
class MessageInfo:
    """What is known of a message without reading it."""

    uid: int
    flags: frozenset[str]
    size: int
    internal_date: datetime


@dataclass(frozen=True, slots=True)
class MessageSummary(MessageInfo):
    """A line of a listing: header fields decoded for people, "" where missing.

    `recipients` is To and Cc; stores that come with trio-smtp give Delivered-To where these name nobody.
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
        """What people see of it, found when it is first asked for (`trio_smtp.mime.parse`); never raises."""
        return parse(self.content)


@dataclass(frozen=True, slots=True)
class Target:
    """Where a delivery goes; `prefix` (trace header lines) is stored in front of the body that all share."""

    account: str
    mailbox: str = INBOX
    prefix: bytes = b""


@dataclass(frozen=True, slots=True)
class Delivered:
    """Where a message is now."""

    account: str
    mailbox: str
    uid: int
    uid_validity: int


@dataclass(frozen=True, slots=True)
class Changed:
    """Something in an account that is watched is not what it was.

    Attributes:
        what: `message-added` by a delivery, an append, a copy or a move; `message-removed` by a deletion or a move;
            `flags` of a message; `mailbox-created`, `-renamed`, `-deleted`; `read-only`, set or not any more;
            `account`, its description, addresses, password or quota; `account-deleted`, after which nothing comes;
            `missed`: any number of changes, so look again at all that matters.
        mailbox: its name, for a renamed one the old name; "" where no mailbox is meant.
        uid: of the message; 0 where none is meant.
        new_name: of a renamed mailbox.
    """

    what: What
    mailbox: str = ""
    uid: int = 0
    new_name: str = ""


@dataclass(frozen=True, slots=True)
class Search:
    """A condition on messages: all that is given must hold, so `Search()` holds for every message.

    Texts are looked for anywhere in the field, without regard to case (RFC 9051 §6.4.4). Conditions combine
    with `&`, `|` and `~`: unseen mail from Ann is `Search(sender="ann") & ~Search(flags={SEEN})`.

    Args:
        subject, sender, recipient: text in Subject; in From; in To, Cc or Bcc.
        header: (field name, text); the empty text asks only whether there is such a field.
        body: text behind the header: as it stands, or in a part that is text, with its charset and transfer encoding
            undone as far as the default `MimeLimits` go.
        text: text anywhere, in the header or the body.
        uids: the message has one of these UIDs; a range will do.
        flags: all of these are set.
        since, before: internal date, from `since` on, earlier than `before`; both aware.
        larger, smaller: octets, more than and fewer than.
        all_of, any_of, none_of: what the operators make. `any_of=()` asks nothing.

    Raises:
        ValueError: a date without time zone.
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
        if self.uids is not None and not isinstance(self.uids, range):  # a long list is asked for each message
            object.__setattr__(self, "uids", frozenset(self.uids))
        for date in (self.since, self.before):
            if date is not None and date.tzinfo is None:
                raise ValueError("since and before need a time zone")

    def __and__(self, other: Search) -> Search:
        return Search(all_of=(self, other))

    def __or__(self, other: Search) -> Search:
        return Search(any_of=(self, other))

    def __invert__(self) -> Search:
        return Search(none_of=(self,))
