"""Notes that expire, as an `Index` keeps them: small texts under a key, at most `MAX_NOTES` of them.

None is dropped before its time, so who floods a store with notes drives nobody else's out: a new one is refused where
there is no room. What is past its time is not shown, and is dropped with the next note that is kept; that goes by the
date in the operation, so a replay drops the same.

To find and to keep one takes no time in proportion to how many there are, but for a memmove of 8 octets for each.
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
        self._due: list[tuple[int, str]] = []  # when each expires, and its key, in this order

    def copy(self) -> Notes:
        """The same, to go their own way."""
        notes = Notes()
        notes._notes = self._notes.copy()
        notes._due = self._due.copy()
        return notes

    def get(self, key: str, now: int) -> str | None:
        """The text under this key, None if there is none or its time has come."""
        text, expires = self._notes.get(key, ("", 0))
        return text if expires > now else None

    def has_room(self, key: str, now: int, promised: int) -> bool:
        """Whether a note can be kept under this key, beside those that there are and others that were promised."""
        return self.get(key, now) is not None or len(self._due) - self._expired(now) + promised < MAX_NOTES

    def keep(self, note: KeepNote) -> None:
        """Put a note in the place of what was under its key, and drop what was past its time at its date."""
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
        """What keeps the same notes."""
        for expires, key in self._due:
            yield KeepNote(key, self._notes[key][0], expires, 0)

    def _expired(self, now: int) -> int:
        return bisect_left(self._due, (now + 1, ""))
