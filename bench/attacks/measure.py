"""What a scenario finds out, and the client that most of them use: a blocking socket."""

from __future__ import annotations

import resource
import socket
import ssl
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import NamedTuple, Self

from bench.process import Server, running

RECIPIENT = b"bob@example.com"
MAIL = b"MAIL FROM:<ann@client.example>\r\n"
RCPT = b"RCPT TO:<" + RECIPIENT + b">\r\n"
KIB, MIB = 1024, 1 << 20
HELD = 3
"""Seconds for which the server of the scenario ``large`` has a message that has come in."""
RAISES_AT_ONCE = "127.0.0.66"
"""The client with this address meets a hook that raises before the greeting, in the scenario ``raising``."""


class Measure(NamedTuple):
    """A value, and the most that it may be."""

    what: str
    value: float
    limit: float
    unit: str

    @property
    def kept(self) -> bool:
        return self.value <= self.limit


class Client(AbstractContextManager["Client"]):
    """One that waits for each reply.

    Args:
        port: of the server, on this machine.
        tls: begin with a TLS handshake.
        source: the loopback address that it has; a crowd needs more ports than one address has.
    """

    def __init__(self, port: int, *, tls: ssl.SSLContext | None = None, source: str = "127.0.0.1") -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60, source_address=(source, 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket)
        self._received = b""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.socket.close()

    def greeted(self) -> Self:
        """Hear the greeting and answer it."""
        self.reply()
        self.say(b"EHLO client.example\r\n")
        return self

    def reply(self) -> int:
        """The code of the next reply, 0 when there is no more."""
        while True:
            while b"\n" in self._received:
                line, _, self._received = self._received.partition(b"\n")
                if line[3:4] != b"-":
                    return int(line[:3])
            try:
                data = self.socket.recv(4096)
            except ConnectionError:
                return 0
            if not data:
                return 0
            self._received += data

    def say(self, *pieces: bytes) -> list[int]:
        """Send each when the one before it was answered; the codes."""
        codes = []
        for piece in pieces:
            try:
                self.socket.sendall(piece)
            except ConnectionError:
                codes.append(0)
            else:
                codes.append(self.reply())
        return codes

    def deliver(self, content: bytes) -> bool:
        """Whether the server took it."""
        return self.say(MAIL, RCPT, b"DATA\r\n", content + b"\r\n.\r\n") == [250, 250, 354, 250]

    def time_noop(self) -> float:
        """How many milliseconds it takes."""
        start = time.perf_counter()
        if self.say(b"NOOP\r\n") != [250]:
            raise SystemExit("a good client was not answered")
        return (time.perf_counter() - start) * 1e3


def p99(values: Sequence[float]) -> float:
    """What 99 of 100 are not above."""
    return sorted(values)[len(values) * 99 // 100]


def serving(*arguments: str, descriptors: int | None = None) -> AbstractContextManager[Server]:
    """The program ``trio-smtp serve`` with an account for `RECIPIENT`; its log is dropped."""
    account = ("--account", f"bob={RECIPIENT.decode()}")
    return running("trio_smtp", "serve", *account, *arguments, descriptors=descriptors, quiet=True)


def may_open(wanted: int) -> int:
    """How many connections of `wanted` can be had here, in this process and in the server."""
    spare = 100
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted + spare:
        soft = wanted + spare if hard == resource.RLIM_INFINITY else min(wanted + spare, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft < wanted + spare:
        print(f"  (no process may open more than {hard} files here: {soft - spare} connections instead of {wanted})")
    return min(wanted, soft - spare)
