"""The file system calls that the store needs. No other module of the store makes any.

So a test can replace them in one place, the names `os` and `fcntl` of this module, to make any call fail or to
record them all.

- A `Directory` stays open and files are opened relative to it, so a later change of its path does not matter.
- Only regular files are opened; no symbolic link is followed, and opening a FIFO does not wait.
- New files are created with O_EXCL. Files have the mode 0600 and directories 0700, whatever the umask.
- A write is complete or raises. All failures are `OSError`.
- A directory is synced through a new descriptor each time: a failed sync must not be retried on the same descriptor.
"""

# ruff: noqa: PTH208 (pathlib knows no descriptors)

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_CHUNK = 1024 * 1024
_SAFE = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # O_NONBLOCK, because opening a FIFO waits for its other end
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_LINE = re.compile(rb"[^\n]*\n")
_BROKEN = frozenset({errno.EIO, errno.EUCLEAN, errno.EBADMSG, errno.ELOOP, errno.ENXIO})


class Directory:
    """A directory that stays open until `close`."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    # --- the directory

    @classmethod
    def at(cls, path: str, *, create: bool) -> Directory:
        """Open a directory, creating it if it is missing and `create` is set; symbolic links are followed only here."""
        return cls(_make_and_open(path, None) if create else os.open(path, _DIRECTORY))

    def directory(self, name: str) -> Directory:
        """Open a directory in this one, creating it if it is missing."""
        return Directory(_make_and_open(name, self.fd))

    def mode(self) -> int:
        """The permission bits."""
        return stat.S_IMODE(os.fstat(self.fd).st_mode)

    def is_writable(self) -> bool:
        """Whether files can be created in it."""
        return os.access(".", os.W_OK, dir_fd=self.fd)

    def names(self) -> list[str]:
        """Return the names of its entries, sorted."""
        # Through a new descriptor: threads that list the same one would share its position.
        with _opened(os.open(".", _DIRECTORY, dir_fd=self.fd)) as fd:
            return sorted(os.listdir(fd))

    def sync(self) -> None:
        """Make durable what was created, renamed and removed in it."""
        with _opened(os.open(".", _DIRECTORY, dir_fd=self.fd)) as fd:
            _sync(os.fsync, fd)

    def sync_name(self) -> None:
        """Make durable its own entry in its parent directory."""
        with _opened(os.open("..", _DIRECTORY, dir_fd=self.fd)) as fd:
            os.fsync(fd)

    def close(self) -> None:
        """Close the descriptor."""
        close(self.fd)
        self.fd = -1

    # --- what is in it

    def open(self, name: str, *, writable: bool = False) -> int:
        """Open a regular file that exists."""
        flags = _SAFE | (os.O_RDWR if writable else os.O_RDONLY)
        with closed_on_error(os.open(name, flags, dir_fd=self.fd)) as fd:
            _check_regular(fd, name)
            return fd

    def create(self, name: str) -> int:
        """Create a file that does not exist, and open it to read and write."""
        flags = _SAFE | os.O_RDWR | os.O_CREAT | os.O_EXCL
        with closed_on_error(os.open(name, flags, 0o600, dir_fd=self.fd)) as fd:
            os.fchmod(fd, 0o600)
            return fd

    @contextlib.contextmanager
    def opened(self, name: str, *, writable: bool = False) -> Iterator[int]:
        """Open a regular file that exists, for the length of a `with` block."""
        with _opened(self.open(name, writable=writable)) as fd:
            yield fd

    def open_or_create(self, name: str) -> int:
        """Open a regular file to read and write, creating it if it is missing."""
        with contextlib.suppress(FileExistsError):
            return self.create(name)
        return self.open(name, writable=True)

    def publish(self, name: str, pieces: Iterable[bytes]) -> None:
        """Replace a file atomically: at any moment either the old or the new one is there, complete.

        The new file is on disk before it takes the name; the renaming is durable after `sync`.
        """
        self.discard_draft(name)
        draft = _draft(name)
        try:
            with _opened(self.create(draft)) as fd:
                offset = 0
                for piece in pieces:
                    write_at(fd, offset, piece)
                    offset += len(piece)
                sync(fd)
            os.rename(draft, name, src_dir_fd=self.fd, dst_dir_fd=self.fd)
        except BaseException:
            with contextlib.suppress(OSError):  # on a full disk it would take space that mail needs
                self.unlink(draft)
            raise

    def discard_draft(self, name: str) -> None:
        """Remove the draft of a process that died while it published a file of this name."""
        with contextlib.suppress(FileNotFoundError):
            self.unlink(_draft(name))

    def move(self, name: str, to: Directory, new_name: str) -> None:
        """Move a file to another directory."""
        os.rename(name, new_name, src_dir_fd=self.fd, dst_dir_fd=to.fd)

    def unlink(self, name: str) -> None:
        """Remove a file."""
        os.unlink(name, dir_fd=self.fd)

    def stat(self, name: str) -> os.stat_result:
        """Return the status of a file without opening it or following a link."""
        return os.stat(name, dir_fd=self.fd, follow_symlinks=False)


def _draft(name: str) -> str:
    return f"{name}.new"


def reason(error: OSError) -> str:
    """Return a message for people that says what went wrong, and with which file."""
    text = error.strerror or str(error)
    return f"{error.filename}: {text}" if error.filename else text


def is_broken(error: OSError) -> bool:
    """Whether the error is a fault of the file that is likely to last: the disk cannot read it, the file system has
    lost it, or it is not a regular file. A lack of resources or of a permission is no such fault: it can be remedied.
    """
    return error.errno in _BROKEN


def _make_and_open(path: str, within: int | None) -> int:
    try:
        os.mkdir(path, 0o700, dir_fd=within)
    except FileExistsError:
        return os.open(path, _DIRECTORY | (0 if within is None else os.O_NOFOLLOW), dir_fd=within)
    with closed_on_error(os.open(path, _DIRECTORY | os.O_NOFOLLOW, dir_fd=within)) as fd:
        os.fchmod(fd, 0o700)
        return fd


def _check_regular(fd: int, name: str) -> None:
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        raise OSError(errno.ENXIO, "not a regular file", name)  # the error that opening a socket gives


# --- open files


def size(fd: int) -> int:
    """Return the size of the file, in octets."""
    return os.fstat(fd).st_size


def inode(fd: int) -> int:
    """Return the inode number, which no other file of the directory has as long as this one is open."""
    return os.fstat(fd).st_ino


def names(fd: int) -> int:
    """Return the number of names of the file: none if it was removed, several with hard links."""
    return os.fstat(fd).st_nlink


def read_at(fd: int, offset: int, length: int) -> bytes:
    """Read `length` octets at an offset; fewer only if the file ends before."""
    pieces: list[bytes] = []
    while length and (piece := os.pread(fd, length, offset)):
        pieces.append(piece)
        offset += len(piece)
        length -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def lines(fd: int, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Yield the lines between two offsets, each with its own offset; the last one may have no newline."""
    rest = b""
    while start < end:
        piece = read_at(fd, start, min(_CHUNK, end - start))
        if not piece:
            break
        offset, start = start - len(rest), start + len(piece)
        complete, newline, rest = (rest + piece).rpartition(b"\n")
        if newline:
            for line in _LINE.findall(complete + newline):
                yield offset, line
                offset += len(line)
    if rest:
        yield start - len(rest), rest


