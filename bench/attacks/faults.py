"""How errors in the application and the end of the server affect other clients and accepted mail."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from bench.attacks.measure import MAIL, RAISES_AT_ONCE, RCPT, Client, Measure, serving
from bench.process import Server, running

HOOKS = ("connect", "hello", "mail", "rcpt", "message", "reset", "close")


def raising_hooks() -> Iterator[Measure]:
    """1,000 sessions in which a hook raises, each hook in turn, while ten other clients deliver mail."""
    sessions, witnesses = 1000, 10
    over = threading.Event()
    results: list[bool] = []

    def deliver(client: Client) -> None:
        while not over.wait(0.05):
            results.append(client.deliver(b"x"))

    with running("bench.servers.trio_smtp_target", "raising", quiet=True) as server, ExitStack() as stack:
        clients = [stack.enter_context(Client(server.port)).greeted() for _ in range(witnesses)]
        threads = [threading.Thread(target=deliver, args=[client]) for client in clients]
        for thread in threads:
            thread.start()
        for hook in itertools.islice(itertools.cycle(HOOKS), sessions):
            _provoke(server, hook)
        over.set()
        for thread in threads:
            thread.join()
        raised = server.ask()["hook_errors"]
    yield Measure("deliveries of witnesses that failed", results.count(False), 0, f"of {len(results)}")
    yield Measure("sessions in which not one hook raised", abs(sessions - raised), 0, f"of {sessions}")


def _provoke(server: Server, hook: str) -> None:
    with Client(server.port, source=RAISES_AT_ONCE if hook == "connect" else "127.0.0.1") as client:
        client.reply()
        client.say(b"EHLO " + hook.encode() + b".example\r\n")
        if hook != "connect":
            client.deliver(b"x")
            if hook == "reset":
                client.say(MAIL, b"RSET\r\n")
            client.say(b"QUIT\r\n")


# --- SIGTERM

ROUNDS, CLIENTS = 50, 50
SILENT = 7  # one of so many clients sends nothing after the signal


def signals() -> Iterator[Measure]:
    """Fifty times SIGTERM while fifty clients are at different steps of a transaction; some then send nothing."""
    acknowledged: set[str] = set()
    idle_rounds = faulty_exits = 0
    with tempfile.TemporaryDirectory() as folder:
        store = f"json:{Path(folder, 'mail')}"
        for number in range(ROUNDS):
            options = ("--store", store, "--drain-timeout", "0.3", "--listen", "smtp://127.0.0.1:0")
            with serving(*options) as server:
                names = set(_interrupted(server, number))
                faulty_exits += server.wait() != 0
            acknowledged |= names
            idle_rounds += not names
        export = [sys.executable, "-m", "trio_smtp", "mail", "export", "bob", "--store", store]
        mbox = subprocess.run(export, check=True, stdout=subprocess.PIPE, text=True).stdout
        kept = set(re.findall("^Subject: (.*)$", mbox, re.MULTILINE))
    yield Measure("messages acknowledged and lost", len(acknowledged - kept), 0, f"of {len(acknowledged)}")
    yield Measure("rounds that acknowledged nothing", idle_rounds, 0, f"of {ROUNDS}")
    yield Measure("exit codes that are not 0", faulty_exits, 0, f"of {ROUNDS}")


def _interrupted(server: Server, number: int) -> Iterator[str]:
    """The names of the messages of one round that the server has accepted."""
    with ExitStack() as stack:
        transactions = []
        for index in range(CLIENTS):
            client = stack.enter_context(Client(server.port)).greeted()
            transaction = _Transaction(client, f"{number}-{index}")
            for _ in range(1 + index * len(transaction.steps) // CLIENTS):
                transaction.go_on()
            transactions.append(transaction)
        server.terminate()
        for index, transaction in enumerate(transactions):
            if index % SILENT:
                while transaction.steps:
                    transaction.go_on()
                if transaction.last_code() == 250:
                    yield transaction.name


class _Transaction:
    """One message, sent step by step. The reply to a step is read as late as possible, just before the next step."""

    def __init__(self, client: Client, name: str) -> None:
        self.name = name
        self.steps = [MAIL, RCPT, b"DATA\r\n", f"Subject: {name}\r\n\r\n".encode(), b"x\r\n.\r\n"]
        self._client = client
        self._awaits: int | None = None  # the reply code after which the transaction goes on

    def go_on(self) -> None:
        """Take the next step. If the server has refused the one before, drop the remaining steps."""
        if self._awaits is not None and self._client.reply() != self._awaits:
            self.steps = []
            self._awaits = None
            return
        step = self.steps.pop(0)
        try:
            self._client.socket.sendall(step)
        except ConnectionError:  # the server has closed the connection
            self.steps = []
        self._awaits = {1: None, 2: 354}.get(len(self.steps), 250)

    def last_code(self) -> int:
        """The reply code to the end of the message, 0 if the transaction did not get there."""
        return 0 if self._awaits is None else self._client.reply()
