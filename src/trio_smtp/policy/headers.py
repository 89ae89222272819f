"""Bounds on the header section, against mail loops and oversized headers."""

from __future__ import annotations

import re
from types import NoneType
from typing import Final

from trio_smtp._checks import check_type
from trio_smtp.handler import Refuse, Session
from trio_smtp.policy.base import HEADER_BOUND, Policy
from trio_smtp.protocol import Envelope

__all__ = ["HeaderLimits"]

_FIELD: Final = re.compile(rb"^[^ \t\r\n]", re.MULTILINE)  # its first line; continuation lines begin with white space
_RECEIVED: Final = re.compile(rb"^received[ \t]*+:", re.MULTILINE | re.IGNORECASE)  # blanks before ":": RFC 5322 §4.5


class HeaderLimits(Policy):
    """Refuses messages whose header section is over a limit. None means no limit.

    Args:
        received: the most Received fields. More indicate a mail loop (RFC 5321 §6.3) and get 554 5.4.6.
        fields: the most header fields of any kind. More get 554 5.6.0.
        size: the most octets, up to 1 MiB. More get 552 5.3.4.

    Raises:
        TypeError: if a limit is neither a whole number nor None.
        ValueError: if a limit is negative, or `size` is over 1 MiB, the most of a header section that policies are
            given.
    """

    def __init__(self, *, received: int | None = 50, fields: int | None = 1_000, size: int | None = 128 * 1024) -> None:
        for name, limit in (("received", received), ("fields", fields), ("size", size)):
            check_type(f"HeaderLimits.{name}", limit, int, NoneType)
            if limit is not None and limit < 0:
                raise ValueError(f"HeaderLimits.{name} must be at least 0, not {limit}; None means no limit")
        if size is not None and size > HEADER_BOUND:
            raise ValueError(f"HeaderLimits.size must be at most 1 MiB, not {size}")
        self._received = received
        self._fields = fields
        self._size = size
        if size is not None:
            self.header_bound = size + 1

    async def header(self, session: Session, envelope: Envelope, header: bytes) -> None:
        if self._size is not None and len(header) > self._size:
            raise Refuse(552, "Header section too big", "5.3.4", rule="header-size")
        # Each field takes at least one line. Counting lines is cheap and rules out all but hostile messages.
        lines = header.count(b"\n")
        if self._fields is not None and lines > self._fields and len(_FIELD.findall(header)) > self._fields:
            raise Refuse(554, "Too many header fields", "5.6.0", rule="header-fields")
        if self._received is not None and lines > self._received and len(_RECEIVED.findall(header)) > self._received:
            raise Refuse(554, "Mail loop: too many Received fields", "5.4.6", rule="mail-loop")
