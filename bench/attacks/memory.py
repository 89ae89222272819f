"""How much memory endless lines, large messages and past sessions use."""

from __future__ import annotations

import contextlib
import socket
import struct
import tempfile
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from bench.attacks.measure import MAIL, MIB, RCPT, Client, Measure, serving
from bench.process import Server, running

ENDLESS = 64  # MiB
NOTHING = struct.pack("ii", 1, 0)  # SO_LINGER: close() sends a reset


def endless_line() -> Iterator[Measure]:
    """64 MiB without a CRLF, as a command and in a message."""
    options = ("--store", "null:", "--max-message-size", "100M", "--listen", "smtp://127.0.0.1:0")
    for where, before, after in (("a command", (), [500]), ("a message", (MAIL, RCPT, b"DATA\r\n"), [250])):
        with serving(*options) as server, Client(server.port) as client:
            client.greeted().deliver(b"x" * 1000)
            server.forget_peak()
            resident = server.resident()
            client.say(*before)
            piece = b"x" * MIB
            for _ in range(ENDLESS):
                client.socket.sendall(piece)
            if client.say(b"\r\n.\r\n" if before else b"\r\n") != after:
                raise SystemExit(f"the endless line in {where} had another answer than {after}")
            yield Measure(f"memory that {where} adds", server.peak() - resident, 1, "MiB")


def large_messages() -> Iterator[Measure]:
    """A hundred clients send 10 MB each without the end, then all send the end, and the application is slow."""
    clients, budget = 100, 256  # MiB: the default of the option `message_memory`
    content = (b"x" * 98 + b"\r\n") * 100_000
    at_once = budget // 2 * MIB // len(content)  # one half of the budget is for complete messages
    with running("bench.servers.trio_smtp_target", "holding", quiet=True) as server, ExitStack() as stack:
        crowd = [stack.enter_context(Client(server.port)).greeted() for _ in range(clients)]
        server.forget_peak()
        resident = server.resident()
        for client in crowd:
            client.say(MAIL, RCPT, b"DATA\r\n")
            client.socket.sendall(content)
        yield Measure("memory while they are on their way", server.peak() - resident, budget, "MiB")
        for client in crowd:
            client.socket.sendall(b".\r\n")
        codes = [client.reply() for client in crowd]
        yield Measure("memory when they have come in", server.peak() - resident, budget, "MiB")
        yield Measure("messages accepted", codes.count(250), at_once, f"of {clients}")
        yield Measure("other answers than 250 and 452", len([code for code in codes if code not in (250, 452)]), 0, "")


# --- past sessions


def _normal(client: Client) -> None:
    client.deliver(b"x")
    client.say(b"QUIT\r\n")


def _reset(client: Client) -> None:
    client.say(MAIL, RCPT)
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NOTHING)


def _half_closed(client: Client) -> None:
    client.say(MAIL, RCPT)
    client.socket.shutdown(socket.SHUT_WR)
    client.reply()


def _cut_off(client: Client) -> None:
    client.say(MAIL, RCPT, b"DATA\r\n")
    client.socket.sendall(b"half of a mess")


def _bad_tls(client: Client) -> None:
    client.say(b"STARTTLS\r\n")
    client.socket.sendall(b"this is no TLS\r\n")
    with contextlib.suppress(ConnectionError):
        while client.socket.recv(4096):  # possibly a TLS alert
            pass


def _failed_login(client: Client) -> None:
    client.say(b"AUTH PLAIN " + b64encode(b"\0bob\0guess") + b"\r\n")


SESSIONS: tuple[Callable[[Client], None], ...] = (_normal, _reset, _half_closed, _cut_off, _bad_tls, _failed_login)
AT_ONCE = 8
COUNT = 50_000
WARM_UP = 10_000  # sessions after which the allocator and the per-peer tables no longer grow


def many_sessions() -> Iterator[Measure]:
    """50,000 sessions of six kinds: normal, reset, half-closed, cut off in DATA, bad TLS, a failed login."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {"TMPDIR": folder}
        with running("bench.servers.trio_smtp_target", "mixed", environment=environment, quiet=True) as server:
            _sessions(server, WARM_UP)
            before, resident, descriptors = _settled(server), server.resident(), server.descriptors()
            files = len(list(Path(folder).iterdir()))
            _sessions(server, COUNT)
            after = _settled(server)
            yield Measure("memory of each", (server.resident() - resident) * MIB / COUNT, 20, "octets")
            yield Measure("sessions that are missing", COUNT - after["connections"] + before["connections"], 0, "")
            yield Measure("tasks left", after["tasks"] - before["tasks"], 0, "")
            yield Measure("descriptors left", server.descriptors() - descriptors, 0, "")
            yield Measure("temporary files left", len(list(Path(folder).iterdir())) - files, 0, "")


def _sessions(server: Server, count: int) -> None:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda first: _some_sessions(server, range(first, count, AT_ONCE)), range(AT_ONCE)))


def _some_sessions(server: Server, numbers: range) -> None:
    for number in numbers:
        # A port stays in TIME-WAIT for a minute after its connection. Sixteen addresses have enough ports.
        with Client(server.port, source=f"127.0.0.{2 + number % 16}") as client:
            client.greeted()
            SESSIONS[number // AT_ONCE % len(SESSIONS)](client)


def _settled(server: Server) -> dict[str, int]:
    """Wait until the last session has ended, and return the server's report."""
    while (report := server.ask())["open"]:
        pass
    return report
