"""Open the store that ``--store`` names, and turn its errors into errors of the command line."""

from __future__ import annotations

import errno
import os
import pwd
import shlex
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Final

from trio_smtp.cli.errors import CommandError, UsageError, reason
from trio_smtp.cli.settings import StoreURL
from trio_smtp.mailbox.index import Index
from trio_smtp.mailbox.json_file import JSONFileStore
from trio_smtp.mailbox.json_file.journal import MANIFEST
from trio_smtp.mailbox.memory import MemoryStore
from trio_smtp.mailbox.store import (
    AccountExists,
    AddressTaken,
    Delivered,
    Delivery,
    InvalidName,
    MailboxExists,
    MailboxReadOnly,
    MailStore,
    MessageTooBig,
    MessageUnreadable,
    NoSuchAccount,
    NoSuchMailbox,
    NoSuchMessage,
    QuotaExceeded,
    StoreError,
    StoreUnavailable,
    Target,
)

__all__ = ["NullStore", "check_owner", "opened", "unusable"]

# What to do about an error. The store's own text says what happened.
_ADVICE: Final[dict[type[StoreError], str]] = {
    NoSuchAccount: "trio-smtp account list shows all accounts",
    AccountExists: "trio-smtp account show NAME shows it",
    AddressTaken: "trio-smtp account list shows all addresses",
    NoSuchMailbox: "trio-smtp mailbox list ACCOUNT shows all mailboxes",
    MailboxExists: "trio-smtp mailbox list ACCOUNT shows all mailboxes",
    MailboxReadOnly: "trio-smtp mailbox read-only ACCOUNT MAILBOX off makes it writable",
    QuotaExceeded: "trio-smtp account quota NAME SIZE sets another quota",
    MessageTooBig: "trio-smtp account quota NAME SIZE sets another quota",
    NoSuchMessage: "trio-smtp mail list ACCOUNT shows all messages",
    MessageUnreadable: "trio-smtp store check shows all damage",
}

_SHORTAGES: Final = {
    errno.EMFILE: "raise the limit with ulimit -n",
    errno.ENOSPC: "make room on the disk",
    errno.EDQUOT: "make room on the disk",
}


@asynccontextmanager
async def opened(url: StoreURL, *, create: bool = False) -> AsyncGenerator[MailStore]:
    """Open a store, and close it at the end of the block. Store errors in the block become `CommandError`.

    Args:
        create: create the store if there is none. Otherwise a missing store is an error, and nothing is created.
    """
    try:
        async with AsyncExitStack() as stack:
            try:
                store = await stack.enter_async_context(_make(url, create=create))
            except StoreUnavailable as error:
                raise unusable(url, error, create=create) from error
            yield store
    except InvalidName as error:
        raise UsageError(str(error)) from error
    except StoreError as error:
        advice = _ADVICE.get(type(error))
        if advice is None and isinstance(error, StoreUnavailable):
            raise CommandError(f"the store {url} cannot be used any longer: {_why(url, error)}") from error
        raise CommandError(f"{error}; {advice}" if advice else str(error)) from error


def check_owner(url: StoreURL) -> None:
    """Check that the store belongs to this user, so that root, above all, creates no files that the server cannot read.

    Raises:
        CommandError: if the store belongs to another user and is not on a read-only file system.
    """
    manifest = _manifest(url)
    if manifest is None or manifest.st_uid == os.geteuid() or os.statvfs(url.path).f_flag & os.ST_RDONLY:
        return
    owner = manifest.st_uid
    try:
        name = pwd.getpwuid(owner).pw_name
    except KeyError:
        name = f"#{owner}"
    raise CommandError(
        f"the store {url} belongs to the user {name}; run the command as that user "
        f"(sudo -u {shlex.quote(name)} trio-smtp ...) or change the owner of the whole store (chown -R)"
    )


def _manifest(url: StoreURL) -> os.stat_result | None:
    """The status of a store's manifest, None if it is missing or not accessible."""
    try:
        return (url.path / MANIFEST).stat()
    except OSError:
        return None


def unusable(url: StoreURL, error: StoreError | OSError, *, create: bool = False) -> CommandError:
    """The error for a store that cannot be opened."""
    cause = _cause(error)
    if isinstance(cause, OSError) and cause.errno in _SHORTAGES:  # which another store would not end
        return CommandError(f"cannot use the store {url}: {reason(cause)}; {_SHORTAGES[cause.errno]}")
    why = _why(url, error)
    if "; " in why:  # it says already what to do, such as to restore a backup
        return CommandError(f"cannot use the store {url}: {why}")
    cannot_begin = create or _is_taken(url) or isinstance(cause, PermissionError)
    begin = "" if cannot_begin else "create one with trio-smtp account add, or "
    return CommandError(f"cannot use the store {url}: {why}; {begin}choose another one with --store json:DIRECTORY")


def _is_taken(url: StoreURL) -> bool:
    """Whether the path is something other than an empty folder, so that no store can be created there."""
    try:
        return any(url.path.iterdir())
    except FileNotFoundError:
        return False
    except OSError:
        return True


def _make(url: StoreURL, *, create: bool) -> MailStore:
    if url.kind == "memory":
        return MemoryStore()
    if url.kind == "null":
        return NullStore()
    check_owner(url)
    return JSONFileStore(url.path, create=create)


def _cause(error: StoreError | OSError) -> BaseException | None:
    return error if isinstance(error, OSError) else error.__cause__


def _why(url: StoreURL, error: StoreError | OSError) -> str:
    """The reason for an error, with the name of the file if it is inside the store."""
    cause = _cause(error)
    if not isinstance(cause, OSError):
        return str(error)
    is_inside = cause.filename not in (None, ".", "..", str(url.path))
    return f"{cause.filename}: {reason(cause)}" if is_inside else reason(cause)


class NullStore(MemoryStore):
    """Accepts mail for its accounts and drops it, for load tests of everything but the store."""

    def _delivery(
        self, targets: Sequence[Target], *, partial: bool, flags: frozenset[str], date: int | None
    ) -> Delivery:
        return _Dropped(self._index, targets, partial)


class _Dropped(Delivery):
    """A delivery that makes all the checks and assigns the UIDs of a real one, but stores nothing."""

    def __init__(self, index: Index[tuple[bytes, bytes]], targets: Sequence[Target], partial: bool) -> None:
        self._index = index
        self._targets = targets
        self._partial = partial

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    async def write(self, chunk: bytes) -> None:
        pass

    async def commit(self) -> list[Delivered | StoreError]:
        place = (b"", b"")
        _, results = self._index.add_messages(self._targets, 0, lambda _: place, date=0, partial=self._partial)
        return results
