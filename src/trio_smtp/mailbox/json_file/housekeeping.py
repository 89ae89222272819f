"""Housekeeping keeps the directory small and the store fast to open: snapshots, compaction, removal of leftovers.

Only one process at a time does any of this; it holds an flock on the directory of the segments. Housekeeping runs in a
background thread when many octets were written or became dead since the last time. What dead processes left is removed
with the first change that a process makes.

A segment with damage is not removed but moved to `quarantine/`. A repair is a compaction that reads everything.
"""

from __future__ import annotations

import logging
import threading
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from trio_smtp.mailbox.json_file import files
from trio_smtp.mailbox.json_file.blobs import OldBlob, old_blobs
from trio_smtp.mailbox.json_file.compaction import Compaction
from trio_smtp.mailbox.json_file.journal import segment_number
from trio_smtp.mailbox.json_file.snapshot import SNAPSHOT, Snapshot
from trio_smtp.mailbox.store import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from trio_smtp.mailbox.json_file.database import Database
    from trio_smtp.mailbox.json_file.replica import Damage
    from trio_smtp.mailbox.json_file.writer import Writer

DUE = 64 * 1024 * 1024  # octets, written or dead since the last time, after which housekeeping runs
SAVE_ON_CLOSE = 4 * 1024 * 1024  # octets written since the last snapshot, after which `close` saves one

_FEW = 100  # records, about, that a compaction leaves to be replayed under the lock
_ROUNDS = 10  # attempts to get there: records may arrive as fast as they are replayed
_BLOBS = 20  # old blobs that are open at a time

_log = logging.getLogger(__name__)


class _Garbage(NamedTuple):
    """What nobody needs: names of segments, each with whether it is damaged; and blobs."""

    segments: list[tuple[str, bool]]
    blobs: list[OldBlob]


class Housekeeper:
    """The housekeeping of one store in one process."""

    def __init__(self, database: Database, writer: Writer) -> None:
        self._database = database
        self._writer = writer
        self._busy = threading.Lock()
        self._thread: threading.Thread | None = None
        self._swept = False
        self._dead_before = database.replica.dead
        self._stopping = False
        writer.after_group = self._after_group

    def compact(self, advance: Callable[[float], object] = lambda _: None) -> None:
        """Compact now, once no other process does housekeeping. Raises OSError, StoreUnavailable.

        Args:
            advance: called with the share that is done, from 0 to 1.
        """
        with self._alone():
            self._compact(advance)

    def repair(self, damage: Iterable[Damage], advance: Callable[[float], object]) -> None:
        """Like `compact`, but drop what cannot be read, and quarantine it and the segments that `damage` names."""
        with self._alone():
            self._writer.run(lambda: self._report(damage))
            self._compact(advance, thorough=True)
            self._writer.run(self._forget_quarantined)
            self._save()

    def close(self) -> None:
        """Stop housekeeping that is under way, and save a snapshot if that is worth while."""
        self._stopping = True
        if self._thread is not None:
            self._thread.join()
        with self._busy:
            pass  # by now, a running `compact` has stopped, too
        if self._database.replica.unsaved >= SAVE_ON_CLOSE and self._database.root.is_writable():
            self._try(self._save)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with self._busy:
            try:
                files.lock(self._database.segments.fd, exclusive=True)
                yield
            finally:
                files.unlock(self._database.segments.fd)

    # --- when

    def _after_group(self) -> None:
        replica = self._database.replica
        if not self._swept:
            self._swept = True
            self._try(lambda: self._remove(self._garbage()))  # more than a few blobs are left to `_sweep`
        self._dead_before = min(self._dead_before, replica.dead)  # a compaction lowers it
        is_due = max(replica.unsaved, replica.dead - self._dead_before) >= DUE
        if is_due and not (self._stopping or self._busy.locked()):
            replica.unsaved, self._dead_before = 0, replica.dead  # so a failure is not retried at once
            thread = threading.Thread(target=self._try, args=[self._tidy], name="mail store housekeeper", daemon=True)
            with suppress(RuntimeError):  # the system can start no thread
                thread.start()
                self._thread = thread

    def _try(self, task: Callable[[], object]) -> None:
        """Run a task, unless another thread or process does housekeeping."""
        try:
            if not self._busy.acquire(blocking=False):
                return
            with ExitStack() as held:
                held.callback(self._busy.release)
                held.callback(files.unlock, self._database.segments.fd)
                if files.try_lock(self._database.segments.fd):
                    task()
        except (OSError, StoreError, MemoryError) as error:
            _log.warning("housekeeping in the mail store failed: %s", str(error) or repr(error))

    # --- what

    def _tidy(self) -> None:
        if self._writer.run(self._is_wasteful):
            self._compact(lambda _: None)
        else:
            self._save()
            self._sweep()

    def _is_wasteful(self) -> bool:
        replica = self._database.replica
        return replica.dead >= max(DUE, replica.live())

    def _save(self) -> None:
        self._writer.run(self._copy_index).write(self._database.root)

    def _copy_index(self) -> Snapshot:
        self._database.replica.unsaved = 0
        return Snapshot.take(self._database.replica, self._database.journal)

    def _sweep(self) -> None:
        """Remove what nobody needs, a few blobs at a time. The lock is held only to find them."""
        while self._remove(self._writer.run(self._garbage)) == _BLOBS and not self._stopping:
            pass

    def _garbage(self) -> _Garbage:
        """Find what nobody needs or ever will. Needs the exclusive lock."""
        database = self._database
        live = set(database.journal.manifest.segments)
        damaged = {damage.segment for damage in database.replica.damage}
        segments = [
            (name, number in damaged)
            for name in database.segments.names()
            if (number := segment_number(name)) is not None and number not in live
        ]
        return _Garbage(segments, old_blobs(database.blobs, database.replica.blobs, _BLOBS))

    def _remove(self, garbage: _Garbage) -> int:
        """Remove garbage; return how many blobs are gone. Those that cannot be removed are left to the next time."""
        database = self._database
        gone = [blob.remove() for blob in garbage.blobs]
        database.root.discard_draft(SNAPSHOT)
        for name, is_damaged in garbage.segments:
            if is_damaged:
                database.quarantine(database.segments, name)
            else:
                database.segments.unlink(name)
        return sum(gone)

    # --- compaction

    def _compact(self, advance: Callable[[float], object], *, thorough: bool = False) -> None:
        compaction = Compaction(
            self._database,
            self._writer.run(self._seal),  # no other reference, so that the compaction can free it
            lambda: self._stopping,
            advance=advance,
            thorough=thorough,
        )
        compaction.write()
        self._follow(compaction)
        compaction.save()
        self._follow(compaction)
        self._writer.run(compaction.count)
        self._sweep()

    def _follow(self, compaction: Compaction) -> None:
        for _ in range(_ROUNDS):
            if compaction.follow(self._writer.run(self._end)) < _FEW:
                return

    def _seal(self) -> Snapshot:
        self._database.begin_segment(spare=1)
        return self._copy_index()

    def _end(self) -> tuple[int, int]:
        return self._database.journal.segment, self._database.journal.end

    def _report(self, damage: Iterable[Damage]) -> None:
        for each in damage:
            self._database.replica.report(each)

    def _forget_quarantined(self) -> None:
        replica = self._database.replica
        replica.damage = [each for each in replica.damage if each.segment in replica.manifest.segments]
