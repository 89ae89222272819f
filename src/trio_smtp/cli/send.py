"""``trio-smtp send``: hand one message to a server, to see what it does."""

from __future__ import annotations

import re
import smtplib
import sys
from collections.abc import Sequence
from email.message import EmailMessage
from email.policy import SMTPUTF8
from email.utils import localtime, make_msgid
from pathlib import Path
from typing import Final

from trio_smtp._escape import escape
from trio_smtp.cli.errors import CommandError, UsageError, reason
from trio_smtp.cli.output import say
from trio_smtp.cli.values import Endpoint

__all__ = ["send"]

_TIMEOUT: Final = 60.0  # seconds for each answer of the server
_HELLO: Final = "localhost"  # smtplib would ask the DNS for a name


def send(*, recipients: Sequence[str], sender: str, subject: str | None, server: Endpoint, file: str | None) -> None:
    """Send a file, or a test message, and print the server's answer."""
    if file is None:
        content = _test_message(sender, recipients, subject or "A test message")
    elif subject is None:
        content = _read(file)
    else:
        raise UsageError("--subject has no effect on a message from a file")
    try:
        with smtplib.SMTP(server.host, server.port, local_hostname=_HELLO, timeout=_TIMEOUT) as smtp:
            say(f"{server} said: {_transact(smtp, sender, recipients, content)}")
    except smtplib.SMTPResponseException as error:
        answer = _answer(error.smtp_code, error.smtp_error)
        raise CommandError(f"{server} did not take the message: {answer}") from error
    except smtplib.SMTPException as error:
        raise CommandError(f"{server} did not take the message: {error}") from error
    except OSError as error:
        raise CommandError(
            f"cannot reach a server at {server}: {reason(error)}; start one with trio-smtp serve, "
            "or name another with --server HOST:PORT"
        ) from error


def _transact(smtp: smtplib.SMTP, sender: str, recipients: Sequence[str], content: bytes) -> str:
    smtp.ehlo_or_helo_if_needed()
    options: list[str] = []
    if not content.isascii() and smtp.has_extn("8bitmime"):
        options.append("BODY=8BITMIME")
    if not all(address.isascii() for address in (sender, *recipients)):
        options.append("SMTPUTF8")
    _accepted(smtp.mail(sender, options))
    for recipient in recipients:
        _accepted(smtp.rcpt(recipient))
    return _accepted(smtp.data(content))


def _accepted(reply: tuple[int, bytes]) -> str:
    code, text = reply
    if code // 100 != 2:
        raise smtplib.SMTPResponseException(code, text)
    return _answer(code, text)


def _answer(code: int, text: bytes | str) -> str:
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    return " ".join([str(code), *map(escape, text.split("\n"))])


def _test_message(sender: str, recipients: Sequence[str], subject: str) -> bytes:
    message = EmailMessage(policy=SMTPUTF8)
    message["Date"] = localtime()
    message["Message-ID"] = make_msgid(domain=_HELLO)
    message["From"] = sender
    message["To"] = ", ".join(recipients)
    message["Subject"] = subject
    message.set_content("This is a test message of trio-smtp.\n")
    return message.as_bytes()


def _read(file: str) -> bytes:
    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise CommandError(f"cannot read {file}: {reason(error)}") from error
    return re.sub(rb"\r?\n", b"\r\n", content)  # as RFC 5321 §2.3.8 wants it on the wire
