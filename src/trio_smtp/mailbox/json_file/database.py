"""One store as one process has it open: lock, journal, replica and blobs, and how they go together.

All of it blocks and belongs into threads, but for `is_current` and a look at the replica. What the machine refuses is
an `OSError` here.
"""

from __future__ import annotations

import itertools
import math
import threading
import time
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import TYPE_CHECKING

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

    from trio_smtp.mailbox.json_file.records import Place

_BEFORE_MANIFEST = {"gate", "lock", "journal", "blobs", f"{MANIFEST}.new"}  # what making a store may have left
_OTHERS_MAY_WRITE = 0o022
_NOTHING = Manifest("", ())


class Database:
    """The files of a store, open until `close`.

    Args:
        path: the directory of the store.
        create: make the store if there is none: if nothing has the path, or the directory is empty.
        without_lost: open it even where files of the journal are lost, and with them nobody knows which accounts. A
            server must not: it would tell senders that there are no such people.

    Raises:
        StoreUnavailable: there is no store, or not one that can be trusted.
        OSError: it cannot be opened.
    """

    def __init__(self, path: str, *, create: bool, without_lost: bool = False) -> None:
        with ExitStack() as opened:
            self.root = files.Directory.at(path, create=create)
            opened.callback(self.root.close)
            if self.root.mode() & _OTHERS_MAY_WRITE:
                raise StoreUnavailable("the directory can be written by others (chmod go-w is what it needs)")
            is_new = self._is_new(create)
            self._lock = StoreLock(self.root)
            opened.callback(self._lock.close)
            self.segments = self.root.directory("journal")
            opened.callback(self.segments.close)
            self.blobs = self.root.directory("blobs")
            opened.callback(self.blobs.close)
            self.journal = Journal(self.root, self.segments, without_lost=without_lost)
            opened.callback(self.journal.close)
            self.replica = Replica(_NOTHING)
            self._prepared: tuple[Replica, tuple[int, int, int]] | None = None
            self._preparing = threading.Lock()
            self._watchers = Watchers()  # none so far
            self._writing = False
            self.caught_up = -math.inf  # when, by `time.monotonic`, the replica was last current for certain
            if not is_new:
                self._prepare()
            with self._lock.hold(exclusive=is_new) as writer_died:
                if is_new and self._is_new(create):  # still
                    self.journal.create()
                self._catch_up(writer_died)
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

    def watch(self, watchers: Watchers) -> None:
        """Let these be told of changes from now on."""
        self._watchers = watchers
        self.replica.watcher = watchers.tell

    def adopt(self, replica: Replica) -> None:
        """Go on with another replica, which may have been made without anybody being told."""
        replica.watcher = self.replica.watcher
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
            with self._lock.hold(exclusive=False) as writer_died:
                self._catch_up(writer_died)

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the lock to write, the replica current and the cursor of the journal at its end."""
        if self.journal.is_replaced():
            self._prepare()
        with self._lock.hold(exclusive=True) as writer_died:
            if self.is_current():  # as it is nearly always; all of what follows is for nothing then
                self.caught_up = time.monotonic()
            else:
                self._catch_up(writer_died)
                if torn := self.journal.cut_torn():
                    self.replica.burn_uids(torn)
            self._writing = True
            try:
                with self._half_done():
                    yield
            finally:
                self._writing = False

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
        """Make another replica if one is needed: at first, and after a compaction by another process.

        That takes long in a large store, and the lock keeps writers waiting. So it is held for a moment only, to see
        how far the records go that count; what comes behind them is read when it is held for good.
        """
        with self._preparing, closing(Journal(self.root, self.segments)) as journal, suppress(OSError):
            with self._lock.hold(exclusive=False) as writer_died:
                journal.load()
                end = journal.find_end()
            is_needed = self._prepared is None and not journal.manifest.begins_with(self.replica.manifest)
            if is_needed and end is not None:
                replica = self._begin(journal)
                replica.replay_all(journal.read_on(sync=writer_died, until=end))
                replica.manifest = journal.manifest
                self._prepared = replica, (journal.segment, journal.last, journal.end)

    def _catch_up(self, writer_died: bool) -> None:
        self.journal.load()
        replica = self.replica
        prepared, self._prepared = self._prepared, None
        is_another = not self.journal.manifest.begins_with(replica.manifest)
        if is_another:
            if prepared is not None and self.journal.manifest.begins_with(prepared[0].manifest):
                replica = prepared[0]
                self.journal.seek(*prepared[1])
            else:
                replica = self._begin(self.journal)
        with self._half_done():
            try:
                replica.replay_all(self.journal.read_on(sync=writer_died))
            except FileNotFoundError as error:
                raise StoreUnavailable(f"{why(error)}; restore it, or repair the store") from None
        replica.manifest = self.journal.manifest
        if is_another:
            self.adopt(replica)
            self._watchers.tell_missed()
        self.caught_up = time.monotonic()

    def _begin(self, journal: Journal) -> Replica:
        """A replica to read on with, which goes as far as the journal was read."""
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
