"""Rules for watching an account."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from trio_smtp.mailbox.store import INBOX, SEEN, Changed, MailStore, NoSuchAccount, Target, Watch
from trio_smtp.testing.store_contract.tools import add, contents, deliver, uids


async def told(watch: Watch, number: int) -> list[Changed]:
    """The next `number` changes."""
    return [await anext(watch) for _ in range(number)]


class WatchContract:
    """Tests of watches."""

    async def test_watched_messages(self, store: MailStore) -> None:
        """A watch reports every change of a message once and in order, and nothing that does not change the account."""
        await store.create_mailbox("ann", "Sent")
        async with store.watch("ann") as watch:
            await deliver(store, [Target("bob"), Target("ann", "inbox"), Target("ann", "Sent")])
            first = await add(store)
            await add(store, account="bob")
            await store.set_flags("ann", INBOX, first, [SEEN])
            copy = await store.copy_message("ann", INBOX, first, "Sent")
            moved = await store.move_message("ann", INBOX, first, "Sent")
            await uids(store)
            await store.delete_message("ann", "Sent", copy.uid)
            [delivered] = await uids(store)
            [sent, *_] = await uids(store, mailbox="Sent")
            assert await told(watch, 8) == [
                Changed("message-added", INBOX, delivered),
                Changed("message-added", "Sent", sent),
                Changed("message-added", INBOX, first),
                Changed("flags", INBOX, first),
                Changed("message-added", "Sent", copy.uid),
                Changed("message-removed", INBOX, first),
                Changed("message-added", "Sent", moved.uid),
                Changed("message-removed", "Sent", copy.uid),
            ]

    async def test_watched_mailboxes(self, store: MailStore) -> None:
        """A watch reports every change of a mailbox or of the account, and last the removal of the account."""
        watch = store.watch("ann")
        await store.create_mailbox("ann", "Sent")
        await store.rename_mailbox("ann", "Sent", "Old")
        await store.set_read_only("ann", "Old", True)
        await store.set_read_only("ann", "Old", False)
        await store.delete_mailbox("ann", "Old")
        await store.set_quota("ann", 1000)
        await store.set_password("ann", None)
        await store.update_account("ann", description="Ann")
        assert await told(watch, 8) == [
            Changed("mailbox-created", "Sent"),
            Changed("mailbox-renamed", "Sent", new_name="Old"),
            Changed("read-only", "Old"),
            Changed("read-only", "Old"),
            Changed("mailbox-deleted", "Old"),
            Changed("account"),
            Changed("account"),
            Changed("account"),
        ]
        await store.delete_account("ann")
        await store.create_account("ann")
        await add(store)
        assert [changed async for changed in watch] == [Changed("account-deleted")]

    async def test_watch_an_unknown_account(self, store: MailStore) -> None:
        """An unknown account cannot be watched."""
        with pytest.raises(NoSuchAccount):
            await anext(store.watch("Ann"))
        with pytest.raises(NoSuchAccount):
            async with store.watch("nobody"):
                pass

    async def test_watch_waits(self, store: MailStore) -> None:
        """A change wakes all tasks that wait for one, and they can already see it in the store."""
        seen: list[list[bytes]] = []

        async def look() -> None:
            async for _ in store.watch("ann"):
                seen.append(await contents(store))
                return

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(look)
            await trio.testing.wait_all_tasks_blocked()
            await add(store, b"hello", account="bob")
            assert not seen
            await add(store, b"hello")
        assert seen == [[b"hello"]] * 3

    async def test_watch_cancelled(self, store: MailStore) -> None:
        """A task that is cancelled while waiting and waits again has missed no change."""
        watch = store.watch("ann")
        with trio.CancelScope() as scope:
            scope.cancel()
            await anext(watch)
        uid = await add(store)
        assert await anext(watch) == Changed("message-added", INBOX, uid)

    async def test_watch_left(self, store: MailStore) -> None:
        """After its block a watch reports no more changes."""
        async with store.watch("ann") as watch:
            await add(store)
        await add(store)
        assert [changed async for changed in watch] == []

    async def test_watcher_that_does_not_keep_up(self, store: MailStore) -> None:
        """A backlog that would grow without bounds is replaced by one `missed`; later changes are reported again."""
        watch = store.watch("ann")
        messages = 400
        await store.create_mailbox("ann", "Many")
        async with trio.open_nursery() as nursery:
            for _ in range(messages):
                nursery.start_soon(add, store)
        last = await add(store)
        kept = [await anext(watch)]
        while kept[-1] != Changed("message-added", INBOX, last):
            kept.append(await anext(watch))
        assert kept[0] == Changed("missed")
        assert len(kept) < messages
        assert [each.what for each in kept].count("missed") == 1

    async def test_close_ends_watches(self, store: MailStore) -> None:
        """Closing the store ends its watches, so no task waits for ever."""
        watch = store.watch("ann")
        uid = await add(store)
        assert await anext(watch) == Changed("message-added", INBOX, uid)

        async def wait() -> None:
            assert [changed async for changed in watch] == []

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            await store.aclose()
