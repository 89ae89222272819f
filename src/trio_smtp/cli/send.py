"""``trio-smtp send``: send one message to a server and show its answer."""

from __future__ import annotations

import re
import smtplib
import ssl
import sys
from base64 import b64encode
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager, suppress
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import localtime, make_msgid
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from trio_smtp._escape import escape
from trio_smtp.cli.errors import CommandError, UsageError, reason
from trio_smtp.cli.output import say
from trio_smtp.cli.password import read_password
from trio_smtp.cli.values import Endpoint

__all__ = ["send"]

_TIMEOUT: Final = 60.0  # seconds for each answer of the server
_HELLO: Final = "localhost"  # by default smtplib looks up a name in the DNS


def send(
    *,
    recipients: Sequence[str],
    sender: str,
    subject: str | None,
    server: Endpoint,
    tls: str | None,
    insecure: bool,
    user: str | None,
    password_stdin: bool,
    file: str | None,
) -> None:
    """Send a file, or a test message, and print the server's answer.

    Args:
        tls: ``starttls``, ``implicit`` or None.
    """
    if insecure and tls is None:
        raise UsageError("--insecure has no effect without --starttls or --tls")
    if password_stdin and user is None:
        raise UsageError("--password-stdin has no effect without --user")
    if password_stdin and file == "-":
        raise UsageError("--password-stdin and FILE - both read standard input; name a file that contains the message")
    if user is not None and tls is None and not _is_loopback(server.host):
        raise UsageError("--user would send the password without encryption; add --starttls or --tls")
    if file is None:
        content = _test_message(sender, recipients, subject or "A test message")
    elif subject is None:
        content = _read(file)
    else:
        raise UsageError("--subject has no effect on a message from a file")
    password = None if user is None else read_password(from_stdin=password_stdin)
    context = None if tls is None else _client_context(insecure=insecure)
    with _explained(server, tls), _connected(server, context if tls == "implicit" else None) as smtp:
        if tls == "starttls":
            smtp.starttls(context=context)
        smtp.ehlo_or_helo_if_needed()
        if user is not None:  # smtplib's login accepts only ASCII names and passwords
            _accepted(smtp.docmd("AUTH PLAIN", b64encode(f"\0{user}\0{password}".encode()).decode()))
        say(f"{server} replied: {_transact(smtp, sender, recipients, content)}")


@contextmanager
def _explained(server: Endpoint, tls: str | None) -> Generator[None]:
    """Turn what goes wrong in the block into a `CommandError` that says what to do about it."""
    try:
        yield
    except smtplib.SMTPResponseException as error:
        if error.smtp_code == -1:  # the answer does not begin with a number
            raise CommandError(
                f"the server at {server} does not speak SMTP; check --server, --tls and --starttls"
            ) from error
        answer = _answer(error.smtp_code, error.smtp_error)
        raise CommandError(f"{server} did not accept the message: {answer}") from error
    except smtplib.SMTPException as error:
        hung_up = isinstance(error, smtplib.SMTPServerDisconnected) and tls is None
        hint = "; if the server requires TLS, add --starttls or --tls" if hung_up else ""
        raise CommandError(f"{server} did not accept the message: {error}{hint}") from error
    except ssl.SSLCertVerificationError as error:
        raise CommandError(
            f"cannot verify the certificate of {server}: {error.verify_message}; to accept any, add --insecure"
        ) from error
    except ssl.SSLError as error:
        why = str(error.reason).replace("_", " ").lower()
        raise CommandError(
            f"the TLS handshake with {server} failed: {why}; check whether it needs --starttls, --tls, or neither"
        ) from error
    except OSError as error:
        raise CommandError(
            f"cannot reach the server {server}: {reason(error)}; start one with trio-smtp serve, "
            "or choose another with --server HOST:PORT"
        ) from error


@contextmanager
def _connected(server: Endpoint, context: ssl.SSLContext | None) -> Generator[smtplib.SMTP]:
    """A connection, which ends with QUIT. The reply to that tells nothing about the message, so it does not matter."""
    if context is None:
        connection = smtplib.SMTP(*server, local_hostname=_HELLO, timeout=_TIMEOUT)
    else:
        connection = smtplib.SMTP_SSL(*server, local_hostname=_HELLO, timeout=_TIMEOUT, context=context)
    with closing(connection) as smtp:
        try:
            yield smtp
        finally:
            with suppress(smtplib.SMTPException):
                smtp.docmd("QUIT")


def _client_context(*, insecure: bool) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _is_loopback(host: str) -> bool:
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return host == "localhost"


def _transact(smtp: smtplib.SMTP, sender: str, recipients: Sequence[str], content: bytes) -> str:
    options: list[str] = []
    if not content.isascii() and smtp.has_extn("8bitmime"):
        options.append("BODY=8BITMIME")
    if not _are_ascii(sender, recipients):
        if not smtp.has_extn("smtputf8"):  # smtplib notices this only if the server knows EHLO
            raise smtplib.SMTPNotSupportedError("SMTPUTF8 not supported by server")
        options.append("SMTPUTF8")
    _accepted(smtp.mail(sender, options))
    for recipient in recipients:
        _accepted(smtp.rcpt(recipient))
    return _accepted(smtp.data(content))


def _are_ascii(sender: str, recipients: Sequence[str]) -> bool:
    return all(address.isascii() for address in (sender, *recipients))


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
    # Without SMTPUTF8 a header must be ASCII (RFC 6532 §3.2), and a subject in other letters is encoded (RFC 2047).
    message = EmailMessage(policy=SMTP if _are_ascii(sender, recipients) else SMTPUTF8)
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
    return re.sub(rb"\r?\n", b"\r\n", content)  # RFC 5321 §2.3.8 requires CRLF
