"""Tools for tests of message bodies: one that is too large for the journal, and what a store holds."""

from __future__ import annotations

import os
from pathlib import Path

from trio_smtp.mailbox.json_file import JSONFileStore
from trio_smtp.mailbox.json_file.store import INLINE
from trio_smtp.mailbox.store import INBOX

LARGE = b"\r\n\r\n" + bytes(range(256)) * (INLINE // 256)  # no header: listings parse that


async def add(store: JSONFileStore, content: bytes) -> int:
    return (await store.append_message("ann", INBOX, content)).uid


async def contents(store: JSONFileStore) -> list[bytes]:
    listed = await store.list_messages("ann", INBOX)
    return [(await store.get_message("ann", INBOX, each.uid)).content for each in listed]


def blobs(path: Path) -> list[str]:
    return os.listdir(path / "blobs")
