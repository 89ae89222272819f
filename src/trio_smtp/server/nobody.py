"""Decoys, with which a login as an unknown user costs and shows the same as one as an existing user.

Checking a wrong password costs what the hash of the account costs, and SCRAM shows the salt and the iteration count of
the account's keys. After the parameters have been raised, accounts differ in both until their owners have logged in
again. So each unknown name imitates one of the accounts: a hash of the name, keyed with the store's secret, gives it a
fixed relative position among them. The accounts are sorted by their parameters, so that an unknown name moves on to
stronger parameters as the accounts do, and seldom back.
"""

from __future__ import annotations

import hmac
import math
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, TypeVar

import trio

from trio_smtp.mailbox.names import address_keys
from trio_smtp.mailbox.passwords import SCRAM_ITERATIONS, decoy, scram_keys
from trio_smtp.mailbox.store import Credentials, MailStore, NoSuchAccount
from trio_smtp.sasl import ScramKeys, keys_of_nobody

__all__ = ["Nobody"]

_FRESH: Final = 600  # seconds before the accounts are read again

_T = TypeVar("_T")


class Nobody:
    """The decoys of a store. Must be asked for existing users too, so that every login takes the same time.

    Args:
        store: the store whose accounts the decoys imitate.
    """

    def __init__(self, store: MailStore) -> None:
        self._store = store
        self._lock = trio.Lock()
        self._stale_at = -math.inf
        self._credentials: Sequence[Credentials] = ()  # one for each account with a password
        self._iterations: Sequence[int] = ()  # one for each account with keys

    async def credentials(self, username: str) -> Credentials | None:
        """Credentials that no password matches; None if no account has a password.

        Raises:
            StoreError: if the store cannot be read.
        """
        secret = await self._look()
        return _drawn(secret, _folded(username), self._credentials, None)

    async def keys(self, username: str) -> ScramKeys:
        """Keys that no proof matches, always the same for the same name as long as the store's accounts do not change.

        Raises:
            StoreError: if the store cannot be read.
        """
        secret = await self._look()
        name = _folded(username)
        return keys_of_nobody(secret, name, _drawn(secret, name, self._iterations, SCRAM_ITERATIONS))

    async def _look(self) -> bytes:
        """Read the accounts again, if it is time to, and return the store's secret."""
        secret = await self._store.get_secret()
        async with self._lock:
            if trio.current_time() >= self._stale_at:
                decoys: dict[Credentials, Credentials] = {}  # shared by all accounts of the same form
                found: list[Credentials] = []
                iterations: list[int] = []
                for account in await self._store.list_accounts():
                    await trio.lowlevel.checkpoint()
                    with suppress(NoSuchAccount, ValueError):  # the account has gone; its hash is of an unknown form
                        credentials = await self._store.get_credentials(account.name)
                        if credentials is not None:
                            form, keys = decoy(credentials), scram_keys(credentials)
                            found.append(decoys.setdefault(form, form))
                            iterations += [] if keys is None else [keys.iterations]
                self._credentials = sorted(found, key=lambda each: each.text)
                self._iterations = sorted(iterations)
                self._stale_at = trio.current_time() + _FRESH
        return secret


def _folded(username: str) -> str:
    """One form for all ways to write an address: accounts, too, are found in any case and with any subaddress."""
    return address_keys(username)[-1] if "@" in username else username


def _drawn(secret: bytes, name: str, lots: Sequence[_T], otherwise: _T) -> _T:
    lot = int.from_bytes(hmac.digest(secret, b"lot " + name.encode("utf-8", "surrogatepass"), "sha256")[:8])
    return lots[lot * len(lots) >> 64] if lots else otherwise
