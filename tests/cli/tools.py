"""The result of a command, and a server in a separate process."""

from __future__ import annotations

import io
import json
import os
import signal
import smtplib
import sys
import warnings
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple, Self

from tests.forked import FORKED
from trio_smtp.cli import main


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
    """A text stream that passes for a terminal."""

    def isatty(self) -> bool:
        return True


class Serving:
    """`trio-smtp serve`, or another command that serves, in `folder`, from its banner on."""

    def __init__(self, *flags: str, folder: Path, umask: int | None = None, command: str = "serve") -> None:
        self.folder = folder
        (out, to_out), (err, to_err) = FORKED.Pipe(duplex=False), FORKED.Pipe(duplex=False)
        self._process = FORKED.Process(target=_serve, args=([command, *flags], folder, umask, to_out, to_err))
        self._process.start()
        to_out.close()
        to_err.close()
        self._out, self._err = (os.fdopen(os.dup(pipe.fileno()), encoding="utf-8") for pipe in (out, err))
        out.close()
        err.close()
        self.banner: list[str] = []
        for line in self._out:
            self.banner.append(line.removesuffix("\n"))
            if line.startswith(("Ctrl-C", '{"listen"')):
                break
        else:
            with self:
                raise AssertionError((self.banner, self._err.read()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()
        self._out.close()
        self._err.close()

    @property
    def endpoints(self) -> list[tuple[str, int]]:
        """The IPv4 addresses at which the server listens, in the order of the flags."""
        urls = (line.partition("://")[2].partition("?")[0] for line in self.banner)
        return [("127.0.0.1", int(url.removeprefix("127.0.0.1:"))) for url in urls if url.startswith("127.0.0.1:")]

    @property
    def address(self) -> str:
        return "{}:{}".format(*self.endpoints[0])

    def connect(self) -> smtplib.SMTP:
        return smtplib.SMTP(*self.endpoints[0], local_hostname="client.example")

    @property
    def record(self) -> dict[str, Any]:
        """The next JSON object that the server prints; the first one is its banner."""
        record: dict[str, Any] = json.loads(self.banner.pop() if self.banner else next(self._out))
        return record

    def log(self, word: str) -> str:
        """Return the next message in the log that contains this word."""
        for message in self.messages():
            if word in message:
                return message
        raise AssertionError("the log ended")

    def messages(self) -> Iterator[str]:
        """Yield the messages of the log as they come."""
        for line in self._err:
            yield json.loads(line)["message"]

    def send(self, number: signal.Signals) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def wait(self) -> int | None:
        """Wait for the end of the process and return its exit code."""
        self._process.join()
        return self._process.exitcode

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int | None:
        """Send the signal, wait for the end of the process, and return its exit code."""
        self.send(number)
        return self.wait()


def _serve(argv: Sequence[str], folder: Path, umask: int | None, out: Connection, err: Connection) -> None:
    """Run the program in this process."""
    os.chdir(folder)
    if umask is not None:
        os.umask(umask)
    os.dup2(out.fileno(), 1)
    os.dup2(err.fileno(), 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)
    warnings.simplefilter("error")
    sys.exit(main(argv))
