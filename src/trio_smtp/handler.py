"""What an application writes to take mail: one function, or a `Handler` with a hook for each step.

A hook accepts by returning None, which sends the standard reply, and refuses by raising `Refuse`. Any other exception
becomes ``451`` with a reference to the log, and the session goes on: a bug in a hook never loses a message silently,
and the client never sees the text of the exception.

A misspelt hook must not go unnoticed, because what it should refuse would be accepted. So a public async method that is
not a hook is an error when the class is defined, and a handler without `message` refuses all mail.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, Final, NamedTuple, Protocol

from trio_smtp._checks import check_hooks
from trio_smtp.mime import ParsedMessage, parse
from trio_smtp.protocol import (
    AbortReason,
    Address,
    Envelope,
    Hello,
    MailFrom,
    MailParameters,
    RcptTo,
    Reply,
    SMTPConnection,
    Verify,
)

__all__ = [
    "Body",
    "Handler",
    "HandlerFactory",
    "Mail",
    "MessageAborted",
    "Peer",
    "Refuse",
    "Session",
    "TLSInfo",
]


class Refuse(Exception):
    """Raised by a hook to refuse: it carries the reply to the client.

    Args:
        code: 4xx for a temporary refusal, 5xx for a permanent one (RFC 5321 §4.2.1); 421 also closes the connection.
        text: the text for people; printable ASCII.
        enhanced: the enhanced status code (RFC 3463), of the same class as `code`; by default ``X.0.0``.
        rule: the name to count in `Stats.rules` when a policy raises this; by default the name of the policy's class.

    Raises:
        ValueError: if `code` is not that of a refusal, or the text cannot be sent in a reply.
    """

    def __init__(self, code: int, text: str, enhanced: str | None = None, *, rule: str = "") -> None:
        super().__init__(code, text, enhanced)
        self.reply: Final = Reply(code, text, enhanced)
        self.rule: Final = rule
        if self.reply.positive:
            raise ValueError(f"the code of a refusal must be 4xx or 5xx, not {code}")


class MessageAborted(Exception):
    """Raised where a hook reads the body, if the message will not be completed. The hook's answer is then not sent."""

    def __init__(self, reason: AbortReason) -> None:
        super().__init__(reason.value)
        self.reason: Final = reason


class Peer(NamedTuple):
    """The other end: its IP address as text without brackets, and its port; ``Peer("", 0)`` if it has no address."""

    host: str
    port: int

    def __str__(self) -> str:
        if not self.host:
            return "local"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class TLSInfo(NamedTuple):
    """What the TLS handshake agreed on."""

    version: str
    cipher: str
    client_name: str | None
    """The verified name in the client's certificate, if it showed one."""
    client_certificate: bytes | None = None
    """That certificate in DER form, to compute its fingerprint or to read its other fields with a library."""


@dataclass(slots=True, eq=False)
class Session:
    """One connection, as hooks see it.

    Args:
        id: unique in this process; part of every log line of the session.
        peer: the other end; behind a proxy, the client that the proxy announces.
        hostname: our own name.
        lmtp: whether LMTP is spoken.
    """

    id: str
    peer: Peer
    hostname: str
    lmtp: bool = False
    tls: TLSInfo | None = None
    """None outside TLS."""
    identity: str | None = None
    """Who logged in, None if nobody did."""
    extras: dict[str, object] = field(default_factory=dict)
    """For the application's own use."""
    _connection: SMTPConnection | None = field(default=None, repr=False)

    @property
    def hello(self) -> Hello | None:
        """The last accepted HELO, EHLO or LHLO."""
        return None if self._connection is None else self._connection.hello

    @property
    def envelope(self) -> Envelope | None:
        """The open transaction, as far as it was accepted; None outside one (RFC 5321 §3.3)."""
        return None if self._connection is None else self._connection.envelope


class Body(Protocol):
    """An incoming message. It is received as the hook reads it, so a slow reader slows the client down.

    Iterating ends when the message is complete. It raises `MessageAborted` if the message is broken off: by the end of
    input, a bare newline or the size limit, or by a command between BDAT chunks, such as RSET. A reader may give up
    (`trio.move_on_after`) and go on later; once the hook has returned, reading raises RuntimeError.
    """

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The octets of the message in chunks of any length, without dot-stuffing (RFC 5321 §4.5.2)."""
        ...

    async def read(self) -> bytes:
        """The whole message at once, or the part that has not been read yet."""
        ...


class Handler:
    """The hooks of one connection; each connection gets a new instance. Override the hooks you need.

    Every hook is a coroutine method. It returns None for the standard reply or a `Reply` of its own, or refuses: by
    raising `Refuse`, or by a `Reply` that is 4xx or 5xx. `self.session` is set before the first hook is called.
    """

    session: Session
    overrides: ClassVar[frozenset[str]] = frozenset()
    """The hooks that this class or one of its bases overrides; the others are not called."""

    async def connect(self) -> Reply | None:
        """Before the greeting. A 220 reply replaces it; a refusal turns the client away (RFC 5321 §3.1)."""
        return None

    async def hello(self, event: Hello) -> Reply | None:
        """HELO, EHLO or LHLO (RFC 5321 §4.1.1.1). The first line of a returned `Reply` is sent after our host name."""
        return None

    async def mail(self, event: MailFrom) -> Reply | None:
        """MAIL (RFC 5321 §4.1.1.2)."""
        return None

    async def rcpt(self, event: RcptTo) -> Reply | None:
        """RCPT (RFC 5321 §4.1.1.3)."""
        return None

    async def verify(self, event: Verify) -> Reply | None:
        """VRFY (RFC 5321 §3.5): ``250`` or ``251`` with the mailbox in the text, or None: ``252``, which tells nothing.

        Other answers tell the client which names exist (RFC 5321 §7.3), so check `self.session.identity` first.
        """
        return None

    async def message(self, envelope: Envelope, body: Body) -> Reply | Sequence[Reply | None] | None:
        """A message: read the body to its end, and return once it is stored safely (RFC 5321 §4.2.5).

        A refusal before the first read is sent instead of 354. In LMTP, a sequence with one reply or None per accepted
        recipient answers for each of them (RFC 2033 §4.2).
        """
        raise Refuse(554, "This server takes no mail", "5.3.2")

    async def reset(self, reason: AbortReason) -> None:
        """The open transaction ended without a delivery, for a reason that is not this handler's own refusal."""

    async def close(self) -> None:
        """The connection is over. Called exactly once."""

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        cls.overrides = check_hooks(cls, Handler, HOOKS)


HOOKS: Final = ("connect", "hello", "mail", "rcpt", "verify", "message", "reset", "close")


@dataclass(frozen=True, slots=True)
class HandlerFactory:
    """A way to make handlers that need arguments: `make` is called for each connection and returns a new handler."""

    make: Callable[[], Handler]


@dataclass(eq=False)
class Mail:
    """A complete message, as the function handler gets it.

    Args:
        sender: the reverse-path, None for the null one (``<>``).
        recipients: the accepted forward-paths.
        options: the parameters of MAIL.
        content: the message, byte for byte.
        session: the connection that it came over.
    """

    sender: Address | None
    recipients: tuple[Address, ...]
    options: MailParameters
    content: bytes = field(repr=False)
    session: Session = field(repr=False)

    @cached_property
    def parsed(self) -> ParsedMessage:
        """The message as people see it: subject, addresses, texts, attachments. Parsed on first access.

        Never raises, whatever the message is (`trio_smtp.mime.parse`); `content` has the exact octets.
        """
        return parse(self.content)
