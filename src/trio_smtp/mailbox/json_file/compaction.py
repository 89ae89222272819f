"""Compaction replaces all sealed segments by one new segment without the dead data.

1. Under the lock: seal the live segment, and copy the index as it is now.
2. Without the lock, `write`: write a new segment with the operations that make up the copy, and in front of each the
   content that it refers to, as `content` records.
3. Without the lock, `follow`: replay the records since step 1, deletions too, which are in the segments after the new
   one. Then `save` a snapshot, because every other process loads the store again once the new segment counts.
4. Under the lock, `count`: replay the few records since then, and publish a manifest in which the new segment takes the
   place of the old ones.

So the lock, for which every change waits, is held for moments only, however large the store.

A message whose record is damaged or missing is left out; the segment with the record is kept (see `housekeeping`). A
thorough compaction, which is a repair, reads the blobs, too, and leaves out messages whose blob cannot be read.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from trio_smtp.mailbox.json_file import files
from trio_smtp.mailbox.json_file.journal import Journal, Manifest, segment_name
from trio_smtp.mailbox.json_file.pace import Pace
from trio_smtp.mailbox.json_file.records import check, encode, encode_mark, to_content
from trio_smtp.mailbox.json_file.replica import Damage, Replica, why
from trio_smtp.mailbox.json_file.snapshot import Position, Snapshot, position
from trio_smtp.mailbox.json_file.values import RecordError
from trio_smtp.mailbox.operations import AddMessages
from trio_smtp.mailbox.store import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_smtp.mailbox.json_file.database import Database
    from trio_smtp.mailbox.json_file.records import Place
    from trio_smtp.mailbox.operations import NewMessage, Operation

_BUFFER = 1024 * 1024
_DAMAGED = -1
_UNSYNCED = 8 * _BUFFER  # octets; syncing more at once would delay the syncs of the writer


class Compaction:
    """One compaction, from step 2 on.

    Args:
        before: taken when the live segment had just begun, with the segment number before it left free.
        stopping: called for each message; once it returns True, `write` gives up.
        advance: called with the share of the messages that `write` has processed, from 0 to 1.
        thorough: read the blobs too.
    """

    def __init__(
        self,
        database: Database,
        before: Snapshot,
        stopping: Callable[[], bool],
        *,
        advance: Callable[[float], object],
        thorough: bool,
    ) -> None:
        self._database = database
        self._before = before
        self._stopping = stopping
        self._advance = advance
        self._thorough = thorough
        self._pace = Pace()
        self._done = 0  # messages
        self._total = before.contents.count()
        self._live = before.position.segment
        self._at = Position(self._live, 0, 0, 0)  # as far as step 3 has come
        self._number = self._live - 1
        self._replica = Replica(Manifest(before.manifest.store, (self._number, self._live)))
        self._replica.damage = before.damage
        # By old segment: the new offset of each old offset, or `_DAMAGED`. One dictionary of (segment, offset) would be
        # so large that resizing, garbage collection and freeing it would each delay the event loop.
        self._moved: dict[int, dict[int, int]] = {}

    def write(self) -> None:
        """Do step 2. Raises OSError; StoreUnavailable if it gives up."""
        segments = self._database.segments
        name = segment_name(self._number)
        fd = segments.create(name)
        try:
            output = _Output(fd)
            output.add(encode_mark("segment", number=self._number, previous=0, previous_end=0))
            for operation in self._before.contents.dump():
                self._move(operation, output)
            del self._before  # it holds a copy of the whole index
            for segment in self._pace.over(list(self._moved)):
                del self._moved[segment]  # one by one, as each may take long
            output.flush()
            self._replica.manifest = self._replica.manifest._replace(first_end=output.end)
            files.sync(fd)
            segments.sync()
        except Exception:
            with contextlib.suppress(OSError):
                segments.unlink(name)
            raise
        finally:
            files.close(fd)

    def follow(self, end: tuple[int, int]) -> int:
        """Do step 3 up to a segment and an offset behind a committed record; return the number of records.

        Raises OSError.
        """
        database, replica = self._database, self._replica
        with contextlib.closing(Journal(database.root, database.segments)) as since:
            since.load()
            since.seek(*self._at[:3])
            done = replica.replay_all(self._pace.over(since.read_on(sync=False, until=end)))
            self._at = position(since)
            segments = [each for each in since.manifest.segments if self._live <= each <= self._at.segment]
        replica.manifest = replica.manifest._replace(segments=(self._number, *segments))
        return done

    def save(self) -> None:
        """End step 3: write a snapshot. Raises OSError."""
        replica = self._replica
        Snapshot(replica.manifest, self._at, replica.dead, replica.damage, replica.index).write(self._database.root)

    def count(self) -> None:
        """Do step 4. Needs the exclusive lock. Raises OSError."""
        database, replica = self._database, self._replica
        self.follow((database.journal.segment, database.journal.end))
        database.journal.publish(replica.manifest)
        database.adopt(replica)

    def _move(self, operation: Operation[Place], output: _Output) -> None:
        """Write the content that an operation needs, and then the operation."""
        if isinstance(operation, AddMessages):
            messages = self._pace.over(operation.messages)
            operation = AddMessages([each for each in messages if self._move_content(each, output)])
            if not operation.messages:
                return
        output.add(encode(operation))
        self._replica.index.apply(operation)

    def _move_content(self, message: NewMessage[Place], output: _Output) -> bool:
        """Write the content of a message, unless that was done for another message; return False if it is damaged."""
        if self._stopping():
            raise StoreUnavailable("the store is being closed")
        self._done += 1
        self._advance(self._done / self._total)
        place = message.body
        moved = self._moved.setdefault(place.segment, {})
        offset = moved.get(place.offset)
        if offset is None:
            offset = moved[place.offset] = self._copy_content(place, output)
        if offset == _DAMAGED:
            return False
        message.body = place._replace(segment=self._number, offset=offset)
        return True

    def _copy_content(self, place: Place, output: _Output) -> int:
        """Write the content, which keeps its length, and return its new offset, or `_DAMAGED`."""
        try:
            line = self._database.journal.line(place.segment, place.offset, place.length)
            check(line)
            if self._thorough:
                self._database.read(place, None)
        except (OSError, RecordError) as error:
            if not self._thorough and not isinstance(error, FileNotFoundError | RecordError):
                raise  # only a repair gives up content that the disk cannot read now
            self._replica.report(Damage(place.segment, place.offset, place.length, why(error)))
            if place.blob is not None:
                with contextlib.suppress(FileNotFoundError):  # the blob is missing, or an earlier attempt moved it
                    self._database.quarantine(self._database.blobs, place.blob)
            return _DAMAGED
        return output.add(to_content(line))


class _Output:
    """A file to which lines are added, written in large pieces.

    Attributes:
        end: how long the file is, without the lines added since the last `flush`.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.end = 0
        self._synced = 0
        self._pending = bytearray()

    def add(self, line: bytes) -> int:
        """Add a line and return its offset."""
        if len(self._pending) >= _BUFFER:
            self.flush()
        offset = self.end + len(self._pending)
        self._pending += line
        return offset

    def flush(self) -> None:
        files.write_at(self._fd, self.end, self._pending)
        self.end += len(self._pending)
        self._pending = bytearray()
        if self.end - self._synced >= _UNSYNCED:
            files.sync_data(self._fd)
            self._synced = self.end
