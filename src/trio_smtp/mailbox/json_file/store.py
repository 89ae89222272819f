"""The interface of the store for tasks: blocking calls run in threads, under capacity limits of their own.

A look-up in the index stays in the event loop as long as no other process has written, which two calls of stat tell. A
change goes to the writer's thread. A body is collected in memory up to `INLINE` octets, and beyond that in a blob.
"""

from __future__ import annotations

import os
import threading
import time
from functools import lru_cache
from functools import partial as bind
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import trio

from trio_smtp.mailbox.headers import HEAD, summarise
from trio_smtp.mailbox.indexed import IndexedStore
from trio_smtp.mailbox.json_file import files
from trio_smtp.mailbox.json_file.blobs import NewBlob
from trio_smtp.mailbox.json_file.changes import NewMail, OperationChange
from trio_smtp.mailbox.json_file.database import Database
from trio_smtp.mailbox.json_file.housekeeping import Housekeeper
from trio_smtp.mailbox.json_file.records import Place
from trio_smtp.mailbox.json_file.replica import Damage
from trio_smtp.mailbox.json_file.values import RecordError
from trio_smtp.mailbox.json_file.writer import Writer
from trio_smtp.mailbox.store import Delivered, Delivery, MessageUnreadable, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from types import TracebackType
    from typing import Self

    from trio_smtp.mailbox.index import Index
    from trio_smtp.mailbox.operations import Operation
    from trio_smtp.mailbox.store import Account, Message, MessageInfo, MessageSummary, Search, StoreError, Target
    from trio_smtp.mailbox.watching import Watchers

R = TypeVar("R")

INLINE = 256 * 1024  # octets of a body that fit into the journal
_CLOSING = 30  # seconds that `aclose` waits for another process to release the lock
_A_MOMENT = 1.0  # seconds
_REMEMBERED = 1024  # messages whose header fields are kept for listings


class _Missing(Exception):
    """The contents of messages are not where the index had them: a compaction moved them, or they were deleted."""

    def __init__(self, *places: Place) -> None:
        super().__init__(*places)
        self.places = set(places)


class _Engine(NamedTuple):
    """The parts of an open store. `start` and `stop` block."""

    database: Database
    writer: Writer
    housekeeper: Housekeeper

    @classmethod
    def start(cls, path: str, create: bool, watchers: Watchers) -> _Engine:
        database = Database(path, create=create, watchers=watchers)
        writer = Writer(database)
        return cls(database, writer, Housekeeper(database, writer))

    def stop(self) -> None:
        self.housekeeper.close()
        self.writer.close()
        self.database.close()


