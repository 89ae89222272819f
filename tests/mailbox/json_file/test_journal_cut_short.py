"""Live segments that have lost records at their end, or that have a second name (a hard link)."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from tests.mailbox.json_file.journals import Place, numbers, record
from trio_smtp.mailbox.json_file.journal import MANIFEST, Journal
from trio_smtp.mailbox.json_file.records import encode_mark
from trio_smtp.mailbox.store import StoreUnavailable


@pytest.mark.parametrize("cut", [1, len(record(2)), len(record(2)) + 1, len(record(1) + record(2))])
@pytest.mark.parametrize("is_noted", [True, False], ids=["noted", "seen"])
def test_a_live_segment_that_is_too_short(place: Place, journal: Journal, cut: int, is_noted: bool) -> None:
    """Reading reports the missing octets once. A writer seals the segment where it should end, so that every process
    finds them missing later.
    """
    os.truncate(place.segment(1), journal.end - cut)
    if is_noted:
        note = journal.note()
        journal = place.journal()
        journal.heed(note)
        left = [1, 2][: 2 - (cut + len(record(2)) - 1) // len(record(2))]
        assert numbers(journal) == [*left, -1]
    else:
        assert numbers(journal) == [-1]
    assert numbers(journal) == []
    assert not journal.is_current()
    assert journal.make_appendable() == 0
    assert journal.is_current()
    assert journal.manifest.segments == (1, 2)
    journal.append([record(3)])
    for _ in range(2):
        assert {-1, 3} <= set(place.numbers())


def test_a_live_segment_without_its_last_line_end(place: Place, journal: Journal) -> None:
    """The next record must not be appended to that line."""
    note, whole = journal.note(), place.segment(1).read_bytes()
    place.segment(1).write_bytes(whole[:-1] + b"x")
    again = place.journal()
    again.heed(note)
    assert numbers(again) == [1, -1]
    assert not again.is_current()
    again.make_appendable()
    again.append([record(3)])
    assert place.numbers() == [1, -1, 3]


def test_what_is_noted_of_a_segment_that_is_lost(place: Place, journal: Journal) -> None:
    """Somebody has replaced the manifest and the segments by older copies."""
    manifest = (place.path / MANIFEST).read_bytes()
    journal.begin_segment()
    journal.append([record(3)])
    note = journal.note()
    (place.path / MANIFEST).write_bytes(manifest)
    again = place.journal()
    with pytest.raises(StoreUnavailable, match=r"manifest\.json is older than 000002\.jsonl"):
        again.heed(note)
    place.segment(2).unlink()
    again.heed(note)
    end = place.segment(1).stat().st_size
    assert numbers(again) == [1, 2, -1]
    assert again.segment == 1
    assert again.end > end + journal.end, "nobody knows how much was there"
    again.make_appendable()
    again.append([record(4)])
    again.heed(again.note())
    assert numbers(again) == []
    assert place.numbers() == [1, 2, -1, 4]


@pytest.mark.parametrize(
    "change",
    [
        lambda note: b"",
        lambda note: note[:-1],
        lambda note: bytes(len(note)),
        lambda note: encode_mark("note"),
        lambda note: encode_mark("note", store="another", segment=1, end=10**6),
    ],
    ids=["none", "torn", "zeros", "nonsense", "other"],
)
def test_a_note_that_is_none(place: Place, journal: Journal, change: Callable[[bytes], bytes]) -> None:
    again = place.journal()
    again.heed(encode_mark("note", store=journal.manifest.store, segment=1, end=10**6))
    again.heed(change(journal.note()))
    assert numbers(again) == [1, 2]
    assert again.is_current()


def test_a_note_that_is_older(place: Place, journal: Journal) -> None:
    """A newer note was not on disk when the power failed, or the last writer made no change. An older note says
    nothing.
    """
    note = journal.note()
    journal.append([record(3)])
    journal.begin_segment()
    journal.append([record(4)])
    again = place.journal()
    again.heed(note)
    assert numbers(again) == [1, 2, 3, 4]
    assert again.is_current()


@pytest.mark.parametrize("torn", [b"", b"torn"])
def test_a_segment_with_two_names_is_not_written_to(place: Place, journal: Journal, torn: bytes) -> None:
    with place.segment(1).open("ab") as file:
        file.write(torn)
    before = place.segment(1).read_bytes()
    (place.path / "link").hardlink_to(place.segment(1))
    assert not journal.is_current()
    assert journal.make_appendable() == len(torn)
    assert journal.manifest.segments == (1, 2)
    assert journal.is_current()
    journal.append([record(3)])
    assert place.segment(1).read_bytes() == (place.path / "link").read_bytes() == before
    assert place.numbers() == [1, 2, 3]
