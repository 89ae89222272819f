"""Kill servers under load: ``python -m tests.crash.kills --kills 500 --messages 10000``.

Two servers (``trio-smtp serve``) share a store, and six SMTP clients keep delivering to them; one message in twelve is
so large that it gets a file of its own. After a random number of accepted messages a server is killed by SIGKILL, while
its clients are sending, and started again. This goes on until there were enough kills and enough acknowledged messages.
Then the store must hold

- every acknowledged message, byte for byte and exactly once;
- no message that was refused, and no message twice.

This process reads the store all the while, and must see no torn message and none vanish. At the end the check of
``trio-smtp store check`` must find no fault. The exit code is 1 if any of this does not hold.
"""

from __future__ import annotations

import argparse
import re
import signal
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from random import Random

import trio

from trio_smtp.mailbox.json_file import JSONFileStore
from trio_smtp.mailbox.json_file.maintenance import check_store
from trio_smtp.mailbox.store import INBOX, Message
from trio_smtp.testing import ScriptedClient

CLIENTS = 6
PER_CONNECTION = 10  # messages
ADDRESS = "ann@example.com"
COMMAND = [sys.executable, "-m", "trio_smtp", "serve", "--listen", "smtp://127.0.0.1:0", "--store"]
_LISTENS = re.compile(rb"smtp://127\.0\.0\.1:([0-9]+)")
_NUMBER = re.compile(rb"^Subject: number ([0-9]+)\r\n", re.MULTILINE)


