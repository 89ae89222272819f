r"""The grammar of commands as regular expressions over octets, each under its ABNF.

Octets are matched, never text: `str` methods and `\d` or `\w` would let in other scripts' letters and digits. The
octets of a UTF8-non-ascii (RFC 6531 §3.3) are matched as `[\x80-\xff]`; `decode` checks whether they are UTF-8.

Every repetition is possessive (``++``, ``*+``), in an atomic group (``(?>...)``) or bounded, so that no expression ever
backtracks over what it has matched: the time for an argument is linear in its length, whatever a peer sends. No group
is repeated possessively: Python before 3.11.5, which Debian 12 has, then counts half of a repetition as matched.
"""

from __future__ import annotations

import re
from typing import Final, Literal, TypeAlias

__all__ = [
    "ATOM",
    "COMMAND",
    "DOT_STRING",
    "EMBEDDED_CHAR",
    "HELLO_ARGUMENT",
    "HEXCHAR",
    "LOOSE_PATH",
    "PARAMETER",
    "PATH",
    "PLAIN_RCPT",
    "QUOTED_PAIR",
    "SIZE",
    "UTF8_ADDRESS",
    "XTEXT",
    "Fault",
    "GrammarError",
    "decode",
]

Fault: TypeAlias = Literal["path_syntax", "path_too_long", "parameter_syntax", "parameter_unknown"]


_REASONS: Final[dict[Fault, str]] = {
    "path_syntax": "this is not a mail address",
    "path_too_long": "the address is too long: 64 octets before the @ and 254 in all are allowed",
    "parameter_syntax": "a parameter is malformed",
    "parameter_unknown": "a parameter is unknown here",
}


class GrammarError(ValueError):
    """The argument of a command breaks the grammar. `kind` says how; nothing that the client sent is in it."""

    def __init__(self, kind: Fault) -> None:
        super().__init__(_REASONS[kind])
        self.kind: Final = kind


# Commands -----------------------------------------------------------------------------------------------------------

# command        = verb [SP argument] CRLF      ; RFC 5321 §2.4, §4.1.1: spaces before the CRLF are tolerated
COMMAND: Final = re.compile(rb"([!-~]++)(?: ((?>(?: *+[^ \r\n]++)*)))? *+\r\n")
"""A whole line. Groups: the verb, known or not, and the argument, which may be anything without newlines."""

# Addresses: RFC 5321 §4.1.2 and §4.1.3, with the additions of RFC 6531 §3.3 ------------------------------------------


def _more(item: bytes) -> bytes:
    """Any number of items, or none. An item begins with an octet of its own, so that a match without any is fast."""
    return rb"(?:%b(?>(?:%b)*)|)" % (item, item)


# Atom           = 1*atext                   ; atext of ASCII and UTF8-non-ascii
# Dot-string     = Atom *("." Atom)
_ATOM = rb"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\xff-]++"
_DOT_STRING = _ATOM + _more(rb"\." + _ATOM)

# Quoted-string    = DQUOTE *QcontentSMTP DQUOTE
# QcontentSMTP     = qtextSMTP / quoted-pairSMTP     ; qtextSMTP of ASCII and UTF8-non-ascii
# quoted-pairSMTP  = %d92 %d32-126
# qtextSMTP        = %d32-33 / %d35-91 / %d93-126
_QCONTENT = rb"(?>(?:[ !#-\[\]-~\x80-\xff]++|\\[ -~])*)"


# Domain         = sub-domain *("." sub-domain)
# sub-domain     = Let-dig [Ldh-str]
# Ldh-str        = *( ALPHA / DIGIT / "-" ) Let-dig
def _domain(let_digs: bytes) -> bytes:
    sub_domain = let_digs + _more(rb"--*+" + let_digs)
    return sub_domain + _more(rb"\." + sub_domain)


_DOMAIN = _domain(rb"[A-Za-z0-9\x80-\xff]++")

# IPv4-address-literal  = Snum 3("." Snum)
# Snum                  = 1*3DIGIT, a value of 0 to 255
_SNUM = rb"(?:25[0-5]|2[0-4][0-9]|[01]?[0-9]{1,2})"
_IPV4 = rb"%b(?:\.%b){3}" % (_SNUM, _SNUM)

# IPv6-addr      = IPv6-full / IPv6-comp / IPv6v4-full / IPv6v4-comp
# IPv6-full      = IPv6-hex 7(":" IPv6-hex)
# IPv6-comp      = [IPv6-hex *5(":" IPv6-hex)] "::" [IPv6-hex *5(":" IPv6-hex)]
#                  ; no more than 6 groups in addition to the "::"
# IPv6v4-full    = IPv6-hex 5(":" IPv6-hex) ":" IPv4-address-literal
# IPv6v4-comp    = [IPv6-hex *3(":" IPv6-hex)] "::" [IPv6-hex *3(":" IPv6-hex) ":"] IPv4-address-literal
#                  ; no more than 4 groups in addition to the "::" and the IPv4-address-literal
_HEX = rb"[0-9A-Fa-f]{1,4}+"
_IPV6 = b"|".join(
    (
        rb"%b(?::%b){7}" % (_HEX, _HEX),
        rb"(?!(?::*+%b){7})(?:%b(?::%b){0,5})?::(?:%b(?::%b){0,5})?" % ((_HEX,) * 5),
        rb"%b(?::%b){5}:%b" % (_HEX, _HEX, _IPV4),
        rb"(?!(?::*+%b){6})(?:%b(?::%b){0,3})?::(?:%b(?::%b){0,3}:)?%b" % (*(_HEX,) * 5, _IPV4),
    )
)

