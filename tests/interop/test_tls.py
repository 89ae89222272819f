"""Real clients inside TLS, with the certificate checked, and logged in."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import trio

import trio_smtp
from tests.interop.clients import CLIENTS, Client, DeliveryFailed, Login, Security, Target
from tests.interop.conftest import Certificates, Inbox
from tests.interop.messages import PLAIN
from tests.server.tools import no_connections

TLS_CLIENTS = [client for client in CLIENTS if client.speaks_tls]
BOTH = pytest.mark.parametrize("security", [Security.STARTTLS, Security.IMPLICIT], ids=lambda mode: mode.value)


async def check_password(username: str, password: str) -> str | None:
    return username if (username, password) == ("demo", "pass word+1") else None


@BOTH
@pytest.mark.parametrize("mechanism", [None, "PLAIN", "LOGIN"], ids=["anonymous", "PLAIN", "LOGIN"])
@pytest.mark.parametrize("client", TLS_CLIENTS, ids=str, indirect=True)
async def test_delivery(
    client: Client, mechanism: str | None, security: Security, certificates: Certificates, message: Path
) -> None:
    inbox = Inbox()
    login = Login(mechanism, "demo", "pass word+1") if mechanism else None
    async with trio_smtp.open_server(
        inbox,
        port=0,
        ssl_context=certificates.server,
        implicit_tls=security is Security.IMPLICIT,
        authenticator=check_password,
    ) as server:
        target = Target(server.port, security=security, ca_file=certificates.ca_file, login=login)
        await client.send(target, message)
    [mail] = inbox.mails
    assert mail.content == PLAIN
    assert mail.session.tls is not None
    assert mail.session.identity == ("demo" if mechanism else None)


@BOTH
@pytest.mark.parametrize("client", TLS_CLIENTS, ids=str, indirect=True)
async def test_a_client_that_does_not_trust_the_certificate_sends_nothing(
    client: Client, security: Security, certificates: Certificates, message: Path
) -> None:
    inbox = Inbox()
    async with trio_smtp.open_server(
        inbox, port=0, ssl_context=certificates.server, implicit_tls=security is Security.IMPLICIT
    ) as server:
        target = Target(server.port, security=security, ca_file=certificates.wrong_ca_file)
        with pytest.raises(DeliveryFailed):
            await client.send(target, message)
        # The next one is served as if nothing had happened.
        await client.send(Target(server.port, security=security, ca_file=certificates.ca_file), message)
    assert len(inbox.mails) == 1


@BOTH
@pytest.mark.parametrize("client", [client for client in TLS_CLIENTS if client.checks_name], ids=str, indirect=True)
async def test_a_client_sends_nothing_to_a_server_of_another_name(
    client: Client, security: Security, certificates: Certificates, message: Path
) -> None:
    inbox = Inbox()
    async with trio_smtp.open_server(
        inbox, port=0, ssl_context=certificates.wrong_name, implicit_tls=security is Security.IMPLICIT
    ) as server:
        with pytest.raises(DeliveryFailed):
            await client.send(Target(server.port, security=security, ca_file=certificates.ca_file), message)
    assert inbox.mails == []


@pytest.mark.parametrize("client", TLS_CLIENTS, ids=str, indirect=True)
async def test_a_wrong_password_sends_nothing(client: Client, certificates: Certificates, message: Path) -> None:
    inbox = Inbox()
    async with trio_smtp.open_server(
        inbox, port=0, ssl_context=certificates.server, authenticator=check_password
    ) as server:
        login = Login("PLAIN", "demo", "wrong")
        target = Target(server.port, security=Security.STARTTLS, ca_file=certificates.ca_file, login=login)
        with pytest.raises(DeliveryFailed):
            await client.send(target, message)
    assert inbox.mails == []


async def converse(process: trio.Process, dialogue: Sequence[tuple[bytes, bytes]]) -> None:
    """Write each line and wait for its reply."""
    assert process.stdin is not None
    assert process.stdout is not None
    received = b""
    for line, expected in dialogue:
        await process.stdin.send_all(line)
        while expected not in received:
            chunk = await process.stdout.receive_some()
            assert chunk, received
            received += chunk
        received = received.partition(expected)[2]


@BOTH
async def test_openssl(openssl: str, security: Security, certificates: Certificates) -> None:
    inbox = Inbox()
    async with trio_smtp.open_server(
        inbox, port=0, ssl_context=certificates.server, implicit_tls=security is Security.IMPLICIT
    ) as server:
        command = [openssl, "s_client", "-quiet", "-verify_return_error"]
        command += ["-CAfile", str(certificates.ca_file), "-verify_hostname", "localhost"]
        command += ["-connect", f"localhost:{server.port}", "-servername", "localhost"]
        dialogue = [
            (b"EHLO client.example\r\n", b"\r\n250 "),
            (b"MAIL FROM:<sender@example.com>\r\n", b"250 2.1.0"),
            (b"RCPT TO:<demo@example.com>\r\n", b"250 2.1.5"),
            (b"DATA\r\n", b"354 "),
            (PLAIN + b".\r\n", b"250 2.6.0"),
            (b"QUIT\r\n", b"221 "),
        ]
        if security is Security.STARTTLS:
            command += ["-starttls", "smtp"]  # s_client reads the greeting itself
        else:
            dialogue.insert(0, (b"", b"220 "))
        start = partial(trio.run_process, command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, check=False)
        async with trio.open_nursery() as nursery:
            await converse(await nursery.start(start), dialogue)
    assert [mail.content for mail in inbox.mails] == [PLAIN]


@BOTH
@pytest.mark.parametrize("wrong", ["name", "authority"])
async def test_openssl_refuses(openssl: str, security: Security, wrong: str, certificates: Certificates) -> None:
    ca_file = certificates.wrong_ca_file if wrong == "authority" else certificates.ca_file
    context = certificates.wrong_name if wrong == "name" else certificates.server
    async with trio_smtp.open_server(
        Inbox(), port=0, ssl_context=context, implicit_tls=security is Security.IMPLICIT
    ) as server:
        command = [openssl, "s_client", "-quiet", "-verify_return_error", "-CAfile", str(ca_file)]
        command += ["-verify_hostname", "localhost", "-servername", "localhost"]
        command += ["-connect", f"localhost:{server.port}"]
        command += ["-starttls", "smtp"] if security is Security.STARTTLS else []
        done = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
    assert done.returncode != 0
    assert b"certificate verify failed" in done.stderr


@BOTH
async def test_renegotiation_is_refused(openssl: str, security: Security, certificates: Certificates) -> None:
    """CVE-2011-1473: s_client begins one when it reads an R at the start of a line."""
    async with trio_smtp.open_server(
        Inbox(), port=0, ssl_context=certificates.server, implicit_tls=security is Security.IMPLICIT
    ) as server:
        command = [openssl, "s_client", "-tls1_2", "-CAfile", str(certificates.ca_file)]
        command += ["-connect", f"localhost:{server.port}", "-servername", "localhost"]
        command += ["-starttls", "smtp"] if security is Security.STARTTLS else []
        start = partial(
            trio.run_process,
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        dialogue = [(b"R\n", b"RENEGOTIATING"), (b"", b"no renegotiation")]
        if security is Security.IMPLICIT:
            dialogue.insert(0, (b"", b"220 "))  # which s_client does not expect during a handshake
        async with trio.open_nursery() as nursery:
            await converse(await nursery.start(start), dialogue)
        await no_connections(server)


async def test_what_nmap_thinks_of_our_ciphers(nmap: str, certificates: Certificates, tmp_path: Path) -> None:
    async with (
        trio_smtp.open_server(Inbox(), port=0, ssl_context=certificates.server) as smtp,
        trio_smtp.open_server(Inbox(), port=0, ssl_context=certificates.server, implicit_tls=True) as smtps,
    ):
        services = tmp_path / "services"  # so that nmap does not probe for the protocol, which takes very long
        services.write_text(f"smtp {smtp.port}/tcp 0.9\nsmtps {smtps.port}/tcp 0.9\n")
        command = [nmap, "--unprivileged", "-Pn", "-n", "--servicedb", str(services), "-oX", "-"]
        command += ["--script", "+ssl-enum-ciphers", "127.0.0.1"]
        done = await trio.run_process(command, capture_stdout=True)
    scripts = ET.fromstring(done.stdout).findall(".//script[@id='ssl-enum-ciphers']")
    assert len(scripts) == 2
    for script in scripts:
        versions = {table.get("key") for table in script.findall("table")}
        assert versions == {"TLSv1.2", "TLSv1.3"}
        least = script.find("elem[@key='least strength']")
        assert least is not None
        assert least.text == "A"
