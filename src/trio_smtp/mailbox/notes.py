"""The notes of an `Index`: small texts under keys, which expire; at most `MAX_NOTES` of them.

No note is dropped before it expires, so a flood of notes cannot push out others: if there is no room, a note under a
new key is refused. Expired notes are not returned, and are dropped when the next note is kept. What has expired by then
depends on the date in that operation and not on the clock, so a replay drops the same notes.

Finding or keeping a note takes no time in proportion to their number, except for a memmove of 8 octets per note.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import Final

from trio_smtp.mailbox.operations import KeepNote

__all__ = ["MAX_NOTES", "Notes"]

MAX_NOTES: Final = 100_000  # about 400 octets of memory each, with keys of 70 letters


class Notes:
    """The notes of one store."""

    __slots__ = ("_due", "_notes")

    def __init__(self) -> None:
        self._notes: dict[str, tuple[str, int]] = {}  # by key: the text, and when it expires
        self._due: list[tuple[int, str]] = []  # when each expires, and its key; sorted

    def copy(self) -> Notes:
        """Return an independent copy."""
        notes = Notes()
        notes._notes = self._notes.copy()
        notes._due = self._due.copy()
        return notes

    def get(self, key: str, now: int) -> str | None:
        """Return the text under this key, or None if there is none or it has expired."""
        text, expires = self._notes.get(key, ("", 0))
        return text if expires > now else None

    def has_room(self, key: str, now: int, promised: int) -> bool:
        """Whether a note can be kept under this key, besides the existing notes and the `promised` number of others."""
        return self.get(key, now) is not None or len(self._due) - self._expired(now) + promised < MAX_NOTES

    def keep(self, note: KeepNote) -> None:
        """Keep a note in place of an older one under its key, and drop the notes that had expired at its date."""
        before = self._notes.get(note.key)
        if before is not None:
            del self._due[bisect_left(self._due, (before[1], note.key))]
        self._notes[note.key] = note.text, note.expires
        insort(self._due, (note.expires, note.key))
        expired = self._expired(note.date)
        for _, key in self._due[:expired]:
            del self._notes[key]
        del self._due[:expired]

    def dump(self) -> Iterator[KeepNote]:
        """Yield operations that keep the same notes."""
        for expires, key in self._due:
            yield KeepNote(key, self._notes[key][0], expires, 0)

    def _expired(self, now: int) -> int:
        return bisect_left(self._due, (now + 1, ""))
