"""The body that `Handler.message` gets: the message as it arrives, or whole, after the policies for content."""

from __future__ import annotations

import re
from collections.abc import Awaitable
from typing import Final

from trio_smtp.server.incoming import IncomingMessage
from trio_smtp.server.policies import PolicyHooks
from trio_smtp.server.spool import MessageMemory, Spool
from trio_smtp.trace import separator_before

__all__ = ["IncomingBody"]

_FIELD_NAME: Final = re.compile(r"[!-9;-~]+")  # RFC 5322 §3.6.8
_FIELD_VALUE: Final = re.compile(r"[\t\x20-\x7e]*")
_LINE_LIMIT: Final = 998  # octets of a header line without its CRLF: RFC 5322 §2.1.1


class IncomingBody:
    """See `Body`. It passes on the chunks of a message as they arrive. If the handler calls `read`, or there is a
    policy for content, it first gathers the whole message, and the handler gets nothing before that is done.

    Args:
        message: the incoming message.
        policies: of the connection.
        memory: for messages that are gathered.
    """

    __slots__ = ("_added", "_gathered", "_gathers", "_memory", "_message", "_policies", "_position", "spool")

    def __init__(self, message: IncomingMessage, policies: PolicyHooks, memory: MessageMemory) -> None:
        self._message = message
        self._policies = policies.content
        self._memory = memory
        self._gathers = bool(policies.content)
        self._gathered = False
        self._added = b""  # the fields that policies have put in front of it
        self._position = 0  # octets of the added fields and the message that the handler has read
        self.spool: Spool | None = None
        """The message, if it is gathered."""

    @property
    def was_read(self) -> bool:
        """Whether the reader has read it to its end, so that every policy has seen it."""
        return self._message.was_read and self._gathered is self._gathers

    def __aiter__(self) -> IncomingBody:
        return self

    def __anext__(self) -> Awaitable[bytes]:  # not itself a coroutine, which would cost time for each chunk
        return self._gathered_chunk() if self._gathers else self._message.__anext__()

    async def aclose(self) -> None:
        """The hook has returned: reading raises RuntimeError from now on."""
        self._message.is_over = True
        if self.spool is not None:
            await self.spool.aclose()

    async def read(self) -> bytes:
        """The whole message, or the part that has not been read yet; see `Body.read`."""
        spool = await self._gather()
        content = self._added + await self._message.ask(spool.read)  # no copy if nothing was added
        position, self._position = self._position, len(content)
        return content[position:]

    async def _gathered_chunk(self) -> bytes:
        spool = await self._gather()
        added, position = self._added, self._position
        chunk = added[position:] if position < len(added) else await spool.read_from(position - len(added))
        if not chunk:
            raise StopAsyncIteration
        self._position += len(chunk)
        return chunk

    async def _gather(self) -> Spool:
        """Receive the whole message, show it to the policies, and return it."""
        message = self._message
        spool = self.spool = self.spool or Spool(self._memory)
        if self._gathered and not message.is_over:
            return spool
        self._gathers = True  # from now on all reads use the spool, even if this reader gives up before the end
        async for chunk in message:
            await message.ask(spool.write, chunk)
        added = b""
        for hook in self._policies:
            fields = await message.ask(hook, message.session, message.envelope, spool)
            added += b"".join(map(_field, () if fields is None else fields))
        if added:
            added += separator_before(await message.ask(spool.read, 1))
        self._added = added
        self._gathered = True
        return spool


def _field(field: tuple[str, str]) -> bytes:
    """The line of a header field in a message.

    Raises:
        ValueError: if it is not valid as a header field of one line.
    """
    name, value = field
    line = f"{name}: {value}"
    if not _FIELD_NAME.fullmatch(name) or not _FIELD_VALUE.fullmatch(value) or len(line) > _LINE_LIMIT:
        raise ValueError(f"{line!r} is not a valid header field")
    return line.encode("ascii") + b"\r\n"
