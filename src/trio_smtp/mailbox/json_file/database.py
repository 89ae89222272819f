"""One store as one process has it open: lock, journal, replica and blobs, and how they go together.

What a process knows of a store is its replica. The replica is current (`is_current`) as long as no other process has
written since, which two calls of stat tell. Otherwise it must catch up: under the lock, the process replays the records
behind the cursor of the journal. `refresh` does that for readers, `exclusive` for writers.

After a compaction by another process, the cursor is in a segment that does not count any more; when a store is opened,
there is no cursor yet. In both cases a new replica, made from the snapshot and the records behind it, replaces the old
one. In a large store that takes long, and writers would have to wait; so all but the end of it is done in advance,
without the lock.

Everything here blocks and belongs in threads, except `is_current` and look-ups in the replica. Failures of the
operating system are raised as `OSError`.
"""

from __future__ import annotations

import itertools
import math
import threading
import time
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from trio_smtp.mailbox.json_file import files
from trio_smtp.mailbox.json_file.blobs import read_blob
from trio_smtp.mailbox.json_file.journal import MANIFEST, NO_MANIFEST, Journal, Manifest, has_records
from trio_smtp.mailbox.json_file.locks import StoreLock
from trio_smtp.mailbox.json_file.records import decode_content
from trio_smtp.mailbox.json_file.replica import Replica, why
from trio_smtp.mailbox.json_file.snapshot import load_snapshot
from trio_smtp.mailbox.store import StoreUnavailable
from trio_smtp.mailbox.watching import Watchers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio_smtp.mailbox.json_file.locks import Held
    from trio_smtp.mailbox.json_file.records import Place

QUARANTINE = "quarantine"  # the directory of the files that cannot be read

_BEFORE_MANIFEST = {"gate", "lock", "journal", "blobs", f"{MANIFEST}.new"}  # left by an interrupted creation
_OTHERS_MAY_WRITE = 0o022
_NOTHING = Manifest("", ())


class _Prepared(NamedTuple):
    """A replica that was made in advance; the last record that it knows is in `segment` from `last` to `end`."""

    replica: Replica
    segment: int
    last: int
    end: int


