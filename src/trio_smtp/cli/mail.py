"""``trio-smtp mail``: the messages in a mailbox."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from trio_smtp._escape import escape
from trio_smtp.cli.attachments import save
from trio_smtp.cli.confirm import confirm
from trio_smtp.cli.errors import CommandError, UsageError
from trio_smtp.cli.messages import check_uids, chosen, record, say_messages, wait_for
from trio_smtp.cli.output import is_coloured, printable, say, say_json, say_octets, say_result
from trio_smtp.cli.parsed import envelope_record, parsed_record
from trio_smtp.cli.readable import readable
from trio_smtp.cli.settings import StoreURL
from trio_smtp.cli.stores import opened
from trio_smtp.mailbox.headers import summarise
from trio_smtp.mailbox.store import Message, MessageSummary, NoSuchMessage
from trio_smtp.mime import page

__all__ = ["delete", "list_all", "record_with_content", "show"]


async def list_all(*, account: str, wait: float | None, mailbox: str, store: StoreURL, as_json: bool) -> None:
    """List the messages of a mailbox, sorted by UID.

    Raises:
        CommandError: if there is no message after `wait` seconds.
    """
    async with opened(store) as mail_store:
        find = partial(mail_store.list_messages, account, mailbox)
        if wait is not None:
            await wait_for(find, mail_store, account, wait)
        await say_messages(find, as_json=as_json)


async def show(
    *,
    account: str,
    uids: Sequence[int],
    mailbox: str,
    raw: bool,
    part: str | None,
    as_html: bool,
    folder: Path | None,
    store: StoreURL,
    as_json: bool,
) -> None:
    """Print messages as text, as JSON, byte for byte, as an HTML page, or a part of each; or save their attachments."""
    if as_html and len(uids) > 1:
        raise UsageError("--html shows one message only; give one UID")
    async with opened(store) as mail_store:
        for at, uid in enumerate(uids):
            message = await mail_store.get_message(account, mailbox, uid)
            if raw:
                say_octets(message.content)
            elif part is not None:
                say_octets(_content_of(message, part))
            elif as_html:
                say_octets(_page_of(message).encode())
            elif folder is not None:
                for path in save(message.parsed.attachments, folder):
                    say(printable(str(path)))
            elif as_json:
                say_json(record_with_content(message))
            else:
                if at:
                    say()
                for line in readable(message, coloured=is_coloured()):
                    say(line)


async def delete(
    *,
    account: str,
    uids: Sequence[int],
    every: bool,
    yes: bool,
    mailbox: str,
    store: StoreURL,
    as_json: bool,
) -> None:
    """Delete these messages for good, or none if one of them does not exist; with `every` all in the mailbox."""
    if every == bool(uids):
        raise UsageError("give either the UIDs of the messages to delete or --all")
    async with opened(store) as mail_store:
        if every:
            # From the end: the more messages follow a message, the longer a store takes to delete it.
            uids = [uid async for uid in chosen(mail_store, account, mailbox, ())][::-1]
            confirm(f"mailbox {mailbox} of {account}", len(uids), yes=yes)
        else:
            uids = await check_uids(mail_store, account, mailbox, uids)
        for uid in uids:
            try:
                await mail_store.delete_message(account, mailbox, uid)
            except NoSuchMessage:  # another process has deleted it in the meantime
                continue
            say_result({"uid": uid}, f"Message {uid} deleted.", as_json=as_json)


def _content_of(message: Message, path: str) -> bytes:
    part = message.parsed.part(path)
    if part is None:
        paths = ", ".join(part.path for part in message.parsed.tree.walk())
        raise CommandError(f"message {message.info.uid} has no part {escape(path)}; its parts are {paths}")
    return part.content


def _page_of(message: Message) -> str:
    shown = page(message.parsed)
    if shown is None:
        raise CommandError(f"message {message.info.uid} has no HTML; leave out --html to show its text")
    return shown


def record_with_content(message: Message) -> Mapping[str, object]:
    """The record that ``mail show --json`` prints for a message."""
    info = message.info
    subject, sender, recipients = summarise(message.content)
    summary = MessageSummary(info.uid, info.flags, info.size, info.internal_date, subject, sender, recipients)
    raw = base64.b64encode(message.content).decode("ascii")
    return {
        **record(summary),
        "envelope": envelope_record(message.content),
        "headers": message.parsed.headers,
        "raw": raw,
        "parsed": parsed_record(message.parsed),
    }
