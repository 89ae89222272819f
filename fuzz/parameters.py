"""Target: ESMTP parameters. The result must have no control characters and must survive a round trip."""

from __future__ import annotations

from trio_smtp.protocol.grammar import Fault, GrammarError
from trio_smtp.protocol.parameters import (
    MailParameters,
    RcptParameters,
    parse_mail_parameters,
    parse_rcpt_parameters,
)

MAIL = (b"SIZE", b"BODY", b"SMTPUTF8", b"RET", b"ENVID", b"AUTH")
RCPT = (b"NOTIFY", b"ORCPT")


def parameters(data: bytes) -> None:
    """Parse parameters. The first octet selects the command and the allowed parameters; the rest is the parameters."""
    choice, text = data[0] if data else 0, data[1:]
    keywords, parse = (RCPT, parse_rcpt_parameters) if choice & 1 else (MAIL, parse_mail_parameters)
    unlocked = frozenset(keyword for bit, keyword in enumerate(keywords, 1) if not choice >> bit & 1)
    found: MailParameters | RcptParameters | Fault
    try:
        found = parse(text, 0, unlocked)
    except GrammarError as error:
        found = error.kind
    known = all(word.partition(b"=")[0].upper() in unlocked for word in text.split())
    if isinstance(found, str):
        assert found == "parameter_syntax" or (found == "parameter_unknown" and not known), found
    else:
        assert known
        written = write_mail(found) if isinstance(found, MailParameters) else write_rcpt(found)
        assert parse(written, 0, unlocked) == found, written


def xtext(text: str) -> bytes:
    """Encode as xtext (RFC 3461 §4) with raw UTF-8 (RFC 6533), the shortest form, so that the result fits."""
    return b"".join(b"+%02X" % octet if octet <= 32 or octet in b"+=\x7f" else b"%c" % octet for octet in text.encode())


def write_mail(found: MailParameters) -> bytes:
    assert found.size is None or 0 <= found.size < 10**20
    return b"".join(
        (
            b"" if found.size is None else b" SIZE=%d" % found.size,
            b"" if found.body is None else b" BODY=%b" % found.body.encode(),
            b" SMTPUTF8" if found.smtputf8 else b"",
            b"" if found.ret is None else b" RET=%b" % found.ret.encode(),
            b"" if found.envid is None else b" ENVID=%b" % xtext(harmless(found.envid)),
            b"" if found.auth is None else b" AUTH=%b" % xtext(harmless(found.auth)),
        )
    )


def write_rcpt(found: RcptParameters) -> bytes:
    written = b" NOTIFY=%b" % ",".join(found.notify).encode() if found.notify else b""
    if found.orcpt is not None:
        kind, address = map(harmless, found.orcpt)
        if kind.lower() == "utf-8":
            address = address.replace("\\", "\\x{5C}")
        written += b" ORCPT=%b;%b" % (kind.encode(), xtext(address))
    return written


def harmless(text: str) -> str:
    assert not any(character < " " or "\x7f" <= character <= "\x9f" for character in text), text
    return text
