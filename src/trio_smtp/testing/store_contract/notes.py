"""Rules for notes."""

from __future__ import annotations

import time

import pytest
import trio

from trio_smtp.mailbox.store import InvalidName, MailStore
from trio_smtp.testing.store_contract.tools import BAD_NAMES, ODD_NAMES

_LATER = int(time.time()) + 1_000_000


class NoteContract:
    """Tests of notes."""

    async def test_note(self, store: MailStore) -> None:
        """A note exists until it expires. A new note replaces an older one under the same key."""
        assert await store.get_note("key") is None
        await store.put_note("key", "text ü", expires=_LATER)
        await store.put_note("Key", "", expires=2**63 - 1)
        assert (await store.get_note("key"), await store.get_note("Key")) == ("text ü", "")
        await store.put_note("key", "another", expires=_LATER - 1)
        assert await store.get_note("key") == "another"
        for past in (0, int(time.time())):
            await store.put_note("key", "text", expires=past)
            assert await store.get_note("key") is None
        assert await store.get_note("Key") == ""

    async def test_note_keys_are_exact(self, store: MailStore) -> None:
        """Keys are compared exactly, like account names."""
        for name in ODD_NAMES:
            await store.put_note(name, ascii(name)[:255], expires=_LATER)
        for name in ODD_NAMES:
            assert await store.get_note(name) == ascii(name)[:255]

    @pytest.mark.parametrize("name", BAD_NAMES, ids=ascii)
    async def test_bad_note_key(self, store: MailStore, name: str) -> None:
        """`put_note` refuses an invalid key, and `get_note` finds nothing under it."""
        with pytest.raises(InvalidName):
            await store.put_note(name, "text", expires=_LATER)
        assert await store.get_note(name) is None

    async def test_bad_note(self, store: MailStore) -> None:
        """A text that is too long or not printable is refused, and a time that is negative or over 63 bits."""
        for text in ("a\nb", "\udcff", "x" * 256, "é" * 128):
            with pytest.raises(InvalidName):
                await store.put_note("key", text, expires=_LATER)
        for time_ in (-1, 2**63):
            with pytest.raises(ValueError, match="1970"):
                await store.put_note("key", "text", expires=time_)
        assert await store.get_note("key") is None

    async def test_many_notes_at_once(self, store: MailStore) -> None:
        """Notes that many tasks put at the same time are all kept."""
        async with trio.open_nursery() as nursery:
            for number in range(50):

                async def put(key: str = f"key {number}") -> None:
                    await store.put_note(key, key, expires=_LATER)

                nursery.start_soon(put)
        assert [await store.get_note(f"key {number}") for number in range(50)] == [f"key {n}" for n in range(50)]
