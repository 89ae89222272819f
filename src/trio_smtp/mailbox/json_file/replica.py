"""The replica: the index that this process has built from the journal.

A thread that changes a replica holds the lock of the store, so two threads never do so at once. But the event loop
reads it without that lock; so `mutex` is held for each change and each look-up, always for a moment only.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, NamedTuple, cast

from trio_smtp.mailbox.index import Index
from trio_smtp.mailbox.json_file import files
from trio_smtp.mailbox.json_file.journal import Manifest, segment_name
from trio_smtp.mailbox.json_file.lost import taken_for_granted
from trio_smtp.mailbox.json_file.places import Places
from trio_smtp.mailbox.json_file.records import Place, decode
from trio_smtp.mailbox.json_file.values import RecordError
from trio_smtp.mailbox.operations import (
    AddMessages,
    DeleteAccount,
    DeleteMailbox,
    DeleteMessage,
    SpendUids,
    SpendUidValidities,
)
from trio_smtp.mailbox.store import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from trio_smtp.mailbox.operations import Operation

_log = logging.getLogger(__name__)

_MAX_DAMAGE = 1000  # places that are remembered
_LEAST = 90  # octets, at least, of a record that assigns a UID or a uid_validity
_MOST = 96 * 1024 * 1024  # octets, at most, of a segment that the writer fills; it is sealed long before


class Damage(NamedTuple):
    """A place in the journal where the record or the blob that it names cannot be read."""

    segment: int
    offset: int
    length: int
    reason: str


def why(error: OSError | RecordError) -> str:
    """Return what is wrong with a place that cannot be read. Raises the error if it may be temporary."""
    if isinstance(error, FileNotFoundError):
        return f"{error.filename} is missing or empty"
    if isinstance(error, OSError):
        if not files.is_broken(error):
            raise error
        return files.reason(error)
    return str(error)


class Replica:
    """An index, and what else was learnt from the journal.

    Attributes:
        manifest: the segments that were read.
        dead: octets that a compaction would free, roughly: those of removed content and of records whose effect is
            in the index.
        unsaved: octets of the journal that the last snapshot does not cover.
        watcher: called with each operation that was applied.
        damage: the damage found: the first thousand places, and the first in each segment. A damaged segment is never
            removed, only moved to quarantine.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.index = Index[Place](Places)
        self.mutex = threading.Lock()
        self.watcher: Callable[[Operation[Place]], None] = lambda _: None
        self.dead = 0
        self.unsaved = 0
        self.damage: list[Damage] = []

    def replay(self, segment: int, offset: int, line: bytes) -> bool:
        """Apply what a line of the journal records; return False if that is impossible.

        An intact line that does not fit the state is reported as damage, too: a record before it was lost.
        """
        try:
            operation = decode(line, segment, offset)
            if operation is None:
                self.unsaved += len(line)
                return True
            try:
                self.apply(operation, len(line))
            except StoreError as error:
                self.report(Damage(segment, offset, len(line), str(error)))
                for each in taken_for_granted(self.index, operation):
                    self.apply(each, 0)
                self.apply(operation, len(line))
        except (RecordError, StoreError) as error:
            self.report(Damage(segment, offset, len(line), str(error)))
            return False
        return True

    def replay_all(self, records: Iterable[tuple[int, int, bytes]]) -> int:
        """Apply what lines of the journal record, and burn the UIDs of damaged ones; return the number of lines."""
        done = lost = replaced = 0
        try:
            for segment, offset, line in records:
                done += 1
                if not self.replay(segment, offset, line):
                    lost += len(line)
                    if segment == self.manifest.segments[0]:
                        replaced = (segment - 1) * _MOST
                    self._burn_uid_validities(len(line), replaced)  # before a later line implies a mailbox
        finally:  # after an error, too: the next call begins behind these lines
            if lost:
                self._burn_uids(lost, replaced)
        return done

    def apply(self, operation: Operation[Place], octets: int) -> None:
        """Apply an operation, whose record has this many octets. Raises a StoreError if it does not fit."""
        self.unsaved += octets
        with self.mutex:
            match operation:
                case AddMessages():
                    self.index.apply(operation)
                case DeleteAccount(name):
                    used = self.index.account(name).used
                    self.index.apply(operation)
                    self.dead += octets + used
                case DeleteMailbox(account) | DeleteMessage(account):
                    used = self.index.account(account).used
                    self.index.apply(operation)
                    self.dead += octets + used - self.index.account(account).used
                case _:
                    self.index.apply(operation)
                    self.dead += octets
        self.watcher(operation)

    def live(self) -> int:
        """Return the octets of content that are not dead."""
        return sum(account.used for account in self.index.accounts())

    def blobs(self) -> set[str]:
        """Return the names of the blobs that messages need."""
        return {blob for column in self.index.columns() for blob in cast("Places", column).blobs if blob is not None}

    def burn_uids(self, octets: int, replaced: int = 0) -> None:
        """Skip the UIDs that lost records may have assigned, at most one per mailbox and record, and as many values of
        uid_validity, because a mailbox whose creation was lost may be created again.

        Args:
            octets: of the lost records.
            replaced: octets, at most, of the segments that a compaction replaced, if it made the segment with the
                lost records: these may be the ones that say which UIDs had been assigned.
        """
        self._burn_uid_validities(octets, replaced)
        self._burn_uids(octets, replaced)

    def _burn_uid_validities(self, octets: int, replaced: int) -> None:
        more, before = 1 + octets // _LEAST, 1 + replaced // _LEAST
        with self.mutex:
            self.index.apply(SpendUidValidities(max(self.index.uid_validity() + more, before)))

    def _burn_uids(self, octets: int, replaced: int) -> None:
        more, before = 1 + octets // _LEAST, 1 + replaced // _LEAST
        for account in self.index.accounts():
            with self.mutex:
                for box in self.index.mailboxes(account.name):
                    self.index.apply(SpendUids(account.name, box.name, max(box.uid_next + more, before)))

    def report(self, damage: Damage) -> None:
        """Remember damage and log it, unless it is known."""
        is_first = all(damage.segment != each.segment for each in self.damage)
        if is_first or (len(self.damage) < _MAX_DAMAGE and damage not in self.damage):
            self.damage.append(damage)
            _log.error(
                "damage in %s at %d, %d octets: %s",
                segment_name(damage.segment), damage.offset, damage.length, damage.reason,
            )  # fmt: skip
