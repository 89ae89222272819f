"""What a user who does not exist costs and shows: the same as one who does.

A wrong password costs what the hash of the account costs, and SCRAM shows the salt and the iterations of its keys.
Where parameters have risen, accounts differ in both until their owners have logged in again. So each unknown name is
like one of the accounts: which one is a lot, drawn from the store's secret, that never changes. The accounts are in the
order of their parameters, so that an unknown name moves on as they do, and seldom back.
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

_FRESH: Final = 600  # seconds for which the accounts are not looked at again

_T = TypeVar("_T")


class Nobody:
    """The users who do not exist in a store. To be asked for every user, so that the question takes all the same time.

    Args:
        store: among whose accounts nobody shall be found.
    """

    def __init__(self, store: MailStore) -> None:
        self._store = store
        self._lock = trio.Lock()
        self._stale_at = -math.inf
        self._credentials: Sequence[Credentials] = ()  # one for each account with a password
        self._iterations: Sequence[int] = ()  # one for each account with keys

    async def credentials(self, username: str) -> Credentials | None:
        """Credentials that no password fits; None where no account has any.

        Raises:
            StoreError: the store cannot be read.
        """
        secret = await self._look()
        return _drawn(secret, _folded(username), self._credentials, None)

    async def keys(self, username: str) -> ScramKeys:
        """Keys that no proof fits, always the same for the same name as long as the store's accounts do not change.

        Raises:
            StoreError: as `credentials`.
        """
        secret = await self._look()
        name = _folded(username)
        return keys_of_nobody(secret, name, _drawn(secret, name, self._iterations, SCRAM_ITERATIONS))

    async def _look(self) -> bytes:
        """The store's secret, when the accounts have been looked at."""
        secret = await self._store.get_secret()
        async with self._lock:
            if trio.current_time() >= self._stale_at:
                decoys: dict[Credentials, Credentials] = {}  # one object for each form
                found: list[Credentials] = []
                iterations: list[int] = []
                for account in await self._store.list_accounts():
                    await trio.lowlevel.checkpoint()
                    with suppress(NoSuchAccount, ValueError):  # it is gone meanwhile; it is of a form unknown here
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
    """An address is found in any case and with any subaddress, and so is one that nobody has."""
    return address_keys(username)[-1] if "@" in username else username


def _drawn(secret: bytes, name: str, lots: Sequence[_T], otherwise: _T) -> _T:
    lot = int.from_bytes(hmac.digest(secret, b"lot " + name.encode("utf-8", "surrogatepass"), "sha256")[:8])
    return lots[lot * len(lots) >> 64] if lots else otherwise
