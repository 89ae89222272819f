"""The counters of a server: a line in the log on SIGUSR1 and at the end, and a file for Prometheus."""

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

INTERVAL: Final = 15.0  # seconds, as often as Prometheus looks if nothing else is asked of it
log = logging.getLogger("trio_smtp")


def begin_file(file: Path) -> None:
    """Write a file in which nothing has been counted yet, so that a path that cannot be written is noticed now.

    Raises:
        CommandError: the file cannot be written.
    """
    try:
        _replace(file, Stats())
    except OSError as error:
        raise CommandError(f"cannot write the counters to {file}: {reason(error)}") from error


@contextlib.contextmanager
def asking_is_harmless() -> Generator[None]:
    """For the length of the block SIGUSR1 ends nothing: by default it would, before and after there is an answer."""
    default = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, default)


@contextlib.asynccontextmanager
async def reported(stats: Callable[[], Stats], file: Path | None) -> AsyncIterator[None]:
    """Tell of the counters while the block runs, and when it ends.

    Args:
        stats: what has been counted so far.
        file: to be kept up to date, if any; see `begin_file`.
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
    except (OSError, RuntimeError, MemoryError) as error:  # the second if there is no thread to be had
        log.warning("cannot write the counters to %s: %s", file, reason(error))


def _replace(file: Path, stats: Stats) -> None:
    """Write the counters; whoever reads the file meanwhile finds the old ones or the new ones.

    The directory may be that of another daemon, so what is written is a new file, wherever a link may lead.
    """
    if file.exists() and not file.is_file():  # /dev/null, which would be one from now on
        raise FileExistsError(errno.EEXIST, "it is no file, and is not replaced")
    new = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        new.unlink(missing_ok=True)
        with new.open("x", encoding="utf-8") as draft:
            os.fchmod(draft.fileno(), 0o644)  # for the user of that daemon; there is nothing secret in it
            draft.write(stats.prometheus())
        new.replace(file)
    except OSError:
        with contextlib.suppress(OSError):
            new.unlink()
        raise
