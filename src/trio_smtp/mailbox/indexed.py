"""What all stores that keep an `Index` in memory have in common: every method, except for how they store things.

A subclass decides how a change becomes durable and where bodies are, in five hooks:

- `_look`: look something up in the index, which includes all that was committed before, by other processes, too;
- `_commit`: plan, record and apply a change, in one step that no other change or look-up can interrupt;
- `_delivery`: the same for messages, whose bodies arrive in pieces (`BufferedStore` has it, and needs `_place`);
- `_read`: the octets of a body; may block;
- `_run`: call a function that may block, without blocking other tasks if the store runs in an event loop.

The subclass also reports each operation to `watchers` when it is applied.
"""

from __future__ import annotations

import abc
import math
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from functools import partial as bind
from io import BytesIO
from types import TracebackType
from typing import Generic, TypeVar

from trio_smtp.mailbox.headers import HEAD, summarise
from trio_smtp.mailbox.index import Index
from trio_smtp.mailbox.names import check_flags, several
from trio_smtp.mailbox.operations import Operation
from trio_smtp.mailbox.passwords import hash_password
from trio_smtp.mailbox.search import matches
from trio_smtp.mailbox.state import to_seconds
from trio_smtp.mailbox.store import (
    Account,
    Credentials,
    Delivered,
    Delivery,
    FlagMode,
    Mailbox,
    MailStore,
    Message,
    MessageInfo,
    MessageSummary,
    MessageUnreadable,
    Search,
    StoreError,
    Target,
    Watch,
)
from trio_smtp.mailbox.watching import Watchers

__all__ = ["BufferedStore", "IndexedStore", "now"]

B = TypeVar("B")
R = TypeVar("R")

_PAGE = 500  # messages looked at in one go
_NO_FLAGS = frozenset[str]()


