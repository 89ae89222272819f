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
    "--connection-rate": ("connections", "connections of one client", "300/1m"),
    "--message-rate": ("messages", "messages of one client", "1000/10m"),
    "--recipient-rate": ("recipients", "recipients given by one client", "10000/10m"),
    "--login-failure-rate": ("login_failures", "failed logins of one client", "30/10m"),
    "--account-message-rate": ("account_messages", "messages sent by one account", "1000/1h"),
    "--account-recipient-rate": ("account_recipients", "recipients given by one account", "10000/1h"),
    "--account-login-failure-rate": ("account_login_failures", "failed logins with one user name", "100/1h"),
}
"""The flags that take a rate, with the argument of `RateLimits`, what is counted, and the default."""

_ABOUT_RATES: Final = (
    "N/TIME is a rate such as 100/30s, 1000/10m or 20/1h; off means no limit. One client is one IPv4 address or one "
    "IPv6 /64 network. The default rates do not apply to clients on this machine, but a rate that is given does."
)

_Add = Callable[..., None]


def add_serve_flags(parser: ArgumentParser) -> None:
    """Add the flags to the parser of ``trio-smtp serve``."""
    _add_main_flags(_adder(parser))
    _add_json(_adder(parser), "print one JSON object when the server is ready, with the URLs where it listens")
    _add_tls_flags(_adder(parser.add_argument_group("TLS")))
    _add_size_flags(_adder(parser.add_argument_group("limits")))
    _add_time_flags(_adder(parser.add_argument_group("timeouts and delays")))
    _add_policy_flags(_adder(parser.add_argument_group("rates and policies", _ABOUT_RATES)))


def add_catch_flags(parser: ArgumentParser) -> None:
    """Add the flags to the parser of ``trio-smtp catch``."""
    add = _adder(parser)
    add(
        "--smtp",
        dest="listen",
        action="append",
        type=parse_smtp,
        metavar="[HOST:]PORT",
        what="where to listen; port 0 selects a free port; may be given several times "
        f"(default: {ServeSettings.listen[0].where})",
    )
    add(
        "--smtps",
        dest="listen",
        action="append",
        type=partial(parse_smtp, scheme="smtps"),
        metavar="[HOST:]PORT",
        what="where to listen with TLS from the start; needs a certificate",
    )
    _add_store(add, "or memory: (lost when the server stops)")
    _add_json(add, "print one JSON object per line: first the URLs where the server listens, then each message")
    add(
        "--refuse",
        dest="refusals",
        action="append",
        type=values.refusal,
        metavar="WHAT=CODE",
        what="refuse WHAT with this 4xx or 5xx code, to test how a program reacts; WHAT is connection, login, sender, "
        "recipient, message (after it was received), or the address of one recipient; may be given several times",
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
        what="where to listen: smtp://HOST:PORT, smtps://, submission:// and submissions:// (both require a login), "
        "lmtp://, lmtp+unix:///PATH; port 0 selects a free port; ?proxy=NETWORK,... at the end accepts only proxies "
        "in these networks, which must use the PROXY protocol; may be given several times "
        f"(default: {default.listen[0]})",
    )
    _add_store(add, "memory: (lost when the server stops) or null: (mail is discarded)")
    add(
        "--workers",
        type=values.count,
        metavar="N",
        what="number of processes that receive mail, up to one per CPU; they share listeners, limits and the store, "
        f"which cannot be memory: (default: {default.workers}, without an extra process)",
    )
    add(
        "--account",
        dest="accounts",
        action="append",
        type=values.account,
        metavar="NAME=ADDRESS",
        what="create this account if it does not exist; may be given several times",
    )
    add(
        "--postmaster",
        type=values.line,
        metavar="NAME",
        what="the account that receives mail for postmaster if none has that address (default: the first account)",
    )
    add(
        "--catch-all",
        type=values.line,
        metavar="NAME",
        what="the account that receives mail for unknown users in the accounts' domains (default: refuse it)",
    )
    add(
        "--any-sender",
        action="store_true",
        what="let users who log in send from any address (default: only from the addresses of their account)",
    )
    _add_hostname(add)
    _add_loose_paths(add)
    _add_without(add)
    _add_transcript(add)
    add(
        "--metrics-file",
        type=values.file,
        metavar="FILE",
        what="write the counters to this file every 15 seconds, in Prometheus format, for the textfile collector of "
        "node_exporter",
    )


def _add_store(add: _Add, others: str) -> None:
    add(
        "--store",
        type=parse_store,
        metavar="URL",
        what=f"where to store mail: json:DIRECTORY, {others} (default: {DEFAULT_STORE})",
    )


def _add_hostname(add: _Add) -> None:
    add("--hostname", metavar="NAME", what="the host name in the greeting (default: the name of this machine)")


def _add_loose_paths(add: _Add) -> None:
    add(
        "--loose-paths",
        action="store_true",
        what="accept addresses with common mistakes: no angle brackets, a space before the address, misplaced dots or "
        "more than 64 octets before the @, underscores in the domain (default: refuse them with 501)",
    )


def _add_without(add: _Add) -> None:
    add(
        "--without",
        action="append",
        type=values.extension,
        metavar="EXTENSION",
        what="do not offer this extension, such as SMTPUTF8, nor those that depend on it; may be given several times",
    )


def _add_transcript(add: _Add) -> None:
    add(
        "--transcript",
        action="store_true",
        what="log all commands and replies, except secrets and messages",
    )


def _add_json(add: _Add, what: str) -> None:
    add("--json", dest="as_json", action="store_true", what=what)


