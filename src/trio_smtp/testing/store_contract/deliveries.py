"""Rules for deliveries, which are all or nothing."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import trio

from trio_smtp.mailbox.store import (
    INBOX,
    Delivered,
    MailboxReadOnly,
    MailStore,
    MessageTooBig,
    NoSuchAccount,
    NoSuchMailbox,
    QuotaExceeded,
    StoreError,
    Target,
)
from trio_smtp.testing.store_contract.tools import CONTENTS, contents, deliver, info, mailbox_of, uids

ANN, BOB = Target("ann", INBOX, b"for ann\r\n"), Target("bob", INBOX, b"for bob\r\n")

REFUSALS: dict[type[StoreError], Target] = {
    NoSuchAccount: Target("nobody"),
    NoSuchMailbox: Target("ann", "Missing"),
    MailboxReadOnly: Target("ann", "Closed"),
    QuotaExceeded: Target("full"),
    MessageTooBig: Target("small"),
}


async def make_refusing_targets(store: MailStore) -> None:
    """Create the accounts and mailboxes that `REFUSALS` needs."""
    await store.create_mailbox("ann", "Closed")
    await store.set_read_only("ann", "Closed", True)
    await store.create_account("full", quota=10)
    await store.append_message("full", INBOX, b"x" * 10)
    await store.create_account("small", quota=0)


class DeliveryContract:
    """Tests of deliveries."""

    @pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS.keys())
    async def test_pieces(self, store: MailStore, content: bytes) -> None:
        """However the body is split into chunks, it is stored whole, after the prefix of each target."""
        for size in (len(content) // 3 + 1, len(content) // 100 + 1):
            async with store.deliver([ANN, Target("bob")]) as delivery:
                for start in range(0, len(content), size):
                    await delivery.write(content[start : start + size])
                    await delivery.write(b"")
                await delivery.commit()
        assert await contents(store) == [ANN.prefix + content] * 2
        assert await contents(store, "bob") == [content] * 2

    async def test_results(self, store: MailStore) -> None:
        """The results say where each copy is, in the order of the targets. New mail has the time and no flags."""
        await store.create_mailbox("ann", "Sent")
        before = datetime.now(UTC).replace(microsecond=0)
        results = await deliver(store, [BOB, Target("ann", "Sent"), Target("ann", "inbox")])
        expected: list[Delivered] = []
        for account, name in (("bob", INBOX), ("ann", "Sent"), ("ann", INBOX)):
            [uid] = await uids(store, account, name)
            validity = (await mailbox_of(store, account, name)).uid_validity
            expected.append(Delivered(account, name, uid, validity))
            stored = (await store.get_message(account, name, uid)).info
            assert stored.flags == frozenset()
            assert before <= stored.internal_date <= datetime.now(UTC)
        assert results == expected

    async def test_not_before_commit(self, store: MailStore) -> None:
        """Nothing is visible before the commit, and everything right after it, still inside the block."""
        async with store.deliver([ANN, BOB]) as delivery:
            await delivery.write(b"x")
            assert await uids(store) == await uids(store, "bob") == []
            [ann, _] = await delivery.commit()
            assert isinstance(ann, Delivered)
            assert (await info(store, ann.uid)).size == len(ANN.prefix) + 1

    async def test_left_without_commit(self, store: MailStore) -> None:
        """Leaving the block without a commit, normally or by an exception, stores nothing."""
        async with store.deliver([ANN]) as delivery:
            await delivery.write(CONTENTS["large"])

        async def fail() -> None:
            async with store.deliver([ANN]) as delivery:
                await delivery.write(CONTENTS["large"])
                raise KeyError

        with pytest.raises(KeyError):
            await fail()
        assert await uids(store) == []

    async def test_cancelled(self, store: MailStore) -> None:
        """A delivery that is cancelled before its commit stores nothing, and the store can still be used."""
        with trio.CancelScope() as scope:
            async with store.deliver([ANN]) as delivery:
                await delivery.write(CONTENTS["large"])
                scope.cancel()
                await trio.lowlevel.checkpoint()
        assert scope.cancelled_caught
        assert await uids(store) == []
        await deliver(store, [ANN])
        assert await contents(store) == [ANN.prefix + b"x"]

    @pytest.mark.parametrize("error", REFUSALS)
    async def test_all_or_nothing(self, store: MailStore, error: type[StoreError]) -> None:
        """If one target refuses, whatever its position, no copy is stored."""
        await make_refusing_targets(store)
        for targets in (
            [REFUSALS[error], ANN, BOB],
            [ANN, REFUSALS[error], BOB],
            [ANN, BOB, REFUSALS[error]],
        ):
            with pytest.raises(error):
                await deliver(store, targets)
        assert await uids(store) == await uids(store, "bob") == []

    async def test_partial(self, store: MailStore) -> None:
        """With `partial` a refused target has the error as its result, and the other targets get their copies."""
        await make_refusing_targets(store)
        refused = list(REFUSALS.values())
        results = await deliver(store, [ANN, *refused, BOB], b"body", partial=True)
        assert isinstance(results[0], Delivered)
        assert isinstance(results[-1], Delivered)
        assert [type(result) for result in results[1:-1]] == list(REFUSALS)
        assert await contents(store) == [ANN.prefix + b"body"]
        assert await contents(store, "bob") == [BOB.prefix + b"body"]
        results = await deliver(store, refused, partial=True)
        assert [type(result) for result in results] == list(REFUSALS)

    @pytest.mark.parametrize("partial", [False, True])
    async def test_mailbox_twice(self, store: MailStore, partial: bool) -> None:
        """A mailbox that is a target twice gets one copy, with the first prefix, and both results refer to it."""
        results = await deliver(store, [ANN, BOB, Target("ann", "Inbox", b"again")], b"body", partial=partial)
        assert results[0] == results[2]
        assert await contents(store) == [ANN.prefix + b"body"]

    async def test_no_targets(self, store: MailStore) -> None:
        """A delivery without targets has no results."""
        assert await deliver(store, []) == []
        assert await deliver(store, [], partial=True) == []

    async def test_ended(self, store: MailStore) -> None:
        """After a commit, and after the block, `write` and `commit` raise RuntimeError."""
        async with store.deliver([ANN]) as delivery:
            await delivery.commit()
            with pytest.raises(RuntimeError):
                await delivery.write(b"x")
            with pytest.raises(RuntimeError):
                await delivery.commit()
        async with store.deliver([ANN]) as left:
            await left.write(b"x")
        for ended in (delivery, left):
            with pytest.raises(RuntimeError):
                await ended.write(b"x")
            with pytest.raises(RuntimeError):
                await ended.commit()
        assert await contents(store) == [ANN.prefix]

    async def test_target_gone(self, store: MailStore) -> None:
        """The commit checks the targets: one deleted since the start is refused, one created since then gets a copy."""
        async with store.deliver([Target("ann", "Sent"), Target("bob", "Late")], partial=True) as delivery:
            await store.create_mailbox("ann", "Sent")
            await delivery.write(b"x")
            await store.delete_mailbox("ann", "Sent")
            await store.create_mailbox("bob", "Late")
            gone, came = await delivery.commit()
        assert isinstance(gone, NoSuchMailbox)
        assert isinstance(came, Delivered)

    async def test_interleaved(self, store: MailStore) -> None:
        """Overlapping deliveries do not mix, and their UIDs are in the order of their commits."""
        async with store.deliver([ANN]) as one, store.deliver([ANN]) as two:
            await one.write(b"1")
            await two.write(b"2")
            await one.write(b"1")
            await two.write(b"2")
            await two.commit()
            await one.commit()
        assert await contents(store) == [ANN.prefix + b"22", ANN.prefix + b"11"]

    async def test_many_at_once(self, store: MailStore) -> None:
        """Deliveries of many tasks at once are all stored, each with its own UID."""
        told: dict[int, bytes] = {}

        async def one(number: int) -> None:
            body = b"%d" % number
            [result, _] = await deliver(store, [Target("ann"), Target("bob")], body)
            assert isinstance(result, Delivered)
            told[result.uid] = body

        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(one, number)
        assert sorted(told) == await uids(store)
        assert [told[uid] for uid in sorted(told)] == await contents(store)
        assert len(await uids(store, "bob")) == 50
