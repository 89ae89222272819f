"""``trio-smtp mail list``, ``show`` and ``delete``: output for people and as JSON, parts, attachments."""

from __future__ import annotations

import base64
import errno
import io
import os
import signal
import stat
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest

from tests.cli.tools import Result
from tests.forked import FORKED
from trio_smtp.cli import attachments, main, messages
from trio_smtp.mailbox.json_file import JSONFileStore
from trio_smtp.mailbox.store import MailStore
from trio_smtp.mime import page, parse

Run = Callable[..., Result]

HOSTILE = b"Subject: \x1b[2J\xe2\x80\xae\r\nFrom: =?utf-8?q?=1B=5D0;x=07?= <a@example.com>\r\n\r\n\x1b[31m\r\n"
EVERY_OCTET = bytes(range(256)) * 2
CONTENTS = [b"From: ann@example.com\r\nTo: bob@example.com\r\nSubject: One\r\n\r\nFirst\r\n", HOSTILE, EVERY_OCTET]
WITH_FILES = b"""Subject: Files\r
Content-Type: multipart/mixed; boundary=x\r
\r
--x\r
\r
Look\r
--x\r
Content-Disposition: attachment; filename="../../report.pdf"\r
Content-Transfer-Encoding: base64\r
\r
AAEC\r
--x\r
Content-Disposition: attachment; filename="report.pdf"\r
\r
two\r
--x\r
Content-Type: message/rfc822\r
\r
Subject: inner\r
\r
Inner\r
--x--\r
"""
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
        "recipients": "bob@example.com",
    }
    assert (hostile["subject"], hostile["flags"]) == ("\x1b[2J\u202e", ["$Junk", "\\Seen"])
    assert (octets["uid"], octets["size"]) == (3, 512)


def test_list_for_people(run: Run) -> None:
    assert run("mail", "list", "demo").lines[:3] == [
        "UID  SIZE  DATE                  FLAGS        SENDER                        TO               SUBJECT",
        "  1    67  2026-11-23T20:00:01Z               ann@example.com               bob@example.com  One",
        r"  2    75  2026-11-23T20:00:01Z  $Junk \Seen  \x1b]0;x\x07 <a@example.com>                   \x1b[2J\u202e",
    ]


@pytest.mark.parametrize(
    ("header", "shown"),
    [
        (b"To: Bob <bob@example.com>\r\nCc: ann@example.com, carl@example.com\r\n", "bob@example.com +2"),
        (b'To: "Example, Bob" <bob@example.com>\r\n', "bob@example.com"),
        (b"To: =?utf-8?q?Example=2C_Bob?= <bob@example.com>\r\n", "bob@example.com"),
        (b"To: undisclosed-recipients:;\r\n", "undisclosed-recipients:;"),
        (b"Delivered-To: bcc@example.com\r\nDelivered-To: b@example.com\r\n", "bcc@example.com +1"),
        (b"To: " + b"a@example.com, " * 100 + b"\r\n", "a@example.com +66…"),
        (b"To: \x1b@example.com\r\n", "@example.com"),
    ],
)
def test_list_shows_to_whom(
    run: Run,
    prepare: Callable[[Callable[[MailStore], Awaitable[object]]], None],
    header: bytes,
    shown: str,
) -> None:
    content = header + b"Subject: x\r\n\r\n"
    prepare(lambda store: store.append_message("demo", "Old", content, internal_date=DATE))
    lines = run("mail", "list", "demo", "--mailbox", "Old").lines
    to, subject = (lines[0].index(title) for title in ("TO", "SUBJECT"))
    assert lines[2][to:subject].rstrip() == shown


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
    assert [record.pop("envelope") for record in records] == [None] * 3
    assert [list(record.pop("headers")) for record in records] == [["from", "to", "subject"], ["subject", "from"], []]
    assert records[0].pop("parsed")["text"] == "First\n"
    assert [record.pop("parsed")["subject"] for record in records[1:]] == ["[2J\u202e", ""]
    assert records == listed(run)


