"""Parse the octets of a message into what people see of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from html import escape
from itertools import chain, islice
from typing import Final

from trio_smtp.mime.addresses import read_addresses
from trio_smtp.mime.charsets import decode_text
from trio_smtp.mime.fields import decode, one_line, to_text
from trio_smtp.mime.filenames import FileNames
from trio_smtp.mime.html_text import CID, content_id, resolve
from trio_smtp.mime.structure import Builder, Defects, Field, shown
from trio_smtp.mime.values import Attachment, MailAddress, MimeLimits, ParsedMessage, Part

__all__ = ["parse", "texts"]

_DEFAULT: Final = MimeLimits()
_LONGEST_DATE: Final = 200  # characters
_COMMENT = re.compile(r"\((?:[^()\\]|\\.)*\)", re.DOTALL)  # an innermost comment
# 2026-11-23T12:00:00Z, and 2026-11-23 12:00:00 +0100 or UTC as Ruby writes it. What follows, such as (CET), is ignored.
_ISO = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})[T ]([0-9]{2}:[0-9]{2}[0-9:.]*) ?(?:(Z|UTC)|([+-][0-9]{2}:?[0-9]{2}))?")
_BLANKS_AROUND = re.compile(r"\s*([:,])\s*")
_LEAP_SECOND = re.compile(r"([0-9]:[0-9]{2}:)60\b")
# +01:00 or +01 as in ISO 8601, GMT+0100 in JavaScript. The year in 23-Nov-26 is no zone.
_ZONE = re.compile(r"(?:\b(?:GMT|UTC)|(?<=[0-9 ]))([+-][0-9]{2})(?::?([0-9]{2}))?(?![0-9])")
_ID = re.compile(r"<([^<>]*)>")
_TEXTS: Final = frozenset({"text/plain", "text/html"})
_OTHER_VERSIONS: Final = frozenset({"text/x-amp-html", "text/watch-html", "text/enriched", "text/richtext"})


def parse(content: bytes, limits: MimeLimits = _DEFAULT) -> ParsedMessage:
    """Parse a message. This never raises: `ParsedMessage.defects` says what is wrong with the message.

    It takes time in proportion to the message, some seconds for 32 MiB at worst, so run it in a thread:
    ``await trio.to_thread.run_sync(trio_smtp.mime.parse, content)``.

    Args:
        content: the octets of the message as it was received.
        limits: how much of it is parsed.
    """
    defects = Defects()
    if len(content) > limits.octets:
        defects.add(f"the message is longer than {limits.octets} octets; the rest is left out")
    fields, tree = Builder(limits, defects).message(content, min(len(content), limits.octets))
    header = _Header(fields, limits, defects)
    selection = _Selection(tree)
    sender = header.addresses(b"sender")
    return ParsedMessage(
        subject=header.line(b"subject"),
        from_=header.addresses(b"from"),
        sender=sender[0] if sender else None,
        reply_to=header.addresses(b"reply-to"),
        to=header.addresses(b"to"),
        cc=header.addresses(b"cc"),
        bcc=header.addresses(b"bcc"),
        date=header.date(),
        message_id="".join(header.ids(b"message-id")[:1]),
        in_reply_to=header.ids(b"in-reply-to"),
        references=header.ids(b"references"),
        text=_plain(selection.plain, _TextReader(limits, defects)),
        html=(html := _rich(selection.rich, _TextReader(limits, defects))),
        attachments=tuple(selection.attachments({content_id(each) for each in CID.finditer(html or "")})),
        tree=tree,
        fields=tuple(fields),
        defects=defects.all(),
    )


def texts(content: bytes, limits: MimeLimits = _DEFAULT) -> Iterator[str]:
    """Yield the decoded text of each text part, also of attached ones, to search in it. HTML keeps its tags, but its
    character references are resolved. Like `parse`, this is bounded and never raises.
    """
    defects = Defects()
    _, tree = Builder(limits, defects).message(content, min(len(content), limits.octets))
    reader = _TextReader(limits, defects)
    for part in tree.walk():
        if part.content_type.startswith("text/"):
            text = reader.read(part)
            yield resolve(text) if part.content_type == "text/html" else text


class _Header:
    """The fields of the message itself."""

    def __init__(self, fields: list[Field], limits: MimeLimits, defects: Defects) -> None:
        self._values: dict[bytes, list[bytes]] = {}
        for name, value in fields:
            self._values.setdefault(name, []).append(value)
        self._limits = limits
        self._addresses_left = limits.addresses
        self._defects = defects

    def line(self, name: bytes) -> str:
        """The decoded value of a field, on one line."""
        text = decode(self._first(name))
        if "=?" in text and "?=" in text:
            self._wrong(name, "it contains an encoded word that cannot be decoded")
        return one_line(text)

    def addresses(self, name: bytes) -> tuple[MailAddress, ...]:
        """The addresses of a field. Several fields of recipients with one name are combined (RFC 5322 §4.5.3)."""
        values = self._values.get(name, [])
        if name not in {b"to", b"cc", b"bcc"}:
            values = [self._first(name)][: len(values)]
        found: list[MailAddress] = []
        for value in values:
            self._check(name, value)
        for address in chain.from_iterable(map(read_addresses, values)):
            if not self._addresses_left:
                self._wrong(name, f"more than {self._limits.addresses} addresses; the others are left out")
                break
            self._addresses_left -= 1
            if address:
                found.append(address)
        if any("@" not in each.address for each in found):
            self._wrong(name, "a name without an address")
        return tuple(found)

    def ids(self, name: bytes) -> tuple[str, ...]:
        """The message IDs in a field (RFC 5322 §3.6.4), up to the limit. Text without angle brackets is one ID."""
        text = one_line(to_text(self._first(name)))
        found = islice(_ID.finditer(text), self._limits.addresses)
        return tuple("".join(each[1].split()) for each in found) or tuple(filter(None, [text]))

    def date(self) -> datetime | None:
        """The Date field, None if it is missing or invalid."""
        text = to_text(self._first(b"date")).strip()
        if not text:
            return None
        try:
            date = _read_date(text[:_LONGEST_DATE])
            if date.year < 1000:  # a year of three digits counts from 1900: RFC 5322 §4.3
                date = date.replace(year=date.year + 1900)
            if date.tzinfo is None:  # RFC 5322 §3.3: "-0000" is UTC without the sender's zone
                date = date.replace(tzinfo=UTC)
                if "-0000" not in text:
                    self._wrong(b"date", f"the zone of {shown(text)} is unknown; it was read as UTC")
            date.astimezone(UTC)  # raises OverflowError for a date that cannot be compared with others
        except (ValueError, TypeError, IndexError, OverflowError):
            self._wrong(b"date", f"{shown(text)} is not a date")
            return None
        return date

    def _first(self, name: bytes) -> bytes:
        values = self._values.get(name, [b""])
        if len(values) > 1:
            self._wrong(name, "there is more than one; the first one counts")
        self._check(name, values[0])
        return values[0]

    def _check(self, name: bytes, value: bytes) -> None:
        if not value.isascii():
            try:
                value.decode()
            except UnicodeDecodeError:
                self._wrong(name, "neither ASCII nor UTF-8; it was read as windows-1252")

    def _wrong(self, name: bytes, sentence: str) -> None:
        self._defects.add(f"{name.decode('ascii').title()}: {sentence}")


def _read_date(text: str) -> datetime:
    """The date that a text begins with, in the form of mail or, as some scripts write it, of ISO 8601."""
    if iso := _ISO.match(text):
        return datetime.fromisoformat(f"{iso[1]}T{iso[2]}{'Z' if iso[3] else iso[4] or ''}")
    return parsedate_to_datetime(_without_rarities(text))


def _without_rarities(date: str) -> str:
    """A date without what the standard library does not parse: comments and white space of the obsolete syntax (RFC
    5322 §4.3), leap seconds (§3.3), and zones in other forms.
    """
    comments = 1
    while comments:  # nested comments are removed from the inside out
        date, comments = _COMMENT.subn(" ", date)
    date = _ZONE.sub(lambda zone: zone[1] + (zone[2] or "00"), _BLANKS_AROUND.sub(r"\1", date))
    return _LEAP_SECOND.sub(r"\g<1>59", date)


class _Selection:
    """Tells which parts are the text of the message and which are attachments, similar to RFC 8621 §4.1.4.

    `plain` has the parts to display if plain text is preferred, `rich` those if HTML is preferred.
    """

    def __init__(self, tree: Part) -> None:
        self._attached: list[tuple[Part, bool]] = []
        self.plain, self.rich = self._texts(tree, is_first=True, is_related=False)

    def attachments(self, shown: set[str]) -> Iterator[Attachment]:
        """The attachments in their order.

        Args:
            shown: the content IDs that the HTML refers to.
        """
        names = FileNames()
        for part, is_related in self._attached:
            yield Attachment(
                filename=names.give(part.filename, part.content_type),
                inline=part.disposition == "inline"
                or (part.content_id != "" and (is_related or part.content_id in shown)),
                part=part,
            )

    def _texts(self, part: Part, *, is_first: bool, is_related: bool) -> tuple[list[Part], list[Part]]:
        if part.content_type.startswith("multipart/") and part.children:
            return self._texts_of_several(part)
        # A text part with a file name is an attachment, unless it is the first part or one of several alternatives.
        is_named = part.filename != "" and not is_first
        if part.content_type in _TEXTS and part.disposition in {"", "inline"} and not is_named and not is_related:
            return [part], [part]
        self._attached.append((part, is_related))
        return [], []

    def _texts_of_several(self, part: Part) -> tuple[list[Part], list[Part]]:
        alternative = part.content_type == "multipart/alternative"
        related = part.content_type == "multipart/related"
        first = _root(part) if related else 0
        children = part.children
        if alternative:  # a version of the text that is not shown is no attachment, unless it is the only one
            children = tuple(each for each in children if each.content_type not in _OTHER_VERSIONS) or children
        found = [
            self._texts(child, is_first=alternative or at == first, is_related=related and at != first)
            for at, child in enumerate(children)
        ]
        plain = [plain for plain, _ in found]
        rich = [rich for _, rich in found]
        if alternative:
            plain = _those_with("text/plain", plain)
            rich = _those_with("text/html", rich)
        return [*chain(*plain)], [*chain(*rich)]


def _root(related: Part) -> int:
    """The index of the root of a multipart/related: of the parts that may be text, the declared one or the first."""
    texts = [
        (at, child.content_id)
        for at, child in enumerate(related.children)
        if child.content_type in _TEXTS or child.content_type.startswith("multipart/")
    ]
    declared = [at for at, content_id in texts if content_id and content_id == related.root_id]
    return next(chain(declared, (at for at, _ in texts)), 0)


def _those_with(content_type: str, versions: list[list[Part]]) -> list[list[Part]]:
    """The alternatives that consist of this type only, or else those that contain it, or else all."""
    for enough in (all, any):
        found = [parts for parts in versions if parts and enough(part.content_type == content_type for part in parts)]
        if found:
            return found
    return versions


def _plain(parts: list[Part], reader: _TextReader) -> str | None:
    """The parts as plain text, None if there are none or one of them is not plain text."""
    if not parts or any(part.content_type != "text/plain" for part in parts):
        return None
    texts = [reader.read(part) for part in parts]
    return "".join(text if text.endswith("\n") else f"{text}\n" for text in texts[:-1]) + texts[-1]


def _rich(parts: list[Part], reader: _TextReader) -> str | None:
    """The parts as HTML, None if none of them is HTML."""
    if all(part.content_type != "text/html" for part in parts):
        return None
    texts = [(part.content_type, reader.read(part)) for part in parts]
    return "\n".join(f"<pre>{escape(text)}</pre>" if kind == "text/plain" else text for kind, text in texts)


class _TextReader:
    """Decodes text parts, up to a limit for all of them together."""

    def __init__(self, limits: MimeLimits, defects: Defects) -> None:
        self._limit = self._left = limits.text
        self._defects = defects

    def read(self, part: Part) -> str:
        octets = part.source[part.start : min(part.end, part.start + self._left)]
        text, wrong = decode_text(octets, part.charset, is_html=part.content_type == "text/html")
        if len(octets) < part.size:
            wrong = f"the text is longer than {self._limit} octets; the rest is left out"
        if wrong:
            self._defects.add(f"part {part.path}: {wrong}")
        self._left -= len(octets)
        return _joined(text) if part.delsp else text


def _joined(text: str) -> str:
    """Text with the lines joined that the sender has split at any place, not just between words: RFC 3676 §4.1.

    They end with a space, which does not count, and go on in the next line if that has as many quote marks.
    """
    pieces: list[str] = []
    open_marks: str | None = None  # of a line that goes on
    for line in text.split("\n"):
        content = line.lstrip(">")
        marks = line.removesuffix(content)
        content = content.removeprefix(" ")  # which protects what follows
        is_signature = content == "-- "
        if marks != open_marks or is_signature:
            pieces.append(f"\n{marks} " if marks and content else f"\n{marks}")
        goes_on = content.endswith(" ") and not is_signature
        open_marks = marks if goes_on else None
        pieces.append(content[:-1] if goes_on else content)
    return "".join(pieces)[1:]
