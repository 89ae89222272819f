"""Logins against a store: what work is done, and when; how long it takes is what that work takes (CASES 61 to 63)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from unittest import mock

import pytest
import trio
import trio.testing

from trio_smtp.handler import Refuse
from trio_smtp.mailbox import MemoryStore, StoreUnavailable, passwords
from trio_smtp.mailbox.passwords import MAX_PASSWORD, hash_password, needs_rehash, scram_keys
from trio_smtp.mailbox.store import Credentials
from trio_smtp.sasl import derive_keys
from trio_smtp.server import StoreAuthenticator, authentication

CURRENT = hash_password("secret")
OLD = Credentials(CURRENT.text.partition(" ")[0])  # from before there were SCRAM keys


@pytest.fixture
async def store() -> MemoryStore:
    store = MemoryStore()
    await store.create_account("ann", addresses=["ann@example.com"], password=CURRENT)
    await store.create_account("old", addresses=["old@example.com"], password=OLD)
    await store.create_account("none", addresses=["none@example.com"])
    return store


@pytest.fixture
def hashes() -> Iterator[mock.Mock]:
    """The one place where passwords are hashed."""
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
    """Whoever it is: one hash, by the same method, with the same costs, in a thread."""
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
    def hash_slowly(password: str) -> Credentials:
        trio.from_thread.run(store.set_password, "old", CURRENT)
        return hash_password(password)

    with mock.patch.object(authentication, "hash_password", hash_slowly):
        assert await StoreAuthenticator(store).check_password("old", "secret") == "old"
    assert await store.get_credentials("old") == CURRENT


async def test_a_store_that_cannot_write(store: MemoryStore, caplog: pytest.LogCaptureFixture) -> None:
    """The login is good all the same."""
    with mock.patch.object(store, "set_password", side_effect=StoreUnavailable("disk full")):
        assert await StoreAuthenticator(store).check_password("old", "secret") == "old"
    assert caplog.messages == ["no stronger hash for account old: disk full"]


async def test_few_at_a_time_and_a_bounded_queue(store: MemoryStore) -> None:
    """CASES 62."""
    go, running, most = threading.Event(), 0, 0
    lock = threading.Lock()

    def verify(credentials: object, password: str) -> bool:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        go.wait()
        with lock:
            running -= 1
        return False

    authenticator = StoreAuthenticator(store, waiting=3)
    outcomes: list[str | None] = []

    async def try_it() -> None:
        outcomes.append(await authenticator.check_password("ann", "Secret"))

    with mock.patch.object(authentication, "verify_password", verify):
        async with trio.open_nursery() as nursery:
            try:
                for _ in range(2 + 3):
                    nursery.start_soon(try_it)
                await trio.testing.wait_all_tasks_blocked()
                with pytest.raises(Refuse) as refusal:
                    await authenticator.check_password("ann", "secret")
                assert refusal.value.reply.code == 454
            finally:
                go.set()
    assert outcomes == [None] * 5
    assert most <= 2


async def test_scram_keys(store: MemoryStore) -> None:
    authenticator = StoreAuthenticator(store)
    for username in ("ann", "Ann@example.com"):
        assert await authenticator.scram_keys(username) == ("ann", scram_keys(CURRENT))


@pytest.mark.parametrize("username", ["bob", "old", "none", "bob@example.com"])
async def test_scram_keys_of_nobody(store: MemoryStore, username: str) -> None:
    """They look like others, and stay the same as long as the secret does."""
    authenticator = StoreAuthenticator(store, secret=b"one secret")
    identity, keys = await authenticator.scram_keys(username)
    real = scram_keys(CURRENT)
    assert identity is None
    assert real is not None
    assert (len(keys.salt), keys.iterations) == (len(real.salt), real.iterations)
    assert await StoreAuthenticator(store, secret=b"one secret").scram_keys(username) == (None, keys)
    assert await StoreAuthenticator(store).scram_keys(username) != (None, keys)
    assert keys != derive_keys(b"secret", keys.salt, 1)


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
    ],
)
async def test_certificate(store: MemoryStore, name: str, username: str | None, identity: str | None) -> None:
    assert await StoreAuthenticator(store).check_certificate(name, username) == identity
