"""TLS of the server program: its certificates, those of clients, and how it reads them again."""

from __future__ import annotations

import hashlib
import signal
import smtplib
import socket
import ssl
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from tests.cli.tools import Result, Serving

Run = Callable[..., Result]

SUBMISSION = ("--listen", "submission://127.0.0.1:0")
SMTPS = ("--listen", "smtps://127.0.0.1:0")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def client_tls(authority: trustme.CA) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())


def issue(authority: trustme.CA, path: Path, *names: str) -> Path:
    authority.issue_cert(*names).private_key_and_cert_chain_pem.write_to_path(path)
    return path


def names_shown(server: Serving, context: ssl.SSLContext) -> set[str]:
    with smtplib.SMTP_SSL(*server.endpoints[0], context=context) as client:
        assert isinstance(client.sock, ssl.SSLSocket)
        certificate = client.sock.getpeercert()
    assert certificate is not None
    names: tuple[tuple[str, str], ...] = certificate["subjectAltName"]  # type: ignore[assignment]  # it has this type
    return {shown for _, shown in names}


def test_sighup_reads_the_certificates_again(folder: Path, authority: trustme.CA, client_tls: ssl.SSLContext) -> None:
    file = issue(authority, folder / "mx.pem", "127.0.0.1", "old.example")
    with Serving(*SMTPS, f"--tls-cert={file}", folder=folder) as server:
        with smtplib.SMTP_SSL(*server.endpoints[0], context=client_tls) as old:
            file.write_bytes(b"")
            server.send(signal.SIGHUP)
            assert "served on" in server.log("cannot use the certificate")
            assert "old.example" in names_shown(server, client_tls)
            issue(authority, file, "127.0.0.1", "new.example")
            server.send(signal.SIGHUP)
            server.log("certificates read again")
            assert "new.example" in names_shown(server, client_tls)
            assert old.ehlo()[0] == 250
        assert server.stop() == 0


def test_what_is_caught_may_come_by_tls(folder: Path, authority: trustme.CA, client_tls: ssl.SSLContext) -> None:
    file = issue(authority, folder / "mx.pem", "127.0.0.1")
    flags = "--smtps", "0", "--smtp", "0", "--store", "memory:", f"--tls-cert={file}"
    with Serving(*flags, command="catch", folder=folder) as server:
        assert [line.strip().partition(":")[0] for line in server.banner[1:3]] == ["smtps", "smtp"]
        with smtplib.SMTP_SSL(*server.endpoints[0], context=client_tls) as client:
            assert client.login("app", "whatever")[0] == 235
        with smtplib.SMTP(*server.endpoints[1]) as client:
            assert client.starttls(context=client_tls)[0] == 220


