"""The URLs of the flag ``--listen``: schemes, Unix sockets, proxies."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest

from trio_smtp.cli.listen import parse_listen
from trio_smtp.cli.values import Endpoint

# TLS, login and LMTP of each scheme, as in the design.
SCHEMES = [
    ("smtp", "if possible", False, False),
    ("smtps", "implicit", False, False),
    ("submission", "starttls", True, False),
    ("submissions", "implicit", True, False),
    ("lmtp", "never", False, True),
]


@pytest.mark.parametrize(("name", "tls", "login", "lmtp"), SCHEMES)
def test_scheme(name: str, tls: str, login: bool, lmtp: bool) -> None:
    spec = parse_listen(f"{name}://[::1]:24")
    assert spec.where == Endpoint("::1", 24)
    assert (spec.scheme.tls, spec.scheme.login, spec.scheme.lmtp) == (tls, login, lmtp)
    assert str(spec) == f"{name}://[::1]:24"


def test_unix_socket() -> None:
    spec = parse_listen("lmtp+unix:///run/lmtp.sock")
    assert spec.where == Path("/run/lmtp.sock")
    assert (spec.scheme.tls, spec.scheme.login, spec.scheme.lmtp) == ("never", False, True)
    assert str(spec) == "lmtp+unix:///run/lmtp.sock"


@pytest.mark.parametrize(
    ("query", "networks"),
    [
        ("", []),
        ("?proxy=10.0.0.0/8", ["10.0.0.0/8"]),
        ("?proxy=192.0.2.1/32,2001:db8::/32", ["192.0.2.1/32", "2001:db8::/32"]),
    ],
)
def test_proxies(query: str, networks: list[str]) -> None:
    spec = parse_listen(f"smtp://0.0.0.0:25{query}")
    assert spec.where == Endpoint("0.0.0.0", 25)
    assert spec.proxies == tuple(map(ip_network, networks))
    assert str(spec) == f"smtp://0.0.0.0:25{query}"


def test_one_address_is_a_network() -> None:
    assert parse_listen("smtp://0.0.0.0:25?proxy=192.0.2.1").proxies == (ip_network("192.0.2.1/32"),)
