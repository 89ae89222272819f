"""Fixtures of the server tests: certificates, the log, and a clock for tests with real sockets."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

import pytest
import trustme
from trio.testing import MockClock

from tests.server.handshakes import NAME, Issuer
from trio_smtp.server import Certificates, server_context
from trio_smtp.server.log import log


@pytest.fixture(autouse=True)
def _whole_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the rate limit of the log: many tests log within the same second."""
    monkeypatch.setattr(log, "filters", [])


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def certificate(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the server's certificate and key."""
    path = tmp_path_factory.mktemp("tls") / "mx.example.com.pem"
    authority.issue_cert("mx.example.com", "localhost").private_key_and_cert_chain_pem.write_to_path(path)
    return path


@pytest.fixture
def server_tls(certificate: Path) -> ssl.SSLContext:
    return server_context(certificate)


@pytest.fixture
def client_tls(authority: trustme.CA) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())  # no others: loading them is slow


@pytest.fixture
def patient_clock() -> MockClock:
    """Like `autojump_clock`, but it first waits 20 ms for octets that may be on their way through the kernel."""
    return MockClock(autojump_threshold=0.02)


@pytest.fixture
def issuer(authority: trustme.CA, tmp_path: Path) -> Issuer:
    return Issuer(authority, tmp_path)


@pytest.fixture
def authority_file(authority: trustme.CA, tmp_path: Path) -> Path:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return tmp_path / "ca.pem"


@pytest.fixture
def several(issuer: Issuer) -> Certificates:
    files = {
        "first.pem": [NAME, "localhost", "both.example"],
        "wild.pem": ["*.example.org", "*.wild.example", "both.example"],
        "exact.pem": ["smtp.example.org", "EXACT.example"],
    }
    return Certificates([(issuer.write(file, *names), None) for file, names in files.items()], channel_binding=True)


@pytest.fixture(name="log")
def _heard(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "trio_smtp")
    return caplog
