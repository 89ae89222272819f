"""Logins of real clients with SCRAM and tokens (test_tls.py has PLAIN and LOGIN), and logins at the whole program."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import trio

import trio_smtp
from tests.cli.tools import Serving
from tests.interop.clients import (
    CLIENTS,
    GSASL,
    MSMTP,
    Client,
    DeliveryFailed,
    Login,
    Security,
    Target,
    require,
    run,
    send_msmtp,
    send_smtplib,
)
from tests.interop.conftest import Certificates, Inbox
from tests.interop.messages import PLAIN
from trio_smtp.sasl import ScramKeys, derive_keys, keys_of_nobody

SECRET = "pass.word+1"  # a password, or a token
KEYS = derive_keys(SECRET.encode(), b"sixteen octets..", 4096)  # the fewest iterations that clients accept


class Logins(trio_smtp.Authenticator):
    async def scram_keys(self, username: str) -> tuple[str | None, ScramKeys]:
        return ("Demo", KEYS) if username == "demo" else (None, keys_of_nobody(b"secret", username, KEYS.iterations))

    async def check_token(self, token: str, username: str | None) -> str | None:
        return "Demo" if token == SECRET and username in (None, "demo") else None


@pytest.mark.parametrize(
    ("client", "mechanism"),
    [pytest.param(client, name, id=f"{client}-{name}") for client in CLIENTS for name in client.mechanisms],
    indirect=["client"],
)
async def test_login(client: Client, mechanism: str, certificates: Certificates, message: Path) -> None:
    inbox = Inbox()
    async with trio_smtp.open_server(inbox, port=0, ssl_context=certificates.server, authenticator=Logins()) as server:

        async def send(user: str, secret: str) -> None:
            login = Login(mechanism, user, secret)
            target = Target(server.port, security=Security.STARTTLS, ca_file=certificates.ca_file, login=login)
            await client.send(target, message)

        for user, secret in (("demo", "wrong"), ("nobody", SECRET)):
            with pytest.raises(DeliveryFailed):
                await send(user, secret)
        await send("demo", SECRET)
        assert server.stats.logins == 1
    [mail] = inbox.mails
    assert mail.content == PLAIN
    assert mail.session.identity == "Demo"


@pytest.mark.parametrize("initial_response", [True, False])
async def test_gsasl(initial_response: bool, certificates: Certificates) -> None:
    """gsasl logs in and sends QUIT. It also requires the server's proof that it knows the keys."""
    require(GSASL)
    async with trio_smtp.open_server(
        Inbox(), port=0, ssl_context=certificates.server, authenticator=Logins()
    ) as server:
        # --no-cb: otherwise it stops inside TLS before it sends anything, whatever the server offers.
        command = ["gsasl", "--smtp", f"--connect=localhost:{server.port}", f"--x509-ca-file={certificates.ca_file}"]
        command += ["--no-cb", "--mechanism=SCRAM-SHA-256", "--authentication-id=demo"]
        command += [] if initial_response else ["--no-client-first"]
        with pytest.raises(DeliveryFailed):
            await run([*command, "--password=wrong"])
        await run([*command, f"--password={SECRET}"])
        assert (server.stats.logins, server.stats.login_failures) == (1, 1)


async def test_program(certificates: Certificates, message: Path, tmp_path: Path) -> None:
    """An account made by `trio-smtp account` logs in at `trio-smtp serve`, with SCRAM and with PLAIN."""
    require(MSMTP)
    add = [sys.executable, "-m", "trio_smtp", "account", "add", "demo"]
    await trio.run_process(
        [*add, "--address", "demo@example.com", "--password-stdin"], stdin=SECRET.encode(), cwd=tmp_path,
        capture_stdout=True,
    )  # fmt: skip
    flags = ["--listen=submission://127.0.0.1:0", "--any-sender"]
    flags += [f"--tls-cert={certificates.file}", f"--tls-key={certificates.file}"]
    with Serving(*flags, folder=tmp_path) as server:
        port = server.endpoints[0][1]

        def target(login: Login | None) -> Target:
            return Target(port, "localhost", Security.STARTTLS, certificates.ca_file, login)

        await send_msmtp(target(Login("SCRAM-SHA-256", "demo", SECRET)), message)
        await send_smtplib(target(Login("PLAIN", "demo@example.com", SECRET)), message)
        with pytest.raises(DeliveryFailed):
            await send_msmtp(target(None), message)
        assert server.stop() == 0
    async with trio_smtp.JSONFileStore(tmp_path / "mail") as store:
        assert await store.count_messages("demo", "INBOX") == 2
