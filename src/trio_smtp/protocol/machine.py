"""What both sides of a connection share: its state, the waiting event, pending replies, and how transactions end.

`Dialogue` adds one side, the input from the client, and `SMTPConnection` the other, the answers of the application.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from trio_smtp.protocol import replies
from trio_smtp.protocol.config import Config
from trio_smtp.protocol.envelope import Envelope
from trio_smtp.protocol.events import (
    AbortReason,
    CloseReason,
    ConnectionClosed,
    Event,
    Hello,
    MailFrom,
    NoEvent,
    RcptTo,
    TransactionAborted,
)
from trio_smtp.protocol.readers import ChunkReader, DotReader
from trio_smtp.protocol.replies import Reply
from trio_smtp.protocol.states import State, Trigger

__all__ = ["Machine", "Mode"]

# CPython 3.11 looks up a member of an Enum in Python code, which would cost each message 0.2 us.
_MAIL, _RCPT, _END = Trigger.MAIL, Trigger.RCPT, Trigger.END
_ABORT_REASONS: Final = {CloseReason.QUIT: AbortReason.QUIT, CloseReason.EOF: AbortReason.EOF}


@dataclass(eq=False, slots=True)
class Mode:
    """A state with all that depends on it: the rows of the tables of states.py, ready for use.

    Args:
        state: the state.
        actions: the function for each command that is taken; it gets the connection, the verb and the argument.
        read: the function that takes the next step through the input; it gets the connection.
        after: the next mode for each trigger.
    """

    state: State
    actions: Mapping[bytes, Callable[..., Event | None]]
    read: Callable[..., Event | NoEvent | None]
    after: dict[Trigger, Mode] = field(default_factory=dict)


class Machine:
    """The common base of `Dialogue` and `SMTPConnection`."""

    __slots__ = (
        "_closed",
        "_config",
        "_due",
        "_limits",
        "_mode",
        "_modes",
        "_out",
        "_queue",
        "_reader",
        "_refusal",
        "_size",
        "_transactions",
        "_verdicts",
        "_waiting",
        "authenticated",
        "auto_accept",
        "envelope",
        "error_count",
        "hello",
        "junk_count",
        "refused",
        "tls_active",
    )

    def __init__(self, config: Config, modes: Mapping[State, Mode], *, tls_active: bool) -> None:
        self._config = config
        self._limits = config.limits
        self.tls_active: bool = tls_active
        """Whether the connection is inside TLS."""
        self.authenticated: bool = False
        """Whether the client has logged in."""
        self.hello: Hello | None = None
        """The last accepted HELO, EHLO or LHLO."""
        self.envelope: Envelope | None = None
        """The open transaction, as far as it was accepted; None again as soon as it has ended."""
        self.error_count: int = 0
        """Refused commands since the last accepted message."""
        self.junk_count: int = 0
        """Junk commands since the last accepted message; see `Limits.junk_commands`."""
        self.refused: tuple[tuple[str, Reply], ...] = ()
        """Commands that were refused without an event, with the reply to each, for a log. MAIL and RCPT come with their
        argument if there is an ``@`` in it, others as the verb alone, and a line that is not a command as ``""``: it
        may hold a password. The driver sets this to ``()`` when it has read it; otherwise the last 20 are kept."""
        self.auto_accept: frozenset[type[Hello | MailFrom | RcptTo]] = frozenset()
        """The kinds of events, of `Hello`, `MailFrom` and `RcptTo`, that the driver accepts in any case, so that they
        are accepted without an event. Every eighth recipient is an event all the same, so that the driver can let other
        tasks run."""

        self._reader: DotReader | ChunkReader | None = None  # of the body that is being received, if any
        self._size = 0  # octets of the body so far
        self._refusal: Reply | None = None  # the reply at the end of a body that is being discarded
        self._transactions = 0  # begun so far
        self._due = 1  # verdicts at the end of a message: in LMTP one per accepted recipient
        self._verdicts: list[Reply] = []  # those that were given so far

        self._modes = modes
        self._mode = modes[State.CONNECTED]
        self._waiting: Event | None = None  # the event that waits for its verdict
        self._queue: list[Event] = []  # events that need no verdict and are returned before all others
        self._closed: ConnectionClosed | None = None
        self._out: list[bytes] = []

    @property
    def state(self) -> State:
        """Where the dialogue stands."""
        return self._mode.state

    @property
    def waiting(self) -> Event | None:
        """The event that waits for its verdict."""
        return self._waiting

    @property
    def receiving_message(self) -> bool:
        """Whether the next octets belong to a message, including one that is being refused."""
        return self._reader is not None

    def _advance(self, trigger: Trigger) -> None:
        self._mode = self._mode.after[trigger]

    def _refuse(self, reply: Reply) -> None:
        """Refuse a command; too many refusals end the connection (RFC 5321 §7.8)."""
        if reply.code >= 500:
            self.error_count += 1
        if reply.code == 421:
            self._hang_up(reply, CloseReason.CLOSING)
        elif self.error_count >= self._limits.errors:
            self._hang_up(replies.TOO_MANY_ERRORS, CloseReason.ERRORS)
        else:
            self._out.append(reply.wire)

    def _swallow(self, reply: Reply) -> None:
        """Refuse the message: discard the rest of its body, then send the reply."""
        self.envelope = None
        self._refusal = self._refusal or reply  # the first reason counts

    def _accept_mail(self, event: MailFrom, reply: Reply | None) -> None:
        """Open a transaction: the client may name recipients."""
        self.envelope = Envelope(event.sender, event.params, [], [])
        self._transactions += 1
        self._due = 0 if self._config.lmtp else 1
        self._out.append((reply or replies.SENDER_OK).wire)
        self._mode = self._mode.after[_MAIL]

    def _accept_rcpt(self, event: RcptTo, reply: Reply | None) -> None:
        """Add a recipient: the client may name more of them, or send the message."""
        envelope = self.envelope
        assert envelope is not None
        envelope.recipients.append(event.recipient)
        envelope.recipient_params.append(event.params)
        if self._config.lmtp:
            self._due += 1
        self._out.append((reply or replies.RECIPIENT_OK).wire)
        self._mode = self._mode.after[_RCPT]

    def _end_message(self, verdicts: list[Reply]) -> None:
        """End the transaction of a message that was delivered or refused, so that MAIL is taken again."""
        self.envelope = None
        self._mode = self._mode.after[_END]
        last = verdicts.pop()
        delivered, closing = last.positive, last.code == 421
        for verdict in verdicts:
            self._out.append(verdict.wire)
            delivered |= verdict.positive
            closing |= verdict.code == 421
        if closing:
            self._hang_up(last, CloseReason.CLOSING)
        elif delivered:
            self.error_count = self.junk_count = 0
            self._out.append(last.wire)
        else:
            self._refuse(last)

    def _abort(self, reason: AbortReason) -> None:
        """End the open transaction, if there is one, and tell the application."""
        if self.envelope is not None:
            self._queue.append(TransactionAborted(reason, self.envelope))
            self.envelope = None

    def _hang_up(self, reply: Reply, reason: CloseReason) -> None:
        self._out.append(reply.wire)
        self._end_connection(reason)

    def _end_connection(self, reason: CloseReason) -> None:
        self._abort(_ABORT_REASONS.get(reason, AbortReason.CLOSING))
        self._closed = ConnectionClosed(reason)
        self._waiting = self._reader = None
        self._mode = self._modes[State.CLOSED]
