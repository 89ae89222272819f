"""Failing system calls, as a client sees them: each call fails once, or every call fails from it on until cured."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.crash.smtp import LARGE, SMALL, Sender
from tests.mailbox.json_file.system import Nth, System
from trio_smtp.mailbox.json_file import JSONFileStore, files, writer

pytestmark = pytest.mark.hypothesis  # see test_crash

ERRORS = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EMFILE, errno.EACCES, errno.EINTR)


class FromNth(Nth):
    """A hook that makes a call fail, and all later ones."""

    def __call__(self, call: Callable[[], Any], *_: Any) -> Any:
        self.seen += 1
        if not self.has_failed:
            return call()
        raise OSError(self._error, "made to fail")


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> System:
    """Stands in for `os` and `fcntl` in the store."""
    system = System()
    monkeypatch.setattr(files, "os", system)
    monkeypatch.setattr(files, "fcntl", system)
    monkeypatch.setattr(writer, "RETRY", 0.001)
    return system


@pytest.mark.parametrize("make", [Nth, FromNth], ids=["once", "until cured"])
@pytest.mark.parametrize("kind", [SMALL, LARGE], ids=["small", "large"])
async def test_every_call_fails(
    folder: Path, system: System, thorough: bool, make: Callable[[int, int], Nth], kind: bytes
) -> None:
    """The reply is 4xx, or the fault has no effect. A refused message is never seen, and the same store accepts the
    next message once the calls work. Each call fails with one of the errors; in the long search, with each of them.
    """
    async with JSONFileStore(folder / "mail") as store:
        sender = Sender(store)
        await sender.prepare()
        errors = itertools.cycle(ERRORS)
        for number in itertools.count(1):
            failures = [make(number, error) for error in (ERRORS if thorough else [next(errors)])]
            for failure in failures:
                system.default = failure
                await sender.send(kind)
                system.work()
                assert (await sender.send(SMALL)).code == 250
            if not any(failure.has_failed for failure in failures):
                break
        assert sender.refused > len(ERRORS)
        await sender.check(store)
    async with JSONFileStore(folder / "mail") as again:
        await sender.check(again)


async def test_short_writes(folder: Path, system: System) -> None:
    """After a short write the store writes the rest."""

    def short(_: Callable[[], int], fd: int, octets: memoryview, offset: int) -> int:
        return os.pwrite(fd, octets[:1000], offset)

    system.hooks["pwrite"] = short
    async with JSONFileStore(folder / "mail") as store:
        sender = Sender(store)
        await sender.prepare()
        for kind in (SMALL, LARGE):
            assert (await sender.send(kind)).code == 250
        await sender.check(store)
