"""Mail addresses: from the wire to their meaning and back (RFC 5321 §4.1.2, RFC 6531 §3.3).

One regular expression reads every form of a path, and the usual form as fast as an expression of its own would. An
`Address` keeps the meaning, not the spelling: it has no quotes, quoted pairs or source route, and its ``str()`` is the
simplest form that means the same.
"""

from __future__ import annotations

import re
import warnings

from trio_smtp.protocol._value import value
from trio_smtp.protocol.grammar import DOT_STRING, LOOSE_PATH, PATH, QUOTED_PAIR, GrammarError, decode

__all__ = ["Address", "parse_path"]

# RFC 5321 §4.5.3.1, in octets. In a path of at most 256, no domain can exceed its own limit of 255.
_PATH_LIMIT = 256
_LOCAL_PART_LIMIT = 64

_TO_QUOTE = re.compile(r'(["\\])')


@value
class Address:  # noqa: PLW1641 - the decorator makes the hash
    r"""A mailbox (RFC 5321 §2.3.11). `Address.parse` makes one from text; the constructor checks nothing.

    Equality is exact: a server may give upper and lower case of a local part different meanings (RFC 5321 §2.4). An
    address never equals a str, because there are several ways to write it. Comparing the two gives a warning, as the
    mistake would otherwise go unnoticed; ``str(address) == text`` compares with the simplest form.

    Args:
        local_part: the local part without quoting: ``a b`` for ``"a\ b"@example.com``.
        domain: the domain as it was given, or an address literal in its brackets. ``""`` is for the postmaster of the
            server itself, the one mailbox without a domain (RFC 5321 §4.1.1.3).
    """

    local_part: str
    domain: str

    @classmethod
    def parse(cls, text: str | bytes) -> Address:
        """Parse an address without angle brackets; it may have UTF-8.

        Raises:
            ValueError: if `text` is not an address; its message is a sentence that says so.
        """
        octets = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
        address, end = parse_path(b"<%b>" % octets, 0, reverse=False)
        if address is None or end != len(octets) + len("<>") or octets.startswith(b"@"):  # a source route
            raise GrammarError("path_syntax")
        return address

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Address):
            return self.local_part == other.local_part and self.domain == other.domain
        if isinstance(other, str):
            warnings.warn("an Address never equals a str; compare str(address)", stacklevel=2)
        return NotImplemented

    @property
    def is_ascii(self) -> bool:
        """Whether it can be sent without SMTPUTF8 (RFC 6531 §3.4)."""
        return self.local_part.isascii() and self.domain.isascii()

    def __str__(self) -> str:
        """The mailbox as it goes out on the wire, quoted only where it must be."""
        local_part = self.local_part
        if not (local_part.isalnum() or DOT_STRING.fullmatch(local_part.encode("utf-8"))):  # isalnum() is quick
            local_part = '"' + _TO_QUOTE.sub(r"\\\1", local_part) + '"'
        return f"{local_part}@{self.domain}" if self.domain else local_part


def parse_path(data: bytes, start: int, *, reverse: bool, loose: bool = False) -> tuple[Address | None, int]:
    """Read the path (RFC 5321 §4.1.2) that begins at `data[start]`.

    The caller, who knows the parameters, must check whether the address needs SMTPUTF8.

    Args:
        reverse: the path is a reverse-path, which may be ``<>`` (RFC 5321 §4.5.5), but not the postmaster without a
            domain (RFC 5321 §2.3.5).
        loose: accept what `LOOSE_PATH` matches, and a local part as long as the path allows.

    Returns:
        The address, None for ``<>``; and the offset behind the path.

    Raises:
        GrammarError: ``path_syntax`` or ``path_too_long``.
    """
    match = (LOOSE_PATH if loose else PATH).match(data, start)
    if match is None:
        if reverse and data.startswith(b"<>", start):
            return None, start + len("<>")
        raise GrammarError("path_syntax")
    end = match.end()
    route, local_part, quoted, domain, postmaster = match.groups()
    if local_part is not None:
        length = len(local_part)
    elif quoted is not None:
        length = len(quoted) + len('""')
        local_part = QUOTED_PAIR.sub(rb"\1", quoted)
    elif reverse:
        raise GrammarError("path_syntax")
    else:
        return Address(postmaster.decode("ascii"), ""), end
    if (length > _LOCAL_PART_LIMIT and not loose) or end - start > _PATH_LIMIT:
        raise GrammarError("path_too_long")
    if data.isascii():  # the grammar lets no ASCII control character through, so there is nothing more to check
        return Address(local_part.decode(), domain.decode()), end
    if route is not None:
        decode(route, "path_syntax")  # accepted and ignored (RFC 5321 §4.1.1.3, appendix C), but still checked
    return Address(decode(local_part, "path_syntax"), decode(domain, "path_syntax")), end
