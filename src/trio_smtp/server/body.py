"""The message as the handler reads it: reading pulls the octets through the connection, past the policies."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
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
from trio_smtp.server.answers import bare
from trio_smtp.server.hooks import Hooks
from trio_smtp.server.spool import MessageMemory, Spool
from trio_smtp.trace import separator_before

__all__ = ["IncomingBody", "Pump"]

_T = TypeVar("_T")

_FIELD_NAME: Final = re.compile(r"[!-9;-~]+")  # RFC 5322 §3.6.8
_FIELD_VALUE: Final = re.compile(r"[\t\x20-\x7e]*")
_OVER: Final = "a message can be read only while the hook runs that it was given to"
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

    async def exchange(self) -> None:
        """Send what is pending, then wait for the client, while the clock of the hook stands still."""
        ...

    async def outside_hook(self, event: Event | NoEvent | None) -> None:
        """Answer a command that comes between chunks, or let others go on, while the clock of the hook stands still."""
        ...

    def start_commit_clock(self) -> None:
        """The message is complete."""
        ...


class IncomingBody:
    """What `Handler.message` gets as its body: the message on its way in.

    The hook's clock stops while the client is waited for; the last octet starts that of the commit. A policy's refusal
    is raised where the handler reads, and kept, for it is the answer whatever the handler makes of it. A hook may give
    up reading (`trio.move_on_after`) and go on later: nothing is lost or skipped by that.

    Args:
        pump: the session that the message comes in by.
        session: the same, as hooks see it.
        envelope: of the message.
        hooks: of the session, for the policies among them.
        memory: for messages that are kept whole.
    """

    __slots__ = (
        "_added",
        "_began",
        "_envelope",
        "_gathered",
        "_gathers",
        "_header",
        "_held",
        "_hooks",
        "_memory",
        "_over",
        "_position",
        "_pump",
        "_session",
        "_unjudged",
        "aborted",
        "complete",
        "refusal",
        "size",
        "spool",
    )

    def __init__(self, pump: Pump, session: Session, envelope: Envelope, hooks: Hooks, memory: MessageMemory) -> None:
        self._pump = pump
        self._session = session
        self._envelope = envelope
        self._hooks = hooks
        self._memory = memory
        self._began = False  # the client was told to send
        self._over = False  # the hook has returned, and the connection goes on
        self._held: bytes | None = (
            None  # what the reader has still to get: it gave up while others were asked or served
        )
        self._header = HeaderSection(HEADER_BOUND) if hooks.policies.header else None  # until it was seen
        self._unjudged: bytes | None = None  # the header, until all policies have had a look at it
        self._gathers = bool(hooks.policies.content)  # the handler has none of it before all of it is here
        self._gathered = False
        self._added = b""  # the fields that policies have put in front of it
        self._position = 0  # how much of both together the handler has had
        self.spool: Spool | None = None
        """The message, if it is gathered."""
        self.complete = False
        """Whether all of it has come."""
        self.size = 0
        """How many octets it has, once it is complete."""
        self.aborted: AbortReason | None = None
        """Why it will never be complete."""
        self.refusal: Refuse | None = None
        """A policy's, if there is one."""

    @property
    def was_read(self) -> bool:
        """Whether the reader got to its end, and so every policy has seen it."""
        return self.complete and self._held is None and self._gathered is self._gathers

    def __aiter__(self) -> IncomingBody:
        return self

    async def __anext__(self) -> bytes:
        chunk = await (self._gathered_chunk() if self._gathers else self._next_chunk())
        if not chunk:
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        """The hook is over: who has kept this reads nothing more, or it would be the next command."""
        self._over = True
        if self.spool is not None:
            await self.spool.aclose()

    async def read(self) -> bytes:
        """All of it at once, or what is left; see `Body.read`."""
        spool = await self._gather()
        content = await self._ask(spool.read)
        if self._added:
            content = self._added + content
        position, self._position = self._position, len(content)
        return content[position:] if position else content

    async def _gathered_chunk(self) -> bytes:
        spool = await self._gather()
        added, position = self._added, self._position
        chunk = added[position:] if position < len(added) else await spool.read_from(position - len(added))
        self._position += len(chunk)
        return chunk

    async def _gather(self) -> Spool:
        """All of it, after a look at it by the policies."""
        spool = self.spool = self.spool or Spool(self._memory)
        if self._gathered and not self._over:
            return spool
        self._gathers = True  # from now on all goes this way, even if the reader gives up before the end
        while chunk := await self._next_chunk():
            await self._ask(spool.write, chunk)
        added = b""
        for hook in self._hooks.policies.content:
            fields = await self._ask(hook, self._session, self._envelope, spool)
            added += b"".join(map(_field, fields or ()))
        if added:
            added += separator_before(await self._ask(spool.read, 1))
        self._added = added
        self._gathered = True
        return spool

    async def _next_chunk(self) -> bytes:
        """Some octets of the message, after a look at its header; ``b""`` at the end.

        Raises:
            MessageAborted: if there will be no end.
            Refuse: of a policy.
            RuntimeError: if the hook has returned.
        """
        if self._over:
            raise RuntimeError(_OVER)
        if self.refusal is not None:
            raise self.refusal
        pump = self._pump
        chunk = self._held
        if chunk is None:
            if self.complete:
                return b""
            if self.aborted is not None:
                raise MessageAborted(self.aborted)
            connection = pump.connection
            if not self._began:
                self._began = True
                connection.accept()
            while chunk is None:
                event = connection.next_event()
                if type(event) is MessageChunk:
                    chunk = event.data
                elif event is NEED_DATA:
                    await pump.exchange()
                elif type(event) is MessageEnd:
                    self.complete = True
                    self.size = event.size
                    pump.start_commit_clock()
                    chunk = b""
                elif type(event) is TransactionAborted:
                    self.aborted = event.reason
                    raise MessageAborted(event.reason)
                elif self._over:  # while this task waited
                    raise RuntimeError(_OVER)
                else:
                    await pump.outside_hook(event)
            if self._header is not None and (header := self._header.feed(chunk)) is not None:
                self._header = None
                self._unjudged = header
        if self._unjudged is not None:
            self._held = chunk
            for hook in self._hooks.policies.header:
                await self._ask(hook, self._session, self._envelope, self._unjudged)
            self._unjudged = None
        if chunk and pump.has_had_its_turn():
            self._held = chunk
            await pump.outside_hook(None)
        self._held = None
        return chunk

    async def _ask(self, question: Callable[..., Awaitable[_T]], *arguments: object) -> _T:
        try:
            return await question(*arguments)
        except Exception as error:
            if not isinstance(refusal := bare(error), Refuse):
                raise
            self._hooks.count_refusal(question, refusal)
            self.refusal = refusal
            raise refusal  # noqa: B904 - this is it, out of what nurseries have put round it


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