def write_at(fd: int, offset: int, data: bytes | bytearray) -> None:
    """Write all of the data at an offset."""
    view = memoryview(data)
    while len(view) > 0:
        written = os.pwrite(fd, view, offset)
        if written == 0:
            raise OSError(errno.EIO, "nothing was written")
        offset += written
        view = view[written:]


def truncate(fd: int, length: int) -> None:
    """Cut the file to a length."""
    os.ftruncate(fd, length)


def sync_data(fd: int) -> None:
    """Make durable what was written, and the greater length of the file."""
    _sync(os.fdatasync, fd)


def _sync(call: Callable[[int], None], fd: int) -> None:
    try:
        call(fd)
    except OSError as error:
        # A file system that can never be written, such as squashfs, supports no sync, and needs none.
        if error.errno != errno.EINVAL or not os.fstatvfs(fd).f_flag & os.ST_RDONLY:
            raise


def sync(fd: int) -> None:
    """Make everything durable, a shorter length too."""
    os.fsync(fd)


def close(fd: int) -> None:
    """Close the descriptor and ignore errors: what matters was synced, and a failed close must not be retried."""
    with contextlib.suppress(OSError):
        os.close(fd)


# --- locks


def lock(fd: int, *, exclusive: bool) -> None:
    """Wait for the flock and take it. It belongs to the open file, so threads that share a descriptor share it."""
    _flock(fd, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)


def try_lock(fd: int) -> bool:
    """Take the exclusive flock if nobody has it; return whether that worked."""
    try:
        _flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def unlock(fd: int) -> None:
    """Release the flock."""
    _flock(fd, fcntl.LOCK_UN)


def _flock(fd: int, operation: int) -> None:
    if fd < 0:  # it was closed; fcntl would raise ValueError
        raise OSError(errno.EBADF, "the store is closed")
    fcntl.flock(fd, operation)


@contextlib.contextmanager
def _opened(fd: int) -> Iterator[int]:
    try:
        yield fd
    finally:
        close(fd)


@contextlib.contextmanager
def closed_on_error(fd: int) -> Iterator[int]:
    """Close the descriptor if the block raises an OSError."""
    try:
        yield fd
    except OSError:
        close(fd)
        raise
