"""Notifications of the service manager: sd_notify(3)."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from trio_smtp.cli.service import notify


@pytest.mark.parametrize("address", ["socket", "\0trio-smtp-test"])
def test_it_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"{address}-{folder.name}" if address.startswith("\0") else address)
        where = sock.getsockname()
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{where[1:].decode()}" if isinstance(where, bytes) else where)
        notify("READY=1")
        assert sock.recv(100) == b"READY=1"


@pytest.mark.parametrize("address", ["", "nowhere"])
def test_nobody_wants_to_know(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    notify("READY=1")
