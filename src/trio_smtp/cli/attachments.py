"""Save attachments as files, in a folder that may already contain files and links of other users."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from trio_smtp.cli.errors import CommandError, reason
from trio_smtp.cli.undo import undone_unless_complete
from trio_smtp.mime import Attachment
from trio_smtp.mime.filenames import numbered

__all__ = ["save"]


def save(attachments: Sequence[Attachment], folder: Path) -> Iterator[Path]:
    """Write attachments to new files, and yield the path of each.

    An existing file is never overwritten and a link is never followed; the new file gets a number instead. Mail is
    private, so only the owner can read the files (mode 0600) and the folder, if it is created here (0700).

    Raises:
        CommandError: if the folder cannot be used or the disk is full. A partly written file is removed.
    """
    try:
        folder.mkdir(0o700, exist_ok=True)
        inside = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        why = "not a directory" if isinstance(error, FileExistsError) else reason(error)
        raise CommandError(f"cannot save attachments in {folder}: {why}; choose another directory") from error
    try:
        for attachment in attachments:
            yield folder / _write(attachment, inside)
    except OSError as error:
        raise CommandError(f"cannot write in {folder}: {reason(error)}; choose another directory") from error
    finally:
        os.close(inside)


def _write(attachment: Attachment, inside: int) -> str:
    """Write one attachment to a new file in the folder of the descriptor `inside`, and return its name."""
    name, descriptor = _new_file(_encodable(attachment.filename), inside)
    with undone_unless_complete(partial(os.unlink, name, dir_fd=inside)), os.fdopen(descriptor, "wb") as file:
        file.write(attachment.content)
    return name


def _encodable(filename: str) -> str:
    """The name with ``_`` for letters that the locale cannot write. (A safe name contains no question mark.)"""
    encoding = sys.getfilesystemencoding()
    return filename.encode(encoding, "replace").decode(encoding).replace("?", "_")


def _new_file(filename: str, inside: int) -> tuple[str, int]:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    name, number = filename, 0
    while True:
        try:
            return name, os.open(name, flags, 0o600, dir_fd=inside)
        except FileExistsError:
            number += 1
            name = numbered(filename, number)
