"""Maintenance of a store: count what it holds, check that all of it can be read, and remove what cannot.

Everything here works beside a running server, and blocks: a task calls it in a thread. A check holds the housekeeping
lock, so that nothing is removed while it reads; it changes nothing, and mail is accepted and read meanwhile.

A check reads the store twice. Reading the journal, record by record, also finds damage in records that nobody needs any
more. Reading the messages takes the same path as a client's request. A message whose record was damaged before any
process read it is in no index, so only the first reading finds it.

All functions raise StoreUnavailable if there is no store that can be used, and OSError.
"""

from __future__ import annotations

import errno
import os
from collections import defaultdict
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from trio_smtp.mailbox.json_file import files
from trio_smtp.mailbox.json_file.database import QUARANTINE, Database
from trio_smtp.mailbox.json_file.housekeeping import Housekeeper
from trio_smtp.mailbox.json_file.journal import MANIFEST, Journal, segment_name, segment_number
from trio_smtp.mailbox.json_file.records import decode, parse
from trio_smtp.mailbox.json_file.replica import Damage, why
from trio_smtp.mailbox.json_file.snapshot import SNAPSHOT
from trio_smtp.mailbox.json_file.values import RecordError
from trio_smtp.mailbox.json_file.writer import Writer
from trio_smtp.mailbox.operations import AddMessages
from trio_smtp.mailbox.store import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from trio_smtp.mailbox.json_file.records import Place
    from trio_smtp.mailbox.operations import NewMessage

    Advance = Callable[[float], object]
    """Called with the share that is done, from 0 to 1."""

_CHUNK = 1024 * 1024  # octets


class StoreInfo(NamedTuple):
    """What a store holds, in numbers.

    Attributes:
        live: octets of the messages.
        dead: octets that a compaction would free, roughly.
        segments: files of the journal.
        blobs: large bodies in files of their own.
        octets: size of all these files and of the snapshot.
        snapshot: octets of the snapshot, 0 if there is none.
        damage: places of the journal that are known to be damaged; `check_store` looks for more.
        quarantined: files in quarantine.
    """

    accounts: int
    mailboxes: int
    messages: int
    live: int
    dead: int
    segments: int
    blobs: int
    octets: int
    snapshot: int
    damage: int
    quarantined: int


class Fault(NamedTuple):
    """Something that cannot be read: it is damaged or missing, the disk cannot read it, or it is not a regular file.

    Attributes:
        file: relative to the directory of the store.
        offset: where the record begins in it.
        octets: how long the record is.
        messages: account, mailbox and UID of each message that cannot be read because of it.
    """

    file: str
    offset: int
    octets: int
    reason: str
    messages: list[tuple[str, str, int]]


class Checked(NamedTuple):
    """The result of a check.

    Attributes:
        unneeded: blobs that no message needs any more; they are no damage, and a compaction removes them.
    """

    records: int
    messages: int
    unneeded: int
    faults: list[Fault]


class Quarantined(NamedTuple):
    """A file in quarantine: a segment of the journal with a damaged record in it, or the body of one message."""

    name: str
    octets: int


def get_info(path: str | os.PathLike[str]) -> StoreInfo:
    """Count what is in a store."""
    with closing(Database(os.fspath(path), create=False, without_lost=True)) as database:
        replica = database.replica
        accounts = replica.index.accounts()
        mailboxes = [box for account in accounts for box in replica.index.mailboxes(account.name)]
        snapshot = _size(database.root, SNAPSHOT)
        return StoreInfo(
            accounts=len(accounts),
            mailboxes=len(mailboxes),
            messages=sum(box.messages for box in mailboxes),
            live=replica.live(),
            dead=replica.dead,
            segments=len(replica.manifest.segments),
            blobs=len(database.blobs.names()),
            octets=_octets(database),
            snapshot=snapshot,
            damage=sum(damage.segment in replica.manifest.segments for damage in replica.damage),
            quarantined=len(list_quarantine(path)),
        )


