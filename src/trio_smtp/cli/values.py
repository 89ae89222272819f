"""Convert and check the values of flags.

Every function is a `type` for argparse, which prints the text of its `ArgumentTypeError` after the name of the flag.
"""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

__all__ = [
    "Endpoint",
    "account",
    "address",
    "count",
    "date",
    "delay",
    "description",
    "endpoint",
    "extension",
    "file",
    "flag",
    "flag_or_none",
    "header",
    "line",
    "name",
    "output",
    "path",
    "quota",
    "rate",
    "refusal",
    "seconds",
    "size",
    "source",
]

# `int` also accepts signs, white space, underscores and digits of other scripts.
_COUNT = re.compile(r"[0-9]{1,18}")
_SECONDS = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")
_SIZE = re.compile(r"([0-9]{1,15})([KMG]?)")
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}

_RATE = re.compile(r"([0-9]{1,9})/([0-9]{1,6})([smhd])")
_SPANS = {"s": 1, "m": 60, "h": 3600, "d": 24 * 3600}

_ENDPOINT = re.compile(r"(?:\[([0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|([\w-]{1,63}(?:\.[\w-]{1,63})*)):([0-9]{1,5})", re.ASCII)


class Endpoint(NamedTuple):
    """A host name or address without brackets, and a TCP port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def count(text: str) -> int:
    """A whole number of at least 1."""
    if not _COUNT.fullmatch(text) or not int(text):
        raise ArgumentTypeError(f"{text!a} is not a whole number of at least 1")
    return int(text)


def size(text: str) -> int:
    """Octets; K, M and G are powers of 1024."""
    match = _SIZE.fullmatch(text)
    octets = int(match[1]) * _UNITS[match[2]] if match else 0
    if not 0 < octets < 2**63:  # a quota has at most 63 bits
        raise ArgumentTypeError(f"{text!a} is not a size of at least 1 octet, such as 500000, 512K or 10M")
    return octets


def quota(text: str) -> int | None:
    """A size, or ``none``."""
    return None if text == "none" else size(text)


def date(text: str) -> datetime:
    """A date, or a date and time, in UTC unless it has a zone."""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError as error:
        raise ArgumentTypeError(f"{text!a} is not a date such as 2026-11-23 or 2026-11-23T20:15:00Z") from error
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def flag(text: str) -> str:
    """A flag. The backslash of a system flag may be missing, because shells remove it."""
    from trio_smtp.mailbox import names, store  # noqa: PLC0415  # as below

    try:
        [checked] = names.check_flags([names.SYSTEM_FLAGS.get(f"\\{text.lower()}", text)])
    except store.InvalidFlag as error:
        raise ArgumentTypeError(str(error)) from error
    return checked


def flag_or_none(text: str) -> str | None:
    """A flag, or the empty text."""
    return flag(text) if text else None


def header(text: str) -> tuple[str, str]:
    """``NAME=TEXT``: a header field and a text to find in it. ``NAME`` alone finds any value."""
    field, _, wanted = text.partition("=")
    if not field:
        raise ArgumentTypeError(f"{text!a} does not begin with the name of a header field, as List-Id=announce does")
    return field, wanted


def seconds(text: str) -> float:
    """A time span of more than 0."""
    if not _SECONDS.fullmatch(text) or not float(text):
        raise ArgumentTypeError(f"{text!a} is not a number of seconds greater than 0, such as 30 or 0.5")
    return float(text)


def delay(text: str) -> float:
    """A time span, 0 included."""
    if not _SECONDS.fullmatch(text):
        raise ArgumentTypeError(f"{text!a} is not a number of seconds such as 2 or 0.5")
    return float(text)


def rate(text: str) -> tuple[int, float] | None:
    """A count and seconds, from ``100/60s``, ``1000/10m``, ``20/1h`` or ``500/1d``; None for ``off``."""
    if text == "off":
        return None
    match = _RATE.fullmatch(text)
    times, seconds = (int(match[1]), int(match[2]) * _SPANS[match[3]]) if match else (0, 0)
    if not times or not seconds:
        raise ArgumentTypeError(f"{text!a} is neither a rate such as 100/60s, 1000/10m or 20/1h nor off")
    return times, float(seconds)


def refusal(text: str) -> tuple[str, int]:
    """``WHAT=CODE``: a refusal for `trio_smtp.policy.Refusals`."""
    from trio_smtp.policy import Refusals  # noqa: PLC0415  # --help need not load it

    what, _, code = text.rpartition("=")
    if not what or not _COUNT.fullmatch(code):
        raise ArgumentTypeError(f"{text!a} is not of the form WHAT=CODE, such as recipient=550")
    try:
        Refusals().refuse(what, int(code))
    except ValueError as error:
        raise ArgumentTypeError(f"{text!a} cannot be refused: {error}") from error
    return what, int(code)


def extension(text: str) -> str:
    """The keyword of an extension that a server need not offer."""
    from trio_smtp.protocol.config import OPTIONAL_EXTENSIONS  # noqa: PLC0415  # as above

    if text.upper() not in OPTIONAL_EXTENSIONS:
        raise ArgumentTypeError(f"{text!a} is not one of {', '.join(sorted(OPTIONAL_EXTENSIONS))}")
    return text.upper()


def endpoint(text: str) -> Endpoint:
    """``HOST:PORT``, an IPv6 address in brackets."""
    match = _ENDPOINT.fullmatch(text)
    if match is None:
        raise ArgumentTypeError(f"{text!a} is not of the form HOST:PORT, such as 127.0.0.1:1025 or [::1]:1025")
    if int(match[3]) > 65535:
        raise ArgumentTypeError(f"{text!a} is not of the form HOST:PORT, because the port is above 65535")
    return Endpoint(match[1] or match[2], int(match[3]))


def file(text: str) -> Path:
    """The path of a file, which has a name: not ``.``, ``/`` or empty."""
    path = Path(text)
    if not path.name:
        raise ArgumentTypeError(f"{text!a} is not the path of a file")
    return path


def path(text: str) -> Path:
    """A path that is not empty, as the value of an unset variable of a shell is: that would be this directory."""
    if not text:
        raise ArgumentTypeError("the path is empty")
    return Path(text)


def source(text: str) -> str:
    """The path of a file to read, or ``-`` for standard input. Not a `Path`, for which ``./-`` is the same as ``-``."""
    path(text)  # raises if it is empty
    return text


def output(text: str) -> Path | None:
    """The path of a file or folder, None for standard output (``-``)."""
    return None if text == "-" else path(text)


def line(text: str) -> str:
    """One line of text."""
    if not text.isprintable():
        raise ArgumentTypeError(f"{text!a} contains a line break or another unprintable character")
    return text


def address(text: str) -> str:
    """A mail address, converted to its simplest spelling."""
    from trio_smtp.protocol import Address  # noqa: PLC0415  # --help need not load the protocol
    from trio_smtp.protocol.grammar import GrammarError  # noqa: PLC0415  # as above

    try:
        parsed = Address.parse(text)
    except GrammarError as error:
        if error.kind == "path_too_long":
            raise ArgumentTypeError(f"{text!a} cannot be used: {error}") from error
        parsed = None
    if parsed is None or not parsed.domain:
        raise ArgumentTypeError(f"{text!a} is not a mail address such as demo@example.com")
    return str(parsed)


def name(text: str) -> str:
    """A valid name for a new account or mailbox."""
    from trio_smtp.mailbox import names, store  # noqa: PLC0415  # as above

    try:
        return names.check_name(text)
    except store.InvalidName as error:
        raise ArgumentTypeError(str(error)) from error


def description(text: str) -> str:
    """The description of an account."""
    from trio_smtp.mailbox import names, store  # noqa: PLC0415  # as above

    try:
        return names.check_description(text)
    except store.InvalidName as error:
        raise ArgumentTypeError(str(error)) from error


def account(text: str) -> tuple[str, str]:
    """``NAME=ADDRESS``: the name of an account and an address for it."""
    account_name, separator, account_address = text.partition("=")
    if not separator:
        raise ArgumentTypeError(f"{text!a} is not of the form NAME=ADDRESS, such as demo=demo@example.com")
    return name(account_name), address(account_address)
