"""The journal: segments, append-only files of records, and the manifest, which says which segments count.

- `manifest.json` is one record: the name of the store (a random one) and the numbers of the segments in the order
  in which they are read. It is replaced as a whole; that is the moment when segments begin or cease to count.
  The last segment is *live*: new records go there. Segment numbers are never used again.
- A segment begins with a record, its mark, that says where the segment before it ends. Octets behind that end were
  refused and could not be cut off. The mark is on disk before the segment counts, so a segment without one is as good
  as missing. The end of a compacted segment is in the manifest, because the mark of the next segment is older.
- In the live segment, what follows the last newline is *torn*: a process died while writing it. Readers ignore it, and
  a writer cuts it off first. A complete line is never cut off.
- Each writer leaves a note, beside the lock, of how far the live segment goes. A live segment that is shorter has lost
  records: the disk lost them, or somebody put an older copy in its place. It is sealed at the noted end, so that every
  process finds it too short.
- A segment with a second name (a hard link) is not written to, as that may be somebody's backup: it is sealed.
- Records of a writer that died are synced before they are trusted.
- After a failure that could leave a refused record behind, the journal is not sound, and the process that holds the
  lock may not release it until `mend` has worked: others would take the record for a good one and write behind it.

A journal is a cursor, too: `segment` and `end` say how far it was read, and the next record is written there.
All methods need the lock, those that change something the exclusive one, except for `is_current`, `is_replaced` and
`line`, and `read_on` with `until`.
"""

from __future__ import annotations

import contextlib
import errno
import re
import secrets
from typing import TYPE_CHECKING, NamedTuple

from trio_smtp.mailbox.json_file import files, values
from trio_smtp.mailbox.json_file.records import encode_mark, frame, parse
from trio_smtp.mailbox.json_file.values import RecordError
from trio_smtp.mailbox.store import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

MANIFEST = "manifest.json"
NO_MANIFEST = f"the directory contains mail but no {MANIFEST}; restore the store from a backup"
_MAX_MARK = 1024
_MAX_LINE = 64 * 1024 * 1024  # limit for the line that stands for lost records: a compacted segment may be huge
_SEGMENT_NAME = re.compile(r"([0-9]{6,15})\.jsonl", re.ASCII)


class Manifest(NamedTuple):
    """Which store this is, and which segments count."""

    store: str
    segments: tuple[int, ...]
    first_end: int | None = None  # where the first of them ends, if a compaction has made it

    def begins_with(self, older: Manifest) -> bool:
        """Whether segments were only added since the older manifest."""
        return self.store == older.store and self.segments[: len(older.segments)] == older.segments


def segment_name(number: int) -> str:
    """Return the name of the file of a segment."""
    return f"{number:06}.jsonl"


def segment_number(name: str) -> int | None:
    """Return the number of the segment in a file of this name, or None if that is no segment."""
    match = _SEGMENT_NAME.fullmatch(name)
    return int(match[1]) if match else None


def has_records(folder: files.Directory) -> bool:
    """Whether a segment has more than its mark. An interrupted creation of a store leaves only the mark."""
    for name in folder.names():
        if segment_number(name) is not None:
            with folder.opened(name) as fd:
                if files.size(fd) > _MAX_MARK or files.read_at(fd, 0, _MAX_MARK).partition(b"\n")[2]:
                    return True
    return False