class IndexedStore(MailStore, Generic[B]):
    """`MailStore` on top of `Index[B]`; B says where the content of a message is.

    Attributes:
        watchers: the watches to notify of changes.
    """

    LOOK_EVERY = math.inf
    """Seconds after which a watch asks `_look` for changes that were made elsewhere."""

    def __init__(self) -> None:
        self.watchers = Watchers()

    # --- what a subclass adds

    @abc.abstractmethod
    async def _look(self, look: Callable[[Index[B]], R]) -> R:
        """Call `look` with the present state, and return its result."""

    @abc.abstractmethod
    async def _commit(self, plan: Callable[[Index[B]], tuple[Operation[B], R]]) -> R:
        """Call `plan`, make its operation durable, apply it, and return its result."""

    @abc.abstractmethod
    def _delivery(
        self, targets: Sequence[Target], *, partial: bool, flags: frozenset[str], date: int | None
    ) -> Delivery:
        """A delivery; `flags` are checked, `date` is in seconds and None for the time of the commit."""

    @abc.abstractmethod
    def _read(self, body: B, limit: int | None) -> bytes:
        """The content of a message, or its first `limit` octets. Called inside `_run` only.

        Raises:
            MessageUnreadable: if it cannot be read; its text is the reason, to which the caller adds the message.
        """

    @abc.abstractmethod
    async def _run(self, function: Callable[[], R]) -> R:
        """Call a function that computes or blocks for long."""

    # --- accounts

    async def create_account(
        self,
        name: str,
        *,
        description: str = "",
        addresses: Iterable[str] = (),
        password: str | Credentials | None = None,
        quota: int | None = None,
    ) -> Account:
        addresses = several(addresses)
        credentials = await self._credentials(password)
        return await self._commit(lambda index: index.create_account(name, description, addresses, credentials, quota))

    async def update_account(
        self, name: str, *, description: str | None = None, addresses: Iterable[str] | None = None
    ) -> Account:
        addresses = None if addresses is None else several(addresses)
        return await self._commit(lambda index: index.update_account(name, description, addresses))

    async def delete_account(self, name: str) -> None:
        await self._commit(lambda index: index.delete_account(name))

    async def list_accounts(self) -> list[Account]:
        return await self._look(lambda index: index.accounts())

    async def get_account(self, name: str) -> Account:
        return await self._look(lambda index: index.account(name))

    async def find_account(self, address: str) -> Account | None:
        return await self._look(lambda index: index.find_account(address))

    async def has_domain(self, domain: str) -> bool:
        return await self._look(lambda index: index.has_domain(domain))

    async def first_account(self) -> Account | None:
        return await self._look(lambda index: index.first_account())

    async def set_password(
        self, name: str, password: str | Credentials | None, *, replacing: Credentials | None = None
    ) -> None:
        credentials = await self._credentials(password)
        await self._commit(lambda index: index.set_credentials(name, credentials, replacing))

    async def set_quota(self, name: str, quota: int | None) -> Account:
        return await self._commit(lambda index: index.set_quota(name, quota))

    async def get_credentials(self, name: str) -> Credentials | None:
        return await self._look(lambda index: index.credentials(name))

    async def get_secret(self) -> bytes:
        secret = await self._look(lambda index: index.secret())
        if secret is None:
            new = secrets.token_hex(32)
            secret = await self._commit(lambda index: index.keep_secret(new))
        return secret.encode()

    async def get_note(self, key: str) -> str | None:
        return await self._look(lambda index: index.note(key, now()))

    async def put_note(self, key: str, text: str, *, expires: int) -> None:
        await self._commit(lambda index: index.keep_note(key, text, expires, now()))

    async def _credentials(self, password: str | Credentials | None) -> Credentials | None:
        if isinstance(password, str):
            return await self._run(bind(hash_password, password))
        return password

    # --- mailboxes

    async def create_mailbox(self, account: str, name: str) -> Mailbox:
        return await self._commit(lambda index: index.create_mailbox(account, name))

    async def delete_mailbox(self, account: str, name: str) -> None:
        await self._commit(lambda index: index.delete_mailbox(account, name))

    async def rename_mailbox(self, account: str, name: str, new_name: str) -> None:
        await self._commit(lambda index: index.rename_mailbox(account, name, new_name))

    async def set_read_only(self, account: str, mailbox: str, read_only: bool) -> None:
        await self._commit(lambda index: index.set_read_only(account, mailbox, read_only))

    async def list_mailboxes(self, account: str) -> list[Mailbox]:
        return await self._look(lambda index: index.mailboxes(account))

    # --- messages

    async def list_messages(
        self, account: str, mailbox: str, *, after: int = 0, limit: int | None = None
    ) -> list[MessageSummary]:
        return await self._summaries(account, mailbox, None, after, limit)

    async def find_messages(
        self, account: str, mailbox: str, search: Search, *, after: int = 0, limit: int | None = None
    ) -> list[MessageSummary]:
        return await self._summaries(account, mailbox, search, after, limit)

    async def _summaries(
        self, account: str, mailbox: str, search: Search | None, after: int, limit: int | None
    ) -> list[MessageSummary]:
        # Page by page, so that a large mailbox does not hold up others while the index is looked at.
        found: list[MessageSummary] = []
        while True:
            size = _PAGE if search is not None or limit is None else min(_PAGE, limit - len(found))
            page = await self._page(account, mailbox, after, size)
            found += await self._run(bind(self._select, page, search))
            if len(page) < size or (limit is not None and len(found) >= limit):
                return found[:limit]
            after = page[-1][0].uid

    async def _page(self, account: str, mailbox: str, after: int, limit: int) -> list[tuple[MessageInfo, B]]:
        return await self._look(lambda index: index.messages(account, mailbox, after, limit))

    def _select(self, page: list[tuple[MessageInfo, B]], search: Search | None) -> list[MessageSummary]:
        return [
            self._summary(info, body)
            for info, body in page
            if search is None or matches(search, info, bind(self._skim, body))
        ]

    def _summary(self, info: MessageInfo, body: B) -> MessageSummary:
        subject, sender, recipients = self._shown(body)
        return MessageSummary(info.uid, info.flags, info.size, info.internal_date, subject, sender, recipients)

    def _shown(self, body: B) -> tuple[str, str, str]:
        """What a listing shows of a header."""
        return summarise(self._skim(body, HEAD))

    def _skim(self, body: B, limit: int | None) -> bytes:
        """As `_read`, for listings and searches: a message that cannot be read must not hide the others."""
        try:
            return self._read(body, limit)
        except MessageUnreadable:
            return b""

    async def count_messages(self, account: str, mailbox: str) -> int:
        return await self._look(lambda index: index.mailbox(account, mailbox).messages)

    async def get_message(self, account: str, mailbox: str, uid: int) -> Message:
        info, body = await self._look(lambda index: index.message(account, mailbox, uid))
        try:
            return Message(info, await self._run(lambda: self._read(body, None)))
        except MessageUnreadable as error:
            raise MessageUnreadable(
                f"message {uid} in mailbox {mailbox!r} of account {account!r} cannot be read: {error}"
            ) from error

    async def append_message(
        self,
        account: str,
        mailbox: str,
        content: bytes,
        *,
        flags: Iterable[str] = (),
        internal_date: datetime | None = None,
    ) -> Delivered:
        date = None if internal_date is None else to_seconds(internal_date)
        targets, flag_set = [Target(account, mailbox)], check_flags(several(flags))
        async with self._delivery(targets, partial=False, flags=flag_set, date=date) as delivery:
            await delivery.write(content)
            [result] = await delivery.commit()
        assert isinstance(result, Delivered)  # refusals are raised, for it was not partial
        return result

    async def set_flags(
        self, account: str, mailbox: str, uid: int, flags: Iterable[str], mode: FlagMode = "replace"
    ) -> MessageInfo:
        flags = several(flags)
        return await self._commit(lambda index: index.set_flags(account, mailbox, uid, flags, mode))

    async def copy_message(self, account: str, mailbox: str, uid: int, to: str) -> Delivered:
        return await self._commit(lambda index: index.copy_message(account, mailbox, uid, to))

    async def move_message(self, account: str, mailbox: str, uid: int, to: str) -> Delivered:
        return await self._commit(lambda index: index.copy_message(account, mailbox, uid, to, move=True))

    async def delete_message(self, account: str, mailbox: str, uid: int) -> None:
        await self._commit(lambda index: index.delete_message(account, mailbox, uid))

    def deliver(self, targets: Sequence[Target], *, partial: bool = False) -> Delivery:
        return self._delivery(targets, partial=partial, flags=_NO_FLAGS, date=None)

    # --- the store itself

    def watch(self, account: str) -> Watch:
        return self.watchers.watch(account, lambda: self.get_account(account), self.LOOK_EVERY)

    async def aclose(self) -> None:
        self.watchers.close()


