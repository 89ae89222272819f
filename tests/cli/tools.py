"""What a command did, and a server in a process of its own."""

from __future__ import annotations

import io
import json
import signal
import smtplib
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple, Self


class Result(NamedTuple):
    code: object
    out: bytes
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.decode().splitlines()

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]

    def fails(self, code: int, *fragments: str) -> None:
        """Assert that the command failed with one sentence that contains the fragments, and printed nothing else."""
        assert (self.code, self.out) == (code, b""), self
        assert self.err.startswith("trio-smtp"), self.err
        assert self.err.endswith("\n"), self.err
        assert self.err.removesuffix("\n").isprintable(), self.err
        for fragment in fragments:
            assert fragment in self.err


class Terminal(io.StringIO):
    """What is printed to a terminal."""

    def isatty(self) -> bool:
        return True


class Serving:
    """`trio-smtp serve` in `folder`, from its banner on."""

    def __init__(self, *flags: str, folder: Path, umask: int = -1) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "trio_smtp", "serve", *flags],
            cwd=folder,
            umask=umask,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.banner: list[str] = []
        for line in self.process.stdout:
            self.banner.append(line.removesuffix("\n"))
            if line.startswith("Ctrl-C"):
                break
        else:
            raise AssertionError(self.process.communicate())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    @property
    def endpoints(self) -> list[tuple[str, int]]:
        """Where it listens on IPv4, in the order of the flags."""
        urls = (line.partition("://")[2].partition("?")[0] for line in self.banner)
        return [("127.0.0.1", int(url.removeprefix("127.0.0.1:"))) for url in urls if url.startswith("127.0.0.1:")]

    @property
    def address(self) -> str:
        return "{}:{}".format(*self.endpoints[0])

    def connect(self) -> smtplib.SMTP:
        return smtplib.SMTP(*self.endpoints[0], local_hostname="client.example")

    def log(self, word: str) -> str:
        """The next message in the log with this word in it."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            message: str = json.loads(line)["message"]
            if word in message:
                return message
        raise AssertionError("the log ended")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send the signal, and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait()
