"""``trio-smtp mail import``: store the messages of mbox files, Maildirs and .eml files in a mailbox.

Messages are stored byte for byte. Importing again adds nothing: for each message that the mailbox already contains, one
equal message is skipped. (So two equal messages in a file are both imported, the first time.)
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, NamedTuple

from trio_smtp.cli.errors import CommandError, reason
from trio_smtp.cli.export import MAILDIR_FLAGS
from trio_smtp.cli.output import counted, say, say_json, warn
from trio_smtp.cli.progress import progress
from trio_smtp.cli.settings import StoreURL
from trio_smtp.cli.stores import opened
from trio_smtp.mailbox.mbox import read_mbox
from trio_smtp.mailbox.store import MailStore, MessageUnreadable, NoSuchMessage

__all__ = ["import_"]

_PAGE = 500  # messages of the mailbox that are listed at a time


class _Found(NamedTuple):
    """A message, the file it was read from, and the share of all input that has been read so far, from 0 to 1."""

    content: bytes
    date: datetime | None
    flags: frozenset[str]
    source: Path
    share: float


async def import_(
    *,
    account: str,
    paths: Sequence[Path],
    form: str | None,
    mailbox: str,
    store: StoreURL,
    as_json: bool,
) -> None:
    """Store the messages of files and folders that the mailbox does not contain yet."""
    imported = skipped = 0
    async with opened(store) as mail_store:
        known = await _Known.of(mail_store, account, mailbox)
        with progress("Importing") as advance:
            for found in _find(paths, form):
                uid = None
                if await known.holds(found.content):
                    skipped += 1
                else:
                    imported += 1
                    delivered = await mail_store.append_message(
                        account, mailbox, found.content, flags=found.flags, internal_date=found.date
                    )
                    uid = delivered.uid
                if as_json:
                    say_json({"uid": uid, "size": len(found.content), "source": str(found.source)})
                advance(found.share)
    if not as_json:
        say(f"{counted(imported, 'message')} imported, {skipped} already in the mailbox.")


class _Known:
    """The messages of a mailbox before the import. They are read only if a message of the same size is imported."""

    def __init__(self, mail_store: MailStore, account: str, mailbox: str) -> None:
        self._place = mail_store, account, mailbox
        self._uids = defaultdict[int, list[int]](list)  # by size, of messages that have not been read yet
        self._digests = Counter[bytes]()

    @classmethod
    async def of(cls, mail_store: MailStore, account: str, mailbox: str) -> _Known:
        known = cls(mail_store, account, mailbox)
        page = await mail_store.list_messages(account, mailbox, limit=_PAGE)
        while page:
            for message in page:
                known._uids[message.size].append(message.uid)
            page = await mail_store.list_messages(account, mailbox, after=page[-1].uid, limit=_PAGE)
        return known

    async def holds(self, content: bytes) -> bool:
        """Whether the mailbox has an equal message. Each message of the mailbox matches only once."""
        mail_store, account, mailbox = self._place
        for uid in self._uids.pop(len(content), ()):
            try:
                message = await mail_store.get_message(account, mailbox, uid)
            except (NoSuchMessage, MessageUnreadable):  # deleted or damaged, so it can be imported again
                continue
            self._digests[sha256(message.content).digest()] += 1
        digest = sha256(content).digest()
        if not self._digests[digest]:
            return False
        self._digests[digest] -= 1
        return True


# --- reading the input


def _find(paths: Sequence[Path], form: str | None) -> Iterator[_Found]:
    """All messages, in the order of the paths, and in a folder in the order of the file names."""
    for number, path in enumerate(paths):
        try:
            for found in _find_in(path, form or _form(path)):
                yield found._replace(share=(number + found.share) / len(paths))
        except OSError as error:
            raise CommandError(f"cannot read {path}: {reason(error)}") from error
        except ValueError as error:
            raise CommandError(
                f"{path} is not an mbox: {error}; add --format eml to import it as one message"
            ) from error


def _form(path: Path) -> str:
    """The probable format of a path."""
    if path.is_dir():
        return "maildir" if (path / "cur").is_dir() else "eml"
    if path.suffix.lower() == ".eml":
        return "eml"
    if str(path) == "-" or not path.is_file():  # standard input or a pipe, which can be read only once
        return "mbox"
    with path.open("rb") as file:
        start = file.read(100).lstrip(b"\r\n")
    return "mbox" if not start or start.startswith(b"From ") else "eml"


def _find_in(path: Path, form: str) -> Iterator[_Found]:
    if form == "mbox":
        if str(path) == "-":
            yield from _mbox(sys.stdin.buffer, path, 0)
        else:
            with path.open("rb") as file:
                yield from _mbox(file, path, os.fstat(file.fileno()).st_size)
    elif form == "maildir":
        for folder in (path / "cur", path / "new"):
            if path.exists() and not folder.is_dir():
                raise CommandError(f"{path} is not a Maildir: it has no folder {folder.name}")
        yield from _files(path / "cur", path / "new")
    elif str(path) == "-":
        yield _Found(sys.stdin.buffer.read(), None, frozenset(), path, 1)
    elif path.is_dir():
        yield from _files(path, suffix=".eml", follow=True)
    else:
        with path.open("rb") as file:
            yield _message(file, path, 1)


def _mbox(file: BinaryIO, path: Path, size: int) -> Iterator[_Found]:
    for message in read_mbox(file):
        share = file.tell() / size if size else 0
        yield _Found(message.content, message.date, message.flags, path, share)


def _files(*folders: Path, suffix: str = "", follow: bool = False) -> Iterator[_Found]:
    """The messages in folders, in the order of the file names.

    Another user who can write to a folder must not be able to have private files of this user imported. So no symbolic
    link is followed, except with `follow` one that leads to the folder itself.
    """
    with ExitStack() as stack:
        found: list[tuple[str, Path, int]] = []
        for folder in folders:
            if not follow and folder.is_symlink():
                raise CommandError(
                    f"{folder} is a symbolic link, which is not followed; give the folder that it points to"
                )
            inside = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))
            stack.callback(os.close, inside)
            names = os.listdir(inside)  # noqa: PTH208 - of the open folder, whatever the path refers to by now
            found += [
                (name, folder, inside)
                for name in names
                if not name.startswith(".") and name.lower().endswith(suffix)  # no .DS_Store, .gitkeep or ._letter.eml
            ]
        for number, (name, folder, inside) in enumerate(sorted(found), 1):
            descriptor = _opened(name, folder, inside)
            if descriptor is not None:
                with os.fdopen(descriptor, "rb") as file:
                    yield _message(file, folder / name, number / len(found))


def _opened(name: str, folder: Path, inside: int) -> int | None:
    """Open a regular file in a folder; None for anything else. A link or a missing file is skipped with a warning."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=inside)
    except OSError as error:
        if error.errno == errno.ELOOP:
            warn(f"{folder / name} is a symbolic link; skipped")
            return None
        if error.errno == errno.ENOENT:  # a mail program renames a file to change its flags
            warn(f"{folder / name} has been renamed or deleted in the meantime; skipped, so import once more")
            return None
        if error.errno == errno.ENXIO:  # a socket
            return None
        raise
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    return None


def _message(file: BinaryIO, path: Path, share: float) -> _Found:
    letters = path.name.partition(":2,")[2]
    flags = frozenset(MAILDIR_FLAGS[letter] for letter in letters if letter in MAILDIR_FLAGS)
    return _Found(file.read(), _date(file), flags, path, share)


def _date(file: BinaryIO) -> datetime | None:
    seconds = int(os.fstat(file.fileno()).st_mtime)
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):  # a year after 9999, or beyond the C library's range
        return None
