"""Parsers for the arguments of commands (RFC 5321 §4.1.1).

Pure functions; a fault raises `CommandError` with the reply that the client gets. Bytes are parsed as bytes: no method
of str ever decides what a command is, because `"ſtarttls".upper() == "STARTTLS"`.
"""

from __future__ import annotations

import binascii
import re
from typing import Final, Literal

from trio_smtp.protocol import replies
from trio_smtp.protocol.addresses import parse_path
from trio_smtp.protocol.events import Auth, Hello, MailFrom, RcptTo, Verify
from trio_smtp.protocol.grammar import HELLO_ARGUMENT, GrammarError, decode
from trio_smtp.protocol.parameters import (
    NO_MAIL_PARAMETERS,
    NO_RCPT_PARAMETERS,
    parse_mail_parameters,
    parse_rcpt_parameters,
)
from trio_smtp.protocol.replies import Reply

__all__ = [
    "CommandError",
    "decode_base64",
    "parse_auth",
    "parse_bdat",
    "parse_hello",
    "parse_mail",
    "parse_rcpt",
    "parse_verify",
    "refuse_controls",
]

_CONTROL: Final = re.compile(rb"[\x00-\x1f\x7f]")
_MECHANISM: Final = re.compile(rb"([A-Za-z0-9_-]{1,20})(?: +([^ ]+))?")  # RFC 4422 §3.1, RFC 4954 §4
_BASE64: Final = re.compile(rb"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")  # RFC 4648 §4
_CHUNK: Final = re.compile(rb"([0-9]{1,20})( +LAST)?", re.IGNORECASE)  # RFC 3030 §2
_LOOSE_PATH: Final = re.compile(rb"([A-Za-z]++:) *+(?:(<)|([^ ]++))")
_HELLO_VERBS: Final[dict[bytes, Literal["HELO", "EHLO", "LHLO"]]] = {b"HELO": "HELO", b"EHLO": "EHLO", b"LHLO": "LHLO"}


class CommandError(Exception):
    """The command is refused with `reply`."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply)
        self.reply = reply


def refuse_controls(argument: bytes) -> None:
    """Refuse control characters in an argument that is otherwise ignored."""
    if _CONTROL.search(argument):
        raise CommandError(replies.SYNTAX_ERROR)


def parse_hello(verb: bytes, argument: bytes) -> Hello:
    """HELO, EHLO and LHLO: any single word is accepted, as mail must not be refused for it (RFC 5321 §4.1.4)."""
    if not HELLO_ARGUMENT.fullmatch(argument):
        raise CommandError(replies.SYNTAX_HELLO)
    try:
        return Hello(_HELLO_VERBS[verb], argument.decode("utf-8"))
    except UnicodeDecodeError:
        raise CommandError(replies.SYNTAX_HELLO) from None


def _with_path(argument: bytes) -> bytes:
    """The argument of MAIL or RCPT with its address in brackets, and without a space before it."""
    match = _LOOSE_PATH.match(argument)
    if match is None:
        return argument
    keyword, bracket, mailbox = match.groups()
    return keyword + (bracket or b"<%b>" % mailbox) + argument[match.end() :]


def parse_mail(argument: bytes, unlocked: frozenset[bytes], *, loose: bool = False) -> MailFrom:
    """``FROM:<path> [parameters]`` (RFC 5321 §4.1.1.2); `loose` as `Config.loose_paths`."""
    if loose:
        argument = _with_path(argument)
    if not argument.startswith(b"FROM:") and argument[:5].upper() != b"FROM:":
        raise CommandError(replies.SYNTAX_MAIL)
    try:
        sender, end = parse_path(argument, 5, reverse=True, loose=loose)
        params = NO_MAIL_PARAMETERS
        if end < len(argument):
            params = parse_mail_parameters(argument, end, unlocked)
    except GrammarError as error:
        has_path = argument.startswith(b"<", 5)
        raise CommandError(_MAIL_FAULTS[error.kind] if has_path else replies.SYNTAX_MAIL) from None
    if not params.smtputf8 and not argument.isascii() and sender is not None and not sender.is_ascii:
        raise CommandError(replies.NEED_SMTPUTF8)  # RFC 6531 §3.5
    return MailFrom(sender, params)


def parse_rcpt(argument: bytes, unlocked: frozenset[bytes], *, smtputf8: bool, loose: bool = False) -> RcptTo:
    """``TO:<path> [parameters]`` (RFC 5321 §4.1.1.3); `loose` as `Config.loose_paths`."""
    if loose:
        argument = _with_path(argument)
    if not argument.startswith(b"TO:") and argument[:3].upper() != b"TO:":
        raise CommandError(replies.SYNTAX_RCPT)
    try:
        recipient, end = parse_path(argument, 3, reverse=False, loose=loose)
        params = NO_RCPT_PARAMETERS
        if end < len(argument):
            params = parse_rcpt_parameters(argument, end, unlocked)
    except GrammarError as error:
        has_path = argument.startswith(b"<", 3)
        raise CommandError(_RCPT_FAULTS[error.kind] if has_path else replies.SYNTAX_RCPT) from None
    assert recipient is not None  # <> is not a forward-path
    if not smtputf8 and not argument.isascii() and not recipient.is_ascii:
        raise CommandError(replies.NEED_SMTPUTF8)
    return RcptTo(recipient, params)


_MAIL_FAULTS: Final[dict[str, Reply]] = {
    "path_syntax": replies.BAD_SENDER,
    "path_too_long": replies.SENDER_TOO_LONG,
    "parameter_syntax": replies.SYNTAX_ERROR,
    "parameter_unknown": replies.UNKNOWN_PARAMETER,
}
_RCPT_FAULTS: Final[dict[str, Reply]] = _MAIL_FAULTS | {
    "path_syntax": replies.BAD_RECIPIENT,
    "path_too_long": replies.RECIPIENT_TOO_LONG,
}


def parse_verify(argument: bytes) -> Verify:
    """VRFY: a user name or a mailbox, in UTF-8 (RFC 5321 §4.1.1.6). Its one parameter, SMTPUTF8, is ignored."""
    name, _, parameter = argument.rpartition(b" ")
    if name and parameter.upper() == b"SMTPUTF8":  # RFC 6531 §3.7.4.2
        argument = name.rstrip(b" ")
    try:
        if argument:
            return Verify(decode(argument, "path_syntax"))
    except GrammarError:
        pass
    raise CommandError(replies.SYNTAX_VRFY)


def parse_auth(argument: bytes) -> Auth:
    """``mechanism [initial-response]``; ``=`` stands for an empty response (RFC 4954 §4)."""
    match = _MECHANISM.fullmatch(argument)
    if not match:
        raise CommandError(replies.SYNTAX_AUTH)
    mechanism, initial_response = match.groups()
    if initial_response is not None:
        initial_response = b"" if initial_response == b"=" else decode_base64(initial_response)
    return Auth(mechanism.upper().decode("ascii"), initial_response)


def decode_base64(data: bytes) -> bytes:
    """Strict base64 (RFC 4648 §4). The standard library alone lets excess padding through, even in its strict mode."""
    if not _BASE64.fullmatch(data):
        raise CommandError(replies.BAD_BASE64)
    return binascii.a2b_base64(data)


def parse_bdat(argument: bytes) -> tuple[int, bool]:
    """``size [LAST]``: the octets of the chunk, and whether it is the last (RFC 3030 §2)."""
    match = _CHUNK.fullmatch(argument)
    if not match:
        raise CommandError(replies.SYNTAX_BDAT)
    return int(match[1]), match[2] is not None
