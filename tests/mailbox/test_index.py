"""`Index`: replaying operations, dumps and copies, and planning several changes before any of them is applied."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from trio_smtp.mailbox.index import Index
from trio_smtp.mailbox.operations import (
    AddMessages,
    CopyMessage,
    CreateAccount,
    CreateMailbox,
    DeleteAccount,
    DeleteMailbox,
    DeleteMessage,
    KeepNote,
    KeepSecret,
    NewMessage,
    Operation,
    RenameMailbox,
    SetCredentials,
    SetFlags,
    SetQuota,
    SetReadOnly,
    SpendUids,
    SpendUidValidities,
    UpdateAccount,
)
from trio_smtp.mailbox.state import Box, Owner, to_datetime, to_seconds
from trio_smtp.mailbox.store import (
    INBOX,
    SEEN,
    Credentials,
    Delivered,
    QuotaExceeded,
    StoreError,
    StoreUnavailable,
    Target,
)

# What the plans refuse is tested through the stores; this file tests what else a store with a journal relies on.


def contents(index: Index[str]) -> list[object]:
    """All that an index can be asked for."""
    told: list[object] = [index.secret(), [index.note(key, 10) for key in ("key", "other", "gone")]]
    for account in index.accounts():
        told += [account, index.credentials(account.name)]
        for mailbox in index.mailboxes(account.name):
            told += [mailbox, index.messages(account.name, mailbox.name)]
    return told


def place(target: Target) -> str:
    return f"{target.account}/{target.mailbox}"


def new(uid: int, mailbox: str = INBOX, account: str = "ann") -> NewMessage[str]:
    return NewMessage(account, mailbox, uid, frozenset(), 0, 1, "body")


HISTORY: Sequence[Operation[str]] = (
    CreateAccount("ann", "Ann", ("ann@x",), None, None, 1),
    CreateAccount("bob", "", (), "hash", 100, 2),
    CreateMailbox("ann", "Sent", 3),
    CreateMailbox("ann", "Gone", 4),
    AddMessages([new(1), new(1, "Sent"), new(7, account="bob")]),
    AddMessages([new(2), new(3), new(5)]),
    SetFlags("ann", INBOX, 2, frozenset({SEEN})),
    CopyMessage("ann", INBOX, 2, "Sent", 2, move=False),
    CopyMessage("ann", INBOX, 3, "Sent", 3, move=True),
    DeleteMessage("ann", INBOX, 5),
    RenameMailbox("ann", "Sent", "Old"),
    SetReadOnly("ann", "Old", read_only=True),
    DeleteMailbox("ann", "Gone"),
    SetCredentials("bob", None),
    KeepSecret("secret"),
    KeepNote("key", "text", 30, 10),
    KeepNote("gone", "text", 11, 10),
    KeepNote("other", "text", 20, 12),
    KeepNote("key", "another", 15, 13),
    SetQuota("ann", 1000),
    SetQuota("bob", None),
    SetQuota("bob", 200),
    UpdateAccount("ann", "Anne", ("anne@x", "ann@x")),
    SpendUids("bob", INBOX, 20),
    CreateAccount("carl", "", ("carl@x",), None, None, 5),
    DeleteAccount("carl"),
    SpendUidValidities(9),
)


def replayed(operations: Sequence[Operation[str]]) -> Index[str]:
    index = Index[str]()
    for operation in operations:
        index.apply(operation)
    return index


def test_replay() -> None:
    index = replayed(HISTORY)
    ann, bob = index.accounts()
    assert (ann.name, ann.used, bob.name, bob.used) == ("ann", 5, "bob", 1)
    inbox, old = index.mailboxes("ann")
    assert (inbox.messages, inbox.unseen, inbox.uid_next) == (2, 1, 6)
    assert (old.name, old.messages, old.unseen, old.uid_next, old.read_only) == ("Old", 3, 2, 4, True)
    assert index.mailbox("bob", INBOX).uid_next == 20
    assert [info.uid for info, _ in index.messages("ann", INBOX, 0, 1)] == [1]
    operation, new_one = index.create_mailbox("ann", "New")
    assert operation.uid_validity == 10
    index.apply(operation)
    assert index.mailbox("ann", "New") == new_one


@pytest.mark.parametrize("length", range(len(HISTORY) + 1))
def test_dump_makes_an_equal_index(length: int) -> None:
    index = replayed(HISTORY[:length])
    again = replayed(list(index.dump()))
    assert contents(again) == contents(index)
    assert list(again.dump()) == list(index.dump())
    assert again.create_account("zoe")[0].uid_validity == index.create_account("zoe")[0].uid_validity


def test_a_copy_goes_its_own_way() -> None:
    index = replayed(HISTORY)
    before, dump = contents(index), list(index.dump())
    copy = index.copy()
    assert list(copy.dump()) == dump
    assert copy.has_domain("x")
    copy.apply(SetFlags("ann", INBOX, 1, frozenset({SEEN})))
    copy.apply(AddMessages([new(9)]))
    copy.apply(DeleteMessage("ann", INBOX, 1))
    copy.apply(CreateMailbox("ann", "New", 10))
    copy.apply(KeepSecret("another"))
    copy.apply(KeepNote("key", "changed", 50, 10))
    copy.apply(DeleteAccount("bob"))
    copy.apply(CreateAccount("bob", "", ("bob@x",), None, None, 11))
    assert contents(index) == before
    assert list(index.dump()) == dump
    assert index.find_account("bob@x") is None
    index.apply(SetQuota("ann", 7))
    found = copy.find_account("ann@x")
    assert found is not None
    assert found.quota == 1000


def test_a_copy_of_an_owner_has_all_that_it_has() -> None:
    owner = Owner[str](CreateAccount("ann", "Ann", ("ann@x",), "secret", 1000, 7), [])
    owner.used = 5
    box = owner.boxes[INBOX]
    box.add(1, frozenset({SEEN}), 10, 20, "a")
    box.add(3, frozenset(), 11, 21, "b")
    box.spend_uid()
    box.read_only = True
    copy = owner.copy()
    assert [getattr(copy, name) for name in Owner.__slots__ if name != "boxes"] == [
        getattr(owner, name) for name in Owner.__slots__ if name != "boxes"
    ]
    [copied] = copy.boxes.values()
    assert [getattr(copied, name) for name in Box.__slots__] == [getattr(box, name) for name in Box.__slots__]
    assert all(
        getattr(copied, name) is not getattr(box, name) for name in ("uids", "_flags", "_dates", "_sizes", "bodies")
    )


def test_count() -> None:
    assert replayed(HISTORY).count() == 6


def test_dump_of_a_large_mailbox_comes_in_parts() -> None:
    index = replayed([HISTORY[0], *(AddMessages([new(uid)]) for uid in range(1, 502))])
    parts = [operation for operation in index.dump() if isinstance(operation, AddMessages)]
    assert [len(part.messages) for part in parts] == [200, 200, 101]
    assert contents(replayed(list(index.dump()))) == contents(index)


@pytest.mark.parametrize(
    "operation",
    [
        CreateAccount("ann", "", (), None, None, 9),
        CreateAccount("new", "", ("new@x", "ANN@x"), None, None, 9),
        DeleteAccount("new"),
        SetCredentials("new", None),
        SetQuota("new", None),
        UpdateAccount("new", "", ("other@x",)),
        UpdateAccount("bob", "", ("other@x", "ANN@x")),
        CreateMailbox("new", "Sent", 9),
        CreateMailbox("ann", "Old", 9),
        CreateMailbox("ann", INBOX, 9),
        DeleteMailbox("ann", "New"),
        RenameMailbox("ann", "New", "Newer"),
        RenameMailbox("ann", "Old", INBOX),
        SetReadOnly("ann", "New", read_only=True),
        AddMessages([new(10), new(10, "New")]),
        AddMessages([new(10), new(10, account="new")]),
        AddMessages([new(10, "Old"), new(2)]),
        CopyMessage("ann", INBOX, 9, "Old", 10, move=False),
        CopyMessage("ann", INBOX, 2, "New", 10, move=True),
        CopyMessage("ann", INBOX, 2, "Old", 3, move=True),
        SetFlags("ann", INBOX, 9, frozenset()),
        SetFlags("ann", "New", 2, frozenset()),
        DeleteMessage("ann", INBOX, 9),
        SpendUids("ann", "New", 9),
    ],
    ids=repr,
)
def test_an_operation_that_does_not_fit_changes_nothing(operation: Operation[str]) -> None:
    index = replayed(HISTORY)
    before = contents(index)
    with pytest.raises(StoreError):
        index.apply(operation)
    assert contents(index) == before
    assert index.find_account("new@x") is None


def test_deliveries_planned_before_any_is_applied_get_uids_of_their_own() -> None:
    index = replayed(HISTORY[:1])
    planned = [index.add_messages([Target("ann")], 1, place, date=0) for _ in range(3)]
    assert [message.uid for operation, _ in planned for message in operation.messages] == [1, 2, 3]
    assert index.mailbox("ann", INBOX).uid_next == 1
    for operation, _ in (planned[0], planned[2]):
        index.apply(operation)
    assert [info.uid for info, _ in index.messages("ann", INBOX)] == [1, 3]
    [result] = index.add_messages([Target("ann")], 1, place, date=0)[1]
    assert isinstance(result, Delivered)
    assert result.uid == 4


def test_deliveries_planned_before_any_is_applied_share_the_room() -> None:
    index = replayed([CreateAccount("ann", "", (), None, 10, 1), HISTORY[1]])
    index.apply(AddMessages([NewMessage("ann", INBOX, 1, frozenset(), 0, 4, "body")]))

    def plan(size: int) -> None:
        index.add_messages([Target("ann"), Target("bob")], size, place, date=0)

    for _ in range(2):  # as if writing the first group had failed
        with index.group():
            plan(2)
            with pytest.raises(QuotaExceeded):
                plan(5)
            plan(1)
            with pytest.raises(QuotaExceeded):
                index.copy_message("ann", INBOX, 1, INBOX)
            plan(3)
            with pytest.raises(QuotaExceeded):
                plan(1)
    index.copy_message("ann", INBOX, 1, INBOX)
    plan(6)
    plan(6)


def test_notes_planned_before_any_is_applied_share_the_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_smtp.mailbox.notes.MAX_NOTES", 3)
    index = replayed([KeepNote("a", "", 100, 0)])
    for _ in range(2):  # as if writing the first group had failed
        with index.group():
            index.keep_note("b", "", 100, 0)
            index.keep_note("c", "", 100, 0)
            with pytest.raises(StoreUnavailable):
                index.keep_note("d", "", 100, 0)
            index.keep_note("a", "", 100, 0)
    index.keep_note("d", "", 100, 0)
    index.keep_note("e", "", 100, 0)


def test_a_refused_plan_spends_nothing() -> None:
    index = replayed(HISTORY)
    before = contents(index)
    with pytest.raises(QuotaExceeded):
        index.add_messages([Target("ann"), Target("bob")], 1000, place, date=0)
    assert contents(index) == before


def test_each_copy_is_placed_once() -> None:
    index = replayed(HISTORY[:3])
    targets = [Target("ann", "Sent", b"12"), Target("ann", "inbox"), Target("ann", "Sent"), Target("bob")]
    operation, _ = index.add_messages(targets, 10, place, date=5, flags=frozenset({"a"}))
    assert operation == AddMessages(
        [
            NewMessage("ann", "Sent", 1, frozenset({"a"}), 5, 12, "ann/Sent"),
            NewMessage("ann", INBOX, 1, frozenset({"a"}), 5, 10, "ann/inbox"),
            NewMessage("bob", INBOX, 1, frozenset({"a"}), 5, 10, "bob/INBOX"),
        ]
    )


def test_equal_flag_sets_are_one_object() -> None:
    index = replayed(HISTORY[:1])
    for uid in (1, 2):
        index.apply(AddMessages([NewMessage("ann", INBOX, uid, frozenset({"a", "b"}), 0, 0, "")]))
    one, other = (info.flags for info, _ in index.messages("ann", INBOX))
    assert one is other


def test_flag_sets_that_nobody_has_any_more_are_forgotten() -> None:
    index = replayed(HISTORY[:1])
    index.apply(AddMessages([NewMessage("ann", INBOX, 1, frozenset(), 0, 0, "")]))
    for number in range(3000):
        index.apply(SetFlags("ann", INBOX, 1, frozenset({f"keyword{number}"})))
    assert len(index._flag_sets) <= 1000
    assert [info.flags for info, _ in index.messages("ann", INBOX)] == [{"keyword2999"}]


def test_credentials() -> None:
    index = replayed(HISTORY[:2])
    assert index.credentials("bob") == Credentials("hash")
    assert index.set_credentials("ann", Credentials("other"))[0] == SetCredentials("ann", "other")


@pytest.mark.parametrize(
    ("date", "seconds"),
    [
        (datetime(1970, 1, 1, tzinfo=UTC), 0),
        (datetime(1970, 1, 1, 0, 0, 1, 999_999, tzinfo=UTC), 1),
        (datetime(1969, 12, 31, 23, 59, 59, 1, tzinfo=UTC), -1),
        (datetime(1, 1, 1, tzinfo=UTC), -62135596800),
        (datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), 253402300799),
    ],
)
def test_dates(date: datetime, seconds: int) -> None:
    assert to_seconds(date) == seconds
    assert to_datetime(seconds) == date.replace(microsecond=0)
    assert to_datetime(seconds) - date <= timedelta(0)


def test_addresses_that_became_one() -> None:
    """An older version treated them as different addresses, and stored both."""
    index = Index[str]()
    index.apply(CreateAccount("ann", "", ("ann@bücher.example", "ann@xn--bcher-kva.example"), None, None, 1))
    assert index.has_domain("bücher.example")
    index.apply(UpdateAccount("ann", "", ("ann@example.com",)))
    assert index.find_account("ann@bücher.example") is None
    assert not index.has_domain("bücher.example")
    index.apply(DeleteAccount("ann"))
    assert not index.has_domain("example.com")
