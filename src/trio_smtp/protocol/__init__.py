"""The SMTP protocol without I/O (RFC 5321 and its extensions): bytes in, events and replies out.

Standard library only. The entry point is `SMTPConnection`, whose docstring has the loop to drive it and the contract.
"""

from __future__ import annotations

from trio_smtp.protocol import replies
from trio_smtp.protocol.addresses import Address
from trio_smtp.protocol.config import Config, Limits
from trio_smtp.protocol.connection import SMTPConnection
from trio_smtp.protocol.envelope import Envelope
from trio_smtp.protocol.errors import LocalProtocolError
from trio_smtp.protocol.events import (
    NEED_DATA,
    PAUSED,
    AbortReason,
    Auth,
    AuthAborted,
    AuthResponse,
    CloseReason,
    ConnectionClosed,
    Event,
    Hello,
    MailFrom,
    MessageChunk,
    MessageEnd,
    MessageStart,
    NoEvent,
    RcptTo,
    StartTLS,
    TransactionAborted,
    Verify,
)
from trio_smtp.protocol.parameters import MailParameters, RcptParameters
from trio_smtp.protocol.replies import Reply
from trio_smtp.protocol.states import State
from trio_smtp.protocol.transcript import TranscribedConnection

__all__ = [
    "NEED_DATA",
    "PAUSED",
    "AbortReason",
    "Address",
    "Auth",
    "AuthAborted",
    "AuthResponse",
    "CloseReason",
    "Config",
    "ConnectionClosed",
    "Envelope",
    "Event",
    "Hello",
    "Limits",
    "LocalProtocolError",
    "MailFrom",
    "MailParameters",
    "MessageChunk",
    "MessageEnd",
    "MessageStart",
    "NoEvent",
    "RcptParameters",
    "RcptTo",
    "Reply",
    "SMTPConnection",
    "StartTLS",
    "State",
    "TransactionAborted",
    "TranscribedConnection",
    "Verify",
    "replies",
]
