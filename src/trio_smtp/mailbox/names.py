"""The rules for names, addresses and flags, the same for every store.

Only what is created or set is checked and may be refused; a look-up with an invalid name simply finds nothing.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Literal

from trio_smtp.mailbox.errors import InvalidFlag, InvalidName

__all__ = [
    "INBOX",
    "FlagMode",
    "address_key",
    "address_keys",
    "change_flags",
    "check_address",
    "check_description",
    "check_flags",
    "check_name",
    "check_note",
    "mailbox_key",
    "several",
]

INBOX = "INBOX"
"""The mailbox that every account has."""

FlagMode = Literal["replace", "add", "remove"]

SYSTEM_FLAGS = {flag.lower(): flag for flag in (r"\Seen", r"\Answered", r"\Flagged", r"\Deleted", r"\Draft")}
"""The system flags of RFC 9051 §2.3.2 by their lower-case form, without the deprecated \\Recent."""

MAX_NAME = 255  # octets of UTF-8; room for any address (RFC 5321 §4.5.3.1) used as a name
MAX_ADDRESS = 320  # octets: local part 64, "@", domain 255 (RFC 5321 §4.5.3.1)
MAX_DESCRIPTION = 1000  # octets of UTF-8
MAX_NOTE = 255  # octets of UTF-8
MAX_FLAGS = 100

_UNUSABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")  # control characters, lone surrogates
_A_LABEL = re.compile(r"(?<![^.])xn--([a-z0-9][a-z0-9-]{0,58})(?![^.])")
_KEYWORD = re.compile(r'[^\x00-\x20\x7f-\U0010ffff(){%*"\\\]]{1,100}')  # atom of RFC 9051 §9, up to 100 long


def several(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the texts. Raises TypeError for a single str, which would count as a list of its characters."""
    if isinstance(texts, str):
        raise TypeError(f"expected a list such as [{texts!r}], not a string")
    return tuple(texts)


def check_name(name: str) -> str:
    """Return the name of an account or mailbox that is about to be made, or raise InvalidName."""
    if not name:
        raise InvalidName("a name cannot be empty")
    return _check_text(name, MAX_NAME)


def check_address(address: str) -> str:
    """Return the address that an account is about to get, or raise InvalidName."""
    local, at, domain = address.rpartition("@")
    if not (local and at and domain):
        raise InvalidName(f"{address[:40]!r} is not a mail address of the form local@domain")
    return _check_text(address, MAX_ADDRESS)


def check_description(description: str) -> str:
    """Return the description of an account that is about to be made, or raise InvalidName."""
    return _check_text(description, MAX_DESCRIPTION)


def check_note(key: str, text: str, expires: int) -> None:
    """Check a note that is about to be kept. Raises InvalidName, ValueError."""
    check_name(key)
    _check_text(text, MAX_NOTE)
    if not 0 <= expires < 2**63:
        raise ValueError(f"expires must be a time in seconds since 1970, from 0 to 2**63 - 1, not {expires}")


def _check_text(text: str, octets: int) -> str:
    if _UNUSABLE.search(text):
        raise InvalidName(f"{text[:octets]!r} contains a control character or a surrogate")
    if len(text) > octets or len(text.encode()) > octets:
        raise InvalidName(f"{text[:40]!r}... is longer than {octets} octets")
    return text


def mailbox_key(name: str) -> str:
    """The name under which a mailbox is kept: INBOX in any case is INBOX (RFC 9051 §5.1)."""
    # isascii, because upper() turns "ınbox" with a dotless i into INBOX, too.
    return INBOX if len(name) == len(INBOX) and name.isascii() and name.upper() == INBOX else name


def address_key(address: str) -> str:
    """Return the form in which addresses are compared.

    RFC 5321 §2.4 lets only the host that owns a domain ignore the case of local parts. The store is that host, and
    people write Ann@ and ann@ for the same person; two accounts that differ only in case would be a trap. A domain is
    the same in Unicode and in ASCII (``xn--``), the only form that clients without SMTPUTF8 can send.
    """
    key = (address if address.isascii() else unicodedata.normalize("NFC", address)).lower()
    if "xn--" not in key:
        return key
    local, at, domain = key.rpartition("@")
    return local + at + _A_LABEL.sub(_u_label, domain)


def _u_label(a_label: re.Match[str]) -> str:
    """Return an A-label as a U-label (RFC 5890 §2.3.2.1), or unchanged if it is not a valid A-label."""
    try:
        label = a_label[1].encode("ascii").decode("punycode")
    except UnicodeError:
        return a_label[0]
    is_one = label.isprintable() and not label.isascii() and label == unicodedata.normalize("NFC", label).lower()
    return label if is_one else a_label[0]


def address_keys(address: str) -> tuple[str, ...]:
    """The keys under which to look for an address: its own, then the one without the subaddress (RFC 5233)."""
    key = address_key(address)
    local, _, domain = key.rpartition("@")
    user, plus, _ = local.partition("+")
    return (key, f"{user}@{domain}") if plus else (key,)


def check_flags(flags: Iterable[str]) -> frozenset[str]:
    """Return the flags as a set, system flags in their usual spelling and each once, or raise InvalidFlag."""
    spelled: dict[str, str] = {}
    for flag in flags:
        folded = flag.lower()
        if folded not in SYSTEM_FLAGS and not _KEYWORD.fullmatch(flag):
            raise InvalidFlag(rf"{flag[:100]!r} is neither a system flag such as \Seen nor a keyword")
        spelled.setdefault(folded, SYSTEM_FLAGS.get(folded, flag))
    if len(spelled) > MAX_FLAGS:
        raise InvalidFlag(f"a message cannot have more than {MAX_FLAGS} flags")
    return frozenset(spelled.values())


def change_flags(old: frozenset[str], flags: Iterable[str], mode: FlagMode) -> frozenset[str]:
    """The flags that a message with the flags `old` has after `set_flags`. Raises InvalidFlag, ValueError."""
    new = check_flags(flags)
    if mode == "replace":
        return new
    folded = {flag.lower() for flag in new}
    rest = (flag for flag in old if flag.lower() not in folded)
    if mode == "remove":
        return frozenset(rest)
    if mode == "add":
        have = {flag.lower() for flag in old}
        return check_flags([*old, *(flag for flag in new if flag.lower() not in have)])
    raise ValueError(f"mode must be 'replace', 'add' or 'remove', not {mode!r}")
