"""The counters of a server in a file for Prometheus. The line in the log is in test_serve.py and test_workers.py."""

from __future__ import annotations

import errno
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import trio
from trio.testing import MockClock

from trio_smtp.cli import counters
from trio_smtp.cli.counters import begin_file, reported
from trio_smtp.cli.errors import CommandError
from trio_smtp.server import Stats


@pytest.fixture(autouse=True)
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the functions in this thread, since the mock clock would jump while another thread is at work."""

    async def run_sync(function: Callable[..., object], *arguments: Any) -> object:
        await trio.lowlevel.checkpoint()
        return function(*arguments)

    monkeypatch.setattr(trio.to_thread, "run_sync", run_sync)


async def test_the_file_is_kept_up_to_date(tmp_path: Path, autojump_clock: MockClock) -> None:
    file, stats = tmp_path / "smtp.prom", Stats()

    def tells(count: int) -> bool:
        return f"\ntrio_smtp_connections_total {count}\n" in file.read_text()

    begin_file(file)
    async with reported(lambda: stats, file):
        assert tells(0)
        stats.connections = 1
        assert tells(0)
        await trio.sleep(counters.INTERVAL + 1)
        assert tells(1)
        stats.connections = 2
    assert tells(2)
    assert list(tmp_path.iterdir()) == [file]
    assert file.stat().st_mode & 0o777 == 0o644


def test_a_file_that_cannot_be_written_is_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"cannot write the counters to .*gone.x\.prom: no such file or directory"):
        begin_file(tmp_path / "gone" / "x.prom")
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "pipe")  # as good as a device
    for name in ("directory", "pipe"):
        with pytest.raises(CommandError, match=f"cannot write the counters to .*{name}: not a regular file"):
            begin_file(tmp_path / name)
    assert (tmp_path / "pipe").is_fifo()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["directory", "pipe"]


def test_other_users_can_read_it_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        begin_file(tmp_path / "x.prom")
    finally:
        os.umask(before)
    assert (tmp_path / "x.prom").stat().st_mode & 0o777 == 0o644


def test_a_fault_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "replace", Mock(side_effect=OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(CommandError, match="no space left"):
        begin_file(tmp_path / "x.prom")
    assert not list(tmp_path.iterdir())


def test_a_link_in_the_place_of_what_is_being_written_is_not_followed(tmp_path: Path) -> None:
    """The directory may belong to the user of another daemon, who must not be able to make us overwrite our mail."""
    ours, file = tmp_path / "manifest.json", tmp_path / "smtp.prom"
    ours.write_text("ours")
    ours.chmod(0o600)
    (tmp_path / f".smtp.prom.{os.getpid()}").symlink_to(ours)
    begin_file(file)
    assert (ours.read_text(), ours.stat().st_mode & 0o777) == ("ours", 0o600)
    assert "trio_smtp_connections_total 0" in file.read_text()
    assert not file.is_symlink()


async def test_later_it_is_a_warning(
    tmp_path: Path, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "metrics"
    folder.mkdir()
    caplog.set_level(logging.INFO, "trio_smtp")
    async with reported(Stats, folder / "x.prom"):
        shutil.rmtree(folder)
        await trio.sleep(counters.INTERVAL + 1)
        folder.mkdir()
        await trio.sleep(counters.INTERVAL)
        assert (folder / "x.prom").exists()
    warning, line = (record.getMessage() for record in caplog.records)
    assert warning.startswith("cannot write the counters to ")
    assert line.startswith("stats connections=0 ")


async def test_no_thread_to_be_had_is_a_warning(
    tmp_path: Path, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_thread(*_: object) -> None:
        raise failures.pop(0)

    failures = [RuntimeError("can't start new thread"), MemoryError()]
    file = tmp_path / "x.prom"
    with monkeypatch.context() as patch:
        async with reported(Stats, file):
            patch.setattr(trio.to_thread, "run_sync", no_thread)
            await trio.sleep(2 * counters.INTERVAL + 1)
            patch.undo()
    assert caplog.messages == [
        f"cannot write the counters to {file}: {reason}" for reason in ("can't start new thread", "out of memory")
    ]
    assert file.exists()
