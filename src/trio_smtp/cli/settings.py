"""The settings that flags fill: frozen, with every default, and checked as a whole when they are made."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trio_smtp.cli.errors import UsageError
from trio_smtp.cli.listen import ListenSpec, parse_listen

__all__ = ["ServeSettings", "StoreURL", "parse_json_store", "parse_store"]


@dataclass(frozen=True)
class StoreURL:
    """Where mail is kept: ``json:DIRECTORY``, ``memory:`` or ``null:``."""

    kind: Literal["json", "memory", "null"]
    path: Path = Path()

    def __str__(self) -> str:
        return f"json:{self.path}" if self.kind == "json" else f"{self.kind}:"


DEFAULT_STORE = StoreURL("json", Path("mail"))


def parse_store(url: str) -> StoreURL:
    """Read the flag ``--store`` of a server."""
    for store in (StoreURL("memory"), StoreURL("null")):
        if url == str(store):
            return store
    kind, _, path = url.partition(":")
    if kind == "json" and path:
        return StoreURL("json", Path(path))
    raise ArgumentTypeError(f"{url!a} is none of json:DIRECTORY, memory: and null:")


def parse_json_store(url: str) -> StoreURL:
    """Read the flag ``--store`` of a command that works beside a server."""
    store = parse_store(url)
    if store.kind != "json":
        raise ArgumentTypeError(f"{url} lives and dies with one server; only a store json:DIRECTORY can be shared")
    return store


@dataclass(frozen=True, kw_only=True)
class ServeSettings:
    """What ``trio-smtp serve`` was told; the field names are those of the flags.

    Raises:
        UsageError: the settings contradict each other, or one of them would have no effect.
    """

    listen: Sequence[ListenSpec] = (parse_listen("smtp://127.0.0.1:1025"),)
    store: StoreURL = DEFAULT_STORE
    hostname: str | None = None
    accounts: Sequence[tuple[str, str]] = ()
    postmaster: str | None = None
    any_sender: bool = False
    tls_cert: Path | None = None
    tls_key: Path | None = None
    max_message_size: int = 32 << 20
    max_recipients: int = 1000
    max_connections: int = 1000
    max_connections_per_peer: int | None = None
    command_timeout: float = 300
    data_timeout: float | None = None
    drain_timeout: float = 30

    def __post_init__(self) -> None:
        for spec in self.listen:
            if spec.scheme.tls in ("starttls", "implicit") and self.tls_cert is None:
                raise UsageError(f"{spec} needs a certificate: add --tls-cert FILE and --tls-key FILE")
        if self.tls_key is not None and self.tls_cert is None:
            raise UsageError("--tls-key has no effect without --tls-cert FILE")
        if self.tls_cert is not None and all(spec.scheme.tls == "never" for spec in self.listen):
            raise UsageError("--tls-cert has no effect, for LMTP goes without TLS; add a listener of another kind")
        if self.any_sender and not any(spec.scheme.login for spec in self.listen):
            raise UsageError("--any-sender has no effect without a listener submission:// or submissions://")
        owners: dict[str, str] = {}
        for name, address in self.accounts:
            if owners.setdefault(address.lower(), name) != name:
                raise UsageError(f"--account gives {address} to two accounts; an address belongs to one")
