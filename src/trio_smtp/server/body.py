"""The message as the handler reads it: reading pulls the octets through the connection."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from trio_smtp.handler import MessageAborted
from trio_smtp.protocol import (
    NEED_DATA,
    AbortReason,
    MessageChunk,
    MessageEnd,
    TransactionAborted,
)

if TYPE_CHECKING:
    from trio_smtp.server.session import ServerSession

__all__ = ["Incoming"]


class Incoming:
    """One message on its way in; what `Handler.message` gets as its body. Reading pulls it through `session`.

    The hook's clock stops while the client is waited for; the last octet starts that of the commit. `began` says
    whether the client was told to send, `complete` whether all of it came and `size` how many octets that were,
    `aborted` why it never will.
    """

    __slots__ = ("_session", "aborted", "began", "complete", "size")

    def __init__(self, session: ServerSession) -> None:
        self._session = session
        self.began = False
        self.complete = False
        self.size = 0
        self.aborted: AbortReason | None = None

    def __aiter__(self) -> Incoming:
        return self

    async def __anext__(self) -> bytes:
        session = self._session
        connection = session.connection
        if self.complete:
            raise StopAsyncIteration
        if self.aborted is not None:
            raise MessageAborted(self.aborted)
        if not self.began:
            self.began = True
            connection.accept()
        while True:
            event = connection.next_event()
            if session.has_had_its_turn():
                await session.outside_hook(session.give_way)
            if type(event) is MessageChunk:
                return event.data
            if type(event) is MessageEnd:
                self.complete = True
                self.size = event.size
                session.start_commit_clock()
                raise StopAsyncIteration
            if event is NEED_DATA:
                await session.outside_hook(session.exchange)
            elif type(event) is TransactionAborted:
                self.aborted = event.reason
                raise MessageAborted(event.reason)
            else:  # between the chunks of BDAT other commands may come
                await session.outside_hook(partial(session.dispatch, event))

    async def read(self) -> bytes:
        """All of it at once; see `Body.read`."""
        chunks = [chunk async for chunk in self]
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)
