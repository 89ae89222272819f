"""The settings that the flags set: frozen, with all defaults, and checked for consistency when they are created."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from trio_smtp.cli.errors import UsageError
from trio_smtp.cli.listen import ListenSpec, parse_listen

__all__ = [
    "DEFAULT_STORE",
    "KeyPair",
    "RateValue",
    "ServeSettings",
    "StoreURL",
    "parse_json_store",
    "parse_store",
]


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
    hint = "" if ":" in url or kind in ("json", "memory", "null") else f"; for a directory, use json:{url}"
    raise ArgumentTypeError(f"{url!a} is not a store of the form json:DIRECTORY, memory: or null:{hint}")


def parse_json_store(url: str) -> StoreURL:
    """Read the flag ``--store`` of a command that may share the store with a server."""
    store = parse_store(url)
    if store.kind != "json":
        raise ArgumentTypeError(
            f"{url} exists only inside a server; this command needs a store of the form json:DIRECTORY"
        )
    return store


KeyPair: TypeAlias = tuple[Path, Path | None]
"""The file of a certificate and the file of its key, None if the certificate's file also contains the key."""

RateValue: TypeAlias = tuple[int, float] | Literal["default"] | None
"""A count and seconds; None for no limit."""


_MOST_WORKERS = 256


@dataclass(frozen=True, kw_only=True)
class ServeSettings:
    """The settings of ``trio-smtp serve`` and ``catch``. The fields are named after the flags.

    Raises:
        UsageError: if the settings contradict each other, or one of them would have no effect.
    """

    catching: bool = False
    """Accept all mail, for ``trio-smtp catch``."""
    as_json: bool = False
    refusals: Sequence[tuple[str, int]] = ()
    """What ``trio-smtp catch`` refuses, and with which codes."""
    listen: Sequence[ListenSpec] = (parse_listen("smtp://127.0.0.1:1025"),)
    store: StoreURL = DEFAULT_STORE
    workers: int = 1
    hostname: str | None = None
    metrics_file: Path | None = None
    accounts: Sequence[tuple[str, str]] = ()
    postmaster: str | None = None
    catch_all: str | None = None
    any_sender: bool = False
    loose_paths: bool = False
    without: Sequence[str] = ()
    transcript: bool = False
    tls: Literal["self-signed"] | None = None
    tls_cert: Sequence[Path] = ()
    tls_key: Sequence[Path] = ()
    tls_client_ca: Path | None = None
    channel_binding: bool = False
    require_tls: bool = False
    greylist: float | None = None
    max_message_size: int = 32 << 20
    max_recipients: int = 1000
    max_transactions: int = 1_000_000
    max_connections: int = 1000
    max_connections_per_peer: int | None = None
    max_errors: int = 20
    max_junk_commands: int = 100
    max_login_failures: int = 3
    max_received: int = 50
    max_header_fields: int = 1000
    max_header_size: int = 128 << 10
    command_timeout: float = 300
    data_timeout: float | None = None
    drain_timeout: float = 30
    handshake_timeout: float = 30
    session_time: float = 24 * 3600
    minimum_rate: int = 500
    fault_delay: float = 0.5
    connection_rate: RateValue = "default"
    message_rate: RateValue = "default"
    recipient_rate: RateValue = "default"
    login_failure_rate: RateValue = "default"
    account_message_rate: RateValue = "default"
    account_recipient_rate: RateValue = "default"
    account_login_failure_rate: RateValue = "default"
    early_talkers: Literal["refuse", "allow"] = "refuse"

    def __post_init__(self) -> None:
        self._check_tls()
        self._check_workers()
        self._check_accounts()
        if self.catching and self.store.kind == "null":
            raise UsageError(
                "trio-smtp catch cannot show mail that --store null: discards; use --store memory: or json:DIRECTORY"
            )
        if self.max_header_size > 1 << 20:
            raise UsageError("--max-header-size must not be greater than 1M")
        if self.any_sender and not any(spec.scheme.login for spec in self.listen):
            raise UsageError("--any-sender has no effect without a listener submission:// or submissions://")
        if self.greylist is not None and not any(spec.scheme.greylists for spec in self.listen):
            raise UsageError("--greylist has no effect without a listener smtp:// or smtps://")

    @property
    def key_pairs(self) -> Sequence[KeyPair]:
        """The certificates with their keys, in the order of the flags."""
        if not self.tls_key:
            return [(certificate, None) for certificate in self.tls_cert]
        return list(zip(self.tls_cert, self.tls_key, strict=True))

    def _check_accounts(self) -> None:
        from trio_smtp.mailbox.names import address_key  # noqa: PLC0415  # --help need not load the stores

        owners: dict[str, str] = {}
        for name, address in self.accounts:
            owner = owners.setdefault(address_key(address), name)
            if owner != name:
                raise UsageError(f"--account gives {address} to two accounts, {owner} and {name}; choose one of them")

    def _check_workers(self) -> None:
        if self.workers == 1:
            return
        if self.store.kind == "memory":
            raise UsageError(
                "--workers cannot be used with --store memory:, which processes cannot share; "
                "use --store json:DIRECTORY"
            )
        if self.workers > _MOST_WORKERS:
            raise UsageError(f"--workers must not be greater than {_MOST_WORKERS}; more than one per CPU is of no use")
        if self.store.kind == "null" and self.greylist is not None:
            raise UsageError(
                "--greylist with --workers cannot be used with --store null:, which processes cannot share; "
                "use --store json:DIRECTORY"
            )

    def _check_tls(self) -> None:
        schemes = [spec.scheme for spec in self.listen]
        if self.tls_key and not self.tls_cert:
            raise UsageError("--tls-key has no effect without --tls-cert FILE")
        if self.tls_key and len(self.tls_key) != len(self.tls_cert):
            raise UsageError(
                "--tls-key must be given once for each --tls-cert, or never; "
                "a file that contains a certificate and its key can be given to both"
            )
        if self.tls and self.tls_cert:
            raise UsageError(f"--tls {self.tls} and --tls-cert cannot be used together; remove one of them")
        if self.tls or self.tls_cert:
            if all(scheme.tls == "never" for scheme in schemes):
                flag = "--tls-cert" if self.tls_cert else "--tls"
                raise UsageError(
                    f"{flag} has no effect, because LMTP is without TLS; add another listener, such as smtp://"
                )
        else:
            if self.require_tls:
                raise UsageError("--require-tls needs a certificate: add --tls-cert FILE, or --tls self-signed")
            for spec in self.listen:
                if spec.scheme.tls in ("starttls", "implicit"):
                    raise UsageError(
                        f"{spec} needs a certificate: add --tls-cert FILE and --tls-key FILE, or --tls self-signed"
                    )
        if any(scheme.login for scheme in schemes):
            return
        if self.channel_binding:
            raise UsageError(
                "--channel-binding has no effect without a listener submission:// or submissions://, "
                "because clients log in only there"
            )
        if self.tls_client_ca is not None:
            raise UsageError(
                "--tls-client-ca has no effect without a listener submission:// or submissions://, "
                "because clients use certificates only to log in"
            )
