"""Listening on a Unix socket: it replaces the socket of a dead server, and nothing else."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from trio_smtp.cli.unix_socket import listening_at


def connect(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_listens_and_leaves_nothing(folder: Path) -> None:
    path = folder / "s"
    with listening_at(path):
        connect(path)
    assert not list(folder.iterdir())


def test_takes_over_from_a_dead_server(folder: Path) -> None:
    path = folder / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with listening_at(path):
        connect(path)
    assert not list(folder.iterdir())


def test_leaves_a_living_server_alone(folder: Path) -> None:
    path = folder / "s"
    with listening_at(path):
        with pytest.raises(OSError, match="in use") as caught, listening_at(path):
            pass
        assert caught.value.errno == errno.EADDRINUSE
        connect(path)


def test_leaves_a_server_alone_that_hangs(folder: Path) -> None:
    """The queue of its socket is full, so that a client that wants to connect waits for ever."""
    path = folder / "s"
    with ExitStack() as stack:
        hanging = stack.enter_context(socket.socket(socket.AF_UNIX))
        hanging.bind(str(path))
        hanging.listen(0)
        with suppress(BlockingIOError):
            while True:
                client = stack.enter_context(socket.socket(socket.AF_UNIX))
                client.setblocking(False)
                client.connect(str(path))
        with pytest.raises(OSError, match="in use"), listening_at(path):
            pass
        assert path.is_socket()


def test_leaves_a_file_alone(folder: Path) -> None:
    path = folder / "s"
    path.write_text("precious")
    with pytest.raises(FileExistsError), listening_at(path):
        pass
    assert path.read_text() == "precious"


def test_leaves_the_socket_of_its_successor_alone_while_it_drains(folder: Path) -> None:
    """Some file systems give the successor's socket the same inode."""
    path = folder / "s"
    with ExitStack() as successor:
        with listening_at(path) as closed_to_drain:
            closed_to_drain.close()
            successor.enter_context(listening_at(path))
            os.utime(path, ns=(1, 1))  # for clocks that have not gone on yet
        connect(path)


def test_leaves_the_socket_of_its_successor_alone(folder: Path) -> None:
    path = folder / "s"
    with listening_at(path):
        path.unlink()
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))
    assert path.is_socket()
