"""The limits, timeouts and policies that result from the flags of a server."""

from __future__ import annotations

import inspect
import smtplib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.tools import Serving
from trio_smtp.cli import values
from trio_smtp.cli.limits import limits, login_limits, policies_by_listener, rate_limits, timeouts
from trio_smtp.cli.listen import parse_listen
from trio_smtp.cli.parser import build_parser
from trio_smtp.cli.serve_flags import RATES
from trio_smtp.cli.serving import configuration
from trio_smtp.cli.settings import ServeSettings, parse_store
from trio_smtp.mailbox import MemoryStore
from trio_smtp.policy import FaultDelay, Greylist, HeaderLimits, Rate, RateLimits
from trio_smtp.protocol import Config, Limits
from trio_smtp.server import Timeouts
from trio_smtp.server.server import DEFAULT_MAX_CONNECTIONS


def settings(*flags: str) -> ServeSettings:
    found = vars(build_parser().parse_args(["serve", *flags]))
    del found["command"]
    return ServeSettings(**found)


def rates(*flags: str) -> dict[str, Rate | None]:
    """The rates in force, by the argument of `RateLimits`."""
    return rate_limits(settings(*flags)).rates


def test_without_flags_the_program_has_the_defaults_of_the_library() -> None:
    assert limits(settings()) == Limits()
    assert timeouts(settings()) == Timeouts()
    assert rates() == RateLimits().rates
    found = settings()
    assert found.max_connections == DEFAULT_MAX_CONNECTIONS
    assert found.max_connections_per_peer is None
    assert defaults(HeaderLimits) == {
        "received": found.max_received,
        "fields": found.max_header_fields,
        "size": found.max_header_size,
    }
    assert defaults(FaultDelay)["most"] == found.fault_delay


def defaults(policy: Callable[..., object]) -> dict[str, object]:
    return {name: argument.default for name, argument in inspect.signature(policy).parameters.items()}


def test_extensions_that_are_not_offered() -> None:
    assert configuration(settings("--hostname", "mx.example")) == Config(hostname="mx.example")
    found = configuration(settings("--hostname", "mx.example", "--without", "chunking", "--without", "SIZE"))
    assert found == Config(hostname="mx.example", without=["CHUNKING", "SIZE"])


def test_json() -> None:
    assert (settings().as_json, settings("--json").as_json) == (False, True)


def test_every_rate_has_a_flag_that_tells_its_default() -> None:
    rates = {name: rate for name, rate in defaults(RateLimits).items() if isinstance(rate, Rate)}
    told = {argument: values.rate(usual) for argument, _, usual in RATES.values()}
    assert {name: (rate.count, rate.seconds) for name, rate in rates.items()} == told


@pytest.mark.parametrize("flag", RATES)
def test_a_rate_that_is_named_holds_for_everyone(flag: str) -> None:
    argument = RATES[flag][0]
    usual = RateLimits().rates
    assert rates(flag, "7/2m") == {**usual, argument: Rate(7, 120, everyone=True)}
    assert rates(flag, "off") == {**usual, argument: None}


def test_bounds_and_times() -> None:
    bounds = "--max-errors=1 --max-junk-commands=2 --max-login-failures=4 --max-message-size=5 --max-recipients=6"
    bounds += " --max-transactions=7"
    assert limits(settings(*bounds.split())) == Limits(
        errors=1, junk_commands=2, auth_failures=4, message_size=5, recipients=6, transactions=7
    )
    times = "--handshake-timeout=7 --session-time=8 --minimum-rate=9 --command-timeout=10 --drain-timeout=11"
    assert timeouts(settings(*times.split())) == Timeouts(
        handshake=7, session=8, minimum_rate=9, command=10, data=10, drain=11
    )


@pytest.mark.parametrize("scheme", ["smtp", "smtps", "submission", "submissions", "lmtp"])
def test_who_is_greylisted(scheme: str) -> None:
    listen = [parse_listen("smtp://localhost:0"), parse_listen(f"{scheme}://localhost:0")]
    for greylist, expected in ((None, False), (60.0, scheme in {"smtp", "smtps"})):
        named = ServeSettings(listen=listen, tls="self-signed", greylist=greylist)
        policies = policies_by_listener(named, MemoryStore())(listen[1])
        assert [type(each) for each in policies[3:]] == [Greylist] * expected
        found = [(each._delay, each._everyone) for each in policies if isinstance(each, Greylist)]
        assert found == [(60.0, True)] * expected


@pytest.mark.parametrize(("workers", "at_once", "waiting"), [(1, 2, 64), (2, 1, 32), (3, 1, 21), (65, 1, 1)])
def test_workers_share_the_limits_of_logins(workers: int, at_once: int, waiting: int) -> None:
    found = login_limits(ServeSettings(store=parse_store("json:mail"), workers=workers))
    assert found == {"at_once": at_once, "waiting": waiting}


def test_all_listeners_share_their_limits() -> None:
    find = policies_by_listener(settings(), MemoryStore())
    assert find(parse_listen("smtp://localhost:0")) == find(parse_listen("submission://localhost:0"))


def test_a_server_with_limits(tmp_path: Path) -> None:
    """A limit that a flag sets holds for clients on this machine, too."""
    flags = ["--account=demo=demo@example.com", "--message-rate=3/1h", "--max-received=1", "--fault-delay=0"]
    flags += ["--max-header-fields=3", "--max-header-size=100"]
    faults = [("Mail loop", "Received: a\r\n" * 2), ("Too many", "a: b\r\n" * 4), ("too big", f"a: {'b' * 100}\r\n")]
    with Serving("--listen=smtp://127.0.0.1:0", *flags, folder=tmp_path) as server:
        with smtplib.SMTP(*server.endpoints[0]) as client:
            for reply, header in faults:
                with pytest.raises(smtplib.SMTPDataError, match=reply):
                    client.sendmail("a@example.com", "demo@example.com", f"{header}\r\nx")
            with pytest.raises(smtplib.SMTPSenderRefused, match="Too much mail"):
                client.sendmail("a@example.com", "demo@example.com", "\r\nx")
        assert server.stop() == 0
