"""The flags of ``trio-smtp serve`` and ``trio-smtp catch``. Each sets a field of `ServeSettings`.

Each flag that limits what clients may do has a row in docs/dos-mitigations.md.
"""

from __future__ import annotations

from argparse import SUPPRESS, ArgumentParser
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from trio_smtp.cli import values
from trio_smtp.cli.listen import parse_listen, parse_smtp
from trio_smtp.cli.settings import DEFAULT_STORE, ServeSettings, parse_store

if TYPE_CHECKING:
    from argparse import _ArgumentGroup

__all__ = ["RATES", "add_catch_flags", "add_serve_flags"]

RATES: Final = {
    "--connection-rate": ("connections", "connections of one peer", "300/1m"),
    "--message-rate": ("messages", "messages of one peer", "1000/10m"),
    "--recipient-rate": ("recipients", "recipients that one peer names", "10000/10m"),
    "--login-failure-rate": ("login_failures", "failed logins of one peer", "30/10m"),
    "--account-message-rate": ("account_messages", "messages that one account sends", "1000/1h"),
    "--account-recipient-rate": ("account_recipients", "recipients that one account names", "10000/1h"),
    "--account-login-failure-rate": ("account_login_failures", "failed logins as one user", "100/1h"),
}
"""The flags that take a rate, with the argument of `RateLimits`, what is counted, and the default."""

_Add = Callable[..., None]


def add_serve_flags(parser: ArgumentParser) -> None:
    """Add the flags to the parser of ``trio-smtp serve``."""
    _add_main_flags(_adder(parser))
    _add_json(_adder(parser), "when it is ready, print one JSON object that says where it listens")
    _add_tls_flags(_adder(parser.add_argument_group("TLS")))
    _add_size_flags(_adder(parser.add_argument_group("sizes and numbers")))
    _add_time_flags(_adder(parser.add_argument_group("times")))
    _add_policy_flags(_adder(parser.add_argument_group("what strangers may do")))


def add_catch_flags(parser: ArgumentParser) -> None:
    """Add the flags to the parser of ``trio-smtp catch``."""
    add = _adder(parser)
    add(
        "--smtp",
        dest="listen",
        action="append",
        type=parse_smtp,
        metavar="[HOST:]PORT",
        what="where to take mail; port 0 is any free one; may be given several times "
        f"(default: {ServeSettings.listen[0].where})",
    )
    add(
        "--smtps",
        dest="listen",
        action="append",
        type=partial(parse_smtp, scheme="smtps"),
        metavar="[HOST:]PORT",
        what="the same with TLS from the start, which needs a certificate",
    )
    _add_store(add, "or memory: (until the server stops)")
    _add_json(add, "print one JSON object a line: when it is ready one that says where it listens, then each message")
    add(
        "--refuse",
        dest="refusals",
        action="append",
        type=values.refusal,
        metavar="WHAT=CODE",
        what="refuse this by a 4xx or 5xx code, to see what a program makes of it: connection, login, sender, "
        "recipient, message (once it has come in), or the address of one recipient; may be given several times",
    )
    _add_hostname(add)
    _add_loose_paths(add)
    _add_without(add)
    _add_transcript(add)
    _add_certificates(add)
    _add_message_size(add)


def _adder(parser: ArgumentParser | _ArgumentGroup) -> _Add:
    def add(flag: str, *, what: str, **options: Any) -> None:
        parser.add_argument(flag, help=what, default=SUPPRESS, **options)  # the settings have the defaults

    return add


