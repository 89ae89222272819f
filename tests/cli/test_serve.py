"""``trio-smtp serve`` in a separate process, from the first line of its banner to its exit code."""

from __future__ import annotations

import shlex
import signal
import smtplib
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import pytest
import trustme

from tests.cli.tools import Result, Serving
from trio_smtp.cli import serve
from trio_smtp.cli.serving import server_options
from trio_smtp.cli.settings import ServeSettings
from trio_smtp.mailbox import MemoryStore
from trio_smtp.protocol import Config
from trio_smtp.server import StoreAuthenticator, Timeouts

Run = Callable[..., Result]

FREE = ("--listen", "smtp://127.0.0.1:0")
DEMO = ("--account", "demo=demo@example.com")
NO_RELAY = b"5.7.1 The recipient is not ours, and this server does not relay"
CONTENT = b"Subject: hello\r\n\r\n.dots.\r\n..\r\n"


def send(
    client: smtplib.SMTP,
    content: bytes = CONTENT,
    recipients: Sequence[str] = ("demo@example.com",),
    sender: str = "sender@example.com",
) -> None:
    with client:
        client.sendmail(sender, recipients, content)


def stored(run: Run, account: str = "demo") -> list[bytes]:
    """Return the messages of an account, without the fields that the server has added."""
    uids = [str(record["uid"]) for record in run("mail", "list", account, "--json").records]
    contents = [run("mail", "show", account, uid, "--raw").out for uid in uids]
    return [content[content.index(b"Subject:") :] for content in contents]


def test_a_message_comes_in_and_is_read_beside_the_server(run: Run, folder: Path) -> None:
    with Serving(*FREE, *DEMO, folder=folder) as server:
        send(server.connect())
        assert stored(run) == [CONTENT]
        assert "from=<sender@example.com> to=<demo@example.com>" in server.log("accepted")


def test_refusals_are_logged_on_one_escaped_line(folder: Path) -> None:
    with Serving(*FREE, *DEMO, folder=folder) as server:
        with server.connect() as client:
            client.ehlo()
            client.mail("sender@example.com")
            client.rcpt("nobody@example.com")
        assert "nobody@example.com" in server.log("refused")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_well(folder: Path, number: signal.Signals) -> None:
    with Serving(*FREE, "--listen", "lmtp://127.0.0.1:0", folder=folder) as server:
        assert server.stop(number) == 0


def test_it_drains(run: Run, folder: Path) -> None:
    with Serving(*FREE, *DEMO, folder=folder) as server, server.connect() as idle, server.connect() as busy:
        idle.ehlo()
        busy.ehlo()
        busy.mail("sender@example.com")
        busy.rcpt("demo@example.com")
        server.send(signal.SIGTERM)
        assert idle.getreply()[0] == 421
        assert busy.data(CONTENT)[0] == 250
        assert busy.getreply()[0] == 421
        for client in (idle, busy):
            client.close()  # which the server would wait for
        assert server.wait() == 0
        assert stored(run) == [CONTENT]


def test_a_second_signal_cuts_off(run: Run, folder: Path) -> None:
    with Serving(*FREE, *DEMO, "--drain-timeout", "3600", folder=folder) as server, closing(server.connect()) as busy:
        busy.ehlo()
        busy.mail("sender@example.com")
        server.send(signal.SIGTERM)
        server.log("stopping")
        server.send(signal.SIGINT)
        assert busy.getreply()[0] == 421
        busy.close()  # which the server would wait for
        assert server.wait() == 0
        assert stored(run) == []


def test_mail_outlives_sigkill(run: Run, folder: Path) -> None:
    for count in (1, 2):
        with Serving(*FREE, *DEMO, folder=folder) as server:
            send(server.connect())
            assert server.stop(signal.SIGKILL) == -signal.SIGKILL
        assert stored(run) == [CONTENT] * count


def test_an_account_added_beside_it_gets_mail(run: Run, folder: Path) -> None:
    with Serving(*FREE, folder=folder) as server:
        assert run("account", "add", "ann", "--address", "ann@example.com").code == 0
        send(server.connect(), recipients=["ann@example.com"])
        assert stored(run, "ann") == [CONTENT]


# --- the banner


