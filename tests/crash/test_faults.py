"""Calls of the system that fail, as a client sees it: each one once, and each from then on until it is cured."""

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
    """Lets a call fail, and all that follow."""

    def __call__(self, call: Callable[[], Any], *_: Any) -> Any:
        self.seen += 1
        if not self.has_failed:
            return call()
        raise OSError(self._error, "made to fail")


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> System:
    """The system that the store calls."""
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
    """4xx, or as if nothing had been; what is refused is not to be seen, and the next message is accepted when it is
    over, by the same store. Each call fails with one of the errors, in the long search with each."""
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
    """A write that takes less than it was given is gone on with."""

    def short(_: Callable[[], int], fd: int, octets: memoryview, offset: int) -> int:
        return os.pwrite(fd, octets[:1000], offset)

    system.hooks["pwrite"] = short
    async with JSONFileStore(folder / "mail") as store:
        sender = Sender(store)
        await sender.prepare()
        for kind in (SMALL, LARGE):
            assert (await sender.send(kind)).code == 250
        await sender.check(store)
