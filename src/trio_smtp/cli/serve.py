"""``trio-smtp serve`` and ``catch``: accept mail for the accounts of a store, or all mail, until a signal.

Steps that can fail run in the order that leaves least behind: settings, certificates, ports, counters, store, accounts.
So if a port is in use, no store is created, and the server that uses it keeps its file of counters. If the store cannot
be used, only closed ports and counters of 0 are left. A self-signed certificate is made last, because it is kept in the
store.

The process that was started does all of this once. Then it accepts mail itself or starts workers for it.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import trio

from trio_smtp.cli.banner import banner, ready_record
from trio_smtp.cli.control import RELOAD, Assignment
from trio_smtp.cli.counters import asking_is_harmless, begin_file, reported
from trio_smtp.cli.errors import CommandError, OutputError, reason
from trio_smtp.cli.hangup import Stops, stop_signals, unless_stopped
from trio_smtp.cli.limits import WINDOWS
from trio_smtp.cli.listen import ListenSpec, Scheme
from trio_smtp.cli.logs import logging_to_stderr
from trio_smtp.cli.output import flush, json_text, say
from trio_smtp.cli.service import notify
from trio_smtp.cli.serving import Listener, configuration, prepare_accounts, run, servers, total
from trio_smtp.cli.settings import ServeSettings
from trio_smtp.cli.stores import opened
from trio_smtp.cli.tls import certificates_by_scheme, kept_fresh, self_signed_maker
from trio_smtp.cli.unix_socket import listening_at
from trio_smtp.cli.workers import Supervisor, Worker, started_worker
from trio_smtp.mailbox.store import Account, MailStore
from trio_smtp.server import Certificates, Server, bind_sockets, shared_memory

__all__ = ["serve"]

log = logging.getLogger("trio_smtp")


async def serve(**flags: Any) -> None:
    """Accept mail. The arguments are the fields of `ServeSettings`.

    SIGINT and SIGTERM drain the server, a second one cuts connections off. SIGHUP reloads the certificates, but drains
    the server if its terminal is gone.
    """
    settings = ServeSettings(**flags)
    config = configuration(settings)
    tls = certificates_by_scheme(settings, settings.key_pairs)
    self_signed = self_signed_maker() if settings.tls == "self-signed" else None
    with logging_to_stderr(), asking_is_harmless(), stop_signals() as stops:
        async with contextlib.AsyncExitStack() as stack:
            async with contextlib.AsyncExitStack() as while_open:
                prepared = await unless_stopped(stops, partial(_prepare, settings, stack, while_open))
                if prepared is None:
                    return
                listeners, store, accounts = prepared
                certificate = fingerprint = None
                if self_signed is not None:
                    certificate, fingerprint = stack.enter_context(self_signed(settings.store, config.hostname))
                    tls = certificates_by_scheme(settings, [(certificate, None)])
                ready = partial(_announce, _readiness(settings, listeners, accounts, fingerprint))
                if settings.workers == 1:
                    await _serve_here(settings, listeners, store, tls, stops, ready)
                    return
            await _serve_by_workers(settings, listeners, certificate, stops, ready)


async def _prepare(
    settings: ServeSettings, stack: contextlib.AsyncExitStack, while_open: contextlib.AsyncExitStack
) -> tuple[list[Listener], MailStore, list[Account]]:
    """Listen until `stack` is closed, open the store until `while_open` is closed, and create counters and accounts.

    This may have to wait for the DNS, or for another process that holds the store.
    """
    listeners = [(spec, await _bind(spec, settings.catching, stack)) for spec in settings.listen]
    if settings.metrics_file is not None:
        begin_file(settings.metrics_file)
    store = await while_open.enter_async_context(opened(settings.store, create=True))
    return listeners, store, await prepare_accounts(store, settings)


def _readiness(
    settings: ServeSettings, listeners: Sequence[Listener], accounts: Sequence[Account], fingerprint: str | None
) -> str:
    """What to print when the server is ready."""
    facts = listeners, settings.store, accounts, fingerprint
    if settings.as_json:
        return json_text(ready_record(*facts))
    return "\n".join(banner(*facts, catching=settings.catching, refusals=settings.refusals))


def _announce(text: str) -> None:
    try:
        say(text)
        flush()
    except OutputError as error:  # the server works without standard output
        log.warning("%s", error)
    notify("READY=1")


# --- serving in this process


async def _serve_here(
    settings: ServeSettings,
    listeners: Sequence[Listener],
    store: MailStore,
    tls: Mapping[Scheme, Certificates],
    stops: Stops,
    ready: Callable[[], None],
) -> None:
    running: list[Server] = []
    async with kept_fresh(set(tls.values())) as reload:
        ready()
        tasks, signals = servers(listeners, settings, store, tls), stops(reload)
        async with reported(lambda: total(running), settings.metrics_file), trio.open_nursery() as nursery:
            running += await nursery.start(run, tasks, partial(_told_to_drain, signals), partial(anext, signals))


async def _told_to_drain(signals: AsyncIterator[int]) -> None:
    await anext(signals)
    notify("STOPPING=1")
    log.info("stopping: open connections may finish; a second signal cuts them off")


# --- serving in workers


async def _serve_by_workers(
    settings: ServeSettings,
    listeners: Sequence[Listener],
    certificate: Path | None,
    stops: Stops,
    ready: Callable[[], None],
) -> None:
    descriptors = [(spec, [sock.fileno() for sock in sockets]) for spec, sockets in listeners]
    with shared_memory(settings.workers, len(listeners), WINDOWS) as memory:

        def start(number: int) -> Awaitable[Worker]:
            return started_worker(Assignment(number, settings, descriptors, memory, certificate))

        workers = Supervisor(settings.workers, start, memory.forget_connections)
        async with reported(lambda: workers.stats, settings.metrics_file), trio.open_nursery() as helpers:
            helpers.start_soon(_stop_at, stops(partial(workers.tell, RELOAD)), workers, listeners)
            helpers.start_soon(_when_settled, workers, ready)
            await workers.run()
            helpers.cancel_scope.cancel()


async def _when_settled(workers: Supervisor, ready: Callable[[], None]) -> None:
    await workers.settled.wait()
    ready()


async def _stop_at(signals: AsyncIterator[int], workers: Supervisor, listeners: Sequence[Listener]) -> None:
    await _told_to_drain(signals)
    await workers.drain()
    for _, sockets in listeners:
        for sock in sockets:
            sock.close()
    await anext(signals)
    workers.cut_off()
    await anext(signals)
    workers.kill()


# --- sockets


async def _bind(spec: ListenSpec, catching: bool, stack: contextlib.AsyncExitStack) -> Sequence[socket.socket]:
    """Listening sockets, which are closed with the stack."""
    try:
        if isinstance(spec.where, Path):
            return [stack.enter_context(listening_at(spec.where))]
        sockets = await bind_sockets(spec.where.port, spec.where.host)
    except OSError as error:
        raise CommandError(
            f"cannot listen on {spec.where}: {reason(error)}. {_advice(error, spec, catching)}"
        ) from error
    for sock in sockets:
        stack.enter_context(sock)
    return sockets


def _advice(error: OSError, spec: ListenSpec, catching: bool) -> str:
    flag = f"--{spec.scheme.name} " if catching else f"--listen {spec.scheme.name}://"
    if error.errno == errno.EMFILE:
        return "Raise the limit of open files with ulimit -n"
    if isinstance(spec.where, Path):
        return f"Choose another path with {flag}/PATH"
    another_port = f"choose another port with {flag}{str(spec.where).rpartition(':')[0]}:PORT"
    if error.errno == errno.EADDRINUSE:
        return f"Stop the other program or {another_port}"
    if error.errno == errno.EACCES:
        return f"Ports below 1024 need root or the capability CAP_NET_BIND_SERVICE; {another_port}"
    return f"Choose an address of this machine with {flag}HOST:PORT"
