"""Fixtures for the tests with real clients: the client, which must be installed, certificates, a message, an inbox.

The fixture of the client is synchronous, so that pytest shows why a test is skipped.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

import trio_smtp
from tests.interop.clients import NMAP, OPENSSL, Client, require
from tests.interop.messages import PLAIN


@dataclass(frozen=True)
class Certificates:
    """Certificates of a server, and the file of the authority that issued them."""

    server: trio_smtp.Certificates
    """One for another name, and one for localhost, which is for clients that ask for this name (SNI)."""
    wrong_name: trio_smtp.Certificates
    file: Path
    """The certificate for localhost with its key."""
    ca_file: Path
    wrong_ca_file: Path


class Inbox:
    """Keeps the mails that arrive."""

    def __init__(self) -> None:
        self.mails: list[trio_smtp.Mail] = []

    async def __call__(self, mail: trio_smtp.Mail) -> None:
        self.mails.append(mail)


@pytest.fixture
def client(request: pytest.FixtureRequest) -> Client:
    """For ``indirect=True``."""
    client: Client = request.param
    require(*client.needs)
    return client


@pytest.fixture
def openssl() -> str:
    require(OPENSSL)
    return OPENSSL.program


@pytest.fixture
def nmap() -> str:
    require(NMAP)
    return NMAP.program


@pytest.fixture
def message(tmp_path: Path) -> Path:
    file = tmp_path / "message.eml"
    file.write_bytes(PLAIN)
    return file


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    directory = tmp_path_factory.mktemp("certificates")
    authority, other = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(str(directory / "ca.pem"))
    other.cert_pem.write_to_path(str(directory / "other.pem"))
    for name in ("localhost", "mx.example.com"):
        authority.issue_cert(name).private_key_and_cert_chain_pem.write_to_path(str(directory / f"{name}.pem"))
    ours, others = (directory / "localhost.pem", None), (directory / "mx.example.com.pem", None)
    return Certificates(
        trio_smtp.Certificates([others, ours], channel_binding=True),
        trio_smtp.Certificates([others]),
        directory / "localhost.pem",
        directory / "ca.pem",
        directory / "other.pem",
    )
