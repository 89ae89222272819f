"""A message for people: the fields that they read, and the text.

The mail is hostile, so every line is escaped, and a message that the standard library's parser cannot take (it raises
exceptions of all kinds) is shown as it stands.
"""

from __future__ import annotations

import email
import re
from collections.abc import Iterator
from email.message import Message
from typing import Final

from trio_smtp._escape import escape
from trio_smtp.mailbox.headers import decode, decode_octets, fields

__all__ = ["readable"]

_SHOWN: Final = frozenset({b"from", b"to", b"cc", b"reply-to", b"date", b"subject"})
_BODY = re.compile(rb"(?:\A|\r?\n)\r?\n(.*)", re.DOTALL)


def readable(content: bytes) -> Iterator[str]:
    """The lines to show for a message, each safe for a terminal."""
    for name, value in fields(content):
        if name in _SHOWN:
            yield f"{name.decode('ascii').title()}: {escape(decode(value))}"
    for text in _texts(content):
        yield ""
        for line in text.rstrip().split("\n"):
            yield escape(line.removesuffix("\r").expandtabs())


def _texts(content: bytes) -> list[str]:
    """Its plain texts (without any, its other texts), and a line for each part that is none."""
    try:
        parts = [part for part in email.message_from_bytes(content).walk() if not part.is_multipart()]
        kinds = [part.get_content_type() for part in parts]
        shown = "text/plain" if "text/plain" in kinds else "text/html"
        return [_text(part) if kind == shown else _mention(part) for part, kind in zip(parts, kinds, strict=True)]
    except Exception:  # noqa: BLE001  # RecursionError, IndexError, LookupError, whatever hostile mail brings about
        body = _BODY.search(content)
        return [body[1].decode("utf-8", "replace")] if body else []


def _text(part: Message) -> str:
    octets = _octets(part)
    text = decode_octets(octets, part.get_content_charset("utf-8"))
    return octets.decode("utf-8", "replace") if text is None else text


def _mention(part: Message) -> str:
    name = part.get_filename()
    return f"[{part.get_content_type()}{f' {name}' if name else ''}, {len(_octets(part))} octets]"


def _octets(part: Message) -> bytes:
    octets = part.get_payload(decode=True)
    assert isinstance(octets, bytes)  # what a part that is not multipart gives
    return octets
