"""What lost records must have said, told by a later one that does not fit.

Of a record that is damaged nothing is known. But who delivers into a mailbox that is not there tells that it was made;
who makes one that is there tells that the one before was deleted or renamed. The later record is whole and counts; so
what it takes for granted is done first, and mail that was accepted is served. What is in the way is kept under another
name, an account without its addresses and its password: it may have been deleted, but who knows.
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

_SHOWN = 50  # characters of a name that are in another one
_NO_UID = 2**63  # behind all


def taken_for_granted(index: Index[Any], operation: Operation[Any]) -> Iterator[Operation[Any]]:
    """What makes an operation fit, if anything does; each is applied before the next is asked for."""
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
    """The mailboxes that an operation takes to be there: account, name, and the UID from which on it has none yet."""
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
    return f"{name[:_SHOWN]} ({index.mailbox(account, mailbox).uid_validity})"  # no other has this number


def _without(index: Index[Any], account: str, addresses: Iterable[str]) -> Iterator[UpdateAccount]:
    """Take addresses from those who cannot have them any more."""
    taken = set(map(address_key, addresses))
    for other in index.accounts():
        left = tuple(each for each in other.addresses if address_key(each) not in taken)
        if other.name != account and left != other.addresses:
            yield UpdateAccount(other.name, other.description, left)
