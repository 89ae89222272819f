"""Spools, which hold whole messages: the memory they take, when they go to disk, and that no file is left."""

from __future__ import annotations

import errno
import io
import tempfile
from typing import Any

import pytest
import trio

from tests.server.tools import TRANSACTION, begin, connected, deliver, handler_with
from trio_smtp.handler import Body, Mail, Refuse
from trio_smtp.protocol import Envelope
from trio_smtp.server import open_server
from trio_smtp.server.body import IncomingBody
from trio_smtp.server.spool import MessageMemory, Spool
from trio_smtp.testing.client import open_session


async def filled(memory: MessageMemory, *chunks: bytes) -> Spool:
    spool = Spool(memory)
    for chunk in chunks:
        await spool.write(chunk)
    return spool


async def pieces(spool: Spool) -> bytes:
    return b"".join([chunk async for chunk in spool])


@pytest.mark.parametrize("octets", [1 << 30, 10])
@pytest.mark.parametrize("chunks", [[], [b""], [b"abc"], [b"abc", b"defghij" * 10, b"k"], [b"x" * 3_000_000, b"y"]])
async def test_it_gives_back_what_was_written(chunks: list[bytes], octets: int) -> None:
    """In memory, or on disk because there is too little memory."""
    memory, content = MessageMemory(octets), b"".join(chunks)
    spool = await filled(memory, *chunks)
    assert spool.size == len(content)
    for _ in range(2):
        assert await pieces(spool) == content
        assert await spool.read(2) == content[:2]
        assert await spool.read() == content
    assert await spool.read_from(len(content)) == b""
    await spool.aclose()
    assert (memory.coming, memory.whole) == (0, 0)


async def test_what_comes_in_leaves_half_of_the_memory_for_what_has_come_in() -> None:
    memory = MessageMemory(1000)
    slow = [await filled(memory, b"x" * 300) for _ in range(3)]
    assert memory.coming == 300, "one in memory, for which there was room, two on the disk"
    assert await slow[2].read() == b"x" * 300
    assert memory.whole == 300
    with pytest.raises(Refuse) as raised:
        await slow[1].read()
    assert raised.value.reply.code == 452
    assert raised.value.rule == "message-memory"
    await slow[2].aclose()
    assert await slow[1].read() == b"x" * 300
    for spool in slow:
        await spool.aclose()
    assert (memory.coming, memory.whole) == (0, 0)


async def test_one_message_is_let_in_whatever_its_size() -> None:
    memory = MessageMemory(10)
    spool = await filled(memory, b"x" * 1000)
    assert await spool.read() == b"x" * 1000
    await spool.aclose()


async def test_several_are_let_in_while_there_is_room_for_all() -> None:
    memory = MessageMemory(1000)
    spools = [await filled(memory, b"x" * 501) for _ in range(2)]
    first = await filled(memory, b"x" * 250)
    assert memory.take_for_coming(250)  # no memory for more of them
    spools += [await filled(memory, b"x" * 250) for _ in range(2)]
    assert [len(await spool.read()) for spool in spools[2:]] == [250, 250]
    for spool in spools[:2]:
        with pytest.raises(Refuse):
            await spool.read()
    for spool in (first, *spools):
        await spool.aclose()


async def test_what_is_read_in_pieces_takes_no_memory() -> None:
    memory = MessageMemory(10)
    spool = await filled(memory, b"x" * 1000)
    assert await pieces(spool) == b"x" * 1000
    assert await spool.read(100) == b"x" * 100
    assert memory.whole == 0
    await spool.aclose()


async def test_the_file_is_closed_even_if_the_reader_is_cancelled() -> None:
    spool = await filled(MessageMemory(10), b"x" * 1000)
    with trio.CancelScope() as scope:
        scope.cancel()
        await spool.aclose()
    assert spool._file is not None
    assert spool._file.closed


async def test_a_very_large_message_takes_no_memory_while_it_comes_in() -> None:
    memory = MessageMemory(1 << 30)
    spool = await filled(memory, *[bytes(1 << 20)] * 8)
    assert memory.coming == 8 << 20
    await spool.write(b"x")
    assert memory.coming == 0
    assert await spool.read(1 << 20) == bytes(1 << 20)
    await spool.aclose()