def test_every_field_of_the_header(
    run: Run, prepare: Callable[[Callable[[MailStore], Awaitable[object]]], None]
) -> None:
    header = b"X-Tag: =?utf-8?q?=C3=BC?=\r\n folded\r\nList-Unsubscribe: <https://x>\r\nx-tag: =?utf-8?q?a=0Ab?=\r\n"
    content = header + b"\r\nbody: none of it\r\n"
    prepare(lambda store: store.append_message("demo", "INBOX", content))
    [record] = run("mail", "show", "demo", "4", "--json").records
    assert record["headers"] == {"x-tag": ["ü folded", "a b"], "list-unsubscribe": ["<https://x>"]}


def test_every_field_that_is_parsed(
    run: Run, prepare: Callable[[Callable[[MailStore], Awaitable[object]]], None]
) -> None:
    names = "from", "sender", "reply-to", "to", "cc", "bcc"
    header = "".join(f"{name}: {name} name <{name}@example.com>\r\n" for name in names)
    header += "Date: Fri, 27 Nov 2026 06:00:00 +0100\r\n"
    header += "Message-ID: <a@b>\r\nIn-Reply-To: <c@d>\r\nReferences: <e@f> <c@d>\r\n"
    prepare(lambda store: store.append_message("demo", "INBOX", header.encode() + b"\r\nLook\r\n"))
    [record] = run("mail", "show", "demo", "4", "--json").records
    parsed = record["parsed"]
    addresses = {name.replace("-", "_"): {"name": f"{name} name", "address": f"{name}@example.com"} for name in names}
    sender = addresses.pop("sender")
    expected: dict[str, object] = {name: [address] for name, address in addresses.items()}
    expected |= {"in_reply_to": ["c@d"], "references": ["e@f", "c@d"]}
    assert {name: parsed[name] for name in expected} == expected
    assert (parsed["sender"], parsed["message_id"]) == (sender, "a@b")
    assert parsed["date"] == "2026-11-27T06:00:00+01:00"


@pytest.mark.parametrize(
    ("noted", "envelope"),
    [
        (b"Return-Path: <ann@example.com>\r\n", ("ann@example.com", [])),
        (b"Return-Path: <>\nDelivered-To: bob@example.com\n", ("", ["bob@example.com"])),
        (
            'Return-Path: <"a>: b"@example.com>\r\nDelivered-To: jörg@example.com\r\nDelivered-To: "x: y\u2028"@x\r\n',
            ('"a>: b"@example.com', ["jörg@example.com", '"x: y\u2028"@x']),
        ),
        (b"Subject: x\r\nReturn-Path: <ann@example.com>\r\n", None),
    ],
)
def test_the_envelope_is_what_the_server_has_noted(
    noted: bytes | str,
    envelope: tuple[str, list[str]] | None,
    run: Run,
    prepare: Callable[[Callable[[MailStore], Awaitable[object]]], None],
) -> None:
    """Fields below it, which the sender may have written, do not count."""
    content = noted.encode() if isinstance(noted, str) else noted
    content += b"Received: from x\r\n\tby y\r\nDelivered-To: forged@example.com\r\n\r\n"
    prepare(lambda store: store.append_message("demo", "INBOX", content))
    [record] = run("mail", "show", "demo", "4", "--json").records
    expected = None if envelope is None else {"sender": envelope[0], "recipients": envelope[1]}
    assert record["envelope"] == expected


