"""What a server prints when it is ready: where it listens, where it keeps mail, and which commands to try."""

from __future__ import annotations

import shlex
import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from trio_smtp import __version__
from trio_smtp._escape import escape
from trio_smtp.cli.output import printable
from trio_smtp.cli.serving import Listener
from trio_smtp.cli.settings import DEFAULT_STORE, StoreURL
from trio_smtp.cli.values import Endpoint
from trio_smtp.mailbox.store import Account

__all__ = ["banner", "ready_record"]

_NAMED: Final = 10  # accounts that are listed
_REACHABLE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # the address for a client of a wildcard socket


def banner(
    listeners: Sequence[Listener],
    store: StoreURL,
    accounts: Sequence[Account],
    fingerprint: str | None = None,
    *,
    catching: bool = False,
    refusals: Sequence[tuple[str, int]] = (),
) -> Iterator[str]:
    """The lines of the banner, safe for a terminal.

    Args:
        listeners: where the server listens.
        store: where it keeps mail.
        accounts: all accounts, or the one that gets all mail.
        fingerprint: the fingerprint of a self-signed certificate.
        catching: whether the server accepts all mail.
        refusals: exceptions that are refused even then, and with which codes.
    """
    yield f"trio-smtp {__version__} listens on"
    for url in _urls(listeners):
        yield f"    {escape(url)}"
    if fingerprint is not None:
        yield "The certificate is self-signed; its SHA-256 fingerprint is"
        yield f"    {fingerprint}"
    if catching:
        yield f"Mail for any recipient goes to the account {accounts[0].name} and is {_kept(store)}."
        yield "Every login succeeds."
        if refusals:
            yield f"Refused because of --refuse: {', '.join(f'{escape(what)} with {code}' for what, code in refusals)}."
    elif accounts:
        yield f"Mail for these accounts is {_kept(store)}:"
        for account in accounts[:_NAMED]:
            yield f"    {escape(account.name)}: {escape(', '.join(account.addresses))}"
        if len(accounts) > _NAMED:
            yield f"    and {len(accounts) - _NAMED} more"
    else:
        yield f"Mail is {_kept(store)}. There is no account yet, so all mail is refused."
    hints = [printable(shlex.join(["trio-smtp", *words])) for words in _hints(listeners, store, accounts, catching)]
    if hints:
        yield "Try in another terminal:"
        for hint in hints:
            yield f"    {hint}"
    yield "Ctrl-C stops the server."


def ready_record(
    listeners: Sequence[Listener], store: StoreURL, accounts: Sequence[Account], fingerprint: str | None = None
) -> Mapping[str, object]:
    """The banner for programs, with the arguments of `banner`."""
    return {
        "listen": list(_urls(listeners)),
        "store": f"json:{store.path.absolute()}" if store.kind == "json" else str(store),
        "accounts": [{"name": account.name, "addresses": account.addresses} for account in accounts],
        "fingerprint": fingerprint,
    }


def _urls(listeners: Sequence[Listener]) -> Iterator[str]:
    for spec, sockets in listeners:
        for sock in sockets:
            yield f"{spec.scheme.name}://{_where(sock)}{spec.query}"


def _kept(store: StoreURL) -> str:
    if store.kind == "json":
        return f"kept in {escape(str(store.path.absolute()))}"
    return "kept in memory until the server stops" if store.kind == "memory" else "discarded"


def _hints(
    listeners: Sequence[Listener], store: StoreURL, accounts: Sequence[Account], catching: bool
) -> Iterator[list[str]]:
    same_store = [] if store == DEFAULT_STORE else ["--store", str(store)]
    first = next((account for account in accounts if account.addresses or catching), None)
    if first is None:
        if store.kind == "json":
            yield ["account", "add", "demo", "--address", "demo@example.com", *same_store]
        else:
            yield ["serve", "--account", "demo=demo@example.com", *same_store]
        return
    open_to_all = next(
        (sockets[0] for spec, sockets in listeners if spec.scheme.name == "smtp" and not spec.proxies), None
    )
    if open_to_all is not None:
        recipient = "anybody@example.com" if catching else first.addresses[0]
        yield ["send", "--to", recipient, "--server", str(_where(open_to_all, reachable=True))]
    if store.kind == "json":
        yield ["mail", "list", first.name, *same_store]


def _where(sock: socket.socket, *, reachable: bool = False) -> Endpoint | str:
    name = sock.getsockname()
    if isinstance(name, str):
        return name
    host: str = name[0]
    return Endpoint(_REACHABLE.get(host, host) if reachable else host, name[1])
