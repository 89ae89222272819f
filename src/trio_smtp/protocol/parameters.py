"""The ESMTP parameters of MAIL and RCPT (RFC 5321 §4.1.2): one table each, from the keyword to the parser of its value.

A keyword that is not in the table, or whose extension was not advertised, is unknown. Keywords and the words of a fixed
set are compared without regard to case; free values, identifiers and addresses, stay as they came.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, TypeAlias

from trio_smtp.protocol._value import value
from trio_smtp.protocol.addresses import Address
from trio_smtp.protocol.grammar import (
    ATOM,
    EMBEDDED_CHAR,
    HEXCHAR,
    PARAMETER,
    SIZE,
    UTF8_ADDRESS,
    XTEXT,
    GrammarError,
    decode,
)

__all__ = [
    "NO_MAIL_PARAMETERS",
    "NO_RCPT_PARAMETERS",
    "MailParameters",
    "RcptParameters",
    "parse_mail_parameters",
    "parse_rcpt_parameters",
]

Notify: TypeAlias = Literal["NEVER", "SUCCESS", "FAILURE", "DELAY"]

_ENVID_LIMIT = 100  # octets: RFC 3461 §4.4
_ORCPT_LIMIT = 500  # octets: RFC 3461 §4.2


@value
class MailParameters:
    """The parameters of a MAIL command.

    Args:
        size: how many octets the client expects the message to have (RFC 1870), below 10**20.
        body: what the body is made of (RFC 6152, RFC 3030 §3).
        smtputf8: the addresses or the header fields may be UTF-8 (RFC 6531).
        ret: how much of the message a failure report returns (RFC 3461 §4.3).
        envid: the sender's identifier of the transaction, decoded (RFC 3461 §4.4).
        auth: who submitted the message, according to the client: a mailbox, decoded, or ``"<>"`` (RFC 4954 §5).
    """

    size: int | None = None
    body: Literal["7BIT", "8BITMIME", "BINARYMIME"] | None = None
    smtputf8: bool = False
    ret: Literal["FULL", "HDRS"] | None = None
    envid: str | None = None
    auth: str | None = None


@value
class RcptParameters:
    """The parameters of a RCPT command (RFC 3461).

    Args:
        notify: when the sender wants a report; ``{"NEVER"}``, or any of the others; empty if the client did not say.
        orcpt: the type and the text of the original recipient's address, decoded.
    """

    notify: frozenset[Notify] = frozenset()
    orcpt: tuple[str, str] | None = None


NO_MAIL_PARAMETERS: Final = MailParameters()
NO_RCPT_PARAMETERS: Final = RcptParameters()


def parse_mail_parameters(data: bytes, start: int, unlocked: frozenset[bytes]) -> MailParameters:
    """Read the parameters of MAIL, from the space in front of the first at `data[start]` to the end of `data`.

    Args:
        unlocked: the keywords, in upper case, whose extensions were advertised.

    Raises:
        GrammarError: ``parameter_unknown`` or ``parameter_syntax``.
    """
    return MailParameters(**_parse(data, start, unlocked, _MAIL))


def parse_rcpt_parameters(data: bytes, start: int, unlocked: frozenset[bytes]) -> RcptParameters:
    """Read the parameters of RCPT, as `parse_mail_parameters` reads those of MAIL."""
    return RcptParameters(**_parse(data, start, unlocked, _RCPT))


# Any: each parser returns the type of the field that the table names beside it.
_Table: TypeAlias = Mapping[bytes, tuple[str, Callable[[bytes], Any]]]


def _parse(data: bytes, start: int, unlocked: frozenset[bytes], table: _Table) -> dict[str, Any]:
    """The values by field name. A parser gets ``b""`` if there is no value, as a value cannot be empty."""
    fields: dict[str, Any] = {}
    while start < len(data):
        match = PARAMETER.match(data, start)
        if match is None:
            raise GrammarError("parameter_syntax")
        start = match.end()
        keyword, text = match.groups(b"")
        keyword = keyword.upper()
        if keyword not in unlocked or keyword not in table:
            raise GrammarError("parameter_unknown")
        field, parser = table[keyword]
        if field in fields:
            raise GrammarError("parameter_syntax")
        fields[field] = parser(text)
    return fields


def _size(text: bytes) -> int:
    """RFC 1870 §3."""
    if not SIZE.fullmatch(text):
        raise GrammarError("parameter_syntax")
    return int(text)


def _smtputf8(text: bytes) -> Literal[True]:
    """It takes no value (RFC 6531 §3.4)."""
    if text:
        raise GrammarError("parameter_syntax")
    return True


def _one_of(*words: str) -> Callable[[bytes], str]:
    known = {word.encode("ascii"): word for word in words}

    def parse(text: bytes) -> str:
        word = known.get(text.upper())
        if word is None:
            raise GrammarError("parameter_syntax")
        return word

    return parse


_report = _one_of("NEVER", "SUCCESS", "FAILURE", "DELAY")


def _notify(text: bytes) -> frozenset[str]:
    """RFC 3461 §4.1."""
    reports = frozenset(map(_report, text.split(b",")))
    if "NEVER" in reports and text.upper() != b"NEVER":
        raise GrammarError("parameter_syntax")
    return reports


def _xtext(text: bytes) -> bytes:
    """Decode xtext (RFC 3461 §4), which may also have unencoded UTF-8 in it (RFC 6533)."""
    if not text or not XTEXT.fullmatch(text):
        raise GrammarError("parameter_syntax")
    return HEXCHAR.sub(lambda match: bytes.fromhex(match[1].decode("ascii")), text)


def _printable(octets: bytes) -> str:
    """Printable ASCII, as RFC 3461 §4.2 and §4.4 require."""
    if not octets.isascii():
        raise GrammarError("parameter_syntax")
    return decode(octets, "parameter_syntax")


def _envid(text: bytes) -> str:
    if len(text) > _ENVID_LIMIT:
        raise GrammarError("parameter_syntax")
    return _printable(_xtext(text))


def _orcpt(text: bytes) -> tuple[str, str]:
    """``addr-type;xtext`` (RFC 3461 §4.2); the type ``utf-8`` has its own way to encode a character (RFC 6533)."""
    kind, _, address = text.partition(b";")
    if len(text) > _ORCPT_LIMIT or not ATOM.fullmatch(kind):
        raise GrammarError("parameter_syntax")
    octets = _xtext(address)
    if kind.lower() != b"utf-8":
        return _printable(kind), _printable(octets)
    if not UTF8_ADDRESS.fullmatch(octets):
        raise GrammarError("parameter_syntax")
    octets = EMBEDDED_CHAR.sub(lambda match: chr(int(match[1], 16)).encode("utf-8"), octets)
    return _printable(kind), decode(octets, "parameter_syntax")


def _auth(text: bytes) -> str:
    """A mailbox or ``<>`` in xtext (RFC 4954 §5)."""
    octets = _xtext(text)
    if octets == b"<>":
        return "<>"
    try:
        return str(Address.parse(octets))
    except GrammarError:
        raise GrammarError("parameter_syntax") from None


_MAIL: Final[_Table] = {
    b"SIZE": ("size", _size),
    b"BODY": ("body", _one_of("7BIT", "8BITMIME", "BINARYMIME")),
    b"SMTPUTF8": ("smtputf8", _smtputf8),
    b"RET": ("ret", _one_of("FULL", "HDRS")),
    b"ENVID": ("envid", _envid),
    b"AUTH": ("auth", _auth),
}
_RCPT: Final[_Table] = {
    b"NOTIFY": ("notify", _notify),
    b"ORCPT": ("orcpt", _orcpt),
}
