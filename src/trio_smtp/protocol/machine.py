"""What both sides of a connection share: its state, what is waiting, what goes out, and how things end.

`Dialogue` adds the one side, what the client says, and `SMTPConnection` the other, what the application answers.
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

# CPython 3.11 finds a member of an Enum by Python code, 0.2 us that each message would pay.
_MAIL, _RCPT, _END = Trigger.MAIL, Trigger.RCPT, Trigger.END
_ABORT_REASONS: Final = {CloseReason.QUIT: AbortReason.QUIT, CloseReason.EOF: AbortReason.EOF}


@dataclass(eq=False, slots=True)
class Mode:
    """A state with all that depends on it: the rows of the tables of states.py, ready for use.

    Args:
        state: which one.
        actions: what answers each command that is taken; they get the connection, the verb and the argument.
        read: takes the next step through what came in; it gets the connection.
        after: where each trigger leads.
    """

    state: State
    actions: Mapping[bytes, Callable[..., Event | None]]
    read: Callable[..., Event | NoEvent | None]
    after: dict[Trigger, Mode] = field(default_factory=dict)


class Machine:
    """The common ground of `Dialogue` and `SMTPConnection`."""

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
        """The open transaction, as far as it was accepted; None again as soon as it is lost."""
        self.error_count: int = 0
        """Refused commands since the last accepted message."""
        self.junk_count: int = 0
        """Commands that led nowhere since the last accepted message."""
        self.refused: tuple[tuple[str, Reply], ...] = ()
        """Commands that were refused without an event, with the reply to each, for a log. MAIL and RCPT come with their
        argument if there is an ``@`` in it, others as the verb alone, and what is no command as ``""``: it may be a
        password. The driver sets this to ``()`` when it has seen them; else the last 20 are kept."""
        self.auto_accept: frozenset[type[MailFrom | RcptTo]] = frozenset()
        """The kinds of events, `MailFrom` and `RcptTo`, that the driver would accept in any case and are accepted here.
        Every eighth recipient is an event all the same, so that the driver can let others go on."""

        self._reader: DotReader | ChunkReader | None = None  # of the body that is coming, if any
        self._size = 0  # octets of the body so far
        self._refusal: Reply | None = None  # the body is being swallowed and gets this at its end
        self._transactions = 0  # begun so far
        self._due = 1  # verdicts at the end of a message: in LMTP one per accepted recipient
        self._verdicts: list[Reply] = []  # those that were given so far

        self._modes = modes
        self._mode = modes[State.CONNECTED]
        self._waiting: Event | None = None  # for its verdict
        self._queue: list[Event] = []  # events that need no verdict and come before all else
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
        """Whether what comes next belongs to a message, one that is being refused included."""
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
        """The message is refused: drop what still comes of its body, then answer."""
        self.envelope = None
        self._refusal = self._refusal or reply  # the first reason counts

    def _accept_mail(self, event: MailFrom, reply: Reply | None) -> None:
        """The client may name recipients."""
        self.envelope = Envelope(event.sender, event.params, [], [])
        self._transactions += 1
        self._due = 0 if self._config.lmtp else 1
        self._out.append((reply or replies.SENDER_OK).wire)
        self._mode = self._mode.after[_MAIL]

    def _accept_rcpt(self, event: RcptTo, reply: Reply | None) -> None:
        """The client may name more of them, or send the message."""
        envelope = self.envelope
        assert envelope is not None
        envelope.recipients.append(event.recipient)
        envelope.recipient_params.append(event.params)
        if self._config.lmtp:
            self._due += 1
        self._out.append((reply or replies.RECIPIENT_OK).wire)
        self._mode = self._mode.after[_RCPT]

    def _end_message(self, verdicts: list[Reply]) -> None:
        """The message was delivered or refused: back to where MAIL is taken."""
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
        """The open transaction, if there is one, is gone without a word from the application."""
        if self.envelope is not None:
            self.envelope = None
            self._queue.append(TransactionAborted(reason))

    def _hang_up(self, reply: Reply, reason: CloseReason) -> None:
        self._out.append(reply.wire)
        self._end_connection(reason)

    def _end_connection(self, reason: CloseReason) -> None:
        self._abort(_ABORT_REASONS.get(reason, AbortReason.CLOSING))
        self._closed = ConnectionClosed(reason)
        self._waiting = self._reader = None
        self._mode = self._modes[State.CLOSED]
