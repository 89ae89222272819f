r"""A client for tests that spell out the dialogue: it sends any octets, however wrong, and hides no reply.

For example::

    async with open_session(on_mail) as client:
        await client.expect("220")
        await client.send(b"EHLO client.example\r\nMAIL FROM:<ann@example.com>\r\nRCPT TO:<nobody@example.com>\r\n")
        await client.expect("250", "250 2.1.0", "550 5.1.1")
"""

from __future__ import annotations

import re
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, Self, Unpack

import trio
import trio.testing

from trio_smtp.server import AnyHandler, SessionOptions, serve_stream
from trio_smtp.server.nurseries import open_bare_nursery

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["ClientReply", "ScriptedClient", "open_session"]

_LINE: Final = re.compile(r"([2-5][0-9]{2})(?:([ -])([\t -~]*))?")  # RFC 5321 §4.2
_DOT_LINE: Final = re.compile(rb"(\A|\r\n)\.")


class ClientReply(NamedTuple):
    """A reply as a client sees it; `str()` gives its code and first line."""

    code: int
    lines: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.code} {self.lines[0]}"


class ScriptedClient:
    """A client over any stream.

    Args:
        stream: the connection, which `aclose` closes.
    """

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self._received = b""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connection without QUIT."""
        await self.stream.aclose()

    async def send(self, data: bytes) -> None:
        """Send these octets as they are."""
        await self.stream.send_all(data)

    async def send_eof(self) -> None:
        """Close the sending direction; replies can still be read. Not possible inside TLS."""
        assert isinstance(self.stream, trio.abc.HalfCloseableStream)
        await self.stream.send_eof()

    async def command(self, line: str) -> ClientReply:
        """Send one line and wait for its reply."""
        await self.send(line.encode() + b"\r\n")
        return await self.read_reply()

    async def read_reply(self) -> ClientReply:
        """The next reply. Its last line may be the code alone.

        Raises:
            EOFError: if the connection ends before a whole reply.
            AssertionError: if the server sends something that is not an SMTP reply (RFC 5321 §4.2).
        """
        lines: list[str] = []
        codes = set[str]()
        while True:
            text = await self._read_line()
            match = _LINE.fullmatch(text)
            assert match is not None, f"not a line of a reply: {text!r}"
            code, separator, rest = match.groups("")
            codes.add(code)
            lines.append(rest)
            if separator != "-":
                assert len(codes) == 1, f"a reply with the codes {sorted(codes)}"
                return ClientReply(int(code), tuple(lines))

    async def expect(self, *beginnings: str) -> list[ClientReply]:
        """Read one reply for each of `beginnings`, such as ``"250 2.1.5"``, and check that it starts with that."""
        replies: list[ClientReply] = []
        for beginning in beginnings:
            reply = await self.read_reply()
            assert str(reply).startswith(beginning), f"{str(reply)!r} instead of {beginning!r}"
            replies.append(reply)
        return replies

    async def rest(self) -> list[ClientReply]:
        """All replies until the server closes the connection."""
        replies: list[ClientReply] = []
        try:
            while True:
                replies.append(await self.read_reply())
        except EOFError:
            return replies

    async def expect_close(self, *beginnings: str) -> None:
        """As `expect`, and check that the server then closes the connection."""
        await self.expect(*beginnings)
        received = self._received or await self.stream.receive_some()
        assert not received, f"{bytes(received)!r} instead of the end"

    async def send_mail(self, sender: str, recipients: Sequence[str], content: bytes) -> ClientReply:
        """Send a message by MAIL, RCPT and DATA, with dot-stuffing (RFC 5321 §4.5.2).

        Returns:
            The first refusal, else the reply to the message (in LMTP the first of several). After a refusal before DATA
            the transaction is still open; send RSET to end it.
        """
        for line in (f"MAIL FROM:<{sender}>", *(f"RCPT TO:<{recipient}>" for recipient in recipients), "DATA"):
            reply = await self.command(line)
            if reply.code >= 400:
                return reply
        if content and not content.endswith(b"\r\n"):
            content += b"\r\n"
        await self.send(_DOT_LINE.sub(rb"\1..", content) + b".\r\n")
        return await self.read_reply()

    async def start_tls(self, context: ssl.SSLContext, server_hostname: str) -> None:
        """Do the TLS handshake: after the 220 to STARTTLS, or at the start of an implicit TLS connection."""
        tls = trio.SSLStream(self.stream, context, server_hostname=server_hostname)
        await tls.do_handshake()
        self.stream = tls

    async def _read_line(self) -> str:
        while (end := self._received.find(b"\r\n")) < 0:
            received = await self.stream.receive_some()
            if not received:
                raise EOFError(f"the server closed the connection after {self._received!r}")
            self._received += received
        line, self._received = self._received[:end], self._received[end + 2 :]
        return line.decode("utf-8", "replace")


@asynccontextmanager
async def open_session(handler: AnyHandler, **options: Unpack[SessionOptions]) -> AsyncIterator[ScriptedClient]:
    """One session in memory, with a client here and `handler` at the other end.

    Leaving the block closes the connection and waits for the end of the session. An exception from the block, or from a
    hook with ``on_error="raise"``, is raised as it is, not in an exception group.

    Args:
        handler: see `serve_smtp`.
        **options: see `SessionOptions`.
    """
    ours, theirs = trio.testing.memory_stream_pair()
    async with open_bare_nursery() as nursery:
        nursery.start_soon(partial(serve_stream, handler, theirs, **options))
        async with ScriptedClient(ours) as client:
            yield client
