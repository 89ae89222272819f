"""`trio-smtp catch`: nobody is refused, and everything is shown."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NoReturn

import pytest

from tests.cli.tools import Result, Serving
from trio_smtp.cli.catcher import CAUGHT, catcher, catching
from trio_smtp.cli.serving import prepare_accounts
from trio_smtp.cli.settings import ServeSettings
from trio_smtp.mailbox import MailStore, MemoryStore
from trio_smtp.mailbox.store import NoSuchMessage
from trio_smtp.protocol import Config
from trio_smtp.testing import ScriptedClient, open_session

MESSAGE = b"Subject: =?utf-8?q?h=C3=A9?=\r\n\r\n\x1b[31mred\r\n"


@asynccontextmanager
async def catching_session(
    store: MailStore, *refusals: tuple[str, int], as_json: bool = False
) -> AsyncIterator[ScriptedClient]:
    async with open_session(catcher(store, as_json=as_json), **catching(Config(), refusals)) as client:
        await client.expect("220")
        await client.command("EHLO client.example")
        yield client


@pytest.fixture
async def store() -> MailStore:
    store = MemoryStore()
    await store.create_account(CAUGHT)
    await store.create_account("ann", addresses=["ann@example.com"])
    return store


async def test_one_copy_for_everybody(store: MailStore, capsys: pytest.CaptureFixture[str]) -> None:
    async with catching_session(store) as client:
        recipients = ["ann@example.com", "Bcc@elsewhere.example", "postmaster"]
        assert (await client.send_mail("app@example.com", recipients, MESSAGE)).code == 250
    assert await store.count_messages("ann", "INBOX") == 0
    content = (await store.get_message(CAUGHT, "INBOX", 1)).content
    assert content.startswith(
        b"Return-Path: <app@example.com>\r\nDelivered-To: ann@example.com\r\n"
        b"Delivered-To: Bcc@elsewhere.example\r\nDelivered-To: postmaster\r\nReceived: "
    )
    assert content.endswith(MESSAGE)
    assert capsys.readouterr().out == (
        "--- message 1, from <app@example.com>, to ann@example.com, Bcc@elsewhere.example, postmaster\n"
        "Subject: hé\n\n\\x1b[31mred\n\n"
    )


async def test_a_message_does_not_continue_our_fields(store: MailStore) -> None:
    async with catching_session(store) as client:
        assert (await client.send_mail("app@example.com", ["ann@example.com"], b" forged\r\n")).code == 250
    assert (await store.get_message(CAUGHT, "INBOX", 1)).content.endswith(b" +0000\r\n\r\n forged\r\n")


async def test_as_json(store: MailStore, capsys: pytest.CaptureFixture[str]) -> None:
    async with catching_session(store, as_json=True) as client:
        await client.send_mail("", ["a@example.com", "b@example.com"], MESSAGE)
        await client.send_mail("x@example.com", ["a@example.com"], MESSAGE)
    one, two = map(json.loads, capsys.readouterr().out.splitlines())
    assert (one["uid"], one["subject"], one["parsed"]["subject"]) == (1, "hé", "hé")
    assert one["notes"] == []
    assert one["envelope"] == {"sender": "", "recipients": ["a@example.com", "b@example.com"]}
    assert (two["uid"], two["envelope"]["sender"]) == (2, "x@example.com")


async def test_every_login_is_right(store: MailStore) -> None:
    async with catching_session(store) as client:
        assert (await client.command("AUTH PLAIN AGFubgB4")).code == 235


async def test_a_newline_that_others_would_refuse(store: MailStore, capsys: pytest.CaptureFixture[str]) -> None:
    for as_json in (False, True):
        async with catching_session(store, as_json=as_json) as client:
            assert (await client.send_mail("", ["a@example.com"], b"Subject: x\n\ny\r\n")).code == 250
    *_, text, _, record = capsys.readouterr().out.splitlines()
    note = "it contains a CR or LF outside a CRLF, which most mail servers refuse (RFC 5321 section 2.3.8)"
    assert text == f"Note: {note}"
    assert json.loads(record)["notes"] == [note]
    assert (await store.get_message(CAUGHT, "INBOX", 1)).content.endswith(b"Subject: x\n\ny\r\n")


@pytest.mark.parametrize("fault", [BrokenPipeError(32, "Broken pipe"), OSError(28, "No space left on device")])
async def test_nobody_reads_what_is_shown(
    store: MailStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fault: OSError
) -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> NoReturn:
            raise fault

        def fileno(self) -> int:
            return file.fileno()

    monkeypatch.setattr(sys, "stdout", Closed())
    with (tmp_path / "output").open("wb") as file:
        async with catching_session(store) as client:
            assert (await client.send_mail("", ["a@example.com"], MESSAGE)).code == 250
    assert await store.count_messages(CAUGHT, "INBOX") == 1


async def test_what_is_deleted_at_once_is_not_shown(
    store: MailStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def gone(account: str, mailbox: str, uid: int) -> NoReturn:
        raise NoSuchMessage(str(uid))

    monkeypatch.setattr(store, "get_message", gone)
    async with catching_session(store) as client:
        assert (await client.send_mail("", ["a@example.com"], MESSAGE)).code == 250
    assert capsys.readouterr().out == ""


async def test_what_is_to_be_refused(store: MailStore, capsys: pytest.CaptureFixture[str]) -> None:
    async with catching_session(store, ("bob@example.com", 452), ("message", 554), ("login", 454)) as client:
        assert (await client.command("AUTH PLAIN AGFubgB4")).code == 454
        assert (await client.send_mail("", ["bob@example.com"], MESSAGE)).code == 452
        await client.command("RSET")
        assert str(await client.send_mail("", ["ann@example.com"], MESSAGE)) == "554 5.0.0 Refused, as --refuse has it"
    assert await store.count_messages(CAUGHT, "INBOX") == 0
    assert capsys.readouterr().out == ""


async def test_the_account_is_gone(store: MailStore) -> None:
    await store.delete_account(CAUGHT)
    async with catching_session(store) as client:
        assert (await client.send_mail("", ["a@example.com"], MESSAGE)).code == 550


async def test_the_account_is_made_once() -> None:
    store = MemoryStore()
    for _ in range(2):
        assert [account.name for account in await prepare_accounts(store, ServeSettings(catching=True))] == [CAUGHT]


def test_the_program(run: Callable[..., Result], folder: Path) -> None:
    refused = "--refuse", "bob@example.com=550", "--refuse", "login=454"
    with Serving("--smtp", "0", "--json", "--transcript", *refused, command="catch", folder=folder) as server:
        ready = server.record
        [where] = ready.pop("listen")
        accounts = [{"name": "caught", "addresses": []}]
        assert ready == {"store": f"json:{folder}/mail", "accounts": accounts, "fingerprint": None}
        assert run("send", "--to", "nobody@example.com", "--server", where.removeprefix("smtp://")).code == 0
        run("send", "--to", "bob@example.com", "--server", where.removeprefix("smtp://")).fails(1, "550", "--refuse")
        shown = server.record
        assert (shown["uid"], shown["envelope"]["recipients"]) == (1, ["nobody@example.com"])
        assert len(run("mail", "list", "caught", "--json").records) == 1
        assert " C: rcpt " in server.log("<nobody@example.com>")
        assert server.stop() == 0