def test_banner(folder: Path) -> None:
    with Serving(*FREE, *DEMO, "--account", "demo=info@example.com", folder=folder) as server:
        assert server.banner[1:] == [
            f"    smtp://{server.address}",
            f"Mail for these accounts is kept in {folder}/mail:",
            "    demo: demo@example.com, info@example.com",
            "Try in another terminal:",
            f"    trio-smtp send --to demo@example.com --server {server.address}",
            "    trio-smtp mail list demo",
            "Ctrl-C stops the server.",
        ]


def test_its_hints_work(run: Run, folder: Path) -> None:
    with Serving(*FREE, *DEMO, "--store", "json:a b", folder=folder) as server:
        hints = [shlex.split(line)[1:] for line in server.banner if line.startswith("    trio-smtp")]
        assert hints[1] == ["mail", "list", "demo", "--store", "json:a b"]
        for hint in hints:
            assert run(*hint).code == 0


def test_banner_without_an_account(run: Run, folder: Path) -> None:
    with Serving(*FREE, "--store", "json:a", folder=folder) as server:
        assert server.banner[2:] == [
            f"Mail is kept in {folder}/a. There is no account yet, so all mail is refused.",
            "Try in another terminal:",
            "    trio-smtp account add demo --address demo@example.com --store json:a",
            "Ctrl-C stops the server.",
        ]


@pytest.mark.parametrize(
    ("store", "kept"), [("memory:", "kept in memory until the server stops"), ("null:", "discarded")]
)
def test_banner_of_a_store_that_nobody_shares(folder: Path, store: str, kept: str) -> None:
    with Serving("--listen", "lmtp://127.0.0.1:0", *DEMO, "--store", store, folder=folder) as server:
        assert server.banner[2:] == [
            f"Mail for these accounts is {kept}:",
            "    demo: demo@example.com",
            "Ctrl-C stops the server.",
        ]
        with smtplib.LMTP(*server.endpoints[0]) as client:
            client.sendmail("sender@example.com", ["demo@example.com"], CONTENT)
        assert server.stop() == 0
    assert not list(folder.iterdir())


# --- listeners


def test_localhost_is_one_port_for_all_its_addresses(folder: Path) -> None:
    with Serving("--listen", "smtp://localhost:0", folder=folder) as server:
        shown = [line.rpartition(":") for line in server.banner if "smtp://" in line]
        assert {"    smtp://127.0.0.1", "    smtp://[::1]"} >= {where for where, _, _ in shown}
        assert len({port for _, _, port in shown}) == 1


