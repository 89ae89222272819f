"""Format a message for people: the fields they read, the text, the list of attachments, and the defects.

Mail can be hostile, so every line is escaped. Only this module adds escape sequences for colours.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from trio_smtp._escape import escape
from trio_smtp.cli.output import legible, spaced
from trio_smtp.mailbox.store import Message
from trio_smtp.mime import Attachment, ParsedMessage, html_to_text
from trio_smtp.mime.fields import decode, fields

__all__ = ["note", "readable"]

_SHOWN: Final = frozenset({b"from", b"to", b"cc", b"reply-to", b"date", b"subject"})
_ENVELOPE: Final = frozenset({b"return-path", b"delivered-to"})  # the real sender and recipients, also those of Bcc
_BOLD, _YELLOW, _PLAIN = "\x1b[1m", "\x1b[33m", "\x1b[m"


def readable(message: Message, *, coloured: bool = False, with_envelope: bool = True) -> Iterator[str]:
    """The lines to show for a message, each safe for a terminal.

    Args:
        coloured: whether to highlight titles and notes with the escape sequences of ECMA-48.
        with_envelope: whether to show the envelope fields that the server has added.
    """
    shown = _SHOWN | _ENVELOPE if with_envelope else _SHOWN
    bold, plain = (_BOLD, _PLAIN) if coloured else ("", "")
    for name, value in fields(message.content):
        if name in shown:
            text = legible(decode(value)) if name == b"subject" else spaced(decode(value))
            yield f"{bold}{name.decode('ascii').title()}:{plain} {escape(text)}"
    parsed = message.parsed
    if text := _text(parsed).rstrip():
        yield ""
        for line in text.split("\n"):
            yield escape(legible(line.expandtabs()).rstrip())
    if parsed.attachments:
        yield ""
        yield f"{bold}Attachments:{plain}"
        for number, attachment in enumerate(parsed.attachments, 1):
            yield f"{number:>3}. {escape(_line(attachment))}"
    if parsed.defects:
        yield ""
        for defect in parsed.defects:
            yield note(defect, coloured=coloured)


def note(text: str, *, coloured: bool) -> str:
    """A line that points out a problem."""
    yellow, plain = (_YELLOW, _PLAIN) if coloured else ("", "")
    return f"{yellow}Note:{plain} {escape(text)}"


def _text(parsed: ParsedMessage) -> str:
    """The text of a message; the text of its HTML if there is no plain text or only white space."""
    text = parsed.text or ""
    return text if text.strip() else html_to_text(parsed.html or "")


def _line(attachment: Attachment) -> str:
    part = attachment.part
    place = " in the text" if attachment.inline else ""
    return f"{attachment.filename}{place} ({part.content_type}, {part.size} octets, part {part.path})"
