"""The result of a scenario, and the client that most scenarios use, on a blocking socket."""

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
"""Seconds for which the server of the scenario ``large`` keeps a received message in memory."""
RAISES_AT_ONCE = "127.0.0.66"
"""The client address for which the hook before the greeting raises, in the scenario ``raising``."""


class Measure(NamedTuple):
    """A value and its upper limit."""

    what: str
    value: float
    limit: float
    unit: str

    @property
    def kept(self) -> bool:
        return self.value <= self.limit


class Client(AbstractContextManager["Client"]):
    """A client that waits for each reply.

    Args:
        port: the port of the server on this machine.
        tls: the context for a TLS handshake at the start, if any.
        source: the loopback address of the client. A crowd needs several, because it uses more ports than one has.
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
        """Read the greeting and send EHLO."""
        self.reply()
        self.say(b"EHLO client.example\r\n")
        return self

    def reply(self) -> int:
        """The code of the next reply, 0 if the connection is closed."""
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
        """Send each piece after the reply to the one before, and return the codes of the replies."""
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
        """Send a message and return whether the server accepted it."""
        return self.say(MAIL, RCPT, b"DATA\r\n", content + b"\r\n.\r\n") == [250, 250, 354, 250]

    def time_noop(self) -> float:
        """The milliseconds until the reply to NOOP."""
        start = time.perf_counter()
        if self.say(b"NOOP\r\n") != [250]:
            raise SystemExit("a good client was not answered")
        return (time.perf_counter() - start) * 1e3


def p99(values: Sequence[float]) -> float:
    """The 99th percentile."""
    return sorted(values)[len(values) * 99 // 100]


def serving(*arguments: str, descriptors: int | None = None) -> AbstractContextManager[Server]:
    """Run ``trio-smtp serve`` with an account for `RECIPIENT`, and drop its log."""
    account = ("--account", f"bob={RECIPIENT.decode()}")
    return running("trio_smtp", "serve", *account, *arguments, descriptors=descriptors, quiet=True)


def may_open(wanted: int) -> int:
    """How many of the `wanted` connections the limit on open files allows in this process and in the server."""
    spare = 100
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted + spare:
        soft = wanted + spare if hard == resource.RLIM_INFINITY else min(wanted + spare, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft < wanted + spare:
        print(f"  (no process may open more than {hard} files here: {soft - spare} connections instead of {wanted})")
    return min(wanted, soft - spare)
