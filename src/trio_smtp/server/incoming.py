"""A message on its way in: reading it pulls the octets through the connection, past the policies for its header."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Protocol, TypeVar

from trio_smtp.handler import MessageAborted, Refuse, Session
from trio_smtp.header_section import HeaderSection
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

__all__ = ["IncomingMessage", "Pump"]

_T = TypeVar("_T")

_OVER: Final = "a message can be read only while the hook runs that it was given to"


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


class IncomingMessage:
    """The octets of a message, each once and in order.

    The hook's clock stops while the client is waited for; the last octet starts that of the commit. A policy's refusal
    is raised where the handler reads, and kept, for it is the answer whatever the handler makes of it. A hook may give
    up reading (`trio.move_on_after`) and go on later: nothing is lost or skipped by that.

    Args:
        pump: the session that the message comes in by.
        session: the same, as hooks see it.
        envelope: of the message.
        hooks: of the session, for the policies among them.
    """

    __slots__ = (
        "_began",
        "_header",
        "_held",
        "_hooks",
        "_pump",
        "_unjudged",
        "aborted",
        "complete",
        "envelope",
        "is_over",
        "refusal",
        "session",
        "size",
    )

    def __init__(self, pump: Pump, session: Session, envelope: Envelope, hooks: Hooks) -> None:
        self._pump = pump
        self._hooks = hooks
        self._began = False  # the client was told to send
        self._held: bytes | None = None  # still to be returned: the reader gave up while others were asked or served
        policies = hooks.policies
        self._header = HeaderSection(policies.header_bound) if policies.header else None  # until it was seen
        self._unjudged: bytes | None = None  # the header, until all policies have had a look at it
        self.session = session
        self.envelope = envelope
        self.is_over = False
        """The hook has returned, and the connection goes on: what is read now would be the next command."""
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
        """Whether the reader got to its end."""
        return self.complete and self._held is None

    def __aiter__(self) -> IncomingMessage:
        return self

    async def __anext__(self) -> bytes:
        """Some octets of the message, after a look at its header.

        Raises:
            MessageAborted: if there will be no end.
            Refuse: of a policy.
            RuntimeError: if the hook has returned.
        """
        if self.is_over:
            raise RuntimeError(_OVER)
        if self.refusal is not None:
            raise self.refusal
        pump = self._pump
        chunk = self._held
        if chunk is None:
            if self.complete:
                raise StopAsyncIteration
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
                elif self.is_over:  # while this task waited
                    raise RuntimeError(_OVER)
                else:
                    await pump.outside_hook(event)
            if self._header is not None and (header := self._header.feed(chunk)) is not None:
                self._header = None
                self._unjudged = header
        if self._unjudged is not None:
            self._held = chunk
            for hook in self._hooks.policies.header:
                await self.ask(hook, self.session, self.envelope, self._unjudged)
            self._unjudged = None
        if chunk and pump.has_had_its_turn():
            self._held = chunk
            await pump.outside_hook(None)
        self._held = None
        if not chunk:
            raise StopAsyncIteration
        return chunk

    async def ask(self, question: Callable[..., Awaitable[_T]], *arguments: object) -> _T:
        """The answer to a question to a policy; what it raises is kept if it is a refusal."""
        try:
            return await question(*arguments)
        except StopAsyncIteration as error:  # it would end the loop of who reads, as if the message ended here
            raise RuntimeError("a policy raised StopAsyncIteration") from error
        except Exception as error:
            if not isinstance(refusal := bare(error), Refuse):
                raise
            self._hooks.count_refusal(question, refusal)
            self.refusal = refusal
            raise refusal  # noqa: B904 - this is it, out of what nurseries have put round it
