"""Report the counters of a server: in the log on SIGUSR1 and at the end, and in a file for Prometheus."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable, Generator
from dataclasses import fields
from pathlib import Path
from typing import Final

import trio

from trio_smtp.cli.errors import CommandError, reason
from trio_smtp.server import Stats

__all__ = ["asking_is_harmless", "begin_file", "reported"]

INTERVAL: Final = 15.0  # seconds; a usual scrape interval of Prometheus
log = logging.getLogger("trio_smtp")


def begin_file(file: Path) -> None:
    """Write a file with all counters at 0, so that a path that cannot be written is noticed at the start.

    Raises:
        CommandError: if the file cannot be written.
    """
    try:
        _replace(file, Stats())
    except OSError as error:
        raise CommandError(f"cannot write the counters to {file}: {reason(error)}") from error


@contextlib.contextmanager
def asking_is_harmless() -> Generator[None]:
    """Ignore SIGUSR1 until the block ends. By default it would end the process when `reported` does not handle it."""
    default = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, default)


@contextlib.asynccontextmanager
async def reported(stats: Callable[[], Stats], file: Path | None) -> AsyncIterator[None]:
    """Report the counters while the block runs, and when it ends.

    Args:
        stats: returns the current counters.
        file: a file to keep up to date, if any; see `begin_file`.
    """
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_log_at_signals, stats)
        if file is not None:
            nursery.start_soon(_keep, file, stats)
        yield
        nursery.cancel_scope.cancel()
    _log(stats())
    if file is not None:
        await _write(file, stats())


async def _log_at_signals(stats: Callable[[], Stats]) -> None:
    with trio.open_signal_receiver(signal.SIGUSR1) as signals:
        async for _ in signals:
            _log(stats())


def _log(stats: Stats) -> None:
    counters = {each.name: getattr(stats, each.name) for each in fields(Stats) if each.name != "rules"}
    log.info(
        "stats %s", " ".join(f"{name}={count}" for name, count in [*counters.items(), *sorted(stats.rules.items())])
    )


async def _keep(file: Path, stats: Callable[[], Stats]) -> None:
    while True:
        await trio.sleep(INTERVAL)
        await _write(file, stats())


async def _write(file: Path, stats: Stats) -> None:
    try:
        await trio.to_thread.run_sync(_replace, file, stats)
    except (OSError, RuntimeError, MemoryError) as error:  # RuntimeError: no thread can be started
        log.warning("cannot write the counters to %s: %s", file, reason(error))


def _replace(file: Path, stats: Stats) -> None:
    """Replace the file atomically, so that a reader finds either the old or the new counters.

    The directory may belong to another daemon, so the draft is always a new file, and no link is followed.
    """
    if file.exists() and not file.is_file():  # such as /dev/null, which would become a regular file
        raise FileExistsError(errno.EEXIST, "not a regular file")
    new = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        new.unlink(missing_ok=True)
        with new.open("x", encoding="utf-8") as draft:
            os.fchmod(draft.fileno(), 0o644)  # the other daemon must read it, and nothing in it is secret
            draft.write(stats.prometheus())
        new.replace(file)
    except OSError:
        with contextlib.suppress(OSError):
            new.unlink()
        raise
