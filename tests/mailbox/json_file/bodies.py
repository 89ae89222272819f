"""What the tests of bodies have in common: one that is too large for the journal, and a look at what is there."""

from __future__ import annotations

import os
from pathlib import Path

from trio_smtp.mailbox.json_file import JSONFileStore
from trio_smtp.mailbox.json_file.store import INLINE
from trio_smtp.mailbox.store import INBOX

LARGE = b"\r\n\r\n" + bytes(range(256)) * (INLINE // 256)  # without a header, in which a listing would look for fields


async def add(store: JSONFileStore, content: bytes) -> int:
    return (await store.append_message("ann", INBOX, content)).uid


async def contents(store: JSONFileStore) -> list[bytes]:
    listed = await store.list_messages("ann", INBOX)
    return [(await store.get_message("ann", INBOX, each.uid)).content for each in listed]


def blobs(path: Path) -> list[str]:
    return os.listdir(path / "blobs")
