"""Listen on a Unix socket: create its file, replace the file of a server that has died, and remove it at the end."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Generator
from pathlib import Path

__all__ = ["listening_at"]


@contextlib.contextmanager
def listening_at(path: Path) -> Generator[socket.socket]:
    """A listening socket at `path` for the length of the block.

    Raises:
        OSError: if a server listens there (EADDRINUSE), or the file exists and is not a socket (EEXIST).
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        _remove_stale(path)
        listener.bind(str(path))
        made = path.lstat()
        try:
            listener.listen()
            yield listener
        finally:
            with contextlib.suppress(OSError):  # the file may be gone, or may be the socket of another server by now
                found = path.lstat()
                # The inode of our socket may have been used again, because a server that drains has closed it already.
                if os.path.samestat(found, made) and found.st_mtime_ns == made.st_mtime_ns:
                    path.unlink()


def _remove_stale(path: Path) -> None:
    if path.is_socket():
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)  # connecting would block if the backlog of a living server is full
            try:
                with contextlib.suppress(BlockingIOError):
                    probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()
            else:
                raise OSError(errno.EADDRINUSE, "address already in use")
    elif path.exists():
        raise FileExistsError(errno.EEXIST, "the file exists and is not a socket")