def test_what_is_caught_is_mail_alone(folder: Path) -> None:
    """Clients of HTTP or TLS often speak before the greeting. They are not refused for that, but for their protocol."""
    with Serving("--smtp", "0", "--store", "memory:", command="catch", folder=folder) as server:
        for octets in (b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/1.1\r\n"):
            with socket.create_connection(server.endpoints[0]) as client, client.makefile("rb") as replies:
                client.sendall(octets)
                assert [reply[:3] for reply in replies] == [b"220", b"421"]
            assert "HTTP or TLS" in server.log("closed")


def test_several_certificates(folder: Path, authority: trustme.CA, client_tls: ssl.SSLContext) -> None:
    issued = authority.issue_cert("b.example")
    issued.cert_chain_pems[0].write_to_path(folder / "b.crt")
    issued.private_key_pem.write_to_path(folder / "b.key")
    both = issue(authority, folder / "a.pem", "a.example")
    flags = [f"--tls-cert={both}", "--tls-cert=b.crt", f"--tls-key={both}", "--tls-key=b.key"]
    with Serving(*SMTPS, *flags, folder=folder) as server:
        for name, shown in (("a.example", "a.example"), ("b.example", "b.example"), ("c.example", "a.example")):
            client_tls.check_hostname = name == shown
            with (
                socket.create_connection(server.endpoints[0]) as plain,
                client_tls.wrap_socket(plain, server_hostname=name) as client,
            ):
                certificate = client.getpeercert()
                assert certificate is not None
                assert certificate["subjectAltName"] == (("DNS", shown),)
        assert server.stop() == 0


def test_a_name_that_is_not_ascii_is_one_line_in_the_log(
    folder: Path, authority: trustme.CA, client_tls: ssl.SSLContext
) -> None:
    """The ssl module by itself would print a traceback."""
    flags = [f"--tls-cert={issue(authority, folder / name, name)}" for name in ("127.0.0.1", "b.example")]
    to_server = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        client_tls.wrap_bio(ssl.MemoryBIO(), to_server, server_hostname="name.example").do_handshake()
    hello = to_server.read().replace(b"name.example", b"\xff\x1b[2Jexample")
    with Serving(*SMTPS, *flags, folder=folder) as server:
        with socket.create_connection(server.endpoints[0]) as client:
            client.sendall(hello)
            assert client.recv(100).startswith(b"\x15\x03\x03")  # an alert
            assert client.recv(100) == b""
        server.send(signal.SIGTERM)
        lines = list(server.messages())
    assert "TLS handshake failed" in lines[0]
    assert "stopping" in lines[1]
    assert lines[2].startswith("stats ")
    assert len(lines) == 3


def test_tls_required(run: Run, folder: Path, authority: trustme.CA, client_tls: ssl.SSLContext) -> None:
    """It is not required over LMTP, which has none."""
    assert run("account", "add", "demo", "--address", "demo@example.com").code == 0
    flags = ["--listen=smtp://127.0.0.1:0", "--listen=lmtp://127.0.0.1:0", "--require-tls"]
    certificate = issue(authority, folder / "cert.pem", "127.0.0.1")
    with Serving(*flags, f"--tls-cert={certificate}", folder=folder) as server:
        with smtplib.SMTP(*server.endpoints[0]) as client:
            client.ehlo()
            assert client.mail("ann@example.com") == (530, b"5.7.0 Issue STARTTLS first")
            client.starttls(context=client_tls)
            client.ehlo()
            assert client.mail("ann@example.com")[0] == 250
        with smtplib.LMTP(*server.endpoints[1]) as client:
            client.ehlo("client.example")
            assert client.mail("ann@example.com")[0] == 250
        assert server.stop() == 0


# --- certificates of clients


def external(client: smtplib.SMTP, username: str = "=") -> int:
    client.ehlo()
    return client.docmd("AUTH", f"EXTERNAL {username}")[0]


def test_login_with_a_client_certificate(
    run: Run, folder: Path, authority: trustme.CA, client_tls: ssl.SSLContext
) -> None:
    for account in ("demo", "other"):
        assert run("account", "add", account, "--address", f"{account}@example.com").code == 0
    file = issue(authority, folder / "mx.pem", "127.0.0.1")
    clients = trustme.CA()
    clients.cert_pem.write_to_path(folder / "clients.pem")
    flags = (f"--tls-cert={file}", "--tls-client-ca=clients.pem")
    submissions, smtp = ("--listen", "submissions://127.0.0.1:0"), ("--listen", "smtp://127.0.0.1:0")
    with Serving(*SUBMISSION, *submissions, *smtp, *flags, folder=folder) as server:
        starttls, implicit, public = server.endpoints

        with smtplib.SMTP(*starttls) as client:
            client.starttls(context=client_tls)
            assert external(client) == 504

        clients.issue_cert("demo@example.com").configure_cert(client_tls)
        with smtplib.SMTP(*starttls) as client:
            client.starttls(context=client_tls)
            assert external(client) == 235
            client.sendmail("demo@example.com", ["other@example.com"], b"Subject: hello\r\n\r\n")
        with smtplib.SMTP_SSL(*implicit, context=client_tls) as client:
            assert external(client, "b3RoZXI=") == 535
            assert external(client, "ZGVtbw==") == 235

        clients.issue_cert("nobody@example.com").configure_cert(client_tls)
        with smtplib.SMTP_SSL(*implicit, context=client_tls) as client:
            assert external(client) == 535

        # A mail server may present a certificate of any authority: a listener without logins does not refuse it.
        trustme.CA().issue_cert("mx.elsewhere.example").configure_cert(client_tls)
        with smtplib.SMTP(*public) as client:
            client.starttls(context=client_tls)
            client.sendmail("sender@example.org", ["demo@example.com"], b"Subject: hello\r\n\r\n")
        assert server.stop() == 0
    assert len(run("mail", "list", "other", "--json").records) == 1
    assert len(run("mail", "list", "demo", "--json").records) == 1


@pytest.mark.parametrize("content", [None, "hello"])
def test_an_authority_that_cannot_be_used(run: Run, folder: Path, authority: trustme.CA, content: str | None) -> None:
    if content is not None:
        (folder / "clients.pem").write_text(content)
    file = issue(authority, folder / "mx.pem", "127.0.0.1")
    result = run("serve", *SUBMISSION, f"--tls-cert={file}", "--tls-client-ca", "clients.pem")
    result.fails(1, "cannot use the authority clients.pem", "--tls-client-ca")
    assert not (folder / "mail").exists()


# --- self-signed


def test_self_signed(folder: Path) -> None:
    fingerprints = []
    for _ in range(2):
        with Serving(*SMTPS, "--tls", "self-signed", "--hostname", "mx.example.com", folder=folder) as server:
            at = server.banner.index("The certificate is self-signed; its SHA-256 fingerprint is")
            fingerprints.append(server.banner[at + 1].strip())
            context = ssl.create_default_context(cafile=folder / "mail" / "self-signed.pem")
            with smtplib.SMTP_SSL(*server.endpoints[0], context=context) as client:
                assert isinstance(client.sock, ssl.SSLSocket)
                shown = client.sock.getpeercert(binary_form=True)
                assert shown is not None
                assert hashlib.sha256(shown).hexdigest() == fingerprints[-1].replace(":", "").lower()
            assert server.stop() == 0
    assert fingerprints[0] == fingerprints[1]


def test_self_signed_without_a_folder(folder: Path) -> None:
    with Serving(*SMTPS, "--tls", "self-signed", "--store", "memory:", folder=folder) as server:
        assert any("fingerprint" in line for line in server.banner)
        assert server.stop() == 0
    assert not list(folder.iterdir())


def test_self_signed_without_cryptography(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    monkeypatch.delitem(sys.modules, "trio_smtp.cli.self_signed", raising=False)
    run("serve", *SMTPS, "--tls", "self-signed").fails(
        1, "--tls self-signed needs the package cryptography", "pip install"
    )
    assert not list(folder.iterdir())
