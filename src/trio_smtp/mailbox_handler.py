"""Delivery into a store: the handler behind ``trio-smtp serve``."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Sequence
from typing import Final

from trio_smtp._escape import escape
from trio_smtp.handler import Body, Handler, HandlerFactory
from trio_smtp.mailbox.store import (
    INBOX,
    Account,
    Delivered,
    Delivery,
    MailboxReadOnly,
    MailStore,
    MessageTooBig,
    NoSuchAccount,
    NoSuchMailbox,
    QuotaExceeded,
    StoreError,
    Target,
    require_store,
)
from trio_smtp.protocol import Address, Envelope, RcptTo, Reply, replies
from trio_smtp.trace import delivered_to, received, return_path, separator_before

__all__ = ["MailboxHandler", "copy_to"]

log = logging.getLogger("trio_smtp")

_REPLIES: Final[dict[type[StoreError], Reply]] = {
    NoSuchAccount: replies.MAILBOX_UNKNOWN,  # the account was removed after RCPT
    NoSuchMailbox: replies.MAILBOX_UNKNOWN,
    MailboxReadOnly: replies.MAILBOX_BUSY,
    MessageTooBig: replies.MAILBOX_OVER_QUOTA,  # first, as it is a kind of QuotaExceeded
    QuotaExceeded: replies.MAILBOX_FULL,
}
"""The reply to each kind of refusal by the store; all other errors get LOCAL_ERROR, so that the client tries again."""


async def copy_to(delivery: Delivery, body: Body) -> None:
    """Write a whole message behind our trace fields, so that its first line cannot continue the last of them."""
    is_first = True
    async for chunk in body:
        await delivery.write(separator_before(chunk) + chunk if is_first else chunk)
        is_first = False


class MailboxHandler(Handler):
    """Delivers into the INBOX of the account that has the recipient's address.

    A domain is local if an account has an address in it. Unknown recipients in a local domain go to `catch_all` if that
    is given; all others get 550 5.1.1. A message to several accounts is stored in all of them or in none; in LMTP each
    recipient gets its own reply. Return-Path, Delivered-To and Received lines are put in front, the rest is byte-exact.

    If the quota of an account is used up, or leaves no room for the size that the client declared (RFC 1870 §6.4), RCPT
    is refused: with 452 4.2.2, or with 552 5.2.2 if the size exceeds the whole quota. The message itself is refused in
    the same way.

    Mail for the postmaster, without a domain or in a local one, must find an account (RFC 5321 §4.5.1): the one that
    has the address, else `postmaster`, else the first account.

    Args:
        store: the accounts and their mail.
        postmaster: the name of the account that gets the postmaster's mail.
        catch_all: the name of the account that gets the mail for unknown users.
    """

    def __init__(self, store: MailStore, postmaster: str | None = None, catch_all: str | None = None) -> None:
        self._store = store
        self._postmaster = postmaster
        self._catch_all = catch_all
        self._accounts: dict[Address, str] = {}  # the account name of each recipient

    @classmethod
    def factory(
        cls, store: MailStore, *, postmaster: str | None = None, catch_all: str | None = None
    ) -> HandlerFactory:
        """Make the factory for `serve_smtp`: one handler for each connection, all delivering into `store`.

        Raises:
            TypeError: if `store` is not a `MailStore`.
        """
        require_store(store)
        return HandlerFactory(lambda: cls(store, postmaster, catch_all))

    async def rcpt(self, event: RcptTo) -> Reply | None:
        envelope = self.session.envelope
        assert envelope is not None  # there is no RCPT without MAIL
        if not envelope.recipients:
            self._accounts.clear()  # drops those of the previous transaction
        try:
            account = await self._find(event.recipient)
        except StoreError as error:
            return self._reply_to(error)
        if account is None:
            return replies.MAILBOX_UNKNOWN
        if account.quota is not None:
            octets = envelope.params.size or 1
            if octets > account.quota:
                return replies.MAILBOX_OVER_QUOTA
            if octets > account.quota - account.used:
                return replies.MAILBOX_FULL
        self._accounts[event.recipient] = account.name
        return None

    async def message(self, envelope: Envelope, body: Body) -> Reply | Sequence[Reply] | None:
        session = self.session
        trace = received(session, envelope.recipients, smtputf8=envelope.params.smtputf8, when=int(time.time()))
        path = return_path(envelope.sender)
        targets: list[Target] = []
        for recipient in envelope.recipients:
            target = Target(self._accounts[recipient], INBOX, path + delivered_to(recipient) + trace)
            targets.append(target)  # not a comprehension, whose closure cells would live as long as the message
        try:
            async with self._store.deliver(targets, partial=session.lmtp) as delivery:
                await copy_to(delivery, body)
                results = await delivery.commit()
        except StoreError as error:
            return self._reply_to(error)
        return list(map(self._reply_to, results)) if session.lmtp else None

    async def _find(self, recipient: Address) -> Account | None:
        store = self._store
        if recipient.domain and (account := await store.find_recipient(str(recipient))) is not None:
            return account
        is_postmaster = recipient.local_part.lower() == "postmaster"
        if not (is_postmaster or self._catch_all) or not await self._is_ours(recipient.domain):
            return None
        name = self._postmaster if is_postmaster else self._catch_all
        if name is not None:
            with contextlib.suppress(NoSuchAccount):
                return await store.get_account(name)
        return await store.first_account() if is_postmaster else None

    async def _is_ours(self, domain: str) -> bool:
        """Whether an account has an address in this domain; ``""`` stands for the server itself."""
        return not domain or await self._store.has_domain(domain)

    def _reply_to(self, result: Delivered | StoreError) -> Reply:
        if isinstance(result, Delivered):
            return replies.MESSAGE_ACCEPTED
        reply = next((reply for kind, reply in _REPLIES.items() if isinstance(result, kind)), None)
        if reply is None:
            log.error("%s the store has failed: %s", self.session.id, escape(str(result)))
            return replies.LOCAL_ERROR
        return reply
