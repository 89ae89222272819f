"""``trio-smtp mailbox``: listing, creating, renaming and deleting mailboxes, and making them read-only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from tests.cli.tools import Result
from trio_smtp.mailbox.store import MailStore

Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def account(prepare: Callable[[Callable[[MailStore], Awaitable[object]]], None]) -> None:
    async def fill(store: MailStore) -> None:
        await store.create_account("demo")
        await store.create_mailbox("demo", "Lists")
        await store.set_read_only("demo", "Lists", True)
        await store.append_message("demo", "INBOX", b"1", flags=["\\Seen"])
        await store.append_message("demo", "INBOX", b"2")

    prepare(fill)


def names(run: Run) -> list[str]:
    return [record["name"] for record in run("mailbox", "list", "demo", "--json").records]


def test_list(run: Run) -> None:
    inbox, lists = run("mailbox", "list", "demo", "--json").records
    assert inbox.keys() == {"name", "messages", "unseen", "read_only", "uid_validity", "uid_next"}
    assert (inbox["name"], inbox["messages"], inbox["unseen"], inbox["uid_next"]) == ("INBOX", 2, 1, 3)
    assert (lists["name"], lists["read_only"]) == ("Lists", True)
    assert run("mailbox", "list", "demo").lines == [
        "MESSAGES  UNSEEN  READ ONLY  NAME",
        "       2       1  no         INBOX",
        "       0       0  yes        Lists",
    ]


def test_create(run: Run) -> None:
    assert run("mailbox", "create", "demo", "../\u202eetc") == (
        0,
        b"Mailbox ../\\u202eetc of demo created.\n",
        "",
    )
    assert run("mailbox", "create", "demo", "Sent", "--json").records[0]["messages"] == 0
    assert names(run) == ["INBOX", "../\u202eetc", "Lists", "Sent"]


def test_read_only(run: Run) -> None:
    assert run("mailbox", "read-only", "demo", "INBOX", "on").out == b"Mailbox INBOX of demo is read-only now.\n"
    assert [each["read_only"] for each in run("mailbox", "list", "demo", "--json").records] == [True, True]
    run("mail", "delete", "demo", "1").fails(1, "'INBOX' is read-only", "mailbox read-only")
    assert run("mailbox", "read-only", "demo", "INBOX", "off").out == b"Mailbox INBOX of demo is writable now.\n"
    reopened = run("mailbox", "read-only", "demo", "Lists", "off", "--json")
    assert reopened.records == [{"name": "Lists", "read_only": False}]
    assert run("mail", "delete", "demo", "1").code == 0


def test_rename(run: Run) -> None:
    run("mailbox", "create", "demo", "Old")
    assert run("mailbox", "rename", "demo", "Old", "New") == (0, b"Mailbox Old of demo renamed to New.\n", "")
    assert run("mailbox", "rename", "demo", "New", "Newer", "--json").records == [{"name": "Newer"}]
    assert names(run) == ["INBOX", "Lists", "Newer"]


def test_delete(run: Run) -> None:
    run("mailbox", "create", "demo", "Old")
    assert run("mailbox", "delete", "demo", "Old") == (0, b"Mailbox Old of demo deleted.\n", "")
    assert names(run) == ["INBOX", "Lists"]


def test_delete_with_mail(run: Run, prepare: Callable[[Callable[[MailStore], Awaitable[object]]], None]) -> None:
    async def fill(store: MailStore) -> None:
        await store.create_mailbox("demo", "Old")
        await store.copy_message("demo", "INBOX", 1, "Old")
        await store.copy_message("demo", "INBOX", 2, "Old")

    prepare(fill)
    run("mailbox", "delete", "demo", "Old").fails(2, "mailbox Old of demo holds 2 messages", "--yes")
    assert run("mailbox", "delete", "demo", "Old", "--yes", "--json").records == [{"name": "Old"}]
    assert names(run) == ["INBOX", "Lists"]


@pytest.mark.parametrize(
    ("line", "code", "fragment"),
    [
        ("list nobody", 1, "account list"),
        ("create nobody x", 1, "account list"),
        ("create demo Lists", 1, "mailbox list"),
        ("create demo a\x07", 2, "control character"),
        ("rename demo nothing x", 1, "mailbox list"),
        ("rename demo INBOX x", 2, "INBOX"),
        ("rename demo Lists x", 1, "read-only"),
        ("delete demo nothing", 1, "mailbox list"),
        ("delete demo INBOX --yes", 2, "INBOX"),
        ("delete demo Lists", 1, "read-only"),
    ],
)
def test_refusals(run: Run, line: str, code: int, fragment: str) -> None:
    run("mailbox", *line.split(" ")).fails(code, fragment)
    assert names(run) == ["INBOX", "Lists"]
