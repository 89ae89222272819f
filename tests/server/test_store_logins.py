"""`StoreAuthenticator`: passwords, rehashing, SCRAM keys and certificates; unknown users cost the same work."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import trio
import trio.testing

from trio_smtp.handler import Refuse
from trio_smtp.mailbox import MemoryStore, StoreUnavailable, passwords
from trio_smtp.mailbox.json_file import JSONFileStore
from trio_smtp.mailbox.passwords import MAX_PASSWORD, SCRAM_ITERATIONS, hash_password, needs_rehash, scram_keys
from trio_smtp.mailbox.store import Account, Credentials
from trio_smtp.sasl import derive_keys
from trio_smtp.server import StoreAuthenticator, authentication

CURRENT = hash_password("secret")
OLD = Credentials(CURRENT.text.partition(" ")[0])  # as older versions made them, without SCRAM keys


@pytest.fixture
async def store() -> MemoryStore:
    store = MemoryStore()
    await store.create_account("ann", addresses=["ann@example.com"], password=CURRENT)
    await store.create_account("old", addresses=["old@example.com"], password=OLD)
    await store.create_account("none", addresses=["none@example.com"])
    return store


@pytest.fixture
def hashes() -> Iterator[mock.Mock]:
    """A mock around the one function that hashes passwords."""
    with mock.patch.object(passwords, "_hash", wraps=passwords._hash) as hashed:
        yield hashed


@pytest.mark.parametrize(
    ("username", "password", "identity"),
    [
        ("ann", "secret", "ann"),
        ("ann@example.com", "secret", "ann"),
        ("ANN+tag@example.com", "secret", "ann"),
        ("ann", "Secret", None),
        ("bob", "secret", None),
        ("bob@example.com", "secret", None),
        ("none", "secret", None),
    ],
)
async def test_password(
    store: MemoryStore, hashes: mock.Mock, username: str, password: str, identity: str | None
) -> None:
    """Every login, also of an unknown user, costs one hash with the same parameters, in a thread."""
    threads: list[threading.Thread] = []

    def note_thread(*_: object) -> object:
        threads.append(threading.current_thread())
        return mock.DEFAULT

    hashes.side_effect = note_thread
    assert await StoreAuthenticator(store).check_password(username, password) == identity
    (call,) = hashes.call_args_list
    octets, method, salt, length = call.args
    assert (octets, method, len(salt), length) == (password.encode(), passwords._preferred(), 16, 32)
    assert threads != [threading.main_thread()]


@pytest.mark.parametrize("username", ["ann", "bob"])
async def test_what_is_no_password_is_not_hashed(store: MemoryStore, hashes: mock.Mock, username: str) -> None:
    assert await StoreAuthenticator(store).check_password(username, "x" * (MAX_PASSWORD + 1)) is None
    assert not hashes.called


async def test_hashed_anew(store: MemoryStore) -> None:
    authenticator = StoreAuthenticator(store)
    assert await authenticator.check_password("old", "Secret") is None
    assert await store.get_credentials("old") == OLD
    assert await authenticator.check_password("old", "secret") == "old"
    credentials = await store.get_credentials("old")
    assert credentials is not None
    assert not needs_rehash(credentials)
    assert await authenticator.check_password("old", "secret") == "old"
    assert await store.get_credentials("old") == credentials


async def test_a_password_that_changes_meanwhile_stays(store: MemoryStore) -> None:
    token = trio.lowlevel.current_trio_token()

    def hash_slowly(password: str) -> Credentials:
        trio.from_thread.run(store.set_password, "old", CURRENT, trio_token=token)
        return hash_password(password)

    with mock.patch.object(authentication, "hash_password", hash_slowly):
        assert await StoreAuthenticator(store).check_password("old", "secret") == "old"
    assert await store.get_credentials("old") == CURRENT


async def test_two_logins_at_once_that_hash_anew(store: MemoryStore) -> None:
    """Both are let in, and the first hash stays."""
    stored: list[Credentials | None] = []
    set_password = store.set_password

    async def note(*args: Any, **kwargs: Any) -> None:
        await set_password(*args, **kwargs)
        stored.append(await store.get_credentials("old"))

    authenticator = StoreAuthenticator(store)
    identities: list[str | None] = []

    async def login() -> None:
        identities.append(await authenticator.check_password("old", "secret"))

    with mock.patch.object(store, "set_password", note):
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(login)
    assert identities == ["old", "old"]
    first, second = stored
    assert first is not None
    assert first == second != OLD


async def test_an_account_that_goes_before_its_password_is_read(store: MemoryStore, hashes: mock.Mock) -> None:
    """The login fails like one of an unknown user, at the same cost."""
    get_account = store.get_account

    async def and_delete(name: str) -> Account:
        account = await get_account(name)
        await store.delete_account(name)
        return account

    with mock.patch.object(store, "get_account", and_delete):
        assert await StoreAuthenticator(store).check_password("ann", "secret") is None
        identity, _ = await StoreAuthenticator(store).scram_keys("old")
    assert identity is None
    assert hashes.call_count == 1


async def test_an_account_that_goes_while_its_password_is_hashed_anew(
    store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    """The login succeeds; the account is deleted a moment later."""

    token = trio.lowlevel.current_trio_token()

    def hash_slowly(password: str) -> Credentials:
        trio.from_thread.run(store.delete_account, "old", trio_token=token)
        return CURRENT

    with mock.patch.object(authentication, "hash_password", hash_slowly):
        assert await StoreAuthenticator(store).check_password("old", "secret") == "old"
    assert caplog.messages == ["no stronger hash for account old: there is no account 'old'"]


async def test_a_store_that_cannot_write(store: MemoryStore, caplog: pytest.LogCaptureFixture) -> None:
    """The login still succeeds."""
    with mock.patch.object(store, "set_password", side_effect=StoreUnavailable("disk full")):
        assert await StoreAuthenticator(store).check_password("old", "secret") == "old"
    assert caplog.messages == ["no stronger hash for account old: disk full"]


@pytest.mark.skipif(sys.platform != "linux", reason="the threads of a process have one priority")
async def test_others_come_first(store: MemoryStore, hashes: mock.Mock) -> None:
    priorities: list[int] = []

    def note_priority(*_: object) -> object:
        priorities.append(os.getpriority(os.PRIO_PROCESS, 0))
        return mock.DEFAULT

    hashes.side_effect = note_priority
    before = os.getpriority(os.PRIO_PROCESS, 0)
    await StoreAuthenticator(store).check_password("ann", "secret")
    assert priorities == [min(before + 10, 19)]
    assert os.getpriority(os.PRIO_PROCESS, 0) == before
    assert await trio.to_thread.run_sync(os.getpriority, os.PRIO_PROCESS, 0) == before


async def test_a_sandbox_without_priorities(store: MemoryStore) -> None:
    with mock.patch.object(os, "nice", side_effect=PermissionError):
        assert await StoreAuthenticator(store).check_password("ann", "secret") == "ann"


@pytest.mark.parametrize("waiting", [3, 0])
async def test_the_queue_is_bounded_behind_a_slow_store_too(store: MemoryStore, waiting: int) -> None:
    """When the store answers, all logins that waited for it reach the queue at once."""
    go, refused = threading.Event(), 0
    answered = trio.Event()
    get_account = store.get_account

    async def when_answered(name: str) -> Account:
        await answered.wait()
        return await get_account(name)

    authenticator = StoreAuthenticator(store, waiting=waiting)

    async def login() -> None:
        nonlocal refused
        try:
            await authenticator.check_password("ann", "secret")
        except Refuse:
            refused += 1

    with (
        mock.patch.object(authentication, "verify_password", side_effect=lambda *_: go.wait()),
        mock.patch.object(store, "get_account", when_answered),
    ):
        async with trio.open_nursery() as nursery:
            try:
                for _ in range(20):
                    nursery.start_soon(login)
                await trio.testing.wait_all_tasks_blocked()
                answered.set()
                await trio.testing.wait_all_tasks_blocked()
                assert refused == 20 - (2 + waiting)
            finally:
                go.set()


@pytest.mark.parametrize(
    ("numbers", "error", "complaint"),
    [
        ({"at_once": 0}, ValueError, "at_once must be at least 1 and waiting at least 0, not 0 and 64"),
        ({"waiting": -1}, ValueError, "at_once must be at least 1 and waiting at least 0, not 2 and -1"),
        ({"at_once": "2"}, TypeError, "at_once must be of type int, not '2'"),
        ({"waiting": None}, TypeError, "waiting must be of type int, not None"),
    ],
)
async def test_numbers_that_make_no_sense(
    store: MemoryStore, numbers: dict[str, Any], error: type[Exception], complaint: str
) -> None:
    with pytest.raises(error, match=f"^{complaint}$"):
        StoreAuthenticator(store, **numbers)


async def test_scram_keys(store: MemoryStore) -> None:
    authenticator = StoreAuthenticator(store)
    for username in ("ann", "Ann@example.com"):
        assert await authenticator.scram_keys(username) == ("ann", scram_keys(CURRENT))


@pytest.mark.parametrize("username", ["bob", "old", "none", "bob@example.com"])
async def test_scram_keys_of_nobody(store: MemoryStore, username: str) -> None:
    """The keys look like real ones, and are the same in every process that serves the store."""
    identity, keys = await StoreAuthenticator(store).scram_keys(username)
    real = scram_keys(CURRENT)
    assert identity is None
    assert real is not None
    assert (len(keys.salt), keys.iterations) == (len(real.salt), real.iterations)
    assert await StoreAuthenticator(store).scram_keys(username) == (None, keys)
    assert await StoreAuthenticator(MemoryStore()).scram_keys(username) != (None, keys)
    assert keys != derive_keys(b"secret", keys.salt, keys.iterations)


async def test_the_salt_of_nobody_outlives_a_restart(tmp_path: Path) -> None:
    """Real salts do, and are the same in every process of a server; one that changed would betray an unknown user."""
    salts: set[bytes] = set()
    async with JSONFileStore(tmp_path) as other:
        for _ in range(2):
            async with JSONFileStore(tmp_path) as store:
                salts.add((await StoreAuthenticator(store).scram_keys("bob"))[1].salt)
        salts.add((await StoreAuthenticator(other).scram_keys("bob"))[1].salt)
    assert len(salts) == 1


async def test_keys_that_are_made_anew_look_like_those_of_nobody(store: MemoryStore) -> None:
    """So all new keys have the same salt length and iteration count."""
    fewer = CURRENT.text.replace(f"${SCRAM_ITERATIONS}:", "$4096:")
    await store.set_password("old", Credentials(fewer))
    authenticator = StoreAuthenticator(store)
    assert (await authenticator.scram_keys("old"))[1].iterations == 4096
    assert await authenticator.check_password("old", "secret") == "old"
    identity, keys = await authenticator.scram_keys("old")
    _, nobodys = await StoreAuthenticator(store).scram_keys("bob")  # this one has never read the old iteration count
    assert identity == "old"
    assert (len(keys.salt), keys.iterations) == (len(nobodys.salt), nobodys.iterations)


@pytest.mark.parametrize("username", ["ann", "old", "bob"])
async def test_without_the_secret_nobody_is_told_from_others(store: MemoryStore, username: str) -> None:
    with (
        mock.patch.object(store, "get_secret", side_effect=StoreUnavailable("disk full")),
        pytest.raises(StoreUnavailable),
    ):
        await StoreAuthenticator(store).scram_keys(username)


async def test_nobodys_addresses_are_folded_like_those_of_others(store: MemoryStore) -> None:
    authenticator = StoreAuthenticator(store)
    keys = await authenticator.scram_keys("bob@example.com")
    assert await authenticator.scram_keys("BOB+tag@example.com") == keys


@pytest.mark.parametrize(
    ("name", "username", "identity"),
    [
        ("ann@example.com", None, "ann"),
        ("ann", None, "ann"),
        ("ann@example.com", "ann", "ann"),
        ("ann@example.com", "old", None),
        ("ann@example.com", "bob", None),
        ("bob@example.com", None, None),
        ("bob@example.com", "bob", None),
        ("bob@example.com", "ann", None),
    ],
)
async def test_certificate(store: MemoryStore, name: str, username: str | None, identity: str | None) -> None:
    assert await StoreAuthenticator(store).check_certificate(name, username) == identity


async def test_a_message_that_comes_between_two_looks_at_an_account_makes_no_other_of_it() -> None:
    class Busy(MemoryStore):
        async def find_account(self, address: str) -> Account | None:
            await self.append_message("ann", "INBOX", b"x")
            return await super().find_account(address)

    store = Busy()
    await store.create_account("ann", addresses=["ann@example.com"])
    assert await StoreAuthenticator(store).check_certificate("ann@example.com", "ann@example.com") == "ann"
