"""`ScriptedClient` with scripted servers: it must fail where a test has to fail."""

from __future__ import annotations

import pytest
import trio
from trio.testing import memory_stream_pair

from tests.server.tools import TRANSACTION, Recorder, handler_with, take
from trio_smtp.handler import Mail, Refuse
from trio_smtp.protocol import Config
from trio_smtp.testing import ClientReply, ScriptedClient, open_session


async def scripted(octets: bytes) -> ScriptedClient:
    """Return a client whose server has sent these octets and closed the connection."""
    ours, theirs = memory_stream_pair()
    await theirs.send_all(octets)
    await theirs.send_eof()
    return ScriptedClient(ours)


# --- replies


@pytest.mark.parametrize(
    ("octets", "reply"),
    [
        (b"220 mx.example.com ESMTP\r\n", (220, ("mx.example.com ESMTP",))),
        (b"250-first\r\n250-second\r\n250 third\r\n", (250, ("first", "second", "third"))),
        (b"250-\r\n250 \r\n", (250, ("", ""))),
        (b"354 go on\r\n", (354, ("go on",))),
        (b"250\r\n", (250, ("",))),  # RFC 5321 §4.2
        (b"250-first\r\n250\r\n", (250, ("first", ""))),
    ],
)
async def test_read_reply(octets: bytes, reply: ClientReply) -> None:
    assert await (await scripted(octets)).read_reply() == reply


@pytest.mark.parametrize(
    "octets",
    [
        b"hello\r\n",
        b"25 x\r\n",
        b"250x\r\n",
        b"250=x\r\n",
        b"650 x\r\n",
        b"250-x\r\n251 y\r\n",
        b"\r\n",
        b"250 a\nb\r\n",
        b"250 \x1b[2J\r\n",
        "250 Grüße\r\n".encode(),
        b"250 Gr\xfc\xdfe\r\n",
    ],
)
async def test_what_is_no_reply_fails(octets: bytes) -> None:
    with pytest.raises(AssertionError):
        await (await scripted(octets)).read_reply()


@pytest.mark.parametrize("octets", [b"", b"250", b"250 OK", b"250-OK\r\n"])
async def test_the_end_instead_of_a_reply(octets: bytes) -> None:
    with pytest.raises(EOFError):
        await (await scripted(octets)).read_reply()


async def test_replies_may_come_in_pieces_and_together() -> None:
    ours, theirs = memory_stream_pair()
    client = ScriptedClient(ours)
    async with trio.open_nursery() as nursery:

        async def say() -> None:
            for piece in (b"2", b"50 one\r", b"\n250-two\r\n250 two\r\n25", b"0 three\r\n"):
                await theirs.send_all(piece)
                await trio.testing.wait_all_tasks_blocked()

        nursery.start_soon(say)
        assert [str(reply) for reply in await client.expect("250", "250 tw", "250 three")] == [
            "250 one",
            "250 two",
            "250 three",
        ]


# --- expectations


async def test_expect_fails_on_another_reply() -> None:
    client = await scripted(b"250 2.1.0 OK\r\n550 5.1.1 No\r\n")
    with pytest.raises(AssertionError, match=r"'550 5\.1\.1 No' instead of '250'"):
        await client.expect("250 2.1.0", "250")


async def test_expect_close() -> None:
    await (await scripted(b"221 Bye\r\n")).expect_close("221")
    await (await scripted(b"")).expect_close()


@pytest.mark.parametrize("octets", [b"221 Bye\r\n250 more\r\n", b"221 Bye\r\n2"])
async def test_expect_close_fails_if_there_is_more(octets: bytes) -> None:
    with pytest.raises(AssertionError, match="instead of the end"):
        await (await scripted(octets)).expect_close("221")


async def test_rest() -> None:
    assert await (await scripted(b"")).rest() == []
    assert [reply.code for reply in await (await scripted(b"250 a\r\n221 b\r\n")).rest()] == [250, 221]


# --- a session


async def test_send_mail() -> None:
    mails: list[Mail] = []

    async def on_mail(mail: Mail) -> None:
        mails.append(mail)

    contents = [b"", b"a\r\n", b".\r\n", b"..\r\n.x\r\n", b"no end of line", b"\r\n"]
    async with open_session(on_mail) as client:
        await client.expect("220")
        await client.command("EHLO client.example")
        for content in contents:
            reply = await client.send_mail("ann@example.com", ["bob@example.com", "eve@example.com"], content)
            assert reply.code == 250
    assert [mail.content for mail in mails] == [b"no end of line\r\n" if c == contents[4] else c for c in contents]
    assert [str(recipient) for recipient in mails[0].recipients] == ["bob@example.com", "eve@example.com"]


async def test_send_mail_doubles_a_dot_behind_crlf_only() -> None:
    mails: list[Mail] = []

    async def on_mail(mail: Mail) -> None:
        mails.append(mail)

    content = b".a\n.b\r.c\r\n.d\r\n"
    async with open_session(on_mail, config=Config(bare_newline="keep")) as client:
        await client.expect("220")
        await client.command("EHLO client.example")
        await client.send_mail("ann@example.com", ["bob@example.com"], content)
    assert mails[0].content == content


@pytest.mark.parametrize("hook", ["mail", "rcpt", "message"])
async def test_send_mail_gives_the_first_refusal(hook: str) -> None:
    async def refuse(*arguments: object) -> None:
        raise Refuse(550, hook)

    async with open_session(handler_with(**{hook: refuse})) as client:
        await client.expect("220")
        await client.command("EHLO client.example")
        assert str(await client.send_mail("ann@example.com", ["bob@example.com"], b"")) == f"550 5.0.0 {hook}"


async def test_a_session_ends_with_its_block() -> None:
    recorder = Recorder()
    async with open_session(recorder.factory) as client:
        await client.expect("220")
        await client.command("EHLO client.example")
        await client.send(TRANSACTION)
        await client.expect("250", "250")
    assert recorder.calls[-2:] == ["reset EOF", "close"]


async def test_a_failing_block_ends_the_session_too() -> None:
    recorder = Recorder()
    with pytest.raises(ZeroDivisionError):
        async with open_session(recorder.factory) as client:
            await client.expect("220")
            raise ZeroDivisionError
    assert recorder.calls == ["connect", "close"]


async def test_half_closing() -> None:
    async with open_session(take) as client:
        await client.send(b"NOOP\r\n")
        await client.send_eof()
        await client.expect_close("220", "250")
