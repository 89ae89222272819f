"""``trio-smtp mail search|flag|copy|move``: find messages, change their flags, copy and move them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Any

import trio

from trio_smtp._escape import escape
from trio_smtp.cli.errors import CommandError, UsageError
from trio_smtp.cli.output import Record, legible, say_result, say_table, spaced
from trio_smtp.cli.settings import StoreURL
from trio_smtp.cli.stores import opened
from trio_smtp.mailbox.headers import SHOWN
from trio_smtp.mailbox.store import FlagMode, MailStore, MessageSummary, Search
from trio_smtp.mime.addresses import read_addresses

__all__ = ["check_uids", "chosen", "copy", "flag", "move", "record", "say_messages", "search", "wait_for"]

_PAGE = 500  # messages that are fetched at a time


async def search(
    *,
    account: str,
    conditions: Sequence[tuple[str, Any]],
    any_of: bool,
    wait: float | None,
    mailbox: str,
    store: StoreURL,
    as_json: bool,
) -> None:
    """List the messages that meet all conditions, or with `any_of` one of them, sorted by UID.

    Raises:
        CommandError: if there is no such message after `wait` seconds.
    """
    if not conditions:
        raise UsageError("no search condition was given; trio-smtp mail search --help lists the conditions")
    parts = tuple(_condition(kind, value) for kind, value in conditions)
    wanted = Search(any_of=parts) if any_of else Search(all_of=parts)
    async with opened(store) as mail_store:
        find = partial(mail_store.find_messages, account, mailbox, wanted)
        if wait is not None:
            await wait_for(find, mail_store, account, wait)
        await say_messages(find, as_json=as_json)


async def wait_for(
    find: Callable[..., Awaitable[list[MessageSummary]]], mail_store: MailStore, account: str, seconds: float
) -> None:
    """Wait until `find`, which is called as in `say_messages`, finds a message.

    Raises:
        CommandError: if it finds none within `seconds`.
    """
    async with mail_store.watch(account) as changes:
        with trio.move_on_after(seconds):
            while not await find(after=0, limit=1):
                await anext(changes, None)  # None if the account was deleted; then `find` raises
            return
    raise CommandError(f"no message was found within {seconds:g} seconds")


async def say_messages(find: Callable[..., Awaitable[list[MessageSummary]]], *, as_json: bool) -> None:
    """Print the messages that `find` returns, page by page. `find` is called with `after` and `limit`."""
    columns = ("uid", "size", "date", "flags", "sender", "to", "subject")
    row = record if as_json else _row
    page = await find(after=0, limit=_PAGE)
    say_table(map(row, page), columns, as_json=as_json)
    while len(page) == _PAGE:
        page = await find(after=page[-1].uid, limit=_PAGE)
        say_table(map(row, page), columns, as_json=as_json, titles=False)


def _condition(kind: str, value: Any) -> Search:
    if kind == "flag":
        return Search(flags={value})
    if kind == "no_flag":
        return ~Search(flags={value})
    return Search(**{kind: value})


async def flag(
    *,
    account: str,
    uids: Sequence[int],
    changes: Sequence[tuple[FlagMode, str | None]],
    mailbox: str,
    store: StoreURL,
    as_json: bool,
) -> None:
    """Change the flags of these messages, or of none if one of them does not exist."""
    mode = changes[0][0]  # the parser allows only one mode per command
    flags = [name for _, name in changes if name is not None]
    async with opened(store) as mail_store:
        for uid in await check_uids(mail_store, account, mailbox, uids):
            info = await mail_store.set_flags(account, mailbox, uid, flags, mode)
            text = f"Flags of message {uid}: {' '.join(sorted(info.flags)) or 'none'}"
            say_result({"uid": uid, "flags": sorted(info.flags)}, text, as_json=as_json)


async def copy(*, account: str, uids: Sequence[int], to: str, mailbox: str, store: StoreURL, as_json: bool) -> None:
    """Copy messages into another mailbox of the account."""
    await _place("copied", account, uids, to, mailbox, store, as_json=as_json)


async def move(*, account: str, uids: Sequence[int], to: str, mailbox: str, store: StoreURL, as_json: bool) -> None:
    """Move messages into another mailbox of the account."""
    await _place("moved", account, uids, to, mailbox, store, as_json=as_json)


async def _place(
    done: str, account: str, uids: Sequence[int], to: str, mailbox: str, store: StoreURL, *, as_json: bool
) -> None:
    async with opened(store) as mail_store:
        place = mail_store.copy_message if done == "copied" else mail_store.move_message
        for uid in await check_uids(mail_store, account, mailbox, uids):
            placed = await place(account, mailbox, uid, to)
            text = f"Message {uid} {done} to {escape(placed.mailbox)}; its UID there is {placed.uid}."
            say_result({"uid": uid, "mailbox": placed.mailbox, "new_uid": placed.uid}, text, as_json=as_json)


async def chosen(mail_store: MailStore, account: str, mailbox: str, uids: Sequence[int]) -> AsyncGenerator[int]:
    """These UIDs, or if there are none those of all messages in ascending order. The mailbox is read page by page."""
    for uid in uids:
        yield uid
    after = 0
    while not uids and (page := await mail_store.list_messages(account, mailbox, after=after, limit=_PAGE)):
        for message in page:
            yield message.uid
        after = page[-1].uid


async def check_uids(mail_store: MailStore, account: str, mailbox: str, uids: Iterable[int]) -> list[int]:
    """The UIDs without duplicates.

    Raises:
        CommandError: if there is no message with one of them.
    """
    uids = list(dict.fromkeys(uids))
    for uid in uids:
        found = await mail_store.list_messages(account, mailbox, after=uid - 1, limit=1)
        if [message.uid for message in found] != [uid]:
            raise CommandError(
                f"{mailbox!r} has no message {uid}, so nothing was done; trio-smtp mail list shows all messages"
            )
    return uids


def _row(summary: MessageSummary) -> Record:
    """The record for a table. To leave room for the subject, it has the first recipient and the number of others."""
    found = read_addresses(summary.recipients.encode(errors="replace"))
    addresses = [each.address for each in found if each is not None and "@" in each.address]
    to = addresses[0] if addresses else summary.recipients
    if len(addresses) > 1:
        to += f" +{len(addresses) - 1}" + "…" * (len(summary.recipients) >= SHOWN)  # the store has cut the text
    return {
        **record(summary),
        "sender": spaced(summary.sender),
        "to": spaced(to),
        "subject": legible(summary.subject),
    }


def record(summary: MessageSummary) -> Record:
    """The record that is printed for a message in JSON."""
    return {
        "uid": summary.uid,
        "size": summary.size,
        "flags": sorted(summary.flags),
        "date": f"{summary.internal_date:%Y-%m-%dT%H:%M:%SZ}",
        "subject": summary.subject,
        "sender": summary.sender,
        "recipients": summary.recipients,
    }
