"""Full and read-only file systems, and a limit on file sizes: the replies to clients, and what the store holds."""

from __future__ import annotations

import os
import resource
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from tests.crash.mounts import mounted
from tests.crash.smtp import LARGE, SMALL, Sender
from trio_smtp.mailbox.json_file import JSONFileStore, writer
from trio_smtp.mailbox.store import StoreUnavailable


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "RETRY", 0.001)


@pytest.fixture
def where() -> Iterator[Path]:
    """A path at which a file system can be mounted."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name, "disk")


async def fill(sender: Sender, kind: bytes) -> None:
    """Send messages until one is refused."""
    for _ in range(200):
        if (await sender.send(kind)).code != 250:
            return
    raise AssertionError("it does not get full")


async def test_no_octets_left(where: Path) -> None:
    with mounted(where, "-t", "tmpfs", "-o", "size=256k", "tmpfs"):
        (where / "filler").write_bytes(b"x" * 16_384)
        async with JSONFileStore(where / "mail") as store:
            sender = Sender(store)
            await sender.prepare()
            await fill(sender, SMALL)
            await fill(sender, LARGE)
            await sender.check(store)
            (where / "filler").unlink()
            assert (await sender.send()).code == 250
            await sender.check(store)
        async with JSONFileStore(where / "mail") as again:
            await sender.check(again)


async def test_no_inodes_left(where: Path) -> None:
    with mounted(where, "-t", "tmpfs", "-o", "size=32m,nr_inodes=30", "tmpfs"):
        fillers = [where / f"filler{number}" for number in range(10)]
        for filler in fillers:
            filler.touch()
        async with JSONFileStore(where / "mail") as store:
            sender = Sender(store)
            await sender.prepare()
            await fill(sender, LARGE)
            assert (await sender.send(SMALL)).code == 250, "it needs no new file"
            await sender.check(store)
            fillers[0].unlink()
            assert (await sender.send(LARGE)).code == 250
            await sender.check(store)


async def test_files_may_not_grow(where: Path) -> None:
    """RLIMIT_FSIZE (EFBIG)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    async with JSONFileStore(where) as store:
        sender = Sender(store)
        await sender.prepare()
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
            await fill(sender, SMALL)
            await fill(sender, LARGE)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        await sender.check(store)
        assert (await sender.send(SMALL)).code == (await sender.send(LARGE)).code == 250
        await sender.check(store)


async def test_read_only(where: Path) -> None:
    """A server that starts on a read-only disk answers 451, and accepts mail once the disk is writable."""
    with mounted(where, "-t", "tmpfs", "tmpfs"):
        async with JSONFileStore(where / "mail") as store:
            sender = Sender(store)
            await sender.prepare()
            assert (await sender.send()).code == 250
        await trio.run_process(["mount", "-o", "remount,ro", where])
        store = JSONFileStore(where / "mail")
        later = Sender(store)
        later.accepted = sender.accepted
        assert os.statvfs(where).f_flag & os.ST_RDONLY
        assert (await later.send()).code == 451
        await trio.run_process(["mount", "-o", "remount,rw", where])
        assert (await later.send()).code == 250
        await later.check(store)
        await store.aclose()


async def test_reading_where_nobody_may_write(where: Path) -> None:
    """A store that is read-only in one mount and writable in another: the reader sees all that the writer writes."""
    async with JSONFileStore(where.with_name("mail")) as store:
        sender = Sender(store)
        await sender.prepare()
        with mounted(where, "--bind", where.with_name("mail")):
            await trio.run_process(["mount", "-o", "remount,bind,ro", where])
            async with JSONFileStore(where, create=False) as reader:
                for kind in (SMALL, LARGE):
                    assert (await sender.send(kind)).code == 250
                    await sender.check(reader)
                await store.compact()
                await sender.check(reader)
                with pytest.raises(StoreUnavailable, match="Read-only file system"):
                    await reader.create_account("carl")
