"""Target: paths. The parser must agree with a second parser of the grammar, and its results survive a round trip."""

from __future__ import annotations

import ipaddress
import string

from trio_smtp.protocol.addresses import Address, parse_path
from trio_smtp.protocol.grammar import Fault, GrammarError

ATEXT = frozenset(string.ascii_letters + string.digits + "!#$%&'*+-/=?^_`{|}~")
LET_DIG = frozenset(string.ascii_letters + string.digits)


def addresses(data: bytes) -> None:
    """Check a path. The input is the octets between its angle brackets."""
    expected = second_reading(data)
    result: tuple[Address | None, int] | Fault
    try:
        result = parse_path(b"FROM:<%b> X" % data, 5, reverse=False)
    except GrammarError as error:
        result = error.kind
    if isinstance(result, tuple):
        address, end = result
        if end < len(data) + 7:  # the path has ended at an earlier bracket
            return addresses(data[: end - 7])
        assert address == expected, f"{address} is not {expected}"
        if address is not None:
            written = str(address)
            assert len(written.encode()) <= 254
            assert Address.parse(written) == address == Address.parse(written.encode())
    elif result == "path_too_long":
        assert len(data) > 64
    else:
        assert result == "path_syntax"
        assert expected is None, f"refused: {expected}"
    return None


def second_reading(data: bytes) -> Address | None:
    """Parse a path (RFC 5321 §4.1.2, RFC 6531 §3.3) by characters, without regular expressions."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    if any(character < " " or "\x7f" <= character <= "\x9f" for character in text):
        return None
    if data.lower() == b"postmaster":
        return Address(text, "")
    if text.startswith("@"):
        route, colon, text = text.partition(":")
        if not colon or not all(hop.startswith("@") and is_domain(hop[1:]) for hop in route.split(",")):
            return None
    if text.startswith('"'):
        local_part, text = unquote(text[1:])
    else:
        local_part, at, text = text.partition("@")
        text = at + text
        if not all(atom and all(c in ATEXT or c > "\x7f" for c in atom) for atom in local_part.split(".")):
            return None
    if text.startswith("@") and (is_literal(text[1:]) if text.startswith("@[") else is_domain(text[1:])):
        return Address(local_part, text[1:])
    return None


def unquote(text: str) -> tuple[str, str]:
    """The content of a quoted string, whose opening quote is before `text`, and the text after it."""
    meaning = ""
    characters = iter(text)
    for character in characters:
        if character == '"':
            return meaning, "".join(characters)
        if character == "\\":
            escaped = next(characters, "\x7f")
            if escaped > "~":
                break
            meaning += escaped
        else:
            meaning += character
    return "", ""


def is_domain(text: str) -> bool:
    return all(
        label.strip("-") == label != "" and all(c in LET_DIG or c == "-" or c > "\x7f" for c in label)
        for label in text.split(".")
    )


def is_literal(text: str) -> bool:
    """Whether this is an address literal (RFC 5321 §4.1.3)."""
    content = text[1:-1]
    if text[-1] != "]" or not content.isascii() or any(character in "[\\] " for character in content):
        return False
    tag, colon, rest = content.partition(":")
    if not colon:
        return is_ipv4(content)
    if tag.lower() != "ipv6":
        return "." not in tag and is_domain(tag) and rest != ""
    start, last_colon, end = rest.rpartition(":")
    groups = [group for group in rest.split(":") if group]
    if is_ipv4(end):
        rest = f"{start}{last_colon}0.0.0.0"  # the standard library refuses leading zeros
        groups.append("")  # an IPv4 part counts as two groups
    try:
        ipaddress.IPv6Address(rest)
    except ValueError:
        return False
    return "%" not in rest and ("::" not in rest or len(groups) <= 6)


def is_ipv4(text: str) -> bool:
    numbers = text.split(".")
    return len(numbers) == 4 and all(
        number.isdecimal() and len(number) <= 3 and int(number) <= 255 for number in numbers
    )