def _add_tls_flags(add: _Add) -> None:
    _add_certificates(add)
    add(
        "--tls-client-ca",
        type=values.file,
        metavar="FILE",
        what="CA certificates in PEM format; clients can log in with a certificate from one of these CAs (EXTERNAL)",
    )
    add(
        "--channel-binding",
        action="store_true",
        what="offer SCRAM-SHA-256-PLUS, too; some clients, such as mutt, then cannot log in",
    )
    add(
        "--require-tls",
        action="store_true",
        what="refuse mail without TLS (reply 530); not for the server of a public domain, as not all clients have TLS",
    )


def _add_certificates(add: _Add) -> None:
    add(
        "--tls-cert",
        action="append",
        type=values.file,
        metavar="FILE",
        what="certificate chain in PEM format, reloaded when the file changes and on SIGHUP; may be given several "
        "times: each client gets the certificate for the host name it requests (SNI), otherwise the first one",
    )
    add(
        "--tls-key",
        action="append",
        type=values.file,
        metavar="FILE",
        what="private key of --tls-cert in PEM format, if it is in another file; give one for each --tls-cert",
    )
    add(
        "--tls",
        choices=["self-signed"],
        what="self-signed: create a certificate, keep it in the store, and print its fingerprint",
    )


def _add_message_size(add: _Add) -> None:
    add(
        "--max-message-size",
        type=values.size,
        metavar="SIZE",
        what=f"maximum size of a message, in octets or as 512K, 10M (default: {ServeSettings.max_message_size >> 20}M)",
    )


def _add_size_flags(add: _Add) -> None:
    default = ServeSettings
    _add_message_size(add)
    add(
        "--max-recipients",
        type=values.count,
        metavar="N",
        what=f"maximum recipients of a message (default: {default.max_recipients})",
    )
    add(
        "--max-transactions",
        type=values.count,
        metavar="N",
        what=f"maximum messages per connection (default: {default.max_transactions})",
    )
    add(
        "--max-connections",
        type=values.count,
        metavar="N",
        what=f"maximum simultaneous connections per listener (default: {default.max_connections})",
    )
    add(
        "--max-connections-per-peer",
        type=values.count,
        metavar="N",
        what="maximum simultaneous connections per listener from one IPv4 address or IPv6 /64 network; if given, "
        "also for clients on this machine (default: 50, but no limit for clients on this machine)",
    )
    add(
        "--max-errors",
        type=values.count,
        metavar="N",
        what=f"maximum refused commands without an accepted message in between (default: {default.max_errors})",
    )
    add(
        "--max-junk-commands",
        type=values.count,
        metavar="N",
        what="maximum commands such as NOOP and RSET without an accepted message in between "
        f"(default: {default.max_junk_commands})",
    )
    add(
        "--max-login-failures",
        type=values.count,
        metavar="N",
        what=f"maximum failed logins per connection (default: {default.max_login_failures})",
    )
    add(
        "--max-received",
        type=values.count,
        metavar="N",
        what=f"maximum Received fields of a message; more mean a mail loop (default: {default.max_received})",
    )
    add(
        "--max-header-fields",
        type=values.count,
        metavar="N",
        what=f"maximum header fields of a message (default: {default.max_header_fields})",
    )
    add(
        "--max-header-size",
        type=values.size,
        metavar="SIZE",
        what="maximum size of the header of a message, in octets or as 128K, not above 1M "
        f"(default: {default.max_header_size >> 10}K)",
    )


def _add_time_flags(add: _Add) -> None:
    default = ServeSettings
    add(
        "--command-timeout",
        type=values.seconds,
        metavar="SECONDS",
        what=f"maximum time to wait for the next command (default: {default.command_timeout})",
    )
    add(
        "--data-timeout",
        type=values.seconds,
        metavar="SECONDS",
        what="maximum time to wait for more data of a message (default: the command timeout, but not above 180)",
    )
    add(
        "--drain-timeout",
        type=values.seconds,
        metavar="SECONDS",
        what=f"maximum time for open connections to finish when the server stops (default: {default.drain_timeout})",
    )
    add(
        "--handshake-timeout",
        type=values.seconds,
        metavar="SECONDS",
        what=f"maximum time for a TLS handshake, or for the header of a proxy (default: {default.handshake_timeout})",
    )
    add(
        "--session-time",
        type=values.seconds,
        metavar="SECONDS",
        what=f"maximum duration of a connection (default: {default.session_time})",
    )
    add(
        "--minimum-rate",
        type=values.count,
        metavar="OCTETS",
        what=f"minimum average speed of a message, in octets per second (default: {default.minimum_rate})",
    )
    add(
        "--fault-delay",
        type=values.delay,
        metavar="SECONDS",
        what=f"maximum delay of replies to a client that makes errors; 0 for no delay (default: {default.fault_delay})",
    )


def _add_policy_flags(add: _Add) -> None:
    for flag, (_, what, usual) in RATES.items():
        add(
            flag,
            type=values.rate,
            metavar="N/TIME",
            what=f"maximum rate of {what} (default: {usual})",
        )
    add(
        "--early-talkers",
        choices=["refuse", "allow"],
        what="what to do with clients that send data before the greeting (default: refuse)",
    )
    add(
        "--greylist",
        nargs="?",
        const=300.0,
        type=values.seconds,
        metavar="SECONDS",
        what="on smtp:// and smtps://, temporarily refuse mail from an unknown sender until the client tries again "
        "after this time or later (default: off; 300 if SECONDS is omitted)",
    )