def _add_main_flags(add: _Add) -> None:
    default = ServeSettings
    add(
        "--listen",
        action="append",
        type=parse_listen,
        metavar="URL",
        what="where to take mail: smtp://HOST:PORT, smtps://, submission:// and submissions:// (both with login), "
        "lmtp://, lmtp+unix:///PATH; port 0 is any free one; with ?proxy=NETWORK,... behind it, only from proxies in "
        "these networks, by the PROXY protocol; may be given several times "
        f"(default: {default.listen[0]})",
    )
    _add_store(add, "memory: (until the server stops) or null: (nowhere)")
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
        "--catch-all",
        type=values.line,
        metavar="NAME",
        what="the account that gets the mail for unknown users in the domains of the accounts (default: it is refused)",
    )
    add(
        "--any-sender",
        action="store_true",
        what="let those who log in send from any address (default: only from those of their account)",
    )
    _add_hostname(add)
    _add_loose_paths(add)
    _add_without(add)
    _add_transcript(add)
    add(
        "--metrics-file",
        type=values.file,
        metavar="FILE",
        what="keep the counters in this file, in the format of Prometheus, for the textfile collector of node_exporter",
    )


def _add_store(add: _Add, others: str) -> None:
    add(
        "--store",
        type=parse_store,
        metavar="URL",
        what=f"where to keep the mail: json:DIRECTORY, {others} (default: {DEFAULT_STORE})",
    )


def _add_hostname(add: _Add) -> None:
    add("--hostname", metavar="NAME", what="the name in the greeting (default: that of this machine)")


def _add_loose_paths(add: _Add) -> None:
    add(
        "--loose-paths",
        action="store_true",
        what="take addresses as many programs send them: without angle brackets, after a space, with dots anywhere or "
        "more than 64 octets before the @, with underscores behind it (default: 501)",
    )


def _add_without(add: _Add) -> None:
    add(
        "--without",
        action="append",
        type=values.extension,
        metavar="EXTENSION",
        what="do not offer this extension, SMTPUTF8 for example, nor what builds on it; may be given several times",
    )


def _add_transcript(add: _Add) -> None:
    add(
        "--transcript",
        action="store_true",
        what="log all that clients say and hear, but for secrets and mail",
    )


def _add_json(add: _Add, what: str) -> None:
    add("--json", dest="as_json", action="store_true", what=what)


def _add_tls_flags(add: _Add) -> None:
    _add_certificates(add)
    add(
        "--tls-client-ca",
        type=values.file,
        metavar="FILE",
        what="the authority whose certificates clients may log in with (EXTERNAL), in PEM form",
    )
    add(
        "--require-tls",
        action="store_true",
        what="refuse mail outside TLS, by 530; not for the server of a public domain: not every client can do TLS",
    )


def _add_certificates(add: _Add) -> None:
    add(
        "--tls-cert",
        action="append",
        type=values.file,
        metavar="FILE",
        what="the certificate and those that lead to its root, in PEM form, read again when it changes and on SIGHUP; "
        "may be given several times: a client sees the one with the name it asks for, or else the first",
    )
    add(
        "--tls-key",
        action="append",
        type=values.file,
        metavar="FILE",
        what="its key, if it is not in the same file; as often as --tls-cert",
    )
    add(
        "--tls",
        choices=["self-signed"],
        what="self-signed: make a certificate, keep it with the mail, and print its fingerprint",
    )


def _add_message_size(add: _Add) -> None:
    add(
        "--max-message-size",
        type=values.size,
        metavar="SIZE",
        what=f"the largest message, in octets or as 512K, 10M (default: {ServeSettings.max_message_size >> 20}M)",
    )


def _add_size_flags(add: _Add) -> None:
    default = ServeSettings
    _add_message_size(add)
    add(
        "--max-recipients",
        type=values.count,
        metavar="N",
        what=f"recipients of one message (default: {default.max_recipients})",
    )
    add(
        "--max-transactions",
        type=values.count,
        metavar="N",
        what=f"messages that one connection may bring (default: {default.max_transactions})",
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
        what="the same from one address; this machine counts too then (default: 50, this machine not counted)",
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
        what=f"commands that lead nowhere, without a message in between (default: {default.max_junk_commands})",
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
        what=f"octets a second that a message must bring on average (default: {default.minimum_rate})",
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
            what=f"{what}, as 100/30s, 1000/10m or 20/1h; this machine counts too then; off for no limit "
            f"(default: {usual}, this machine not counted)",
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
