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
        """A note is there until its time; the last one under a key counts."""
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
        """Keys are compared as names of accounts are."""
        for name in ODD_NAMES:
            await store.put_note(name, ascii(name)[:255], expires=_LATER)
        for name in ODD_NAMES:
            assert await store.get_note(name) == ascii(name)[:255]

    @pytest.mark.parametrize("name", BAD_NAMES, ids=ascii)
    async def test_bad_note_key(self, store: MailStore, name: str) -> None:
        """A bad key is refused where a note would be made, and elsewhere there is nothing under it."""
        with pytest.raises(InvalidName):
            await store.put_note(name, "text", expires=_LATER)
        assert await store.get_note(name) is None

    async def test_bad_note(self, store: MailStore) -> None:
        """A text is bounded and plain, a time is one that every store can keep."""
        for text in ("a\nb", "\udcff", "x" * 256, "é" * 128):
            with pytest.raises(InvalidName):
                await store.put_note("key", text, expires=_LATER)
        for time_ in (-1, 2**63):
            with pytest.raises(ValueError, match="1970"):
                await store.put_note("key", "text", expires=time_)
        assert await store.get_note("key") is None

    async def test_many_notes_at_once(self, store: MailStore) -> None:
        """None gets lost."""
        async with trio.open_nursery() as nursery:
            for number in range(50):

                async def put(key: str = f"key {number}") -> None:
                    await store.put_note(key, key, expires=_LATER)

                nursery.start_soon(put)
        assert [await store.get_note(f"key {number}") for number in range(50)] == [f"key {n}" for n in range(50)]
