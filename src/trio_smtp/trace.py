"""The trace lines that a message gets on its way in: Return-Path, Delivered-To and Received (RFC 5321 §4.4, RFC 3848).

Text from the client is untrusted: characters that could break a header line or hide in it are replaced.
"""

from __future__ import annotations

import email.utils
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from trio_smtp.handler import Session
from trio_smtp.protocol import Address

__all__ = ["delivered_to", "received", "return_path", "separator_before", "transmission_type"]

# All but printable ASCII, and of that the space and what means something in the field: quotes, parentheses, angle
# brackets, the semicolon, which stands before the date, and the backslash.
_UNSAFE: Final = re.compile(r"[^!#-'*-:=?-\[\]-~]")


def return_path(sender: Address | None) -> bytes:
    """``Return-Path``: where bounces go (RFC 5321 §4.4)."""
    return f"Return-Path: <{sender or ''}>\r\n".encode()


def delivered_to(recipient: Address) -> bytes:
    """``Delivered-To`` (RFC 9228): for whom this copy is."""
    return f"Delivered-To: {recipient}\r\n".encode()


def received(session: Session, recipients: Sequence[Address], *, smtputf8: bool, when: int) -> bytes:
    """``Received`` (RFC 5321 §4.4): who sent it, to whom, how and when.

    Args:
        session: the connection that it came over.
        recipients: named if there is only one, so that no recipient learns of the others.
        smtputf8: whether the message was sent with SMTPUTF8 (RFC 6531 §4.3).
        when: in seconds since 1970.
    """
    hello = session.hello.domain if session.hello is not None else "unknown"
    host = session.peer.host
    origin = f"[IPv6:{host}]" if ":" in host else f"[{host}]" if host else "local"
    tls = f"\r\n\t({session.tls.version} {session.tls.cipher})" if session.tls is not None else ""
    to = f"\r\n\tfor <{recipients[0]}>" if len(recipients) == 1 else ""
    protocol = transmission_type(session, smtputf8=smtputf8)
    return (
        f"Received: from {_UNSAFE.sub('?', hello)} ({origin})\r\n"
        f"\tby {session.hostname} (trio-smtp) with {protocol} id {session.id}{tls}{to};\r\n"
        f"\t{_date(when)}\r\n"
    ).encode()


@lru_cache(maxsize=8)  # many messages come in one second
def _date(when: int) -> str:
    return email.utils.format_datetime(datetime.fromtimestamp(when, UTC))


def separator_before(content: bytes | bytearray) -> bytes:
    """What to put between our fields and a message: an empty line if it begins with a space or a tab, else nothing.

    Otherwise its first line would continue the last of our fields, and a client could make that field say anything
    (RFC 5322 §2.2.3).
    """
    return b"\r\n" if content.startswith((b" ", b"\t")) else b""


def transmission_type(session: Session, *, smtputf8: bool) -> str:
    """The protocol by its registered name: SMTP, ESMTPSA, UTF8LMTP ... (RFC 3848, RFC 6531 §4.3)."""
    extended = session.hello is not None and session.hello.verb != "HELO"
    if session.lmtp:
        base = "UTF8LMTP" if smtputf8 else "LMTP"
    elif smtputf8:
        base = "UTF8SMTP"
    elif extended:
        base = "ESMTP"
    else:
        return "SMTP"
    return base + ("S" if session.tls is not None else "") + ("A" if session.identity is not None else "")
