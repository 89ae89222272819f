"""`RateLimits`: what each limit counts and for whom, and the refusals when it is exceeded."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from tests.policy.tools import MAIL, RCPT, session
from trio_smtp.handler import Refuse, Session
from trio_smtp.policy import Rate, RateLimits

FEW = Rate(2, 60)


NO_LIMITS: dict[str, Any] = dict.fromkeys(
    (
        "connections",
        "messages",
        "recipients",
        "login_failures",
        "account_messages",
        "account_recipients",
        "account_login_failures",
    )
)


async def fail(policy: RateLimits, who: Session, username: str) -> None:
    await policy.login(who, username)
    await policy.login_failed(who, username)


Deed = Callable[[RateLimits, Session], Awaitable[None]]
DEEDS: dict[str, Deed] = {
    "connections": lambda policy, who: policy.connect(who),
    "messages": lambda policy, who: policy.mail(who, MAIL),
    "recipients": lambda policy, who: policy.rcpt(who, RCPT),
    "login_failures": lambda policy, who: fail(policy, who, who.id),
}
ACCOUNT_DEEDS: dict[str, Deed] = {
    "account_messages": lambda policy, who: policy.mail(who, MAIL),
    "account_recipients": lambda policy, who: policy.rcpt(who, RCPT),
    "account_login_failures": lambda policy, who: fail(policy, who, who.identity or ""),
}
REFUSALS = {
    "connections": ("connection-rate", 421),
    "messages": ("message-rate", 451),
    "recipients": ("recipient-rate", 451),
    "login_failures": ("login-failure-rate", 454),
    "account_messages": ("account-message-rate", 451),
    "account_recipients": ("account-recipient-rate", 451),
    "account_login_failures": ("account-login-failure-rate", 454),
}


def only(name: str, rate: Rate = FEW) -> RateLimits:
    """A policy with this limit and no other."""
    return RateLimits(**{**NO_LIMITS, name: rate})


async def refusal(policy: RateLimits, deed: Deed, who: Session) -> tuple[str, int] | None:
    try:
        await deed(policy, who)
    except Refuse as refused:
        return refused.rule, refused.reply.code
    return None


@pytest.mark.parametrize("name", DEEDS)
async def test_a_peer_that_does_a_thing_too_often_has_to_wait(
    name: str, autojump_clock: trio.testing.MockClock
) -> None:
    policy, deed = only(name), DEEDS[name]
    one, other = session("192.0.2.1"), session("192.0.2.2")
    assert [await refusal(policy, deed, one) for _ in range(4)] == [None, None, REFUSALS[name], REFUSALS[name]]
    assert await refusal(policy, deed, other) is None
    await trio.sleep(120)
    assert await refusal(policy, deed, one) is None


@pytest.mark.parametrize("name", DEEDS)
async def test_an_ipv6_network_is_one_peer(name: str, autojump_clock: trio.testing.MockClock) -> None:
    policy, deed = only(name), DEEDS[name]
    for host in ("2001:db8::1", "2001:db8::2"):
        assert await refusal(policy, deed, session(host)) is None
    assert await refusal(policy, deed, session("2001:db8::3")) == REFUSALS[name]
    assert await refusal(policy, deed, session("2001:db8:0:1::3")) is None


@pytest.mark.parametrize("name", DEEDS)
@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
async def test_this_machine_is_not_counted_unless_it_is_meant(
    name: str, host: str, autojump_clock: trio.testing.MockClock
) -> None:
    policy, deed = only(name), DEEDS[name]
    assert [await refusal(policy, deed, session(host)) for _ in range(5)] == [None] * 5
    policy = only(name, Rate(2, 60, everyone=True))
    assert [await refusal(policy, deed, session(host)) for _ in range(3)] == [None, None, REFUSALS[name]]


@pytest.mark.parametrize(
    ("host", "everyone", "applies"),
    [("192.0.2.1", False, True), ("192.0.2.1", True, True), ("127.0.0.1", False, False), ("127.0.0.1", True, True)],
)
def test_only_this_machine_may_be_spared_all_of_it(host: str, everyone: bool, applies: bool) -> None:
    assert only("messages", Rate(2, 60, everyone=everyone)).applies_to(session(host)) is applies


@pytest.mark.parametrize("name", ACCOUNT_DEEDS)
async def test_an_account_is_counted_wherever_it_comes_from(name: str, autojump_clock: trio.testing.MockClock) -> None:
    policy, deed = only(name), ACCOUNT_DEEDS[name]
    for number in range(2):
        assert await refusal(policy, deed, session(f"192.0.2.{number}", "ann")) is None
    assert await refusal(policy, deed, session("192.0.2.9", "ann")) == REFUSALS[name]
    assert await refusal(policy, deed, session("192.0.2.9", "bob")) is None


@pytest.mark.parametrize("name", [name for name in ACCOUNT_DEEDS if "login" not in name])
async def test_who_has_not_logged_in_has_no_account(name: str) -> None:
    policy, deed = only(name), ACCOUNT_DEEDS[name]
    assert [await refusal(policy, deed, session()) for _ in range(5)] == [None] * 5


@pytest.mark.parametrize(
    "names", [("Ann", "aNN", "ann"), ("ann+1@example.com", "ann+2@example.com", "Ann@EXAMPLE.com")], ids=" ".join
)
async def test_a_user_name_is_the_same_in_any_case_and_with_any_subaddress(
    names: tuple[str, str, str], autojump_clock: trio.testing.MockClock
) -> None:
    policy = only("account_login_failures")
    await fail(policy, session("192.0.2.1"), names[0])
    await fail(policy, session("192.0.2.2"), names[1])
    with pytest.raises(Refuse):
        await policy.login(session("192.0.2.3"), names[2])


async def test_only_the_first_64_characters_of_a_user_name_count(autojump_clock: trio.testing.MockClock) -> None:
    policy = only("account_login_failures")
    for end in ("x", "y"):
        await fail(policy, session(), "a" * 64 + end * 900)
    with pytest.raises(Refuse):
        await policy.login(session(), "a" * 64)
    await policy.login(session(), "a" * 63)


async def test_what_is_refused_is_not_counted(autojump_clock: trio.testing.MockClock) -> None:
    policy, deed, who = only("messages"), DEEDS["messages"], session()
    for _ in range(50):
        await refusal(policy, deed, who)
        await trio.sleep(0.1)
    await trio.sleep(85)  # less than one of the two accepted messages is left in the window
    assert await refusal(policy, deed, who) is None


async def test_the_answers_to_failed_logins_come_later_and_later(autojump_clock: trio.testing.MockClock) -> None:
    policy, who = RateLimits(most_delay=1.2), session()
    delays = []
    for _ in range(5):
        before = trio.current_time()
        await fail(policy, who, "ann")
        delays.append(trio.current_time() - before)
    assert delays[:2] == [0, pytest.approx(0.5)]
    assert delays == sorted(delays)
    assert delays[-1] == pytest.approx(1.2)


async def test_a_limit_of_none_refuses_and_delays_nobody(autojump_clock: trio.testing.MockClock) -> None:
    policy = RateLimits(**NO_LIMITS)
    who, before = session(identity="ann"), trio.current_time()
    for deed in (*DEEDS.values(), *ACCOUNT_DEEDS.values()):
        assert [await refusal(policy, deed, who) for _ in range(5)] == [None] * 5
    assert trio.current_time() == before


@pytest.mark.parametrize("name", NO_LIMITS)
@pytest.mark.parametrize("rate", [10, (10, 60), "10/1m"])
def test_a_rate_is_a_rate(name: str, rate: Any) -> None:
    with pytest.raises(TypeError, match=f"^{name} must be a Rate, such as "):
        RateLimits(**{name: rate})


@pytest.mark.parametrize(
    ("settings", "error", "complaint"),
    [
        ({"max_keys": 0}, ValueError, "max_keys at least 1"),  # nothing would be limited
        ({"max_keys": None}, TypeError, "max_keys must be of type int, not None"),
        ({"most_delay": -1}, ValueError, "most_delay must be at least 0 seconds, not -1"),
        ({"most_delay": float("nan")}, ValueError, "most_delay must be at least 0 seconds, not nan"),
        ({"most_delay": "5"}, TypeError, "most_delay must be of type int or float, not '5'"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, Any], error: type[Exception], complaint: str) -> None:
    with pytest.raises(error, match=complaint):
        RateLimits(**settings)


@pytest.mark.parametrize(
    ("count", "seconds", "complaint"),
    [
        (float("nan"), 1, "the count of a Rate must be of type int, not nan"),  # it would limit nothing
        ("100", 60, "the count of a Rate must be of type int, not '100'"),
        (100, "1m", "the seconds of a Rate must be of type int or float, not '1m'"),
    ],
)
def test_a_rate_is_two_numbers(count: Any, seconds: Any, complaint: str) -> None:
    with pytest.raises(TypeError, match=f"^{complaint}$"):
        Rate(count, seconds)


@pytest.mark.parametrize(("count", "seconds"), [(0, 1), (-1, 1), (1, 0), (1, -1), (1, float("nan"))])
def test_a_rate_is_positive(count: int, seconds: float) -> None:
    with pytest.raises(ValueError, match="a Rate needs a count of at least 1"):
        Rate(count, seconds)


def test_once_in_less_than_a_second_is_a_rate() -> None:
    assert Rate(1, 0.1) == Rate(count=1, seconds=0.1)
