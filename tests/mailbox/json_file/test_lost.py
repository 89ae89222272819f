"""Lost records: what `Replica` infers about them from later ones, so that later mail stays available."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from trio_smtp.mailbox.json_file.journal import Manifest
from trio_smtp.mailbox.json_file.lost import taken_for_granted
from trio_smtp.mailbox.json_file.records import Place, encode, encode_body, encode_delivery
from trio_smtp.mailbox.json_file.replica import Replica
from trio_smtp.mailbox.operations import (
    CopyMessage,
    CreateAccount,
    CreateMailbox,
    DeleteAccount,
    DeleteMailbox,
    DeleteMessage,
    KeepSecret,
    NewMessage,
    RenameMailbox,
    SetFlags,
    SetQuota,
    SetReadOnly,
    UpdateAccount,
)
from trio_smtp.mailbox.store import INBOX

if TYPE_CHECKING:
    from trio_smtp.mailbox.operations import Operation

    Record = Operation[Place] | NewMessage[Place]

LONG = "ü" * 127


def mail(uid: int, mailbox: str = INBOX, account: str = "ann") -> NewMessage[Place]:
    return NewMessage(account, mailbox, uid, frozenset(), 0, 10, Place(0, 0, 0, 0, None))


def account(name: str, uid_validity: int = 1, *addresses: str) -> CreateAccount:
    return CreateAccount(name, "", addresses, "secret", None, uid_validity)


def line(record: Record) -> bytes:
    return encode_delivery([record], [b""], encode_body(b"")) if isinstance(record, NewMessage) else encode(record)


def replayed(*records: Record) -> Replica:
    replica = Replica(Manifest("store", (1,)))
    replica.replay_all((1, number, line(record)) for number, record in enumerate(records))
    return replica


def uids(replica: Replica) -> dict[str, list[int]]:
    """The UIDs in each mailbox, by its name, or by "account/mailbox" if the account is not ann."""
    index = replica.index
    return {
        box.name if account.name == "ann" else f"{account.name}/{box.name}": [
            info.uid for info, _ in index.messages(account.name, box.name)
        ]
        for account in index.accounts()
        for box in index.mailboxes(account.name)
    }


@pytest.mark.parametrize(
    ("records", "found"),
    [
        # the record of a creation is lost
        ([mail(7)], {INBOX: [7]}),
        ([account("ann"), mail(7, "Sent"), mail(8, "Sent")], {INBOX: [], "Sent": [7, 8]}),
        ([CreateMailbox("ann", "Sent", 2), mail(1, "Sent")], {INBOX: [], "Sent": [1]}),
        ([UpdateAccount("ann", "", ("ann@example.com",)), mail(1)], {INBOX: [1]}),
        ([SetQuota("ann", 100), mail(1)], {INBOX: [1]}),
        ([DeleteAccount("ann")], {}),
        ([account("ann"), SetReadOnly("ann", "Sent", True)], {INBOX: [], "Sent": []}),
        ([account("ann"), RenameMailbox("ann", "Sent", "Out"), mail(3, "Out")], {INBOX: [], "Out": [3]}),
        ([account("ann"), DeleteMailbox("ann", "Sent")], {INBOX: []}),
        ([account("ann"), mail(1), CopyMessage("ann", INBOX, 1, "Sent", 1, True)], {INBOX: [], "Sent": [1]}),
        # the record of a deletion or renaming is lost
        (
            [account("ann"), CreateMailbox("ann", "a", 2), mail(5, "a"), CreateMailbox("ann", "a", 3), mail(1, "a")],
            {INBOX: [], "a": [1], "a (2)": [5]},
        ),
        (
            [account("ann"), CreateMailbox("ann", "a", 2), mail(5, "a"), mail(1, "a")],  # and of a creation, too
            {INBOX: [], "a": [1], "a (2)": [5]},
        ),
        (
            [
                account("ann"), CreateMailbox("ann", "a", 2), mail(5, "a"),
                CreateMailbox("ann", "b", 3), mail(1, "b"), RenameMailbox("ann", "b", "a"), mail(2, "a"),
            ],
            {INBOX: [], "a": [1, 2], "a (2)": [5]},
        ),
        (
            [account("ann"), CreateMailbox("ann", LONG, 2), mail(5, LONG), CreateMailbox("ann", LONG, 3)],
            {INBOX: [], f"{LONG[:50]} (2)": [5], LONG: []},
        ),
        (
            [
                account("bob"), mail(9, account="bob"), account("ann", 2), mail(5), CreateMailbox("ann", "a", 3),
                mail(6, "a"), SetReadOnly("ann", "a", True), account("ann", 4), mail(1),
            ],
            {"bob/INBOX": [9], "ann (2)/INBOX": [5], "ann (2)/a": [6], INBOX: [1]},
        ),
        ([account("bob", 1, "a@b.c"), account("ann", 2, "A@b.c"), mail(1)], {"bob/INBOX": [], INBOX: [1]}),
        (
            [account("bob", 1, "a@b.c", "b@b.c"), account("ann", 2), UpdateAccount("ann", "", ("a@b.c",)), mail(1)],
            {"bob/INBOX": [], INBOX: [1]},
        ),
    ],
)  # fmt: skip
def test_what_is_found(records: list[Record], found: dict[str, list[int]]) -> None:
    replica = replayed(*records)
    assert uids(replica) == found
    assert replica.damage, "it is reported"
    again = Replica(Manifest("store", (1,)))
    for operation in replica.index.dump():
        again.apply(operation, 0)
    assert uids(again) == found, "a snapshot says the same"


def test_who_has_an_address_now() -> None:
    replica = replayed(account("bob", 1, "a@b.c", "b@b.c"), account("ann", 2, "a@b.c"))
    assert {each.name: each.addresses for each in replica.index.accounts()} == {"bob": ("b@b.c",), "ann": ("a@b.c",)}


def test_nobody_else_is_touched() -> None:
    """Every change can be seen by others, so an account that keeps an address must not lose it in between."""
    index = replayed(account("bob", 1, "a@b.c"), account("carl", 2, "c@b.c"), account("ann", 3, "d@b.c")).index
    update = UpdateAccount("ann", "", ("a@b.c", "d@b.c"))
    assert list(taken_for_granted(index, update)) == [UpdateAccount("bob", "", ())]


def test_who_was_in_the_way_cannot_log_in() -> None:
    replica = replayed(account("ann", 1, "a@b.c"), account("ann", 2, "a@b.c"))
    assert replica.index.credentials("ann (1)") is None
    assert replica.index.account("ann (1)").addresses == ()
    assert replica.index.find_account("a@b.c") == replica.index.account("ann")


@pytest.mark.parametrize(
    "record", [DeleteMessage("ann", INBOX, 9), SetFlags("ann", INBOX, 9, frozenset()), mail(2), mail(1)]
)
def test_what_nothing_helps(record: Record) -> None:
    replica = replayed(account("ann"), mail(2), record)
    assert uids(replica) == {INBOX: [2]}
    assert len(replica.damage) == 1
    assert replica.index.mailbox("ann", INBOX).uid_next > 3


def test_a_uid_validity_is_not_given_again() -> None:
    replica = replayed(account("ann", 5), mail(1, "Sent"), mail(1, account="bob"))
    assert replica.index.mailbox("ann", "Sent").uid_validity == 6
    assert replica.index.mailbox("bob", INBOX).uid_validity == 7
    assert replica.index.create_mailbox("ann", "Another")[1].uid_validity > 7


def test_a_mailbox_that_is_implied_has_a_uid_validity_that_no_lost_one_had() -> None:
    """Sent was created, used, deleted, and created again. Of all that, only its last message is left."""
    lost: list[Record] = [
        CreateMailbox("ann", "Sent", 2),
        mail(1, "Sent"),
        DeleteMailbox("ann", "Sent"),
        CreateMailbox("ann", "Sent", 3),
    ]
    damaged = [b"#" + line(record)[1:] for record in lost]
    replica = Replica(Manifest("store", (1,)))
    lines = [line(account("ann")), *damaged, line(mail(1, "Sent"))]
    replica.replay_all((1, number, each) for number, each in enumerate(lines))
    assert uids(replica) == {INBOX: [], "Sent": [1]}
    assert replica.index.mailbox("ann", "Sent").uid_validity > 3


def test_what_fits_is_no_damage() -> None:
    assert replayed(account("ann"), mail(1), KeepSecret("x")).damage == []
