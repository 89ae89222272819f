"""Blobs: the bodies that are too large for a line of the journal, each in a file of its own with a random name.

A blob counts once a record names it. Until then the process that writes it holds an flock on it. So if no record names
a blob and nobody holds its flock, its writer died or its messages were deleted, and any process may remove it. Finding
such blobs needs the exclusive lock of the store, so that nobody commits meanwhile.
"""

from __future__ import annotations

import contextlib
import errno
import secrets
import zlib
from typing import TYPE_CHECKING

from trio_smtp.mailbox.json_file import files
from trio_smtp.mailbox.json_file.records import BlobInfo
from trio_smtp.mailbox.json_file.values import RecordError

if TYPE_CHECKING:
    from collections.abc import Callable, Container


class NewBlob:
    """A blob that is being written. End with `release` or `discard`. Blocks; raises OSError."""

    def __init__(self, folder: files.Directory) -> None:
        self._folder = folder
        self._size = 0
        self._crc = 0
        self._doubtful = False
        while not self._begin():
            self.discard()

    def _begin(self) -> bool:
        self._name = secrets.token_hex(16)
        self._fd = self._folder.create(self._name)
        try:
            # Another process may have found and removed it before it was locked.
            return files.try_lock(self._fd) and files.names(self._fd) > 0
        except OSError:
            self.discard()
            raise

    def write(self, data: bytes | bytearray) -> None:
        """Append octets."""
        files.write_at(self._fd, self._size, data)
        self._size += len(data)
        self._crc = zlib.crc32(data, self._crc)

    def seal(self) -> BlobInfo:
        """Make the blob durable, before the record that names it is written."""
        if self._doubtful:  # a second sync would succeed although the first has failed
            raise OSError(errno.EIO, "an earlier sync failed")
        self._doubtful = True
        files.sync(self._fd)
        self._folder.sync()
        self._doubtful = False
        return BlobInfo(self._name, self._size, f"{self._crc:08x}")

    def release(self) -> None:
        """Close the blob, and so release its flock, once a record names it."""
        files.close(self._fd)

    def discard(self) -> None:
        """Remove the blob."""
        with contextlib.suppress(OSError):  # then it is removed later, as an old blob
            self._folder.unlink(self._name)
        files.close(self._fd)


def read_blob(folder: files.Directory, blob: BlobInfo, limit: int | None) -> bytes:
    """Return the body, or its first `limit` octets; then the checksum is not verified.

    Raises:
        RecordError: if the file is not as the record says.
    """
    length = blob.size if limit is None else min(limit, blob.size)
    with folder.opened(blob.name) as fd:
        body = files.read_at(fd, 0, length)
    if len(body) < length or (limit is None and f"{zlib.crc32(body):08x}" != blob.crc):
        raise RecordError(f"blob {blob.name} is damaged")
    return body


class OldBlob:
    """A blob that no message needs any more, and an flock on it."""

    def __init__(self, folder: files.Directory, name: str) -> None:
        """Raises OSError if another process or thread is still writing it."""
        self._folder = folder
        self._name = name
        self._fd = folder.open(name)
        with files.closed_on_error(self._fd):
            if not files.try_lock(self._fd):
                raise OSError(errno.EWOULDBLOCK, "another process or thread is writing it", name)

    def remove(self) -> bool:
        """Remove the blob; return whether that worked. Needs no lock, so nobody waits while its space is freed."""
        try:
            self._folder.unlink(self._name)
        except OSError:
            return False
        finally:
            files.close(self._fd)
        return True


def old_blobs(folder: files.Directory, named: Callable[[], Container[str]], limit: int) -> list[OldBlob]:
    """Return the blobs that no message needs, at most `limit`. Needs the exclusive lock of the store.

    Args:
        named: returns the names of the blobs that messages need; called only if there are blobs.
    """
    found: list[OldBlob] = []
    names = folder.names()
    needed = named() if names else ()
    for name in names:
        if name not in needed and len(found) < limit:
            with contextlib.suppress(OSError):
                found.append(OldBlob(folder, name))
    return found
