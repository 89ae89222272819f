"""The contract of every `MailStore`, as tests to inherit, for the stores of trio-smtp and for those of other packages.

To test your own store, in a test module under pytest-trio's `trio_mode`:

    class TestMyStore(PersistentStoreContract):
        def open_store(self, folder: Path) -> MyStore:
            return MyStore(folder / "mail")

For a store that loses its mail when it is closed, inherit from `StoreContract` instead. Each test checks one rule of
`trio_smtp.mailbox.store`. The fixture `store` has two accounts, ann and bob. `trio_smtp.testing.store_model` has one
more test, which compares the store with a model.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from trio_smtp.mailbox.store import INBOX, SEEN, Credentials, MailStore, Target
from trio_smtp.testing.store_contract.accounts import AccountContract
from trio_smtp.testing.store_contract.deliveries import DeliveryContract
from trio_smtp.testing.store_contract.mailboxes import MailboxContract
from trio_smtp.testing.store_contract.messages import MessageContract
from trio_smtp.testing.store_contract.notes import NoteContract
from trio_smtp.testing.store_contract.tools import CONTENTS, add, contents, deliver, mailbox_of, uids
from trio_smtp.testing.store_contract.watches import WatchContract

__all__ = ["PersistentStoreContract", "StoreContract"]


class StoreContract(AccountContract, MailboxContract, MessageContract, DeliveryContract, NoteContract, WatchContract):
    """The rules for every store."""

    def open_store(self, folder: Path) -> AbstractAsyncContextManager[MailStore]:
        """The store to test. It keeps its files in `folder`, which exists."""
        raise NotImplementedError

    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[MailStore]:
        """An open store with the accounts ann and bob."""
        async with self.open_store(tmp_path) as store:
            await store.create_account("ann", addresses=["ann@example.com"])
            await store.create_account("bob", addresses=["bob@example.com", "bob@example.org"])
            yield store

    async def test_every_store_has_its_own_secret(self, store: MailStore, tmp_path: Path) -> None:
        """Two stores have different secrets, so the secret of one reveals nothing about another."""
        folder = tmp_path / "other"
        folder.mkdir()
        async with self.open_store(folder) as other:
            assert await other.get_secret() != await store.get_secret()

    async def test_close_twice(self, store: MailStore) -> None:
        """A second `aclose` does nothing."""
        await store.aclose()
        await store.aclose()


class PersistentStoreContract(StoreContract):
    """The rules for every store that keeps its mail when it is closed."""

    async def test_everything_is_kept(self, tmp_path: Path) -> None:
        """A store that is closed and opened again has the same contents."""
        async with self.open_store(tmp_path) as store:
            await store.create_account("zoe", password=Credentials("of some kind"), quota=10_000_000)
            await store.create_account("ann", description="Ann ü", addresses=["Ann@example.com"])
            await store.create_mailbox("zoe", "Old")
            await store.create_mailbox("zoe", "../x")
            for content in CONTENTS.values():
                await add(store, content, account="zoe", mailbox="Old", flags=[SEEN, "$Junk"])
            date = datetime(1999, 12, 31, 23, 59, 59, tzinfo=UTC)
            dated = await store.append_message("zoe", INBOX, b"dated", internal_date=date)
            await store.copy_message("zoe", INBOX, dated.uid, "../x")
            await store.move_message("zoe", INBOX, dated.uid, "../x")
            await deliver(store, [Target("ann", INBOX, b"1"), Target("zoe", INBOX, b"2")], b"body")
            await store.delete_message("zoe", "Old", 2)
            await store.set_flags("zoe", "Old", 1, [SEEN], "remove")
            await store.rename_mailbox("zoe", "Old", "Older")
            await store.set_read_only("zoe", "Older", True)
            await store.set_quota("ann", 12345)
            await store.update_account("zoe", description="Zoë", addresses=["zoe@example.com"])
            await store.put_note("key", "text ü", expires=2**40)
            await store.put_note("gone", "text", expires=2**40)
            await store.put_note("gone", "text", expires=0)
            before = await _everything(store)
        async with self.open_store(tmp_path) as store:
            assert await _everything(store) == before
            account = await store.find_account("ann+x@EXAMPLE.com")
            assert account is not None
            assert account.name == "ann"

    async def test_uids_after_reopening(self, tmp_path: Path) -> None:
        """After reopening, no UID and no uid_validity is assigned again, even if its message or mailbox was deleted."""
        async with self.open_store(tmp_path) as store:
            await store.create_account("ann")
            await add(store)
            uid = await add(store)
            await store.delete_message("ann", INBOX, uid)
            validity = (await store.create_mailbox("ann", "Sent")).uid_validity
            await store.delete_mailbox("ann", "Sent")
        async with self.open_store(tmp_path) as store:
            assert (await mailbox_of(store)).uid_next > uid
            assert await add(store) > uid
            assert (await store.create_mailbox("ann", "Sent")).uid_validity > validity

    async def test_not_committed(self, tmp_path: Path) -> None:
        """A delivery that was left without a commit has left nothing when the store is opened again."""
        async with self.open_store(tmp_path) as store:
            await store.create_account("ann")
            async with store.deliver([Target("ann")]) as delivery:
                await delivery.write(CONTENTS["large"])
        async with self.open_store(tmp_path) as store:
            assert await uids(store) == []


async def _everything(store: MailStore) -> list[object]:
    """Everything that the store's methods return."""
    told: list[object] = [await store.get_secret(), await store.get_note("key"), await store.get_note("gone")]
    for account in await store.list_accounts():
        told += [account, await store.get_credentials(account.name)]
        for mailbox in await store.list_mailboxes(account.name):
            told += [mailbox, await store.list_messages(account.name, mailbox.name)]
            told += await contents(store, account.name, mailbox.name)
    return told