def test_show_for_people(run: Run) -> None:
    assert run("mail", "show", "demo", "1", "2").lines == [
        "From: ann@example.com",
        "To: bob@example.com",
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


@pytest.fixture
def with_files(prepare: Callable[[Callable[[MailStore], Awaitable[object]]], None]) -> None:
    prepare(lambda store: store.append_message("demo", "INBOX", WITH_FILES, internal_date=DATE))


@pytest.mark.usefixtures("with_files")
def test_show_what_was_found_as_json(run: Run) -> None:
    [record] = run("mail", "show", "demo", "4", "--json").records
    leaf: dict[str, object] = {"charset": None, "disposition": "", "filename": "", "content_id": "", "parts": []}
    inner = {**leaf, "path": "4.1", "content_type": "text/plain", "size": 5}
    first, second = (
        {
            **leaf,
            "path": path,
            "content_type": "text/plain",
            "size": 3,
            "disposition": "attachment",
            "filename": filename,
        }
        for path, filename in (("2", "../../report.pdf"), ("3", "report.pdf"))
    )
    assert record["parsed"] == {
        "subject": "Files",
        "from": [],
        "sender": None,
        "reply_to": [],
        "to": [],
        "cc": [],
        "bcc": [],
        "date": None,
        "message_id": "",
        "in_reply_to": [],
        "references": [],
        "text": "Look",
        "html": None,
        "links": [],
        "attachments": [
            {
                "filename": name,
                "content_type": content_type,
                "size": size,
                "part": part,
                "inline": False,
                "content_id": "",
            }
            for name, content_type, size, part in (
                ("report.pdf", "text/plain", 3, "2"),
                ("report-1.pdf", "text/plain", 3, "3"),
                ("attachment-3.eml", "message/rfc822", 23, "4"),
            )
        ],
        "tree": {
            **leaf,
            "path": "TEXT",
            "content_type": "multipart/mixed",
            "size": len(WITH_FILES.partition(b"\r\n\r\n")[2]),
            "parts": [
                {**leaf, "path": "1", "content_type": "text/plain", "size": 4},
                first,
                second,
                {**leaf, "path": "4", "content_type": "message/rfc822", "size": 23, "parts": [inner]},
            ],
        },
        "defects": [],
    }


@pytest.mark.usefixtures("with_files")
@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("1", b"Look"),
        ("2", b"\0\1\2"),
        ("4", b"Subject: inner\r\n\r\nInner"),
        ("4.1", b"Inner"),
        ("text", WITH_FILES.partition(b"\r\n\r\n")[2]),
    ],
)
def test_show_one_part(run: Run, path: str, content: bytes) -> None:
    assert run("mail", "show", "demo", "4", "--part", path) == (0, content, "")


@pytest.mark.usefixtures("with_files")
def test_show_a_part_that_is_not_there(run: Run) -> None:
    run("mail", "show", "demo", "4", "--part", "5\x1b").fails(1, r"no part 5\x1b", "TEXT, 1, 2, 3, 4, 4.1")


def test_show_html(run: Run, prepare: Callable[[Callable[[MailStore], Awaitable[object]]], None]) -> None:
    content = b"Subject: x\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<b>Gr\xc3\xbc\xc3\x9fe</b>\r\n"
    prepare(lambda store: store.append_message("demo", "Old", content, internal_date=DATE))
    shown = run("mail", "show", "demo", "2", "--mailbox", "Old", "--html")
    assert (shown.code, shown.out.decode()) == (0, page(parse(content)))
    run("mail", "show", "demo", "1", "--html").fails(1, "message 1 has no HTML")
    run("mail", "show", "demo", "1", "2", "--html").fails(2, "give one UID")


@pytest.mark.usefixtures("with_files")
def test_save_attachments(run: Run, folder: Path) -> None:
    (folder / "files").mkdir()
    (folder / "files" / "report.pdf").symlink_to(folder / "elsewhere")
    (folder / "files" / "report-1.pdf").write_bytes(b"mine")
    assert run("mail", "show", "demo", "1", "4", "--save-attachments", "files").lines == [
        "files/report-2.pdf",
        "files/report-1-1.pdf",
        "files/attachment-3.eml",
    ]
    assert {path.name: path.read_bytes() for path in (folder / "files").iterdir() if not path.is_symlink()} == {
        "report-1.pdf": b"mine",
        "report-2.pdf": b"\0\1\2",
        "report-1-1.pdf": b"two",
        "attachment-3.eml": b"Subject: inner\r\n\r\nInner",
    }
    assert not (folder / "elsewhere").exists()


@pytest.mark.usefixtures("with_files")
def test_saved_attachments_are_private(run: Run, folder: Path) -> None:
    before = os.umask(0)
    try:
        assert run("mail", "show", "demo", "4", "--save-attachments", "new").code == 0
    finally:
        os.umask(before)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (folder / "new", folder / "new" / "report.pdf")] == [
        0o700,
        0o600,
    ]


