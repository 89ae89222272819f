"""`Stats`: adding them up, and their text for Prometheus."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields

from trio_smtp.server import Stats


def test_those_of_several_servers_add_up() -> None:
    one = Stats(connections=2, messages_accepted=1, rules=Counter(errors=1, greylist=2))
    other = Stats(connections=3, logins=4, rules=Counter(errors=5))
    assert one + other == Stats(connections=5, messages_accepted=1, logins=4, rules=Counter(errors=6, greylist=2))


def test_for_prometheus() -> None:
    stats = Stats(connections=12, octets_accepted=3456, rules=Counter({"greylist": 2, "errors": 1}))
    assert stats.prometheus().startswith(
        "# HELP trio_smtp_connections_total Connections accepted.\n"
        "# TYPE trio_smtp_connections_total counter\n"
        "trio_smtp_connections_total 12\n"
    )
    lines = stats.prometheus().splitlines()
    assert [line for line in lines if not line.startswith("#")] == [
        "trio_smtp_connections_total 12",
        "trio_smtp_connections_refused_total 0",
        "trio_smtp_messages_accepted_total 0",
        "trio_smtp_messages_refused_total 0",
        "trio_smtp_octets_accepted_total 3456",
        "trio_smtp_logins_total 0",
        "trio_smtp_login_failures_total 0",
        "trio_smtp_hook_errors_total 0",
        'trio_smtp_rules_total{rule="errors"} 1',
        'trio_smtp_rules_total{rule="greylist"} 2',
    ]
    assert len(lines) == 2 * len(fields(Stats)) + 10
    assert stats.prometheus().endswith("\n")


def test_the_name_of_a_rule_may_be_anything() -> None:
    """The application chooses it, in `Refuse(rule=...)`."""
    stats = Stats(rules=Counter({'a"b\\c\nd': 1}))
    assert stats.prometheus().splitlines()[-1] == r'trio_smtp_rules_total{rule="a\"b\\c\nd"} 1'
