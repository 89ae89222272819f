"""``trio-smtp account``: the accounts that get mail and can log in."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress

from trio_smtp._escape import escape
from trio_smtp.cli.confirm import confirm
from trio_smtp.cli.errors import CommandError, UsageError
from trio_smtp.cli.output import Record, say_record, say_result, say_table
from trio_smtp.cli.password import ask_for_password, read_password
from trio_smtp.cli.settings import StoreURL
from trio_smtp.cli.stores import opened
from trio_smtp.mailbox.passwords import hash_password, verify_password
from trio_smtp.mailbox.store import Account, Credentials, MailStore, NoSuchAccount

__all__ = ["add", "change", "check", "list_all", "passwd", "quota", "remove", "show"]


async def add(
    *,
    name: str,
    addresses: Sequence[str],
    description: str,
    quota: int | None,
    password_stdin: bool,
    store: StoreURL,
    as_json: bool,
) -> None:
    """Create an account, and the store if there is none.

    With neither a terminal nor ``--password-stdin`` the account has no password, so it can only receive mail.
    """
    password = _new_password(password_stdin) if password_stdin or sys.stdin.isatty() else None
    async with opened(store, create=True) as mail_store:
        account = await mail_store.create_account(
            name, description=description, addresses=addresses, password=password, quota=quota
        )
    without = " without a password" * (password is None)
    text = f"Account {escape(name)} added{without}; it receives mail for {escape(', '.join(account.addresses))}."
    say_result(_record(account), text, as_json=as_json)


async def list_all(*, store: StoreURL, as_json: bool) -> None:
    """List the accounts in the order in which they were created."""
    async with opened(store) as mail_store:
        accounts = await mail_store.list_accounts()
    say_table(map(_record, accounts), ("name", "used", "quota", "addresses", "description"), as_json=as_json)


async def show(*, name: str, store: StoreURL, as_json: bool) -> None:
    """Show one account."""
    async with opened(store) as mail_store:
        account = await _find(mail_store, name)
        credentials = await mail_store.get_credentials(account.name)
        mailboxes = await mail_store.list_mailboxes(account.name)
    say_record(
        {
            **_record(account),
            "password": credentials is not None,
            "mailboxes": len(mailboxes),
            "messages": sum(mailbox.messages for mailbox in mailboxes),
        },
        as_json=as_json,
    )


async def change(
    *, name: str, addresses: Sequence[str] | None, description: str | None, store: StoreURL, as_json: bool
) -> None:
    """Change the addresses or the description of an account."""
    if addresses is None and description is None:
        raise UsageError("nothing to change; give --address, --description or both")
    async with opened(store) as mail_store:
        account = await mail_store.update_account(name, addresses=addresses, description=description)
    text = f"Account {escape(name)} changed; it receives mail for {escape(', '.join(account.addresses))}."
    say_result(_record(account), text, as_json=as_json)


async def quota(*, name: str, octets: int | None, store: StoreURL, as_json: bool) -> None:
    """Set the quota of an account."""
    async with opened(store) as mail_store:
        account = await mail_store.set_quota(name, octets)
    limit = "no quota" if octets is None else f"a quota of {octets} octets"
    text = f"Account {escape(name)} has {limit} now; its messages use {account.used} octets."
    say_result(_record(account), text, as_json=as_json)


async def passwd(*, name: str, password_stdin: bool, store: StoreURL, as_json: bool) -> None:
    """Set the password of an account."""
    async with opened(store) as mail_store:
        name = (await _find(mail_store, name)).name
        await mail_store.set_password(name, _new_password(password_stdin))
    say_result({"name": name}, f"Account {escape(name)} has a new password.", as_json=as_json)


async def check(*, name: str, password_stdin: bool, store: StoreURL, as_json: bool) -> None:
    """Check a password of an account. Fail if it is wrong."""
    async with opened(store) as mail_store:
        name = (await _find(mail_store, name)).name
        credentials = await mail_store.get_credentials(name)
    password = read_password(from_stdin=password_stdin)
    try:
        is_right = verify_password(credentials, password)
    except (RuntimeError, ValueError) as error:
        raise CommandError(f"the password of account {name} cannot be checked: {error}") from error
    if not is_right:
        raise CommandError(f"wrong password for account {name}")
    say_result({"name": name}, f"The password is right for account {escape(name)}.", as_json=as_json)


async def remove(*, name: str, yes: bool, store: StoreURL, as_json: bool) -> None:
    """Remove an account with all its mail."""
    async with opened(store) as mail_store:
        mailboxes = await mail_store.list_mailboxes(name)
        confirm(f"account {name}", sum(mailbox.messages for mailbox in mailboxes), yes=yes)
        await mail_store.delete_account(name)
    say_result({"name": name}, f"Account {escape(name)} removed.", as_json=as_json)


async def _find(mail_store: MailStore, name: str) -> Account:
    """The account with this name, or else the one with this address, because people log in with either."""
    with suppress(NoSuchAccount):
        return await mail_store.get_account(name)
    account = await mail_store.find_account(name)
    return account or await mail_store.get_account(name)  # raises NoSuchAccount


def _record(account: Account) -> Record:
    return {
        "name": account.name,
        "description": account.description,
        "addresses": account.addresses,
        "quota": account.quota,
        "used": account.used,
    }


def _new_password(from_stdin: bool) -> Credentials:
    password = read_password(from_stdin=from_stdin)
    if not from_stdin and ask_for_password("Repeat the password: ") != password:
        raise CommandError("the two passwords differ; nothing was changed")
    try:
        return hash_password(password)
    except ValueError as error:
        raise CommandError(f"{error}; nothing was changed") from error
