"""Logins against the accounts of a store."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Final, TypeVar

import trio

from trio_smtp._checks import check_type
from trio_smtp._escape import escape
from trio_smtp.handler import Refuse
from trio_smtp.mailbox.passwords import hash_password, needs_rehash, scram_keys, verify_password
from trio_smtp.mailbox.store import Account, Credentials, MailStore, NoSuchAccount, StoreError, require_store
from trio_smtp.sasl import ScramKeys
from trio_smtp.server.log import log
from trio_smtp.server.login import Authenticator
from trio_smtp.server.nobody import Nobody

__all__ = ["StoreAuthenticator"]

_T = TypeVar("_T")


class StoreAuthenticator(Authenticator):
    """Checks passwords, SCRAM proofs and client certificates against a store's accounts; identities are account names.

    A hash takes a tenth of a second and tens of MiB on purpose. So hashes run in threads, few at a time and with a low
    priority, and a client that would have to wait behind too many others gets 454 (RFC 4954 §6). An unknown user name
    costs the same as a wrong password, and gets a salt for SCRAM like any other (module `nobody`).

    If the stored hash of a password has outdated parameters or no SCRAM keys, the password is hashed again when its
    owner logs in with PLAIN or LOGIN. SCRAM does not send the password, so it refuses accounts without keys.

    Args:
        store: the accounts; a user name is an account's name or one of its addresses.
        at_once: hashes at one time, at least 1.
        waiting: logins that may wait for their turn.

    Raises:
        TypeError: if `store` is not a `MailStore`, or one of the numbers is not a whole number.
        ValueError: if `at_once` is less than 1, or `waiting` is negative.
    """

    def __init__(self, store: MailStore, *, at_once: int = 2, waiting: int = 64) -> None:
        require_store(store)
        check_type("at_once", at_once, int)
        check_type("waiting", waiting, int)
        if at_once < 1 or waiting < 0:
            raise ValueError(f"at_once must be at least 1 and waiting at least 0, not {at_once} and {waiting}")
        self.store: Final = store
        self._limiter = trio.CapacityLimiter(at_once)
        self._threads = ThreadPoolExecutor(at_once, "trio-smtp-hash", _stand_back)
        self._most = at_once + waiting
        self._nobody = Nobody(store)

    async def check_password(self, username: str, password: str) -> str | None:
        """The account's name, None if name or password is wrong.

        Raises:
            Refuse: if too many logins wait already.
        """
        nobodys = await self._nobody.credentials(username)
        account, credentials = await self._find(username)
        # Checked last, because a login that passes this waits for a thread without a checkpoint in between: no other
        # login can pass meanwhile.
        hashes = self._limiter.statistics()
        if hashes.borrowed_tokens + hashes.tasks_waiting >= self._most:
            raise Refuse(454, "Too many logins at once, try again later", "4.7.0")
        matches = await self._in_thread(partial(verify_password, credentials or nobodys, password))
        if account is None or credentials is None or not matches:
            return None
        if needs_rehash(credentials):
            await self._rehash(account, credentials, password)
        return account.name

    async def scram_keys(self, username: str) -> tuple[str | None, ScramKeys]:
        """The account's name and keys; None and a decoy for an unknown user or an account without keys."""
        nobodys, decoy = await self._nobody.keys(username), await self._nobody.credentials(username)
        account, credentials = await self._find(username)
        read = credentials or decoy  # the keys of either are parsed, so that both cases take the same time
        keys = None if read is None else scram_keys(read)
        if account is None or credentials is None or keys is None:
            return None, nobodys
        return account.name, keys

    async def check_certificate(self, name: str, username: str | None) -> str | None:
        """The account that the name in the certificate belongs to, if `username` is None or belongs to it too."""
        account, _ = await self._find(name)
        wanted = account if username is None else (await self._find(username))[0]
        if account is None or wanted is None or account.name != wanted.name:  # other fields may change in between
            return None
        return account.name

    async def _find(self, username: str) -> tuple[Account | None, Credentials | None]:
        account: Account | None
        try:
            account = await self.store.get_account(username)
        except NoSuchAccount:
            account = await self.store.find_account(username)
        try:
            return account, None if account is None else await self.store.get_credentials(account.name)
        except NoSuchAccount:  # it was removed in between
            return None, None

    async def _rehash(self, account: Account, old: Credentials, password: str) -> None:
        """Store a stronger hash, unless the password has been changed in the meantime."""
        new = await self._in_thread(partial(hash_password, password))
        try:
            await self.store.set_password(account.name, new, replacing=old)
        except StoreError as error:
            log.warning("no stronger hash for account %s: %s", escape(account.name), escape(str(error)))

    async def _in_thread(self, function: Callable[[], _T]) -> _T:
        return await trio.to_thread.run_sync(lambda: self._threads.submit(function).result(), limiter=self._limiter)


def _stand_back() -> None:
    """Lower the priority of this thread for good, so that mail does not wait while passwords are guessed."""
    if sys.platform == "linux":  # elsewhere it would be the priority of the whole process
        with suppress(OSError):  # a sandbox may forbid it
            os.nice(10)