class BufferedStore(IndexedStore[B]):
    """An `IndexedStore` that gets each body in one piece; until the commit, it is collected in memory."""

    @abc.abstractmethod
    def _place(self, prefix: bytes, body: bytes) -> B:
        """Return where the content of a new message, prefix and body, will be.

        Called in the plan of a `_commit`, which must then make the content durable.
        """

    def _delivery(
        self, targets: Sequence[Target], *, partial: bool, flags: frozenset[str], date: int | None
    ) -> Delivery:
        async def commit(body: bytes) -> list[Delivered | StoreError]:
            def plan(index: Index[B]) -> tuple[Operation[B], list[Delivered | StoreError]]:
                return index.add_messages(
                    targets,
                    len(body),
                    lambda target: self._place(target.prefix, body),
                    date=now() if date is None else date,
                    flags=flags,
                    partial=partial,
                )

            return await self._commit(plan)

        return _BufferedDelivery(commit)


class _BufferedDelivery(Delivery):
    def __init__(self, commit: Callable[[bytes], Awaitable[list[Delivered | StoreError]]]) -> None:
        self._commit = commit
        self._body: BytesIO | None = BytesIO()  # None once the delivery has ended

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._body = None

    async def write(self, chunk: bytes) -> None:
        self._open().write(chunk)

    async def commit(self) -> list[Delivered | StoreError]:
        results = await self._commit(self._open().getvalue())  # no copy: BytesIO hands its buffer over
        self._body = None
        return results

    def _open(self) -> BytesIO:
        if self._body is None:
            raise RuntimeError("this delivery has already ended")
        return self._body


def now() -> int:
    """The time as the index keeps it, in whole seconds since 1970."""
    return int(time.time())
