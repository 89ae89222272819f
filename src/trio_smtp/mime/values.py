"""The parts of a parsed message. All are frozen, so they can safely be kept, compared and passed to other threads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Self

from trio_smtp.mime.fields import decode, one_line
from trio_smtp.mime.html_text import find_links

__all__ = ["Attachment", "MailAddress", "MimeLimits", "ParsedMessage", "Part"]

_DEEPEST = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class MimeLimits:
    """How much of a message is parsed. The rest is left out, and `ParsedMessage.defects` says so.

    Args:
        octets: the most octets of the message, and the most to decode in all parts and messages that it contains.
        header: the most octets of the headers of all parts together.
        parts: the most parts in the whole tree.
        depth: the most levels of nested parts and messages, at most 100.
        addresses: the most addresses in all address fields together, and the most message IDs in one field.
        text: the most octets of the text, and separately of the HTML.

    Raises:
        ValueError: if a limit is less than 1, or `depth` is over 100.
    """

    octets: int = 64 * 1024 * 1024
    header: int = 512 * 1024
    parts: int = 1000
    depth: int = 20
    addresses: int = 1000
    text: int = 2 * 1024 * 1024

    def __post_init__(self) -> None:
        if min(self.octets, self.header, self.parts, self.depth, self.addresses, self.text) < 1:
            raise ValueError("every limit must be at least 1")
        if self.depth > _DEEPEST:
            raise ValueError(f"depth must be at most {_DEEPEST}, not {self.depth}")


@dataclass(frozen=True, slots=True)
class MailAddress:
    """A mailbox of an address field (RFC 5322 §3.4): the display name, "" if there is none, and the address."""

    name: str
    address: str
    """As the sender wrote it, so it may be invalid; "" if there is only a name."""

    def __str__(self) -> str:
        return f"{self.name} <{self.address}>" if self.name else self.address


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A node of the tree: a part with content, a multipart with its parts as children, or a message with its body as
    the only child.
    """

    path: str
    """The section number of IMAP (RFC 9051 §6.4.5): ``1.2`` is the second part of the first part. A multipart that is
    the body of a message has no number and is called ``TEXT``, or ``3.TEXT`` in the message that is part 3."""
    content_type: str
    """Type and subtype in lower case. The default is ``text/plain`` (RFC 2045 §5.2), in a digest ``message/rfc822``; an
    invalid type counts as ``text/plain``."""
    charset: str | None = None
    """As declared; None if it is not declared."""
    disposition: str = ""
    """As declared, usually ``inline`` or ``attachment``; "" if it is not declared (RFC 2183 §2)."""
    filename: str = ""
    """As the sender wrote it, so not safe to open a file with; use `Attachment.filename` for that."""
    content_id: str = ""
    """Without the angle brackets, as in a ``cid:`` URL (RFC 2392)."""
    root_id: str = ""
    """The ``content_id`` of the root of a multipart/related; "" if it is not declared (``start``, RFC 2387 §3.2)."""
    delsp: bool = field(default=False, repr=False)
    """Whether a space at the end of a line means that the line goes on in the next one (``DelSp``, RFC 3676 §4.1).
    The text of the message has no such spaces and line breaks."""
    children: tuple[Self, ...] = ()
    source: bytes = field(repr=False)
    """The octets that contain the content, from `start` to `end`: the message itself, or the decoded content."""
    start: int = field(repr=False)
    end: int = field(repr=False)

    @property
    def content(self) -> bytes:
        """The octets without transfer encoding. For a multipart this is its whole body, for a message the message."""
        return self.source[self.start : self.end]

    @property
    def size(self) -> int:
        """The number of octets in `content`."""
        return self.end - self.start

    def walk(self) -> Iterator[Self]:
        """The part itself and all parts within it, each before its children."""
        yield self
        for child in self.children:
            yield from child.walk()


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A part that is not the text of the message: a file, a picture, a forwarded message, a signature."""

    filename: str
    """A safe file name, different from those of the other attachments. It is never empty and has no folders, no control
    characters and nothing special to a file system. It does not look like an option, but quote it in a shell."""
    inline: bool
    """Whether it is displayed within the text, as a picture that the HTML refers to by its content ID."""
    part: Part = field(repr=False)

    @property
    def content_type(self) -> str:
        """As `Part.content_type`: the sender's claim, which may be false."""
        return self.part.content_type

    @property
    def content_id(self) -> str:
        """As `Part.content_id`."""
        return self.part.content_id

    @property
    def size(self) -> int:
        """The number of octets in `content`."""
        return self.part.size

    @property
    def content(self) -> bytes:
        """The octets of the file."""
        return self.part.content


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedMessage:
    """A message as people see it. Single-line values contain no control characters. Text and HTML are as sent,
    except that lines are joined which the sender has split at any place (`Part.delsp`).

    The values of missing fields are "", None or empty.
    """

    subject: str
    from_: tuple[MailAddress, ...]
    sender: MailAddress | None
    """The mailbox that sent the message on behalf of those in From, if there is a Sender field."""
    reply_to: tuple[MailAddress, ...]
    to: tuple[MailAddress, ...]
    cc: tuple[MailAddress, ...]
    bcc: tuple[MailAddress, ...]
    date: datetime | None
    """Aware, in the sender's time zone."""
    message_id: str
    """Without the angle brackets, like the IDs in `in_reply_to` and `references`."""
    in_reply_to: tuple[str, ...]
    references: tuple[str, ...]
    text: str | None
    """The whole text, with LF line ends; None if part of it exists only as HTML."""
    html: str | None
    """The whole text as HTML, with plain text parts in ``<pre>``; None if there is no HTML. It comes from the sender
    and is not safe to display without a sanitiser."""
    attachments: tuple[Attachment, ...]
    tree: Part
    """All parts."""
    fields: tuple[tuple[bytes, bytes], ...] = field(repr=False)
    """The fields of the header: names in lower case, and raw values."""
    defects: tuple[str, ...]
    """Sentences that say what was wrong with the message; empty for correct mail."""

    @property
    def headers(self) -> dict[str, list[str]]:
        """All header fields: for each name, in lower case, the decoded values in their order."""
        found: dict[str, list[str]] = {}
        for name, value in self.fields:
            found.setdefault(name.decode("ascii"), []).append(one_line(decode(value)))
        return found

    def header(self, name: str) -> str | None:
        """The decoded value of the first header field with this name, None if there is none.

        Args:
            name: in any case, ``List-Unsubscribe`` for example.
        """
        wanted = name.lower().encode(errors="replace")
        return next((one_line(decode(value)) for found, value in self.fields if found == wanted), None)

    @property
    def links(self) -> tuple[str, ...]:
        """The URLs of the links in the HTML, then the http and https URLs in the text, each once. Do not trust them."""
        return tuple(dict.fromkeys(find_links(self.html or "", self.text or "")))

    @property
    def inline_images(self) -> tuple[Attachment, ...]:
        """The attached pictures that are displayed within the text."""
        return tuple(each for each in self.attachments if each.inline and each.content_type.startswith("image/"))

    def part(self, path: str) -> Part | None:
        """The part with this path (``1.2``), None if there is none."""
        return next((part for part in self.tree.walk() if part.path == path.upper()), None)
