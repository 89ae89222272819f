"""The watches of accounts, and how changes reach them.

There is no task behind a watch. The thread that changes the store puts the change into the queue of each watch of the
account and wakes the tasks that wait there. Changes by other processes are found by a waiting task itself, which looks
for them now and then (`Watchers.watch`). So nothing is polled while no task waits, and nothing has to be stopped.

A watch is active from its creation until nothing refers to it any more, the account is deleted or the store is closed.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any, Self
from weakref import ref

from trio_smtp.mailbox.operations import (
    AddMessages,
    CopyMessage,
    CreateMailbox,
    DeleteAccount,
    DeleteMailbox,
    DeleteMessage,
    Operation,
    RenameMailbox,
    SetCredentials,
    SetFlags,
    SetQuota,
    SetReadOnly,
    UpdateAccount,
)
from trio_smtp.mailbox.store import Changed, NoSuchAccount, StoreError, Watch

if TYPE_CHECKING:
    import trio

__all__ = ["Watchers", "changes"]

QUEUE = 250  # changes that wait in one watch; if it is full, one "missed" replaces them


def changes(operation: Operation[Any]) -> Iterator[tuple[str, Changed]]:
    """Yield the changes that an operation means to watchers, each with the name of its account."""
    match operation:
        case AddMessages():
            for message in operation.messages:
                yield message.account, Changed("message-added", message.mailbox, message.uid)
        case CopyMessage(account, mailbox, uid, to, new_uid, move):
            if move:
                yield account, Changed("message-removed", mailbox, uid)
            yield account, Changed("message-added", to, new_uid)
        case SetFlags(account, mailbox, uid):
            yield account, Changed("flags", mailbox, uid)
        case DeleteMessage(account, mailbox, uid):
            yield account, Changed("message-removed", mailbox, uid)
        case CreateMailbox(account, name):
            yield account, Changed("mailbox-created", name)
        case DeleteMailbox(account, name):
            yield account, Changed("mailbox-deleted", name)
        case RenameMailbox(account, name, new_name):
            yield account, Changed("mailbox-renamed", name, new_name=new_name)
        case SetReadOnly(account, mailbox):
            yield account, Changed("read-only", mailbox)
        case UpdateAccount(account) | SetCredentials(account) | SetQuota(account):
            yield account, Changed("account")
        case DeleteAccount(name):
            yield name, Changed("account-deleted")
        case _:  # a new account, which nobody watches yet, and what is not shown: the secret, notes, spent numbers
            pass


class Watchers:
    """The watches of one store. All methods may be called in any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watches: list[ref[_Watch]] = []  # not a WeakSet, which other threads can change while it is read

    def watch(self, account: str, look: Callable[[], Awaitable[object]], seconds: float) -> Watch:
        """Begin to watch an account.

        Args:
            look: looks up the account and so finds changes by other processes; raises NoSuchAccount.
            seconds: how often to call `look` while no change arrives.
        """
        watch = _Watch(account, look, seconds, self._lock)
        with self._lock:
            self._forget_dead()
            self._watches.append(ref(watch))
        return watch

    def tell(self, operation: Operation[Any]) -> None:
        """Report an operation, after it was applied, to the watches of the account."""
        if self._watches:
            with self._lock:
                watches = self._living()
                for account, changed in changes(operation):
                    for watch in watches:
                        if watch.account == account:
                            watch.put(changed)

    def tell_missed(self) -> None:
        """Report `missed` to all watches, as it is not known what changed."""
        with self._lock:
            for watch in self._living():
                watch.put(Changed("missed"))

    def close(self) -> None:
        """End all watches."""
        with self._lock:
            for watch in self._living():
                watch.end()

    def _living(self) -> list[_Watch]:
        self._forget_dead()
        return [watch for each in self._watches if (watch := each()) is not None]

    def _forget_dead(self) -> None:
        self._watches = [each for each in self._watches if each() is not None]


class _Watch(Watch):
    """One watch: a queue of changes, and an event for the tasks that wait for one.

    All watches of the store share the lock. It protects the queue and the attributes below it in `__init__`; callers
    of `put` and `end` hold it.
    """

    def __init__(
        self, account: str, look: Callable[[], Awaitable[object]], seconds: float, lock: threading.Lock
    ) -> None:
        self.account = account
        self._look = look
        self._seconds = seconds
        self._lock = lock
        self._is_known = False  # whether the account was found to exist
        self._queue = deque[Changed]()
        self._ended = False  # whether the queue takes no more changes
        self._waking: tuple[trio.lowlevel.TrioToken, trio.Event] | None = None

    async def __aenter__(self) -> Self:
        if not self._is_known:
            await self._look()
            self._is_known = True
        return self

    async def __aexit__(self, *_: object) -> None:
        with self._lock:
            self._queue.clear()
            self.end()

    async def __anext__(self) -> Changed:
        import trio  # noqa: PLC0415 - a store in memory can be imported without it

        await self.__aenter__()
        await trio.lowlevel.checkpoint()
        token = trio.lowlevel.current_trio_token()
        while True:
            with self._lock:
                if self._queue:
                    return self._queue.popleft()
                if self._ended:
                    raise StopAsyncIteration
                if self._waking is None or self._waking[0] is not token:
                    self._waking = token, trio.Event()
                event = self._waking[1]
            with trio.move_on_after(self._seconds) as waiting:
                await event.wait()
            if waiting.cancelled_caught:
                await self._look_for_more()

    async def _look_for_more(self) -> None:
        try:
            await self._look()
        except NoSuchAccount:  # usually in the queue by now; `put` adds it only if it was missed
            with self._lock:
                self.put(Changed("account-deleted"))
        except StoreError:
            if not self._ended:  # else the store was closed
                raise

    def put(self, changed: Changed) -> None:
        """Add a change."""
        if self._ended:
            return
        if len(self._queue) >= QUEUE:
            self._queue.clear()
            self._queue.append(Changed("missed"))
        self._queue.append(changed)
        if changed.what == "account-deleted":
            self._ended = True
        self._wake()

    def end(self) -> None:
        """End the watch after the changes that are in the queue."""
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        if self._waking is not None:
            token, event = self._waking
            self._waking = None
            with contextlib.suppress(RuntimeError):  # that run of trio is over, and so are its waiting tasks
                token.run_sync_soon(event.set)
