"""Makes untrusted text safe for a log line or a terminal."""

from __future__ import annotations

__all__ = ["escape"]


def escape(text: str) -> str:
    r"""`text` on one line without anything that a terminal acts on: ``\x``-like escapes replace what is not printable.

    Control characters, ESC, line separators, bidirectional overrides and lone surrogates are not printable for
    `str.isprintable`; the backslash is escaped too, so that nobody can forge an escape.
    """
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(
        char if char.isprintable() and char != "\\" else char.encode("unicode_escape").decode("ascii") for char in text
    )