def compact_store(path: str | os.PathLike[str], advance: Advance = lambda _: None) -> tuple[int, int]:
    """Free the space of what was deleted; returns the octets of the files before and afterwards."""
    with _housekeeping(path, without_lost=False) as (database, housekeeper):
        before = _octets(database)
        housekeeper.compact(advance)
        return before, _octets(database)


def check_store(path: str | os.PathLike[str], advance: Advance = lambda _: None) -> Checked:
    """Read every record and every body."""
    with closing(Database(os.fspath(path), create=False, without_lost=True)) as database:
        files.lock(database.segments.fd, exclusive=True)  # until it is closed
        return _Check(database, advance).run()


def repair_store(
    path: str | os.PathLike[str], faults: Iterable[Fault], advance: Advance = lambda _: None
) -> list[Quarantined]:
    """Remove what cannot be read from a store, and return the files that went to quarantine.

    A message that cannot be read is in no mailbox afterwards, and its UID is not used again. The damaged file is kept
    as it is. A crash leaves the store either unrepaired or repaired; another repair does the rest.

    Args:
        faults: what `check_store` has found.
    """
    before = list_quarantine(path)
    damage = [
        Damage(segment, fault.offset, fault.octets, fault.reason)
        for fault in faults
        if (segment := segment_number(Path(fault.file).name)) is not None
    ]
    with _housekeeping(path, without_lost=True) as (_, housekeeper):
        housekeeper.repair(damage, advance)
    return [each for each in list_quarantine(path) if each not in before]


def list_quarantine(path: str | os.PathLike[str]) -> list[Quarantined]:
    """List the files in quarantine, even if the store is unusable otherwise."""
    with _quarantine(path) as folder:
        return [] if folder is None else [Quarantined(name, folder.stat(name).st_size) for name in folder.names()]


def export_quarantine(path: str | os.PathLike[str], output: Path) -> list[Quarantined]:
    """Copy the files in quarantine to a new or empty directory. The originals stay where they are.

    Raises:
        FileExistsError: if `output` contains anything, or is no directory.
    """
    listed = list_quarantine(path)
    with _quarantine(path) as folder:
        output.mkdir(mode=0o700, exist_ok=True)
        if any(output.iterdir()):
            raise FileExistsError(errno.EEXIST, "the directory is not empty", str(output))
        if folder is not None:
            with closing(files.Directory.at(os.fspath(output), create=False)) as copies:
                for name, _ in listed:
                    copies.publish(name, _pieces(folder, name))
    return listed


# --- parts


@contextmanager
def _housekeeping(path: str | os.PathLike[str], *, without_lost: bool) -> Iterator[tuple[Database, Housekeeper]]:
    with ExitStack() as opened:
        database = opened.enter_context(closing(Database(os.fspath(path), create=False, without_lost=without_lost)))
        writer = opened.enter_context(closing(Writer(database)))
        yield database, opened.enter_context(closing(Housekeeper(database, writer)))


@contextmanager
def _quarantine(path: str | os.PathLike[str]) -> Iterator[files.Directory | None]:
    with closing(files.Directory.at(os.fspath(path), create=False)) as root:
        names = root.names()
        if MANIFEST not in names:
            raise StoreUnavailable("there is no store")
        if QUARANTINE not in names:
            yield None
            return
        with closing(root.directory(QUARANTINE)) as folder:
            yield folder


def _pieces(folder: files.Directory, name: str) -> Iterator[bytes]:
    with folder.opened(name) as fd:
        offset = 0
        while piece := files.read_at(fd, offset, _CHUNK):
            yield piece
            offset += len(piece)


def _octets(database: Database) -> int:
    folders = (database.segments, database.blobs)
    return sum(_size(folder, name) for folder in folders for name in folder.names()) + _size(database.root, SNAPSHOT)


