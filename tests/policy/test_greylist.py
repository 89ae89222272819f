"""Greylisting: which mail is refused at first, when it passes, and what the store keeps about it."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.policy.tools import begin_transaction, session
from tests.server.tools import begin, connected, take
from trio_smtp.handler import Refuse, Session
from trio_smtp.mailbox import MemoryStore, StoreUnavailable
from trio_smtp.mailbox.json_file import JSONFileStore
from trio_smtp.mailbox.operations import KeepNote
from trio_smtp.mailbox.store import MailStore
from trio_smtp.policy import Greylist
from trio_smtp.protocol import Address, RcptParameters, RcptTo
from trio_smtp.server import open_server

DAY = 86_400
STRANGER = "192.0.2.1"


class Clock:
    """The time for the policy and for the store."""

    now = 1_800_000_000.75

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("trio_smtp.mailbox.indexed.now", lambda: int(clock.now))
    return clock


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def policy(store: MemoryStore, clock: Clock) -> Greylist:
    return Greylist(store, clock=clock)


async def passes(
    policy: Greylist,
    who: Session | None = None,
    sender: str = "ann@example.com",
    recipient: str = "bob@example.org",
) -> bool:
    """Return whether a recipient is accepted. If it is not, check the refusal."""
    who = who or session(STRANGER)
    begin_transaction(who, sender)
    to = Address("Postmaster", "") if recipient == "postmaster" else Address.parse(recipient)
    try:
        await policy.rcpt(who, RcptTo(to, RcptParameters()))
    except Refuse as refused:
        refusal = (refused.reply.code, refused.reply.enhanced, refused.rule)
    else:
        return True
    assert refusal == (451, "4.7.1", "greylist")
    return False


# --- when


@pytest.mark.parametrize(
    ("after", "results"),
    [
        ([0, 0, 1, 298], [False] * 4),
        ([0, 300, 0, 1], [False, True, True, True]),
        ([0, 299, 1], [False, False, True]),  # a try that comes too early does not restart the delay
        ([0, 300 + DAY - 1], [False, True]),
        ([0, 300 + DAY, 299, 1], [False, False, False, True]),  # forgotten
        ([0, 300, 36 * DAY - 1], [False, True, True]),
        ([0, 300, 36 * DAY, 300], [False, True, False, True]),
        ([0, 300, *[30 * DAY] * 4], [False, *[True] * 5]),  # each message renews the lifetime
        ([0, 300, DAY - 1, 35 * DAY], [False, True, True, True]),
        ([0, -DAY, 299, 1], [False, False, False, True]),  # the clock was wrong and is set back
        ([0, 300, -DAY, 300], [False, True, False, True]),
    ],
)
async def test_when_it_passes(policy: Greylist, clock: Clock, after: list[int], results: list[bool]) -> None:
    for seconds, result in zip(after, results, strict=True):
        clock.now += seconds
        assert await passes(policy) is result


async def test_other_times(store: MemoryStore, clock: Clock) -> None:
    policy = Greylist(store, delay=10, window=20, lifetime=2 * DAY, clock=clock)
    for seconds, result in [(0, False), (30, False), (10, True), (2 * DAY, False), (29, True), (2 * DAY - 1, True)]:
        clock.now += seconds
        assert await passes(policy) is result


async def test_a_lifetime_of_less_than_a_day_is_renewed_too(store: MemoryStore, clock: Clock) -> None:
    policy = Greylist(store, lifetime=3600, clock=clock)
    for seconds, result in [(0, False), (300, True), (1800, True), (1801, True), (3599, True), (3600, False)]:
        clock.now += seconds
        assert await passes(policy) is result


@pytest.mark.parametrize(("name", "result"), [("delay", True), ("window", False), ("lifetime", True)])
async def test_less_than_a_second_is_a_time(store: MemoryStore, clock: Clock, name: str, result: bool) -> None:
    times: dict[str, Any] = {name: 0.1}
    policy = Greylist(store, clock=clock, **times)
    assert not await passes(policy)
    clock.now += 301
    assert await passes(policy) is result


@pytest.mark.parametrize(
    "times", [{"delay": 0}, {"window": 0}, {"lifetime": 0}, {"delay": -1}, {"lifetime": float("nan")}]
)
def test_times_are_positive(store: MemoryStore, times: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be greater than 0"):
        Greylist(store, **times)


@pytest.mark.parametrize("name", ["delay", "window", "lifetime"])
def test_times_are_numbers(store: MemoryStore, name: str) -> None:
    times: dict[str, Any] = {name: "300"}
    with pytest.raises(TypeError, match=f"^{name} must be of type int or float, not '300'$"):
        Greylist(store, **times)


@pytest.mark.parametrize("times", [{"window": math.inf}, {"lifetime": math.inf}, {"lifetime": 1e300}])
async def test_a_time_without_end(store: MemoryStore, clock: Clock, times: dict[str, Any]) -> None:
    policy = Greylist(store, clock=clock, **times)
    assert not await passes(policy)
    clock.now += 301
    assert await passes(policy)
    clock.now += 30 * DAY
    assert await passes(policy)


# --- who


@pytest.mark.parametrize(
    ("other", "known"),
    [
        ({"who": session("192.0.2.254")}, True),
        ({"who": session("::ffff:192.0.2.7")}, True),
        ({"sender": "Ann@EXAMPLE.com"}, True),
        ({"recipient": '"Bob"@Example.ORG'}, True),
        ({"who": session("192.0.3.1")}, False),
        ({"who": session("2001:db8::1")}, False),
        ({"sender": "carl@example.com"}, False),
        ({"sender": ""}, False),
        ({"recipient": "bob@example.com"}, False),
        ({"sender": "bob@example.org", "recipient": "ann@example.com"}, False),
    ],
)
async def test_who_is_known(policy: Greylist, clock: Clock, other: dict[str, Any], known: bool) -> None:
    assert not await passes(policy)
    clock.now += 300
    assert await passes(policy, **other) is known
    assert await passes(policy)


async def test_an_ipv6_network_is_one_peer(policy: Greylist, clock: Clock) -> None:
    assert not await passes(policy, session("2001:db8::1"))
    clock.now += 300
    assert await passes(policy, session("2001:db8::2"))
    assert not await passes(policy, session("2001:db8:0:1::1"))


async def test_the_null_sender_comes_again_too(policy: Greylist, clock: Clock) -> None:
    assert not await passes(policy, sender="")
    clock.now += 300
    assert await passes(policy, sender="")


@pytest.mark.parametrize(
    "exempt",
    [
        {"who": session(STRANGER, identity="ann")},
        {"who": session(STRANGER, lmtp=True)},
        {"who": session("127.0.0.1")},
        {"who": session("::1")},
        {"who": session("")},
        {"recipient": "postmaster"},
        {"recipient": "PostMaster@example.org"},
    ],
)
async def test_who_need_not_come_again(policy: Greylist, exempt: dict[str, Any]) -> None:
    assert await passes(policy, **exempt)


async def test_everyone(store: MemoryStore, clock: Clock) -> None:
    policy = Greylist(store, everyone=True, clock=clock)
    assert not await passes(policy, session("127.0.0.1"))
    assert await passes(policy, session("")), "a Unix socket has no network"
    assert await passes(policy, session("127.0.0.1", identity="ann"))


async def test_the_sender_is_that_of_the_transaction(policy: Greylist, clock: Clock) -> None:
    who = session(STRANGER)
    assert not await passes(policy, who, "ann@example.com")
    clock.now += 300
    assert not await passes(policy, who, "carl@example.com")
    assert await passes(policy, who, "ann@example.com")


# --- the store


class Noting(MemoryStore):
    """Records the notes that it is asked to keep."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[KeepNote] = []

    async def _commit(self, plan: Callable[[Any], tuple[Any, Any]]) -> Any:
        def noted(index: Any) -> tuple[Any, Any]:
            operation, result = plan(index)
            self.kept += [operation] if isinstance(operation, KeepNote) else []
            return operation, result

        return await super()._commit(noted)


