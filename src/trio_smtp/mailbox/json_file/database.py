"""One store as one process has it open: lock, journal, replica and blobs, and how they go together.

What a process knows of a store is its replica. As long as nobody has written since, which two calls of stat tell, that
is how things are (`is_current`). Otherwise it must catch up: it does, under the lock, what the journal says behind the
cursor. `refresh` sees to that for those who want to look, `exclusive` for those who want to write.

After a compaction by another process the cursor is in a segment that does not count any more, and in the beginning it
is nowhere. Then another replica takes the place of this one, made of the snapshot and the records behind it. In a large
store that takes long, and writers would have to wait; so all but the end of it is done in advance, without the lock.

All of it blocks and belongs into threads, but for `is_current` and a look at the replica. What the machine refuses is
an `OSError` here.
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

_BEFORE_MANIFEST = {"gate", "lock", "journal", "blobs", f"{MANIFEST}.new"}  # what making a store may have left
_OTHERS_MAY_WRITE = 0o022
_NOTHING = Manifest("", ())


class _Prepared(NamedTuple):
    """A replica that was made in advance, and where the last record that it knows begins and ends."""

    replica: Replica
    segment: int
    last: int
    end: int


class Database:
    """The files of a store, open until `close`.

    Args:
        path: the directory of the store.
        create: make the store if there is none: if nothing has the path, or the directory is empty. Otherwise one that
            is read-only will do.
        without_lost: open it even where files of the journal are lost, and with them nobody knows which accounts. A
            server must not: it would tell senders that there are no such people.
        watchers: those who want to be told of changes.

    Attributes:
        root: the directory of the store.
        segments, blobs: those in it.
        journal: its cursor is behind what the replica knows.
        replica: another one takes its place now and then, so who needs it twice keeps it.
        caught_up: when, by `time.monotonic`, it was last current for certain.

    Raises:
        StoreUnavailable: there is no store, or not one that can be trusted.
        OSError: it cannot be opened.
    """

    def __init__(
        self, path: str, *, create: bool, without_lost: bool = False, watchers: Watchers | None = None
    ) -> None:
        with ExitStack() as opened:
            self.root = opened.enter_context(closing(files.Directory.at(path, create=create)))
            if self.root.mode() & _OTHERS_MAY_WRITE:
                raise StoreUnavailable("the directory can be written by others (chmod go-w is what it needs)")
            is_new = self._is_new(create)
            self._lock = opened.enter_context(closing(StoreLock(self.root, to_read=not create)))
            self.segments = opened.enter_context(closing(self.root.directory("journal")))
            self.blobs = opened.enter_context(closing(self.root.directory("blobs")))
            self.journal = opened.enter_context(closing(Journal(self.root, self.segments, without_lost=without_lost)))
            self.replica = Replica(_NOTHING)
            self.caught_up = -math.inf
            self._prepared: _Prepared | None = None
            self._preparing = threading.Lock()
            self._watchers = watchers or Watchers()
            self._writing = False
            self._note = b""  # what this process has left beside the lock
            if not is_new:
                self._prepare()
            with self._lock.hold(exclusive=is_new) as lock:
                if is_new and self._is_new(create):  # still
                    self.journal.create()
                self._catch_up(lock)
            self._opened = opened.pop_all()

    def _is_new(self, create: bool) -> bool:
        names = set(self.root.names())
        if MANIFEST in names:
            return False
        if self._has_mail(names):
            if MANIFEST in self.root.names():  # by now: whoever makes a store makes that before there is mail
                return False
            raise StoreUnavailable(NO_MANIFEST)
        if not create:
            raise StoreUnavailable("there is no store")
        if names - _BEFORE_MANIFEST:
            raise StoreUnavailable("the directory is neither a store nor empty")
        return True

    def _has_mail(self, names: set[str]) -> bool:
        """Whether there is more than what somebody leaves who dies while making a store."""
        if "journal" in names:
            with closing(self.root.directory("journal")) as segments:
                if has_records(segments):
                    return True
        if "blobs" not in names:
            return False
        with closing(self.root.directory("blobs")) as blobs:
            return bool(blobs.names())

    def close(self) -> None:
        """Let go of the files."""
        self._opened.close()

    def adopt(self, replica: Replica) -> None:
        """Go on with another replica. Nobody was told of what it did so far."""
        replica.watcher = self._watchers.tell
        self.replica = replica

    def is_current(self) -> bool:
        """Whether the replica has all that was committed; cheap, and needs no lock."""
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
        """Hold the lock to write, the replica current and the cursor of the journal at its end.

        Raises:
            StoreUnavailable: at the end, too: the journal is not sound.
        """
        if self.journal.is_replaced():
            self._prepare()
        with self._lock.hold(exclusive=True) as lock:
            if lock.note == self._note and self.is_current():  # as it is nearly always, where one process writes
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
            if not self.journal.is_sound():  # the mark in the lock stays, so the next one syncs what is there
                raise StoreUnavailable("a refused record may have been left behind")
            lock.note = self._note = self.journal.note()

    @contextmanager
    def _half_done(self) -> Iterator[None]:
        """Forget the index if anything but a file fails, memory above all: it may have been left with half a change."""
        try:
            yield
        except OSError:  # of a file: nothing is being changed meanwhile
            raise
        except BaseException:
            self.forget()
            raise

    def _prepare(self) -> None:
        """Make another replica in advance, if one is needed and nobody has made one.

        The lock is held for a moment only, to see how far the records go that count. Those that come then are left to
        `_catch_up`.
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
        """Do what the journal says behind the cursor, with another replica if this one does not lead there."""
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
                raise StoreUnavailable(f"{why(error)}; restore it, or repair the store") from None
        replica.manifest = self.journal.manifest
        if replica is not self.replica:
            self.adopt(replica)
            self._watchers.tell_missed()
        self.caught_up = time.monotonic()

    def _begin(self, journal: Journal) -> Replica:
        """A replica of the snapshot, or else an empty one, and the cursor of the journal behind what it knows."""
        replica = load_snapshot(self.root, journal)
        if replica is None:
            journal.seek(journal.manifest.segments[0], 0, 0)
            replica = Replica(journal.manifest)
        return replica

    def forget(self) -> None:
        """Read everything again when it is needed next."""
        self.replica.manifest = _NOTHING
        self.caught_up = -math.inf

    def begin_segment(self, *, spare: int = 0) -> None:
        """Seal the live segment and begin another. Needs the exclusive lock."""
        self.journal.begin_segment(spare=spare)
        self.replica.manifest = self.journal.manifest

    def quarantine(self, folder: files.Directory, name: str) -> None:
        """Put a file where nobody reads or removes it, beside what came there under the same name before."""
        with closing(self.root.directory("quarantine")) as quarantine:
            names = quarantine.names()
            candidates = (f"{name}.{number}" if number else name for number in itertools.count())
            folder.move(name, quarantine, next(each for each in candidates if each not in names))

    def read(self, place: Place, limit: int | None) -> bytes:
        """The content of a message, or its first `limit` octets; without the lock.

        Raises:
            FileNotFoundError: it is not there any more.
            RecordError: it is damaged.
        """
        line = self.journal.line(place.segment, place.offset, place.length)
        prefix, body = decode_content(line, place.copy)
        if not isinstance(body, bytes):
            body = read_blob(self.blobs, body, None if limit is None else max(0, limit - len(prefix)))
        return (prefix + body)[:limit]
