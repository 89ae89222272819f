"""Workloads: what is done with a store while its calls are recorded, each for one kind of situation."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.crash.checker import STORE, History, difference, look
from tests.crash.recorder import Key, Recorder
from trio_smtp.mailbox.json_file import JSONFileStore, files, housekeeping, store, writer
from trio_smtp.mailbox.store import INBOX, Delivered, StoreUnavailable, Target

INLINE = 120  # octets; a larger body gets a file of its own


def _content(body: str) -> bytes:
    return f"Subject: {body[:20]}\n\n{body}\n".encode()


class Session:
    """An open store; records each change that is made to it and what the store promises."""

    def __init__(self, store: JSONFileStore, recorder: Recorder) -> None:
        self.store = store
        self.recorder = recorder

    async def change(self, method: Callable[..., Awaitable[object]], *args: Any, **keywords: Any) -> None:
        """Make any change, while no other is in progress."""
        before = await look(self.store)
        with self.recorder.change() as effect:
            await method(*args, **keywords)
        effect |= difference(before, await look(self.store))

    async def deliver(self, body: str, *targets: Target, partial: bool = False) -> None:
        """Deliver a message."""
        content = _content(body)
        with self.recorder.change(content) as effect:
            await self._deliver(content, targets or (Target("ann"),), partial, effect)

    async def _deliver(
        self, content: bytes, targets: Sequence[Target], partial: bool, effect: dict[Key, object]
    ) -> None:
        sent = {(each.account, each.mailbox): each.prefix + content for each in targets}
        async with self.store.deliver(targets, partial=partial) as delivery:
            for start in range(0, len(content), 50):
                await delivery.write(content[start : start + 50])
            results = await delivery.commit()
        for each in results:
            if isinstance(each, Delivered):
                key = "message", each.account, each.mailbox, each.uid_validity, each.uid
                effect[key] = [], sent[each.account, each.mailbox]

    async def refused(self, body: str, **faults: list[int]) -> None:
        """Deliver a message while calls fail."""
        self.recorder.fail(faults)
        with pytest.raises(StoreUnavailable):
            await self.deliver(body)

    async def refused_and_left(self, body: str, **faults: list[int]) -> None:
        """Deliver a message while calls fail, also those that would undo it. It may reappear until the store works
        again.
        """
        self.recorder.fail(faults)
        content = _content(body)
        with suppress(StoreUnavailable), self.recorder.change(content):
            with pytest.raises(StoreUnavailable) as refusal:
                await self._deliver(content, [Target("ann")], False, {})
            await self.insist(f"after {body}")
            raise refusal.value

    async def insist(self, body: str) -> None:
        """Deliver a message, trying until the store works again; by then all faults must have happened."""
        while True:
            with suppress(StoreUnavailable):
                await self.deliver(body)
                break
        assert not self.recorder.faults_left


class World:
    """A disk, empty at first, and the recorder of its calls."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.patch = patch
        self.recorder = Recorder(folder)
        self._path = folder / STORE

    @asynccontextmanager
    async def open(self, *accounts: str) -> AsyncIterator[Session]:
        """Open the store, and create these accounts."""
        async with JSONFileStore(self._path) as opened:
            session = Session(opened, self.recorder)
            for name in accounts:
                await session.change(opened.create_account, name, addresses=[f"{name}@example.com"])
            yield session


async def small(world: World) -> None:
    async with world.open("ann") as session, trio.open_nursery() as nursery:
        for number in range(4):
            await session.deliver(f"one after the other {number}")
        for number in range(6):
            nursery.start_soon(session.deliver, f"all at once {number}" * (1 + number % 3))
    async with world.open() as session:
        await session.deliver("größer")


async def three_targets(world: World) -> None:
    async with world.open("ann", "bob", "cid") as session:
        three = [Target(name, INBOX, f"Delivered-To: {name}\n".encode()) for name in ("ann", "bob", "cid")]
        await session.deliver("for three", *three)
        await session.deliver("for those who are there", *three[:2], Target("dan"), partial=True)
        await session.deliver("for three, and so long that it is in a file of its own " * 4, *three)


async def large(world: World) -> None:
    async with world.open("ann") as session:
        await session.deliver("large " * 30)
        async with session.store.deliver([Target("ann")]) as delivery:
            await delivery.write(b"nobody commits this " * 20)
        await session.deliver("small")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.deliver, "large, beside another " * 12)
            nursery.start_soon(session.deliver, "another " * 40)
    async with world.open() as session:
        await session.deliver("after that " * 30)


