"""``trio-smtp serve``: take mail for the accounts of a store, until a signal ends it.

What can fail is tried in the order in which least is left behind: settings, certificates, ports, store, accounts. So a
port in use makes no store, and a store that cannot be used leaves nothing but closed ports. Only a certificate that is
to be made comes last, for it is kept in the store.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import gc
import logging
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import trio

from trio_smtp._escape import escape
from trio_smtp.cli.banner import banner
from trio_smtp.cli.errors import CommandError, UsageError, reason
from trio_smtp.cli.limits import limits, policies_by_listener, timeouts
from trio_smtp.cli.listen import ListenSpec
from trio_smtp.cli.logs import logging_to_stderr
from trio_smtp.cli.output import say
from trio_smtp.cli.settings import ServeSettings
from trio_smtp.cli.stores import opened
from trio_smtp.cli.tls import certificates_by_scheme, kept_fresh, self_signed_maker
from trio_smtp.cli.unix_socket import listening_at
from trio_smtp.mailbox.names import address_key
from trio_smtp.mailbox.store import Account, MailStore
from trio_smtp.mailbox_handler import MailboxHandler
from trio_smtp.policy import Policy
from trio_smtp.protocol import Config
from trio_smtp.server import (
    Certificates,
    Server,
    ServerOptions,
    StoreAuthenticator,
    bind_sockets,
    serve_sockets,
)
from trio_smtp.submission import SubmissionHandler

__all__ = ["serve", "server_options"]

log = logging.getLogger("trio_smtp")


async def serve(**flags: Any) -> None:
    """Take mail; the flags are the fields of `ServeSettings`. SIGINT and SIGTERM drain, a second one cuts off."""
    settings = ServeSettings(**flags)
    config = _config(settings)
    tls = certificates_by_scheme(settings, settings.key_pairs) if settings.tls_cert else {}
    self_signed = self_signed_maker() if settings.tls == "self-signed" else None
    with logging_to_stderr(), trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with contextlib.AsyncExitStack() as stack:
            listeners = [(spec, await _bind(spec, stack)) for spec in settings.listen]
            store = await stack.enter_async_context(opened(settings.store, create=True))
            accounts = await _prepare_accounts(store, settings)
            fingerprint = None
            if self_signed is not None:
                path, fingerprint = stack.enter_context(self_signed(settings.store, config.hostname))
                tls = certificates_by_scheme(settings, [(path, None)])
            if tls:
                await stack.enter_async_context(kept_fresh(set(tls.values())))
            with contextlib.suppress(BrokenPipeError):  # mail comes in all the same
                say("\n".join(banner(listeners, settings.store, accounts, fingerprint)))
                sys.stdout.flush()
            for_anyone = MailboxHandler.factory(store, postmaster=settings.postmaster)
            with_login = SubmissionHandler.factory(
                store, postmaster=settings.postmaster, any_sender=settings.any_sender
            )
            authenticator = StoreAuthenticator(store)
            policy = policies_by_listener(settings, store)
            servers = [
                partial(
                    serve_sockets,
                    with_login if spec.scheme.login else for_anyone,
                    sockets,
                    **server_options(spec, settings, config, tls.get(spec.scheme), authenticator, policy(spec)),
                )
                for spec, sockets in listeners
            ]
            # To find garbage is to stop everything for some 10 ms and look at all objects. These are here to stay.
            gc.freeze()
            stack.callback(gc.unfreeze)
            await _run(servers, signals)


async def _run(servers: Sequence[Callable[..., Awaitable[None]]], signals: AsyncIterator[int]) -> None:
    async with trio.open_nursery() as nursery:
        running = [await nursery.start(server) for server in servers]
        await anext(signals)
        log.info("stopping: open connections may finish; a second signal cuts them off")
        nursery.start_soon(_drain, running, nursery.cancel_scope)
        await anext(signals)
        nursery.cancel_scope.cancel()


async def _drain(servers: Sequence[Server], scope: trio.CancelScope) -> None:
    """Let the servers finish, then end the wait for a second signal."""
    async with trio.open_nursery() as nursery:
        for server in servers:
            nursery.start_soon(server.aclose)
    scope.cancel()


# --- what the server is started with


def server_options(
    spec: ListenSpec,
    settings: ServeSettings,
    config: Config,
    certificates: Certificates | None,
    authenticator: StoreAuthenticator,
    policy: Sequence[Policy],
) -> ServerOptions:
    """What a listener is started with."""
    scheme = spec.scheme
    return {
        "config": dataclasses.replace(config, lmtp=scheme.lmtp, auth_required=scheme.login),
        "timeouts": timeouts(settings),
        "policy": policy,
        "early_talkers": settings.early_talkers,
        "ssl_context": certificates,
        "implicit_tls": scheme.tls == "implicit",
        "authenticator": authenticator if scheme.login else None,
        "proxy_networks": spec.proxies,
        "max_connections": settings.max_connections,
        "max_connections_per_peer": settings.max_connections_per_peer,
    }


def _config(settings: ServeSettings) -> Config:
    try:
        return Config(hostname=settings.hostname or socket.gethostname(), limits=limits(settings))
    except ValueError as error:
        raise UsageError(f"{error}; name this machine with --hostname") from error


# --- what it needs


async def _bind(spec: ListenSpec, stack: contextlib.AsyncExitStack) -> Sequence[socket.socket]:
    """Sockets that listen, until the stack is left."""
    try:
        if isinstance(spec.where, Path):
            return [stack.enter_context(listening_at(spec.where))]
        sockets = await bind_sockets(spec.where.port, spec.where.host)
    except OSError as error:
        raise CommandError(f"cannot listen on {spec.where}: {reason(error)}. {_advice(error, spec)}") from error
    for sock in sockets:
        stack.enter_context(sock)
    return sockets


def _advice(error: OSError, spec: ListenSpec) -> str:
    if isinstance(spec.where, Path):
        return "Choose another path with --listen lmtp+unix:///PATH"
    another_port = f"choose another port with --listen {spec.scheme.name}://{spec.where.host}:PORT"
    if error.errno == errno.EADDRINUSE:
        return f"Stop the other program or {another_port}"
    if error.errno == errno.EACCES:
        return f"Ports below 1024 are for root; {another_port}"
    return f"Choose an address of this machine with --listen {spec.scheme.name}://HOST:PORT"


async def _prepare_accounts(store: MailStore, settings: ServeSettings) -> list[Account]:
    """Make the accounts of ``--account`` that are missing, or none of them if one cannot be; return all there are."""
    accounts = {account.name: account for account in await store.list_accounts()}
    owners = {address_key(address): account.name for account in accounts.values() for address in account.addresses}
    missing: dict[str, list[str]] = {}
    for name, address in settings.accounts:
        owner = owners.get(address_key(address))
        if owner == name:
            continue
        if owner is not None:
            raise CommandError(f"{address} is an address of account {escape(owner)}; take another one for --account")
        if name in accounts:
            raise CommandError(
                f"account {name} exists and {address} is none of its addresses; give it to a new account"
            )
        missing.setdefault(name, []).append(address)
    if settings.postmaster is not None and settings.postmaster not in accounts.keys() | missing.keys():
        raise CommandError(f"there is no account {settings.postmaster} for --postmaster; add it with --account")
    for name, addresses in missing.items():
        accounts[name] = await store.create_account(name, addresses=addresses)
    return list(accounts.values())