class Journal:
    """The segments of a store, as this process knows them.

    Args:
        without_lost: skip segments that are missing.
    """

    def __init__(self, root: files.Directory, folder: files.Directory, *, without_lost: bool = False) -> None:
        self._root = root
        self._folder = folder
        self._without_lost = without_lost
        self._manifest_fd = -1  # kept open, so that no other file gets its inode number
        self._inode = 0
        self._doubtful = False  # whether another manifest might be in force after a crash
        self._refused = False  # whether there may be octets behind `end` that must not count
        self.manifest = Manifest("", ())
        self._noted = (0, 0)  # the segment that was live when the last writer left, and where it ended
        self.seek(0, 0, 0)

    def close(self) -> None:
        """Close the files."""
        files.close(self._manifest_fd)

    # --- the manifest

    def create(self) -> None:
        """Begin the journal of a new store."""
        self._root.sync()  # a crash must not leave a manifest without the directories that it needs
        self._root.sync_name()
        self.manifest = Manifest(secrets.token_hex(8), ())
        self.begin_segment()

    def load(self) -> None:
        """Read the manifest if it was replaced; the cursor stays where it is."""
        if self._root.stat(MANIFEST).st_ino != self._inode:
            self._root.sync()  # the process that replaced it may have died before this sync
            self._adopt()

    def publish(self, manifest: Manifest) -> None:
        """Put a manifest in force."""
        mark = encode_mark("manifest", **manifest._asdict())
        try:
            self._root.publish(MANIFEST, [mark])
            self._root.sync()
            self._adopt()
        except OSError:
            self._doubtful = self._doubtful or self.is_replaced()
            raise
        self._doubtful = False

    def _adopt(self) -> None:
        fd = self._root.open(MANIFEST)
        try:
            record = parse(files.read_at(fd, 0, files.size(fd)))
            manifest = Manifest(
                values.text(record["store"]),
                values.numbers(record["segments"]),
                values.optional_number(record.get("first_end")),
            )
            inode = files.inode(fd)
        except (OSError, RecordError, KeyError) as error:
            files.close(fd)
            if isinstance(error, OSError):
                raise
            raise StoreUnavailable(
                f"{MANIFEST} is damaged or from another version ({error}); restore the store from a backup"
            ) from None
        files.close(self._manifest_fd)
        self._manifest_fd, self._inode, self.manifest = fd, inode, manifest

    def is_replaced(self) -> bool:
        """Whether the manifest was replaced, or cannot be seen; cheap, and needs no lock."""
        try:
            return self._root.stat(MANIFEST).st_ino != self._inode
        except OSError:
            return True

    # --- the note beside the lock

    def note(self) -> bytes:
        """Return a note that says that the records up to the cursor are on disk."""
        return frame(
            b',"type":"note","store":"%s","segment":%d,"end":%d}'
            % (self.manifest.store.encode(), self.segment, self.end)
        )

    def heed(self, note: bytes) -> None:
        """Take the end of the live segment from the last writer's note; a missing or foreign note says nothing.

        Raises:
            StoreUnavailable: if the manifest is older than the note: it does not name the live segment, which exists.
        """
        self._noted = (0, 0)
        with contextlib.suppress(RecordError, KeyError):
            record = parse(note)
            if record["store"] == self.manifest.store:
                self._noted = values.number(record["segment"]), values.number(record["end"])
        live = self._noted[0]
        if live > self.manifest.segments[-1] and segment_name(live) in self._folder.names():
            raise StoreUnavailable(
                f"{MANIFEST} is older than {segment_name(live)}; restore the whole store from a backup"
            )

    # --- reading

    def is_current(self) -> bool:
        """Whether everything was read, and the next record can be written at the cursor; cheap, and needs no lock."""
        try:
            live = self._folder.stat(self._name)
            is_at_end = live.st_size == self.end and live.st_nlink < 2 and not self._is_short
            return is_at_end and self._root.stat(MANIFEST).st_ino == self._inode
        except OSError:
            return False

    def seek(self, segment: int, last: int, end: int) -> None:
        """Put the cursor behind the record between the offsets `last` and `end`."""
        self.segment, self._name = segment, segment_name(segment)
        self.last, self.end = last, end  # where the last record begins and ends
        self._is_short = False  # whether the segment is live and should reach `end`, but does not

    def read_on(self, *, sync: bool, until: tuple[int, int] | None = None) -> Iterator[tuple[int, int, bytes]]:
        """Move the cursor to the end, and yield segment, offset and line of each record that it passes.

        A segment that is too short or lost yields a last line that is no record, as long as what is missing (at most
        64 MiB).

        Args:
            sync: sync each segment first, because its records may not be on disk.
            until: the segment and the offset in it at which to stop. Records before it are committed, so no lock is
                needed.

        Raises:
            FileNotFoundError: if a segment is missing or empty: a compaction has replaced it, or it is lost (see
                `without_lost`).
        """
        while (sealed_end := self._sealed_end()) is not None and (until is None or self.segment < until[0]):
            try:
                yield from self._read_to(sealed_end, sync)
            except FileNotFoundError:
                if not self._without_lost:
                    raise
            if self.end < sealed_end:
                yield self.segment, self.end, bytes(min(sealed_end - self.end, _MAX_LINE))
            self.seek(self._next(), 0, 0)
        try:
            yield from self._read_to(sealed_end if until is None else until[1], sync)
        except FileNotFoundError:
            if not self._without_lost:
                raise
            yield self.segment, self.end, bytes(_MAX_LINE)
        else:
            if until is None:
                yield from self._missing()

    def _missing(self) -> Iterator[tuple[int, int, bytes]]:
        """Yield, once, a line for what the live segment has lost at its end."""
        start, end = min(self.end, self._folder.stat(self._name).st_size), self.end
        segment, noted_end = self._noted
        if segment == self.segment:
            end = max(end, noted_end)
        elif segment > self.segment:  # how much was written here and to later segments is unknown
            end += _MAX_LINE
        if start < end and not self._is_short:
            self.seek(self.segment, start, end)
            self._is_short = True
            yield self.segment, start, bytes(min(end - start, _MAX_LINE))

    def _read_to(self, sealed_end: int | None, sync: bool) -> Iterator[tuple[int, int, bytes]]:
        with self._folder.opened(self._name) as fd:
            end = files.size(fd) if sealed_end is None else sealed_end
            if sync and end > self.end:
                files.sync_data(fd)
            for offset, line in files.lines(fd, self.end, end):
                if (sealed_end is None or offset == 0) and not line.endswith(b"\n"):
                    break
                yield self.segment, offset, line
                self.last, self.end = offset, offset + len(line)
        if not self.end:
            raise FileNotFoundError(errno.ENOENT, "is empty", self._name)

    def find_end(self) -> tuple[int, int] | None:
        """Return the live segment and where its last record ends, or None if torn octets follow."""
        live = self.manifest.segments[-1]
        with self._folder.opened(segment_name(live)) as fd:
            end = files.size(fd)
            return (live, end) if files.read_at(fd, end - 1, 1) == b"\n" else None

    def line(self, segment: int, offset: int, length: int) -> bytes:
        """Return the octets of a line, fewer where the segment ends. Raises FileNotFoundError after a compaction."""
        with self._folder.opened(segment_name(segment)) as fd:
            return files.read_at(fd, offset, length)

    def _next(self) -> int:
        segments = self.manifest.segments
        return segments[segments.index(self.segment) + 1]

    def _sealed_end(self) -> int | None:
        """Return where the segment at the cursor ends, or None if it is live."""
        if self.segment == self.manifest.segments[-1]:
            return None
        if self.segment == self.manifest.segments[0] and self.manifest.first_end is not None:
            return self.manifest.first_end
        with contextlib.suppress(RecordError, KeyError, FileNotFoundError):
            mark = parse(self.line(self._next(), 0, _MAX_MARK).partition(b"\n")[0] + b"\n")
            if mark["previous"] == self.segment:
                return values.number(mark["previous_end"])
        try:
            return self._folder.stat(self._name).st_size or _MAX_LINE  # no mark or manifest says it
        except FileNotFoundError:
            return _MAX_LINE

    # --- writing

    def is_sound(self) -> bool:
        """Whether no refused record can count later."""
        return not (self._refused or self._doubtful)

    def append(self, lines: list[bytes]) -> None:
        """Write records at the cursor, which is at the end, make them durable, and move the cursor behind them."""
        data = b"".join(lines)
        with self._folder.opened(self._name, writable=True) as fd:
            try:
                files.write_at(fd, self.end, data)
                files.sync_data(fd)
            except BaseException:  # MemoryError, too
                self._refused = True
                raise
        self.end += len(data)
        self.last = self.end - len(lines[-1])

    def begin_segment(self, *, spare: int = 0) -> None:
        """Seal the live segment at the cursor, which is at its end, and move the cursor to a new one.

        Args:
            spare: how many segment numbers to leave free before the new one, for a compaction.
        """
        there = [number for number in map(segment_number, self._folder.names()) if number is not None]
        number = max([*there, *self.manifest.segments], default=0) + spare + 1
        mark = encode_mark("segment", number=number, previous=self.segment, previous_end=self.end)
        fd = self._folder.create(segment_name(number))
        try:
            files.write_at(fd, 0, mark)
            files.sync(fd)
            self._folder.sync()
            self.publish(self.manifest._replace(segments=(*self.manifest.segments, number)))
        except OSError:
            if not self._doubtful:
                with contextlib.suppress(OSError):
                    self._folder.unlink(segment_name(number))
            raise
        finally:
            files.close(fd)
        self.seek(number, 0, len(mark))

    def make_appendable(self) -> int:
        """Prepare for a record at the cursor, which is at the end; return how many torn octets were there.

        Torn octets are cut off. A segment that is lost, is too short or has a second name is sealed as it is.
        """
        if not self.end or self._is_short:
            self.begin_segment()
            return 0
        live = self._folder.stat(self._name)
        torn = live.st_size - self.end
        if live.st_nlink > 1:
            self.begin_segment()
        elif torn > 0:
            self._refused = True
            self.mend()
        return torn

    def mend(self) -> None:
        """Make the journal sound again after a failure. Raises OSError if that fails, too."""
        if self._doubtful:
            self._adopt()
            if self.manifest.segments[-1] != self.segment:  # the new segment counts after all
                live = self.manifest.segments[-1]
                self.seek(live, 0, self._folder.stat(segment_name(live)).st_size)
                self._refused = False
            self.publish(self.manifest)
        if self._refused:
            try:
                self._cut()
            except OSError:
                self.begin_segment()
            self._refused = False

    def _cut(self) -> None:
        # A new descriptor, because a sync that failed must not be retried on the same one.
        with self._folder.opened(self._name, writable=True) as fd:
            files.truncate(fd, self.end)
            files.sync(fd)
