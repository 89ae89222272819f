"""``trio-smtp mail search``, ``flag``, ``copy`` and ``move``, and waiting for messages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from tests.cli.tools import Result
from trio_smtp.cli import messages
from trio_smtp.mailbox import MemoryStore
from trio_smtp.mailbox.store import MailStore, NoSuchAccount, Search

Run = Callable[..., Result]

ANN = b"From: ann@example.com\r\nTo: bob\r\nSubject: One\r\nList-Id: announce\r\n\r\nfirst\r\n"
BOB = b"From: bob@example.com\r\nCc: carl\r\nSubject: Two\r\n\r\nsecond " + b"." * 2000


@pytest.fixture(autouse=True)
def mailboxes(prepare: Callable[[Callable[[MailStore], Awaitable[object]]], None]) -> None:
    async def fill(store: MailStore) -> None:
        await store.create_account("demo")
        await store.create_mailbox("demo", "Old\u202e")
        for content, flags, day in ((ANN, ["\\Seen", "Mine"], 23), (BOB, [], 24)):
            date = datetime(2026, 11, day, 12, tzinfo=UTC)
            await store.append_message("demo", "INBOX", content, flags=flags, internal_date=date)

    prepare(fill)


def listed(run: Run, *flags: str) -> list[dict[str, Any]]:
    return run("mail", "list", "demo", "--json", *flags).records


@pytest.mark.parametrize(
    ("flags", "found"),
    [
        ("--subject ONE", [1]),
        ("--subject o", [1, 2]),
        ("--from bob", [2]),
        ("--to carl", [2]),
        ("--header List-Id", [1]),
        ("--header list-id=ANN", [1]),
        ("--header list-id=x", []),
        ("--body ann", []),
        ("--body first", [1]),
        ("--text ann", [1]),
        ("--flag Mine", [1]),
        ("--flag seen --flag mine", [1]),
        ("--flag \\Seen", [1]),
        ("--no-flag seen", [2]),
        ("--since 2026-11-24", [2]),
        ("--since 2026-11-23T12:00:00Z", [1, 2]),
        ("--since 2026-11-23T12:00:00-01:00", [2]),
        ("--before 2026-11-24", [1]),
        ("--larger 1K", [2]),
        ("--smaller 1K", [1]),
        ("--subject one --from bob", []),
        ("--subject one --from bob --any", [1, 2]),
        ("--flag seen --no-flag seen --any", [1, 2]),
    ],
)
def test_search(run: Run, flags: str, found: list[int]) -> None:
    records = run("mail", "search", "demo", *flags.split(), "--json").records
    assert records == [record for record in listed(run) if record["uid"] in found]


def test_search_for_people(run: Run) -> None:
    assert run("mail", "search", "demo", "--subject", "two").lines == [
        "UID  SIZE  DATE                  FLAGS  SENDER           TO    SUBJECT",
        "  2  2056  2026-11-24T12:00:00Z         bob@example.com  carl  Two",
    ]
    assert run("mail", "search", "demo", "--subject", "three").lines == ["UID  SIZE  DATE  FLAGS  SENDER  TO  SUBJECT"]


def test_blanks_in_a_header(run: Run, prepare: Callable[[Callable[[MailStore], Awaitable[object]]], None]) -> None:
    async def fill(store: MailStore) -> None:
        content = "From: 山田\u3000太\u200b郎\r\nTo: a\xa0b\r\nSubject: Déjà\xa0vu\u200b\r\n\r\n".encode()
        await store.append_message("demo", "INBOX", content)

    prepare(fill)
    assert run("mail", "list", "demo").lines[-1].endswith(r"  山田  太\u200b郎  a b   Déjà vu")


def test_to_wait_for_what_is_there(run: Run) -> None:
    for line in ("list demo --wait 600", "search demo --subject o --wait 600"):
        assert run("mail", *line.split(), "--json").records == listed(run)


@pytest.mark.parametrize("line", ["list demo --mailbox Old\u202e", "search demo --subject three"])
def test_to_wait_for_what_does_not_come(run: Run, line: str) -> None:
    run("mail", *line.split(" "), "--wait", "0.01").fails(1, "no message was found within 0.01 seconds")


async def test_to_wait_for_what_comes(autojump_clock: trio.testing.MockClock) -> None:
    store = MemoryStore()
    await store.create_account("demo")
    find = partial(store.find_messages, "demo", "INBOX", Search(subject="two"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(messages.wait_for, find, store, "demo", 600)
        for content in (ANN, BOB):
            await trio.testing.wait_all_tasks_blocked()
            assert len(nursery.child_tasks) == 1
            await store.append_message("demo", "INBOX", content)
    assert trio.current_time() == 0


async def test_to_wait_in_an_account_that_goes() -> None:
    store = MemoryStore()
    await store.create_account("demo")
    with pytest.RaisesGroup(NoSuchAccount):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(messages.wait_for, partial(store.list_messages, "demo", "INBOX"), store, "demo", 600)
            await trio.testing.wait_all_tasks_blocked()
            await store.delete_account("demo")


@pytest.mark.parametrize("size", [1, 2, 3])
def test_search_page_by_page(run: Run, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(messages, "_PAGE", size)
    assert [each["uid"] for each in run("mail", "search", "demo", "--text", "e", "--json").records] == [1, 2]


@pytest.mark.parametrize(
    ("flags", "one", "two"),
    [
        (["--add", "flagged"], ["Mine", "\\Flagged", "\\Seen"], ["\\Flagged"]),
        (["--add", "a", "--add", "b"], ["Mine", "\\Seen", "a", "b"], ["a", "b"]),
        (["--remove", "mine", "--remove", "\\SEEN"], [], []),
        (["--set", "a"], ["a"], ["a"]),
        (["--set", ""], [], []),
    ],
)
def test_flag(run: Run, flags: list[str], one: list[str], two: list[str]) -> None:
    result = run("mail", "flag", "demo", "1", "2", *flags, "--json")
    assert result.records == [{"uid": 1, "flags": one}, {"uid": 2, "flags": two}]
    assert [each["flags"] for each in listed(run)] == [one, two]


def test_flag_for_people(run: Run) -> None:
    result = run("mail", "flag", "demo", "2", "1", "2", "--remove", "Mine")
    assert result == (0, b"Flags of message 2: none\nFlags of message 1: \\Seen\n", "")


def test_copy(run: Run) -> None:
    assert run("mail", "copy", "demo", "2", "--to", "Old\u202e") == (
        0,
        b"Message 2 copied to Old\\u202e; its UID there is 1.\n",
        "",
    )
    again = run("mail", "copy", "demo", "1", "2", "--to", "Old\u202e", "--json")
    assert again.records == [
        {"uid": 1, "mailbox": "Old\u202e", "new_uid": 2},
        {"uid": 2, "mailbox": "Old\u202e", "new_uid": 3},
    ]
    assert [each["uid"] for each in listed(run)] == [1, 2]
    assert [each["subject"] for each in listed(run, "--mailbox", "Old\u202e")] == ["Two", "One", "Two"]


def test_move(run: Run) -> None:
    assert run("mail", "move", "demo", "1", "--to", "Old\u202e").out.startswith(b"Message 1 moved to ")
    assert [each["uid"] for each in listed(run)] == [2]
    back = run("mail", "move", "demo", "1", "--to", "inbox", "--mailbox", "Old\u202e", "--json")
    assert back.records == [{"uid": 1, "mailbox": "INBOX", "new_uid": 3}]


@pytest.mark.parametrize("line", ["flag demo 1 3 --add a", "copy demo 1 3 --to INBOX", "move demo 1 3 --to INBOX"])
def test_all_or_none(run: Run, line: str) -> None:
    before = listed(run)
    run("mail", *line.split()).fails(1, "no message 3", "nothing was done")
    assert listed(run) == before


@pytest.mark.parametrize(
    ("line", "fragment"),
    [
        ("search nobody --text x", "account list"),
        ("search demo --text x --mailbox nothing", "mailbox list"),
        ("flag nobody 1 --add a", "account list"),
        ("copy demo 1 --to nothing", "mailbox list"),
        ("move demo 1 --to nothing", "mailbox list"),
    ],
)
def test_what_is_not_there(run: Run, line: str, fragment: str) -> None:
    run("mail", *line.split()).fails(1, fragment)


def test_no_room_for_a_copy(run: Run) -> None:
    run("account", "quota", "demo", "2K")
    run("mail", "copy", "demo", "1", "--to", "INBOX").fails(1, "of its quota of 2048 octets", "account quota")
