from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.cli.tools import Result
from trio_smtp.cli import messages
from trio_smtp.mailbox.store import MailStore

Run = Callable[..., Result]

HOSTILE = b"Subject: \x1b[2J\xe2\x80\xae\r\nFrom: =?utf-8?q?=1B=5D0;x=07?= <a@example.com>\r\n\r\n\x1b[31m\r\n"
EVERY_OCTET = bytes(range(256)) * 2
CONTENTS = [b"From: ann@example.com\r\nTo: bob\r\nSubject: One\r\n\r\nFirst\r\n", HOSTILE, EVERY_OCTET]
DATE = datetime(2026, 11, 23, 20, 0, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def mailboxes(prepare: Callable[[Callable[[MailStore], Awaitable[object]]], None]) -> None:
    async def fill(store: MailStore) -> None:
        await store.create_account("demo")
        await store.create_mailbox("demo", "Old")
        for content in CONTENTS:
            flags = ["\\Seen", "$Junk"] if content is HOSTILE else []
            await store.append_message("demo", "INBOX", content, flags=flags, internal_date=DATE)
        await store.append_message("demo", "Old", b"Subject: Old\r\n\r\n", internal_date=DATE)

    prepare(fill)


def listed(run: Run, *flags: str) -> list[dict[str, Any]]:
    return run("mail", "list", "demo", "--json", *flags).records


def test_list_as_json(run: Run) -> None:
    one, hostile, octets = listed(run)
    assert one == {
        "uid": 1,
        "size": len(CONTENTS[0]),
        "flags": [],
        "date": "2026-11-23T20:00:01Z",
        "subject": "One",
        "sender": "ann@example.com",
        "recipients": "bob",
    }
    assert (hostile["subject"], hostile["flags"]) == ("\x1b[2J\u202e", ["$Junk", "\\Seen"])
    assert (octets["uid"], octets["size"]) == (3, 512)


def test_list_for_people(run: Run) -> None:
    assert run("mail", "list", "demo").lines[:3] == [
        "UID  SIZE  DATE                  FLAGS        SENDER                        SUBJECT",
        "  1    55  2026-11-23T20:00:01Z               ann@example.com               One",
        r"  2    75  2026-11-23T20:00:01Z  $Junk \Seen  \x1b]0;x\x07 <a@example.com>  \x1b[2J\u202e",
    ]


def test_list_another_mailbox(run: Run) -> None:
    [old] = listed(run, "--mailbox", "Old")
    assert old["subject"] == "Old"


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_list_page_by_page(run: Run, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(messages, "_PAGE", size)
    assert [record["uid"] for record in listed(run)] == [1, 2, 3]
    lines = run("mail", "list", "demo").lines
    assert [line.split()[0] for line in lines] == ["UID", "1", "2", "3"]


def test_show_raw(run: Run) -> None:
    assert run("mail", "show", "demo", "3", "--raw") == (0, EVERY_OCTET, "")
    assert run("mail", "show", "demo", "3", "1", "--raw").out == EVERY_OCTET + CONTENTS[0]


def test_show_as_json(run: Run) -> None:
    records = run("mail", "show", "demo", "1", "2", "3", "--json").records
    assert [base64.b64decode(record.pop("raw"), validate=True) for record in records] == CONTENTS
    assert records == listed(run)


def test_show_for_people(run: Run) -> None:
    assert run("mail", "show", "demo", "1", "2").lines == [
        "From: ann@example.com",
        "To: bob",
        "Subject: One",
        "",
        "First",
        "",
        r"Subject: \x1b[2J\u202e",
        r"From: \x1b]0;x\x07 <a@example.com>",
        "",
        r"\x1b[31m",
    ]


def test_show_of_another_mailbox(run: Run) -> None:
    assert run("mail", "show", "demo", "1", "--mailbox", "Old", "--raw").out == b"Subject: Old\r\n\r\n"


def test_delete(run: Run) -> None:
    assert run("mail", "delete", "demo", "3", "1", "3") == (0, b"Message 3 deleted.\nMessage 1 deleted.\n", "")
    assert run("mail", "delete", "demo", "1", "--mailbox", "Old", "--json").records == [{"uid": 1}]
    assert [record["uid"] for record in listed(run)] == [2]
    assert listed(run, "--mailbox", "Old") == []


def test_delete_all_or_none(run: Run) -> None:
    run("mail", "delete", "demo", "1", "4", "2").fails(1, "no message 4", "nothing was done")
    assert [record["uid"] for record in listed(run)] == [1, 2, 3]


@pytest.mark.parametrize(
    ("line", "fragment"),
    [
        ("list nobody", "account list"),
        ("list demo --mailbox nothing", "mailbox list"),
        ("show nobody 1", "account list"),
        ("show demo 1 --mailbox nothing", "mailbox list"),
        ("show demo 4", "mail list"),
        ("show demo 999999999999999999 --raw", "mail list"),
        ("delete nobody 1", "account list"),
        ("delete demo 1 --mailbox nothing", "mailbox list"),
    ],
)
def test_what_is_not_there(run: Run, line: str, fragment: str) -> None:
    run("mail", *line.split()).fails(1, fragment)
