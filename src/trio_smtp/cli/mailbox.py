"""``trio-smtp mailbox``: the mailboxes of an account."""

from __future__ import annotations

from trio_smtp._escape import escape
from trio_smtp.cli.confirm import confirm
from trio_smtp.cli.output import Record, say_result, say_table
from trio_smtp.cli.settings import StoreURL
from trio_smtp.cli.stores import opened
from trio_smtp.mailbox.store import Mailbox

__all__ = ["create", "delete", "list_all", "read_only", "rename"]


async def list_all(*, account: str, store: StoreURL, as_json: bool) -> None:
    """List the mailboxes of an account, INBOX first."""
    async with opened(store) as mail_store:
        mailboxes = await mail_store.list_mailboxes(account)
    say_table(map(_record, mailboxes), ("messages", "unseen", "read_only", "name"), as_json=as_json)


async def create(*, account: str, name: str, store: StoreURL, as_json: bool) -> None:
    """Create an empty mailbox."""
    async with opened(store) as mail_store:
        mailbox = await mail_store.create_mailbox(account, name)
    say_result(_record(mailbox), f"Mailbox {escape(mailbox.name)} of {escape(account)} created.", as_json=as_json)


async def rename(*, account: str, name: str, new_name: str, store: StoreURL, as_json: bool) -> None:
    """Rename a mailbox."""
    async with opened(store) as mail_store:
        await mail_store.rename_mailbox(account, name, new_name)
    text = f"Mailbox {escape(name)} of {escape(account)} renamed to {escape(new_name)}."
    say_result({"name": new_name}, text, as_json=as_json)


async def read_only(*, account: str, name: str, state: str, store: StoreURL, as_json: bool) -> None:
    """Make a mailbox read-only, or writable again."""
    async with opened(store) as mail_store:
        await mail_store.set_read_only(account, name, state == "on")
    text = f"Mailbox {escape(name)} of {escape(account)} is {'read-only' if state == 'on' else 'writable'} now."
    say_result({"name": name, "read_only": state == "on"}, text, as_json=as_json)


async def delete(*, account: str, name: str, yes: bool, store: StoreURL, as_json: bool) -> None:
    """Delete a mailbox with all its mail."""
    async with opened(store) as mail_store:
        messages = await mail_store.count_messages(account, name)
        confirm(f"mailbox {name} of {account}", messages, yes=yes)
        await mail_store.delete_mailbox(account, name)
    say_result({"name": name}, f"Mailbox {escape(name)} of {escape(account)} deleted.", as_json=as_json)


def _record(mailbox: Mailbox) -> Record:
    return {
        "name": mailbox.name,
        "messages": mailbox.messages,
        "unseen": mailbox.unseen,
        "read_only": mailbox.read_only,
        "uid_validity": mailbox.uid_validity,
        "uid_next": mailbox.uid_next,
    }
