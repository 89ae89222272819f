"""Rules for mailboxes."""

from __future__ import annotations

from collections.abc import Awaitable

import pytest

from trio_smtp.mailbox.store import (
    INBOX,
    SEEN,
    InvalidName,
    MailboxExists,
    MailboxReadOnly,
    MailStore,
    NoSuchMailbox,
    Search,
    Target,
)
from trio_smtp.testing.store_contract.tools import (
    BAD_NAMES,
    ODD_NAMES,
    add,
    contents,
    deliver,
    mailbox_of,
    uids,
)


class MailboxContract:
    """Tests of mailboxes."""

    async def test_mailboxes_in_order(self, store: MailStore) -> None:
        """INBOX is listed first, then the others by name. Odd names are treated as plain text."""
        for name in ODD_NAMES:
            mailbox = await store.create_mailbox("ann", name)
            await add(store, name.encode(), mailbox=name)
            assert (mailbox.name, mailbox.messages, mailbox.unseen, mailbox.read_only) == (name, 0, 0, False)
        assert [each.name for each in await store.list_mailboxes("ann")] == [INBOX, *sorted(ODD_NAMES)]
        for name in ODD_NAMES:
            assert await contents(store, mailbox=name) == [name.encode()]

    @pytest.mark.parametrize("name", BAD_NAMES, ids=ascii)
    async def test_bad_mailbox_name(self, store: MailStore, name: str) -> None:
        """Creating or renaming to an invalid name is refused. Other methods find no mailbox with such a name."""
        await store.create_mailbox("ann", "Sent")
        with pytest.raises(InvalidName):
            await store.create_mailbox("ann", name)
        with pytest.raises(InvalidName):
            await store.rename_mailbox("ann", "Sent", name)
        with pytest.raises(NoSuchMailbox):
            await store.list_messages("ann", name)

    async def test_inbox_in_any_case(self, store: MailStore) -> None:
        """The name INBOX is case-insensitive, and INBOX always exists."""
        delivered = await store.append_message("ann", "inBOX", b"x")
        assert delivered.mailbox == INBOX
        assert await uids(store, mailbox="Inbox") == [delivered.uid]
        assert await store.count_messages("ann", "Inbox") == 1
        assert (await store.get_message("ann", "Inbox", delivered.uid)).content == b"x"
        await store.set_flags("ann", "Inbox", delivered.uid, [SEEN])
        [found] = await store.find_messages("ann", "Inbox", Search(flags={SEEN}))
        copy = await store.copy_message("ann", "Inbox", found.uid, "inbox")
        moved = await store.move_message("ann", "Inbox", copy.uid, "inbox")
        assert (copy.mailbox, moved.mailbox) == (INBOX, INBOX)
        await store.delete_message("ann", "Inbox", moved.uid)
        await store.set_read_only("ann", "Inbox", True)
        assert (await mailbox_of(store)).read_only
        await store.set_read_only("ann", INBOX, False)
        for name in ("INBOX", "inbox"):
            with pytest.raises(MailboxExists):
                await store.create_mailbox("ann", name)
            with pytest.raises(InvalidName):
                await store.delete_mailbox("ann", name)
            with pytest.raises(InvalidName):
                await store.rename_mailbox("ann", name, "Old")

    async def test_mailbox_exists(self, store: MailStore) -> None:
        """Within an account each mailbox name is unique, also after renaming."""
        await store.create_mailbox("ann", "Sent")
        await store.create_mailbox("bob", "Sent")
        await store.create_mailbox("ann", "sent")
        with pytest.raises(MailboxExists):
            await store.create_mailbox("ann", "Sent")
        for name in ("Sent", "sent", "inbox"):
            with pytest.raises(MailboxExists):
                await store.rename_mailbox("ann", "Sent", name)

    async def test_no_such_mailbox(self, store: MailStore) -> None:
        """Every method raises NoSuchMailbox for an unknown mailbox."""
        uid = await add(store)
        attempts: list[Awaitable[object]] = [
            store.delete_mailbox("ann", "Sent"),
            store.rename_mailbox("ann", "Sent", "Old"),
            store.set_read_only("ann", "Sent", True),
            store.list_messages("ann", "Sent"),
            store.find_messages("ann", "Sent", Search()),
            store.count_messages("ann", "Sent"),
            store.get_message("ann", "Sent", uid),
            store.append_message("ann", "Sent", b""),
            store.set_flags("ann", "Sent", uid, ()),
            store.copy_message("ann", "Sent", uid, INBOX),
            store.copy_message("ann", INBOX, uid, "Sent"),
            store.move_message("ann", "Sent", uid, INBOX),
            store.move_message("ann", INBOX, uid, "Sent"),
            store.delete_message("ann", "Sent", uid),
        ]
        for attempt in attempts:
            with pytest.raises(NoSuchMailbox):
                await attempt
        assert await uids(store) == [uid]

    async def test_delete_mailbox(self, store: MailStore) -> None:
        """A mailbox that is created again is empty and has a greater uid_validity than before."""
        before = await store.create_mailbox("ann", "Sent")
        await add(store, mailbox="Sent")
        await store.delete_mailbox("ann", "Sent")
        other = await store.create_mailbox("bob", "Other")
        after = await store.create_mailbox("ann", "Sent")
        assert before.uid_validity < other.uid_validity < after.uid_validity
        assert await uids(store, mailbox="Sent") == []

    async def test_rename_mailbox(self, store: MailStore) -> None:
        """Renaming a mailbox changes only its name. The old name can be used for a new mailbox."""
        await store.create_mailbox("ann", "Sent")
        uid = await add(store, b"content", mailbox="Sent")
        before = await mailbox_of(store, name="Sent")
        await store.rename_mailbox("ann", "Sent", "Old")
        after = await mailbox_of(store, name="Old")
        assert (after.uid_validity, after.uid_next) == (before.uid_validity, before.uid_next)
        assert (await store.get_message("ann", "Old", uid)).content == b"content"
        with pytest.raises(NoSuchMailbox):
            await store.list_messages("ann", "Sent")
        assert (await store.create_mailbox("ann", "Sent")).uid_validity > before.uid_validity

    async def test_read_only(self, store: MailStore) -> None:
        """A read-only mailbox can be read but refuses every change, until it is made writable again."""
        await store.create_mailbox("ann", "Old")
        uid = await add(store, b"kept", mailbox="Old", flags=["kept"])
        other = await add(store)
        await store.set_read_only("ann", "Old", True)
        before = await mailbox_of(store, name="Old")
        assert before.read_only
        attempts: list[Awaitable[object]] = [
            store.delete_mailbox("ann", "Old"),
            store.rename_mailbox("ann", "Old", "New"),
            store.append_message("ann", "Old", b"x"),
            store.set_flags("ann", "Old", uid, [SEEN]),
            store.copy_message("ann", INBOX, other, "Old"),
            store.move_message("ann", INBOX, other, "Old"),
            store.move_message("ann", "Old", uid, INBOX),
            store.delete_message("ann", "Old", uid),
            deliver(store, [Target("ann", "Old")]),
        ]
        for attempt in attempts:
            with pytest.raises(MailboxReadOnly):
                await attempt
        assert await mailbox_of(store, name="Old") == before
        assert await contents(store, mailbox="Old") == [b"kept"]
        await store.copy_message("ann", "Old", uid, INBOX)
        await store.set_read_only("ann", "Old", False)
        await store.delete_message("ann", "Old", uid)
