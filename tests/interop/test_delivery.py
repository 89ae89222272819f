"""What real clients send is stored byte for byte.

Two comparisons find two kinds of fault: the stored message is what the client has sent over the wire; and what the
client has sent is the message, with the changes that this client is known to make.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

import trio_smtp
from tests.interop.clients import CLIENTS, RECIPIENT, Client, Target
from tests.interop.messages import MESSAGES
from tests.interop.wire import tapped
from trio_smtp import JSONFileStore, MailStore, MemoryStore

FIELDS = re.compile(rb"([!-9;-~]+):[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*")


STORES: dict[str, Callable[[Path], MailStore]] = {
    "memory": lambda _: MemoryStore(),
    "json": lambda folder: JSONFileStore(folder / "mail"),
}
# The JSON store keeps a large message in a separate file; for the memory store it is a message like any other.
CASES = {
    f"{store}-{message}": (STORES[store], MESSAGES[message])
    for store, message in itertools.product(STORES, MESSAGES)
    if (store, message) != ("memory", "20 MB")
}


@pytest.fixture
async def store(make_store: Callable[[Path], MailStore], tmp_path: Path) -> AsyncIterator[MailStore]:
    async with make_store(tmp_path) as store:
        await store.create_account("demo", addresses=[RECIPIENT])
        yield store


@pytest.mark.parametrize(("make_store", "message"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("client", CLIENTS, ids=str, indirect=True)
async def test_message_is_stored_as_sent(client: Client, message: bytes, store: MailStore, tmp_path: Path) -> None:
    file = tmp_path / "message.eml"
    file.write_bytes(message)
    handler = trio_smtp.MailboxHandler.factory(store)
    async with trio_smtp.open_server(handler, port=0) as server, tapped(server.port) as wire:
        await client.send(Target(wire.port, host="127.0.0.1"), file)

    assert await store.count_messages("demo", "INBOX") == 1
    stored = (await store.get_message("demo", "INBOX", 1)).content
    sent = wire.message()
    # The comparisons are kept out of the assert: a report of how 20 MB differ takes minutes.
    is_stored = stored.endswith(sent)
    assert is_stored
    added = stored.removesuffix(sent)
    assert FIELDS.sub(b"", added) == b""
    assert FIELDS.findall(added) == [b"Return-Path", b"Delivered-To", b"Received"]
    is_sent = sent == client.transmitted(message)
    assert is_sent
