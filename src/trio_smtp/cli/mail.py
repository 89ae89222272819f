"""``trio-smtp mail``: the messages in a mailbox."""

from __future__ import annotations

import base64
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from trio_smtp._escape import escape
from trio_smtp.cli.attachments import save
from trio_smtp.cli.errors import CommandError
from trio_smtp.cli.output import Record, is_coloured, printable, say, say_json, say_table
from trio_smtp.cli.parsed import parsed_record
from trio_smtp.cli.readable import readable
from trio_smtp.cli.settings import StoreURL
from trio_smtp.cli.stores import opened
from trio_smtp.mailbox.headers import summarise
from trio_smtp.mailbox.store import Message, MessageSummary

__all__ = ["delete", "list_all", "show"]

_PAGE = 500  # messages read before the first of them is printed


async def list_all(*, account: str, mailbox: str, store: StoreURL, as_json: bool) -> None:
    """List the messages of a mailbox, by UID ascending."""
    columns = ("uid", "size", "date", "flags", "sender", "subject")
    async with opened(store) as mail_store:
        page = await mail_store.list_messages(account, mailbox, limit=_PAGE)
        say_table(map(_record, page), columns, as_json=as_json)
        while len(page) == _PAGE:
            page = await mail_store.list_messages(account, mailbox, after=page[-1].uid, limit=_PAGE)
            say_table(map(_record, page), columns, as_json=as_json, titles=False)


async def show(
    *,
    account: str,
    uids: Sequence[int],
    mailbox: str,
    raw: bool,
    part: str | None,
    folder: Path | None,
    store: StoreURL,
    as_json: bool,
) -> None:
    """Print messages: for people, as JSON, byte for byte, or one part of each; or save what is attached to them."""
    async with opened(store) as mail_store:
        for at, uid in enumerate(uids):
            message = await mail_store.get_message(account, mailbox, uid)
            if raw:
                sys.stdout.buffer.write(message.content)
            elif part is not None:
                sys.stdout.buffer.write(_content_of(message, part))
            elif folder is not None:
                for path in save(message.parsed.attachments, folder):
                    say(printable(str(path)))
            elif as_json:
                say_json(_record_with_content(message))
            else:
                if at:
                    say()
                for line in readable(message, coloured=is_coloured()):
                    say(line)


async def delete(*, account: str, uids: Sequence[int], mailbox: str, store: StoreURL, as_json: bool) -> None:
    """Delete messages for good: all of them, or none if one of them does not exist."""
    uids = list(dict.fromkeys(uids))
    async with opened(store) as mail_store:
        for uid in uids:
            found = await mail_store.list_messages(account, mailbox, after=uid - 1, limit=1)
            if [message.uid for message in found] != [uid]:
                raise CommandError(f"there is no message {uid}, so nothing was deleted; trio-smtp mail list shows all")
        for uid in uids:
            await mail_store.delete_message(account, mailbox, uid)
            if as_json:
                say_json({"uid": uid})
            else:
                say(f"Message {uid} deleted.")


def _record(summary: MessageSummary) -> Record:
    return {
        "uid": summary.uid,
        "size": summary.size,
        "flags": sorted(summary.flags),
        "date": f"{summary.internal_date:%Y-%m-%dT%H:%M:%SZ}",
        "subject": summary.subject,
        "sender": summary.sender,
        "recipients": summary.recipients,
    }


def _content_of(message: Message, path: str) -> bytes:
    part = message.parsed.part(path)
    if part is None:
        paths = ", ".join(part.path for part in message.parsed.tree.walk())
        raise CommandError(f"message {message.info.uid} has no part {escape(path)}; it has {paths}")
    return part.content


def _record_with_content(message: Message) -> Mapping[str, object]:
    info = message.info
    subject, sender, recipients = summarise(message.content)
    summary = MessageSummary(info.uid, info.flags, info.size, info.internal_date, subject, sender, recipients)
    raw = base64.b64encode(message.content).decode("ascii")
    return {**_record(summary), "raw": raw, "parsed": parsed_record(message.parsed)}
