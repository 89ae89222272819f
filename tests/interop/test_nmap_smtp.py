"""Scans by nmap: it finds no open relay, and learns which users exist only by RCPT."""

from __future__ import annotations

import re
import subprocess

import pytest
import trio

import trio_smtp
from tests.server.tools import take
from trio_smtp import Config, MailboxHandler, MemoryStore, SubmissionHandler
from trio_smtp.server import AnyHandler

NAMES = ["root", "admin", "guest"]  # some of the names that nmap tries
OPEN = "smtp-open-relay: Server is an open relay"
CLOSED = "smtp-open-relay: Server doesn't seem to be an open relay, all tests failed"
LOGIN_NEEDED = "smtp-open-relay: Server isn't an open relay, authentication needed"


@pytest.fixture
async def store() -> MemoryStore:
    store = MemoryStore()
    for name in NAMES:
        await store.create_account(name, addresses=[f"{name}@example.com"])
    return store


async def scan(nmap: str, script: str, arguments: str, handler: AnyHandler, config: Config | None = None) -> list[str]:
    """Return the lines that a script reports about a server."""
    async with trio_smtp.open_server(handler, host="127.0.0.1", config=config) as server:
        # "+" runs the script on any port, -n and -Pn suppress other queries, -d shows which command revealed a name.
        command = [nmap, "-d", "-n", "-Pn", "-sT", "-p", str(server.port), "--script", f"+{script}"]
        command += ["--script-args", arguments, "127.0.0.1"]
        done = await trio.run_process(command, stdin=b"", capture_stdout=True, stderr=subprocess.STDOUT)
    return re.findall(r"^\|[_ ] *(.*\S)", done.stdout.decode(), re.MULTILINE)


@pytest.mark.parametrize("door", ["anything goes", "smtp", "submission"])
async def test_open_relay(nmap: str, store: MemoryStore, door: str) -> None:
    doors: dict[str, tuple[AnyHandler, Config | None, str]] = {
        "anything goes": (take, None, OPEN),
        "smtp": (MailboxHandler.factory(store), None, CLOSED),
        "submission": (SubmissionHandler.factory(store), Config(auth_required=True), LOGIN_NEEDED),
    }
    handler, config, verdict = doors[door]
    report = await scan(nmap, "smtp-open-relay", "smtp-open-relay.domain=elsewhere.example", handler, config)
    assert report[0].startswith(verdict)
    assert [await store.count_messages(name, "INBOX") for name in NAMES] == [0, 0, 0]


async def test_names(nmap: str, store: MemoryStore) -> None:
    arguments = "smtp.domain=example.com,smtp-enum-users.methods={VRFY,EXPN,RCPT}"
    report = await scan(nmap, "smtp-enum-users", arguments, MailboxHandler.factory(store))
    assert report == ["smtp-enum-users:", *(f"RCPT, {name}" for name in NAMES)]
