"""The events of a connection, as small values, one class per kind.

`MailFrom`, `RcptTo`, `Hello`, `StartTLS`, `Auth`, `AuthResponse`, `MessageStart`, `MessageEnd` and `Verify` wait for a
verdict; the others inform. `NEED_DATA` and `PAUSED` are not events but the two reasons why there is none now.
"""

from __future__ import annotations

import enum
from dataclasses import field
from typing import Final, Literal, TypeAlias

from trio_smtp.protocol._value import value
from trio_smtp.protocol.addresses import Address
from trio_smtp.protocol.envelope import Envelope
from trio_smtp.protocol.parameters import NO_MAIL_PARAMETERS, MailParameters, RcptParameters

__all__ = [
    "NEED_DATA",
    "PAUSED",
    "AbortReason",
    "Auth",
    "AuthAborted",
    "AuthResponse",
    "CloseReason",
    "ConnectionClosed",
    "Event",
    "Hello",
    "MailFrom",
    "MessageChunk",
    "MessageEnd",
    "MessageStart",
    "NoEvent",
    "RcptTo",
    "StartTLS",
    "TransactionAborted",
    "Verify",
]


class NoEvent(enum.Enum):
    """Why `SMTPConnection.next_event` has nothing to hand out. (Enum members, so that type checkers narrow on `is`.)"""

    NEED_DATA = enum.auto()
    PAUSED = enum.auto()


NEED_DATA: Final = NoEvent.NEED_DATA
"""Send `data_to_send()`, then give `receive_data` more bytes."""
PAUSED: Final = NoEvent.PAUSED
"""An event still waits for its verdict, or STARTTLS for `tls_established()`; nothing is parsed until then."""


class AbortReason(enum.Enum):
    """Why a transaction ended without a delivery."""

    RSET = "RSET"
    HELLO = "a new HELO, EHLO or LHLO"
    SIZE = "message too big"
    BARE_NEWLINE = "bare CR or LF in the message"
    QUIT = "QUIT"
    EOF = "the client went away"
    CLOSING = "the server closes the connection"


class CloseReason(enum.Enum):
    """Why the connection is over."""

    QUIT = "QUIT"
    EOF = "the client went away"
    REFUSED = "turned away by the greeting"
    ERRORS = "too many errors"
    JUNK = "too many commands without a message"
    TRANSACTIONS = "too many messages in one connection"
    AUTH_FAILURES = "too many failed logins"
    NOT_SMTP = "the client speaks HTTP or TLS instead of SMTP"
    FRAMING = "where the next command begins cannot be known"
    OVERSIZE = "far over the message size limit"
    CLOSING = "the server closes the connection"


@value
class Hello:
    """HELO, EHLO or LHLO (RFC 5321 §4.1.1.1, RFC 2033 §4.1). `domain` is what the client said, unchecked."""

    verb: Literal["HELO", "EHLO", "LHLO"]
    domain: str


@value
class StartTLS:
    """STARTTLS (RFC 3207). After `accept()`: send, do the handshake, then call `tls_established()`."""


@value
class Auth:
    """AUTH (RFC 4954 §4): the mechanism's name in upper case; the decoded initial response, None if there is none."""

    mechanism: str
    initial_response: bytes | None

    def __repr__(self) -> str:  # the response may hold a password
        return (
            f"Auth(mechanism={self.mechanism!r}, initial_response={'None' if self.initial_response is None else '...'})"
        )


@value
class AuthResponse:
    """The client's decoded answer to a challenge (RFC 4954 §4)."""

    data: bytes

    def __repr__(self) -> str:  # the response may hold a password
        return "AuthResponse(data=...)"


@value
class AuthAborted:
    """The client broke the exchange off: cancelled with ``*``, not base64, or a line too long. Already answered."""

    reason: Literal["cancelled", "not base64", "line too long"]


@value
class MailFrom:
    """MAIL (RFC 5321 §4.1.1.2). `sender` is None for the null reverse-path ``<>``."""

    sender: Address | None
    params: MailParameters


@value
class RcptTo:
    """RCPT (RFC 5321 §4.1.1.3)."""

    recipient: Address
    params: RcptParameters


@value
class MessageStart:
    """DATA, or the first BDAT (RFC 3030) if `chunking`. `declared_size` is MAIL's SIZE in octets, if given."""

    chunking: bool
    declared_size: int | None


@value
class MessageChunk:
    """The next octets of the message, of any length but 0, without dot-stuffing."""

    data: bytes

    def __repr__(self) -> str:
        return f"MessageChunk(<{len(self.data)} octets>)"


@value
class MessageEnd:
    """The message is complete, `size` octets long. Accepting it takes responsibility for it (RFC 5321 §4.2.5)."""

    size: int


@value
class TransactionAborted:
    """The open transaction has ended. For SIZE and BARE_NEWLINE the rest of the body is discarded before the reply.

    `envelope` is what the transaction had; two of these events are equal if their reasons are.
    """

    reason: AbortReason
    envelope: Envelope = field(default_factory=lambda: Envelope(None, NO_MAIL_PARAMETERS), repr=False, compare=False)


@value
class Verify:
    """VRFY (RFC 5321 §4.1.1.6); only with `Config(verify=True)`. `argument` is text without control characters."""

    argument: str


@value
class ConnectionClosed:
    """The last event: send what is pending, then close."""

    reason: CloseReason


Event: TypeAlias = (
    Hello
    | StartTLS
    | Auth
    | AuthResponse
    | AuthAborted
    | MailFrom
    | RcptTo
    | MessageStart
    | MessageChunk
    | MessageEnd
    | TransactionAborted
    | Verify
    | ConnectionClosed
)