def _size(folder: files.Directory, name: str) -> int:
    with suppress(FileNotFoundError):  # it was removed meanwhile, or never there
        return folder.stat(name).st_size
    return 0


class _Check:
    """One check, under the housekeeping lock."""

    def __init__(self, database: Database, advance: Advance) -> None:
        self._database = database
        self._advance = advance
        self._done, self._total = 0, 1  # octets
        self._records = 0
        self._faults: dict[tuple[str, int], Fault] = {}

    def run(self) -> Checked:
        database = self._database
        blobs = list(self._unheld_blobs())  # before the refresh, so that it reads all records that name them
        database.refresh()
        replica = database.replica  # nothing changes it from now on
        segments = replica.manifest.segments
        self._total += sum(_size(database.segments, segment_name(number)) for number in segments) + replica.live()
        self._read_snapshot()
        self._read_journal()
        good = self._read_messages()
        for damage in replica.damage:
            # Damage found earlier counts, unless a message there was read just now: its blob may have been restored.
            if damage.segment in segments and damage.offset not in good[damage.segment]:
                self._add(*damage)
        unneeded = len(set(blobs) - replica.blobs())
        return Checked(self._records, replica.index.count(), unneeded, sorted(self._faults.values()))

    def _unheld_blobs(self) -> Iterator[str]:
        for name in self._database.blobs.names():
            with suppress(OSError), self._database.blobs.opened(name) as fd:  # reported later if a message needs it
                if files.try_lock(fd):  # nobody is writing it
                    yield name

    def _read_snapshot(self) -> None:
        with suppress(FileNotFoundError), self._database.root.opened(SNAPSHOT) as fd:
            for offset, line in files.lines(fd, 0, files.size(fd)):
                try:
                    parse(line)
                except RecordError as error:
                    self._faults[SNAPSHOT, offset] = Fault(SNAPSHOT, offset, len(line), str(error), [])

    def _read_journal(self) -> None:
        """Read the records that the index knows; behind them, another process may be writing."""
        database = self._database
        live, end = database.journal.segment, database.journal.end
        with closing(Journal(database.root, database.segments)) as journal:
            journal.manifest = database.replica.manifest
            journal.seek(journal.manifest.segments[0], 0, 0)
            try:
                for segment, offset, line in journal.read_on(sync=False, until=(live, end)):
                    self._records += 1
                    self._advance_by(len(line))
                    try:
                        decode(line, segment, offset)
                    except RecordError as error:
                        self._add(segment, offset, len(line), str(error))
            except OSError as error:  # a whole segment; `_read_messages` reports its messages
                missing = segment_number(str(error.filename))
                self._add(missing or journal.segment, 0 if missing else journal.end, 0, why(error))

    def _messages(self) -> Iterator[NewMessage[Place]]:
        for operation in self._database.replica.index.dump():
            if isinstance(operation, AddMessages):
                yield from operation.messages

    def _read_messages(self) -> defaultdict[int, set[int]]:
        """Read each content once, and return the offsets of the undamaged ones, by segment."""
        good = defaultdict[int, set[int]](set)
        for message in self._messages():
            self._advance_by(message.size)
            place = message.body
            fault = self._faults.get((_file(place.segment), place.offset))
            if fault is None and place.offset not in good[place.segment]:
                try:
                    self._database.read(place, None)
                    good[place.segment].add(place.offset)
                except (OSError, RecordError) as error:
                    fault = self._add(place.segment, place.offset, place.length, why(error))
            if fault is not None:
                fault.messages.append((message.account, message.mailbox, message.uid))
        return good

    def _add(self, segment: int, offset: int, octets: int, reason: str) -> Fault:
        file = _file(segment)
        return self._faults.setdefault((file, offset), Fault(file, offset, octets, reason, []))

    def _advance_by(self, octets: int) -> None:
        self._done += octets
        self._advance(self._done / self._total)


def _file(segment: int) -> str:
    return f"journal/{segment_name(segment)}"