class JSONFileStore(IndexedStore[Place]):
    """A `MailStore` in a directory, which several processes of one machine may share; not over a network.

    Nothing is opened before the first use or `async with`. A process that forks must not use its stores before that.

    Args:
        path: the directory.
        create: create a store if the path does not exist or is an empty directory. With False, a store on a read-only
            disk can be opened, too: it can be read, and changes raise StoreUnavailable.

    Raises:
        StoreUnavailable: on first use, if there is no store and `create` is False, something else is there, or others
            may write to the directory.
        RuntimeError: if a store was used before a fork and is used after it.
    """

    LOOK_EVERY = 0.2

    def __init__(self, path: str | os.PathLike[str], *, create: bool = True) -> None:
        super().__init__()
        self._path = os.fspath(path)
        self._create = create
        self._engine: _Engine | None = None
        self._pid = 0
        self._closed = False
        self._opening = trio.Lock()
        self._starting = threading.Lock()  # for `_engine` and `_closed`: a cancelled start goes on in its thread
        self._refreshing = trio.Lock()
        # Two limits, so that threads that read or write bodies do not delay look-ups.
        self._looks = trio.CapacityLimiter(4)
        self._bodies = trio.CapacityLimiter(8)
        self._remembered = lru_cache(_REMEMBERED)(self._read_header)
        self._lost: set[Place] = set()  # missing twice in a row, so no compaction has moved them

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except trio.Cancelled:  # its thread goes on, and nobody will close what it opens
            await self.aclose()
            raise
        return self

    @property
    def damage(self) -> Sequence[Damage]:
        """The damage that was found so far; everything else is served."""
        return () if self._engine is None else tuple(self._engine.database.replica.damage)

    async def compact(self) -> None:
        """Free the space of what was deleted. If this is cancelled, a thread goes on with it."""
        engine = self._running() or await self._start()
        await self._in_thread(engine.housekeeper.compact, self._bodies, abandon=True)

    async def aclose(self) -> None:
        if self._closed:
            return
        with self._starting:
            self._closed = True
            engine = self._engine
        await super().aclose()
        if engine is not None and self._pid == os.getpid():  # else they belong to the parent process
            with trio.CancelScope(shield=True, deadline=trio.current_time() + _CLOSING):
                try:
                    await self._in_thread(engine.stop, self._looks, abandon=True)
                except StoreUnavailable:  # the system can start no thread
                    engine.stop()

    async def get_message(self, account: str, mailbox: str, uid: int) -> Message:
        return await self._until_found(bind(super().get_message, account, mailbox, uid))

    async def _summaries(
        self, account: str, mailbox: str, search: Search | None, after: int, limit: int | None
    ) -> list[MessageSummary]:
        return await self._until_found(bind(super()._summaries, account, mailbox, search, after, limit))

    async def _until_found(self, read: Callable[[], Awaitable[R]]) -> R:
        """Read again if a compaction has moved the contents meanwhile, with what the index says then."""
        missing = set[Place]()
        while True:
            try:
                return await read()
            except _Missing as error:
                self._lost |= error.places & missing  # missing again, so no compaction has moved them
                missing = error.places

    async def find_recipient(self, address: str) -> Account | None:
        database = (self._running() or await self._start()).database
        if time.monotonic() - database.caught_up < _A_MOMENT:  # a refresh may wait for a commit of another process
            with database.replica.mutex:
                account = database.replica.index.find_account(address)
            if account is not None:
                return account
        return await self.find_account(address)

    # --- hooks of IndexedStore

    async def _look(self, look: Callable[[Index[Place]], R]) -> R:
        database = (self._running() or await self._start()).database
        if not database.is_current():
            since = time.monotonic()
            async with self._refreshing:  # one of many waiting tasks refreshes, and all go on
                if database.caught_up < since:
                    await self._in_thread(database.refresh, self._looks, abandon=True)
        replica = database.replica
        with replica.mutex:
            return look(replica.index)

    async def _commit(self, plan: Callable[[Index[Place]], tuple[Operation[Place], R]]) -> R:
        engine = self._running() or await self._start()
        return await engine.writer.commit(OperationChange(plan))

    def _delivery(
        self, targets: Sequence[Target], *, partial: bool, flags: frozenset[str], date: int | None
    ) -> Delivery:
        return _JSONDelivery(self, NewMail(targets, partial=partial, flags=flags, date=date))

    async def _run(self, function: Callable[[], R]) -> R:
        return await self._in_thread(function, self._bodies)

    def _read(self, body: Place, limit: int | None) -> bytes:
        assert self._engine is not None  # because the place comes from it
        database = self._engine.database
        try:
            return database.read(body, limit)
        except FileNotFoundError as error:
            if body not in self._lost:
                raise _Missing(body) from error
            reason = "its file is missing"
        except RecordError as error:
            reason = str(error)
        except OSError as error:
            if not (files.is_broken(error) or isinstance(error, PermissionError)):
                raise  # a lack of resources, which affects all messages
            raise MessageUnreadable(files.reason(error)) from error  # no damage: it may be readable the next time
        database.replica.report(Damage(body.segment, body.offset, body.length, reason))
        raise MessageUnreadable(reason)

    def _shown(self, body: Place) -> tuple[str, str, str]:
        try:
            return self._remembered(body)
        except MessageUnreadable:
            return summarise(b"")

    def _read_header(self, body: Place) -> tuple[str, str, str]:
        return summarise(self._read(body, HEAD))

    def _select(self, page: list[tuple[MessageInfo, Place]], search: Search | None) -> list[MessageSummary]:
        try:
            return super()._select(page, search)
        except _Missing:  # report all missing places at once, as the listing starts again each time
            raise _Missing(*(place for _, place in page if self._is_missing(place))) from None

    def _is_missing(self, place: Place) -> bool:
        try:
            self._skim(place, 0)
        except _Missing:
            return True
        return False

    # --- engine room

    def _running(self) -> _Engine | None:
        if self._engine is None or self._closed:
            return None
        if self._pid != os.getpid():
            raise RuntimeError("a store that was used before a fork cannot be used in the child; open it again there")
        return self._engine

    async def _start(self) -> _Engine:
        async with self._opening:
            if self._running() is None and not self._closed:
                await self._in_thread(self._start_engine, self._looks, abandon=True)
            engine = self._running()
            if engine is None:
                raise StoreUnavailable("the store is closed")
            return engine

    def _start_engine(self) -> None:
        """Start the engine, which may wait for the lock; stop it if by then there is one, or the store is closed."""
        engine = _Engine.start(self._path, self._create, self.watchers)
        with self._starting:
            if self._engine is None and not self._closed:
                self._pid = os.getpid()
                self._engine = engine
                return
        engine.stop()

    async def _new_blob(self) -> NewBlob:
        blobs = (self._running() or await self._start()).database.blobs
        return await self._in_thread(bind(NewBlob, blobs), self._bodies)

    async def _in_thread(self, function: Callable[[], R], limiter: trio.CapacityLimiter, *, abandon: bool = False) -> R:
        try:
            return await trio.to_thread.run_sync(function, limiter=limiter, abandon_on_cancel=abandon)
        except OSError as error:
            raise StoreUnavailable(files.reason(error)) from error
        except (RuntimeError, MemoryError) as error:  # the system can start no thread, or has no memory
            raise StoreUnavailable(str(error) or "out of memory") from error