async def test_what_goes_to_the_disk_is_written_in_large_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []

    def append(spool: Spool) -> None:
        written.append(spool._in_chunks)
        spool_append(spool)

    spool_append = Spool._append
    monkeypatch.setattr(Spool, "_append", append)
    spool = await filled(MessageMemory(10), *[b"x" * (1 << 16)] * 40)
    assert written == [1 << 16, 1 << 20, 1 << 20], "the first, for which there was no room, and then a MiB at a time"
    assert await spool.read() == b"x" * (40 << 16)
    await spool.aclose()


async def test_what_is_written_after_a_read_is_appended() -> None:
    spool = await filled(MessageMemory(10), b"a" * 100)
    assert await spool.read(2) == b"aa"
    await spool.write(b"b")
    assert await spool.read() == b"a" * 100 + b"b"
    await spool.aclose()


async def test_many_small_chunks_take_no_more_memory_than_their_octets() -> None:
    spool = await filled(MessageMemory(1 << 20), *[b"x"] * 20_000)
    assert len(spool._chunks) < 5_000
    assert await spool.read() == b"x" * 20_000
    await spool.aclose()


@pytest.mark.parametrize("failing", ["create", "write", "flush"])
async def test_a_full_disk_is_a_452(
    failing: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Either the file cannot be created, or writing to it fails, at once or later; the file is closed then."""
    files: list[io.BytesIO] = []

    class Full(io.BytesIO):
        def write(self, _: object) -> int:
            raise OSError(28, "No space left on device")

    def make() -> io.BytesIO | io.BufferedRandom:
        if failing == "create":
            raise OSError(28, "No space left on device")
        files.append(file := Full())
        return io.BufferedRandom(file) if failing == "flush" else file  # type: ignore[arg-type]  # as good as a raw file

    monkeypatch.setattr(tempfile, "TemporaryFile", make)

    async def on_mail(mail: Mail) -> None:
        raise AssertionError("it cannot be read")

    async with open_server(on_mail, message_memory=100) as server, connected(server) as client:
        await begin(client)
        await client.send(TRANSACTION + b"DATA\r\n" + b"x" * 1000 + b"\r\n.\r\n")
        await client.expect("250", "250", "354", "452 4.3.1")
    assert server.stats.rules == {"message-memory": 1}
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == [
        "no room to keep a large message: [Errno 28] No space left on device"
    ]
    assert [each.closed for each in files] == [True] * (failing != "create")


async def test_a_server_leaves_nothing_behind(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an accepted message, one that its handler refused, and one whose client went away."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    content = b"x" * 2_000_000 + b"\r\n"
    sizes: list[int] = []

    async def on_mail(mail: Mail) -> None:
        sizes.append(len(mail.content))
        if len(sizes) == 2:
            raise Refuse(550, "No")

    async with open_server(on_mail, message_memory=1000) as server:
        async with connected(server) as client:
            await begin(client)
            await deliver(client, content)
            assert (await client.send_mail("ann@example.com", ["bob@example.com"], content)).code == 550
            await client.send(TRANSACTION + b"DATA\r\n" + content)
        memory = server._settings.memory
    assert sizes == [len(content)] * 2
    assert (memory.coming, memory.whole) == (0, 0)
    assert list(tmp_path.iterdir()) == []


class Unwritten:
    """A file whose close() fails for want of room, as if it still had octets to write."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def close(self) -> None:
        if not self._file.closed:
            self._file.close()
            raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("fault", ["file", "thread"])
async def test_a_message_that_was_committed_is_answered_though_its_file_cannot_be_closed(
    fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing may also fail because no thread can be started to do it."""

    async def no_thread(*_: Any, **__: Any) -> None:
        raise RuntimeError("can't start new thread")

    async def message(envelope: Envelope, body: Body) -> None:
        await body.read()
        assert isinstance(body, IncomingBody)
        assert body.spool is not None
        if fault == "file":
            body.spool._file = Unwritten(body.spool._file)  # type: ignore[assignment]  # only its close() is called
        else:
            monkeypatch.setattr(trio.to_thread, "run_sync", no_thread)

    async with open_session(handler_with(message=message), message_memory=1) as client:
        await begin(client)
        await deliver(client)
        monkeypatch.undo()
        assert (await client.command("NOOP")).code == 250
