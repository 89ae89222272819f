"""SIGHUP, with and without a terminal, and what a signal does before the server is ready."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest
import trio
import trustme
from trio.testing import wait_all_tasks_blocked

from tests.cli.tools import Serving
from trio_smtp.cli.hangup import unless_stopped
from trio_smtp.cli.listen import parse_listen
from trio_smtp.cli.serve import serve
from trio_smtp.cli.settings import parse_store
from trio_smtp.mailbox import MailStore, MemoryStore
from trio_smtp.server import Certificates

LISTEN = "--listen=smtp://127.0.0.1:0"

# Make standard input the controlling terminal, as for a shell, and ignore SIGHUP on demand, as nohup does.
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
    """Run a server in a new terminal. Yield it and the other end of the terminal, which the caller must close."""
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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_while_it_waits_for_the_store(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    waiting = trio.Event()

    @asynccontextmanager
    async def locked(*_: Any, **__: Any) -> AsyncGenerator[MailStore]:
        waiting.set()
        await trio.Event().wait()
        yield MemoryStore()

    monkeypatch.setattr("trio_smtp.cli.serve.opened", locked)
    path = tmp_path / "lmtp"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(serve, listen=[parse_listen(f"lmtp+unix://{path}")]))
        await waiting.wait()
        assert path.exists()
        os.kill(os.getpid(), signal.SIGUSR1)  # there are no counters yet
        os.kill(os.getpid(), number)
    assert not path.exists()
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL


async def test_a_signal_ends_it_while_it_waits_for_the_dns(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = trio.Event()

    async def silent(*_: Any, **__: Any) -> None:
        waiting.set()
        await trio.sleep_forever()

    monkeypatch.setattr(trio.socket, "getaddrinfo", silent)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(serve, listen=[parse_listen("smtp://mx.example.com:0")]))
        await waiting.wait()
        os.kill(os.getpid(), signal.SIGINT)


async def test_a_signal_ends_it_while_certificates_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As on a network file system that does not respond."""
    file, ready, reading = tmp_path / "mx.pem", trio.Event(), trio.Event()
    trustme.CA().issue_cert("mx.example.com").private_key_and_cert_chain_pem.write_to_path(file)

    async def hang(_: Certificates) -> None:
        reading.set()
        await trio.sleep_forever()

    monkeypatch.setattr(Certificates, "reload", hang)
    monkeypatch.setattr("trio_smtp.cli.serve._announce", lambda _: ready.set())
    async with trio.open_nursery() as nursery:
        flags = {"listen": [parse_listen("smtp://127.0.0.1:0")], "store": parse_store("memory:"), "tls_cert": [file]}
        nursery.start_soon(partial(serve, **flags))
        await ready.wait()
        os.kill(os.getpid(), signal.SIGHUP)
        await reading.wait()
        os.kill(os.getpid(), signal.SIGTERM)


async def test_a_signal_that_comes_in_the_moment_in_which_all_is_ready_is_not_lost() -> None:
    now = trio.Event()

    async def stops(_: object) -> AsyncGenerator[int]:
        await now.wait()
        yield signal.SIGTERM

    async def task() -> str:
        await now.wait()
        return "ready"

    async def set_now() -> None:
        await wait_all_tasks_blocked()
        now.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(set_now)
        assert await unless_stopped(stops, task) is None


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
