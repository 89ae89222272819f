"""Serve in one process: a server for each listener, until they are told to stop and have drained."""

from __future__ import annotations

import dataclasses
import gc
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Final, TypeAlias

import trio

from trio_smtp._escape import escape
from trio_smtp.cli.catcher import CAUGHT, catcher, catching
from trio_smtp.cli.errors import CommandError, UsageError
from trio_smtp.cli.limits import limits, login_limits, policies_by_listener, timeouts
from trio_smtp.cli.listen import ListenSpec, Scheme
from trio_smtp.cli.logs import log_transcript
from trio_smtp.cli.settings import ServeSettings
from trio_smtp.mailbox.names import address_key
from trio_smtp.mailbox.store import Account, AccountExists, AddressTaken, MailStore
from trio_smtp.mailbox_handler import MailboxHandler
from trio_smtp.policy import Policy
from trio_smtp.protocol import Config
from trio_smtp.server import Certificates, Server, ServerOptions, SharedCounts, Stats, StoreAuthenticator, serve_sockets
from trio_smtp.submission import SubmissionHandler

__all__ = ["Listener", "ServerTask", "configuration", "prepare_accounts", "run", "server_options", "servers", "total"]

_YOUNG: Final = 10_000  # new objects before a collection of the youngest ones, instead of 700 (2,000 in Python 3.13)

Listener: TypeAlias = tuple[ListenSpec, Sequence[socket.socket]]
ServerTask: TypeAlias = Callable[..., Awaitable[None]]
"""A task for `Nursery.start`, which returns a `Server`."""


async def run(
    tasks: Sequence[ServerTask],
    told_to_drain: Callable[[], Awaitable[object]],
    told_to_cut_off: Callable[[], Awaitable[object]],
    *,
    task_status: trio.TaskStatus[Sequence[Server]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until `told_to_drain` returns. Then drain until all connections have ended or `told_to_cut_off` returns."""
    # A garbage collection stops the process. Freezing exempts the objects that stay until the end, which saves about
    # 10 ms each time. Collections can be rare, because reference counting frees the objects of messages in transit.
    gc.freeze()
    thresholds = gc.get_threshold()
    gc.set_threshold(_YOUNG, *thresholds[1:])
    try:
        async with trio.open_nursery() as nursery:
            running = [await nursery.start(task) for task in tasks]
            task_status.started(running)
            await told_to_drain()
            nursery.start_soon(_drain, running, nursery.cancel_scope)
            await told_to_cut_off()
            nursery.cancel_scope.cancel()
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()


async def _drain(running: Sequence[Server], scope: trio.CancelScope) -> None:
    """Drain the servers, then cancel the wait for the order to cut off."""
    async with trio.open_nursery() as nursery:
        for server in running:
            nursery.start_soon(server.aclose)
    scope.cancel()


def total(running: Sequence[Server]) -> Stats:
    """The sum of the servers' counters."""
    return sum((server.stats for server in running), Stats())


# --- options of the servers


def servers(
    listeners: Sequence[Listener],
    settings: ServeSettings,
    store: MailStore,
    tls: Mapping[Scheme, Certificates],
    counts: SharedCounts | None = None,
) -> list[ServerTask]:
    """A server for each listener.

    Args:
        listeners: where to listen.
        settings: the settings of the program.
        store: where to keep mail.
        tls: the certificates of the listeners by scheme.
        counts: the counts that are shared with other processes that serve the same listeners.
    """
    if settings.transcript:
        log_transcript()
    postmaster, catch_all = settings.postmaster, settings.catch_all
    for_anyone = MailboxHandler.factory(store, postmaster=postmaster, catch_all=catch_all)
    with_login = SubmissionHandler.factory(
        store, postmaster=postmaster, catch_all=catch_all, any_sender=settings.any_sender
    )
    if settings.catching:
        for_anyone = with_login = catcher(store, as_json=settings.as_json)  # one, so that all listeners print in turn
    config = configuration(settings)
    authenticator = StoreAuthenticator(store, **login_limits(settings))
    policy = policies_by_listener(settings, store, counts)
    tasks = list[ServerTask]()
    for number, (spec, sockets) in enumerate(listeners):
        options = server_options(spec, settings, config, tls.get(spec.scheme), authenticator, policy(spec))
        if counts is not None:
            options["connection_counts"] = counts.connections(number)
        if settings.catching:
            options = {**options, **catching(config, settings.refusals)}
        tasks.append(partial(serve_sockets, with_login if spec.scheme.login else for_anyone, sockets, **options))
    return tasks


def server_options(
    spec: ListenSpec,
    settings: ServeSettings,
    config: Config,
    certificates: Certificates | None,
    authenticator: StoreAuthenticator,
    policy: Sequence[Policy],
) -> ServerOptions:
    """The options of a listener's server."""
    scheme = spec.scheme
    return {
        "config": dataclasses.replace(
            config,
            lmtp=scheme.lmtp,
            tls_required=settings.require_tls and scheme.tls != "never",
            auth_required=scheme.login,
        ),
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


def configuration(settings: ServeSettings) -> Config:
    """The host's name and the limits of the protocol.

    Raises:
        UsageError: if the host's name cannot be used in a greeting.
    """
    name = socket.gethostname() if settings.hostname is None else settings.hostname
    try:
        return Config(
            hostname=name, limits=limits(settings), loose_paths=settings.loose_paths, without=settings.without
        )
    except ValueError as error:
        raise UsageError(f"{error}; set a valid one with --hostname") from error


async def prepare_accounts(store: MailStore, settings: ServeSettings) -> list[Account]:
    """Create the missing accounts of ``--account`` and return all accounts. If one cannot be created, none is.

    For ``trio-smtp catch`` there is one account, which gets all mail.

    Raises:
        CommandError: if an account cannot be created, or a flag names an account that does not exist.
    """
    accounts = {account.name: account for account in await store.list_accounts()}
    try:
        if settings.catching:
            return [accounts[CAUGHT] if CAUGHT in accounts else await store.create_account(CAUGHT)]
        for name, addresses in _missing(accounts, settings).items():
            accounts[name] = await store.create_account(name, addresses=addresses)
    except (AccountExists, AddressTaken):  # another server, started at the same time, has been faster
        return await prepare_accounts(store, settings)
    return list(accounts.values())


def _missing(accounts: Mapping[str, Account], settings: ServeSettings) -> Mapping[str, Sequence[str]]:
    """The addresses of the accounts to be created, by the accounts' names."""
    owners = {address_key(address): account.name for account in accounts.values() for address in account.addresses}
    missing: dict[str, list[str]] = {}
    for name, address in settings.accounts:
        owner = owners.get(address_key(address))
        if owner == name:
            continue
        if owner is not None:
            raise CommandError(
                f"--account: {address} already belongs to account {escape(owner)}; choose another address"
            )
        if name in accounts:
            raise CommandError(
                f"--account: account {name} exists but does not have the address {address}; "
                "choose another name, or set its addresses with trio-smtp account set"
            )
        missing.setdefault(name, []).append(address)
    for flag, wanted in (("--postmaster", settings.postmaster), ("--catch-all", settings.catch_all)):
        if wanted is not None and wanted not in accounts.keys() | missing.keys():
            raise CommandError(f"{flag}: there is no account {wanted}; create it with --account")
    return missing
