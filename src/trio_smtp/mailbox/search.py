"""Decide whether a message satisfies a `Search`, for every store that does not leave this to a database.

Cheap conditions are checked first; a message is read only if the result depends on its content, and only its header
if that is enough.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from functools import cached_property

from trio_smtp.mailbox import headers
from trio_smtp.mailbox.store import MessageInfo, Search
from trio_smtp.mime import texts

__all__ = ["matches"]

_PIECE = 1024 * 1024  # octets of content that are decoded at a time
_MIME = re.compile(rb"content-t", re.IGNORECASE)  # Content-Type, Content-Transfer-Encoding


def matches(search: Search, info: MessageInfo, read: Callable[[int | None], bytes]) -> bool:
    """Whether the search holds for a message.

    Args:
        info: what the store knows of the message without reading it.
        read: returns the given number of octets from the start of its content, or all for None; called at most twice.
    """
    return _holds(search, _Candidate(info, read))


class _Candidate:
    """A message whose header and content are read on demand, each once."""

    def __init__(self, info: MessageInfo, read: Callable[[int | None], bytes]) -> None:
        self.info = info
        self._read = read

    @cached_property
    def _fields(self) -> list[tuple[bytes, str]]:
        head = self._read(headers.HEAD)
        return [(name, headers.decode(value).casefold()) for name, value in headers.fields(head)]

    @cached_property
    def _content(self) -> bytes:
        return self._read(None)

    @cached_property
    def _texts(self) -> list[str]:
        """The decoded texts of its parts, if they may differ from the raw content."""
        if self._content.isascii() and not _MIME.search(self._content):
            return []
        return [text.casefold() for text in texts(self._content)]

    def has_field(self, names: tuple[bytes, ...], text: str | None) -> bool:
        if text is None:
            return True
        text = text.casefold()
        return any(name in names and text in value for name, value in self._fields)

    def has_body(self, text: str | None) -> bool:
        return text is None or self._find(text, headers.body_start(self._content))

    def has_text(self, text: str | None) -> bool:
        if text is None:
            return True
        folded = text.casefold()
        return any(folded in value for _, value in self._fields) or self._find(text, 0)

    def _find(self, text: str, start: int) -> bool:
        """Whether the raw content from an offset on, or the decoded text of a part, contains a text."""
        folded = text.casefold()
        # A character takes up to four octets, and each piece must contain all of a text that begins in it.
        overlap = 4 * len(folded)
        return (
            not folded
            or any(
                folded in self._content[piece : piece + _PIECE + overlap].decode(errors="replace").casefold()
                for piece in range(start, len(self._content), _PIECE)
            )
            or any(folded in decoded for decoded in self._texts)
        )


def _holds(search: Search, message: _Candidate) -> bool:
    info = message.info
    return (
        (search.uids is None or info.uid in search.uids)
        and (search.larger is None or info.size > search.larger)
        and (search.smaller is None or info.size < search.smaller)
        and (search.since is None or info.internal_date >= search.since)
        and (search.before is None or info.internal_date < search.before)
        and (not search.flags or _folded(search.flags) <= _folded(info.flags))
        and message.has_field((b"subject",), search.subject)
        and message.has_field((b"from",), search.sender)
        and message.has_field((b"to", b"cc", b"bcc"), search.recipient)
        and (search.header is None or message.has_field((_field_name(search.header[0]),), search.header[1]))
        and all(_holds(each, message) for each in search.all_of)
        and (not search.any_of or any(_holds(each, message) for each in search.any_of))
        and not any(_holds(each, message) for each in search.none_of)
        and message.has_body(search.body)
        and message.has_text(search.text)
    )


def _folded(flags: Collection[str]) -> set[str]:
    return {flag.lower() for flag in flags}


def _field_name(name: str) -> bytes:
    return name.encode(errors="replace").lower()
