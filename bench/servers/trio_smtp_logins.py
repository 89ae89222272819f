"""trio-smtp with a JSON store that has one account with a password: ``trio_smtp_logins METHOD``.

METHOD is a hash method of `bench.auth`. At the end of its standard input, the server prints as JSON by how many seconds
a task overslept each time it slept for a millisecond, and the most passwords that were hashed at the same time.
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading

import trio

import trio_smtp
from bench.auth import ACCOUNT, PASSWORD, use_method
from trio_smtp.mailbox import passwords

MANY = 1_000_000


class Hashes:
    """Wraps the function that hashes, and counts concurrent calls."""

    def __init__(self) -> None:
        self._hash = passwords._hash
        self._lock = threading.Lock()
        self._now = 0
        self.most = 0

    def __call__(self, password: bytes, method: passwords._Method, salt: bytes, length: int) -> bytes:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        try:
            return self._hash(password, method, salt, length)
        finally:
            with self._lock:
                self._now -= 1


async def note_stalls(stalls: list[float]) -> None:
    while True:
        due = trio.current_time() + 0.001
        await trio.sleep_until(due)
        stalls.append(trio.current_time() - due)


async def main() -> None:
    use_method(sys.argv[1])
    hashes = Hashes()
    passwords._hash = hashes
    stalls: list[float] = []
    limits = trio_smtp.Limits(auth_failures=MANY, errors=MANY)
    config = trio_smtp.Config(auth_requires_tls=False, limits=limits)
    with tempfile.TemporaryDirectory() as folder:
        async with trio_smtp.JSONFileStore(folder) as store, trio.open_nursery() as nursery:
            await store.create_account(ACCOUNT, addresses=[f"{ACCOUNT}@example.com"], password=PASSWORD)
            handler = trio_smtp.MailboxHandler.factory(store)
            authenticator = trio_smtp.StoreAuthenticator(store)
            async with trio_smtp.open_server(handler, port=0, config=config, authenticator=authenticator) as server:
                print(server.port, flush=True)
                hashes.most = 0
                nursery.start_soon(note_stalls, stalls)
                await trio.to_thread.run_sync(sys.stdin.read)
                print(json.dumps({"stalls": stalls, "hashes": hashes.most}))
            nursery.cancel_scope.cancel()


trio.run(main)
