"""Where the header section of a message ends, found while the message comes in."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["BOUND", "HeaderSection"]

BOUND: Final = 1 << 20
"""Octets of a header section that are kept."""
_LINE_LIMIT: Final = 998  # octets, within which a line that is a field must have its colon: RFC 5322 §2.1.1

# RFC 5322 §2.2: a field is a name of printable characters, a colon and a body, folded or not.
_LINES: Final = re.compile(rb"(?:(?:[!-9;-~]++[ \t]*+:|[ \t])[^\n]*+\n)*+")
_FIELD: Final = re.compile(rb"[!-9;-~]++[ \t]*+:|[ \t]")
_NAME: Final = re.compile(rb"[!-9;-~]*+[ \t]*+\Z")


class HeaderSection:
    """Collects it: the lines before the first that is neither a field nor the continuation of one (RFC 5322 §2.1).

    That is the empty line as a rule. A message without one, or one that is all body, has what looks like a header.
    """

    __slots__ = ("_buffer", "_in_field", "_position")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._position = 0  # what is before it are whole lines of the header
        self._in_field = False  # what is behind it is known to be one more, which has no end yet

    def feed(self, chunk: bytes) -> bytes | None:
        """The header section, cut off at `BOUND`, once all of it has come; None until then.

        Args:
            chunk: the next octets of the message; ``b""`` at its end.
        """
        buffer = self._buffer
        buffer += chunk
        if chunk and ((self._in_field and b"\n" not in chunk) or self._goes_on()) and len(buffer) < BOUND:
            return None
        end = len(buffer) if self._in_field else self._position
        return bytes(buffer[: min(end, BOUND)])

    def _goes_on(self) -> bool:
        """Take the whole lines that have come; whether what follows them may be one more."""
        buffer = self._buffer
        lines = _LINES.match(buffer, self._position)
        assert lines is not None  # it matches no line, too
        start = self._position = lines.end()
        if buffer.find(b"\n", start) >= 0:
            self._in_field = False
            return False
        self._in_field = _FIELD.match(buffer, start) is not None
        return self._in_field or (len(buffer) - start <= _LINE_LIMIT and _NAME.match(buffer, start) is not None)
