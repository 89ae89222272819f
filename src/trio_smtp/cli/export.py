"""``trio-smtp mail export``: write a mailbox as an mbox, as a Maildir, or as a folder of .eml files.

Only one message is in memory at a time. The output has a temporary name until it is complete and on disk, so the file
or folder exists completely or not at all.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import aclosing, contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import IO, Final

from trio_smtp._escape import escape
from trio_smtp.cli.errors import CommandError, UsageError, reason
from trio_smtp.cli.messages import check_uids, chosen
from trio_smtp.cli.output import counted, say_octets, say_result, warn
from trio_smtp.cli.progress import progress
from trio_smtp.cli.settings import StoreURL
from trio_smtp.cli.stores import opened
from trio_smtp.cli.undo import undone_unless_complete
from trio_smtp.mailbox.mbox import to_mbox
from trio_smtp.mailbox.store import Message, MessageUnreadable, NoSuchMessage

__all__ = ["MAILDIR_FLAGS", "export"]

MAILDIR_FLAGS: Final = {"D": r"\Draft", "F": r"\Flagged", "R": r"\Answered", "S": r"\Seen", "T": r"\Deleted"}
"""The flags by their letters after ``:2,`` in the file names of a Maildir, which has no letters for keywords."""

_Add = Callable[[Message], None]


async def export(
    *,
    account: str,
    uids: Sequence[int],
    form: str,
    output: Path | None,
    overwrite: bool,
    mailbox: str,
    store: StoreURL,
    as_json: bool,
) -> None:
    """Write these messages, or all of them. A message that cannot be read is reported and the others are written.

    Raises:
        CommandError: if a message could not be read. It is raised at the end, and no existing file is replaced, because
            that may contain the message.
    """
    _check_flags(form, output, overwrite=overwrite, as_json=as_json)
    async with opened(store) as mail_store:
        uids = await check_uids(mail_store, account, mailbox, uids)
        total = len(uids) or await mail_store.count_messages(account, mailbox)  # more may arrive during the export
        written = unreadable = 0
        with _writing(form, output, overwrite) as add, progress("Exporting") as advance:
            async with aclosing(chosen(mail_store, account, mailbox, uids)) as wanted:
                async for uid in wanted:
                    try:
                        message = await mail_store.get_message(account, mailbox, uid)
                    except NoSuchMessage:  # another process has deleted it in the meantime
                        continue
                    except MessageUnreadable as error:
                        unreadable += 1
                        warn(str(error))
                    else:
                        written += 1
                        add(message)
                    advance((written + unreadable) / max(written + unreadable, total))
            if unreadable and output is not None:
                _check_new(output, unreadable)
    if output is not None:
        text = f"{counted(written, 'message')} written to {escape(str(output))}."
        say_result({"messages": written, "output": str(output)}, text, as_json=as_json)
    if unreadable:
        raise CommandError(
            f"{counted(unreadable, 'message')} could not be read; trio-smtp store check shows what is damaged"
        )


def _check_flags(form: str, output: Path | None, *, overwrite: bool, as_json: bool) -> None:
    if output is None:
        for flag, given in (
            ("--format maildir or eml", form != "mbox"),
            ("--json", as_json),
            ("--overwrite", overwrite),
        ):
            if given:
                raise UsageError(f"{flag} needs --output PATH; only an mbox can be written to standard output")
    elif overwrite and form != "mbox":
        raise UsageError(
            "--overwrite replaces only an mbox file, not a folder; choose another --output, or remove the folder first"
        )


# --- the three formats


@contextmanager
def _writing(form: str, output: Path | None, overwrite: bool) -> Generator[_Add]:
    """Yield a function that adds a message to the output.

    Raises:
        CommandError: if the output cannot be written.
    """
    if output is None:
        yield lambda message: say_octets(_mbox(message))
        return
    try:
        if form == "mbox" and output.exists() and not output.is_file():  # such as /dev/null, which would become a file
            raise CommandError(f"{output} is not a regular file and is not replaced; choose another --output")
        if output.exists() and not overwrite and not (form != "mbox" and _is_empty_folder(output)):
            advice = "add --overwrite, or " if form == "mbox" else ""
            raise CommandError(f"{output} already exists; {advice}choose another --output")
        with _FORMS[form](output, overwrite) as add:
            yield add
    except OSError as error:
        raise CommandError(f"cannot write {output}: {reason(error)}") from error


def _check_new(output: Path, unreadable: int) -> None:
    """Check that no existing file is replaced by an incomplete export, because it may contain the unreadable messages.

    Raises:
        CommandError: if the output file exists.
    """
    if output.is_file():
        raise CommandError(
            f"{counted(unreadable, 'message')} could not be read, so {output} was not replaced; choose another --output"
        )


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _mbox(message: Message) -> bytes:
    return to_mbox(message.content, message.info.internal_date, message.info.flags)


@contextmanager
def _mbox_file(path: Path, overwrite: bool) -> Generator[_Add]:
    fd, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    with undone_unless_complete(partial(Path(name).unlink, missing_ok=True)):
        with os.fdopen(fd, "wb") as file:

            def add(message: Message) -> None:
                file.write(_mbox(message))

            yield add
            _sync(file)
        if not overwrite:
            path.touch(exist_ok=False)  # fails if another process has created it in the meantime
        Path(name).replace(path)
        _sync_folder(path.parent)


@contextmanager
def _folder(path: Path) -> Generator[Path]:
    made = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    with undone_unless_complete(partial(shutil.rmtree, made, ignore_errors=True)):
        yield made
        _sync_folder(made)
        made.rename(path)  # fails if the path is anything but an empty folder
        _sync_folder(path.parent)


@contextmanager
def _maildir(path: Path, _: bool) -> Generator[_Add]:
    with _folder(path) as folder:
        for name in ("cur", "new", "tmp"):
            (folder / name).mkdir(mode=0o700)

        def add(message: Message) -> None:
            info = message.info
            letters = "".join(letter for letter, flag in MAILDIR_FLAGS.items() if flag in info.flags)
            name = f"{int(info.internal_date.timestamp())}.{info.uid:010}.trio-smtp:2,{letters}"
            _write(folder / "cur" / name, message.content, info.internal_date)

        yield add
        _sync_folder(folder / "cur")


@contextmanager
def _eml(path: Path, _: bool) -> Generator[_Add]:
    with _folder(path) as folder:
        yield lambda message: _write(
            folder / f"{message.info.uid:010}.eml", message.content, message.info.internal_date
        )


_FORMS: Final = {"mbox": _mbox_file, "maildir": _maildir, "eml": _eml}


def _write(path: Path, content: bytes, date: datetime) -> None:
    with path.open("xb") as file:
        file.write(content)
        _sync(file)
    os.utime(path, (date.timestamp(), date.timestamp()))


def _sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Make durable the names in a folder, without which a power cut would take the files with it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems cannot do it
            raise
    finally:
        os.close(descriptor)
