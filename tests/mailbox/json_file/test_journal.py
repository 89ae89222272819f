"""`Journal`: reading and writing, torn and damaged records, marks and manifests, and failures at each call."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable
from typing import Any

import pytest

from tests.mailbox.json_file.journals import Place, numbers, record
from tests.mailbox.json_file.system import Nth, System
from trio_smtp.mailbox.json_file.journal import (
    MANIFEST,
    Journal,
    Manifest,
    has_records,
    segment_name,
    segment_number,
)
from trio_smtp.mailbox.json_file.records import encode_mark, parse
from trio_smtp.mailbox.store import StoreUnavailable

MARK = encode_mark("segment", number=1, previous=0, previous_end=0)


# --- without faults


def test_a_new_journal(place: Place) -> None:
    assert place.root.names() == ["journal", MANIFEST]
    assert place.folder.names() == ["000001.jsonl"]
    manifest = parse((place.path / MANIFEST).read_bytes())
    assert manifest["segments"] == [1]
    first = parse(place.segment(1).read_bytes())
    assert (first["type"], first["number"], first["previous"], first["previous_end"]) == ("segment", 1, 0, 0)


def test_what_is_written_is_read(place: Place, journal: Journal) -> None:
    assert place.numbers() == [1, 2]
    other = place.journal()
    assert numbers(other) == [1, 2]
    assert other.is_current()
    journal.append([record(3)])
    assert not other.is_current()
    assert numbers(other) == [3]
    assert other.is_current()
    other.append([record(4)])
    assert not journal.is_current()
    assert numbers(journal) == [4]
    assert place.numbers() == [1, 2, 3, 4]


def test_the_cursor(journal: Journal, place: Place) -> None:
    last, end = journal.last, journal.end
    assert journal.line(1, last, end - last) == record(2)
    assert end == place.segment(1).stat().st_size
    other = place.journal()
    numbers(other)
    assert (other.segment, other.last, other.end) == (1, last, end)
    other.seek(1, 0, last)
    assert numbers(other) == [2]


def test_segments(place: Place, journal: Journal) -> None:
    other = place.journal()
    assert numbers(other) == [1, 2]
    end = journal.end
    journal.begin_segment()
    assert journal.is_current()
    assert not other.is_current()
    mark = parse(place.segment(2).read_bytes())
    assert (mark["number"], mark["previous"], mark["previous_end"]) == (2, 1, end)
    journal.append([record(3)])
    journal.begin_segment(spare=1)
    journal.append([record(4)])
    assert place.folder.names() == ["000001.jsonl", "000002.jsonl", "000004.jsonl"]
    other.load()
    assert numbers(other) == [3, 4]
    assert other.is_current()
    assert place.numbers() == [1, 2, 3, 4]


def test_where_reading_is_told_to_stop(place: Place, journal: Journal) -> None:
    """Reading stops there, even if more records have followed, in that segment or in another one."""
    stops = [((1, journal.last), [1]), ((1, journal.end), [1, 2])]
    journal.begin_segment()
    stops.append(((2, journal.end), [1, 2]))
    journal.append([record(3)])
    stops.append(((2, journal.end), [1, 2, 3]))
    journal.append([record(4)])
    for stop, found in stops:
        other = place.journal()
        assert numbers(other, until=stop) == found
        assert (other.segment, other.end) == stop


def test_numbers_are_not_used_again(place: Place, journal: Journal) -> None:
    journal.begin_segment()
    (place.path / "journal/000007.jsonl").mkdir()
    (place.path / "journal/notes.jsonl").touch()
    (place.path / "journal/٠٠٠٠٠٩.jsonl").touch()
    journal.begin_segment()
    assert journal.manifest.segments == (1, 2, 8)


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("000001.jsonl", 1),
        ("1234567.jsonl", 1234567),
        ("1.jsonl", None),
        ("000001.json", None),
        ("x000001.jsonl", None),
    ],
)
def test_segment_names(name: str, number: int | None) -> None:
    assert segment_number(name) == number
    assert number is None or segment_name(number) == name


def test_everything_is_on_disk_in_the_right_order(place: Place, system: System) -> None:
    journal = place.journal()
    numbers(journal)
    system.calls.clear()
    journal.append([record(1), record(2)])
    assert [call for call in system.calls if call != "fstat"] == ["open", "pwrite", "fdatasync", "close"]
    system.calls.clear()
    journal.begin_segment()
    written = [call for call in system.calls if call in ("pwrite", "fsync", "rename")]
    # Write and sync the segment, sync its name; write and sync the manifest, rename it, sync its name.
    assert written == ["pwrite", "fsync", "fsync", "pwrite", "fsync", "rename", "fsync"]


def test_what_the_dead_wrote_is_synced_before_it_is_believed(place: Place, journal: Journal, system: System) -> None:
    other = place.journal()
    system.fail("fdatasync", errno.EIO)
    with pytest.raises(OSError, match="made to fail"):
        numbers(other, sync=True)
    assert numbers(other, sync=True) == [1, 2]
    assert numbers(other, sync=True) == []
    assert system.count("fdatasync") == 2


def test_a_manifest_is_lasting_before_it_is_believed(place: Place, journal: Journal, system: System) -> None:
    other = place.journal()
    journal.begin_segment()
    system.fail("fsync", errno.EIO)
    with pytest.raises(OSError, match="made to fail"):
        other.load()
    assert other.manifest != journal.manifest
    other.load()
    assert other.manifest == journal.manifest


def test_a_manifest_that_cannot_be_seen_may_be_another(journal: Journal, system: System) -> None:
    assert not journal.is_replaced()
    system.fail("stat", errno.EIO)
    assert journal.is_replaced()


# --- torn and damaged


def test_a_torn_record_is_ignored_by_readers_and_cut_by_writers(place: Place, journal: Journal) -> None:
    end = journal.end
    for length in range(1, len(record(3))):
        with place.segment(1).open("r+b") as file:
            file.seek(end)
            file.write(record(3)[:length])
        reader, writer = place.journal(), place.journal()
        assert numbers(reader) == [1, 2]
        assert not reader.is_current()
        assert place.segment(1).stat().st_size == end + length
        assert numbers(writer) == [1, 2]
        assert writer.make_appendable()
        assert writer.is_current()
        assert place.segment(1).stat().st_size == end
    writer = place.journal()
    assert numbers(writer) == [1, 2]
    assert not writer.make_appendable()
    writer.append([record(3)])
    assert place.numbers() == [1, 2, 3]


def test_a_torn_record_that_cannot_be_cut(place: Place, journal: Journal, system: System) -> None:
    place.segment(1).write_bytes(place.segment(1).read_bytes() + b"torn")
    system.fail("ftruncate", errno.EIO)
    assert journal.make_appendable()
    assert journal.is_sound()
    assert journal.manifest.segments == (1, 2)
    journal.append([record(3)])
    assert place.numbers() == [1, 2, 3]


@pytest.mark.parametrize("damage", [b"x" * 20, b"", b'{"v":1,"crc":"00000000","type":"test"}', b"[" * 100_000])
def test_damage_in_the_middle(place: Place, journal: Journal, damage: bytes) -> None:
    whole = place.segment(1).read_bytes()
    place.segment(1).write_bytes(whole.replace(record(1), damage + b"\n"))
    assert place.numbers() == [-1, 2]


def test_a_complete_line_is_not_cut_off(place: Place, journal: Journal) -> None:
    whole = place.segment(1).read_bytes()
    place.segment(1).write_bytes(whole[:-3] + b"x" + whole[-2:])
    writer = place.journal()
    assert numbers(writer) == [1, -1]
    assert not writer.make_appendable()


@pytest.mark.parametrize(("cut", "found"), [(1, [1, -1, -1, 3]), (len(record(2)), [1, -1, 3])])
def test_a_sealed_segment_that_is_too_short(place: Place, journal: Journal, cut: int, found: list[int]) -> None:
    journal.begin_segment()
    journal.append([record(3)])
    os.truncate(place.segment(1), place.segment(1).stat().st_size - cut)
    assert place.numbers() == found


# --- marks and manifests


def test_a_mark_that_is_damaged(place: Place, journal: Journal) -> None:
    journal.begin_segment()
    journal.append([record(3)])
    whole = place.segment(2).read_bytes()
    place.segment(2).write_bytes(b"x" + whole[1:])
    assert place.numbers() == [1, 2, -1, 3]


@pytest.mark.parametrize(
    "text", [b"", b"{}", b"\n", b"[" * 100_000, encode_mark("manifest"), encode_mark("manifest", store=1, segments=[])]
)
def test_a_manifest_that_is_damaged(place: Place, text: bytes) -> None:
    (place.path / MANIFEST).write_bytes(text)
    with pytest.raises(StoreUnavailable, match=r"manifest\.json is damaged"):
        place.journal()


def test_a_manifest_may_be_long(place: Place, journal: Journal) -> None:
    """Each backup by hard links starts a segment: one backup a minute makes 100,000 in ten weeks."""
    segments = tuple(range(1, 200_001))
    journal.publish(journal.manifest._replace(segments=segments))
    again = place.journal()
    assert again.manifest.segments == segments


@pytest.mark.parametrize(
    ("content", "with_records"),
    [(b"", False), (MARK[:20], False), (MARK, False), (MARK + b"x", True), (MARK[:20] + bytes(2000), True)],
)
def test_a_journal_without_a_manifest(place: Place, content: bytes, with_records: bool) -> None:
    """A failed creation of a store leaves only a mark, or a part of one."""
    place.segment(1).write_bytes(content)
    assert has_records(place.folder) == with_records


def test_what_is_missing(place: Place, journal: Journal) -> None:
    place.segment(1).unlink()
    assert not journal.is_current()
    with pytest.raises(FileNotFoundError):
        place.numbers()


@pytest.mark.parametrize(
    ("lost", "found"), [([1], [-1, 3, 4]), ([2], [1, 2, -1, 4]), ([1, 2], [-1, -1, 4]), ([3], [1, 2, 3, -1])]
)
@pytest.mark.parametrize("left", [None, b"", b'{"v":1,"crc":'])
def test_segments_that_are_lost(
    place: Place, journal: Journal, lost: list[int], found: list[int], left: bytes | None
) -> None:
    for number in (3, 4):
        journal.begin_segment()
        journal.append([record(number)])
    for segment in lost:
        place.segment(segment).unlink()
        if left is not None:
            place.segment(segment).write_bytes(left)
    with pytest.raises(FileNotFoundError):
        place.numbers()
    again = Journal(place.root, place.folder, without_lost=True)
    again.load()
    again.seek(1, 0, 0)
    assert numbers(again) == found
    assert again.make_appendable() == 0
    again.append([record(5)])
    assert again.manifest.segments == ((1, 2, 3, 4) if lost == [3] else (1, 2, 3))
    again.seek(1, 0, 0)
    assert numbers(again)[-1] == 5
    again.close()


@pytest.mark.parametrize(
    ("older", "newer", "begins"),
    [
        (Manifest("a", (1,)), Manifest("a", (1,)), True),
        (Manifest("a", (1,)), Manifest("a", (1, 2)), True),
        (Manifest("a", (1, 2)), Manifest("a", (1,)), False),
        (Manifest("a", (1, 2)), Manifest("a", (3, 2)), False),
        (Manifest("a", (1,)), Manifest("b", (1,)), False),
        (Manifest("", ()), Manifest("a", (1,)), False),
    ],
)
def test_begins_with(older: Manifest, newer: Manifest, begins: bool) -> None:
    assert newer.begins_with(older) is begins


# --- failures


def torn_write(call: Callable[[], Any], fd: int, view: memoryview, offset: int) -> int:
    os.pwrite(fd, view[: len(view) // 2], offset)
    raise OSError(errno.ENOSPC, "no space")


def whole_write(call: Callable[[], Any], *_: object) -> int:
    call()
    raise OSError(errno.EIO, "written, but who knows")


@pytest.mark.parametrize("write", [torn_write, whole_write])
@pytest.mark.parametrize("cannot", [None, "ftruncate", "fsync"])
def test_a_refused_record_does_not_come_back(
    place: Place, journal: Journal, system: System, write: Callable[..., int], cannot: str | None
) -> None:
    system.hooks["pwrite"] = write
    with pytest.raises(OSError, match=r"no space|who knows"):
        journal.append([record(3)])
    assert not journal.is_sound()
    system.work()
    if cannot:
        system.fail(cannot, errno.EIO)
    journal.mend()
    assert journal.is_sound()
    assert journal.manifest.segments == ((1, 2) if cannot else (1,))
    assert journal.is_current()
    assert place.numbers() == [1, 2]
    journal.append([record(4)])
    journal.begin_segment()
    journal.append([record(5)])
    assert place.numbers() == [1, 2, 4, 5]


def test_a_failed_sync_is_not_tried_again_on_the_same_descriptor(
    place: Place, journal: Journal, system: System
) -> None:
    system.fail("fdatasync", errno.EIO)
    with pytest.raises(OSError, match="made to fail"):
        journal.append([record(3)])
    assert system.calls[-1] == "close"
    journal.mend()
    assert system.count("fdatasync") == 1
    assert place.numbers() == [1, 2]


def test_nothing_is_wrong_when_the_segment_cannot_even_be_opened(journal: Journal, system: System) -> None:
    system.fail("open", errno.EMFILE)
    with pytest.raises(OSError, match="made to fail"):
        journal.append([record(3)])
    assert journal.is_sound()


def test_while_nothing_helps(place: Place, journal: Journal, system: System) -> None:
    system.hooks["pwrite"] = whole_write
    with pytest.raises(OSError, match="who knows"):
        journal.append([record(3)])
    system.fail("ftruncate", errno.EIO, times=5)
    for _ in range(5):
        with pytest.raises(OSError, match="who knows"):
            journal.mend()
        assert not journal.is_sound()
        assert place.folder.names() == ["000001.jsonl"]
    system.work()
    journal.mend()
    journal.append([record(4)])
    assert place.numbers() == [1, 2, 4]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    "call", ["listdir", "open", "fchmod", "pwrite", "fsync", "unlink", "rename", "stat", "fstat", "pread"]
)
def test_a_segment_that_cannot_be_begun(place: Place, journal: Journal, system: System, call: str, after: bool) -> None:
    """Whichever call fails, before or after its effect: later records are read in their order, and nothing else is."""
    written = [1, 2]
    for number in itertools.count(1):
        system.hooks[call] = failure = Nth(number, errno.EIO, after=after)
        try:
            journal.begin_segment()
        except OSError:
            # Another process may now find either manifest in force, and must read the same records with both.
            system.work()
            assert place.numbers() == written
            if not journal.is_sound():
                journal.mend()
        system.work()
        journal.append([record(number + 2)])
        written.append(number + 2)
        assert journal.is_current()
        assert place.numbers() == written
        if not failure.has_failed:
            return


def test_a_manifest_in_doubt_is_written_again(place: Place, journal: Journal, system: System) -> None:
    system.hooks["fsync"] = Nth(4, errno.EIO)  # the sync of the name of the manifest
    with pytest.raises(OSError, match="made to fail"):
        journal.begin_segment()
    assert not journal.is_sound()
    system.fail("rename", errno.EIO)
    with pytest.raises(OSError, match="made to fail"):
        journal.mend()
    assert not journal.is_sound()
    system.work()
    renamed = system.count("rename")
    journal.mend()
    assert journal.is_sound()
    assert system.count("rename") == renamed + 1
    assert (journal.manifest.segments, journal.segment) == ((1, 2), 2)
    journal.append([record(3)])
    assert place.numbers() == [1, 2, 3]


def test_a_manifest_in_doubt_and_a_refused_record(place: Place, journal: Journal, system: System) -> None:
    system.hooks["pwrite"] = whole_write
    with pytest.raises(OSError, match="who knows"):
        journal.append([record(3)])
    system.work()
    system.fail("ftruncate", errno.EIO)
    system.hooks["fsync"] = Nth(4, errno.EIO)
    with pytest.raises(OSError, match="made to fail"):
        journal.mend()
    assert not journal.is_sound()
    system.work()
    journal.mend()
    assert journal.is_sound()
    journal.append([record(4)])
    assert place.numbers() == [1, 2, 4]
