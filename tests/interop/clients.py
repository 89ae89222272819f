"""The clients of other projects, each of which sends one message to a server of ours.

The tests of a client that is not installed are skipped. If the environment variable CI is set, they fail instead.
"""

from __future__ import annotations

import asyncio
import enum
import functools
import hashlib
import json
import os
import shutil
import smtplib
import ssl
import subprocess
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import aiosmtplib
import pytest
import trio
from scramp import ScramClient  # type: ignore[import-untyped]  # it has no types

SENDER = "sender@example.com"
RECIPIENT = "demo@example.com"
HERE = Path(__file__).parent

# Debian puts smtp-source where only root looks for programs.
PROGRAMS = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin"])
ENVIRONMENT = {**os.environ, "PATH": PROGRAMS}


class Security(enum.Enum):
    NONE = "none"
    STARTTLS = "starttls"
    IMPLICIT = "implicit"


@dataclass(frozen=True)
class Login:
    """How to log in; for OAUTHBEARER and XOAUTH2 the password is the token."""

    mechanism: str
    user: str
    password: str

    @property
    def by_token(self) -> bool:
        return self.mechanism in ("OAUTHBEARER", "XOAUTH2")


@dataclass(frozen=True)
class Target:
    """Where to send a message, and how."""

    port: int
    host: str = "localhost"
    security: Security = Security.NONE
    ca_file: Path | None = None
    login: Login | None = None

    def tls_context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.ca_file)


class DeliveryFailed(Exception):
    """The client says that the message was not sent."""


class Need(NamedTuple):
    """A program that a client is or uses, and the package that provides it.

    If the package provides only a part of the program, `probe` has arguments with which the program fails without it.
    """

    program: str
    package: str
    probe: tuple[str, ...] = ()


@functools.cache
def is_installed(need: Need) -> bool:
    if shutil.which(need.program, path=PROGRAMS) is None:
        return False
    probe = [need.program, *need.probe]
    return not need.probe or subprocess.run(probe, check=False, capture_output=True).returncode == 0


def require(*needs: Need) -> None:
    """Skip the test if something is not installed; under CI fail it."""
    packages = [need.package for need in needs if not is_installed(need)]
    if packages:
        reason = f"not installed: {', '.join(packages)}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)


