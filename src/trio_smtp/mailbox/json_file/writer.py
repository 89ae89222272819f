"""The writer: one thread, which alone writes to the journal.

Tasks put their changes into a queue and wait. The thread takes the lock of the store and then all waiting changes, a
group, and makes them durable with one sync. While it syncs, the next group gathers; a single change waits for one sync
and no longer. A group ends with the first change that is neither a delivery nor a note, because later changes are
planned on top of that one (see `trio_smtp.mailbox.index`).

The changes of one turn of the event loop enter the queue together, at its end. If the first of them woke the thread,
it would take that one alone, and compete with the loop for the GIL while the others come.

A change in the queue is withdrawn when its task is cancelled, for example because a commit took too long. Once the
thread has taken the change, the task waits for the result even if it is cancelled: its outcome is always known.

While a failed write cannot be undone (see `journal`), the thread keeps the lock, refuses all requests, and tries
again.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from typing import TYPE_CHECKING, Generic, TypeVar

import trio

from trio_smtp.mailbox.json_file import files
from trio_smtp.mailbox.operations import AddMessages, KeepNote
from trio_smtp.mailbox.store import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from trio_smtp.mailbox.json_file.changes import Change
    from trio_smtp.mailbox.json_file.database import Database
    from trio_smtp.mailbox.json_file.records import Place
    from trio_smtp.mailbox.operations import Operation

R = TypeVar("R")

SEGMENT_OCTETS = 64 * 1024 * 1024  # a segment that has reached this is sealed
GROUP_OCTETS = 16 * 1024 * 1024  # a group that has reached this is written
RETRY = 1.0  # seconds between attempts to undo a failed write, or to find memory

_CLOSED = "the store is closed"

_log = logging.getLogger(__name__)


class _Request:
    """An entry of the queue, a `_Commit` or a `_Job`, and the error if it failed."""

    error: Exception | None = None


class _Commit(_Request, Generic[R]):
    """A change, and the task that waits for it."""

    result: R

    def __init__(self, change: Change[R], turn: _Turn) -> None:
        self._change = change
        self.turn = turn  # of the run that the task belongs to
        self.task = trio.lowlevel.current_task()

    def withdraw(self, _: object) -> trio.lowlevel.Abort:
        """Withdraw the change, if possible, because its task is cancelled."""
        withdrawn = self.turn.withdraw(self)
        return trio.lowlevel.Abort.SUCCEEDED if withdrawn else trio.lowlevel.Abort.FAILED

    def prepare(self, database: Database, offset: int) -> tuple[Operation[Place], bytes]:
        index, segment = database.replica.index, database.journal.segment
        operation, line, self.result = self._change.prepare(index, segment, offset)
        return operation, line


class _Job(_Request, Generic[R]):
    """A function to call under the exclusive lock, and the thread that waits for it."""

    result: R

    def __init__(self, function: Callable[[], R]) -> None:
        self._function = function
        self.done = threading.Event()

    def run(self) -> None:
        try:
            self.result = self._function()
        except OSError as error:
            _fail([self], error)
        except Exception as error:  # noqa: BLE001 - `run` raises it in the caller
            self.error = error


class _Turn(trio.abc.Instrument):
    """The changes that the tasks of one run of trio have made since its event loop last looked for I/O.

    The instrument stays until the writer is closed: a call in every turn costs less than installing it in some turns.
    """

    def __init__(self, writer: Writer, token: trio.lowlevel.TrioToken) -> None:
        self._writer = writer
        self.token = token
        self.requests: dict[_Request, None] = {}  # in their order

    def withdraw(self, request: _Request) -> bool:
        """Remove a request unless the thread has taken it; return whether that worked."""
        if request in self.requests:
            del self.requests[request]
            return True
        return self._writer.withdraw(request)

    def before_io_wait(self, timeout: float) -> None:
        """Put the changes into the queue, as all tasks have had their turn."""
        if self.requests:
            requests, self.requests = self.requests, {}
            self._writer.put(requests)
        elif self._writer.closing:
            trio.lowlevel.remove_instrument(self)


class Writer:
    """The queue and its thread, which starts with the first request.

    Attributes:
        after_group: called after each group, under the exclusive lock and with a sound journal.
        closing: whether it refuses new requests.
    """

    def __init__(self, database: Database) -> None:
        self.after_group: Callable[[], None] = lambda: None
        self._database = database
        self._mutex = threading.Lock()
        self._condition = threading.Condition(self._mutex)
        self._waiting: dict[_Request, None] = {}  # in their order
        self._turns: dict[trio.lowlevel.TrioToken, _Turn] = {}  # not a `RunVar`, which would keep all of this alive
        self._thread: threading.Thread | None = None
        self.closing = False

    async def commit(self, change: Change[R]) -> R:
        """Make a change and make it durable.

        Raises:
            StoreError: if the change is refused; StoreUnavailable if it cannot be written.
            trio.Cancelled: if the task is cancelled in time; nothing was changed.
        """
        if self.closing:
            raise StoreUnavailable(_CLOSED)
        turn = self._turn()
        request = _Commit(change, turn)
        turn.requests[request] = None
        await trio.lowlevel.wait_task_rescheduled(request.withdraw)
        if request.error is not None:
            raise request.error
        return request.result

    def run(self, function: Callable[[], R]) -> R:
        """Call a function in the writer's thread, under the exclusive lock, and wait for it. Not for tasks."""
        job = _Job(function)
        self.put([job])
        job.done.wait()
        if job.error is not None:
            raise job.error
        return job.result

    def close(self) -> None:
        """Finish all waiting requests and end the thread. Blocks."""
        with self._condition:
            self.closing = True
            self._condition.notify()
        if self._thread is not None:
            self._thread.join()

    def put(self, requests: Iterable[_Request]) -> None:
        """Add requests to the queue, or refuse them."""
        refusal: Exception | None = None
        with self._condition:
            if self.closing:
                refusal = StoreUnavailable(_CLOSED)
            else:
                try:
                    self._start()
                    self._condition.notify()  # the thread goes on when the lock is free
                    self._waiting.update(dict.fromkeys(requests))
                except (RuntimeError, MemoryError) as error:  # the system can start no thread, or has no memory
                    refusal = error
        if refusal is not None:
            _fail(requests, refusal)
            _wake(requests)

    def withdraw(self, request: _Request) -> bool:
        """Remove a request from the queue unless the thread has taken it; return whether that worked."""
        with self._mutex:
            if request not in self._waiting:
                return False
            del self._waiting[request]
            return True

    def _start(self) -> None:
        if self._thread is None:
            thread = threading.Thread(target=self._work, name="mail store writer", daemon=True)
            thread.start()
            self._thread = thread

    def _turn(self) -> _Turn:
        """Return the `_Turn` of the run of trio that the caller belongs to."""
        token = trio.lowlevel.current_trio_token()
        turn = self._turns.get(token)
        if turn is None:
            turn = self._turns[token] = _Turn(self, token)
            trio.lowlevel.add_instrument(turn)
        return turn

    # --- the thread

    def _work(self) -> None:
        while True:
            try:
                if not self._wait():
                    return
                self._do_what_waits()
            except MemoryError:  # waiting needs some memory, for example
                time.sleep(RETRY)

    def _do_what_waits(self) -> None:
        """Under the lock, write a group, apply it and call its job; then wake the tasks and threads that wait."""
        taken: list[_Request] = []
        undecided: Sequence[_Request] = taken  # those that fail if the rest does
        committed = False
        try:
            with self._database.exclusive():
                planned = self._write_group(taken)
                committed = True
                undecided = jobs = [each for each in taken if each.error is None and isinstance(each, _Job)]
                for operation, line in planned:
                    self._database.replica.apply(operation, len(line))
                for job in jobs:
                    job.run()
                undecided = []
                with contextlib.suppress(OSError, MemoryError):
                    self._database.journal.mend()
                if not self._database.journal.is_sound():  # which may take long
                    _wake(taken)
                    taken.clear()
                if self._mend():
                    self.after_group()
        except (OSError, StoreUnavailable) as error:
            if not committed:  # the lock could not be taken; a failure after the commit concerns no waiting request
                _fail(undecided, error)
                self._refuse_waiting(error)
        except Exception as error:  # noqa: BLE001 - a bug must leave nobody waiting
            _log.exception("the writer of the mail store failed")
            _fail(undecided, error)
            self._refuse_waiting(error)
        # Not before the lock is free: the event loop takes the GIL as soon as it is woken.
        _wake(taken)

    def _wait(self, seconds: float | None = None) -> bool:
        """Wait for a request, the end, or so many seconds; return whether there is a request."""
        with self._condition:
            self._condition.wait_for(lambda: self._waiting or self.closing, seconds)
            return bool(self._waiting)

    def _take(self, taken: list[_Request]) -> Iterator[_Request]:
        """Take the requests that wait now, one by one."""
        for _ in range(len(self._waiting)):
            with self._mutex:
                request = next(iter(self._waiting), None)
                if request is None:  # the rest was withdrawn
                    return
                del self._waiting[request]
            taken.append(request)
            yield request

    def _write_group(self, taken: list[_Request]) -> list[tuple[Operation[Place], bytes]]:
        """Take a group and make it durable; return what to apply. After that, the group can be refused no more."""
        try:
            with self._database.replica.index.group():
                planned = self._plan(taken)
            lines = [line for _, line in planned if line]
            if lines:
                self._database.journal.append(lines)
        except (OSError, MemoryError) as error:
            _fail(taken, error)
            return []
        return planned

    def _plan(self, taken: list[_Request]) -> list[tuple[Operation[Place], bytes]]:
        """Take a group and prepare what is in it."""
        journal = self._database.journal
        planned: list[tuple[Operation[Place], bytes]] = []
        octets = 0
        for request in self._take(taken):
            if journal.end >= SEGMENT_OCTETS:  # only before the first, which is refused if this fails
                self._database.begin_segment()
            if not isinstance(request, _Commit):
                break
            try:
                operation, line = request.prepare(self._database, journal.end + octets)
            except Exception as error:  # noqa: BLE001 - `commit` raises it in the task that made the change
                request.error = error
                continue
            planned.append((operation, line))
            octets += len(line)
            if octets >= GROUP_OCTETS or not isinstance(operation, AddMessages | KeepNote):
                break
        return planned

    def _mend(self) -> bool:
        """Wait until the journal is sound; return False if it is not and the writer is closing."""
        journal = self._database.journal
        while not journal.is_sound():
            self._wait(RETRY)
            try:
                journal.mend()
            except (OSError, MemoryError) as error:
                self._refuse_waiting(error)
                if self.closing:
                    return False
        return True

    def _refuse_waiting(self, error: Exception) -> None:
        with self._mutex:
            waiting = list(self._waiting)
            self._waiting.clear()
        _fail(waiting, error)
        _wake(waiting)


def _fail(requests: Iterable[_Request], error: Exception) -> None:
    """Give each request that has not failed yet an exception of its own."""
    for request in requests:
        if request.error is None:
            why = files.reason(error) if isinstance(error, OSError) else str(error)
            request.error = StoreUnavailable(why or repr(error))
            request.error.__cause__ = error


def _wake(requests: Iterable[_Request]) -> None:
    """Wake the waiting threads one by one, and all tasks of one run of trio together."""
    sleeping: dict[trio.lowlevel.TrioToken, list[trio.lowlevel.Task]] = {}
    for request in requests:
        if isinstance(request, _Job):
            request.done.set()
        else:
            assert isinstance(request, _Commit)
            sleeping.setdefault(request.turn.token, []).append(request.task)
    for token, tasks in sleeping.items():
        with contextlib.suppress(trio.RunFinishedError):
            token.run_sync_soon(_reschedule, tasks)


def _reschedule(tasks: Iterable[trio.lowlevel.Task]) -> None:
    for task in tasks:
        trio.lowlevel.reschedule(task)