def content(number: int) -> bytes:
    """The message with this number, unlike every other."""
    size = 300_000 if number % 12 == 0 else number * 37 % 5000
    return b"Subject: number %d\r\n\r\n" % number + b"%07d\r\n" % number * (size // 9)


class Server:
    """A server that is killed and started again."""

    def __init__(self) -> None:
        self.port: int | None = None  # while it listens
        self.lives_for = 0  # messages that it accepts before it is killed
        self.doomed = trio.Event()


class Run:
    """One run, with what became of its messages.

    Args:
        path: the store, which holds the account ann.
        kills, messages: how many there must be at least.
    """

    def __init__(self, path: Path, kills: int, messages: int) -> None:
        self._path = path
        self._kills = kills
        self._messages = messages
        self._random = Random(7)
        self._servers = [Server(), Server()]
        self._number = 0
        self._over = trio.Event()
        self.killed = 0
        self.acknowledged: set[int] = set()
        self.refused: set[int] = set()
        self.seen: dict[int, int] = {}  # by UID

    async def run(self) -> None:
        """Deliver and kill, then check the store."""
        async with JSONFileStore(self._path, create=False) as store, trio.open_nursery() as nursery:
            nursery.start_soon(self._read, store)
            async with trio.open_nursery() as busy:
                for server in self._servers:
                    busy.start_soon(self._keep, server)
                for _ in range(CLIENTS):
                    busy.start_soon(self._deliver)
                await self._over.wait()
                busy.cancel_scope.cancel()
            nursery.cancel_scope.cancel()
        await self._check()

    def _accepted(self, number: int, server: Server) -> None:
        self.acknowledged.add(number)
        server.lives_for -= 1
        if server.lives_for <= 0 and self.killed < self._kills:
            server.doomed.set()
        if self.killed >= self._kills and len(self.acknowledged) >= self._messages:
            self._over.set()

    # --- servers

    async def _keep(self, server: Server) -> None:
        """Start a server, kill it once it is doomed, and start it again."""
        mean = max(1, self._messages // max(1, self._kills))
        while True:
            server.lives_for, server.doomed = self._random.randint(1, 2 * mean), trio.Event()
            async with trio.open_nursery() as nursery:
                command = [*COMMAND, f"json:{self._path}"]
                options = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "check": False}
                process = await nursery.start(partial(trio.run_process, command, **options))
                assert isinstance(process, trio.Process)
                try:
                    server.port = await self._listening(process)
                    await server.doomed.wait()
                    process.kill()
                finally:
                    server.port = None
                assert await process.wait() == -signal.SIGKILL
            self.killed += 1

    async def _listening(self, process: trio.Process) -> int:
        said = b""
        assert process.stdout is not None
        async for chunk in process.stdout:
            said += chunk
            if match := _LISTENS.search(said):
                return int(match[1])
        raise AssertionError(f"the server does not start: {said!r}")

    # --- clients

    async def _deliver(self) -> None:
        while True:
            server = self._random.choice(self._servers)
            if server.port is None:
                await trio.sleep(0.01)
                continue
            try:
                async with ScriptedClient(await trio.open_tcp_stream("127.0.0.1", server.port)) as client:
                    await self._session(client, server)
            except (OSError, EOFError, trio.BrokenResourceError):
                pass  # the server was killed; messages without a reply may be stored or not

    async def _session(self, client: ScriptedClient, server: Server) -> None:
        await client.expect("220")
        await client.command("EHLO client.example")
        for _ in range(PER_CONNECTION):
            self._number += 1
            number = self._number
            reply = await client.send_mail("bob@example.org", [ADDRESS], content(number))
            if reply.code == 250:
                self._accepted(number, server)
            else:
                self.refused.add(number)

    # --- the reader and the check

    async def _read(self, store: JSONFileStore) -> None:
        """Look for new messages again and again."""
        while True:
            for each in await store.list_messages("ann", INBOX, after=max(self.seen, default=0), limit=50):
                self.seen[each.uid] = number_of(await store.get_message("ann", INBOX, each.uid))
            assert await store.count_messages("ann", INBOX) >= len(self.seen), "what was seen has vanished"
            await trio.sleep(0.01)

    async def _check(self) -> None:
        stored: dict[int, int] = {}
        async with JSONFileStore(self._path, create=False) as store:
            for each in await store.list_messages("ann", INBOX):
                stored[each.uid] = number_of(await store.get_message("ann", INBOX, each.uid))
            assert store.damage == ()
        numbers = set(stored.values())
        assert len(numbers) == len(stored), "there are messages twice"
        assert numbers >= self.acknowledged, f"lost: {sorted(self.acknowledged - numbers)}"
        assert not numbers & self.refused, f"refused, and there: {sorted(numbers & self.refused)}"
        assert stored.items() >= self.seen.items(), "not what was seen before"
        assert (await trio.to_thread.run_sync(check_store, self._path)).faults == []


def number_of(message: Message) -> int:
    """The number of this message, after checking that it is whole, behind the trace fields that the server adds."""
    match = _NUMBER.search(message.content)
    assert match is not None, f"torn: {message.content[:200]!r}"
    number = int(match[1])
    assert message.content.startswith(b"Return-Path: <bob@example.org>\r\n"), number
    assert message.content[match.start() :] == content(number), f"message {number} is not what was sent"
    return number


async def run(folder: Path, kills: int, messages: int) -> Run:
    """Create a store in this directory and do one run with it."""
    path = folder / "mail"
    async with JSONFileStore(path) as store:
        await store.create_account("ann", addresses=[ADDRESS])
    killing = Run(path, kills, messages)
    await killing.run()
    return killing


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.crash.kills", description="Kill servers under load.")
    parser.add_argument("--kills", type=int, default=500, help="at least so many (default: %(default)s)")
    parser.add_argument("--messages", type=int, default=10_000, help="acknowledged, at least (default: %(default)s)")
    arguments = parser.parse_args()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        done = trio.run(run, Path(folder), arguments.kills, arguments.messages)
    seconds = time.perf_counter() - start
    sys.stdout.write(
        f"{done.killed} kills, {len(done.acknowledged)} messages acknowledged in {seconds:.0f} s: "
        "none lost, none twice, none torn; "
        f"{len(done.seen)} read meanwhile, {len(done.refused)} refused and not there\n"
    )


if __name__ == "__main__":
    main()
