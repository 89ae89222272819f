"""The program as a shell starts it: exit codes, closed and full standard streams, encodings."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from subprocess import PIPE
from unittest.mock import Mock

import pytest

from tests.cli.tools import Result
from trio_smtp.cli import account
from trio_smtp.mailbox.store import MailStore

Prepare = Callable[[Callable[[MailStore], Awaitable[object]]], None]


@pytest.fixture(autouse=True)
def message(prepare: Prepare) -> None:
    async def fill(store: MailStore) -> None:
        await store.create_account("jörg\u202e", addresses=["demo@example.com"])
        await store.append_message("jörg\u202e", "INBOX", b"x")

    prepare(fill)


def trio_smtp(*argv: str, stdout: int = PIPE, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "trio_smtp", *argv],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=PIPE,
        env={**os.environ, **environment},
        check=False,
    )


def test_exit_codes() -> None:
    for argv, code in [("account list", 0), ("account show nobody", 1), ("account frobnicate", 2)]:
        assert trio_smtp(*argv.split()).returncode == code


def test_a_terminal_that_shows_no_other_letters() -> None:
    done = trio_smtp("account", "list", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"j\\xf6rg\\u202e" in done.stdout


def test_a_locale_that_knows_no_other_letters(folder: Path, prepare: Prepare) -> None:
    async def fill(store: MailStore) -> None:
        await store.create_account("demo")
        content = "Content-Disposition: attachment; filename*=UTF-8''j%C3%B6rg-%E2%98%83.txt\r\n\r\nhello"
        await store.append_message("demo", "INBOX", content.encode())

    prepare(fill)
    argv = ["mail", "show", "demo", "1", "--save-attachments", "files"]
    done = trio_smtp(*argv, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"files/j_rg-_.txt\n", b"")
    assert (folder / "files" / "j_rg-_.txt").read_text() == "hello"


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("command", ["account list", "account list --json", "mail show jörg\u202e 1 --raw", "--help"])
def test_a_reader_that_has_seen_enough(command: str, unbuffered: str) -> None:
    done = unread(*command.split(" "), unbuffered=unbuffered)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_what_is_changed_without_a_reader(tmp_path: Path, unbuffered: str) -> None:
    """A command does all of its work, and its exit code tells whether it could."""
    paths = [str(tmp_path / name) for name in ("a.eml", "b.eml")]
    for path in paths:
        Path(path).write_text(path)
    name = "jörg\u202e"
    assert unread("mail", "import", name, *paths, "missing", "--json", unbuffered=unbuffered).returncode == 1
    assert len(trio_smtp("mail", "list", name, "--json").stdout.splitlines()) == 3
    assert unread("mail", "delete", name, "1", "2", "3", unbuffered=unbuffered).returncode == 0
    assert trio_smtp("mail", "list", name, "--json").stdout == b""


def unread(*argv: str, unbuffered: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command whose output nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        return trio_smtp(*argv, stdout=writing, PYTHONUNBUFFERED=unbuffered)
    finally:
        os.close(writing)


def test_a_server(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-m", "trio_smtp", "serve", "--listen", "smtp://127.0.0.1:0"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "systemd"))
        environment = {**os.environ, "NOTIFY_SOCKET": systemd.getsockname()}
        with subprocess.Popen(command, stdout=PIPE, stderr=PIPE, text=True, env=environment) as process:
            assert process.stdout is not None
            assert next(line for line in process.stdout if line.startswith("Ctrl-C"))
            assert systemd.recv(100) == b"READY=1"
            process.send_signal(signal.SIGTERM)
            assert systemd.recv(100) == b"STOPPING=1"
            assert process.wait() == 0


def test_a_full_disk() -> None:
    with Path("/dev/full").open("wb") as full:
        done = trio_smtp("account", "list", stdout=full.fileno())
    assert done.returncode == 1
    assert done.stderr == b"trio-smtp: cannot write to standard output: no space left on device\n"


def test_errors_that_nobody_can_read() -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([sys.executable, "-m", "trio_smtp", "account", "show", "x"], stderr=full, check=False)
    assert done.returncode == 1


def test_a_server_with_a_full_disk_takes_mail_all_the_same() -> None:
    command = [sys.executable, "-W", "error", "-m", "trio_smtp", "serve", "--listen", "smtp://127.0.0.1:0"]
    with Path("/dev/full").open("wb") as full, subprocess.Popen(command, stdout=full, stderr=PIPE) as process:
        assert process.stderr is not None
        assert b"cannot write to standard output: no space left on device" in process.stderr.readline()
        process.terminate()
        assert b"stopping" in process.stderr.readline()


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (PermissionError(13, "Permission denied", "/etc/x"), "trio-smtp: /etc/x: permission denied\n"),
        (OSError(24, "Too many open files"), "trio-smtp: too many open files\n"),
        (BrokenPipeError(32, "Broken pipe"), "trio-smtp: broken pipe\n"),
    ],
)
def test_faults_that_are_not_of_the_output(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, fault: OSError, sentence: str
) -> None:
    monkeypatch.setattr(account, "opened", Mock(side_effect=fault))
    assert run("account", "list") == (1, b"", sentence)


def test_closed_streams() -> None:
    command = 'exec "$0" -W error -m trio_smtp mail show jörg\u202e 1 <&- >&-'
    done = subprocess.run(["sh", "-c", command, sys.executable], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_closed_streams_of_workers() -> None:
    """Workers inherit the files that replace the closed streams."""
    program = (
        "import os, trio_smtp.cli;"
        "trio_smtp.cli.main(['store', 'info', '--store=json:none']);"
        "os._exit(not all(map(os.get_inheritable, range(3))))"
    )
    command = 'exec "$0" -c "$1" <&- >&- 2>&-'
    assert subprocess.run(["sh", "-c", command, sys.executable, program], check=False).returncode == 0
