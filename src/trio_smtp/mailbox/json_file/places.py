"""The places of the contents of a mailbox, as an index keeps them: an array of four numbers each, a list of blobs."""

from __future__ import annotations

from array import array

from trio_smtp.mailbox.json_file.records import Place

_NUMBERS = 4  # per place


class Places:
    """A column of places.

    Attributes:
        blobs: the name of the blob of each place, None if it has none.
    """

    __slots__ = ("_numbers", "blobs")

    def __init__(self) -> None:
        self._numbers = array("Q")
        self.blobs: list[str | None] = []

    def append(self, place: Place, /) -> None:
        """Append a place."""
        segment, offset, length, copy, blob = place
        self._numbers.extend((segment, offset, length, copy))
        self.blobs.append(blob)

    def __getitem__(self, row: int, /) -> Place:
        start = row * _NUMBERS
        segment, offset, length, copy = self._numbers[start : start + _NUMBERS]
        return Place(segment, offset, length, copy, self.blobs[row])

    def __delitem__(self, row: int, /) -> None:
        start = row * _NUMBERS
        del self._numbers[start : start + _NUMBERS], self.blobs[row]

    def copy(self) -> Places:
        """Return another column with the same places."""
        places = Places()
        places._numbers = self._numbers[:]
        places.blobs = self.blobs.copy()
        return places
