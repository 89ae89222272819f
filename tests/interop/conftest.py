"""The client of a test, and the proof that it is installed.

Not an async fixture, so that pytest sees why a test is skipped.
"""

from __future__ import annotations

import pytest

from tests.interop.clients import NMAP, OPENSSL, Client, require


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
