"""What the tests of policies share."""

from __future__ import annotations

from trio_smtp.handler import Peer, Session
from trio_smtp.protocol import Address, Envelope, MailFrom, MailParameters, RcptParameters, RcptTo

__all__ = ["ENVELOPE", "MAIL", "RCPT", "session"]

ANN = Address.parse("ann@example.com")
BOB = Address.parse("bob@example.com")
MAIL = MailFrom(ANN, MailParameters())
RCPT = RcptTo(BOB, RcptParameters())
ENVELOPE = Envelope(ANN, MailParameters())


def session(host: str = "192.0.2.1", identity: str | None = None) -> Session:
    """A connection from there."""
    return Session("0123456789abcdef", Peer(host, 4321), "mx.example.com", identity=identity)
