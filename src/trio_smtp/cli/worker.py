"""``python -m trio_smtp.cli.worker``: a worker process of ``trio-smtp serve --workers``, its parent.

Its standard input is the `Control` socket. SIGTERM and SIGINT make it drain, however often they arrive: a service
manager may send them to every process while the parent orders the drain too. Only the parent can cut the worker off.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

import trio

from trio_smtp.cli.control import CUT_OFF, DRAIN, RELOAD, Assignment, Control, packed_stats
from trio_smtp.cli.errors import CommandError
from trio_smtp.cli.logs import logging_to_stderr
from trio_smtp.cli.serving import prepare_accounts, run, servers, total
from trio_smtp.cli.stores import opened
from trio_smtp.cli.tls import certificates_by_scheme, kept_fresh
from trio_smtp.server import Server, SharedCounts

__all__ = ["main", "work"]

log = logging.getLogger("trio_smtp")

_REPORTS: Final = 1.0  # seconds between two reports


def main() -> int:
    """Work until the parent ends the worker, and return the exit code."""
    try:
        control = Control(socket.socket(fileno=sys.stdin.fileno()))
    except OSError:
        sys.stderr.write("trio-smtp: workers are started by trio-smtp serve --workers N\n")
        return 2
    for number in (signal.SIGUSR1, signal.SIGHUP):  # only the parent handles these
        signal.signal(number, signal.SIG_IGN)
    with logging_to_stderr(), contextlib.closing(control):
        try:
            trio.run(work, control)
        except CommandError as error:
            log.error("%s", error)  # noqa: TRY400 - the sentence says everything
            return 1
    return 0


async def work(control: Control) -> None:
    """Read the `Assignment` and serve until the parent orders the end.

    Raises:
        CommandError: if the assignment cannot be carried out.
    """
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        line = await anext(control, None)
        if line is None:  # the parent has already ended
            return
        assignment = Assignment.unpacked(line)
        settings = assignment.settings
        pairs = settings.key_pairs if assignment.certificate is None else [(assignment.certificate, None)]
        tls = certificates_by_scheme(settings, pairs)
        async with contextlib.AsyncExitStack() as stack:
            listeners = [
                (spec, [stack.enter_context(socket.socket(fileno=number)) for number in numbers])
                for spec, numbers in assignment.listeners
            ]
            store = await stack.enter_async_context(opened(settings.store))
            if settings.store.kind == "null":  # which workers do not share
                await prepare_accounts(store, settings)
            reload = await stack.enter_async_context(kept_fresh(set(tls.values())))
            counts = SharedCounts(assignment.memory, assignment.number)
            drain, cut_off = trio.Event(), trio.Event()

            async def told_to_drain() -> None:
                await drain.wait()
                counts.retire()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(_heed, signals, drain)
                nursery.start_soon(_obey, control, drain, cut_off, reload)
                async with trio.open_nursery() as serving:
                    tasks = servers(listeners, settings, store, tls, counts)
                    running = await serving.start(run, tasks, told_to_drain, cut_off.wait)
                    nursery.start_soon(_report, control, running)
                nursery.cancel_scope.cancel()
            await control.send(packed_stats(total(running)))


async def _heed(signals: AsyncIterator[int], drain: trio.Event) -> None:
    async for _ in signals:
        drain.set()


async def _obey(control: Control, drain: trio.Event, cut_off: trio.Event, reload: Callable[[], None]) -> None:
    async for order in control:
        if order == RELOAD:
            reload()
        elif order == DRAIN:
            drain.set()
        elif order == CUT_OFF:
            cut_off.set()
    log.warning("a worker drains, for the process that started it is gone")
    drain.set()


async def _report(control: Control, running: Sequence[Server]) -> None:
    """Send the counters to the parent: now, and whenever they have changed."""
    said = b""
    while True:
        line = packed_stats(total(running))
        if line != said:
            await control.send(line)
            said = line
        await trio.sleep(_REPORTS)


if __name__ == "__main__":
    sys.exit(main())
