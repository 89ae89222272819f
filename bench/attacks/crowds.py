"""Many clients at once: idle ones, abusive ones, and more than there are file descriptors."""

from __future__ import annotations

import random
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.attacks.measure import KIB, Client, Measure, may_open, p99, serving
from bench.process import running

SMTP, SMTPS = "smtp://127.0.0.1:0", "smtps://127.0.0.1:0"
NOOPS = 1000
NOOPS_IN_THE_RABBLE = 300
JUNK = 40  # commands between two messages, few enough to be answered without delay


def idle_connections() -> Iterator[Measure]:
    """10,000 clients that have sent EHLO and then nothing."""
    yield from _idle(may_open(10_000), 16, SMTP)


def idle_tls_connections() -> Iterator[Measure]:
    """3,000 clients that have done the same inside TLS."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.check_hostname = False
    tls.verify_mode = ssl.CERT_NONE
    yield from _idle(may_open(3_000), 48, SMTPS, "--tls", "self-signed", tls=tls)


def _idle(count: int, limit: int, *arguments: str, tls: ssl.SSLContext | None = None) -> Iterator[Measure]:
    options = ["--store", "null:", "--max-connections", str(count + 1), "--listen", *arguments]
    with serving(*options) as server, ExitStack() as stack:
        with Client(server.port, tls=tls) as first:  # so that one-time allocations are not counted
            first.greeted()
        before = server.resident()
        clients = [stack.enter_context(Client(server.port, tls=tls)).greeted() for _ in range(count)]
        each = (server.resident() - before) * KIB / count
        yield Measure("memory of each", each, limit, "KiB")
        chosen = random.sample(clients, min(NOOPS, count))
        yield Measure("NOOP of one among them, p99", p99([client.time_noop() for client in chosen]), 10, "ms")


def rabble() -> Iterator[Measure]:
    """Ten flooders, ten bulk senders and ten failing logins, beside a good client that sends NOOP now and then."""
    with running("bench.servers.trio_smtp_target", "logins", quiet=True) as server, Client(server.port) as good:
        good.greeted()
        with _rabble(server.port):
            times = []
            for number in range(NOOPS_IN_THE_RABBLE):
                if number % JUNK == 0 and not good.deliver(b"x"):
                    sys.exit("the message of a good client was refused")
                time.sleep(0.003)
                times.append(good.time_noop())
        report = server.ask()
        for what in ("messages", "login_failures"):
            if not report[what]:
                sys.exit(f"the rabble did nothing: {report}")
    yield Measure("NOOP of the good client, p99", p99(times), 20, "ms")


@contextmanager
def _rabble(port: int) -> Iterator[None]:
    """Run the bad clients in a separate process, so that they do not delay the good client in this one."""
    command = [sys.executable, "-m", "bench.attacks.rabble", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        process.stdout.readline()
        yield
    finally:
        process.kill()
        process.communicate()


def few_descriptors() -> Iterator[Measure]:
    """Ten sessions deliver mail while 500 more clients connect to a server that has only 64 file descriptors."""
    content = (b"x" * 70 + b"\r\n") * 5000  # large enough for the store to keep it in a separate file
    sessions, each = 10, 3
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        options = ("--store", f"json:{Path(folder, 'mail')}", "--listen", SMTP)
        server = stack.enter_context(serving(*options, descriptors=64))
        early = [stack.enter_context(Client(server.port)).greeted() for _ in range(sessions)]
        for _ in range(500):
            stack.enter_context(Client(server.port))
        delivered = sum(client.deliver(content) for _ in range(each) for client in early)
    yield Measure("messages of the ten that failed", sessions * each - delivered, 0, f"of {sessions * each}")
