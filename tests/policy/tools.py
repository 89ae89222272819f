"""Helpers for the tests of policies."""

from __future__ import annotations

from trio_smtp.handler import Peer, Session
from trio_smtp.protocol import (
    Address,
    Config,
    Envelope,
    MailFrom,
    MailParameters,
    RcptParameters,
    RcptTo,
    SMTPConnection,
)

__all__ = ["ENVELOPE", "MAIL", "RCPT", "begin_transaction", "session"]

ANN = Address.parse("ann@example.com")
BOB = Address.parse("bob@example.com")
MAIL = MailFrom(ANN, MailParameters())
RCPT = RcptTo(BOB, RcptParameters())
ENVELOPE = Envelope(ANN, MailParameters())


def session(host: str = "192.0.2.1", identity: str | None = None, *, lmtp: bool = False) -> Session:
    """Return the session of a client at this address."""
    return Session("0123456789abcdef", Peer(host, 4321), "mx.example.com", lmtp, identity=identity)


def begin_transaction(who: Session, sender: str) -> None:
    """Bring this session into the state after MAIL from this sender."""
    connection = SMTPConnection(Config(hostname="mx.example.com"))
    connection.greet()
    connection.receive_data(f"EHLO client.example\r\nMAIL FROM:<{sender}> SMTPUTF8\r\n".encode())
    for _ in "EHLO", "MAIL":
        connection.next_event()
        connection.accept()
    who._connection = connection
