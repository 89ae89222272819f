"""The banner that a server prints when it is ready, for people and as JSON."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from trio_smtp.cli.banner import banner, ready_record
from trio_smtp.cli.listen import parse_listen
from trio_smtp.cli.settings import DEFAULT_STORE, StoreURL
from trio_smtp.mailbox.store import Account


class Bound(socket.socket):
    """A socket that says it is bound to this address, which the machine need not have."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__()
        self._name = (host, port)

    def getsockname(self) -> tuple[str, int]:
        return self._name


@pytest.mark.parametrize(
    ("host", "listens", "hint"),
    [
        ("127.0.0.1", "127.0.0.1:25", "127.0.0.1:25"),
        ("0.0.0.0", "0.0.0.0:25", "127.0.0.1:25"),
        ("::", "[::]:25", "'[::1]:25'"),
    ],
)
def test_the_hint_names_an_address_that_can_be_reached(host: str, listens: str, hint: str) -> None:
    with Bound(host, 25) as sock:
        lines = list(banner([(parse_listen("smtp://x:0"), [sock])], DEFAULT_STORE, [Account("a", addresses=("a@b",))]))
    assert lines[1] == f"    smtp://{listens}"
    assert f"    trio-smtp send --to a@b --server {hint}" in lines
    assert "    trio-smtp mail list a" in lines  # without --store, because this is the default


def test_a_server_that_catches() -> None:
    with Bound("127.0.0.1", 1025) as sock:
        listeners = [(parse_listen("smtp://x:0"), [sock])]
        lines = list(banner(listeners, StoreURL("memory"), [Account("caught")], catching=True))
    assert lines[2:] == [
        "Mail for any recipient goes to the account caught and is kept in memory until the server stops.",
        "Every login succeeds.",
        "Try in another terminal:",
        "    trio-smtp send --to anybody@example.com --server 127.0.0.1:1025",
        "Ctrl-C stops the server.",
    ]


def test_the_same_for_programs() -> None:
    with Bound("::", 25) as sock:
        listeners = [(parse_listen("smtp://x:0?proxy=10.0.0.0/8"), [sock])]
        record = ready_record(listeners, StoreURL("null"), [Account("a", addresses=("a@b",))], "AB:CD")
    assert record == {
        "listen": ["smtp://[::]:25?proxy=10.0.0.0/8"],
        "store": "null:",
        "accounts": [{"name": "a", "addresses": ("a@b",)}],
        "fingerprint": "AB:CD",
    }


def test_what_is_refused_while_catching() -> None:
    refusals = [("recipient", 550), ("\x1b@x", 452)]
    lines = [*banner([], StoreURL("memory"), [Account("caught")], catching=True, refusals=refusals)]
    assert r"Refused because of --refuse: recipient with 550, \x1b@x with 452." in lines


def test_the_fingerprint_of_a_certificate() -> None:
    lines = [*banner([], DEFAULT_STORE, [], "AB:CD")]
    assert lines[1:3] == ["The certificate is self-signed; its SHA-256 fingerprint is", "    AB:CD"]


def test_an_account_is_needed_in_memory_too() -> None:
    lines = [*banner([], StoreURL("memory"), [])]
    assert lines[-2] == "    trio-smtp serve --account demo=demo@example.com --store memory:"


def test_ten_accounts_are_named() -> None:
    accounts = [Account(f"a{number}", addresses=(f"a{number}@b",)) for number in range(12)]
    lines = list(banner([], StoreURL("memory"), accounts))
    assert lines[2:-1] == [*(f"    a{number}: a{number}@b" for number in range(10)), "    and 2 more"]


def test_names_do_nothing_to_the_terminal_or_the_shell() -> None:
    account = Account("\u202e'; rm *", addresses=("\x1b@b",))
    lines = list(banner([], StoreURL("json", Path("/\x07")), [account]))
    assert all(line.isprintable() for line in lines)
    assert r"""    trio-smtp mail list '\u202e'"'"'; rm *' --store 'json:/\x07'""" in lines


def test_nobody_is_told_to_send_where_a_proxy_is_awaited() -> None:
    accounts = [Account("a", addresses=("a@b",))]
    urls = ("smtp://x:0?proxy=10.0.0.0/8,::1/128", "smtp://x:0")
    with Bound("127.0.0.1", 25) as behind, Bound("127.0.0.1", 26) as open_to_all:
        listeners = [(parse_listen(url), [sock]) for url, sock in zip(urls, (behind, open_to_all), strict=True)]
        lines = list(banner(listeners, DEFAULT_STORE, accounts))
        only_behind = list(banner(listeners[:1], DEFAULT_STORE, accounts))
    assert lines[1] == "    smtp://127.0.0.1:25?proxy=10.0.0.0/8,::1/128"
    assert "    trio-smtp send --to a@b --server 127.0.0.1:26" in lines
    assert not any("trio-smtp send" in line for line in only_behind)
