"""Infer what lost records did from a later one that does not fit without them.

Nothing is known of a damaged record. But a delivery into a mailbox that does not exist proves that it was created, and
the creation of one that exists proves that the earlier one was deleted or renamed. The later record is intact and
counts, so the changes that it presupposes are applied first, and mail that was accepted stays available. What is in
the way may have been deleted or not, so it is kept under another name, an account without its addresses and password.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from trio_smtp.mailbox.names import address_key
from trio_smtp.mailbox.operations import (
    AddMessages,
    CopyMessage,
    CreateAccount,
    CreateMailbox,
    DeleteAccount,
    DeleteMailbox,
    DeleteMessage,
    RenameMailbox,
    SetCredentials,
    SetFlags,
    SetQuota,
    SetReadOnly,
    SpendUids,
    UpdateAccount,
)
from trio_smtp.mailbox.store import INBOX, NoSuchAccount, NoSuchMailbox

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from trio_smtp.mailbox.index import Index
    from trio_smtp.mailbox.operations import Operation

_SHOWN = 50  # characters of the old name that are in the new one
_NO_UID = 2**63  # above all UIDs


def taken_for_granted(index: Index[Any], operation: Operation[Any]) -> Iterator[Operation[Any]]:
    """Yield operations that make an operation fit, if any do. The caller applies each before it asks for the next."""
    if isinstance(operation, CreateAccount):
        if _has_account(index, operation.name):
            yield from _account_out_of_the_way(index, operation.name)
        yield from _without(index, operation.name, operation.addresses)
    for account, mailbox, uid in _needed(operation):
        if not _has_account(index, account):
            yield CreateAccount(account, "", (), None, None, index.uid_validity() + 1)
        if _has_mailbox(index, account, mailbox) and mailbox != INBOX and index.messages(account, mailbox, uid - 1, 1):
            yield _mailbox_out_of_the_way(index, account, mailbox)
        if not _has_mailbox(index, account, mailbox):
            yield CreateMailbox(account, mailbox, index.uid_validity() + 1)
    match operation:
        case CreateMailbox(account, name) | RenameMailbox(account, _, name) if _has_mailbox(index, account, name):
            yield _mailbox_out_of_the_way(index, account, name)
        case UpdateAccount(account, _, addresses):
            yield from _without(index, account, addresses)


def _needed(operation: Operation[Any]) -> Iterator[tuple[str, str, int]]:
    """Yield the mailboxes that an operation presupposes: account, name, and a UID that is above all its messages."""
    match operation:
        case AddMessages():
            for message in operation.messages:
                yield message.account, message.mailbox, message.uid
        case CopyMessage(account, mailbox, _, to, new_uid):
            yield account, mailbox, _NO_UID
            yield account, to, new_uid
        case (
            DeleteMailbox(account, mailbox)
            | RenameMailbox(account, mailbox)
            | SetReadOnly(account, mailbox)
            | SetFlags(account, mailbox)
            | DeleteMessage(account, mailbox)
            | SpendUids(account, mailbox)
        ):
            yield account, mailbox, _NO_UID
        case (
            UpdateAccount(account)
            | SetCredentials(account)
            | SetQuota(account)
            | CreateMailbox(account)
            | DeleteAccount(account)
        ):
            yield account, INBOX, _NO_UID
        case _:
            pass


def _has_account(index: Index[Any], account: str) -> bool:
    try:
        index.account(account)
    except NoSuchAccount:
        return False
    return True


def _has_mailbox(index: Index[Any], account: str, mailbox: str) -> bool:
    try:
        index.mailbox(account, mailbox)
    except NoSuchMailbox:
        return False
    return True


def _mailbox_out_of_the_way(index: Index[Any], account: str, name: str) -> RenameMailbox:
    return RenameMailbox(account, name, _other_name(index, account, name, name))


def _account_out_of_the_way(index: Index[Any], name: str) -> Iterator[Operation[Any]]:
    other = _other_name(index, name, INBOX, name)
    for operation in list(index.dump()):
        match operation:
            case CreateAccount(account) if account == name:
                yield replace(operation, name=other, addresses=(), credentials=None)
            case CreateMailbox(account) | SpendUids(account) | SetReadOnly(account) if account == name:
                yield replace(operation, account=other)
            case AddMessages(messages):
                yield AddMessages([replace(each, account=other) for each in messages if each.account == name])
            case _:
                pass
    yield DeleteAccount(name)


def _other_name(index: Index[Any], account: str, mailbox: str, name: str) -> str:
    return f"{name[:_SHOWN]} ({index.mailbox(account, mailbox).uid_validity})"  # no other mailbox has this number


def _without(index: Index[Any], account: str, addresses: Iterable[str]) -> Iterator[UpdateAccount]:
    """Take addresses from all other accounts, as an address belongs to one account at most."""
    taken = set(map(address_key, addresses))
    for other in index.accounts():
        left = tuple(each for each in other.addresses if address_key(each) not in taken)
        if other.name != account and left != other.addresses:
            yield UpdateAccount(other.name, other.description, left)
