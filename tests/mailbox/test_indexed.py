"""`IndexedStore`: how many bodies its listings and searches read, in how many steps, and unreadable messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest

from trio_smtp.mailbox.headers import HEAD
from trio_smtp.mailbox.memory import MemoryStore
from trio_smtp.mailbox.store import INBOX, MessageUnreadable, Search

R = TypeVar("R")

# The contract tests what the methods do; this file tests how they call the methods of a subclass.


class Recording(MemoryStore):
    """Records the reads, and counts the calls of `_run`."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[int | None] = []
        self.goes = 0

    def _read(self, body: tuple[bytes, bytes], limit: int | None) -> bytes:
        self.read.append(limit)
        return super()._read(body, limit)

    async def _run(self, function: Callable[[], R]) -> R:
        self.goes += 1
        return await super()._run(function)


@pytest.fixture
async def store() -> Recording:
    store = Recording()
    await store.create_account("ann")
    for number in range(1200):
        await store.append_message("ann", INBOX, b"Subject: %d\r\n\r\n" % (number % 600))
    return store


@pytest.mark.parametrize(("limit", "goes"), [(None, 3), (1200, 3), (1000, 2), (501, 2), (500, 1), (3, 1), (0, 1)])
async def test_a_listing_reads_the_heads_of_what_it_lists(store: Recording, limit: int | None, goes: int) -> None:
    listed = await store.list_messages("ann", INBOX, limit=limit)
    assert [each.uid for each in listed] == list(range(1, 1201))[:limit]
    assert store.read == [HEAD] * len(listed)
    assert store.goes == goes


async def test_a_listing_of_the_last_messages_reads_no_others(store: Recording) -> None:
    assert len(await store.list_messages("ann", INBOX, after=1150)) == 50
    assert (len(store.read), store.goes) == (50, 1)


async def test_a_search_ends_when_it_has_found_enough(store: Recording) -> None:
    search = Search(header=("subject", "99"))
    assert [each.uid for each in await store.find_messages("ann", INBOX, search, limit=3)] == [100, 200, 300]
    assert store.goes == 1
    rest = await store.find_messages("ann", INBOX, search, after=500)
    assert [each.uid for each in rest] == [600, 700, 800, 900, 1000, 1100, 1200]


class Damaged(MemoryStore):
    """Cannot read messages that contain "lost"."""

    def _read(self, body: tuple[bytes, bytes], limit: int | None) -> bytes:
        if b"lost" in body[1]:
            raise MessageUnreadable("it is gone")
        return super()._read(body, limit)


async def test_a_message_that_cannot_be_read_hides_no_other() -> None:
    store = Damaged()
    await store.create_account("ann")
    for subject in (b"one", b"lost", b"three"):
        await store.append_message("ann", INBOX, b"Subject: " + subject + b"\r\n\r\n")
    assert [each.subject for each in await store.list_messages("ann", INBOX)] == ["one", "", "three"]
    assert [each.uid for each in await store.find_messages("ann", INBOX, Search(header=("Subject", "")))] == [1, 3]
    with pytest.raises(
        MessageUnreadable, match="message 2 in mailbox 'INBOX' of account 'ann' cannot be read: it is gone"
    ):
        await store.get_message("ann", INBOX, 2)


async def test_a_password_is_hashed_where_blocking_does_no_harm() -> None:
    store = Recording()
    await store.create_account("ann", password="secret")
    await store.set_password("ann", "other")
    assert store.goes == 2
    await store.set_password("ann", await store.get_credentials("ann"))
    assert store.goes == 2
