"""Finds the end of the header section of a message while the message is being received."""

from __future__ import annotations

import re
from typing import Final

from trio_smtp.mime.fields import LINE_BEGIN

__all__ = ["HeaderSection"]

_LINE_LIMIT: Final = 998  # octets, within which a line that is a field must have its colon: RFC 5322 §2.1.1

_FIELD: Final = re.compile(LINE_BEGIN)
_LINES: Final = re.compile(rb"(?>(?:(?:%b)[^\n]*+\n)*)" % LINE_BEGIN)
_NAME: Final = re.compile(rb"(?:\xef\xbb\xbf|\xef\xbb?\Z)?[!-9;-~]*+[ \t]*+\Z")


class HeaderSection:
    """Collects the header section: all before the first line that neither is a field nor continues one.

    Normally that line is empty (RFC 5322 §2.1). A message without an empty line or a header is read in the same way. A
    bare LF ends a line too, as it does for most mail readers.

    Args:
        bound: the most octets to collect before giving up the search for the end.
    """

    __slots__ = ("_bound", "_in_field", "_position", "content")

    def __init__(self, bound: int) -> None:
        self._bound: Final = bound
        self.content: bytes | bytearray = b""
        """All that has been fed."""
        self._position = 0  # where the complete lines of the header end
        self._in_field = False  # whether the incomplete line behind them is known to belong to the header

    def feed(self, chunk: bytes) -> bytes | None:
        """The header section once all of it has come, or its first `bound` octets if it is larger; None until then.

        Args:
            chunk: the next octets of the message; ``b""`` at its end.
        """
        content = self.content
        if not content:
            self.content = content = chunk  # nearly always the first chunk has the whole header
        elif isinstance(content, bytes):
            self.content = content = bytearray(content) + chunk
        else:
            content += chunk
        if chunk and ((self._in_field and b"\n" not in chunk) or self._goes_on(content)):
            return bytes(content[: self._bound]) if len(content) >= self._bound else None
        end = len(content) if self._in_field else self._position
        return bytes(content[: min(end, self._bound)])

    def _goes_on(self, buffer: bytes | bytearray) -> bool:
        """Take the complete lines that have arrived; return whether another line of the header may follow."""
        lines = _LINES.match(buffer, self._position)
        assert lines is not None  # it also matches zero lines
        start = self._position = lines.end()
        if buffer.startswith(b"\r\n", start):  # an empty line, as nearly always
            self._in_field = False
            return False
        self._in_field = _FIELD.match(buffer, start) is not None
        return self._in_field or (len(buffer) - start <= _LINE_LIMIT and _NAME.match(buffer, start) is not None)
