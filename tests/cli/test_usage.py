"""Wrong usage (exit code 2, one sentence, nothing done), and the help texts."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import trio_smtp
from tests.cli.tools import Result
from trio_smtp.protocol import Limits
from trio_smtp.server import Timeouts
from trio_smtp.server.server import DEFAULT_MAX_CONNECTIONS, DEFAULT_MAX_CONNECTIONS_PER_PEER

A = "a@example.com"

WRONG = [
    ("no command", "", "COMMAND"),
    ("unknown command", "frobnicate", "'frobnicate'"),
    ("no action", "account", "ACTION"),
    ("unknown action", "mail burn", "'burn'"),
    ("unknown flag", "serve --frobnicate", "--frobnicate; see trio-smtp serve --help"),
    ("abbreviated flag", "serve --max-rec 3", "--max-rec"),
    ("flag without value", "serve --listen", "--listen"),
    ("argument that belongs to nothing", "serve now", "now; see trio-smtp serve --help"),
    # serve
    ("no name", "serve --hostname=", "'' is not a host name"),
    ("listen: no URL", "serve --listen 1025", "'1025'"),
    ("listen: unknown scheme", "serve --listen http://localhost:80", "'http://localhost:80'"),
    ("listen: scheme in upper case", "serve --listen SMTP://localhost:25", "'SMTP://localhost:25'"),
    ("listen: no port", "serve --listen smtp://localhost", "HOST:PORT"),
    ("listen: no host", "serve --listen smtp://:25", "HOST:PORT"),
    ("listen: port too high", "serve --listen smtp://localhost:65536", "the port is above 65535"),
    ("listen: port of other digits", "serve --listen smtp://localhost:٢٥", "HOST:PORT"),
    ("listen: IPv6 without brackets", "serve --listen smtp://::1:25", "HOST:PORT"),
    ("listen: user", "serve --listen smtp://me@localhost:25", "HOST:PORT"),
    ("listen: path", "serve --listen smtp://localhost:25/", "HOST:PORT"),
    ("listen: unknown option", "serve --listen smtp://localhost:25?proxies=10.0.0.0/8", "'proxies'"),
    ("listen: no network", "serve --listen smtp://localhost:25?proxy=", "proxy="),
    ("listen: one bad network", "serve --listen smtp://localhost:25?proxy=10.0.0.0/8,lan", "'lan'"),
    ("listen: network with a host in it", "serve --listen smtp://localhost:25?proxy=10.0.0.1/8", "host bits set"),
    ("listen: network with a zone", "serve --listen smtp://localhost:25?proxy=fe80::%\x1b/64", "zone"),
    ("listen: proxies twice", "serve --listen smtp://localhost:25?proxy=::1&proxy=::2", "'::1&proxy=::2'"),
    ("listen: proxy at a Unix socket", "serve --listen lmtp+unix:///run/lmtp?proxy=::1", "no address"),
    ("listen: relative path", "serve --listen lmtp+unix://lmtp.sock", "absolute path"),
    ("listen: one good, one bad", "serve --listen smtp://localhost:0 --listen x", "'x'"),
    ("listen: LMTP on the port of SMTP", "serve --listen lmtp://127.0.0.1:25", "must not use port 25"),
    ("listen: the same, in other words", "serve --listen lmtp://[::1]:00025", "must not use port 25"),
    ("submission without certificate", "serve --listen submission://localhost:0", "--tls-cert"),
    ("submissions without certificate", "serve --listen submissions://localhost:0", "--tls-cert"),
    ("smtps without certificate", "serve --listen smtps://localhost:0", "--tls-cert"),
    ("key without certificate", "serve --tls-key key.pem", "--tls-key"),
    ("fewer keys than certificates", "serve --tls-cert a --tls-cert b --tls-key c", "--tls-key"),
    ("more keys than certificates", "serve --tls-cert a --tls-key b --tls-key c", "--tls-key"),
    ("certificate for nothing", "serve --listen lmtp://localhost:0 --tls-cert cert.pem", "--tls-cert"),
    ("rate without time", "serve --message-rate 5", "'5' is neither a rate"),
    ("rate of nothing", "serve --message-rate 0/5s", "'0/5s' is neither a rate"),
    (
        "refusal of what is no step",
        "catch --refuse recipients=550",
        "'recipients' is neither a step (connection, login,",
    ),
    ("refusal of no address", "catch --refuse a@=550", "'a@=550' cannot be refused: this is not a mail address"),
    ("refusal without a code", "catch --refuse recipient", "WHAT=CODE, such as recipient=550"),
    ("refusal by no number", "catch --refuse recipient=no", "WHAT=CODE, such as recipient=550"),
    ("refusal by a reply that is none", "catch --refuse recipient=250", "must be 4xx or 5xx, not 250"),
    ("refusal in serve", "serve --refuse recipient=550", "--refuse"),
    ("rate in no time", "serve --message-rate 5/0s", "'5/0s' is neither a rate"),
    ("delay that is none", "serve --fault-delay -1", "--fault-delay"),
    ("headers too big to be seen", "serve --max-header-size 2M", "--max-header-size"),
    ("senders of nobody", "serve --any-sender", "--any-sender"),
    ("greylisting of nobody", "serve --greylist --listen lmtp://localhost:0", "--greylist has no effect"),
    ("greylisting for no time", "serve --greylist 0", "'0'"),
    ("self-signed for nothing", "serve --listen lmtp://localhost:0 --tls self-signed", "--tls has no effect"),
    ("certificate of another kind", "serve --tls letsencrypt", "'letsencrypt'"),
    ("two kinds of certificates", "serve --tls self-signed --tls-cert cert.pem", "--tls-cert"),
    ("TLS required, no certificate", "serve --require-tls", "--require-tls needs a certificate"),
    ("channel binding, nobody logs in", "serve --tls self-signed --channel-binding", "--channel-binding has no effect"),
    ("client authority, nobody logs in", "serve --tls self-signed --tls-client-ca ca.pem", "--tls-client-ca"),
    (
        "client authority without certificate",
        "serve --listen submission://localhost:0 --tls-client-ca ca.pem",
        "--tls-cert",
    ),
    ("store: unknown kind", "serve --store sqlite:mail", "'sqlite:mail'"),
    ("store: no directory", "serve --store json:", "'json:'"),
    ("store: a directory alone", "mail list ann --store ./mail", "for a directory, use json:./mail"),
    ("store: only a directory", "serve --store ./mail", "'./mail'"),
    ("store: memory with a directory", "serve --store memory:mail", "'memory:mail'"),
    ("account: no address", "serve --account demo", "NAME=ADDRESS"),
    ("account: no name", f"serve --account ={A}", "empty"),
    ("account: bad address", "serve --account demo=demo", "'demo'"),
    ("account: address of two", f"serve --account ann={A} --account bob=A@EXAMPLE.COM", "two accounts"),
    ("account: domain of two", "serve --account ann=a@bücher.de --account bob=a@xn--bcher-kva.de", "two accounts"),
    ("hostname with a blank", "serve --hostname mx\x7f.example", "--hostname"),
    ("size: a word", "serve --max-message-size much", "'much'"),
    ("size: nothing", "serve --max-message-size 0", "'0'"),
    ("size: negative", "serve --max-message-size=-1", "'-1'"),
    ("size: underscore", "serve --max-message-size 1_000", "'1_000'"),
    ("size: unknown unit", "serve --max-message-size 1T", "'1T'"),
    ("count: nothing", "serve --max-recipients 0", "'0'"),
    ("count: sign", "serve --max-connections +5", "'+5'"),
    ("count: other digits", "serve --max-connections-per-peer ٥", "whole number"),
    ("seconds: nothing", "serve --command-timeout 0", "'0'"),
    ("seconds: infinite", "serve --data-timeout inf", "'inf'"),
    ("seconds: no number", "serve --drain-timeout nan", "'nan'"),
    ("postmaster: control character", "serve --postmaster \x1b[2J", "--postmaster"),
    # catch
    ("catch: no port", "catch --smtp localhost", "HOST:PORT"),
    ("catch: port too high", "catch --smtp 65536", "'127.0.0.1:65536'"),
    ("catch: port of other digits", "catch --smtp ٢٥", "HOST:PORT"),
    ("catch: TLS from the start without a certificate", "catch --smtps 0", "--tls self-signed"),
    ("catch: nowhere to keep it", "catch --store null:", "memory:"),
    ("catch: extension that is none", "catch --without STARTTLS", "--without: 'STARTTLS' is not one of 8BITMIME, "),
    # account, mailbox, mail
    ("add: no address", "account add demo", "--address"),
    ("add: bad address", "account add demo --address demo", "'demo'"),
    ("add: address without domain", "account add demo --address postmaster", "'postmaster'"),
    ("add: address that breaks the line", "account add demo --address a@b\rc", "--address"),
    ("add: bad name", f"account add \x1b[2J --address {A}", "NAME"),
    ("add: bad description", f"account add demo --address {A} --description \x07", "--description"),
    ("add: store of another process", f"account add demo --address {A} --store memory:", "memory:"),
    ("add: quota of nothing", f"account add demo --address {A} --quota 0", "'0'"),
    ("quota: no size", "account quota demo", "SIZE|none"),
    ("quota: a word", "account quota demo much", "'much'"),
    ("delete: nothing", "mail delete demo", "--all"),
    ("delete: all, and one", "mail delete demo 1 --all", "--all"),
    ("delete: all, and one behind it", "mail delete demo --all 1", "the UIDs of the messages to delete or --all"),
    ("wait: for no time", "mail list demo --wait 0", "'0'"),
    ("list: store that keeps nothing", "mail list demo --store null:", "null:"),
    ("show: no UID", "mail show demo", "UID"),
    ("show: UID 0", "mail show demo 0", "'0'"),
    ("show: no number", "mail show demo one", "'one'"),
    ("search: nothing", "mail search demo", "no search condition"),
    ("search: no date", "mail search demo --since yesterday", "'yesterday'"),
    ("search: no field", "mail search demo --header =x", "the name of a header field"),
    ("search: no flag", "mail search demo --flag a(b", "--flag"),
    ("flag: nothing to do", "mail flag demo 1", "--add"),
    ("flag: two things to do", "mail flag demo 1 --add a --remove b", "--remove"),
    ("flag: no flag", "mail flag demo 1 --add \\Recent", "--add"),
    ("export: folder to standard output", "mail export demo --format eml", "--output"),
    ("export: JSON to standard output", "mail export demo --json", "--output"),
    ("export: overwrite standard output", "mail export demo --overwrite", "--output"),
    ("export: unknown form", "mail export demo --format zip", "'zip'"),
    ("import: nothing", "mail import demo", "PATH"),
    ("copy: nowhere", "mail copy demo 1", "--to"),
    ("move: no UID", "mail move demo --to Old", "UID"),
    ("read-only: neither", "mailbox read-only demo INBOX maybe", "'maybe'"),
    ("show: raw JSON", "mail show demo 1 --raw --json", "--json"),
    ("rename: one name", "mailbox rename demo a", "NEW_NAME"),
    # send
    ("send: nobody", "send", "--to"),
    ("send: bad recipient", "send --to demo", "'demo'"),
    ("send: bad sender", f"send --to {A} --from me", "'me'"),
    ("send: no port", f"send --to {A} --server localhost", "HOST:PORT"),
    ("send: endless label", f"send --to {A} --server {'x' * 64}:25", "HOST:PORT"),
    ("send: subject of two lines", f"send --to {A} --subject a\x0bb", "--subject"),
    ("send: subject and file", f"send --to {A} --subject hello mail.eml", "--subject"),
]


@pytest.mark.parametrize(("line", "fragment"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_wrong_usage(run: Callable[..., Result], folder: Path, line: str, fragment: str) -> None:
    run(*filter(None, line.split(" "))).fails(2, fragment)
    assert not list(folder.iterdir())


@pytest.mark.parametrize(
    "command", ["", "serve", "catch", "account", "account add", "mailbox rename", "mail show", "send"]
)
def test_help(run: Callable[..., Result], command: str) -> None:
    result = run(*command.split(), "--help")
    assert (result.code, result.err) == (0, "")
    assert result.lines[0].startswith(f"usage: trio-smtp {command}".rstrip())


def test_help_and_wrong_usage_load_neither_trio_nor_the_protocol() -> None:
    script = (
        "import sys; from trio_smtp.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: print([name for name in sys.modules if name.startswith(('trio.', 'trio_smtp.protocol'))])"
    )
    for argv in (["--help"], ["serve", "--listen", "x"], ["mail", "list"]):
        done = subprocess.run([sys.executable, "-c", script, *argv], check=True, capture_output=True, text=True)
        assert done.stdout.endswith("[]\n")


def test_version(run: Callable[..., Result]) -> None:
    assert run("--version") == (0, f"trio-smtp {trio_smtp.__version__}\n".encode(), "")


def test_the_help_tells_the_defaults_of_the_library(run: Callable[..., Result]) -> None:
    text = " ".join(run("serve", "--help").out.decode().split())
    limits, timeouts = Limits(), Timeouts()
    for flag, default in [
        ("--max-message-size", f"{limits.message_size >> 20}M"),
        ("--max-recipients", limits.recipients),
        ("--max-connections", DEFAULT_MAX_CONNECTIONS),
        ("--max-connections-per-peer", f"{DEFAULT_MAX_CONNECTIONS_PER_PEER}, but no limit for clients on this machine"),
        ("--command-timeout", f"{timeouts.command:g}"),
        ("--data-timeout", f"the command timeout, but not above {timeouts.data:g}"),
        ("--drain-timeout", f"{timeouts.drain:g}"),
    ]:
        explained = text.partition(f" {flag} ")[2]
        assert re.match(rf"[^(]*\(default: {re.escape(str(default))}\)", explained), flag
