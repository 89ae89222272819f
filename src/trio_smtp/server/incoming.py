"""An incoming message: reading it receives the octets from the client and shows the header to the policies."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Protocol, TypeVar

from trio_smtp.handler import MessageAborted, Refuse, Session
from trio_smtp.header_section import HeaderSection
from trio_smtp.protocol import (
    NEED_DATA,
    Envelope,
    Event,
    MessageChunk,
    MessageEnd,
    NoEvent,
    SMTPConnection,
    TransactionAborted,
)
from trio_smtp.server.answers import bare, check_consent
from trio_smtp.server.hooks import Hooks

__all__ = ["IncomingMessage", "Pump"]

_T = TypeVar("_T")

_OVER: Final = "the message can no longer be read, because the hook that received it has returned"


class Pump(Protocol):
    """What an incoming message needs from its session."""

    @property
    def connection(self) -> SMTPConnection:
        """The protocol core."""
        ...

    def has_had_its_turn(self) -> bool:
        """Count an event; return whether the session should let other tasks run now."""
        ...

    async def exchange(self) -> None:
        """Send pending replies, then wait for the client; the hook's clock is paused."""
        ...

    async def outside_hook(self, event: Event | NoEvent | None) -> None:
        """Answer a command between chunks or, for None, let other tasks run; the hook's clock is paused."""
        ...

    def start_commit_clock(self) -> None:
        """The message is complete: start the commit deadline."""
        ...


class IncomingMessage:
    """An iterator over the octets of a message, each once and in order.

    The hook's clock is paused while the session waits for the client; the last octet starts the commit deadline. A
    policy's refusal is raised where the handler reads. It is also kept, because it is the reply to the message whatever
    the handler does with the exception. A hook may give up reading (`trio.move_on_after`) and go on later: nothing is
    lost or skipped by that.

    Args:
        pump: the session that receives the message.
        session: the same session, as hooks see it.
        envelope: of the message.
        hooks: of the session, for their policies.
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
        self._held: bytes | None = None  # to be returned next, if the reader gives up while policies or other tasks run
        policies = hooks.policies
        self._header = HeaderSection(policies.header_bound) if policies.header else None  # None once it is complete
        self._unjudged: bytes | None = None  # the header, until all policies have seen it
        self.session = session
        self.envelope = envelope
        self.is_over = False
        """Whether the hook has returned. The connection goes on then, and the next octets are the next command."""
        self.complete = False
        """Whether all of it has come."""
        self.size = 0
        """How many octets of it have come."""
        self.aborted: TransactionAborted | None = None
        """Why it will never be complete, if so."""
        self.refusal: Refuse | None = None
        """The refusal of a policy, if there is one."""

    @property
    def was_read(self) -> bool:
        """Whether the reader has read it to its end."""
        return self.complete and self._held is None

    def __aiter__(self) -> IncomingMessage:
        return self

    async def __anext__(self) -> bytes:
        """The next octets of the message; the policies see the header before the reader gets the last of it.

        Raises:
            MessageAborted: if the message will not be completed.
            Refuse: if a policy refuses the message.
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
                raise MessageAborted(self.aborted.reason)
            connection = pump.connection
            if not self._began:
                self._began = True
                connection.accept()
            while chunk is None:
                event = connection.next_event()
                if type(event) is MessageChunk:
                    chunk = event.data
                    self.size += len(chunk)
                elif event is NEED_DATA:
                    await pump.exchange()
                elif type(event) is MessageEnd:
                    self.complete = True
                    pump.start_commit_clock()
                    chunk = b""
                elif type(event) is TransactionAborted:
                    self.aborted = event
                    raise MessageAborted(event.reason)
                elif self.is_over:  # the hook returned while this task waited
                    raise RuntimeError(_OVER)
                else:
                    await pump.outside_hook(event)
            if self._header is not None and (header := self._header.feed(chunk)) is not None:
                self._header = None
                self._unjudged = header
        if self._unjudged is not None:
            self._held = chunk
            for hook in self._hooks.policies.header:
                answer: object = await self.ask(hook, self.session, self.envelope, self._unjudged)
                check_consent(answer, hook)
            self._unjudged = None
        if chunk and pump.has_had_its_turn():
            self._held = chunk
            await pump.outside_hook(None)
        self._held = None
        if not chunk:
            raise StopAsyncIteration
        return chunk

    async def ask(self, question: Callable[..., Awaitable[_T]], *arguments: object) -> _T:
        """Call a hook of a policy, or the spool, and return the answer; a refusal is kept and raised."""
        try:
            return await question(*arguments)
        except StopAsyncIteration as error:  # it would end the reader's loop, as if the message ended here
            raise RuntimeError("a policy raised StopAsyncIteration") from error
        except Exception as error:
            if not isinstance(refusal := bare(error), Refuse):
                raise
            self._hooks.count_refusal(question, refusal)
            self.refusal = refusal
            raise refusal  # noqa: B904 - it is `error` itself, without the groups that nurseries put around it
