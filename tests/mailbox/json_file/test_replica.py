"""`Replica`: applying records, what counts as dead, damage, and UIDs that lost records may have assigned."""

from __future__ import annotations

import logging

import pytest

from trio_smtp.mailbox.json_file.journal import Manifest
from trio_smtp.mailbox.json_file.records import Place, encode, encode_body, encode_delivery, encode_mark, to_content
from trio_smtp.mailbox.json_file.replica import Damage, Replica
from trio_smtp.mailbox.json_file.writer import GROUP_OCTETS, SEGMENT_OCTETS
from trio_smtp.mailbox.operations import (
    CopyMessage,
    CreateAccount,
    CreateMailbox,
    DeleteAccount,
    DeleteMailbox,
    DeleteMessage,
    NewMessage,
    Operation,
    SetFlags,
)
from trio_smtp.mailbox.store import INBOX


def delivery(uid: int, size: int = 10, *, mailbox: str = INBOX, blob: str | None = None) -> bytes:
    place = Place(0, 0, 0, 0, None)
    message = NewMessage("ann", mailbox, uid, frozenset(), 0, size, place)
    return encode_delivery(
        [message], [b""], encode_body(b"") if blob is None else b'"blob":{"name":"%s"}}' % blob.encode()
    )


@pytest.fixture
def replica() -> Replica:
    """A replica with the account ann and two mailboxes, each with two messages of 10 octets."""
    replica = Replica(Manifest("store", (1,)))
    for line in (
        encode(CreateAccount("ann", "", (), None, None, 1)),
        encode(CreateMailbox("ann", "Sent", 2)),
        *(delivery(uid, mailbox=mailbox) for uid in (1, 2) for mailbox in (INBOX, "Sent")),
    ):
        assert replica.replay(1, 0, line)
    replica.dead = replica.unsaved = 0
    return replica


@pytest.mark.parametrize(
    ("operation", "freed"),
    [
        (SetFlags("ann", INBOX, 1, frozenset()), 0),
        (CopyMessage("ann", INBOX, 1, "Sent", 3, move=False), 0),
        (CopyMessage("ann", INBOX, 1, "Sent", 3, move=True), 0),
        (DeleteMessage("ann", INBOX, 1), 10),
        (DeleteMailbox("ann", "Sent"), 20),
        (DeleteAccount("ann"), 40),
    ],
)
def test_what_is_dead(replica: Replica, operation: Operation[Place], freed: int) -> None:
    live, line = replica.live(), encode(operation)
    assert replica.replay(1, 0, line)
    assert replica.dead == len(line) + freed
    assert replica.unsaved == len(line)
    assert replica.live() == live - freed + (10 if isinstance(operation, CopyMessage) and not operation.move else 0)


def test_what_is_not_dead(replica: Replica) -> None:
    lines = [delivery(3), to_content(delivery(4)), encode_mark("segment")]
    assert all(replica.replay(1, 0, line) for line in lines)
    assert replica.dead == 0
    assert replica.unsaved == sum(map(len, lines))
    assert replica.index.mailbox("ann", INBOX).messages == 3


def test_whole_records_cost_no_uids(replica: Replica) -> None:
    assert replica.replay_all([(1, 0, delivery(3)), (1, 1, encode_mark("segment"))]) == 2
    assert replica.index.mailbox("ann", INBOX).uid_next == 4
    assert replica.index.uid_validity() == 2


def test_places(replica: Replica) -> None:
    line = delivery(3, blob="name")
    replica.replay(7, 1000, line)
    assert replica.index.message("ann", INBOX, 3)[1] == Place(7, 1000, len(line), 0, "name")
    assert replica.blobs() == {"name"}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"garbage\n", "the checksum is wrong"),
        (b"", "its end is missing"),
        (encode(DeleteMessage("ann", INBOX, 9)), "'INBOX' has no message 9"),
        (delivery(2), "'INBOX' is past UID 2 already"),
    ],
)
def test_damage(replica: Replica, caplog: pytest.LogCaptureFixture, line: bytes, reason: str) -> None:
    for _ in range(2):
        assert not replica.replay(7, 1000, line)
    assert replica.damage == [Damage(7, 1000, len(line), reason)]
    assert replica.dead == 0
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage() == f"damage in 000007.jsonl at 1000, {len(line)} octets: {reason}"


def test_damage_is_bounded(replica: Replica, caplog: pytest.LogCaptureFixture) -> None:
    for offset in range(1100):
        replica.replay(1, offset, b"garbage\n")
    assert len(replica.damage) == len(caplog.records) == 1000
    replica.report(Damage(8, 5, 1, "another segment, which must not be removed"))
    assert replica.damage[1000:] == [Damage(8, 5, 1, "another segment, which must not be removed")]


def test_uids_that_are_burnt(replica: Replica) -> None:
    given = max(box.uid_validity for box in replica.index.mailboxes("ann"))
    shortest = encode(CreateMailbox("a", "b", 1))
    replica.burn_uids(5 * len(shortest))
    assert all(box.uid_next >= 8 for box in replica.index.mailboxes("ann"))
    assert replica.index.create_mailbox("ann", "Another")[1].uid_validity >= given + 6


def test_uids_that_a_compaction_has_forgotten(replica: Replica) -> None:
    """A record of the compacted segment is damaged: the UIDs that the six replaced segments may have assigned are
    skipped, but only once.
    """
    for _ in range(2):
        replica.manifest = Manifest("store", (7, 8))
        replica.replay_all([(7, 0, b"garbage\n")])
        [inbox, _] = replica.index.mailboxes("ann")
        assert 6 * (SEGMENT_OCTETS + GROUP_OCTETS) / 90 < inbox.uid_next < 10_000_000
        assert replica.index.uid_validity() == pytest.approx(inbox.uid_next, abs=5)


def test_uids_of_a_store_without_a_compaction(replica: Replica) -> None:
    replica.replay_all([(1, 0, b"garbage\n")])
    assert replica.index.mailbox("ann", INBOX).uid_next == 4


def test_uids_of_records_behind_a_compaction(replica: Replica) -> None:
    replica.manifest = Manifest("store", (7, 8))
    replica.replay_all([(8, 0, b"garbage\n")])
    assert replica.index.mailbox("ann", INBOX).uid_next == 4
