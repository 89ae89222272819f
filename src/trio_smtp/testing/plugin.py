"""Pytest fixtures for applications that send mail: a server that keeps the mail it gets. You need not know trio.

In conftest.py::

    pytest_plugins = ["trio_smtp.testing.plugin"]

and in a test::

    def test_welcome(smtp_server):
        register("ann@example.com", mail_host=smtp_server.host, mail_port=smtp_server.port)
        [mail] = smtp_server.messages
        assert str(mail.recipients[0]) == "ann@example.com"
        assert mail.parsed.subject == "Welcome"

Pytest does not load the plugin automatically, because most projects that install trio-smtp do not test with it.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from trio_smtp.testing.catching import CatchingServer

__all__ = ["CatchingServer", "smtp_server", "smtp_server_starttls", "smtp_server_tls"]


@pytest.fixture
def smtp_server() -> Iterator[CatchingServer]:
    """A server that keeps the mail it gets, a new one for each test: `.host`, `.port`, `.messages`."""
    with CatchingServer() as server:
        yield server


@pytest.fixture
def smtp_server_starttls() -> Iterator[CatchingServer]:
    """As `smtp_server`, with STARTTLS and a certificate that `.client_context` trusts."""
    with CatchingServer(tls="starttls") as server:
        yield server


@pytest.fixture
def smtp_server_tls() -> Iterator[CatchingServer]:
    """As `smtp_server_starttls`, with TLS from the start."""
    with CatchingServer(tls="implicit") as server:
        yield server
