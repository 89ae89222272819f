"""The flags of ``trio-smtp serve``, each a field of `ServeSettings`.

Those that limit what clients may do have a row each in docs/dos-mitigations.md.
"""

from __future__ import annotations

from argparse import SUPPRESS, ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from trio_smtp.cli import values
from trio_smtp.cli.listen import parse_listen
from trio_smtp.cli.settings import DEFAULT_STORE, ServeSettings, parse_store

__all__ = ["RATES", "add_serve_flags"]

RATES: Final = {
    "--connection-rate": ("connections", "connections of one peer", "300/1m"),
    "--message-rate": ("messages", "messages of one peer", "1000/10m"),
    "--recipient-rate": ("recipients", "recipients that one peer names", "10000/10m"),
    "--login-failure-rate": ("login_failures", "failed logins of one peer", "30/10m"),
    "--account-message-rate": ("account_messages", "messages of one account that has logged in", "1000/1h"),
    "--account-recipient-rate": ("account_recipients", "recipients that one such account names", "10000/1h"),
    "--account-login-failure-rate": ("account_login_failures", "failed logins as one user", "100/1h"),
}
"""Flags that take a rate: the argument of `RateLimits`, what is counted, and the default."""

_Add = Callable[..., None]


def add_serve_flags(parser: ArgumentParser) -> None:
    """Add them to the parser of the command."""

    def add(flag: str, *, what: str, **options: Any) -> None:
        parser.add_argument(flag, help=what, default=SUPPRESS, **options)  # the defaults are those of the settings

    _add_main_flags(add)
    _add_size_flags(add)
    _add_time_flags(add)
    _add_policy_flags(add)


def _add_main_flags(add: _Add) -> None:
    default = ServeSettings

    add(
        "--listen",
        action="append",
        type=parse_listen,
        metavar="URL",
        what="where to take mail: smtp://HOST:PORT, smtps://, submission:// and submissions:// (both with login), "
        "lmtp://, lmtp+unix:///PATH; port 0 is any free one; with ?proxy=NETWORK,... behind it from the proxies there "
        "alone, by the PROXY protocol; may be given several times "
        f"(default: {default.listen[0]})",
    )
    add(
        "--store",
        type=parse_store,
        metavar="URL",
        what="where to keep it: json:DIRECTORY, memory: (until the server stops) or null: (nowhere) "
        f"(default: {DEFAULT_STORE})",
    )
    add(
        "--workers",
        type=values.count,
        metavar="N",
        what="processes that take mail, about one for each processor; they share the listeners, the limits and the "
        f"store, which is json: then (default: {default.workers}, and no other process)",
    )
    add(
        "--account",
        dest="accounts",
        action="append",
        type=values.account,
        metavar="NAME=ADDRESS",
        what="make this account if it is missing; may be given several times",
    )
    add(
        "--postmaster",
        type=values.line,
        metavar="NAME",
        what="the account that gets the postmaster's mail if no address says so (default: the first account)",
    )
    add(
        "--any-sender",
        action="store_true",
        what="let those who log in send from any address (default: only from those of their account)",
    )
    add("--hostname", metavar="NAME", what="the name in the greeting (default: that of this machine)")
    add(
        "--tls-cert",
        action="append",
        type=Path,
        metavar="FILE",
        what="the certificate and those that lead to its root, in PEM form, read again when it changes and on SIGHUP; "
        "may be given several times: a client sees the one with the name it asks for, or else the first",
    )
    add(
        "--tls-key",
        action="append",
        type=Path,
        metavar="FILE",
        what="its key, if it is not in the same file; as often as --tls-cert",
    )
    add(
        "--tls",
        choices=["self-signed"],
        what="self-signed: make a certificate, keep it with the mail, and print its fingerprint",
    )
    add(
        "--tls-client-ca",
        type=Path,
        metavar="FILE",
        what="the authority whose certificates clients may log in with (EXTERNAL), in PEM form",
    )


