"""`Places`: the columns of places, their copies, and what they cost the garbage collector."""

from __future__ import annotations

import gc

from trio_smtp.mailbox.json_file.places import Places
from trio_smtp.mailbox.json_file.records import Place

FIRST, SECOND, THIRD = Place(1, 2, 3, 4, None), Place(2**63 - 1, 0, 5, 0, "blob"), Place(1, 9, 9, 0, None)


def column(*places: Place) -> Places:
    made = Places()
    for place in places:
        made.append(place)
    return made


def test_column() -> None:
    places = column(FIRST, SECOND, THIRD)
    assert [places[row] for row in range(3)] == [FIRST, SECOND, THIRD]
    assert places.blobs == [None, "blob", None]
    del places[1]
    assert [places[row] for row in range(2)] == [FIRST, THIRD]
    assert places.blobs == [None, None]


def test_copy() -> None:
    places = column(FIRST, SECOND)
    copy = places.copy()
    del copy[0]
    copy.append(THIRD)
    assert [places[row] for row in range(2)] == [FIRST, SECOND]
    assert [copy[row] for row in range(2)] == [SECOND, THIRD]


def tracked(places: Places) -> int:
    """How many objects the garbage collector has to visit because of them."""
    gc.collect()
    return sum(map(gc.is_tracked, gc.get_referents(*gc.get_referents(places))))


def test_many_are_no_more_to_the_garbage_collector_than_few() -> None:
    assert tracked(column(FIRST, SECOND)) == tracked(column(*[FIRST, SECOND] * 1000))
