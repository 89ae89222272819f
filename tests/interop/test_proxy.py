"""The program behind HAProxy, which tells it by the PROXY protocol who the client is."""

from __future__ import annotations

import smtplib
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import trio
import trustme

from tests.cli.tools import Serving
from tests.interop.clients import ENVIRONMENT, HAPROXY, RECIPIENT, SENDER, require
from trio_smtp import JSONFileStore

CONTENT = b"Subject: by way of HAProxy\r\n\r\nThis is a test.\r\n"

LISTENERS = (
    "smtp://127.0.0.1:0?proxy=127.0.0.1",
    "smtps://127.0.0.1:0?proxy=::1,127.0.0.0/8",
    "smtp://127.0.0.1:0?proxy=10.0.0.0/8",
)

# For each port of HAProxy, the listener to which it connects and the options of the connection.
DOORS = {
    "v1": (0, "send-proxy"),
    "v2": (0, "send-proxy-v2"),
    "v2-tlvs": (0, "send-proxy-v2 proxy-v2-options crc32c,unique-id"),
    "v1-smtps": (1, "send-proxy"),
    "v2-smtps": (1, "send-proxy-v2"),
    "v1-checked": (0, "send-proxy check inter 500ms"),
    "v2-checked": (0, "send-proxy-v2 check inter 500ms"),
    "v2-smtp-checked": (0, "send-proxy-v2 check inter 500ms"),
    "unlisted": (2, "send-proxy-v2"),
    "headerless": (0, ""),
}

CONFIGURATION = """
global
    log stdout format raw local0
defaults
    mode tcp
    log global
    option log-health-checks
    timeout connect 10s
    timeout client 60s
    timeout server 60s
"""


@dataclass(frozen=True)
class Site:
    """Our server, HAProxy in front of it, and the ports of HAProxy by their names in `DOORS`."""

    server: Serving
    haproxy: subprocess.Popen[str]
    ports: dict[str, int]
    tls: ssl.SSLContext

    def connect(self, door: str, client: str = "127.0.0.5") -> smtplib.SMTP:
        """Connect to HAProxy from the address `client`; all of 127.0.0.0/8 belongs to this machine."""
        kind = partial(smtplib.SMTP_SSL, context=self.tls) if door.endswith("smtps") else smtplib.SMTP
        return kind("localhost", self.ports[door], local_hostname="client.example", source_address=(client, 0))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    require(HAPROXY)
    folder = tmp_path_factory.mktemp("haproxy")
    authority = trustme.CA()
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    tls = ssl.create_default_context()
    authority.configure_trust(tls)
    flags = [f"--listen={url}" for url in LISTENERS]
    flags += ["--account", f"demo={RECIPIENT}", "--tls-cert", "server.pem", "--max-connections-per-peer", "3"]
    with Serving(*flags, folder=folder) as server, ExitStack() as stack:
        doors = {name: stack.enter_context(socket.create_server(("127.0.0.1", 0))) for name in DOORS}
        configuration = CONFIGURATION
        for name, (listener, options) in DOORS.items():
            host, port = server.endpoints[listener]
            configuration += f"listen {name}\n    bind fd@{doors[name].fileno()}\n"
            configuration += "    option smtpchk EHLO check.example\n" if name == "v2-smtp-checked" else ""
            configuration += f"    server mx {host}:{port} {options}\n"
        (folder / "haproxy.cfg").write_text(configuration)
        with running(folder / "haproxy.cfg", [door.fileno() for door in doors.values()]) as haproxy:
            yield Site(server, haproxy, {name: door.getsockname()[1] for name, door in doors.items()}, tls)


@contextmanager
def running(configuration: Path, sockets: list[int]) -> Iterator[subprocess.Popen[str]]:
    haproxy = subprocess.Popen(
        ["haproxy", "-db", "-f", str(configuration)],
        env=ENVIRONMENT,
        pass_fds=sockets,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield haproxy
    finally:
        haproxy.kill()
        haproxy.communicate()


@pytest.mark.parametrize("door", [name for name, (listener, options) in DOORS.items() if listener < 2 and options])
def test_the_client_is_named(door: str, site: Site) -> None:
    """The log and the Received field show the address of the client, not of HAProxy."""
    with site.connect(door) as client:
        assert client.sock is not None
        _, port = client.sock.getsockname()
        client.sendmail(SENDER, [RECIPIENT], CONTENT)
    assert f" peer=127.0.0.5:{port} " in site.server.log("accepted")
    content = trio.run(last_message, site.server.folder / "mail")
    assert content.endswith(CONTENT)
    assert b"\r\nReceived: from client.example ([127.0.0.5])\r\n" in content


async def last_message(folder: Path) -> bytes:
    async with JSONFileStore(folder) as store:
        last = await store.count_messages("demo", "INBOX")
        return (await store.get_message("demo", "INBOX", last)).content


def test_the_client_is_counted(site: Site) -> None:
    """The limit of three connections is for each client, not for HAProxy."""
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(site.connect("v2", "127.0.0.6"))
        with pytest.raises(smtplib.SMTPConnectError, match="Too many connections"):
            site.connect("v1", "127.0.0.6")
        stack.enter_context(site.connect("v1", "127.0.0.7"))


def test_health_checks_pass(site: Site) -> None:
    """HAProxy logs that each of them succeeded."""
    assert site.haproxy.stdout is not None
    waiting = {f"{name}/mx" for name in DOORS if name.endswith("checked")}
    for line in site.haproxy.stdout:
        if "Health check for server" in line:
            assert "succeeded" in line, line
            waiting.discard(line.partition("server ")[2].split()[0])
        if not waiting:
            break
    assert not waiting


def test_a_proxy_that_is_not_listed(site: Site) -> None:
    with pytest.raises(smtplib.SMTPServerDisconnected):
        site.connect("unlisted")
    assert "not a listed proxy" in site.server.log("PROXY protocol")


def test_a_proxy_that_does_not_know_the_protocol(site: Site) -> None:
    """The server closes the connection and does not take the proxy's address for that of the client."""
    with socket.create_connection(("127.0.0.1", site.ports["headerless"])) as client:
        client.sendall(b"EHLO client.example\r\n")
        assert client.recv(100) == b""
    assert "no header" in site.server.log("PROXY protocol")