@pytest.mark.usefixtures("with_files")
@pytest.mark.parametrize(("where", "why"), [("missing/new", "no such file"), ("a-file", "not a directory")])
def test_where_attachments_cannot_be_saved(run: Run, folder: Path, where: str, why: str) -> None:
    (folder / "a-file").touch()
    run("mail", "show", "demo", "4", "--save-attachments", where).fails(1, "cannot save attachments in", why)


@pytest.mark.usefixtures("with_files")
def test_a_full_disk_leaves_no_half_attachment(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.BytesIO):
        def write(self, octets: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    def fdopen(descriptor: int, mode: str) -> Full:
        os.close(descriptor)
        return Full()

    monkeypatch.setattr(attachments, "os", SimpleNamespace(**{**vars(os), "fdopen": fdopen}))
    run("mail", "show", "demo", "4", "--save-attachments", "new").fails(1, "cannot write in new", "no space")
    assert list((folder / "new").iterdir()) == []


@pytest.mark.usefixtures("with_files")
def test_nor_does_a_signal(folder: Path) -> None:
    process = FORKED.Process(target=_save_until, args=(signal.SIGTERM, folder))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGTERM
    assert list((folder / "new").iterdir()) == []


def _save_until(number: signal.Signals, folder: Path) -> None:
    """Save attachments in this process, and send it a signal when it has opened the file of the first one."""
    os.chdir(folder)
    with mock.patch.object(os, "fdopen", side_effect=lambda *_: signal.raise_signal(number)):
        main(["mail", "show", "demo", "4", "--save-attachments", "new"])


@pytest.mark.parametrize(
    ("terminal", "environment", "coloured"),
    [
        (True, {}, True),
        (True, {"NO_COLOR": ""}, True),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"TERM": "dumb"}, False),
        (False, {}, False),
    ],
)
def test_colours_are_for_terminals(
    run: Run, monkeypatch: pytest.MonkeyPatch, terminal: bool, environment: dict[str, str], coloured: bool
) -> None:
    for name, value in {"TERM": "xterm", "NO_COLOR": "", **environment}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    assert (b"\x1b[" in run("mail", "show", "demo", "1").out) is coloured
    assert b"\x1b" not in run("mail", "show", "demo", "2", "--json").out


def test_delete(run: Run) -> None:
    assert run("mail", "delete", "demo", "3", "1", "3") == (0, b"Message 3 deleted.\nMessage 1 deleted.\n", "")
    assert run("mail", "delete", "demo", "--mailbox", "Old", "--json", "1").records == [{"uid": 1}]
    assert [record["uid"] for record in listed(run)] == [2]
    assert listed(run, "--mailbox", "Old") == []


def test_delete_every_one(run: Run) -> None:
    run("mail", "delete", "demo", "--all").fails(2, "mailbox INBOX of demo holds 3 messages", "--yes")
    refused = run("mail", "delete", "demo", "--all", stdin=b"n\n", terminal=True)
    assert (refused.code, refused.out) == (1, b"")
    assert len(listed(run)) == 3
    assert run("mail", "delete", "demo", "--all", "--yes", "--json").records == [{"uid": uid} for uid in (3, 2, 1)]
    assert listed(run) == []
    assert run("mail", "delete", "demo", "--all") == (0, b"", "")
    assert len(listed(run, "--mailbox", "Old")) == 1


def test_delete_what_somebody_else_deletes(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    delete_message = JSONFileStore.delete_message

    async def delete_twice(self: JSONFileStore, account: str, mailbox: str, uid: int) -> None:
        if uid == 2:
            await delete_message(self, account, mailbox, uid)
        await delete_message(self, account, mailbox, uid)

    monkeypatch.setattr(JSONFileStore, "delete_message", delete_twice)
    assert run("mail", "delete", "demo", "--all", "--yes", "--json").records == [{"uid": 3}, {"uid": 1}]
    assert listed(run) == []


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
