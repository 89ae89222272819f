"""What `Handler.message` gets as its body: the message as it comes in, or all of it, past the policies for content."""

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
    """See `Body`. It hands on the chunks of a message as they come, unless somebody wants all of it at once: the
    handler, by `read`, or a policy for content, of which the handler then gets nothing before all of it is here.

    Args:
        message: the message on its way in.
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
        self._position = 0  # how much of both together the handler has had
        self.spool: Spool | None = None
        """The message, if it is gathered."""

    @property
    def was_read(self) -> bool:
        """Whether the reader got to its end, and so every policy has seen it."""
        return self._message.was_read and self._gathered is self._gathers

    def __aiter__(self) -> IncomingBody:
        return self

    def __anext__(self) -> Awaitable[bytes]:  # no coroutine of its own, which each chunk would have to pass through
        return self._gathered_chunk() if self._gathers else self._message.__anext__()

    async def aclose(self) -> None:
        """The hook is over: who has kept this reads nothing more."""
        self._message.is_over = True
        if self.spool is not None:
            await self.spool.aclose()

    async def read(self) -> bytes:
        """All of it at once, or what is left; see `Body.read`."""
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
        """All of it, after a look at it by the policies."""
        message = self._message
        spool = self.spool = self.spool or Spool(self._memory)
        if self._gathered and not message.is_over:
            return spool
        self._gathers = True  # from now on all goes this way, even if the reader gives up before the end
        async for chunk in message:
            await message.ask(spool.write, chunk)
        added = b""
        for hook in self._policies:
            fields = await message.ask(hook, message.session, message.envelope, spool)
            added += b"".join(map(_field, fields or ()))
        if added:
            added += separator_before(await message.ask(spool.read, 1))
        self._added = added
        self._gathered = True
        return spool


def _field(field: tuple[str, str]) -> bytes:
    """A header field as it stands in the message.

    Raises:
        ValueError: if it cannot stand there.
    """
    name, value = field
    line = f"{name}: {value}"
    if not _FIELD_NAME.fullmatch(name) or not _FIELD_VALUE.fullmatch(value) or len(line) > _LINE_LIMIT:
        raise ValueError(f"not a header field: {line!r}")
    return line.encode("ascii") + b"\r\n"
