"""SIGHUP, with and without a terminal."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE

import pytest

from tests.cli.tools import Serving

LISTEN = "--listen=smtp://127.0.0.1:0"

# What a terminal does for its shell, and nohup for a program.
IN_TERMINAL = """
import fcntl, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
if sys.argv.pop(1) == "nohup":
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
from trio_smtp.cli import main
sys.exit(main(sys.argv[1:]))
"""


@contextmanager
def in_terminal(*argv: str) -> Generator[tuple[subprocess.Popen[str], int]]:
    """A server in a terminal of its own, and the other end of that, which is to be closed."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", IN_TERMINAL, *argv],
        stdin=theirs,
        stdout=PIPE,
        stderr=PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        try:
            assert process.stdout is not None
            assert next(line for line in process.stdout if line.startswith("Ctrl-C"))
            yield process, ours
        finally:
            process.kill()


def logs_that_there_is_nothing_to_read(process: subprocess.Popen[str]) -> bool:
    assert process.stderr is not None
    return any("there are no certificates to be read again" in line for line in process.stderr)


def test_without_certificates_there_is_nothing_to_read_again(folder: Path) -> None:
    with Serving(LISTEN, folder=folder) as server:
        server.send(signal.SIGHUP)
        server.log("there are no certificates to be read again")
        with server.connect() as client:
            assert client.noop()[0] == 250
        assert server.stop() == 0


@pytest.mark.parametrize("command", [("serve", LISTEN, "--workers=2"), ("catch", "--smtp=0")])
def test_a_terminal_that_is_closed_leaves_no_server_behind(command: tuple[str, ...]) -> None:
    with in_terminal("-", *command) as (process, terminal):
        process.send_signal(signal.SIGHUP)
        assert logs_that_there_is_nothing_to_read(process)
        os.close(terminal)
        assert process.wait() == 0


def test_unless_it_was_told_not_to_mind() -> None:
    with in_terminal("nohup", "serve", LISTEN) as (process, terminal):
        os.close(terminal)
        assert logs_that_there_is_nothing_to_read(process)
        process.terminate()
        assert process.wait() == 0
