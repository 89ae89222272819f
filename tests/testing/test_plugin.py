"""The pytest fixtures for tests of applications that send mail. Like those, the tests here are synchronous."""

from __future__ import annotations

import smtplib
import ssl
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from trio_smtp.testing.plugin import CatchingServer, smtp_server_starttls, smtp_server_tls

__all__ = ["smtp_server_starttls", "smtp_server_tls"]  # they are used as fixtures here

pytest_plugins = ["pytester"]

TEST_OF_AN_APPLICATION = """
import smtplib

def send(host, port):
    with smtplib.SMTP(host, port) as client:
        client.sendmail("app@example.com", ["ann@example.com"], b"Subject: Welcome\\r\\n\\r\\nHello\\r\\n")

def test_welcome(smtp_server):
    send(smtp_server.host, smtp_server.port)
    [mail] = smtp_server.messages
    assert str(mail.recipients[0]) == "ann@example.com"
    assert mail.parsed.subject == "Welcome"

def test_each_test_has_its_own(smtp_server):
    assert smtp_server.messages == []

def test_nobody_is_forced():
    pass
"""


def test_the_fixture(pytester: pytest.Pytester) -> None:
    pytester.makeconftest('pytest_plugins = ["trio_smtp.testing.plugin"]')
    pytester.makepyfile(TEST_OF_AN_APPLICATION)
    pytester.runpytest_inprocess().assert_outcomes(passed=3)


def test_it_is_not_loaded_by_itself() -> None:
    plugins = entry_points(group="pytest11")
    assert not [plugin.value for plugin in plugins if plugin.value.startswith("trio_smtp")]


def test_starttls(smtp_server_starttls: CatchingServer) -> None:
    server = smtp_server_starttls
    with smtplib.SMTP(server.host, server.port) as client:
        client.starttls(context=server.client_context)
        client.sendmail("app@example.com", ["ann@example.com"], b"")
    [mail] = server.messages
    assert mail.session.tls is not None


def test_implicit_tls(smtp_server_tls: CatchingServer, tmp_path: Path) -> None:
    server = smtp_server_tls
    authority = tmp_path / "authority.pem"
    authority.write_bytes(server.authority)
    context = ssl.create_default_context(cafile=authority)
    with smtplib.SMTP_SSL("localhost", server.port, context=context) as client:
        client.sendmail("app@example.com", ["ann@example.com"], b"")
    assert len(server.messages) == 1


def test_nobody_else_trusts_the_certificate(smtp_server_tls: CatchingServer) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        smtplib.SMTP_SSL(smtp_server_tls.host, smtp_server_tls.port, context=ssl.create_default_context())