def test_unix_socket(run: Run, folder: Path) -> None:
    path = folder / "s"
    with Serving("--listen", f"lmtp+unix://{path}", *DEMO, folder=folder) as server:
        assert server.banner[1] == f"    lmtp+unix://{path}"
        with smtplib.LMTP(str(path)) as client:
            client.sendmail("sender@example.com", ["demo@example.com"], CONTENT)
        assert server.stop() == 0
    assert not path.exists()
    assert stored(run) == [CONTENT]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with cert.pem and key.pem, both.pem with both of them, the authority ca.pem, and another.pem, a key."""
    folder = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    issued = authority.issue_cert("127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    issued.private_key_and_cert_chain_pem.write_to_path(folder / "both.pem")
    authority.issue_cert("127.0.0.1").private_key_pem.write_to_path(folder / "another.pem")
    return folder


def test_what_each_scheme_offers(run: Run, folder: Path, certificates: Path) -> None:
    account = "account add demo --address demo@example.com --password-stdin"
    assert run(*account.split(), stdin=b"secret\n").code == 0
    listen = [f"--listen={scheme}://127.0.0.1:0" for scheme in ("smtp", "smtps", "submission", "submissions", "lmtp")]
    tls = [f"--tls-cert={certificates}/cert.pem", f"--tls-key={certificates}/key.pem"]
    context = ssl.create_default_context(cafile=certificates / "ca.pem")
    with Serving(*listen, *tls, folder=folder) as server:
        smtp, smtps, submission, submissions, lmtp = server.endpoints

        with smtplib.SMTP(*smtp) as client:
            assert client.ehlo()[0] == 250
            assert not client.has_extn("auth")
            client.starttls(context=context)
            client.ehlo()
            assert not client.has_extn("auth")
            send(client)
        with smtplib.SMTP_SSL(*smtps, context=context) as client:
            client.ehlo()
            assert not client.has_extn("auth")
            send(client)
        with smtplib.SMTP(*submission) as client:
            client.ehlo()
            assert not client.has_extn("auth")
            assert client.mail("sender@example.com")[0] == 530
            client.starttls(context=context)
            client.login("demo", "secret")
            assert client.mail("sender@example.com")[0] == 550
            assert client.mail("demo@example.com")[0] == 250
            assert client.rcpt("demo@elsewhere.example") == (550, NO_RELAY)
            client.rset()
            send(client, sender="demo@example.com")
        with smtplib.SMTP_SSL(*submissions, context=context) as client:
            client.ehlo()
            assert client.mail("sender@example.com")[0] == 530
            client.login("demo@example.com", "secret")
            send(client, sender="demo@example.com")
        with smtplib.LMTP(*lmtp) as client:
            client.ehlo()
            assert not client.has_extn("starttls")
            assert not client.has_extn("auth")
            send(client)
    assert stored(run) == [CONTENT] * 5
    for uid, added in enumerate([False, False, True, True, False], 1):
        header = run("mail", "show", "demo", str(uid), "--raw").out
        assert (b"\r\nDate: " in header) == (b"\r\nMessage-ID: <" in header) == added


def test_any_sender(run: Run, folder: Path, certificates: Path) -> None:
    account = "account add demo --address demo@example.com --password-stdin"
    assert run(*account.split(), stdin=b"secret\n").code == 0
    flags = ["--listen=submissions://127.0.0.1:0", f"--tls-cert={certificates}/both.pem", "--any-sender"]
    context = ssl.create_default_context(cafile=certificates / "ca.pem")
    with Serving(*flags, folder=folder) as server, smtplib.SMTP_SSL(*server.endpoints[0], context=context) as client:
        client.login("demo", "secret")
        send(client)
    assert stored(run) == [CONTENT]


def test_key_in_the_file_of_the_certificate(folder: Path, certificates: Path) -> None:
    context = ssl.create_default_context(cafile=certificates / "ca.pem")
    with Serving(*FREE, f"--tls-cert={certificates}/both.pem", folder=folder) as server, server.connect() as client:
        assert client.starttls(context=context)[0] == 220


# --- flags that change what the server does


def test_limits(folder: Path) -> None:
    flags = "--hostname mx.example --max-message-size 1K --max-recipients 1 --max-connections 2"
    with Serving(*FREE, *DEMO, *flags.split(), folder=folder) as server, server.connect() as client:
        assert client.ehlo()[1].startswith(b"mx.example")
        assert client.esmtp_features["size"] == "1024"
        client.mail("sender@example.com")
        assert client.rcpt("demo@example.com")[0] == 250
        assert client.rcpt("demo@example.com")[0] == 452
        assert client.data(b"x" * 1025)[0] == 552
        with server.connect(), pytest.raises(smtplib.SMTPConnectError, match="421"):
            server.connect()


def test_connections_of_one_peer(folder: Path) -> None:
    flags = ("--max-connections-per-peer", "1")
    refused = pytest.raises(smtplib.SMTPConnectError, match="421")
    with Serving(*FREE, *flags, folder=folder) as server, server.connect(), refused:
        server.connect()


def test_command_timeout(folder: Path) -> None:
    with Serving(*FREE, "--command-timeout", "0.01", folder=folder) as server, closing(server.connect()) as client:
        assert client.getreply()[0] == 421


def test_data_timeout(folder: Path) -> None:
    flags = (*DEMO, "--data-timeout", "0.01")
    with Serving(*FREE, *flags, folder=folder) as server, closing(server.connect()) as client:
        client.send(b"EHLO client\r\nMAIL FROM:<>\r\nRCPT TO:<demo@example.com>\r\nDATA\r\n")
        assert [client.getreply()[0] for _ in range(5)] == [250, 250, 250, 354, 421]


@pytest.mark.parametrize(
    ("flags", "command", "data", "drain"),
    [
        ({}, 300, 180, 30),
        ({"command_timeout": 10.0}, 10, 10, 30),
        ({"command_timeout": 600.0}, 600, 180, 30),
        ({"command_timeout": 10.0, "data_timeout": 20.0, "drain_timeout": 1.5}, 10, 20, 1.5),
    ],
)
def test_timeouts(flags: dict[str, Any], command: float, data: float, drain: float) -> None:
    settings = ServeSettings(**flags)
    options = server_options(settings.listen[0], settings, Config(), None, StoreAuthenticator(MemoryStore()), ())
    assert options.get("timeouts") == Timeouts(command=command, data=data, drain=drain)


def test_greylist(folder: Path) -> None:
    with Serving(*FREE, "--greylist", *DEMO, folder=folder) as server, smtplib.SMTP(*server.endpoints[0]) as client:
        client.ehlo_or_helo_if_needed()
        assert client.mail("ann@example.com")[0] == 250
        assert client.rcpt("demo@example.com")[0] == 451


def test_postmaster_and_unknown_users(run: Run, folder: Path) -> None:
    accounts = ("--account", "ann=ann@example.com", "--account", "bob=bob@example.com")
    with Serving(*FREE, *DEMO, *accounts, "--postmaster", "ann", "--catch-all", "bob", folder=folder) as server:
        send(server.connect(), recipients=["postmaster"])
        send(server.connect(), recipients=["nobody@example.com"])
    assert stored(run, "ann") == [CONTENT]
    assert stored(run, "bob") == [CONTENT]


def test_accounts_are_made_once(run: Run, folder: Path) -> None:
    for _ in range(2):
        with Serving(*FREE, *DEMO, folder=folder) as server:
            server.stop()
    accounts = run("account", "list", "--json").records
    assert [account["addresses"] for account in accounts] == [["demo@example.com"]]


# --- what can go wrong


@pytest.mark.parametrize(("command", "flag"), [("serve", "--listen smtp://"), ("catch", "--smtp ")])
def test_port_in_use(run: Run, folder: Path, command: str, flag: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        where = f"127.0.0.1:{other.getsockname()[1]}"
        counters = [] if command == "catch" else ["--metrics-file", "x.prom"]  # of the server that has the port
        result = run(command, *(flag + where).split(" "), *counters)
    result.fails(
        1,
        f"trio-smtp: cannot listen on {where}: address already in use. "
        f"Stop the other program or choose another port with {flag}127.0.0.1:PORT\n",
    )
    assert not list(folder.iterdir())


def test_too_many_open_files(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "bind_sockets", AsyncMock(side_effect=OSError(24, "Too many open files")))
    result = run("serve", "--listen", "smtp://127.0.0.1:0")
    result.fails(1, "127.0.0.1:0: too many open files. Raise the limit of open files with ulimit -n")


@pytest.mark.parametrize(
    ("url", "fragments"),
    [
        ("smtp://192.0.2.1:0", ["cannot assign requested address", "HOST:PORT"]),
        ("smtp://host.invalid:0", ["host.invalid", "HOST:PORT"]),
        ("lmtp+unix:///nowhere/s", ["no such file", "PATH"]),
        (f"lmtp+unix:///{'x' * 200}", [": AF_UNIX path too long", "PATH"]),
    ],
)
def test_nowhere_to_listen(run: Run, folder: Path, url: str, fragments: list[str]) -> None:
    run("serve", "--listen", url).fails(1, "cannot listen on", *fragments)
    assert not list(folder.iterdir())


@pytest.mark.parametrize(
    ("certificate", "key", "why"),
    [
        ("cert.pem", "another.pem", "the key does not belong to the certificate"),
        ("cert.pem", None, "no private key in PEM format"),
        ("ca.pem", "cert.pem", "no private key in PEM format"),
        ("nothing.pem", "key.pem", "no such file"),
        ("cert.pem", "nothing.pem", "no such file"),
    ],
)
def test_certificates(run: Run, folder: Path, certificates: Path, certificate: str, key: str | None, why: str) -> None:
    flags = [f"--tls-cert={certificates}/{certificate}"] + ([f"--tls-key={certificates}/{key}"] if key else [])
    run("serve", *FREE, *flags).fails(1, certificate, why, "--tls-cert")
    assert not list(folder.iterdir())


@pytest.mark.parametrize(
    ("flags", "fragments"),
    [
        ("--account new=new@example.com --account x=ANN@example.com", ["account ann", "--account"]),
        ("--account new=new@example.com --account ann=x@example.com", ["account ann exists", "x@example.com"]),
        ("--account new=new@example.com --postmaster bob", ["no account bob", "--postmaster"]),
        ("--account new=new@example.com --catch-all bob", ["no account bob", "--catch-all"]),
    ],
)
def test_accounts_that_cannot_be(run: Run, flags: str, fragments: list[str]) -> None:
    assert run("account", "add", "ann", "--address", "ann@example.com").code == 0
    run("serve", *FREE, *flags.split()).fails(1, *fragments)
    assert [record["name"] for record in run("account", "list", "--json").records] == ["ann"]
