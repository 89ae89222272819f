"""Several real processes that deliver into one store, some of which are killed by SIGKILL."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from tests.mailbox.json_file.worker import content, work
from trio_smtp.mailbox.json_file import JSONFileStore
from trio_smtp.mailbox.store import INBOX


async def contents(store: JSONFileStore) -> dict[int, bytes]:
    listed = await store.list_messages("ann", INBOX)
    return {each.uid: (await store.get_message("ann", INBOX, each.uid)).content for each in listed}


async def test_two_at_once(path: Path) -> None:
    async with JSONFileStore(path) as store:
        await store.create_account("ann")
        accepted: list[dict[int, bytes]] = []

        async def run(name: str) -> None:
            accepted.append(await work(path, name, 30))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, "one")
            nursery.start_soon(run, "two")
            uid = (await store.append_message("ann", INBOX, b"three")).uid
        one, two = accepted
        assert len(one) == len(two) == 30
        assert await contents(store) == one | two | {uid: b"three"}


@pytest.mark.parametrize("kill_at", range(1, 14))
async def test_one_is_killed(path: Path, kill_at: int) -> None:
    """No accepted message is lost, no UID is assigned twice, and other processes go on."""
    async with JSONFileStore(path) as store:
        await store.create_account("ann")
        first = (await store.append_message("ann", INBOX, b"first")).uid
        accepted = await work(path, "victim", 9, kill_at=kill_at) | {first: b"first"}
        seen = await contents(store)
        assert seen.items() >= accepted.items()
        last = (await store.append_message("ann", INBOX, b"last")).uid
        assert last not in seen
        now = await contents(store)
        assert now == seen | {last: b"last"}
        sent = [b"first", b"last", *(content("victim", number) for number in range(9))]
        assert all(body in sent for body in now.values())
        assert len(set(now.values())) == len(now)
    async with JSONFileStore(path) as again:
        assert await contents(again) == now
        assert again.damage == ()


@pytest.mark.parametrize("kill_at", range(1, 13))
async def test_one_is_killed_who_makes_the_store(path: Path, kill_at: int) -> None:
    """Another process can use what is left as a store, or create one there."""
    assert await work(path, "victim", 1, kill_at=kill_at) == {}
    assert list(await work(path, "next", 1)) == [1]