def _add_size_flags(add: _Add) -> None:
    default = ServeSettings
    add(
        "--max-message-size",
        type=values.size,
        metavar="SIZE",
        what=f"octets, or as 512K, 10M (default: {default.max_message_size >> 20}M)",
    )
    add(
        "--max-recipients",
        type=values.count,
        metavar="N",
        what=f"recipients of one message (default: {default.max_recipients})",
    )
    add(
        "--max-connections",
        type=values.count,
        metavar="N",
        what=f"connections to one listener at a time (default: {default.max_connections})",
    )
    add(
        "--max-connections-per-peer",
        type=values.count,
        metavar="N",
        what="the same from one address, this machine's own included (default: 50, its own not counted)",
    )
    add(
        "--max-errors",
        type=values.count,
        metavar="N",
        what=f"refused commands without a message in between (default: {default.max_errors})",
    )
    add(
        "--max-junk-commands",
        type=values.count,
        metavar="N",
        what=f"commands that lead nowhere, the same (default: {default.max_junk_commands})",
    )
    add(
        "--max-login-failures",
        type=values.count,
        metavar="N",
        what=f"failed logins of one connection (default: {default.max_login_failures})",
    )
    add(
        "--max-received",
        type=values.count,
        metavar="N",
        what=f"Received fields of a message, more of which are a loop (default: {default.max_received})",
    )
    add(
        "--max-header-fields",
        type=values.count,
        metavar="N",
        what=f"header fields of a message (default: {default.max_header_fields})",
    )
    add(
        "--max-header-size",
        type=values.size,
        metavar="SIZE",
        what=f"octets of all header fields together, at most 1M (default: {default.max_header_size >> 10}K)",
    )


def _add_time_flags(add: _Add) -> None:
    default = ServeSettings
    add(
        "--command-timeout",
        type=values.seconds,
        metavar="SECONDS",
        what=f"how long to wait for a command, or for data (default: {default.command_timeout})",
    )
    add(
        "--data-timeout",
        type=values.seconds,
        metavar="SECONDS",
        what="how long to wait for data of a message (default: the same, but at most 180)",
    )
    add(
        "--drain-timeout",
        type=values.seconds,
        metavar="SECONDS",
        what=f"how long open connections may go on when the server stops (default: {default.drain_timeout})",
    )
    add(
        "--handshake-timeout",
        type=values.seconds,
        metavar="SECONDS",
        what=f"how long a TLS handshake, or the header of a proxy, may take (default: {default.handshake_timeout})",
    )
    add(
        "--session-time",
        type=values.seconds,
        metavar="SECONDS",
        what=f"how long a connection may last (default: {default.session_time})",
    )
    add(
        "--minimum-rate",
        type=values.count,
        metavar="OCTETS",
        what=f"octets a second that a message must make on the average (default: {default.minimum_rate})",
    )
    add(
        "--fault-delay",
        type=values.delay,
        metavar="SECONDS",
        what="the longest delay of replies to a client that makes mistakes; 0 for none "
        f"(default: {default.fault_delay})",
    )


def _add_policy_flags(add: _Add) -> None:
    for flag, (_, what, usual) in RATES.items():
        add(
            flag,
            type=values.rate,
            metavar="N/TIME",
            what=f"{what} in a time such as 30s, 10m or 1h, this machine's own included; off for no limit "
            f"(default: {usual}, its own not counted)",
        )
    add(
        "--early-talkers",
        choices=["refuse", "allow"],
        what="what becomes of clients that talk before the greeting (default: refuse)",
    )
    add(
        "--greylist",
        nargs="?",
        const=300.0,
        type=values.seconds,
        metavar="SECONDS",
        what="refuse the first mail from somebody unknown until it is tried again, so many seconds later or more, "
        "on smtp:// and smtps:// (default: no; 300 where no number is given)",
    )
