"""`Notes`: their expiry, the limit on their number, and dumps."""

from __future__ import annotations

import pytest

from trio_smtp.mailbox.notes import Notes
from trio_smtp.mailbox.operations import KeepNote


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_smtp.mailbox.notes.MAX_NOTES", 3)


def keep(notes: Notes, key: str, expires: int, date: int = 0) -> None:
    notes.keep(KeepNote(key, f"{key} until {expires}", expires, date))


def kept(notes: Notes) -> list[tuple[str, int]]:
    return [(note.key, note.expires) for note in notes.dump()]


def test_a_note_is_there_until_its_time() -> None:
    notes = Notes()
    keep(notes, "a", 10)
    assert [notes.get("a", now) for now in (0, 9, 10, 11)] == ["a until 10", "a until 10", None, None]
    assert notes.get("b", 0) is None


def test_the_last_one_under_a_key_counts() -> None:
    notes = Notes()
    for expires in (10, 30, 20, 20):
        keep(notes, "a", expires)
        keep(notes, "b", 20)
        assert sorted(kept(notes)) == [("a", expires), ("b", 20)]
    assert notes.get("a", 0) == "a until 20"


def test_what_is_past_its_time_is_dropped_with_the_next() -> None:
    notes = Notes()
    for key, expires in (("a", 30), ("b", 10), ("c", 20)):
        keep(notes, key, expires)
    keep(notes, "d", 40, date=9)
    assert kept(notes) == [("b", 10), ("c", 20), ("a", 30), ("d", 40)]
    keep(notes, "d", 40, date=20)
    assert kept(notes) == [("a", 30), ("d", 40)]
    keep(notes, "e", 21, date=21)  # expires at once
    assert kept(notes) == [("a", 30), ("d", 40)]
    assert notes.get("b", 0) is None


def test_there_is_room_for_so_many_at_a_time() -> None:
    notes = Notes()
    assert [notes.has_room("z", 0, promised) for promised in (0, 2, 3)] == [True, True, False]
    for key, expires in (("a", 30), ("b", 10), ("c", 20)):
        assert notes.has_room(key, 0, 0)
        keep(notes, key, expires)
    assert not notes.has_room("z", 9, 0)
    assert notes.has_room("z", 10, 0)  # b has expired
    assert not notes.has_room("z", 10, 1)
    assert notes.has_room("a", 9, 5)  # a replaces its own note
    keep(notes, "z", 40, date=10)
    assert not notes.has_room("b", 10, 0)  # its own note has expired


def test_a_dump_makes_equal_notes() -> None:
    notes, again = Notes(), Notes()
    for key, expires in (("a", 30), ("b", 10), ("c", 20), ("d", 10)):
        keep(notes, key, expires)
    for note in notes.dump():
        again.keep(note)
    assert list(again.dump()) == list(notes.dump())
    keep(notes, "e", 50, date=15)
    keep(again, "e", 50, date=15)
    assert list(again.dump()) == list(notes.dump())
