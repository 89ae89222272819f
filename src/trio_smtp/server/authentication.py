"""Logins against the accounts of a store."""

from __future__ import annotations

import trio

from trio_smtp.handler import Refuse
from trio_smtp.mailbox.passwords import verify_password
from trio_smtp.mailbox.store import Account, MailStore, NoSuchAccount

__all__ = ["StoreAuthenticator"]


class StoreAuthenticator:
    """Checks passwords against those of a store's accounts; the identity is the account's name.

    A hash takes a tenth of a second and tens of MiB on purpose, so hashes run in threads, few at a time, and who would
    have to wait behind too many others hears 454 (RFC 4954 §6). Unknown users cost the same as wrong passwords.

    Args:
        store: whose accounts; the user name is an account's name or one of its addresses.
        at_once: hashes at one time.
        waiting: logins that may wait for their turn.
    """

    def __init__(self, store: MailStore, *, at_once: int = 2, waiting: int = 64) -> None:
        self._store = store
        self._limiter = trio.CapacityLimiter(at_once)
        self._waiting = waiting

    async def __call__(self, username: str, password: str, /) -> str | None:
        """The account's name, None if name or password is wrong.

        Raises:
            Refuse: if too many logins wait already.
        """
        if self._limiter.statistics().tasks_waiting >= self._waiting:
            raise Refuse(454, "Too many logins at once, try again later", "4.7.0")
        account: Account | None
        try:
            account = await self._store.get_account(username)
        except NoSuchAccount:
            account = await self._store.find_account(username)
        credentials = None if account is None else await self._store.get_credentials(account.name)
        matches = await trio.to_thread.run_sync(verify_password, credentials, password, limiter=self._limiter)
        return account.name if account is not None and matches else None