async def run(command: Sequence[str | Path], stdin: bytes = b"") -> None:
    """Run a client to its end."""
    done = await trio.run_process(
        [*map(str, command)],
        env=ENVIRONMENT,
        stdin=stdin,
        capture_stdout=True,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if done.returncode != 0:
        raise DeliveryFailed(done.stdout.decode(errors="replace"))


def authenticate_smtplib(client: smtplib.SMTP, login: Login) -> None:
    """Log in with smtplib's own PLAIN or LOGIN, or with SCRAM by scramp."""
    client.user, client.password = login.user, login.password
    if not login.mechanism.startswith("SCRAM-"):
        client.auth(login.mechanism, {"PLAIN": client.auth_plain, "LOGIN": client.auth_login}[login.mechanism])
        return
    binding = None
    if login.mechanism.endswith("-PLUS"):
        assert isinstance(client.sock, ssl.SSLSocket)
        certificate = client.sock.getpeercert(binary_form=True)
        assert certificate is not None
        binding = ("tls-server-end-point", hashlib.sha256(certificate).digest())
    scram = ScramClient([login.mechanism], login.user, login.password, channel_binding=binding)

    def respond(challenge: bytes | None = None) -> str:
        if challenge is None:
            return str(scram.get_client_first())
        if challenge.startswith(b"v="):
            scram.set_server_final(challenge.decode())
            return ""
        scram.set_server_first(challenge.decode())
        return str(scram.get_client_final())

    client.auth(login.mechanism, respond)


async def send_smtplib(target: Target, message: Path) -> None:
    def send() -> None:
        if target.security is Security.IMPLICIT:
            client: smtplib.SMTP = smtplib.SMTP_SSL(target.host, target.port, context=target.tls_context())
        else:
            client = smtplib.SMTP(target.host, target.port)
        with client:
            if target.security is Security.STARTTLS:
                client.starttls(context=target.tls_context())
            if target.login is not None:
                client.ehlo()
                authenticate_smtplib(client, target.login)
            client.sendmail(SENDER, [RECIPIENT], message.read_bytes(), mail_options=["BODY=8BITMIME"])

    try:
        await trio.to_thread.run_sync(send)
    except (smtplib.SMTPException, ssl.SSLError) as error:
        raise DeliveryFailed from error


async def send_aiosmtplib(target: Target, message: Path) -> None:
    async def send() -> None:
        client = aiosmtplib.SMTP(
            hostname=target.host,
            port=target.port,
            use_tls=target.security is Security.IMPLICIT,
            start_tls=target.security is Security.STARTTLS,
            tls_context=target.tls_context(),
        )
        await client.connect()
        transport = client.transport
        assert isinstance(transport, asyncio.WriteTransport)
        try:
            if target.login is not None:
                await client.ehlo()
                authenticate = {"PLAIN": client.auth_plain, "LOGIN": client.auth_login}
                await authenticate[target.login.mechanism](target.login.user, target.login.password)
            await client.sendmail(SENDER, [RECIPIENT], message.read_bytes())
            await client.quit()
        finally:
            transport.abort()  # close() inside TLS waits for the server, and asyncio.run does not wait for close()

    try:
        await trio.to_thread.run_sync(asyncio.run, send())
    except (aiosmtplib.SMTPException, ssl.SSLError) as error:
        raise DeliveryFailed from error


async def send_swaks(target: Target, message: Path) -> None:
    # swaks adds an end-of-data mark, with a CRLF before it, to what does not have one.
    data = message.with_suffix(".data")
    data.write_bytes(message.read_bytes() + b".\r\n")
    command = ["swaks", "--server", target.host, "--port", str(target.port)]
    command += ["--from", SENDER, "--to", RECIPIENT, "--data", f"@{data}", "--silent", "2"]
    if target.security is not Security.NONE:
        command += ["--tls" if target.security is Security.STARTTLS else "--tls-on-connect"]
        command += ["--tls-verify", "--tls-ca-path", str(target.ca_file), "--tls-sni", target.host]
    if target.login is not None:
        command += ["--auth", target.login.mechanism]
        command += ["--auth-user", target.login.user, "--auth-password", target.login.password]
    await run(command)


async def send_curl(target: Target, message: Path) -> None:
    scheme = "smtps" if target.security is Security.IMPLICIT else "smtp"
    command = ["curl", f"{scheme}://{target.host}:{target.port}", "--silent"]
    command += [
        "--show-error",
        "--mail-from",
        SENDER,
        "--mail-rcpt",
        RECIPIENT,
        "--upload-file",
        str(message),
    ]
    if target.security is not Security.NONE:
        command += ["--ssl-reqd", "--cacert", str(target.ca_file)]
    if target.login is not None:
        command += ["--login-options", f"AUTH={target.login.mechanism}"]
        if target.login.by_token:
            command += ["--user", target.login.user, "--oauth2-bearer", target.login.password]
        else:
            command += ["--user", f"{target.login.user}:{target.login.password}"]
    await run(command)


async def send_msmtp(target: Target, message: Path) -> None:
    command = ["msmtp", f"--host={target.host}", f"--port={target.port}"]
    command += [
        f"--from={SENDER}",
        "--set-from-header=off",
        "--set-date-header=off",
        "--set-msgid-header=off",
    ]
    if target.security is not Security.NONE:
        starttls = "on" if target.security is Security.STARTTLS else "off"
        command += ["--tls=on", f"--tls-starttls={starttls}", f"--tls-trust-file={target.ca_file}"]
    if target.login is not None:
        command += [f"--auth={target.login.mechanism.lower()}", f"--user={target.login.user}"]
        command += [f"--passwordeval=echo {target.login.password}"]
    # Like sendmail, msmtp reads text with the line ends of the system and converts them itself.
    await run([*command, RECIPIENT], stdin=message.read_bytes().replace(b"\r\n", b"\n"))


async def send_nodemailer(target: Target, message: Path) -> None:
    options: dict[str, object] = {
        "host": target.host,
        "port": target.port,
        "secure": target.security is Security.IMPLICIT,
        "requireTLS": target.security is Security.STARTTLS,
        "ignoreTLS": target.security is Security.NONE,
    }
    if target.ca_file is not None:
        options["tls"] = {"ca": target.ca_file.read_text()}
    if target.login is not None:
        options["auth"] = {"user": target.login.user, "pass": target.login.password}
        options["authMethod"] = target.login.mechanism
        if target.login.by_token:
            options["auth"] = {"type": "OAuth2", "user": target.login.user, "accessToken": target.login.password}
    await run(["node", HERE / "nodemailer.cjs", json.dumps(options), message])


async def send_smtp_source(target: Target, message: Path) -> None:
    text = message.with_suffix(".txt")
    text.write_bytes(message.read_bytes().replace(b"\r\n", b"\n"))  # smtp-source converts line ends itself
    command = ["smtp-source", "-f", SENDER, "-t", RECIPIENT, "-F", str(text)]
    await run([*command, f"{target.host}:{target.port}"])


def verbatim(message: bytes) -> bytes:
    return message


def with_final_crlf(message: bytes) -> bytes:
    return message if message.endswith(b"\r\n") else message + b"\r\n"


def with_empty_line(message: bytes) -> bytes:
    """Return what smtp-source sends: one CRLF more, and a text of its own instead of an empty message."""
    return message + b"\r\n" if message else b"".join(b"La de da de da %d.\r\n" % n for n in (1, 2, 3, 4))


@dataclass(frozen=True)
class Client:
    """A client: how it sends a file, what must be installed for that, and how it changes the message."""

    name: str
    send: Callable[[Target, Path], Awaitable[None]]
    needs: tuple[Need, ...] = ()
    transmitted: Callable[[bytes], bytes] = verbatim
    speaks_tls: bool = True
    mechanisms: tuple[str, ...] = ()  # besides PLAIN and LOGIN, which all clients with TLS have
    checks_name: bool = True
    """Whether it compares the name in the certificate with that of the server."""

    def __str__(self) -> str:
        return self.name


SWAKS = Need("swaks", "swaks")
SWAKS_TLS = Need("perl", "libnet-ssleay-perl", ("-MNet::SSLeay", "-e", "1"))
CURL = Need("curl", "curl")
MSMTP = Need("msmtp", "msmtp")
NODEMAILER = Need("node", "nodemailer (npm; NODE_PATH)", ("-e", "require.resolve('nodemailer')"))
SMTP_SOURCE = Need("smtp-source", "postfix")
GSASL = Need("gsasl", "gsasl")
OPENSSL = Need("openssl", "openssl")
HAPROXY = Need("haproxy", "haproxy")
NMAP = Need("nmap", "nmap")

CLIENTS = [
    Client(
        "smtplib",
        send_smtplib,
        transmitted=with_final_crlf,
        mechanisms=("SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"),
    ),
    Client("aiosmtplib", send_aiosmtplib, transmitted=with_final_crlf),
    Client("swaks", send_swaks, (SWAKS, SWAKS_TLS), checks_name=False),  # not before version 20240103
    Client("curl", send_curl, (CURL,), mechanisms=("OAUTHBEARER", "XOAUTH2")),
    Client("msmtp", send_msmtp, (MSMTP,), mechanisms=("SCRAM-SHA-256", "OAUTHBEARER", "XOAUTH2")),
    Client("nodemailer", send_nodemailer, (NODEMAILER,), with_final_crlf, mechanisms=("XOAUTH2",)),
    Client("smtp-source", send_smtp_source, (SMTP_SOURCE,), with_empty_line, speaks_tls=False),
]
