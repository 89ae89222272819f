"""SMTP replies as values: checked once when they are made, encoded once, sent as they are (RFC 5321 §4.2).

A reply that could break the dialogue cannot be built: CR, LF and 8-bit text are refused, so is a line over 512 octets
(RFC 5321 §4.5.3.1.5) and an enhanced status code whose class differs from the reply code's (RFC 2034 §4).
Every line of a 2xx, 4xx or 5xx reply carries an enhanced code, except in the greeting and in the answer to HELO, EHLO
and LHLO (RFC 2034 §4): the connection strips it there.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Sequence
from typing import Final

__all__ = ["Reply"]

_CODE = range(200, 600)
_ENHANCED = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}")
_TEXT = re.compile(r"[\t\x20-\x7e]*")  # RFC 5321 §4.2 textstring
_LINE_LIMIT = 512  # octets, CRLF included: RFC 5321 §4.5.3.1.5


class Reply:
    """One reply of the server (RFC 5321 §4.2.1, RFC 2034 §4). Immutable by convention.

    Args:
        code: the reply code, 200 to 559; its second digit is at most 5 (RFC 5321 §4.2).
        text: what follows it; a sequence of strings makes a multiline reply. Printable ASCII.
        enhanced: the enhanced status code (RFC 3463), such as ``"5.1.1"``. None stands for ``X.0.0`` of the code's
            class; 3xx replies have none. ``""`` leaves it out, which is right for greetings alone.

    Raises:
        TypeError: if the code is a float, or the text is not text.
        ValueError: if the code, text or enhanced code is not valid in a reply.
    """

    __slots__ = ("code", "enhanced", "lines", "positive", "wire")

    def __init__(self, code: int, text: str | Sequence[str], enhanced: str | None = None) -> None:
        lines = (text,) if isinstance(text, str) else tuple(text)
        if code not in _CODE or code % 100 >= 60:
            raise ValueError(f"{code!r} is not an SMTP reply code")
        code = operator.index(code)  # a float or an enum would not be sent as three digits
        if enhanced is None:
            enhanced = "" if code // 100 == 3 else f"{code // 100}.0.0"
        elif enhanced and (not _ENHANCED.fullmatch(enhanced) or int(enhanced[0]) != code // 100):
            raise ValueError(f"the enhanced code {enhanced!r} does not fit the reply code {code}")
        if not lines:
            raise ValueError("a reply needs at least one line")
        for line in lines:
            if not _TEXT.fullmatch(line):
                raise ValueError(f"{line!r} is not a line of printable ASCII")
        self.code: Final = code
        self.positive: Final = code < 400
        """Whether this is a 2xx or 3xx reply (RFC 5321 §4.2.1)."""
        self.enhanced: Final = enhanced
        self.lines: Final = lines
        prefix = f"{enhanced} " if enhanced else ""
        wire_lines = [f"{code}-{prefix}{line}\r\n".encode("ascii") for line in lines]
        wire_lines[-1] = f"{code} {prefix}{lines[-1]}".rstrip(" ").encode("ascii") + b"\r\n"
        if max(map(len, wire_lines)) > _LINE_LIMIT:
            raise ValueError(f"a reply line must not be longer than {_LINE_LIMIT} octets")
        self.wire: Final = b"".join(wire_lines)
        """The octets that go out, CRLF included."""

    @property
    def text(self) -> str:
        """The text without the codes, lines joined with newlines."""
        return "\n".join(self.lines)

    def without_enhanced_code(self) -> Reply:
        """The same reply for the greeting and for HELO, EHLO and LHLO, which carry no enhanced code (RFC 2034 §4)."""
        return Reply(self.code, self.lines, "") if self.enhanced else self

    def __repr__(self) -> str:
        return f"Reply({self.code}, {self.text!r}, {self.enhanced!r})"

    def __eq__(self, other: object) -> bool:
        return self.wire == other.wire if isinstance(other, Reply) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.wire)


# Positive replies
HELP: Final = Reply(  # RFC 5321 §4.1.1.8
    214, ("HELO EHLO MAIL RCPT DATA BDAT RSET NOOP QUIT VRFY", "HELP AUTH STARTTLS; see RFC 5321"), "2.0.0"
)
HELP_LMTP: Final = Reply(
    214, ("LHLO MAIL RCPT DATA BDAT RSET NOOP QUIT VRFY", "HELP AUTH STARTTLS; see RFC 2033"), "2.0.0"
)
STARTTLS_READY: Final = Reply(220, "Ready to start TLS", "2.0.0")  # RFC 3207 §4
BYE: Final = Reply(221, "Bye", "2.0.0")  # RFC 5321 §4.1.1.10
AUTHENTICATED: Final = Reply(235, "Authentication succeeded", "2.7.0")  # RFC 4954 §6
OK: Final = Reply(250, "OK", "2.0.0")
SENDER_OK: Final = Reply(250, "Sender OK", "2.1.0")
RECIPIENT_OK: Final = Reply(250, "Recipient OK", "2.1.5")
CHUNK_OK: Final = Reply(250, "Chunk received", "2.0.0")  # RFC 3030 §2
MESSAGE_ACCEPTED: Final = Reply(250, "Message accepted", "2.6.0")
CANNOT_VERIFY: Final = Reply(252, "Cannot verify the user, but will take mail for delivery", "2.5.2")  # RFC 5321 §3.5.3
START_INPUT: Final = Reply(354, "Start mail input; end with <CRLF>.<CRLF>")  # RFC 5321 §4.1.1.4

# The connection ends after these (RFC 5321 §3.8)
CLOSING: Final = Reply(421, "Service closing the connection", "4.3.2")
TIMED_OUT: Final = Reply(421, "Timed out, closing the connection", "4.4.2")
TOO_MANY_CONNECTIONS: Final = Reply(421, "Too many connections, try again later", "4.7.0")
TOO_MANY_ERRORS: Final = Reply(421, "Too many errors, closing the connection", "4.7.0")
TOO_MANY_COMMANDS: Final = Reply(421, "Too many commands without a message, closing the connection", "4.7.0")
TOO_MANY_TRANSACTIONS: Final = Reply(421, "Enough mail for one connection, connect again", "4.7.0")
TOO_MANY_AUTH_FAILURES: Final = Reply(421, "Too many failed logins, closing the connection", "4.7.0")
NOT_SMTP: Final = Reply(421, "This is a mail server, closing the connection", "4.7.0")

# Temporary refusals
MAILBOX_BUSY: Final = Reply(450, "Mailbox temporarily unavailable", "4.2.0")
LOCAL_ERROR: Final = Reply(451, "Local error, try again later", "4.3.0")
MAILBOX_FULL: Final = Reply(452, "Mailbox full", "4.2.2")
TOO_MANY_RECIPIENTS: Final = Reply(452, "Too many recipients", "4.5.3")  # RFC 5321 §4.5.3.1.10
TLS_UNAVAILABLE: Final = Reply(454, "TLS not available now", "4.7.0")  # RFC 3207 §4
AUTH_UNAVAILABLE: Final = Reply(454, "Authentication not available now", "4.7.0")  # RFC 4954 §6

# Permanent refusals of the command itself
UNKNOWN_COMMAND: Final = Reply(500, "Command not recognized", "5.5.1")
THIS_IS_SMTP: Final = Reply(500, "This is SMTP, say EHLO", "5.5.1")
THIS_IS_LMTP: Final = Reply(500, "This is LMTP, say LHLO", "5.5.1")  # RFC 2033 §4.1
BARE_NEWLINE_IN_COMMAND: Final = Reply(500, "Command lines end in CRLF only", "5.5.2")  # RFC 5321 §2.3.8
LINE_TOO_LONG: Final = Reply(500, "Line too long", "5.5.2")  # RFC 5321 §4.5.3.1.9
AUTH_LINE_TOO_LONG: Final = Reply(500, "Authentication exchange line too long", "5.5.6")  # RFC 4954 §6
SYNTAX_ERROR: Final = Reply(501, "Syntax error in parameters", "5.5.4")
NO_ARGUMENT_ALLOWED: Final = Reply(501, "This command takes no argument", "5.5.4")
SYNTAX_HELLO: Final = Reply(501, "A host name or address literal is needed", "")
SYNTAX_MAIL: Final = Reply(501, "Syntax: MAIL FROM:<address>, without a space after the colon", "5.5.4")
SYNTAX_RCPT: Final = Reply(501, "Syntax: RCPT TO:<address>, without a space after the colon", "5.5.4")
BAD_SENDER: Final = Reply(501, "Bad sender address syntax", "5.1.7")
BAD_RECIPIENT: Final = Reply(501, "Bad recipient address syntax", "5.1.3")
SENDER_TOO_LONG: Final = Reply(501, "Sender address too long", "5.1.7")  # RFC 5321 §4.5.3.1
RECIPIENT_TOO_LONG: Final = Reply(501, "Recipient address too long", "5.1.3")
SYNTAX_VRFY: Final = Reply(501, "Syntax: VRFY address", "5.5.4")
SYNTAX_AUTH: Final = Reply(501, "Syntax: AUTH mechanism [initial-response]", "5.5.4")
SYNTAX_BDAT: Final = Reply(501, "Syntax: BDAT size [LAST]; closing the connection", "5.5.4")  # RFC 3030 §2
BAD_BASE64: Final = Reply(501, "Cannot decode the base64 data", "5.5.2")  # RFC 4954 §4
AUTH_CANCELLED: Final = Reply(501, "Authentication cancelled", "5.7.0")  # RFC 4954 §4
NOT_IMPLEMENTED: Final = Reply(502, "Command not implemented", "5.5.1")
OUT_OF_SEQUENCE: Final = Reply(503, "Bad sequence of commands", "5.5.1")
NEED_HELLO: Final = Reply(503, "Introduce yourself first", "5.5.1")
NEED_MAIL: Final = Reply(503, "MAIL is needed first", "5.5.1")
NEED_RCPT: Final = Reply(503, "No valid recipients", "5.5.1")  # RFC 2033 §4.2
NESTED_MAIL: Final = Reply(503, "A transaction is open already", "5.5.1")  # RFC 5321 §4.1.4
TLS_ACTIVE: Final = Reply(503, "TLS is active already", "5.5.1")
BINARYMIME_NEEDS_BDAT: Final = Reply(503, "BODY=BINARYMIME requires BDAT", "5.5.1")  # RFC 3030 §3
UNKNOWN_MECHANISM: Final = Reply(504, "Mechanism not offered", "5.5.4")  # RFC 4954 §4
UNKNOWN_PARAMETER: Final = Reply(555, "Parameter not recognized or not offered", "5.5.4")  # RFC 5321 §4.1.1.11

# Permanent refusals of what the command asks for
AUTH_REQUIRED: Final = Reply(530, "Authentication required", "5.7.0")  # RFC 4954 §6
STARTTLS_REQUIRED: Final = Reply(530, "Issue STARTTLS first", "5.7.0")  # RFC 3207 §4
BAD_CREDENTIALS: Final = Reply(535, "Authentication credentials invalid", "5.7.8")  # RFC 4954 §6
ENCRYPTION_REQUIRED: Final = Reply(538, "Encryption required for this mechanism", "5.7.11")  # RFC 4954 §6
MAILBOX_UNKNOWN: Final = Reply(550, "No such user here", "5.1.1")
NOT_YOUR_ADDRESS: Final = Reply(550, "The sender is none of your addresses", "5.7.1")  # RFC 6409 §6.1
ACCOUNT_GONE: Final = Reply(550, "Your account has been removed", "5.7.1")
RELAY_DENIED: Final = Reply(550, "The recipient is not ours, and this server does not relay", "5.7.1")
BARE_NEWLINE_IN_BODY: Final = Reply(550, "Bare CR or LF in the message (RFC 5321 section 2.3.8)", "5.6.0")
MAILBOX_OVER_QUOTA: Final = Reply(552, "Mailbox full", "5.2.2")
MESSAGE_TOO_BIG: Final = Reply(552, "Message too big", "5.3.4")  # RFC 1870 §6
NEED_SMTPUTF8: Final = Reply(553, "The address needs SMTPUTF8", "5.6.7")  # RFC 6531 §3.5
EARLY_TALKER: Final = Reply(554, "You spoke before the greeting", "5.5.1")  # RFC 5321 §3.1, §4.3.1
