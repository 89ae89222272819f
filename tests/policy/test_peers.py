"""Which addresses the limits count as one peer."""

from __future__ import annotations

import pytest

from trio_smtp.policy import is_loopback, peer_network


@pytest.mark.parametrize(
    ("host", "network", "loopback"),
    [
        ("192.0.2.1", "192.0.2.1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", False),
        ("::ffff:c000:201", "192.0.2.1", False),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64", False),
        ("2001:db8:1:2::", "2001:db8:1:2::/64", False),
        ("2001:db8:1:3::4", "2001:db8:1:3::/64", False),
        ("fe80::1%eth0", "fe80::/64", False),
        ("127.0.0.1", "127.0.0.1", True),
        ("127.9.9.9", "127.9.9.9", True),
        ("::1", "::/64", True),
        ("::ffff:127.0.0.1", "127.0.0.1", True),
        ("", "", True),
    ],
)
def test_one_peer(host: str, network: str, loopback: bool) -> None:
    assert peer_network(host) == network
    assert is_loopback(host) is loopback