class _JSONDelivery(Delivery):
    """A delivery; `mail` lacks the body until the commit."""

    __slots__ = ("_blob", "_body", "_ended", "_mail", "_store")

    def __init__(self, store: JSONFileStore, mail: NewMail) -> None:
        self._store = store
        self._mail = mail
        self._body = bytearray()  # the octets that are not in the blob
        self._blob: NewBlob | None = None
        self._ended = False

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended = True
        self._body = bytearray()
        blob, self._blob = self._blob, None
        if blob is not None:
            with trio.CancelScope(shield=True):
                try:
                    await self._store._run(blob.discard)
                except StoreUnavailable:  # blocks, but not for long: the system can start no thread
                    blob.discard()

    async def write(self, chunk: bytes) -> None:
        self._check()
        self._body += chunk
        if len(self._body) > INLINE:
            await self._spill()

    async def commit(self) -> list[Delivered | StoreError]:
        self._check()
        if self._blob is None:
            self._mail.put_body(self._body)
        else:
            await self._spill()
            self._mail.put_blob(await self._store._run(self._blob.seal))
        engine = self._store._running() or await self._store._start()
        results = await engine.writer.commit(self._mail)
        self._ended = True
        if self._blob is not None and any(isinstance(result, Delivered) for result in results):
            self._blob.release()
            self._blob = None
        return results

    async def _spill(self) -> None:
        """Write the octets in memory to the blob. If that fails, they stay in memory, and the next call writes them."""
        if self._blob is None:
            self._blob = await self._store._new_blob()
        await self._store._run(bind(self._blob.write, self._body))
        self._body = bytearray()

    def _check(self) -> None:
        if self._ended:
            raise RuntimeError("this delivery has already ended")
