"""The settings of the protocol: frozen, made once, shared by all connections."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field, fields
from typing import Final, Literal

__all__ = ["OPTIONAL_EXTENSIONS", "OVERSIZE_FACTOR", "Config", "Limits"]

OVERSIZE_FACTOR: Final = 10
"""A body of more than this many times the size limit is not read to its end: 552, and the connection closes."""

OPTIONAL_EXTENSIONS: Final = frozenset(
    {
        "PIPELINING",
        "SIZE",
        "8BITMIME",
        "SMTPUTF8",
        "ENHANCEDSTATUSCODES",
        "CHUNKING",
        "BINARYMIME",
        "LIMITS",
        "HELP",
    }
)
"""What `Config.without` can leave out."""

_BUILT_ON: Final = {"8BITMIME": {"SMTPUTF8", "BINARYMIME"}, "CHUNKING": {"BINARYMIME"}}  # RFC 6531 §3.1, RFC 3030 §3
_HOSTNAME = re.compile(r"[\x21-\x7e]{1,255}")


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what one connection may ask for. All are counts or octets, at least 1.

    Args:
        command_line: octets of a command line, CRLF included; at least 512 (RFC 5321 §4.5.3.1.4), by default 2,048 for
            what the extensions add to it. A longer one gets 500.
        auth_line: octets of a line of an AUTH exchange, AUTH itself and CRLF included (RFC 4954 §4: 12,288).
        message_size: octets of a message, without dot-stuffing (RFC 1870). A bigger one gets 552.
        recipients: recipients of one message. More get 452. RFC 5321 §4.5.3.1.8 wants room for at least 100.
        transactions: MAIL commands that are accepted in one connection (MAILMAX of RFC 9422). The next one gets 421.
        errors: refused commands (5xx) since the last accepted message; the one that reaches the limit gets 421.
        junk_commands: RSET, NOOP, VRFY, EXPN, HELP, a second HELO, EHLO or LHLO, and empty chunks of BDAT that are not
            the last, since the last accepted message; the one that reaches the limit gets 421.
        auth_failures: failed logins of one connection; the one that reaches the limit gets 421.

    Raises:
        TypeError: if a value is not a whole number; SIZE would advertise it as it is.
        ValueError: if a value is below its minimum.
    """

    command_line: int = 2_048
    auth_line: int = 12_288
    message_size: int = 32 * 1024 * 1024
    recipients: int = 1_000
    transactions: int = 1_000_000
    errors: int = 20
    junk_commands: int = 100
    auth_failures: int = 3

    def __post_init__(self) -> None:
        for limit in fields(self):
            value = getattr(self, limit.name)
            minimum = 512 if limit.name == "command_line" else 1
            if not isinstance(value, int):
                raise TypeError(f"Limits.{limit.name} must be an int, not {value!r}")
            if value < minimum:
                raise ValueError(f"Limits.{limit.name} must be at least {minimum}, not {value}")


_KINDS: Final[dict[str, type]] = {"str": str, "bool": bool, "Limits": Limits}  # by the annotation of a field


@dataclass(frozen=True, slots=True)
class Config:
    """How the server presents itself and what it requires of clients.

    Args:
        hostname: the name in the greeting, in the HELO reply and in Received lines; printable ASCII without spaces.
        limits: the bounds.
        lmtp: speak LMTP (RFC 2033) instead of SMTP.
        loose_paths: accept malformed addresses that many programs send, which get 501 otherwise: after a space, without
            angle brackets (RFC 5321 §3.3, §4.1.1.2), with dots anywhere or more than 64 octets before the ``@``
            (RFC 5321 §4.5.3.1.1), with underscores behind it.
        bare_newline: what happens to a bare CR or LF in the body of DATA (RFC 5321 §2.3.8): ``"reject"`` reads the
            message to its end and answers 550, ``"keep"`` passes it on as it came. BDAT counts octets and may carry
            any.
        without: keywords of extensions that are not offered; those that build on them are left out too. What they allow
            is refused. For applications that cannot pass on such mail, and for tests of clients.
        dsn: advertise DSN and accept its parameters (RFC 3461); only for an application that honours them.
        verify: pass VRFY to the application as a `Verify` event; otherwise it gets 252 (RFC 5321 §3.5.3). Only for
            programs that drive the core themselves: the server always sets it, and calls the handler's hook `verify`.
        auth_requires_tls: offer and take AUTH inside TLS only (RFC 4954 §4).
        tls_required: answer all commands but EHLO, LHLO, NOOP, STARTTLS and QUIT with 530 until TLS is active. Not for
            a server that takes the mail of a public domain: not every client can do TLS (RFC 3207 §4).
        auth_required: answer all commands that concern mail, and VRFY, with 530 until the client has logged in
            (RFC 4954 §6, RFC 6409 §4.3).

    Raises:
        TypeError: if an argument is of another type, or `without` is a str.
        ValueError: if `hostname` is not valid in a reply, `bare_newline` is neither of the two, or `without` has an
            extension that cannot be left out.
    """

    hostname: str = "localhost"
    limits: Limits = field(default_factory=Limits)
    lmtp: bool = False
    loose_paths: bool = False
    bare_newline: Literal["reject", "keep"] = "reject"
    without: Collection[str] = frozenset()
    dsn: bool = False
    verify: bool = False
    auth_requires_tls: bool = True
    tls_required: bool = False
    auth_required: bool = False

    def __post_init__(self) -> None:
        for each in fields(self):
            value, kind = getattr(self, each.name), _KINDS.get(str(each.type))
            if kind is not None and not isinstance(value, kind):  # "no" from a file would be true, and "" false
                raise TypeError(f"Config.{each.name} must be of type {kind.__name__}, not {value!r}")
        if not _HOSTNAME.fullmatch(self.hostname):
            raise ValueError(
                f"{self.hostname!r} is not a host name: 1 to 255 printable ASCII characters without spaces"
            )
        if self.bare_newline not in ("reject", "keep"):
            raise ValueError(f"Config.bare_newline must be 'reject' or 'keep', not {self.bare_newline!r}")
        if isinstance(self.without, str):
            raise TypeError(f"Config.without must be a collection of extensions, not the string {self.without!r}")
        without = frozenset(self.without)
        if unknown := without - OPTIONAL_EXTENSIONS:
            raise ValueError(
                f"Config.without has the unknown extension {min(unknown)!r}; known: {sorted(OPTIONAL_EXTENSIONS)}"
            )
        object.__setattr__(self, "without", without.union(*(_BUILT_ON.get(keyword, ()) for keyword in without)))
