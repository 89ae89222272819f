"""The message as the handler reads it: reading pulls the octets through the connection, past the policies."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, Protocol, TypeVar

from trio_smtp.handler import MessageAborted, Refuse, Session
from trio_smtp.header_section import HeaderSection
from trio_smtp.policy.base import HEADER_BOUND
from trio_smtp.protocol import (
    NEED_DATA,
    AbortReason,
    Envelope,
    Event,
    MessageChunk,
    MessageEnd,
    NoEvent,
    SMTPConnection,
    TransactionAborted,
)
from trio_smtp.server.policies import PolicyHooks
from trio_smtp.server.spool import MessageMemory, Spool

__all__ = ["Incoming", "Pump", "ScreenedBody"]

_T = TypeVar("_T")

_FIELD_NAME: Final = re.compile(r"[!-9;-~]+")  # RFC 5322 §3.6.8
_FIELD_VALUE: Final = re.compile(r"[\t\x20-\x7e]*")
_LINE_LIMIT: Final = 998  # octets of a header line without its CRLF: RFC 5322 §2.1.1


class Pump(Protocol):
    """What a message needs of the session that it comes in by."""

    @property
    def connection(self) -> SMTPConnection:
        """The core."""
        ...

    def has_had_its_turn(self) -> bool:
        """To be asked once an event: whether it is for others to go on now."""
        ...

    async def give_way(self) -> None:
        """Let others go on."""
        ...

    async def exchange(self) -> None:
        """Send what is pending, then wait for the client."""
        ...

    async def dispatch(self, event: Event | NoEvent) -> None:
        """Answer a command that comes between chunks."""
        ...

    async def outside_hook(self, step: Callable[[], Awaitable[None]]) -> None:
        """Do this while the clock of the hook stands still."""
        ...

    def start_commit_clock(self) -> None:
        """The message is complete."""
        ...

    async def consult(self, question: Callable[..., Awaitable[_T]], *arguments: object) -> _T:
        """What the answer is; a refusal is counted."""
        ...


class Incoming:
    """One message on its way in, as it comes. Reading pulls it through the session.

    The hook's clock stops while the client is waited for; the last octet starts that of the commit. `began` says
    whether the client was told to send, `complete` whether all of it came and `size` how many octets that were,
    `aborted` why it never will.
    """

    __slots__ = ("_pump", "aborted", "began", "complete", "size")

    def __init__(self, pump: Pump) -> None:
        self._pump = pump
        self.began = False
        self.complete = False
        self.size = 0
        self.aborted: AbortReason | None = None

    async def next_chunk(self) -> bytes:
        """Some octets; ``b""`` at the end.

        Raises:
            MessageAborted: if there will be no end.
        """
        pump = self._pump
        connection = pump.connection
        if self.complete:
            return b""
        if self.aborted is not None:
            raise MessageAborted(self.aborted)
        if not self.began:
            self.began = True
            connection.accept()
        while True:
            event = connection.next_event()
            if pump.has_had_its_turn():
                await pump.outside_hook(pump.give_way)
            if type(event) is MessageChunk:
                return event.data
            if type(event) is MessageEnd:
                self.complete = True
                self.size = event.size
                pump.start_commit_clock()
                return b""
            if event is NEED_DATA:
                await pump.outside_hook(pump.exchange)
            elif type(event) is TransactionAborted:
                self.aborted = event.reason
                raise MessageAborted(event.reason)
            else:  # between the chunks of BDAT other commands may come
                await pump.outside_hook(partial(pump.dispatch, event))


class ScreenedBody:
    """What `Handler.message` gets as its body: the message, behind the policies that look at its header and content.

    A policy's refusal is raised where the handler reads, and kept in `refusal`, for it is the answer whatever the
    handler makes of it.

    Args:
        incoming: the message as it comes.
        pump: the session that it comes in by.
        session: the same, as hooks see it.
        envelope: of the message.
        hooks: the policies.
        memory: for messages that are kept whole.
    """

    __slots__ = (
        "_added",
        "_envelope",
        "_gathered",
        "_header",
        "_hooks",
        "_incoming",
        "_memory",
        "_position",
        "_pump",
        "_session",
        "_spool",
        "refusal",
    )

    def __init__(
        self,
        incoming: Incoming,
        pump: Pump,
        session: Session,
        envelope: Envelope,
        hooks: PolicyHooks,
        memory: MessageMemory,
    ) -> None:
        self._incoming = incoming
        self._pump = pump
        self._session = session
        self._envelope = envelope
        self._hooks = hooks
        self._memory = memory
        self._header = HeaderSection(HEADER_BOUND) if hooks.header else None  # until it was judged
        self._spool: Spool | None = None  # the message, if it is gathered before the handler has any of it
        self._gathered = False
        self._added = b""  # the fields that policies have put in front of it
        self._position = 0  # how much of both together the handler has had
        self.refusal: Refuse | None = None
        """A policy's, if there is one."""

    def __aiter__(self) -> ScreenedBody:
        return self

    async def __anext__(self) -> bytes:
        if self._hooks.content or self._gathered:
            chunk = await self._gathered_chunk()
        else:
            chunk = await self._screened_chunk()
        if not chunk:
            raise StopAsyncIteration
        return chunk

    async def read(self) -> bytes:
        """All of it at once, or what is left; see `Body.read`."""
        spool = await self._gather()
        content = await self._ask(spool.read)
        if self._added:
            content = self._added + content
        position, self._position = self._position, len(content)
        return content[position:] if position else content

    async def aclose(self) -> None:
        """Forget what was kept."""
        if self._spool is not None:
            await self._spool.aclose()

    async def _gathered_chunk(self) -> bytes:
        spool = await self._gather()
        added, position = self._added, self._position
        chunk = added[position:] if position < len(added) else await spool.read_from(position - len(added))
        self._position += len(chunk)
        return chunk

    async def _gather(self) -> Spool:
        """All of it, after a look at it by the policies."""
        spool = self._spool = self._spool or Spool(self._memory)
        if self._gathered:
            return spool
        while chunk := await self._screened_chunk():
            await self._ask(spool.write, chunk)
        for hook in self._hooks.content:
            fields = await self._ask(hook, self._session, self._envelope, spool)
            self._added += b"".join(map(_field, fields or ()))
        self._gathered = True
        return spool

    async def _screened_chunk(self) -> bytes:
        """The next chunk of the message, after a look at its header."""
        if self.refusal is not None:
            raise self.refusal
        chunk = await self._incoming.next_chunk()
        if self._header is not None and (header := self._header.feed(chunk)) is not None:
            self._header = None
            for hook in self._hooks.header:
                await self._ask(hook, self._session, self._envelope, header)
        return chunk

    async def _ask(self, question: Callable[..., Awaitable[_T]], *arguments: object) -> _T:
        try:
            return await self._pump.consult(question, *arguments)
        except Refuse as refusal:
            self.refusal = refusal
            raise


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
