"""The snapshot: the index at some point of the journal, so that a store with much mail opens fast.

`index.jsonl` begins with a record that names the manifest, the position in the journal, the CRC-32 of the last record
before it, and what a `Replica` holds besides its index. Then come the operations of a dump, and last an `end`. The
snapshot only saves time: if anything in it does not fit, the journal is read instead.
"""

from __future__ import annotations

import logging
import zlib
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from trio_smtp.mailbox.json_file import files, values
from trio_smtp.mailbox.json_file.journal import Journal, Manifest
from trio_smtp.mailbox.json_file.pace import Pace
from trio_smtp.mailbox.json_file.records import Place, decode, encode, encode_mark, parse
from trio_smtp.mailbox.json_file.replica import Damage, Replica
from trio_smtp.mailbox.json_file.values import RecordError
from trio_smtp.mailbox.store import StoreError

if TYPE_CHECKING:
    from trio_smtp.mailbox.index import Index

SNAPSHOT = "index.jsonl"
_END = encode_mark("end")
_log = logging.getLogger(__name__)


class Position(NamedTuple):
    """A place between two records: the segment, where the record before it begins and ends, and its CRC-32."""

    segment: int
    last: int
    end: int
    crc: int


def position(journal: Journal) -> Position:
    """Return the position of the cursor. Needs the lock."""
    line = journal.line(journal.segment, journal.last, journal.end - journal.last)
    return Position(journal.segment, journal.last, journal.end, zlib.crc32(line))


class Snapshot(NamedTuple):
    """The contents of a snapshot."""

    manifest: Manifest
    position: Position
    dead: int
    damage: list[Damage]
    contents: Index[Place]

    @classmethod
    def take(cls, replica: Replica, journal: Journal) -> Snapshot:
        """Take a snapshot of a replica by copying it. Needs the lock."""
        return cls(journal.manifest, position(journal), replica.dead, replica.damage.copy(), replica.index.copy())

    def write(self, root: files.Directory) -> None:
        """Replace the snapshot file."""
        head = encode_mark(
            "snapshot",
            store=self.manifest.store,
            segments=self.manifest.segments,
            position=self.position,
            dead=self.dead,
            damage=self.damage,
        )
        root.publish(SNAPSHOT, chain([head], map(encode, Pace().over(self.contents.dump())), [_END]))


def load_snapshot(root: files.Directory, journal: Journal) -> Replica | None:
    """Make a replica from the snapshot and put the journal's cursor at its position; return None if it does not fit.

    Needs the lock.
    """
    try:
        with root.opened(SNAPSHOT) as fd:
            lines = files.lines(fd, 0, files.size(fd))
            head = parse(next(lines, (0, b""))[1])
            manifest = Manifest(values.text(head["store"]), values.numbers(head["segments"]))
            at = Position(*values.numbers(head["position"]))
            line = journal.line(at.segment, at.last, at.end - at.last)
            if (
                not journal.manifest.begins_with(manifest)
                or manifest.segments[-1] != at.segment
                or not line
                or zlib.crc32(line) != at.crc
            ):
                return None
            replica = Replica(manifest)
            replica.dead = values.number(head["dead"])
            replica.damage = [_damage(each) for each in values.array(head["damage"])]
            while (line := next(lines, (0, b""))[1]) != _END:
                operation = decode(line, 0, 0)
                if operation is not None:
                    replica.index.apply(operation)
    except FileNotFoundError:
        return None
    except (OSError, RecordError, StoreError, KeyError, IndexError, TypeError, ValueError) as error:
        _log.warning("the snapshot is of no use: %s", error)
        return None
    journal.seek(at.segment, at.last, at.end)
    return replica


def _damage(value: object) -> Damage:
    segment, offset, length, reason = values.array(value)
    return Damage(values.number(segment), values.number(offset), values.number(length), values.text(reason))
