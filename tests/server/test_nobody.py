"""The decoys of unknown users: they cost and show the same as existing accounts, in whatever state the store is."""

from __future__ import annotations

from collections import Counter
from unittest import mock

import pytest
import trio
import trio.testing

from trio_smtp.mailbox import MemoryStore, StoreUnavailable
from trio_smtp.mailbox.passwords import SCRAM_ITERATIONS, decoy, hash_password
from trio_smtp.mailbox.store import Account, Credentials, NoSuchAccount
from trio_smtp.server import StoreAuthenticator
from trio_smtp.server.nobody import Nobody

CURRENT = hash_password("secret")
WEAK = Credentials(CURRENT.text.replace(f"${SCRAM_ITERATIONS}:", "$4096:").replace(",p=", ",p=1"))
NAMES = [f"nobody{number}" for number in range(300)]


@pytest.fixture
async def store() -> MemoryStore:
    """A third of the accounts have the current parameters; the others have not logged in since they were raised."""
    store = MemoryStore()
    for number in range(30):
        await store.create_account(f"user{number}", password=WEAK if number % 3 else CURRENT)
    await store.create_account("list")
    return store


async def iterations(nobody: Nobody) -> list[int]:
    return [(await nobody.keys(name)).iterations for name in NAMES]


async def test_like_the_accounts_in_proportion(store: MemoryStore) -> None:
    nobody = Nobody(store)
    forms = Counter([await nobody.credentials(name) for name in NAMES])
    assert forms.keys() == {decoy(CURRENT), decoy(WEAK)}
    assert 150 < forms[decoy(WEAK)] < 250
    shown = Counter(await iterations(nobody))
    assert shown.keys() == {SCRAM_ITERATIONS, 4096}
    assert 150 < shown[4096] < 250
    assert await iterations(Nobody(store)) == await iterations(nobody)  # as in another process


async def test_like_the_accounts_when_they_change(store: MemoryStore, mock_clock: trio.testing.MockClock) -> None:
    """A decoy that changes does so like an account: stronger keys and another salt. The others stay as they are."""
    nobody = Nobody(store)
    before = [await nobody.keys(name) for name in NAMES]
    for number in range(15):
        await store.set_password(f"user{number}", CURRENT)
    assert [await nobody.keys(name) for name in NAMES] == before  # the accounts are read again after ten minutes
    mock_clock.jump(601)
    after = [await nobody.keys(name) for name in NAMES]
    moved = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert moved
    assert {(old.iterations, new.iterations) for old, new in moved} == {(4096, SCRAM_ITERATIONS)}
    assert all(old.salt != new.salt for old, new in moved)


async def test_a_login_of_nobody_costs_what_one_of_somebody_costs(store: MemoryStore) -> None:
    """The same hash methods, with the same parameters, for existing and unknown names."""
    authenticator = StoreAuthenticator(store)
    with mock.patch("trio_smtp.mailbox.passwords._hash", return_value=b"") as hashed:
        for name in (*NAMES, "list"):
            assert await authenticator.check_password(name, "secret") is None
        of_nobody = {call.args[1] for call in hashed.call_args_list}
        hashed.reset_mock()
        for number in range(30):
            assert await authenticator.check_password(f"user{number}", "secret") is None
        of_somebody = {call.args[1] for call in hashed.call_args_list}
    assert len(of_somebody) == 2
    assert of_nobody == of_somebody


async def test_in_a_store_without_passwords() -> None:
    nobody = Nobody(MemoryStore())
    assert await nobody.credentials("ann") is None
    assert (await nobody.keys("ann")).iterations == SCRAM_ITERATIONS


async def test_accounts_that_cannot_be_looked_at(store: MemoryStore) -> None:
    """An account that is deleted meanwhile, and those with credentials of an unknown form, do not count."""
    await store.set_password("user1", Credentials("of a form that is not known"))
    no_base64 = CURRENT.text.replace(f"${SCRAM_ITERATIONS}:", f"${SCRAM_ITERATIONS}:AAA")
    await store.set_password("user2", Credentials(no_base64))
    accounts = [*await store.list_accounts(), Account("deleted")]
    with mock.patch.object(store, "list_accounts", return_value=accounts):
        assert await Nobody(store).credentials("ann") in {decoy(CURRENT), decoy(WEAK)}
    with pytest.raises(NoSuchAccount):
        await store.get_credentials("deleted")


async def test_one_look_for_all_who_ask_at_once(store: MemoryStore) -> None:
    nobody = Nobody(store)
    with mock.patch.object(store, "list_accounts", wraps=store.list_accounts) as looked:
        async with trio.open_nursery() as nursery:
            for name in NAMES:
                nursery.start_soon(nobody.keys, name)
    assert looked.call_count == 1


async def test_a_store_that_is_down(store: MemoryStore) -> None:
    """The error is raised instead of a guess, which would give unknown users away. The next call reads again."""
    nobody = Nobody(store)
    with (
        mock.patch.object(store, "list_accounts", side_effect=StoreUnavailable("down")),
        pytest.raises(StoreUnavailable),
    ):
        await nobody.keys("ann")
    assert (await nobody.keys("ann")).iterations in {SCRAM_ITERATIONS, 4096}
