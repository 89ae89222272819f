"""Who watches an account, and how they are told.

There is no task behind a watch. Whoever changes the store, in whatever thread, leaves what changed in the queue of each
watch of the account and wakes who waits there; a change by another process is found by the one who waits, which looks
for it every now and then (`Watchers.watch`). So nothing is looked at while nobody waits, and nothing has to be stopped.

A watch counts from the moment it is made until nobody has it any more, or the account or the store is gone.
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

QUEUE = 250  # changes that wait for one watcher; those beyond become one "missed"


def changes(operation: Operation[Any]) -> Iterator[tuple[str, Changed]]:
    """What an operation changes for those who watch, each with the name of the account."""
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
        case _:  # a new account, which nobody watches, and numbers that are spent
            pass


class Watchers:
    """The watches of one store. All methods may be called in any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watches: list[ref[_Watch]] = []  # and no WeakSet, which other threads can change while it is read

    def watch(self, account: str, look: Callable[[], Awaitable[object]], seconds: float) -> Watch:
        """Begin to watch an account.

        Args:
            look: look at the account, and at what others have changed; raises NoSuchAccount.
            seconds: how often to look while nothing happens.
        """
        watch = _Watch(account, look, seconds, self._lock)
        with self._lock:
            self._watches.append(ref(watch))
        return watch

    def tell(self, operation: Operation[Any]) -> None:
        """Tell of an operation after it was applied."""
        if self._watches:
            with self._lock:
                watches = self._living()
                for account, changed in changes(operation):
                    for watch in watches:
                        if watch.account == account:
                            watch.put(changed)

    def tell_missed(self) -> None:
        """Tell all that it is not known what changed."""
        with self._lock:
            for watch in self._living():
                watch.put(Changed("missed"))

    def close(self) -> None:
        """End all watches."""
        with self._lock:
            for watch in self._living():
                watch.end()

    def _living(self) -> list[_Watch]:
        living = [watch for each in self._watches if (watch := each()) is not None]
        self._watches = [ref(watch) for watch in living]
        return living


class _Watch(Watch):
    """One watch: a queue, and who waits for something to come into it.

    The lock is that of all watches of the store. It is held for the queue and what is below it in `__init__`; who calls
    `put` or `end` has it.
    """

    def __init__(
        self, account: str, look: Callable[[], Awaitable[object]], seconds: float, lock: threading.Lock
    ) -> None:
        self.account = account
        self._look = look
        self._seconds = seconds
        self._lock = lock
        self._is_known = False  # the account exists
        self._queue = deque[Changed]()
        self._ended = False  # nothing comes any more
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
        except NoSuchAccount:  # in the queue by now, unless that was missed too
            with self._lock:
                self.put(Changed("account-deleted"))
        except StoreError:
            if not self._ended:  # or it is closed
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
        """Let nothing come behind what is in the queue."""
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        if self._waking is not None:
            token, event = self._waking
            self._waking = None
            with contextlib.suppress(RuntimeError):  # that run of trio is over, and who waited with it
                token.run_sync_soon(event.set)
