"""``trio-smtp mail``: the messages in a mailbox."""

from __future__ import annotations

import base64
import sys
from collections.abc import Sequence
from functools import partial as bind

from trio_smtp.cli.messages import check_uids, record, say_messages
from trio_smtp.cli.output import Record, say, say_json
from trio_smtp.cli.readable import readable
from trio_smtp.cli.settings import StoreURL
from trio_smtp.cli.stores import opened
from trio_smtp.mailbox.headers import summarise
from trio_smtp.mailbox.store import Message, MessageSummary

__all__ = ["delete", "list_all", "show"]


async def list_all(*, account: str, mailbox: str, store: StoreURL, as_json: bool) -> None:
    """List the messages of a mailbox, by UID ascending."""
    async with opened(store) as mail_store:
        await say_messages(bind(mail_store.list_messages, account, mailbox), as_json=as_json)


async def show(*, account: str, uids: Sequence[int], mailbox: str, raw: bool, store: StoreURL, as_json: bool) -> None:
    """Print messages: for people, as JSON, or byte for byte."""
    async with opened(store) as mail_store:
        for at, uid in enumerate(uids):
            message = await mail_store.get_message(account, mailbox, uid)
            if raw:
                sys.stdout.buffer.write(message.content)
            elif as_json:
                say_json(_record_with_content(message))
            else:
                if at:
                    say()
                for line in readable(message.content):
                    say(line)


async def delete(*, account: str, uids: Sequence[int], mailbox: str, store: StoreURL, as_json: bool) -> None:
    """Delete messages for good: all of them, or none if one of them does not exist."""
    async with opened(store) as mail_store:
        for uid in await check_uids(mail_store, account, mailbox, uids):
            await mail_store.delete_message(account, mailbox, uid)
            if as_json:
                say_json({"uid": uid})
            else:
                say(f"Message {uid} deleted.")


def _record_with_content(message: Message) -> Record:
    info = message.info
    subject, sender, recipients = summarise(message.content)
    summary = MessageSummary(info.uid, info.flags, info.size, info.internal_date, subject, sender, recipients)
    return {**record(summary), "raw": base64.b64encode(message.content).decode("ascii")}
