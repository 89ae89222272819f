"""The journal: segments, files of records that only grow, and the manifest, which says which of them count.

- `manifest.json` is one record: the name of the store (a random one) and the numbers of the segments in the order
  in which they are read. It is replaced as a whole; that is the moment when segments begin or cease to count.
  The last one is *live*: new records go there. Numbers are never used again.
- A segment begins with a record that says where the one before it ends. What lies behind that end was refused
  and could not be cut off. It is on disk before the segment counts, so one without it is as good as missing.
  The manifest says where a segment ends that a compaction has made: it is longer than it was when the next one began.
- In the live segment, what follows the last newline is *torn*: somebody died while writing it. Who reads ignores
  it, who is about to write cuts it off. A complete line is never cut off.
- Each writer leaves a note, beside the lock, of how far the live segment goes. One that is shorter has lost records: to
  the disk, or to who put an older copy in its place. It is sealed where it should end; so everybody finds it short.
- A segment with a second name (a hard link) is not written to, for that may be somebody's backup: it is sealed.
- What was written by somebody who died is synced before it is believed.
- After a failure that could leave a refused record behind, the journal is not sound, and whoever holds the lock
  may not let go of it until `mend` has worked: others would take the record for a good one and write behind it.

A journal is a cursor too: `segment` and `end` say how far it was read, and that is where it is written.
All methods need the lock, those that change something the exclusive one; but `is_current` and `line` need none.
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
NO_MANIFEST = f"there is mail, but no {MANIFEST}, which says what of it counts; restore the store from a backup"
_MAX_MARK = 1024
_MAX_LINE = 64 * 1024 * 1024  # a segment that a compaction has made may be as large as the store
_SEGMENT_NAME = re.compile(r"([0-9]{6,15})\.jsonl", re.ASCII)


class Manifest(NamedTuple):
    """Which store this is, and what it consists of."""

    store: str
    segments: tuple[int, ...]
    first_end: int | None = None  # where the first of them ends, if a compaction has made it

    def begins_with(self, older: Manifest) -> bool:
        """Whether all that happened since then is that segments were added."""
        return self.store == older.store and self.segments[: len(older.segments)] == older.segments


def segment_name(number: int) -> str:
    """The file of a segment."""
    return f"{number:06}.jsonl"


def segment_number(name: str) -> int | None:
    """The segment in a file of this name, None if it is none."""
    match = _SEGMENT_NAME.fullmatch(name)
    return int(match[1]) if match else None


def has_records(folder: files.Directory) -> bool:
    """Whether some segment has more than its mark: one has no more where somebody died who began a store."""
    for name in folder.names():
        if segment_number(name) is not None:
            with folder.opened(name) as fd:
                if files.size(fd) > _MAX_MARK or files.read_at(fd, 0, _MAX_MARK).partition(b"\n")[2]:
                    return True
    return False


class Journal:
    """The segments of a store, as this process knows them.

    Args:
        without_lost: go on without segments that are not there.
    """

    def __init__(self, root: files.Directory, folder: files.Directory, *, without_lost: bool = False) -> None:
        self._root = root
        self._folder = folder
        self._without_lost = without_lost
        self._manifest_fd = -1  # open, so that no other file gets its inode number
        self._inode = 0
        self._doubtful = False  # after a crash another manifest might be in force
        self._refused = False  # there may be something behind `end` that must not count
        self.manifest = Manifest("", ())
        self._noted = (0, 0)  # the segment that was live when the last writer left, and where it ended
        self.seek(0, 0, 0)

    def close(self) -> None:
        """Let go of the files."""
        files.close(self._manifest_fd)

    # --- the manifest

    def create(self) -> None:
        """Begin the journal of a new store."""
        self._root.sync()  # a manifest must not outlast the directories that it needs
        self._root.sync_name()
        self.manifest = Manifest(secrets.token_hex(8), ())
        self.begin_segment()

    def load(self) -> None:
        """Read the manifest if it was replaced; the cursor stays where it is."""
        if self._root.stat(MANIFEST).st_ino != self._inode:
            self._root.sync()  # who replaced it may have died before doing this
            self._adopt()

    def publish(self, manifest: Manifest) -> None:
        """Let a manifest count from now on."""
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
                f"{MANIFEST} is damaged or of another version ({error}); restore the store from a backup"
            ) from None
        files.close(self._manifest_fd)
        self._manifest_fd, self._inode, self.manifest = fd, inode, manifest

    def is_replaced(self) -> bool:
        """Whether there is another manifest, or none that can be seen; cheap, and needs no lock."""
        try:
            return self._root.stat(MANIFEST).st_ino != self._inode
        except OSError:
            return True

    # --- the note beside the lock

    def note(self) -> bytes:
        """That the records up to the cursor are on disk."""
        return frame(
            b',"type":"note","store":"%s","segment":%d,"end":%d}'
            % (self.manifest.store.encode(), self.segment, self.end)
        )

    def heed(self, note: bytes) -> None:
        """Believe a note of the last writer, rather than those before. Who finds none of this store expects nothing.

        Raises:
            StoreUnavailable: the manifest is older than the note, and does not know a segment that is there.
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
        """Whether all was read, and what is written next can go behind it; cheap."""
        try:
            live = self._folder.stat(self._name)
            is_at_end = live.st_size == self.end and live.st_nlink < 2 and not self._is_short
            return is_at_end and self._root.stat(MANIFEST).st_ino == self._inode
        except OSError:
            return False

    def seek(self, segment: int, last: int, end: int) -> None:
        """Put the cursor behind the record between two offsets."""
        self.segment, self._name = segment, segment_name(segment)
        self.last, self.end = last, end  # where the last record begins and ends
        self._is_short = False  # that segment is live and should go on up to `end`, but does not

    def read_on(self, *, sync: bool, until: tuple[int, int] | None = None) -> Iterator[tuple[int, int, bytes]]:
        """Move the cursor to the end, and give what it passes: segment, offset, line.

        A segment that is too short, or lost, gives a last line that is no record, as long as what is missing.

        Args:
            sync: first, because it may not be on disk.
            until: a segment and the offset in it where to stop; what is in front of it counts, so no lock is needed.

        Raises:
            FileNotFoundError: a segment is not there, or empty: a compaction was faster, or it is lost (see
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
        """Pass, once, what the live segment has lost at its end."""
        start, end = min(self.end, self._folder.stat(self._name).st_size), self.end
        segment, noted_end = self._noted
        if segment == self.segment:
            end = max(end, noted_end)
        elif segment > self.segment:  # nobody knows how much came here, and in those behind
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
        """The live segment and where its last record ends, None if something torn is behind that."""
        live = self.manifest.segments[-1]
        with self._folder.opened(segment_name(live)) as fd:
            end = files.size(fd)
            return (live, end) if files.read_at(fd, end - 1, 1) == b"\n" else None

    def line(self, segment: int, offset: int, length: int) -> bytes:
        """The octets of a line; fewer where the segment ends. FileNotFoundError after a compaction."""
        with self._folder.opened(segment_name(segment)) as fd:
            return files.read_at(fd, offset, length)

    def _next(self) -> int:
        segments = self.manifest.segments
        return segments[segments.index(self.segment) + 1]

    def _sealed_end(self) -> int | None:
        """Where the segment at the cursor ends, None if it is live."""
        if self.segment == self.manifest.segments[-1]:
            return None
        if self.segment == self.manifest.segments[0] and self.manifest.first_end is not None:
            return self.manifest.first_end
        with contextlib.suppress(RecordError, KeyError, FileNotFoundError):
            mark = parse(self.line(self._next(), 0, _MAX_MARK).partition(b"\n")[0] + b"\n")
            if mark["previous"] == self.segment:
                return values.number(mark["previous_end"])
        try:
            return self._folder.stat(self._name).st_size or _MAX_LINE  # it was complete before it counted
        except FileNotFoundError:
            return _MAX_LINE

    # --- writing

    def is_sound(self) -> bool:
        """Whether nothing refused can come back."""
        return not (self._refused or self._doubtful)

    def append(self, lines: list[bytes]) -> None:
        """Write records where the cursor is, which is the end, make them lasting and pass them."""
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
        """Seal the live segment at the cursor, which is at its end, and move to a new one.

        Args:
            spare: how many numbers before its own stay free, for a compaction.
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
        """Let the next record come where the cursor is, which is at the end; returns how many octets were torn there.

        What is torn is cut off. A segment that is lost, is too short or has a second name is sealed as it is.
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
        """Become sound after a failure; raises OSError when that fails too."""
        if self._doubtful:
            self._adopt()
            if self.manifest.segments[-1] != self.segment:  # a new segment that counts after all
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
        # A descriptor of its own: the sync that failed was on another one.
        with self._folder.opened(self._name, writable=True) as fd:
            files.truncate(fd, self.end)
            files.sync(fd)