class Database:
    """The files of a store, open until `close`.

    Args:
        path: the directory of the store.
        create: create the store if the path does not exist or is an empty directory. With False, the store may be
            read-only.
        without_lost: open the store even if files of the journal are lost, and with them an unknown number of accounts.
            A server must not do this: it would reject mail for these accounts as having no such user.
        watchers: the watches to notify of changes.

    Attributes:
        root: the directory of the store.
        segments, blobs: the directories of the segments and of the blobs in it.
        journal: its cursor is behind the last record that the replica knows.
        replica: may be replaced by another one at any time; code that needs it twice keeps a reference.
        caught_up: the last time, by `time.monotonic`, at which the replica was known to be current.

    Raises:
        StoreUnavailable: if there is no store, or one that cannot be trusted.
        OSError: if it cannot be opened.
    """

    def __init__(
        self, path: str, *, create: bool, without_lost: bool = False, watchers: Watchers | None = None
    ) -> None:
        with ExitStack() as opened:
            self.root = opened.enter_context(closing(files.Directory.at(path, create=create)))
            if self.root.mode() & _OTHERS_MAY_WRITE:
                raise StoreUnavailable("other users can write to the directory; run chmod go-w on it")
            is_new = self._is_new(create)
            self.segments = opened.enter_context(closing(self.root.directory("journal")))
            self.blobs = opened.enter_context(closing(self.root.directory("blobs")))
            self.journal = opened.enter_context(closing(Journal(self.root, self.segments, without_lost=without_lost)))
            # Last, so that it is closed first: a thread may hold it, and use all the others.
            self._lock = opened.enter_context(closing(StoreLock(self.root, to_read=not create)))
            self.replica = Replica(_NOTHING)
            self.caught_up = -math.inf
            self._prepared: _Prepared | None = None
            self._preparing = threading.Lock()
            self._watchers = watchers or Watchers()
            self._writing = False
            self._note = b""  # the note that this process last left beside the lock
            if not is_new:
                self._prepare()
            with self._lock.hold(exclusive=is_new) as lock:
                if is_new and self._is_new(create):  # no other process has created it meanwhile
                    self.journal.create()
                self._catch_up(lock)
            self._opened = opened.pop_all()

    def _is_new(self, create: bool) -> bool:
        names = set(self.root.names())
        if MANIFEST in names:
            return False
        if self._has_mail(names):
            if MANIFEST in self.root.names():  # created meanwhile: the manifest comes before any mail
                return False
            raise StoreUnavailable(NO_MANIFEST)
        if not create:
            raise StoreUnavailable("there is no store")
        if names - _BEFORE_MANIFEST:
            raise StoreUnavailable("the directory is not empty and contains no store")
        return True

    def _has_mail(self, names: set[str]) -> bool:
        """Whether the directory holds more than what an interrupted creation of a store leaves."""
        if "journal" in names:
            with closing(self.root.directory("journal")) as segments:
                if has_records(segments):
                    return True
        if "blobs" not in names:
            return False
        with closing(self.root.directory("blobs")) as blobs:
            return bool(blobs.names())

    def close(self) -> None:
        """Close the files."""
        self._opened.close()

    def adopt(self, replica: Replica) -> None:
        """Replace the replica by another one, whose operations so far were not reported to watchers."""
        replica.watcher = self._watchers.tell
        self.replica = replica

    def is_current(self) -> bool:
        """Whether the replica knows all committed records; cheap, and needs no lock."""
        # Nobody else can commit while this process writes.
        return self._writing or (self.replica.manifest == self.journal.manifest and self.journal.is_current())

    def refresh(self) -> None:
        """Make the replica current."""
        if not self.is_current():
            if self.journal.is_replaced():
                self._prepare()
            with self._lock.hold(exclusive=False) as lock:
                self._catch_up(lock)

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the exclusive lock, with the replica current and the cursor of the journal at its end.

        Raises:
            StoreUnavailable: on entry, if the store cannot be trusted; at the end, if the journal is not sound.
        """
        if self.journal.is_replaced():
            self._prepare()
        with self._lock.hold(exclusive=True) as lock:
            if lock.note == self._note and self.is_current():  # nearly always, if only one process writes
                self.caught_up = time.monotonic()
            else:
                self._catch_up(lock)
                if torn := self.journal.make_appendable():
                    self.replica.burn_uids(torn)
            self._writing = True
            try:
                with self._half_done():
                    yield
            finally:
                self._writing = False
            if not self.journal.is_sound():  # the mark in the lock stays, so the next writer syncs the segments
                raise StoreUnavailable("a record that was refused may still be in the journal")
            lock.note = self._note = self.journal.note()

    @contextmanager
    def _half_done(self) -> Iterator[None]:
        """Forget the index if the block raises anything but OSError, such as MemoryError: a change may be half done."""
        try:
            yield
        except OSError:  # file operations never fail in the middle of a change to the index
            raise
        except BaseException:
            self.forget()
            raise

    def _prepare(self) -> None:
        """Make another replica in advance, if one is needed and none is prepared.

        The lock is held for a moment only, to find the end of the committed records. `_catch_up` replays the records
        that follow later.
        """
        with self._preparing, closing(Journal(self.root, self.segments)) as journal, suppress(OSError):
            with self._lock.hold(exclusive=False) as lock:
                journal.load()
                end = journal.find_end()
            is_needed = self._prepared is None and not journal.manifest.begins_with(self.replica.manifest)
            if is_needed and end is not None:
                replica = self._begin(journal)
                replica.replay_all(journal.read_on(sync=lock.writer_died, until=end))
                replica.manifest = journal.manifest
                self._prepared = _Prepared(replica, journal.segment, journal.last, journal.end)

    def _catch_up(self, lock: Held) -> None:
        """Replay the records behind the cursor, on another replica if the segments of this one were replaced."""
        self.journal.load()
        self.journal.heed(lock.note)
        replica = self.replica
        prepared, self._prepared = self._prepared, None
        if not self.journal.manifest.begins_with(replica.manifest):
            if prepared is not None and self.journal.manifest.begins_with(prepared.replica.manifest):
                replica = prepared.replica
                self.journal.seek(prepared.segment, prepared.last, prepared.end)
            else:
                replica = self._begin(self.journal)
        with self._half_done():
            try:
                replica.replay_all(self.journal.read_on(sync=lock.writer_died))
            except FileNotFoundError as error:
                raise StoreUnavailable(f"{why(error)}; restore it from a backup, or repair the store") from None
        replica.manifest = self.journal.manifest
        if replica is not self.replica:
            self.adopt(replica)
            self._watchers.tell_missed()
        self.caught_up = time.monotonic()

    def _begin(self, journal: Journal) -> Replica:
        """Return a replica from the snapshot, or else an empty one, and put the journal's cursor where it ends."""
        replica = load_snapshot(self.root, journal)
        if replica is None:
            journal.seek(journal.manifest.segments[0], 0, 0)
            replica = Replica(journal.manifest)
        return replica

    def forget(self) -> None:
        """Discard the replica's state, so that the next use reads everything again."""
        self.replica.manifest = _NOTHING
        self.caught_up = -math.inf

    def begin_segment(self, *, spare: int = 0) -> None:
        """Seal the live segment and begin another. Needs the exclusive lock."""
        self.journal.begin_segment(spare=spare)
        self.replica.manifest = self.journal.manifest

    def quarantine(self, folder: files.Directory, name: str) -> None:
        """Move a file to the quarantine, where nothing reads or removes it; a name that is taken gets a number."""
        with closing(self.root.directory(QUARANTINE)) as quarantine:
            names = quarantine.names()
            candidates = (f"{name}.{number}" if number else name for number in itertools.count())
            folder.move(name, quarantine, next(each for each in candidates if each not in names))

    def read(self, place: Place, limit: int | None) -> bytes:
        """Return the content of a message, or its first `limit` octets. Needs no lock.

        Raises:
            FileNotFoundError: if it is not there any more.
            RecordError: if it is damaged.
        """
        line = self.journal.line(place.segment, place.offset, place.length)
        prefix, body = decode_content(line, place.copy)
        if not isinstance(body, bytes):
            body = read_blob(self.blobs, body, None if limit is None else max(0, limit - len(prefix)))
        return (prefix + body)[:limit]