async def changes(world: World) -> None:
    async with world.open("ann", "bob") as session:
        store = session.store
        for body in ("first", "second", "third " * 40):
            await session.deliver(body)
        await session.deliver("for bob", Target("bob"))
        await session.change(store.set_flags, "ann", INBOX, 1, [r"\Seen", "$Forwarded"])
        await session.change(store.create_mailbox, "ann", "old")
        await session.change(store.copy_message, "ann", INBOX, 1, "old")
        await session.change(store.delete_message, "ann", INBOX, 2)
        await session.change(store.delete_message, "ann", INBOX, 3)
        await session.change(store.rename_mailbox, "ann", "old", "older")
        await session.change(store.set_read_only, "ann", "older", True)
        await session.change(store.set_read_only, "ann", "older", False)
        await session.change(store.delete_mailbox, "ann", "older")
        await session.change(store.create_mailbox, "ann", "older")
        await session.change(store.set_quota, "ann", 100_000)
        await session.change(store.update_account, "ann", description="Anne", addresses=["anne@example.com"])
        await session.change(store.set_quota, "bob", 0)
        await session.change(store.delete_account, "bob")
        await session.change(store.create_account, "bob", description="another one")
        await session.deliver("last")


async def segments(world: World) -> None:
    world.patch.setattr(writer, "SEGMENT_OCTETS", 300)
    async with world.open("ann") as session:
        for number in range(8):
            await session.deliver(f"message {number} " * (1 + number % 3))
    async with world.open() as session:
        await session.deliver("in the next process")


async def compaction(world: World) -> None:
    async with world.open("ann", "bob") as session:
        store = session.store
        for body in ("first", "second", "third", "large " * 30, "also large " * 30):
            await session.deliver(body)
        await session.deliver("for both", Target("ann"), Target("bob"))
        for uid in (2, 4):
            await session.change(store.delete_message, "ann", INBOX, uid)
        await session.change(store.compact)
        await session.deliver("after that")
        await session.change(store.delete_message, "ann", INBOX, 1)
        await session.change(store.compact)
    async with world.open() as session:
        await session.deliver("in the next process")


async def snapshots(world: World) -> None:
    world.patch.setattr(housekeeping, "SAVE_ON_CLOSE", 1)
    for visit in range(3):
        async with world.open(f"{'abc'[visit]}nn") as session:
            await session.deliver(f"visit {visit}")
            await session.change(session.store.set_flags, "ann", INBOX, visit + 1, ["$Visited"])
            await session.deliver(f"visit {visit} again")


async def two_stores(world: World) -> None:
    world.patch.setattr(writer, "SEGMENT_OCTETS", 1500)
    async with world.open("ann") as one, world.open() as two:
        for number in range(4):
            await one.deliver(f"one {number}")
            world.recorder.seen(await look(two.store))
            await two.deliver(f"two {number} " * (1 + 20 * (number % 2)))
        async with trio.open_nursery() as nursery:
            for session in (one, two):
                for number in range(2):
                    nursery.start_soon(session.deliver, f"at once {number}")
        await one.change(one.store.compact)
        await two.deliver("after the compaction")
        world.recorder.seen(await look(one.store))


async def refusals(world: World) -> None:
    async with world.open("ann") as session:
        await session.deliver("before")
        await session.refused("the sync fails", fdatasync=[errno.EIO])
        await session.refused("the disk is full", pwrite=[errno.ENOSPC])
        await session.refused("again", fdatasync=[errno.EIO])
    async with world.open() as session:
        await session.deliver("in the next process")


async def failures(world: World) -> None:
    world.patch.setattr(writer, "RETRY", 0)
    async with world.open("ann") as session:
        await session.deliver("before")
        await session.refused("neither lasts nor can be cut", fdatasync=[errno.EIO], ftruncate=[errno.EIO])
        await session.deliver("in the next segment")
        eio = [errno.EIO]
        await session.refused_and_left("nothing works", fdatasync=eio, ftruncate=eio * 3, create=eio * 3)
        await session.refused("the cut does not last", fdatasync=[errno.EIO], fsync=[errno.EIO])
        await session.deliver("between again")
        await session.refused("no blob " * 30, create=[errno.ENOSPC])
        await session.refused("blob that does not last " * 9, fsync=[errno.EIO])
        await session.refused("blob whose name does not last " * 9, fsync=[0, errno.EIO])
        await session.deliver("blob, at last " * 20)
        world.patch.setattr(writer, "SEGMENT_OCTETS", 100)
        await session.refused("no new segment", create=[errno.EDQUOT])
        await session.refused("the segment does not last", fsync=[errno.EIO])
        await session.refused("the name of the segment does not last", fsync=[0, errno.EIO])
        await session.refused("the manifest does not last", fsync=[0, 0, errno.EIO])
        await session.refused("the manifest cannot be put in place", rename=[errno.EIO])
        await session.refused("that the manifest is in place does not last", fsync=[0, 0, 0, errno.EIO])
        await session.insist("after all that")
    async with world.open() as session:
        await session.deliver("in the next process")


Workload = Callable[[World], Awaitable[None]]
WORKLOADS: list[Workload] = [
    small,
    three_targets,
    large,
    changes,
    segments,
    compaction,
    snapshots,
    two_stores,
    refusals,
    failures,
]


async def record(workload: Workload, folder: Path, patch: pytest.MonkeyPatch) -> History:
    """Run a workload, and return the calls and promises of the store."""
    folder.mkdir()
    with patch.context() as inner:
        world = World(folder, inner)
        inner.setattr(files, "os", world.recorder)
        inner.setattr(store, "INLINE", INLINE)
        await workload(world)
    return world.recorder.history