async def test_what_is_kept(clock: Clock) -> None:
    """One short note for each sender; no address can be read or guessed from it without the store's secret."""
    store, other = Noting(), Noting()
    long = "x" * 60 + "@" + "example." * 20 + "com"
    for each in (store, other):
        policy = Greylist(each, clock=clock)
        for _ in range(3):
            assert not await passes(policy, sender=long)
        assert not await passes(policy, sender="ünï@example.com")
    assert len(store.kept) == len({note.key for note in store.kept}) == 2
    for note in store.kept:
        assert note.key.startswith("greylist ")
        assert len(note.key) == 73
        assert (note.text, note.expires) == ("tried 1800000000", 1_800_000_000 + 300 + DAY)
    assert not {note.key for note in store.kept} & {note.key for note in other.kept}


async def test_not_every_message_is_written_down(clock: Clock) -> None:
    store = Noting()
    policy = Greylist(store, clock=clock)
    for seconds in (0, 300, 1, 1, DAY - 3, 1, 1):
        clock.now += seconds
        await passes(policy)
    kept = [note.text for note in store.kept]
    assert kept == ["tried 1800000000", "passed 1800000300", f"passed {1_800_000_300 + DAY}"]


async def test_a_store_that_is_full_lets_mail_in(
    store: MemoryStore, policy: Greylist, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that fills it with notes can neither make others wait for ever nor make the store forget them."""
    monkeypatch.setattr("trio_smtp.mailbox.notes.MAX_NOTES", 2)
    assert not await passes(policy)
    assert not await passes(policy, sender="guess1@example.com")
    assert await passes(policy, sender="guess2@example.com")
    assert not await passes(policy)
    clock.now += 300
    assert await passes(policy)
    clock.now += DAY
    assert not await passes(policy, sender="guess2@example.com"), "there is room again"


@pytest.mark.parametrize("method", ["get_secret", "get_note", "put_note"])
async def test_a_store_that_cannot_be_used_lets_mail_in(
    store: MemoryStore, policy: Greylist, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unavailable(*_: object, **__: object) -> None:
        raise StoreUnavailable("disk full")

    monkeypatch.setattr(store, method, unavailable)
    assert await passes(policy)


async def test_a_restart(tmp_path: Path, clock: Clock) -> None:
    async def try_it(then: Callable[[JSONFileStore], Awaitable[None]]) -> bool:
        async with JSONFileStore(tmp_path / "mail") as store:
            result = await passes(Greylist(store, clock=clock))
            await then(store)
        return result

    async def nothing(_: JSONFileStore) -> None: ...

    assert not await try_it(nothing)
    assert not await try_it(JSONFileStore.compact)
    clock.now += 300
    assert await try_it(JSONFileStore.compact)
    clock.now += DAY
    assert await try_it(nothing)


async def test_two_processes_know_the_same(tmp_path: Path, clock: Clock) -> None:
    stores: list[MailStore] = [JSONFileStore(tmp_path / "mail") for _ in range(2)]
    async with stores[0], stores[1]:
        one, other = (Greylist(store, clock=clock) for store in stores)
        assert not await passes(one)
        clock.now += 300
        assert await passes(other)
        assert await passes(one)


# --- a session


async def test_a_session(store: MemoryStore, clock: Clock) -> None:
    policy = Greylist(store, everyone=True, clock=clock)
    async with open_server(take, policy=policy) as server:
        for codes in ([250, 451, 503], [250, 250, 354]):
            async with connected(server) as client:
                await begin(client)
                for code, line in zip(codes, ["MAIL FROM:<>", "RCPT TO:<bob@example.org>", "DATA"], strict=True):
                    assert (await client.command(line)).code == code
            clock.now += 300
        assert server.stats.rules == {"greylist": 1}
