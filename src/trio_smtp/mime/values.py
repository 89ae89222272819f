"""What a parsed message is made of. All of it is frozen, and safe to keep, to compare and to hand to other threads."""

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
    """How much of a message is looked at. What lies beyond is left out, and `ParsedMessage.defects` says so.

    Args:
        octets: of the message.
        header: octets of the headers of all its parts together.
        parts: in the whole tree.
        depth: of parts within parts, and of messages within messages; at most 100.
        addresses: in all address fields together; the same number of message IDs in References.
        text: octets of the text, and as many of the HTML.

    Raises:
        ValueError: a limit under 1, or a depth over 100.
    """

    octets: int = 64 * 1024 * 1024
    header: int = 512 * 1024
    parts: int = 1000
    depth: int = 20
    addresses: int = 1000
    text: int = 2 * 1024 * 1024

    def __post_init__(self) -> None:
        if min(self.octets, self.header, self.parts, self.depth, self.addresses, self.text) < 1:
            raise ValueError("a limit is at least 1")
        if self.depth > _DEEPEST:
            raise ValueError(f"a depth is at most {_DEEPEST}")


@dataclass(frozen=True, slots=True)
class MailAddress:
    """A mailbox of an address field (RFC 5322 §3.4): the name for people, "" if there is none, and the address."""

    name: str
    address: str
    """As it stands, so it need not be a valid one; "" if the field has a name alone."""

    def __str__(self) -> str:
        return f"{self.name} <{self.address}>" if self.name else self.address


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A node of the tree: a part with content, a multipart with children, or a message with one child, its body."""

    path: str
    """The section number of IMAP (RFC 9051 §6.4.5): ``1.2`` is the second part in the first. A multipart that is the
    body of a message has none, so it is called ``TEXT``; within the message that is part 3, ``3.TEXT``."""
    content_type: str
    """Type and subtype in lower case, ``text/plain`` where nothing readable is declared (RFC 2045 §5.2)."""
    charset: str | None = None
    """As it is declared; None if it is not."""
    disposition: str = ""
    """``inline``, ``attachment``, whatever is declared, or "" (RFC 2183 §2)."""
    filename: str = ""
    """As the sender wrote it: no name to open a file by (`Attachment.filename` is one)."""
    content_id: str = ""
    """Without the angle brackets, as in a ``cid:`` URL (RFC 2392)."""
    children: tuple[Self, ...] = ()
    source: bytes = field(repr=False)
    """What holds the content, from `start` to `end`: the message itself, or what was decoded."""
    start: int = field(repr=False)
    end: int = field(repr=False)

    @property
    def content(self) -> bytes:
        """The octets with the transfer encoding undone; of a multipart its whole body, of a message the message."""
        return self.source[self.start : self.end]

    @property
    def size(self) -> int:
        """The number of octets in `content`."""
        return self.end - self.start

    def walk(self) -> Iterator[Self]:
        """Itself and all within it, each before those that it holds."""
        yield self
        for child in self.children:
            yield from child.walk()


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A part that is not the text of the message: a file, a picture, a forwarded message, a signature."""

    filename: str
    """Safe to make a file by, and different from those of the other attachments: never empty, and without folders,
    control characters and all that a file system or a shell takes for something else."""
    inline: bool
    """Whether it is to be seen within the text, as a picture that the HTML refers to by its content ID."""
    part: Part = field(repr=False)

    @property
    def content_type(self) -> str:
        """As `Part.content_type`: what the sender says, which need not be true."""
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
        """The file."""
        return self.part.content


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedMessage:
    """A message as people see it. Values of one line hold no control characters; text and HTML come as they were sent.

    Fields that are missing are "", None or empty.
    """

    subject: str
    from_: tuple[MailAddress, ...]
    sender: MailAddress | None
    """Who sent it for those in From, if the message says so."""
    reply_to: tuple[MailAddress, ...]
    to: tuple[MailAddress, ...]
    cc: tuple[MailAddress, ...]
    bcc: tuple[MailAddress, ...]
    date: datetime | None
    """Aware, in the zone that the sender gave."""
    message_id: str
    """Without the angle brackets, as those that follow."""
    in_reply_to: tuple[str, ...]
    references: tuple[str, ...]
    text: str | None
    """All of the text, with line feeds as line ends; None if some of it comes as HTML only."""
    html: str | None
    """All of the text as HTML, parts that are plain as ``<pre>``; None if there is no HTML. It is the sender's: not
    safe to show without a sanitiser."""
    attachments: tuple[Attachment, ...]
    tree: Part
    """All parts."""
    fields: tuple[tuple[bytes, bytes], ...] = field(repr=False)
    """The header as it stands: names in lower case, and values."""
    defects: tuple[str, ...]
    """What was wrong with it, in words; empty for good mail."""

    @property
    def headers(self) -> dict[str, list[str]]:
        """All fields of the header: the values of each name, which is in lower case, in their order, each decoded."""
        found: dict[str, list[str]] = {}
        for name, value in self.fields:
            found.setdefault(name.decode("ascii"), []).append(one_line(decode(value)))
        return found

    def header(self, name: str) -> str | None:
        """The value of a field of the header, decoded, None if there is none; of several the first.

        Args:
            name: in any case, ``List-Unsubscribe`` for example.
        """
        wanted = name.lower().encode(errors="replace")
        return next((one_line(decode(value)) for found, value in self.fields if found == wanted), None)

    @property
    def links(self) -> tuple[str, ...]:
        """Where the links of the HTML lead, then the URLs of the Web in the text, each once. They are the sender's."""
        return tuple(dict.fromkeys(find_links(self.html or "", self.text or "")))

    @property
    def inline_images(self) -> tuple[Attachment, ...]:
        """The pictures among the attachments that belong into the text."""
        return tuple(each for each in self.attachments if each.inline and each.content_type.startswith("image/"))

    def part(self, path: str) -> Part | None:
        """The part with this path (``1.2``), None if there is none."""
        return next((part for part in self.tree.walk() if part.path == path.upper()), None)