# address-literal          = "[" ( IPv4-address-literal / IPv6-address-literal / General-address-literal ) "]"
# IPv6-address-literal     = "IPv6:" IPv6-addr
# General-address-literal  = Standardized-tag ":" 1*dcontent
# Standardized-tag         = Ldh-str
# dcontent                 = %d33-90 / %d94-126
_LITERAL = rb"\[(?:%b|(?i:IPv6):(?:%b)|(?!(?i:IPv6):)[A-Za-z0-9]++(?>(?:-++[A-Za-z0-9]++)*):[!-Z^-~]++)\]" % (
    _IPV4,
    _IPV6,
)

# The one mailbox that needs no domain, in any case: RFC 5321 §4.1.1.3, §4.5.1
_POSTMASTER = rb"((?i:postmaster))"


def _path(dot_string: bytes, domain: bytes) -> re.Pattern[bytes]:
    # Path           = "<" [ A-d-l ":" ] Mailbox ">"
    # A-d-l          = At-domain *( "," At-domain )
    # At-domain      = "@" Domain
    # Mailbox        = Local-part "@" ( Domain / address-literal )
    # Local-part     = Dot-string / Quoted-string
    mailbox = rb"""(?:(%b)|"(%b)")@(%b|%b)""" % (dot_string, _QCONTENT, domain, _LITERAL)
    return re.compile(rb"<(?:(?>(?:(@%b(?>(?:,@%b)*)):)?)%b|%b)>" % (domain, domain, mailbox, _POSTMASTER))


PATH: Final = _path(_DOT_STRING, _DOMAIN)
"""Groups: the source route, the Dot-string, the content of the Quoted-string, the domain or literal, the postmaster."""

LOOSE_PATH: Final = _path(
    rb"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.\x80-\xff-]++",  # atext and dots, in any order
    _domain(rb"[A-Za-z0-9_\x80-\xff]++"),
)
"""The same for what many programs send: dots anywhere in the local part, and ``_`` in the domain."""

PLAIN_RCPT: Final = re.compile(
    rb"(?i:RCPT TO:)<(?=[^@]{1,64}+@)(?=[!-=?-~]{1,254}+>)(%b)@(%b)>\r\n" % (_DOT_STRING, _DOMAIN)
)
"""A whole line: RCPT in its usual form, in ASCII, without parameters and within the limits of RFC 5321 §4.5.3.1.

Groups: the Dot-string, the domain."""

DOT_STRING: Final = re.compile(_DOT_STRING)
QUOTED_PAIR: Final = re.compile(rb"\\(.)")

# ehlo           = "EHLO" SP ( Domain / address-literal ) CRLF
# Any other word is accepted too: mail must not be refused for what the client calls itself (RFC 5321 §4.1.4).
HELLO_ARGUMENT: Final = re.compile(rb"(?!.*\xc2[\x80-\x9f])[!-~\x80-\xff]{1,255}")  # without C1 controls

# Parameters ---------------------------------------------------------------------------------------------------------

# Mail-parameters  = esmtp-param *(SP esmtp-param)                  ; RFC 5321 §4.1.2
# esmtp-param      = esmtp-keyword ["=" esmtp-value]
# esmtp-keyword    = (ALPHA / DIGIT) *(ALPHA / DIGIT / "-")
# esmtp-value      = 1*(%d33-60 / %d62-126 / UTF8-non-ascii)        ; RFC 6531 §3.3
PARAMETER: Final = re.compile(rb" ++([A-Za-z0-9][A-Za-z0-9-]*+)(?>(?:=([!-<>-~\x80-\xff]++))?)(?![^ ])")
"""One parameter with the spaces before it, of which there may be several. Groups: the keyword, the value."""

# size-value       = 1*20DIGIT                                      ; RFC 1870 §3
SIZE: Final = re.compile(rb"[0-9]{1,20}")

# addr-type        = atom                                           ; RFC 3461 §4.2
ATOM: Final = re.compile(_ATOM)

# xtext            = *( xchar / hexchar )                           ; RFC 3461 §4
# xchar            = any ASCII CHAR between "!" (33) and "~" (126) inclusive, except for "+" and "="
# hexchar          = ASCII "+" immediately followed by two upper case hexadecimal digits
XTEXT: Final = re.compile(rb"(?>(?:[!-*,-<>-~\x80-\xff]++|\+[0-9A-F]{2})*)")
HEXCHAR: Final = re.compile(rb"\+([0-9A-F]{2})")

# utf-8-addr-unitext   = 1*(QUCHAR / EmbeddedUnicodeChar)           ; RFC 6533; QUCHAR is any character but "\"
# EmbeddedUnicodeChar  = %x5C.78 "{" HEXPOINT "}"                   ; HEXPOINT is a code point and no surrogate
_HEXPOINT = b"|".join(
    (
        rb"[0-9A-F]{2}",
        rb"[1-9A-F][0-9A-F]{2}",
        rb"(?:[1-9A-CEF][0-9A-F]|D[0-7])[0-9A-F]{2}",
        rb"(?:[1-9A-F]|10)[0-9A-F]{4}",
    )
)
UTF8_ADDRESS: Final = re.compile(rb"(?>(?:[^\\]++|\\x\{(?:%b)\})*)" % _HEXPOINT)
EMBEDDED_CHAR: Final = re.compile(rb"\\x\{([0-9A-F]++)\}")

# Text ---------------------------------------------------------------------------------------------------------------

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # those of ASCII, and C1


def decode(octets: bytes, kind: Fault) -> str:
    """The text of an argument: UTF-8 without control characters.

    Raises:
        GrammarError: of this `kind`, if the octets are not such text.
    """
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError:
        raise GrammarError(kind) from None
    if not text.isprintable() and _CONTROL.search(text):  # isprintable() is quick, and true of nearly all texts
        raise GrammarError(kind)
    return text
